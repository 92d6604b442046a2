"""From a file to its evidence, resumably.

`Indexer.describe` puts the file into the catalogue, `index_text` runs the channels that read text
(cheap), `index_sound` those that listen, and `index_pictures` the one video decode that feeds
shots, segments and all picture channels. `index_derived` runs what works on the results of others,
as soon as they are there. Each channel commits as it goes (see index.library for the order of
writes) and is searchable from then on. A batch does each step for every file before the next for
any.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from index.errors import (
    Interrupted,
    LeaseLostError,
    LibraryError,
    LongtakeError,
    MediaError,
    StoreError,
)
from index.library import Library
from index.records import segment_point
from index.schema import Generation, Video
from ingest.channel import STILL_WAITING, Batch, DerivedChannel, FileChannel
from ingest.claims import Claim, WholeVideo
from ingest.identity import stat_of
from ingest.plan import Channels, Task
from ingest.segments import fixed_windows
from ingest.settings import IngestSettings
from ingest.sidecars import find_sidecars
from ingest.thumbnails import Thumbnails
from ingest.work import Checks, Listener, RemovedMeanwhile, Work, check_unchanged
from ingest.writer import ChannelWriter, segments_of

OVERTAKEN = (RemovedMeanwhile, LeaseLostError)
"""Nothing more may be written for the file."""


class Indexer:
    """Runs channels over files and writes what they find.

    stop: asked between steps; when it says True, what is final is committed and `Interrupted`
    raised.
    """

    def __init__(
        self,
        library: Library,
        channels: Channels,
        settings: IngestSettings,
        thumbnails: Thumbnails,
        *,
        force: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ):
        self._library = library
        self._channels = channels
        self._settings = settings
        self.commit_seconds = settings.commit_seconds
        self._thumbnails = thumbnails
        self._force = force
        self._checks = Checks(library, stop)

    def describe(self, task: Task, claim: Claim | None = None) -> Work:
        """Reads the file's headers and puts the video into the catalogue. claim: what the text step
        works under; None where nobody else can be at work.

        Raises MediaError where it cannot be read as video or audio, or is not what it was.
        """
        from ingest.media import measure_duration, probe  # not above: see cli.index

        file = next(file for file in task.files if file.path == str(task.path))
        check_unchanged(file)
        video = task.video
        if video is None or not video.streams:
            info = probe(task.path)
            duration = info.duration_seconds
            if duration is None:
                duration = measure_duration(task.path)
            video = Video(
                id=task.video_id,
                title=task.path.stem,
                files=video.files if video else task.files,
                duration_seconds=duration,
                streams=info.streams,
                chapters=info.chapters,
                digest=task.whole_digest,
            )
        sidecars = tuple(stat_of(path) for path in find_sidecars(task.path))
        video = dataclasses.replace(video, sidecars=sidecars, indexed_at=time.time(), notes=())
        check_unchanged(file)
        self._library.put_video(video)

        force = self._force or task.reason == "changed inside"
        work = Work(task.path, file, video, {}, claim or WholeVideo())
        there = self._library.generations(video.id)
        listening = [c.name for c in self._channels.files if c.listens(task.path, video)]
        for channel, fingerprint in self._channels.fingerprints(task.path, video, there).items():
            # The cuts are nobody's choice: a channel that is forced by name finds the same ones.
            forced = force and not (channel == "shot" and self._channels.named)
            wanted = self._wanted(video, channel, fingerprint, listened=channel in listening)
            generation = self._begin(work, wanted, force=forced)
            if not generation.complete:
                work.pending[channel] = generation
        self._library.store.flush()
        work.overtaken = not work.pending
        return work

    def _wanted(
        self, video: Video, channel: str, fingerprint: str, *, listened: bool = False
    ) -> Generation:
        model = self._channels.models.get(channel)
        detail = ({"model": model} if model else {}) | ({"listened": True} if listened else {})
        return Generation(video.id, 0, channel, fingerprint, detail=detail)

    def _begin(self, work: Work, wanted: Generation, *, force: bool = False) -> Generation:
        """The generation to work on. Where another process has the channel in hand, it is `busy`
        and nothing is begun."""
        if not work.claim.take(wanted.channel):
            work.busy.add(wanted.channel)
            return wanted
        work.busy.discard(wanted.channel)
        return self._library.begin(wanted, force=force)

    def index_text(self, work: Work, listener: Listener) -> None:
        """Runs the file channels that need not listen."""
        for channel in self._pending_files(work):
            if not channel.listens(work.path, work.video):
                self._run_file_channel(work, channel, listener)

    def index_sound(self, work: Work, listener: Listener) -> None:
        """Runs the file channels that are left."""
        self._refresh(work, [channel.name for channel in self._channels.files])
        for channel in self._pending_files(work):
            self._run_file_channel(work, channel, listener)

    def _pending_files(self, work: Work) -> list[FileChannel]:
        return [channel for channel in self._channels.files if work.ours(channel.name)]

    def _run_file_channel(self, work: Work, channel: FileChannel, listener: Listener) -> None:
        generation = work.pending[channel.name]
        from_seconds = generation.watermark_seconds
        batches = channel.run(work.path, work.video, generation, from_seconds)
        self._write(work, generation, batches, listener)
        del work.pending[channel.name]

    def index_derived(self, work: Work, listener: Listener, *, wait: bool) -> bool:
        """Runs the derived channels whose sources are done; unless `wait`, without those that wait
        for others. Returns whether none is left.

        Raises the first error of a channel when the others have run.
        """
        left: set[str] = set(work.pending)
        errors: list[LongtakeError] = []
        waiting = False
        for channel in self._channels.derived:
            if left.intersection(channel.sources):
                left.add(channel.name)
                continue
            there = self._library.generations(work.video.id)
            fingerprint = self._channels.derived_fingerprints(there).get(channel.name)
            if fingerprint is None:
                self._say_why_not(work, channel, there)
                continue
            if channel.waits and not wait:
                left.add(channel.name)
                waiting = True
                continue
            try:
                if not self._run_derived(work, channel, fingerprint, listener):
                    left.add(channel.name)
            except (Interrupted, LibraryError, StoreError, MediaError, *OVERTAKEN):
                raise
            except LongtakeError as error:
                errors.append(error)
                left.add(channel.name)
        if errors:
            raise errors[0]
        return not waiting

    def _say_why_not(
        self, work: Work, channel: DerivedChannel, there: Sequence[Generation]
    ) -> None:
        """A channel that somebody has asked for by name must not be passed over in silence."""
        active = {g.channel: g for g in there if g.state == "active"}
        unfinished = [s for s in channel.sources if s in active and not active[s].complete]
        needed = channel.sources[0]
        if self._channels.named and (unfinished or channel.name == "caption"):
            lacks = ", ".join(unfinished) or needed
            note = f"{channel.name}: not run, because {lacks} is not (completely) indexed"
            if note not in work.notes:
                work.notes.append(note)

    def _run_derived(
        self, work: Work, channel: DerivedChannel, fingerprint: str, listener: Listener
    ) -> bool:
        """Returns whether it is done: another process may have it in hand."""
        self._checks.removed(work.video)
        force = self._force and channel.name not in work.derived
        wanted = self._wanted(work.video, channel.name, fingerprint)
        generation = self._begin(work, wanted, force=force)
        if channel.name in work.busy:
            return False
        work.derived.add(channel.name)
        if generation.complete:
            return True
        work.overtaken = False
        batches = channel.run(
            work.path, work.video, generation, generation.watermark_seconds, self._library
        )
        self._write(work, generation, batches, listener)
        return True

    def _write(
        self, work: Work, generation: Generation, batches: Iterator[Batch], listener: Listener
    ) -> None:
        """Commits what a channel gives out, to its end."""
        self._checks.stopped()
        listener(generation.channel, generation.watermark_seconds)
        writer = ChannelWriter(self._library, generation)
        while True:
            with work.spent.on(generation.channel):
                batch = next(batches, None)
            if batch is None:
                break
            self._checks.stopped()
            if batch is STILL_WAITING:
                continue
            self._checks.removed(work.video)
            writer.add(list(batch.evidence))
            writer.add_points(list(batch.points))
            writer.give_up(batch.uncovered_seconds)
            writer.note(batch.notes)
            work.notes.extend(batch.notes)
            work.damaged = work.damaged or batch.damaged
            work.check_unchanged()
            with work.spent.on("commits"):
                commit = writer.take(batch.watermark_seconds, batch.analysed_seconds)
                self._library.commit_all([commit])
            listener(generation.channel, batch.analysed_seconds)
        end_seconds = work.video.duration_seconds or 0.0
        work.check_unchanged()
        with work.spent.on("commits"):
            self._library.finish([writer.take(end_seconds, end_seconds, last=True)])

    def index_pictures(self, work: Work, listener: Listener) -> None:
        """Runs shots, segments and the picture channels over one decode, then completes the
        video's entry."""
        names = ["shot", *(channel.name for channel in self._channels.pictures)]
        self._refresh(work, names)
        if any(work.ours(name) for name in names):
            if any(stream.kind == "video" for stream in work.video.streams):
                from ingest.picture_pass import PicturePass

                PicturePass(
                    self._library,
                    self._channels,
                    self._settings,
                    self._thumbnails,
                    self._checks,
                    work,
                    listener,
                ).run()
            else:
                self._segment_without_pictures(work)
        self._write_duration(work)

    def _refresh(self, work: Work, channels: Sequence[str]) -> None:
        """Takes up the generations as they are now: since the text step another process may have
        gone on with them, or finished."""
        self._checks.removed(work.video)
        pending = {}
        for channel, known in work.pending.items():
            if channel not in channels:
                pending[channel] = known
                continue
            wanted = Generation(
                work.video.id, 0, channel, known.fingerprint, known.revision, detail=known.detail
            )
            generation = self._begin(work, wanted)
            if not generation.complete:
                pending[channel] = generation
        work.overtaken = work.overtaken or (bool(work.pending) and not pending)
        work.pending = pending

    def _segment_without_pictures(self, work: Work) -> None:
        generation = work.ours("shot")
        if generation is None:
            return
        del work.pending["shot"]
        writer = ChannelWriter(self._library, generation)
        duration = work.video.duration_seconds or 0.0
        spans = fixed_windows(duration, self._settings.segments, work.video.chapters)
        segments = segments_of(work.video, generation, spans)
        writer.add_points([segment_point(segment) for segment in segments])
        work.check_unchanged()
        self._library.finish([writer.take(duration, duration, last=True)])

    def _write_duration(self, work: Work) -> None:
        current = self._checks.removed(work.video)
        if work.video.duration_seconds != current.duration_seconds:
            learned = dataclasses.replace(current, duration_seconds=work.video.duration_seconds)
            self._library.put_video(learned)
            self._library.store.flush()
