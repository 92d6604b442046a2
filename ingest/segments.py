"""Shots become segments: stretches of at least a few seconds and at most half a minute or so.

What is too long is cut in the latter half of what is allowed, at its calmest point: where the
pictures change least round about. Nothing is happening there, so no event is cut in two. Among
points about equally calm the one nearest to where windows of the full length would be cut is taken,
so that what never changes (and a camera on a wall, whose changes are noise) has fixed windows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from index.schema import Chapter
from ingest.settings import SegmentSettings

SEGMENTS_CODE = 2
"""Raised when a change here moves the borders of segments."""

Span = tuple[float, float]
"""[start_seconds, end_seconds)"""

_ROUNDING_SECONDS = 1e-6

_CALM_SECONDS = 1.0
"""Changes that near a point disturb its calm."""

_NOISE = 4.0
"""Of change a second, in levels of 0..255: points that differ by no more are equally calm."""


class Segmenter:
    """Push shots in order; get segments as soon as they are certain. Together they partition
    [from_seconds, end), whatever the shots are.

    A segment is a shot, but shots shorter than `min_seconds` join a neighbour, stretches longer
    than `max_seconds` are cut, and chapters are never crossed. So every segment is between the
    two lengths, except in a chapter, or a video, shorter than the least.

    chapters: where segments must end. from_seconds: to resume, the end of any segment that was
    given out; push the changes and the shots that end after it, and the same segments follow as in
    an uninterrupted run. Without changes all points are equally calm.
    """

    def __init__(
        self,
        settings: SegmentSettings | None = None,
        chapters: Sequence[Chapter] = (),
        *,
        from_seconds: float = 0.0,
    ):
        self._settings = settings or SegmentSettings()
        borders = {c.start_seconds for c in chapters} | {c.end_seconds for c in chapters}
        self._borders = sorted(border for border in borders if border > from_seconds)
        self._end = from_seconds
        # `_closed` waits until `_open` is long enough to stand alone; both None or spans in a row.
        self._closed: Span | None = None
        self._open: Span | None = None
        self._change_times: list[float] = []
        self._changes: list[float] = []

    def push_change(self, time_seconds: float, change: float) -> None:
        """How much the frame shown at that time differs from the one before, 0..255. Those before
        a time come before that time is pushed, or told to `advance`."""
        if time_seconds > self.open_seconds:
            self._change_times.append(time_seconds)
            self._changes.append(change)

    def push(self, start_seconds: float, end_seconds: float) -> list[Span]:
        """The next shot. A gap before it, or what overlaps the shots before, counts to it."""
        del start_seconds  # the shots partition the video; where the last ended is what counts
        done: list[Span] = []
        while self._borders and self._borders[0] <= end_seconds:
            border = self._borders.pop(0)
            done += self._add(border)
            done += self._close_all()
        done += self._add(end_seconds)
        self._forget()
        return done

    def advance(self, time_seconds: float) -> list[Span]:
        """The open shot lasts until there at least. Gives out what its end cannot change, so that
        neither memory nor the place of a resume hangs on how long a shot is."""
        settings = self._settings
        done: list[Span] = []
        while True:
            if self._borders and self._borders[0] <= time_seconds:
                done += self._add(self._borders.pop(0))
                done += self._close_all()
                continue
            short = self._open is not None and self._is_short(self._open)
            start = self._open[0] if short else self._end
            known = start + settings.max_seconds + settings.min_seconds
            if time_seconds < known:
                self._forget()
                return done
            done += self._add(self._cut_of((start, known)))

    @property
    def open_seconds(self) -> float:
        """Where the earliest segment starts that was not given out yet."""
        spans = [span[0] for span in (self._closed, self._open) if span is not None]
        return min(spans, default=self._end)

    def finish(self, end_seconds: float) -> list[Span]:
        """The video ends there: all that is left."""
        return self.push(self._end, end_seconds) + self._close_all()

    def _add(self, end_seconds: float) -> list[Span]:
        if end_seconds <= self._end:
            return []
        shot = (self._end, end_seconds)
        self._end = end_seconds
        done: list[Span] = []
        if self._open is None:
            self._open = shot
        elif self._belongs(self._open, shot):
            self._open = (self._open[0], end_seconds)
        else:
            done += self._close()
            self._open = shot
        while _length(self._open) > self._settings.max_seconds + _ROUNDING_SECONDS:
            middle = self._cut_of(self._open)
            rest = (middle, self._open[1])
            self._open = (self._open[0], middle)
            done += self._close()
            self._open = rest
        if self._closed is not None and not self._is_short(self._open):
            done.append(self._closed)
            self._closed = None
        return done

    def _belongs(self, segment: Span, shot: Span) -> bool:
        if self._is_short(segment):
            return True
        return self._is_short(shot) and shot[1] - segment[0] <= self._settings.max_seconds

    def _cut_of(self, span: Span) -> float:
        """Where to cut what is longer than `max_seconds`. Hangs on nothing after the greatest
        length and the least, however much longer it is, nor on anything before it."""
        least, most = self._settings.min_seconds, self._settings.max_seconds
        start, end = span[0], min(span[1], span[0] + most + least)
        low, high = start + most / 2, start + most
        # Full lengths first; what does not fill one and a bit is halved, so no rest is short.
        if end == start + most + least:
            return self._calmest(low, high, high, (start, end))
        return self._calmest(low, end - least, (start + end) / 2, (start, end))

    def _calmest(self, low: float, high: float, ideal: float, within: Span) -> float:
        """The frame shown in [low, high] round which least changes, or else `ideal`."""
        first = bisect_right(self._change_times, within[0])
        last = bisect_left(self._change_times, within[1])
        times = np.array(self._change_times[first:last])
        sums = np.concatenate([[0.0], np.cumsum(self._changes[first:last])])
        points = np.concatenate([[ideal], times[(times >= low) & (times <= high)]])
        until = np.searchsorted(times, points + _CALM_SECONDS, side="right")
        since = np.searchsorted(times, points - _CALM_SECONDS, side="left")
        a_second = (sums[until] - sums[since]) / (2 * _CALM_SECONDS)
        calm = points[a_second <= a_second.min() + _NOISE]
        return float(min(calm, key=lambda point: (abs(point - ideal), point)))

    def _forget(self) -> None:
        before = bisect_right(self._change_times, self.open_seconds)
        del self._change_times[:before], self._changes[:before]

    def _close(self) -> list[Span]:
        """The open span becomes the closed one; the closed one before it is certain."""
        done = [] if self._closed is None else [self._closed]
        self._closed, self._open = self._open, None
        return done

    def _close_all(self) -> list[Span]:
        closed, last = self._closed, self._open
        self._closed = self._open = None
        if last is None:
            return [] if closed is None else [closed]
        if closed is None:
            return [last]
        # The rest is short, or it would have let the closed one go.
        whole = (closed[0], last[1])
        if _length(whole) <= self._settings.max_seconds:
            return [whole]
        middle = self._cut_of(whole)
        return [(whole[0], middle), (middle, whole[1])]

    def _is_short(self, span: Span) -> bool:
        return _length(span) < self._settings.min_seconds


def fixed_windows(
    duration_seconds: float,
    settings: SegmentSettings | None = None,
    chapters: Sequence[Chapter] = (),
) -> list[Span]:
    """Segments where there are no shots: sound alone, or pictures that never cut."""
    return Segmenter(settings, chapters).finish(duration_seconds)


def titles_from_chapters(segments: Sequence[Span], chapters: Sequence[Chapter]) -> list[str | None]:
    """For each segment the title of the chapter that holds most of it; None without one."""
    titles = []
    for start, end in segments:
        best = max(
            chapters,
            key=lambda c: min(end, c.end_seconds) - max(start, c.start_seconds),
            default=None,
        )
        inside = best is not None and min(end, best.end_seconds) > max(start, best.start_seconds)
        titles.append((best.title or None) if inside else None)
    return titles


def _length(span: Span) -> float:
    return span[1] - span[0]
