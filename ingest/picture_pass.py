"""One decode of one video, feeding shots, segments, thumbnails and every picture channel."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from index.errors import Interrupted, MediaError
from index.library import Library
from index.records import segment_from
from index.schema import Segment
from index.store import scroll, where
from ingest.analysis import VideoAnalysis
from ingest.perception import Perception
from ingest.picture_events import Progress
from ingest.plan import Channels
from ingest.settings import IngestSettings
from ingest.thumbnails import Thumbnails
from ingest.work import Checks, Listener, Work
from ingest.writer import Commit


class PicturePass:
    """Runs what is pending of a video's picture channels, from where it was left."""

    def __init__(
        self,
        library: Library,
        channels: Channels,
        settings: IngestSettings,
        thumbnails: Thumbnails,
        checks: Checks,
        work: Work,
        listener: Listener,
    ):
        self._library = library
        self._settings = settings
        self._thumbnails = thumbnails
        self._checks = checks
        self._work = work
        self._video = work.video
        self._listener = listener
        self._committed_at = time.monotonic()
        names = ["shot", *(channel.name for channel in channels.pictures)]
        pending = {name: ours for name in names if (ours := work.ours(name)) is not None}
        self._found = Perception(
            library,
            work.video,
            pending,
            channels.pictures,
            settings,
            thumbnails,
            spent=work.spent,
            starting=checks.stopped,
        )

    def run(self) -> None:
        """Raises MediaError where there are no pictures after all, Interrupted, and the store's
        errors."""
        with contextlib.closing(self._found):
            self._run()

    def _run(self) -> None:
        with VideoAnalysis(
            self._work.path,
            self._settings.shots,
            self._settings.sampling,
            from_seconds=self._found.start_seconds,
            known_cuts=self._known_cuts(),
            all_known=self._cuts_are_complete,
        ) as analysis:
            try:
                for event in analysis:
                    self._found.take(event)
                    if isinstance(event, Progress):
                        self._listener("pictures", event.time_seconds)
                    self._maybe_commit()
            except Interrupted:
                with contextlib.suppress(MediaError):
                    self._commit()
                raise
            self._note_damage(analysis)
            self._checks.removed(self._video)
            self._complete(analysis.end_seconds)

    def _note_damage(self, analysis: VideoAnalysis) -> None:
        path, problems = self._work.path, analysis.problems
        if analysis.damage is not None:
            note = str(analysis.damage)
        elif problems.errors:
            at = f" from {problems.first_seconds:.1f} s on" if problems.first_seconds else ""
            note = (
                f"{path}: damaged{at} ({problems.message}, {problems.errors} times); what decodes "
                "is indexed. Copy the file again from its source to have all of it."
            )
        else:
            return
        self._work.damaged = True
        self._work.notes.append(note)
        for writer in self._found.writers:
            writer.note([note])

    @property
    def _cuts_are_complete(self) -> bool:
        """Whether the shots of this analysis have all been stored earlier."""
        return "shot" not in self._work.pending and "shot" not in self._work.busy

    def _known_cuts(self) -> list[float]:
        """The cuts up to where this pass starts, or all of them, from the shots stored earlier."""
        shot = self._work.ours("shot")
        shots = self._library.evidence(
            self._video.id, channel="shot", generation=shot.id if shot else None
        )
        if self._cuts_are_complete:
            return [shot.start_seconds for shot in shots]
        cuts = {time for shot in shots for time in (shot.start_seconds, shot.end_seconds)}
        return sorted(cut for cut in cuts if cut <= self._found.start_seconds)

    def _maybe_commit(self) -> None:
        self._checks.stopped()
        if time.monotonic() - self._committed_at < self._settings.commit_seconds:
            return
        self._commit()

    def _commit(self) -> None:
        self._checks.removed(self._video)
        self._work.check_unchanged()
        with self._work.spent.on("commits"):
            self._commit_now()

    def _commit_now(self) -> None:
        self._library.commit_all(self._found.commits())
        self._committed_at = time.monotonic()

    def _complete(self, end_seconds: float) -> None:
        self._work.check_unchanged()
        end = max(end_seconds, self._found.at_seconds)
        video = self._work.video
        if video.duration_seconds is None or video.duration_seconds < end:
            self._work.video = dataclasses.replace(video, duration_seconds=end)
        self._found.finish(end)
        commits = [w.take(end, end, last=True) for w in self._found.writers]
        if self._found.shots is not None:
            # Before they are complete: nobody would come back for what is left behind then.
            self._thumbnails.keep_only(self._video.id, self._segments_with(commits[-1]))
        with self._work.spent.on("commits"):
            self._library.finish(commits)
        for writer in self._found.writers:
            self._work.pending.pop(writer.generation.channel)

    def _segments_with(self, commit: Commit) -> list[Segment]:
        """The segments of this cutting: those committed and those about to be."""
        generation, _, derived = commit
        wanted = where(kind="segment", generation=generation.id)
        points = [*scroll(self._library.store, wanted), *derived]
        return [segment_from(p.payload) for p in points if p.payload["kind"] == "segment"]
