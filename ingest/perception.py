"""What is made of a stretch of pictures: the picture channels' evidence, shots, segments,
thumbnails. Where the pictures come from, and when what was found is written, others decide."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from index.library import Library
from index.records import segment_point
from index.schema import Generation, Video
from ingest.channel import PictureChannel, PictureRun, Sample, evidence_of
from ingest.picture_events import Event, Progress, ShotEnded
from ingest.segments import Segmenter, Span
from ingest.settings import IngestSettings
from ingest.thumbnails import ThumbnailPicker, Thumbnails
from ingest.work import Spent
from ingest.writer import ChannelWriter, Commit, segments_of


@dataclass(frozen=True, slots=True)
class _Track:
    """A channel at work: samples from from_seconds on are for it."""

    run: PictureRun
    writer: ChannelWriter
    from_seconds: float


class Perception:
    """Takes the events of a stretch of pictures and gathers what they give.

    pending: the generations to work on, by channel; `shot` among them or not. Each goes on from its
    own watermark. write: makes a generation's writer. spent: told what takes how long.
    Raises ModelMissingError where a channel's weights are not here. Close it in the end.
    """

    def __init__(
        self,
        library: Library,
        video: Video,
        pending: Mapping[str, Generation],
        channels: Sequence[PictureChannel],
        settings: IngestSettings,
        thumbnails: Thumbnails,
        *,
        spent: Spent,
        write: Callable[[Library, Generation], ChannelWriter] = ChannelWriter,
        starting: Callable[[], None] = lambda: None,
    ):
        """starting: called before each channel starts, which may take long; may raise."""
        self._video = video
        self._thumbnails = thumbnails
        self._spent = spent
        self.at_seconds = 0.0
        self._picker = ThumbnailPicker()
        self._closing = contextlib.ExitStack()
        self._tracks: dict[str, _Track] = {}
        starts = []
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            for channel in channels:
                generation = pending.get(channel.name)
                if generation is None:
                    continue
                starting()
                start = generation.watermark_seconds
                writer = write(library, generation)
                with spent.growing(channel.name):
                    run = channel.open(video, generation, start)
                self._closing.callback(run.close)
                self._tracks[channel.name] = _Track(run, writer, start)
                starts.append(start)
            # Where only another channel is unfinished the shots are as stored: VideoAnalysis is
            # told, since the samples hang on them.
            self.shots: ChannelWriter | None = None
            self._segments: Segmenter | None = None
            shot = pending.get("shot")
            if shot is not None:
                self.shots = write(library, shot)
                self._segments = Segmenter(
                    settings.segments,
                    chapters=video.chapters,
                    from_seconds=shot.watermark_seconds,
                )
                starts.append(shot.watermark_seconds)
            failed.pop_all()
        self.start_seconds = min(starts)

    def close(self) -> None:
        """Gives back what the channels hold."""
        self._closing.close()

    def take(self, event: Event) -> None:
        """The next event, in time order."""
        if isinstance(event, Sample):
            self._sample(event)
        elif isinstance(event, ShotEnded):
            self._shot(event)
        else:
            self._progress(event)

    def _progress(self, progress: Progress) -> None:
        self.at_seconds = progress.time_seconds
        if self._segments is not None:
            for time_seconds, change in progress.changes:
                self._segments.push_change(time_seconds, change)
            self._close_segments(self._segments.advance(progress.time_seconds))

    def _sample(self, sample: Sample) -> None:
        self.at_seconds = sample.time_seconds
        if self._segments is not None:
            self._picker.push(sample.time_seconds, sample.image)
        for name, track in self._tracks.items():
            if sample.time_seconds >= track.from_seconds:
                with self._spent.on(name):
                    found = track.run.push(sample)
                track.writer.add(found)

    def _shot(self, shot: ShotEnded) -> None:
        if self.shots is None or self._segments is None:
            return
        cut = evidence_of(self.shots.generation, shot.start_seconds, shot.end_seconds)
        self.shots.add([cut])
        self._close_segments(self._segments.push(shot.start_seconds, shot.end_seconds))

    def _close_segments(self, spans: list[Span]) -> None:
        assert self.shots is not None
        segments = segments_of(self._video, self.shots.generation, spans)
        for segment in segments:
            if jpeg := self._picker.pick(segment):
                self._thumbnails.write(segment, jpeg)
        self.shots.add_points([segment_point(segment) for segment in segments])

    @property
    def writers(self) -> list[ChannelWriter]:
        """Of all channels at work, the shots' last."""
        shots = [] if self.shots is None else [self.shots]
        return [*(track.writer for track in self._tracks.values()), *shots]

    @property
    def runs(self) -> list[tuple[PictureRun, ChannelWriter]]:
        """The picture channels at work."""
        return [(track.run, track.writer) for track in self._tracks.values()]

    @property
    def segments_open_seconds(self) -> float:
        """Where the earliest segment starts that is still open: the watermark of the shots."""
        return self.at_seconds if self._segments is None else self._segments.open_seconds

    def commits(self) -> list[Commit]:
        """What is to be written now."""
        commits = [
            track.writer.take(track.run.watermark_seconds, self.at_seconds)
            for track in self._tracks.values()
        ]
        if self.shots is not None:
            commits.append(self.shots.take(self.segments_open_seconds, self.at_seconds))
        return commits

    def finish(self, end_seconds: float) -> None:
        """The stretch ends there: closes what is open, for the writers' last `take`."""
        for name, track in self._tracks.items():
            with self._spent.on(name):
                found = track.run.finish(end_seconds)
            track.writer.add(found)
        if self._segments is not None:
            self._close_segments(self._segments.finish(end_seconds))
