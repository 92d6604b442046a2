"""From a file to its evidence, resumably.

`Indexer.describe` puts the file into the catalogue, `index_text` runs the channels that read the
file (cheap), and `index_pictures` runs the one video decode that feeds shots, segments and all
picture channels. Each channel commits as it goes (see index.library for the order of writes) and
is searchable from then on. A batch does the first two for every file before the third for any.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from index.library import Library
from index.records import segment_point
from index.schema import Generation, Video
from ingest.channel import FileChannel
from ingest.identity import stat_of
from ingest.media import measure_duration, probe
from ingest.picture_pass import PicturePass
from ingest.plan import Channels, Task
from ingest.segments import fixed_windows
from ingest.settings import IngestSettings
from ingest.sidecars import find_sidecars
from ingest.thumbnails import Thumbnails
from ingest.work import Checks, Listener, Work, check_unchanged
from ingest.writer import ChannelWriter, segments_of


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
        self._thumbnails = thumbnails
        self._force = force
        self._checks = Checks(library, stop)

    def describe(self, task: Task) -> Work:
        """Reads the file's headers and puts the video into the catalogue.

        Raises MediaError where it cannot be read as video or audio, or is not what it was.
        """
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
        pending = {}
        for channel, fingerprint in self._channels.fingerprints(task.path, video).items():
            wanted = Generation(video.id, 0, channel, fingerprint)
            generation = self._library.begin(wanted, force=force)
            if not generation.complete:
                pending[channel] = generation
        self._library.store.flush()
        return Work(task.path, file, video, pending, overtaken=not pending)

    def index_text(self, work: Work, listener: Listener) -> None:
        """Runs the file channels, cheapest first."""
        for channel in self._channels.files:
            if channel.name in work.pending:
                listener(channel.name, 0.0)
                self._run_file_channel(work, channel, listener)

    def _run_file_channel(self, work: Work, channel: FileChannel, listener: Listener) -> None:
        generation = work.pending[channel.name]
        writer = ChannelWriter(self._library, generation)
        for batch in channel.run(work.path, work.video, generation, generation.watermark_seconds):
            self._checks.stopped()
            self._checks.removed(work.video)
            writer.add(list(batch.evidence))
            writer.note(batch.notes)
            work.notes.extend(batch.notes)
            work.damaged = work.damaged or batch.damaged
            work.check_unchanged()
            self._library.commit_all([writer.take(batch.watermark_seconds, batch.analysed_seconds)])
            listener(channel.name, batch.analysed_seconds)
        end_seconds = work.video.duration_seconds or 0.0
        work.check_unchanged()
        self._library.finish([writer.take(end_seconds, end_seconds, last=True)])
        del work.pending[channel.name]

    def index_pictures(self, work: Work, listener: Listener) -> None:
        """Runs shots, segments and the picture channels over one decode, then completes the
        video's entry."""
        self._refresh(work)
        if work.pending:
            if any(stream.kind == "video" for stream in work.video.streams):
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

    def _refresh(self, work: Work) -> None:
        """Takes up the generations as they are now: since the text step another process may have
        gone on with them, or finished."""
        self._checks.removed(work.video)
        pending = {}
        for channel, known in work.pending.items():
            wanted = Generation(work.video.id, 0, channel, known.fingerprint, known.revision)
            generation = self._library.begin(wanted)
            if not generation.complete:
                pending[channel] = generation
        work.overtaken = work.overtaken or (bool(work.pending) and not pending)
        work.pending = pending

    def _segment_without_pictures(self, work: Work) -> None:
        generation = work.pending.pop("shot", None)
        if generation is None:
            return
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
