"""Many files: planned, indexed one after the other or a few at once, each failing alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from index.errors import Interrupted, LeaseLostError, LibraryError, LongtakeError, StoreError
from index.library import Library
from ingest.claims import Claim, Claims
from ingest.pipeline import Indexer
from ingest.plan import Plan, Task
from ingest.thumbnails import Thumbnails
from ingest.work import RemovedMeanwhile, Work

logger = logging.getLogger(__name__)

_Next = Literal["more", "waits", "done"]

_WAITING_FILES = 4
"""Files that wait for a server at once, beside those that are being worked on."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    status: "indexed"; "damaged" (what decodes is indexed); "failed" (nothing is); "busy" (another
    process has it in hand); "done" (nothing was left to do when its turn came).
    """

    path: Path
    status: Literal["indexed", "damaged", "failed", "busy", "done"]
    reason: str = ""
    media_seconds: float = 0.0
    wall_seconds: float = 0.0
    notes: tuple[str, ...] = ()


OnStage = Callable[[Path, str, float, float], None]
"""Told a file's path, the stage it is in, and how many of how many media seconds are seen."""


@dataclass
class _Job:
    task: Task
    work: Work | None = None
    wall_seconds: float = 0.0


class Batch:
    """Runs a plan. on_stage and on_report are called from worker threads; on_report once a file,
    as it ends.

    The text of every file is read before the sound of any is listened to, and that before any
    pictures are looked at: the cheapest makes the whole folder searchable early. What only waits
    for a server waits beside all that.
    """

    def __init__(
        self,
        library: Library,
        indexer: Indexer,
        thumbnails: Thumbnails,
        claims: Claims,
        on_stage: OnStage,
        on_report: Callable[[FileReport], None],
        stop: threading.Event,
    ):
        self._library = library
        self._indexer = indexer
        self._thumbnails = thumbnails
        self._claims = claims
        self._on_stage = on_stage
        self._on_report = on_report
        self._stop = stop

    def apply_updates(self, plan: Plan) -> None:
        """Writes the catalogue's new paths and removes videos whose last path has gone."""
        for video in plan.updates.values():
            self._library.put_video(video)
        for video in plan.gone:
            self._remove(video.id)
        if plan.updates:
            self._library.store.flush()

    def sweep_thumbnails(self, plan: Plan) -> None:
        """Removes those of videos that are not in the library: a run that was killed may have left
        them. A video is in the catalogue before it has any, so those of another run are safe."""
        for video_id in self._thumbnails.videos():
            if video_id not in plan.known and self._library.video(video_id) is None:
                self._thumbnails.remove(video_id)

    def _remove(self, video_id: str) -> None:
        """The catalogue's entry goes last: as long as it is there, a removal that was interrupted
        is asked for again."""
        self._thumbnails.remove(video_id)
        self._library.remove_video(video_id)

    def run(self, plan: Plan, jobs: int) -> None:
        """Raises Interrupted when stopped, and LibraryError (a full disk, say) when nothing more
        can be written; every other trouble is in a report."""
        works = [_Job(task) for task in plan.tasks]
        with ThreadPoolExecutor(max_workers=_WAITING_FILES) as self._waiters:
            self._waiting: list[Future[None]] = []
            for step in (self._text_step, self._sound_step, self._picture_step):
                with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
                    self._finish([pool.submit(self._step, step, job) for job in works])
                works = [job for job in works if job.work is not None]
            self._finish(self._waiting)

    def _finish(self, futures: Sequence[Future[None]]) -> None:
        """Waits for all; where one fails, the others are stopped."""
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            self._stop.set()
            for future in (*futures, *self._waiting):
                future.cancel()
            raise

    def _step(self, step: Callable[[_Job, Claim], _Next], job: _Job) -> None:
        """step: does its part under a claim; returns what comes next for the file."""
        if self._stop.is_set():
            raise Interrupted("Stopped; what was indexed is kept, and the next run goes on.")
        started = time.monotonic()
        then: _Next = "more"
        try:
            with self._claims.holding(job.task.video_id) as claim:
                if claim is not None:
                    then = step(job, claim)
                else:
                    self._report(job, "busy", "another process is indexing it")
        except (Interrupted, LibraryError, StoreError):
            raise
        except RemovedMeanwhile as error:
            # What was written between the removal and its discovery goes, too.
            self._remove(job.task.video_id)
            self._report(job, "failed", str(error))
        except LeaseLostError as error:
            self._report(job, "busy", str(error))
        except LongtakeError as error:
            self._report(job, "failed", str(error))
        except Exception as error:  # whatever it is, the other files go on
            logger.exception("Indexing %s failed", job.task.path)
            self._report(
                job,
                "failed",
                f"{job.task.path}: something unexpected happened "
                f"({type(error).__name__}: {error}). The log file holds the details.",
            )
        finally:
            job.wall_seconds += time.monotonic() - started
        if then == "done":
            self._report_done(job)
        elif then == "waits":  # only now, since the waiter claims the video as well
            self._waiting.append(self._waiters.submit(self._step, self._waiting_step, job))

    def _text_step(self, job: _Job, claim: Claim) -> _Next:
        self._set_stage(job, "probe", 0.0)
        job.work = self._indexer.describe(job.task, claim)
        self._indexer.index_text(job.work, lambda stage, at: self._set_stage(job, stage, at))

        self._derive(job, wait=False)
        return "more"

    def _sound_step(self, job: _Job, claim: Claim) -> _Next:
        assert job.work is not None
        job.work.claim = claim
        self._indexer.index_sound(job.work, lambda stage, at: self._set_stage(job, stage, at))
        self._derive(job, wait=False)
        return "more"

    def _picture_step(self, job: _Job, claim: Claim) -> _Next:
        assert job.work is not None
        job.work.claim = claim
        self._set_stage(job, "pictures", 0.0)
        self._indexer.index_pictures(job.work, lambda stage, at: self._set_stage(job, stage, at))
        return "done" if self._derive(job, wait=False) else "waits"

    def _waiting_step(self, job: _Job, claim: Claim) -> _Next:
        assert job.work is not None
        job.work.claim = claim
        self._derive(job, wait=True)
        return "done"

    def _derive(self, job: _Job, *, wait: bool) -> bool:
        assert job.work is not None
        return self._indexer.index_derived(
            job.work, lambda stage, at: self._set_stage(job, stage, at), wait=wait
        )

    def _set_stage(self, job: _Job, stage: str, at_seconds: float) -> None:
        total = (job.work.video.duration_seconds or 0.0) if job.work else 0.0
        self._on_stage(job.task.path, stage, at_seconds, total)

    def _report_done(self, job: _Job) -> None:
        assert job.work is not None
        if job.work.busy:
            busy = ", ".join(sorted(job.work.busy))
            self._report(job, "busy", f"another process is working on {busy}")
        elif job.work.overtaken:
            undone = "nothing was done; the note says why"
            done = "nothing was left to do; another process may have done it"
            self._report(job, "done", undone if job.work.notes else done)
        else:
            self._report(job, "damaged" if job.work.damaged else "indexed", job.task.reason)

    def _report(self, job: _Job, status: str, reason: str) -> None:
        media_seconds = 0.0
        notes: tuple[str, ...] = ()
        if job.work is not None:
            media_seconds = job.work.video.duration_seconds or 0.0
            notes = tuple(dict.fromkeys(job.work.notes))
        job.work = None
        self._on_report(
            FileReport(job.task.path, status, reason, media_seconds, job.wall_seconds, notes)
        )
