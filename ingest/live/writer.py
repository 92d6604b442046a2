"""A live channel's way into the library: what is final, and what is still open.

What is still open is written too, so that it can be found: as evidence with `provisional: true`
among its attributes, with passages and counts of words of its own. Evidence that becomes final has
the id that it had before and takes its own place; provisional passages are cut from open evidence
alone, so theirs are never those of final ones. Each writing of them carries a number in its payload
(`provisional`), and what has a lower one is deleted behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from index.library import Library
from index.passages import PassageBuilder, passage_point, reading_order
from index.records import evidence_point, generation_from
from index.schema import Evidence, Generation, microseconds
from index.store import Filter, Point, Range, where
from ingest.live.told import with_told
from ingest.writer import ChannelWriter, Commit

OPEN = "provisional"
"""In payloads the number of the writing, in attributes of evidence whether it is."""

_GROWN_SECONDS = 5.0
"""Of evidence that only lasts longer, so much makes it worth writing again."""


@dataclass(frozen=True, slots=True)
class LiveCommit:
    """What one channel's commit writes. evidence: what is new in it or has changed, provisional or
    final. stale: what is to be deleted behind it. empty: there is nothing to tell but how far it
    has come."""

    commit: Commit
    evidence: tuple[Evidence, ...]
    stale: tuple[Filter, ...]
    empty: bool


class LiveWriter(ChannelWriter):
    """See the module."""

    def __init__(self, library: Library, generation: Generation):
        super().__init__(library, generation)
        self._number = 0
        self._shown: dict[str, Evidence] = {}
        self._written: dict[str, Point] = {}

    def take_live(
        self,
        watermark_seconds: float,
        analysed_seconds: float,
        still_open: Sequence[Evidence] = (),
        *,
        last: bool = False,
    ) -> LiveCommit:
        """What a commit writes when the channel has come this far. still_open: what is being
        perceived (see PictureRun.still_open); the waiting evidence is open as well. last: all there
        is becomes final."""
        self.generation = with_told(self.generation)  # of the commit before
        generation, ready, derived = self.take(watermark_seconds, analysed_seconds, last=last)
        waiting = () if last else (*self.waiting, *still_open)
        now = {one.id: provisional(one) for one in waiting}
        final = {one.id for one in ready}
        news = [one for one in now.values() if self._is_news(one)]
        gone = self._shown.keys() - now.keys()
        if not (ready or derived or news or gone):
            return LiveCommit((generation, [], []), (), (), True)
        points: list[Point] = []
        stale: tuple[Filter, ...] = ()
        if ready or news or gone:
            self._number += 1
            points = self._points_of(now.values())
            here = {point.id for point in (*points, *derived)} | final
            left = [point for id, point in self._written.items() if id not in here]
            stale = self._older_than_this(left)
            self._written = {point.id: point for point in points}
            self._shown = now
        return LiveCommit((generation, ready, [*derived, *points]), (*ready, *news), stale, False)

    def _is_news(self, one: Evidence) -> bool:
        shown = self._shown.get(one.id)
        if shown is None:
            return True
        grown = one.end_seconds - shown.end_seconds
        return one.text != shown.text or not 0 <= grown < _GROWN_SECONDS

    def _points_of(self, evidence: Iterable[Evidence]) -> list[Point]:
        ordered = sorted(evidence, key=reading_order)
        for one in ordered:
            self.know_spaces(one.vectors)
        builder = PassageBuilder(self.generation, part=OPEN)
        passages = builder.push(ordered)
        points = [
            *map(evidence_point, ordered),
            *map(passage_point, passages),
            *builder.statistics_points(),
        ]
        return [
            Point(point.id, point.payload | {OPEN: self._number}, point.vectors) for point in points
        ]

    def _older_than_this(self, left: Sequence[Point]) -> tuple[Filter, ...]:
        """Filters that pass those points, and what is older than them."""
        older = where(generation=self.generation.id).and_(Range(OPEN, lt=self._number))
        starts = [p.payload["start_us"] for p in left if p.payload["kind"] != "text_stats"]
        filters = []
        if starts:
            filters.append(older.and_(Range("start_us", gte=min(starts))))
        if len(starts) < len(left):
            filters.append(older.also(where(kind="text_stats")))
        return tuple(filters)


def provisional(evidence: Evidence) -> Evidence:
    return dataclasses.replace(evidence, attributes={**evidence.attributes, OPEN: True})


def settled(evidence: Evidence) -> Evidence:
    """The same as final evidence."""
    attributes = {name: value for name, value in evidence.attributes.items() if name != OPEN}
    return dataclasses.replace(evidence, attributes=attributes)


def commit_live(library: Library, commits: Sequence[LiveCommit], *, last: bool = False) -> None:
    """Writes them. last: the generations are complete with it."""
    write = library.finish if last else library.commit_all
    write([one.commit for one in commits])
    for one in commits:
        for stale in one.stale:
            library.store.delete(stale)


def is_gone(library: Library, generation: Generation) -> bool:
    """Whether the video was removed meanwhile, or retention has let go of the epoch: nothing of it
    must come back."""
    return not library.store.retrieve([generation.id])


def settle(library: Library, generation: Generation, end_seconds: float = 0.0) -> None:
    """Makes what a run that was killed has left of a generation final and complete, as it stands:
    what had been committed stays, and nothing comes after it. end_seconds: up to there it should
    have come; what it lacks counts as not covered."""
    evidence = library.evidence(generation.video_id, generation=generation.id, with_vectors=True)
    watermark = generation.watermark_seconds
    before = [one for one in evidence if one.start_seconds < watermark]
    left = [settled(one) for one in evidence if one.start_seconds >= watermark]
    builder = PassageBuilder(generation)
    builder.resume(sorted(before, key=reading_order))
    passages = builder.push(sorted(left, key=reading_order))
    points = [*map(passage_point, passages), *builder.statistics_points()]
    points += builder.outline_points()
    end = max((one.end_seconds for one in evidence), default=generation.analysed_seconds)
    analysed = max(end, generation.analysed_seconds)
    detail = dict(generation.detail)
    if end_seconds > analysed:
        uncovered = detail.get("uncovered_seconds", 0.0) + end_seconds - analysed
        detail["uncovered_seconds"] = uncovered
    done = dataclasses.replace(
        generation, watermark_seconds=end, analysed_seconds=analysed, detail=detail
    )
    library.commit_all([(generation, left, points)])
    library.store.delete(
        where(generation=generation.id).and_(
            Range("start_us", gte=microseconds(watermark)), Range(OPEN, gte=0)
        )
    )
    library.store.delete(
        where(generation=generation.id, kind="text_stats").and_(Range(OPEN, gte=0))
    )
    library.finish([(done, [], [])])


def settle_failed(library: Library, generation: Generation) -> None:
    """As `settle`, of what somebody has left who failed, wherever that has come to."""
    for point in library.store.retrieve([generation.id]):
        settle(library, generation_from(point.payload))
