"""From a file to its evidence, resumably.

`Indexer.describe` puts the file into the catalogue, `index_text` runs the channels that read the
file (cheap), and `index_pictures` runs the one video decode that feeds shots, segments and all
picture channels. Each channel commits as it goes (see index.library for the order of writes) and
is searchable from then on. A batch does the first two for every file before the third for any.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import Interrupted, LongtakeError
from index.library import Library
from index.passages import PassageBuilder, passage_point, reading_order
from index.schema import Evidence, Generation, Segment, Video
from index.store import Point
from ingest.analysis import Event, ShotEnded, VideoAnalysis
from ingest.channel import FileChannel, PictureRun, Sample
from ingest.identity import stat_of
from ingest.media import measure_duration, probe
from ingest.plan import Channels, Task
from ingest.segments import Segmenter, fixed_windows, titles_from_chapters
from ingest.settings import IngestSettings
from ingest.sidecars import find_sidecars
from ingest.thumbnails import ThumbnailPicker, Thumbnails

Listener = Callable[[str, float], None]
"""Told the stage and how many seconds of the video it has seen."""


class RemovedMeanwhile(LongtakeError):
    """The video was taken out of the library while it was being indexed."""


@dataclass
class Work:
    """One file on its way. pending: channels still to be run; notes: for the user, kept with the
    video; damaged: part of the file could not be decoded."""

    path: Path
    video: Video
    pending: dict[str, Generation]
    notes: list[str] = field(default_factory=list)
    damaged: bool = False


class ChannelWriter:
    """Gathers one channel's evidence, and what is derived from it, until the next commit.

    Evidence waits until the watermark has passed its start: only then is it final, and only then
    is its place in the order that passages are cut in known.
    """

    def __init__(self, library: Library, generation: Generation):
        self.generation = generation
        self._waiting: list[Evidence] = []
        self._points: dict[str, Point] = {}
        library.resume(generation)
        before = library.evidence(
            generation.video_id, channel=generation.channel, generation=generation.id
        )
        self._passages = PassageBuilder(generation)
        if before:
            self._passages.resume(sorted(before, key=reading_order))

    def add(self, evidence: list[Evidence]) -> None:
        self._waiting.extend(evidence)

    def add_points(self, points: list[Point]) -> None:
        """Points of this generation that are derived in another way."""
        self._points.update((point.id, point) for point in points)

    def note(self, notes: Sequence[str]) -> None:
        """Keeps what the user should know with the generation."""
        if notes:
            kept = dict.fromkeys((*self.generation.detail.get("notes", ()), *notes))
            detail = {**self.generation.detail, "notes": list(kept)}
            self.generation = dataclasses.replace(self.generation, detail=detail)

    def take(
        self, watermark_seconds: float, analysed_seconds: float, *, last: bool = False
    ) -> tuple[Generation, list[Evidence], list[Point]]:
        """What a commit writes when the channel has come this far; all there is when `last`."""
        final_before = math.inf if last else watermark_seconds
        ready = [e for e in self._waiting if e.start_seconds < final_before]
        self._waiting = [e for e in self._waiting if e.start_seconds >= final_before]
        ready.sort(key=reading_order)
        for passage in self._passages.push([e for e in ready if e.text]):
            self._points[passage.id] = passage_point(passage)
        derived = list(self._points.values())
        if ready:
            derived.extend(self._passages.statistics_points())
        self._points = {}
        self.generation = dataclasses.replace(
            self.generation,
            watermark_seconds=watermark_seconds,
            analysed_seconds=max(analysed_seconds, self.generation.analysed_seconds),
        )
        return self.generation, ready, derived


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
        self._stop = stop

    def describe(self, task: Task) -> Work:
        """Reads the file's headers and puts the video into the catalogue.

        Raises MediaError where it cannot be read as video or audio.
        """
        video = task.video
        if video is None or not video.streams:
            info = probe(task.path)
            duration = info.duration_seconds
            if duration is None:
                duration = measure_duration(task.path)
            video = Video(
                id=task.video_id,
                title=task.path.stem,
                files=video.files if video else (task.stat,),
                duration_seconds=duration,
                streams=info.streams,
                chapters=info.chapters,
                digest=task.whole_digest,
            )
        sidecars = tuple(stat_of(path) for path in find_sidecars(task.path))
        video = dataclasses.replace(video, sidecars=sidecars, indexed_at=time.time(), notes=())
        self._library.put_video(video)
        self._library.store.flush()

        force = self._force or task.reason == "changed inside"
        pending = {}
        for channel, fingerprint in self._channels.fingerprints(task.path, video).items():
            wanted = Generation(video.id, 0, channel, fingerprint)
            generation = self._library.begin(wanted, force=force)
            if not generation.complete:
                pending[channel] = generation
        return Work(task.path, video, pending)

    def index_text(self, work: Work, listener: Listener) -> None:
        """Runs the file channels, cheapest first."""
        for channel in self._channels.files:
            if channel.name in work.pending:
                listener(channel.name, 0.0)
                self._run_file_channel(work, channel, listener)

    def _run_file_channel(self, work: Work, channel: FileChannel, listener: Listener) -> None:
        generation = work.pending[channel.name]
        writer = ChannelWriter(self._library, generation)
        for batch in channel.run(
            work.path, work.video, generation, generation.watermark_seconds
        ):
            self.check_stop()
            self.check_video(work.video)
            writer.add(list(batch.evidence))
            writer.note(batch.notes)
            work.notes.extend(batch.notes)
            self._library.commit_all(
                [writer.take(batch.watermark_seconds, batch.analysed_seconds)]
            )
            listener(channel.name, batch.analysed_seconds)
        self._finish(writer, work.video.duration_seconds or 0.0)
        del work.pending[channel.name]

    def index_pictures(self, work: Work, listener: Listener) -> None:
        """Runs shots, segments and the picture channels over one decode, then completes the
        video's entry."""
        if work.pending:
            if any(stream.kind == "video" for stream in work.video.streams):
                PicturePass(self, work, listener).run()
            else:
                self._segment_without_pictures(work)
        self._write_duration(work)

    def _segment_without_pictures(self, work: Work) -> None:
        generation = work.pending.pop("shot", None)
        if generation is None:
            return
        writer = ChannelWriter(self._library, generation)
        duration = work.video.duration_seconds or 0.0
        spans = fixed_windows(duration, self._settings.segments, work.video.chapters)
        segments = self._segments(work.video, generation, spans)
        writer.add_points(self._library.segment_points(segments))
        self._finish(writer, work.video.duration_seconds or 0.0)

    def _segments(
        self, video: Video, generation: Generation, spans: list[tuple[float, float]]
    ) -> list[Segment]:
        titles = titles_from_chapters(spans, video.chapters)
        return [
            Segment(video.id, 0, generation.id, start, end, title)
            for (start, end), title in zip(spans, titles, strict=True)
        ]

    def _finish(self, writer: ChannelWriter, end_seconds: float) -> None:
        """Commits the rest and completes the channel's generation."""
        self._library.commit_all([writer.take(end_seconds, end_seconds, last=True)])
        self._library.complete(writer.generation)

    def _write_duration(self, work: Work) -> None:
        current = self._library.video(work.video.id)
        if current is None:
            raise RemovedMeanwhile(f"{work.video.title} was removed while it was being indexed.")
        if work.video.duration_seconds != current.duration_seconds:
            learned = dataclasses.replace(
                current, duration_seconds=work.video.duration_seconds
            )
            self._library.put_video(learned)
            self._library.store.flush()

    def check_stop(self) -> None:
        if self._stop():
            raise Interrupted("Stopped; what was indexed is kept, and the next run goes on.")

    def check_video(self, video: Video) -> None:
        if self._library.video(video.id) is None:
            raise RemovedMeanwhile(f"{video.title} was removed while it was being indexed.")


class PicturePass:
    """One decode of one video, feeding every pending picture channel."""

    def __init__(self, indexer: Indexer, work: Work, listener: Listener):
        self._indexer = indexer
        self._library = indexer._library
        self._settings = indexer._settings
        self._work = work
        self._video = work.video
        self._listener = listener
        self._at_seconds = 0.0
        self._committed_at = time.monotonic()

        self._runs: dict[str, PictureRun] = {}
        self._writers: dict[str, ChannelWriter] = {}
        self._from: dict[str, float] = {}
        for channel in indexer._channels.pictures:
            generation = work.pending.get(channel.name)
            if generation is None:
                continue
            start = generation.watermark_seconds
            self._writers[channel.name] = ChannelWriter(self._library, generation)
            self._runs[channel.name] = channel.open(work.video, generation, start)
            self._from[channel.name] = start

        # Shots are needed even where only another channel is unfinished: its samples hang on
        # them. Then they are found again and agree with what is stored.
        self._shot_writer: ChannelWriter | None = None
        shot = work.pending.get("shot")
        starts = list(self._from.values())
        self._segments: Segmenter | None = None
        if shot is not None:
            self._shot_writer = ChannelWriter(self._library, shot)
            self._segments = Segmenter(
                self._settings.segments,
                chapters=work.video.chapters,
                from_seconds=shot.watermark_seconds,
            )
            starts.append(shot.watermark_seconds)
        self._thumbnails = ThumbnailPicker()
        self._start_seconds = min(starts)

    def run(self) -> None:
        """Raises MediaError where there are no pictures after all, Interrupted, and the store's
        errors."""
        with VideoAnalysis(
            self._work.path,
            self._settings.shots,
            self._settings.sampling,
            from_seconds=self._start_seconds,
            last_cut_seconds=self._last_cut_seconds(),
        ) as analysis:
            try:
                for event in analysis:
                    self._take(event)
                    self._maybe_commit()
            except Interrupted:
                self._commit()
                raise
            self._note_damage(analysis)
            self._complete(analysis.end_seconds)

    def _take(self, event: Event) -> None:
        if isinstance(event, Sample):
            self._sample(event)
        elif isinstance(event, ShotEnded):
            self._shot(event)
        else:
            self._at_seconds = event.time_seconds
            if self._segments is not None:
                self._close_segments(self._segments.advance(event.time_seconds))
            self._listener("pictures", self._at_seconds)

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
        for writer in self._all_writers():
            writer.note([note])

    def _last_cut_seconds(self) -> float:
        """The last cut at or before where this pass starts, from the shots stored earlier."""
        shot = self._work.pending.get("shot")
        shots = self._library.evidence(
            self._video.id, channel="shot", generation=shot.id if shot else None
        )
        cuts = [time for shot in shots for time in (shot.start_seconds, shot.end_seconds)]
        return max((cut for cut in cuts if cut <= self._start_seconds), default=0.0)

    def _sample(self, sample: Sample) -> None:
        self._at_seconds = sample.time_seconds
        if self._segments is not None:
            self._thumbnails.push(sample.time_seconds, sample.image)
        for name, run in self._runs.items():
            if sample.time_seconds >= self._from[name]:
                self._writers[name].add(run.push(sample))

    def _shot(self, shot: ShotEnded) -> None:
        if self._shot_writer is None or self._segments is None:
            return
        generation = self._shot_writer.generation
        self._shot_writer.add(
            [
                Evidence(
                    video_id=self._video.id,
                    epoch=0,
                    channel="shot",
                    generation=generation.id,
                    start_seconds=shot.start_seconds,
                    end_seconds=shot.end_seconds,
                )
            ]
        )
        self._close_segments(self._segments.push(shot.start_seconds, shot.end_seconds))

    def _close_segments(self, spans: list[tuple[float, float]]) -> None:
        assert self._shot_writer is not None
        segments = self._indexer._segments(self._video, self._shot_writer.generation, spans)
        for segment in segments:
            if jpeg := self._thumbnails.pick(segment):
                self._indexer._thumbnails.write(segment, jpeg)
        self._shot_writer.add_points(self._library.segment_points(segments))

    def _maybe_commit(self) -> None:
        self._indexer.check_stop()
        if time.monotonic() - self._committed_at < self._settings.commit_seconds:
            return
        self._indexer.check_video(self._video)
        self._commit()

    def _all_writers(self) -> list[ChannelWriter]:
        shot = [] if self._shot_writer is None else [self._shot_writer]
        return [*self._writers.values(), *shot]

    def _commit(self) -> None:
        commits = [
            writer.take(self._runs[name].watermark_seconds, self._at_seconds)
            for name, writer in self._writers.items()
        ]
        if self._shot_writer is not None and self._segments is not None:
            commits.append(
                self._shot_writer.take(self._segments.open_seconds, self._at_seconds)
            )
        self._library.commit_all(commits)
        self._committed_at = time.monotonic()

    def _complete(self, end_seconds: float) -> None:
        end = max(end_seconds, self._at_seconds)
        video = self._work.video
        if video.duration_seconds is None or video.duration_seconds < end:
            self._work.video = dataclasses.replace(video, duration_seconds=end)
        for name, run in self._runs.items():
            self._writers[name].add(run.finish(end))
        if self._shot_writer is not None and self._segments is not None:
            self._close_segments(self._segments.finish(end))
        for name in list(self._writers):
            self._indexer._finish(self._writers[name], end)
            self._work.pending.pop(name)
        if self._shot_writer is not None:
            self._indexer._finish(self._shot_writer, end)
            self._work.pending.pop("shot")
            self._indexer._thumbnails.keep_only(
                self._video.id, self._library.segments(self._video.id)
            )
