"""One channel's way into the library: evidence in as it is perceived, commits out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from index.library import Library
from index.passages import PassageBuilder, passage_point, reading_order
from index.schema import Evidence, Generation, Segment, Space, Video
from index.store import Point, Vector
from ingest.segments import Span, titles_from_chapters

Commit = tuple[Generation, list[Evidence], list[Point]]
"""What one commit of a channel writes; see Library.commit_all."""


class ChannelWriter:
    """Gathers one channel's evidence, and what is derived from it, until the next commit.

    Evidence waits until the watermark has passed its start: only then is it final, and only then
    is its place in the order that passages are cut in known.
    """

    def __init__(self, library: Library, generation: Generation):
        self._library = library
        self.generation = generation
        self.waiting: list[Evidence] = []
        self._points: dict[str, Point] = {}
        self._spaces: set[str] = set()
        library.resume(generation)
        before = library.evidence(
            generation.video_id, channel=generation.channel, generation=generation.id
        )
        self._passages = PassageBuilder(generation)
        if before:
            self._passages.resume(sorted(before, key=reading_order))

    def add(self, evidence: list[Evidence]) -> None:
        self.waiting.extend(evidence)

    def add_points(self, points: list[Point]) -> None:
        """Points of this generation that are derived in another way."""
        self._points.update((point.id, point) for point in points)

    def give_up(self, seconds: float) -> None:
        """Counts a stretch as tried and left uncovered."""
        if seconds > 0:
            before = self.generation.detail.get("uncovered_seconds", 0.0)
            self._detail(uncovered_seconds=before + seconds)

    def note(self, notes: Sequence[str]) -> None:
        """Keeps what the user should know with the generation."""
        if notes:
            kept = dict.fromkeys((*self.generation.detail.get("notes", ()), *notes))
            self._detail(notes=list(kept))

    def _detail(self, **more: Any) -> None:
        detail = {**self.generation.detail, **more}
        self.generation = dataclasses.replace(self.generation, detail=detail)

    def know_spaces(self, vectors: Mapping[str, Vector]) -> None:
        """A model's space becomes known to searchers before anything is written to it; once a
        run, because the run before may have been killed half-way through."""
        for name in vectors.keys() - self._spaces:
            self._spaces.add(name)
            if "." in name:  # as ingest.models.encoders.space_name makes them
                channel = name.partition(".")[0]
                model = self.generation.detail.get("model", "")
                space = Space(name, channel, model, len(vectors[name]))
                self._library.add_space(space, self.generation.id)
                known = self.generation.detail.get("spaces", ())
                self._detail(spaces=sorted({*known, name}))

    def take(
        self, watermark_seconds: float, analysed_seconds: float, *, last: bool = False
    ) -> Commit:
        """What a commit writes when the channel has come this far; all there is when `last`."""
        final_before = math.inf if last else watermark_seconds
        ready = [e for e in self.waiting if e.start_seconds < final_before]
        for one in (*ready, *self._points.values()):
            self.know_spaces(one.vectors)
        self.waiting = [e for e in self.waiting if e.start_seconds >= final_before]
        ready.sort(key=reading_order)
        for passage in self._passages.push([e for e in ready if e.text]):
            self._points[passage.id] = passage_point(passage)
        derived = list(self._points.values())
        if ready:
            derived.extend(self._passages.statistics_points())
            derived.extend(self._passages.outline_points())
        self._points = {}
        self.generation = dataclasses.replace(
            self.generation,
            watermark_seconds=watermark_seconds,
            analysed_seconds=max(analysed_seconds, self.generation.analysed_seconds),
        )
        return self.generation, ready, derived


def segments_of(video: Video, generation: Generation, spans: Iterable[Span]) -> list[Segment]:
    """Segments over the spans, titled by the container's chapters."""
    spans = list(spans)
    titles = titles_from_chapters(spans, video.chapters)
    return [
        Segment(video.id, generation.epoch, generation.id, start, end, title)
        for (start, end), title in zip(spans, titles, strict=True)
    ]


def segments_between(
    library: Library, generation: Generation, from_seconds: float, until_seconds: float | None
) -> list[Segment]:
    """The segments of the generation's epoch that begin at from_seconds or later and end at
    until_seconds at the latest, where that is not None, in time order."""
    return [
        segment
        for segment in library.segments(generation.video_id, generation.epoch)
        if segment.start_seconds >= from_seconds
        and (until_seconds is None or segment.end_seconds <= until_seconds)
    ]
