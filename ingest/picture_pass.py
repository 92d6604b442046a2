"""One decode of one video, feeding shots, segments, thumbnails and every picture channel."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from index.errors import Interrupted, MediaError
from index.library import Library
from index.records import segment_from, segment_point
from index.schema import Evidence, Segment
from index.store import scroll, where
from ingest.analysis import Event, ShotEnded, VideoAnalysis
from ingest.channel import PictureRun, Sample
from ingest.plan import Channels
from ingest.segments import Segmenter, Span
from ingest.settings import IngestSettings
from ingest.thumbnails import ThumbnailPicker, Thumbnails
from ingest.work import Checks, Listener, Work
from ingest.writer import ChannelWriter, Commit, segments_of


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
        self._at_seconds = 0.0
        self._committed_at = time.monotonic()

        self._runs: dict[str, PictureRun] = {}
        self._writers: dict[str, ChannelWriter] = {}
        self._from: dict[str, float] = {}
        for channel in channels.pictures:
            generation = work.ours(channel.name)
            if generation is None:
                continue
            checks.stopped()
            start = generation.watermark_seconds
            self._writers[channel.name] = ChannelWriter(self._library, generation)
            self._runs[channel.name] = channel.open(work.video, generation, start)
            self._from[channel.name] = start

        # Shots are needed even where only another channel is unfinished: its samples hang on
        # them. Then they are found again and agree with what is stored.
        self._shot_writer: ChannelWriter | None = None
        shot = work.ours("shot")
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
        self._picker = ThumbnailPicker()
        self._start_seconds = min(starts)

    def run(self) -> None:
        """Raises MediaError where there are no pictures after all, Interrupted, and the store's
        errors."""
        with contextlib.ExitStack() as stack:
            for run in self._runs.values():
                stack.callback(run.close)
            self._run()

    def _run(self) -> None:
        with VideoAnalysis(
            self._work.path,
            self._settings.shots,
            self._settings.sampling,
            from_seconds=self._start_seconds,
            known_cuts=self._known_cuts(),
        ) as analysis:
            try:
                for event in analysis:
                    self._take(event)
                    self._maybe_commit()
            except Interrupted:
                with contextlib.suppress(MediaError):
                    self._commit()
                raise
            self._note_damage(analysis)
            self._checks.removed(self._video)
            self._complete(analysis.end_seconds)

    def _take(self, event: Event) -> None:
        if isinstance(event, Sample):
            self._sample(event)
        elif isinstance(event, ShotEnded):
            self._shot(event)
        else:
            self._at_seconds = event.time_seconds
            if self._segments is not None:
                for time_seconds, change in event.changes:
                    self._segments.push_change(time_seconds, change)
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

    def _known_cuts(self) -> list[float]:
        """The cuts up to where this pass starts, from the shots stored earlier."""
        shot = self._work.ours("shot")
        shots = self._library.evidence(
            self._video.id, channel="shot", generation=shot.id if shot else None
        )
        cuts = {time for shot in shots for time in (shot.start_seconds, shot.end_seconds)}
        return sorted(cut for cut in cuts if cut <= self._start_seconds)

    def _sample(self, sample: Sample) -> None:
        self._at_seconds = sample.time_seconds
        if self._segments is not None:
            self._picker.push(sample.time_seconds, sample.image)
        for name, run in self._runs.items():
            if sample.time_seconds >= self._from[name]:
                with self._work.spent.on(name):
                    found = run.push(sample)
                self._writers[name].add(found)

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

    def _close_segments(self, spans: list[Span]) -> None:
        assert self._shot_writer is not None
        segments = segments_of(self._video, self._shot_writer.generation, spans)
        for segment in segments:
            if jpeg := self._picker.pick(segment):
                self._thumbnails.write(segment, jpeg)
        self._shot_writer.add_points([segment_point(segment) for segment in segments])

    def _maybe_commit(self) -> None:
        self._checks.stopped()
        if time.monotonic() - self._committed_at < self._settings.commit_seconds:
            return
        self._commit()

    def _all_writers(self) -> list[ChannelWriter]:
        shot = [] if self._shot_writer is None else [self._shot_writer]
        return [*self._writers.values(), *shot]

    def _commit(self) -> None:
        self._checks.removed(self._video)
        self._work.check_unchanged()
        with self._work.spent.on("commits"):
            self._commit_now()

    def _commit_now(self) -> None:
        commits = [
            writer.take(self._runs[name].watermark_seconds, self._at_seconds)
            for name, writer in self._writers.items()
        ]
        if self._shot_writer is not None and self._segments is not None:
            commits.append(self._shot_writer.take(self._segments.open_seconds, self._at_seconds))
        self._library.commit_all(commits)
        self._committed_at = time.monotonic()

    def _complete(self, end_seconds: float) -> None:
        self._work.check_unchanged()
        end = max(end_seconds, self._at_seconds)
        video = self._work.video
        if video.duration_seconds is None or video.duration_seconds < end:
            self._work.video = dataclasses.replace(video, duration_seconds=end)
        for name, run in self._runs.items():
            with self._work.spent.on(name):
                found = run.finish(end)
            self._writers[name].add(found)
        if self._shot_writer is not None and self._segments is not None:
            self._close_segments(self._segments.finish(end))
        commits = [w.take(end, end, last=True) for w in self._all_writers()]
        if self._shot_writer is not None:
            # Before they are complete: nobody would come back for what is left behind then.
            self._thumbnails.keep_only(self._video.id, self._segments_with(commits[-1]))
        with self._work.spent.on("commits"):
            self._library.finish(commits)
        for writer in self._all_writers():
            self._work.pending.pop(writer.generation.channel)

    def _segments_with(self, commit: Commit) -> list[Segment]:
        """The segments of this cutting: those committed and those about to be."""
        generation, _, derived = commit
        wanted = where(kind="segment", generation=generation.id)
        points = [*scroll(self._library.store, wanted), *derived]
        return [segment_from(p.payload) for p in points if p.payload["kind"] == "segment"]
