"""Shots become segments by meaning: what belongs together is joined, what changes without a cut is
divided.

* Between shots: semantics-aware stitching (Chen et al., Panda-70M, CVPR 2024). Neighbours join
  while the end of one and the beginning of the next are alike. The original also cuts what is
  longer than 7 s into pieces of 5 s, since it looks at two pictures a piece; here there is a vector
  for every picture that differs, so a long shot is divided where they say, not every 5 s.
* Inside a shot longer than that: SceneTilling in its causal form (ingest.tilling). The depth of the
  valley between two neighbouring pictures must stand out among those of the shot so far, and be as
  large as the difference that parts two shots: a camera that is carried about has valleys
  everywhere, a camera on a wall has valleys of noise.
* Guard rails: a segment is between the two lengths of SegmentSettings, whatever the pictures do.
  Of borders that lie closer together than the least length the strongest stands, a cut before any
  other.

Where a stretch that belongs together grows too long, it is cut in the latter half of what is
allowed: at a cut, if there is one (the least alike), since there the viewer sees a border anyway.
Else at its calmest point, which is where the embeddings change least round about: nothing is
happening there, so no event is cut in two. (The greatest change would be the middle of one: had it
been the border of two, it would have been found above.) Among equally calm points the one nearest
to where fixed windows would be cut is taken, so that what never changes has fixed windows.

`ingest.segments.Segmenter` decides about a shot when it ends, knowing nothing of the next; this one
looks ahead for as long as the greatest length and some seconds, which is what a choice of the
weakest and the calmest place takes. Hence the two.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from index.schema import Chapter
from ingest.segments import Span
from ingest.settings import SegmentSettings, StitchSettings
from ingest.tilling import CausalDepths

_DECIMALS = 3
"""Of a cosine: finer differences are noise of the arithmetic, and choose nothing."""


@dataclass(frozen=True, slots=True)
class FrameVector:
    """What was shown in [start_seconds, end_seconds): float32 of shape (size,), unit length."""

    start_seconds: float
    end_seconds: float
    vector: np.ndarray


@dataclass(frozen=True, slots=True)
class _Border:
    """Where a segment may end. strength: how unlike the two sides are."""

    time_seconds: float
    is_cut: bool
    strength: float


class Stitcher:
    """Push cuts and frames, each in time order; `advance` says how far both are known and returns
    the segments that are certain. Together they partition [from_seconds, end).

    Causal: the segments are the same however often `advance` is called. segments: the lengths.
    chapters: where segments must end. from_seconds: to resume, the end of any segment that was
    given out; push the cuts after it and the frames that end after it, and the same segments follow
    as in an uninterrupted run. Holds what lies after `open_seconds`.
    """

    def __init__(
        self,
        segments: SegmentSettings | None = None,
        settings: StitchSettings | None = None,
        chapters: Sequence[Chapter] = (),
        *,
        from_seconds: float = 0.0,
    ):
        self._lengths = segments or SegmentSettings()
        self._settings = settings or StitchSettings()
        edges = {c.start_seconds for c in chapters} | {c.end_seconds for c in chapters}
        self._chapters = sorted(edge for edge in edges if edge > from_seconds)
        self._start = from_seconds
        self._known = from_seconds
        self._ended = False
        self._cuts: list[float] = []
        self._frames: list[FrameVector] = []

    @property
    def open_seconds(self) -> float:
        """Where the segment starts that was not given out yet."""
        return self._start

    def push_cut(self, time_seconds: float) -> None:
        """A shot begins there. Cuts before `open_seconds` are passed over."""
        if time_seconds > self._start:
            self._cuts.append(time_seconds)

    def push_frame(self, frame: FrameVector) -> None:
        """Frames do not overlap. Those that end before `open_seconds` are passed over."""
        if frame.end_seconds > self._start:
            self._frames.append(frame)

    def advance(self, time_seconds: float) -> list[Span]:
        """All cuts and frames that begin before that time have been pushed."""
        self._known = max(self._known, time_seconds)
        return self._close()

    def finish(self, end_seconds: float) -> list[Span]:
        """The video ends there: all that is left."""
        self._known = end_seconds
        self._ended = True
        return self._close()

    def _close(self) -> list[Span]:
        done: list[Span] = []
        while self._start < self._known and (border := self._next_border()) is not None:
            done.append((self._start, border))
            # From here on all is a function of what lies after the border: a resume agrees.
            self._start = border
            del self._cuts[: bisect_right(self._cuts, border)]
            del self._frames[: bisect_right(self._frames, border, key=_end)]
            del self._chapters[: bisect_right(self._chapters, border)]
        return done

    @property
    def _decided(self) -> float:
        """Borders up to here are judged: what follows them is known."""
        return self._known if self._ended else self._known - self._settings.long_shot_seconds

    def _next_border(self) -> float | None:
        """Where the open segment ends; None where that is not certain yet."""
        least, most = self._lengths.min_seconds, self._lengths.max_seconds
        start, decided = self._start, self._decided
        stop = min(
            self._chapters[0] if self._chapters else math.inf,
            self._known if self._ended else math.inf,
        )
        full = start + most
        found = [b for b in self._borders(min(stop, decided, full + least)) if self._stands(b)]

        near = [b for b in found if start + least <= b.time_seconds <= min(full, stop - least)]
        if near:
            first = near[0].time_seconds
            if not self._ended and decided < first + 2 * least:
                return None
            rivals = [b for b in near if b.time_seconds < first + least]
            return max(rivals, key=lambda b: (b.is_cut, b.strength)).time_seconds
        if stop <= full:
            return stop if decided >= stop else None
        if not self._ended and decided < full + least:
            return None
        after = min([stop, *(b.time_seconds for b in found if b.time_seconds > full)])
        return self._forced(after)

    def _stands(self, border: _Border) -> bool:
        """Whether it parts two events; those inside shots are there only if they do."""
        apart = 1 - self._settings.join_cosine
        return not border.is_cut or border.strength > apart

    def _forced(self, after: float) -> float:
        """A place to cut, where nothing but the length asks for it. after: the next border."""
        least, most = self._lengths.min_seconds, self._lengths.max_seconds
        start = self._start
        low, high = start + most / 2, min(start + most, after - least)
        # Full lengths first; what does not fill one and a bit is halved, so no rest is short.
        ideal = start + most if after - start >= most + least else (start + after) / 2
        ideal = min(max(ideal, low), high)
        cuts = [b for b in self._borders(high) if b.is_cut and b.time_seconds >= low]
        if cuts:
            weakest = max(
                cuts,
                key=lambda b: (round(b.strength, _DECIMALS), -abs(b.time_seconds - ideal)),
            )
            return weakest.time_seconds
        return self._calmest(low, high, ideal)

    def _calmest(self, low: float, high: float, ideal: float) -> float:
        """The time in [low, high] with the least change near by: each change counts less the
        farther it is, and not at all from `calm_seconds` on. So the sum is piecewise linear, and
        least at one of the corners."""
        reach = self._settings.calm_seconds
        until = self._start + self._lengths.max_seconds + self._lengths.min_seconds
        changes = [
            (right.start_seconds, 1 - _cosine(left, right))
            for left, right in pairwise(self._overlapping(self._start, until))
            if right.start_seconds > self._start
        ]
        if not changes:
            return ideal
        times, amounts = np.array(changes).T
        corners = np.concatenate([[ideal, low, high], times - reach, times, times + reach])
        corners = corners[(corners >= low) & (corners <= high)]
        nearness = np.maximum(0, 1 - np.abs(corners[:, None] - times[None, :]) / reach)
        change = np.round(nearness @ amounts, _DECIMALS)
        return float(corners[np.lexsort((corners, np.abs(corners - ideal), change))[0]])

    def _borders(self, until: float) -> list[_Border]:
        """Every cut after the open start and up to `until`, and what divides a long shot there."""
        cuts = self._cuts[: bisect_right(self._cuts, until)]
        edges = [self._start, *cuts]
        found: list[_Border] = []
        for begin, cut in zip(edges, [*cuts, None], strict=True):
            end = self._shot_end(begin)
            if end - begin > self._settings.long_shot_seconds:
                found += self._inside(begin, end, until)
            if cut is not None:
                found.append(_Border(cut, True, self._apart(begin, cut)))
        return found

    def _shot_end(self, begin: float) -> float:
        at = bisect_right(self._cuts, begin)
        after = self._cuts[at] if at < len(self._cuts) else math.inf
        return min(after, self._known) if self._ended else after

    def _apart(self, begin: float, cut: float) -> float:
        """How unlike the end of the shot [begin, cut) and the beginning of the next one are; where
        nothing is known of either, just enough for the cut to stand."""
        settings = self._settings
        end = min(self._shot_end(cut), cut + settings.long_shot_seconds)
        edge_before = settings.edge_share * min(cut - begin, settings.long_shot_seconds)
        edge_after = settings.edge_share * (end - cut)
        before = self._shown(cut - edge_before, begin, cut)
        after = self._shown(cut + edge_after, cut, end)
        if before is None or after is None:
            return math.nextafter(1 - settings.join_cosine, math.inf)
        return 1 - _cosine(before, after)

    def _shown(self, time_seconds: float, begin: float, end: float) -> FrameVector | None:
        """The frame of [begin, end) that is shown at that time, or else nearest to it."""
        return min(
            self._overlapping(begin, end),
            key=lambda f: max(f.start_seconds - time_seconds, time_seconds - f.end_seconds, 0.0),
            default=None,
        )

    def _overlapping(self, begin: float, end: float) -> list[FrameVector]:
        first = bisect_right(self._frames, begin, key=_end)
        return self._frames[first : bisect_left(self._frames, end, key=_begin)]

    def _inside(self, begin: float, end: float, until: float) -> list[_Border]:
        """What SceneTilling finds in one shot and before `until`, in its causal form, so that what
        comes later in the shot changes nothing."""
        depths = CausalDepths(self._settings.deviations)
        found = []
        for left, right in pairwise(self._overlapping(begin, min(end, until))):
            depth, stands_out = depths.push(_cosine(left, right))
            if stands_out and depth > 1 - self._settings.join_cosine:
                found.append(_Border(right.start_seconds, False, depth))
        return found


def stitch(
    shots: Sequence[Span],
    frames: Sequence[FrameVector],
    chapters: Sequence[Chapter] = (),
    *,
    segments: SegmentSettings | None = None,
    settings: StitchSettings | None = None,
) -> list[Span]:
    """The segments of a whole video. shots: a partition of [0, end)."""
    stitcher = Stitcher(segments, settings, chapters)
    for start, _ in shots:
        stitcher.push_cut(start)
    for frame in frames:
        stitcher.push_frame(frame)
    return stitcher.finish(shots[-1][1]) if shots else []


def _begin(frame: FrameVector) -> float:
    return frame.start_seconds


def _end(frame: FrameVector) -> float:
    return frame.end_seconds


def _cosine(a: FrameVector, b: FrameVector) -> float:
    return float(a.vector @ b.vector)
