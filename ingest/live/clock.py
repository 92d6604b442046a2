"""One clock over a stream whose own may jump, wrap and begin anew.

Each unbroken clock of the source is an epoch. Stream time begins with the first picture ever seen,
never goes back, and goes on between two epochs as the time of day does; so what nobody saw is a
gap in it. One that becomes too long to be kept, counted and let go of as one is followed by
another without a gap. The time of day of an epoch's start is when its first picture was shown: what
has been lying in a buffer arrives late and nothing arrives early, so it is the earliest that any of
the first pictures allows.
"""

from __future__ import annotations

import math
from dataclasses import replace

from index.schema import Epoch

WRAP_SECONDS = 2**33 / 90_000
"""MPEG-TS counts 33 bits at 90 kHz: 26 h 30 min."""

_BACK_SECONDS = 0.5
_WRAP_LEEWAY_SECONDS = 60.0
_ANCHOR_SECONDS = 10.0
_LONGEST_GAP_SECONDS = 86_400.0


class StreamClock:
    """Places the times of a source's pictures.

    epochs: those there have been. waits: whether the source waits for its reader: then pictures
    come as fast as they are read, and the time of day says nothing about a gap. longest_seconds: of
    an epoch.
    """

    def __init__(
        self,
        epochs: tuple[Epoch, ...],
        *,
        waits: bool,
        gap_seconds: float,
        longest_seconds: float = math.inf,
    ):
        self.epoch: Epoch | None = None
        self.end_seconds = epochs[-1].end_seconds or epochs[-1].start_seconds if epochs else 0.0
        self._number = epochs[-1].number + 1 if epochs else 0
        self._origin = epochs[0].wall_clock_start - epochs[0].start_seconds if epochs else None
        self._waits = waits
        self._gap_seconds = gap_seconds
        self._longest_seconds = longest_seconds
        self._why: str | None = "started again" if epochs else "started"
        self._raw = 0.0
        self._raw_start = 0.0

    def break_off(self, why: str) -> None:
        """The next picture begins an epoch."""
        self._why = why
        self.epoch = None

    def place(self, raw_seconds: float | None, length_seconds: float, now: float) -> float:
        """Stream time of the next picture. raw_seconds: its time by the source; None where it has
        none. length_seconds: how long a picture is shown. now: the time of day, Unix time. Where
        it begins an epoch, `epoch` is another one afterwards."""
        if raw_seconds is None:
            raw_seconds = self._raw + length_seconds
        raw_seconds, gap = self._checked(raw_seconds, length_seconds)
        if self.epoch is None:
            self._begin(raw_seconds, gap, now)
        elif self.from_raw(raw_seconds) - self.epoch.start_seconds >= self._longest_seconds:
            self._follow(raw_seconds, now)
        assert self.epoch is not None
        self._raw = raw_seconds
        seconds = self.from_raw(raw_seconds)
        self.end_seconds = max(self.end_seconds, seconds + length_seconds)
        self._anchor(now - (seconds - self.epoch.start_seconds), seconds)
        return seconds

    def from_raw(self, raw_seconds: float) -> float:
        """Stream time of a time by the source, in the present epoch."""
        assert self.epoch is not None
        return self.epoch.start_seconds + (raw_seconds - self._raw_start)

    def _checked(self, raw: float, length: float) -> tuple[float, float]:
        """The time, mended where it stands still, and how far it jumped ahead; breaks off where
        it is another clock's."""
        if self.epoch is None:
            return raw, 0.0
        ahead = raw - self._raw
        if ahead < -_BACK_SECONDS:
            wrapped = abs(ahead + WRAP_SECONDS) < _WRAP_LEEWAY_SECONDS
            self.break_off("timestamps wrapped" if wrapped else "timestamps went back")
        elif ahead > max(self._gap_seconds, 3 * length):
            self.break_off(f"a gap of {ahead:.1f} s")
            return raw, ahead - length
        elif ahead <= 0:
            return self._raw + length, 0.0
        return raw, 0.0

    def _begin(self, raw: float, gap: float, now: float) -> None:
        if self._origin is None:
            self._origin = now
        if self._waits:
            start = self.end_seconds + (gap if gap < _LONGEST_GAP_SECONDS else 0.0)
        else:
            start = max(self.end_seconds, now - self._origin)
        self.epoch = Epoch(
            self._number, start, now, source_start_seconds=raw, began=self._why or ""
        )
        self._number += 1
        self._raw_start = raw

    def _follow(self, raw: float, now: float) -> None:
        """Another epoch of the same clock, right behind. The time of day is taken anew, since that
        clock and ours part by seconds a day."""
        assert self.epoch is not None
        start = self.from_raw(raw)
        wall = now
        if self._waits:
            wall = self.epoch.wall_clock_start + start - self.epoch.start_seconds
        self.epoch = Epoch(
            self._number, start, wall, source_start_seconds=raw, began="the one before was full"
        )
        self._number += 1
        self._raw_start = raw

    def _anchor(self, wall_clock_start: float, seconds: float) -> None:
        assert self.epoch is not None
        early = seconds - self.epoch.start_seconds < _ANCHOR_SECONDS
        if wall_clock_start < self.epoch.wall_clock_start and (early or self._waits):
            self.epoch = replace(self.epoch, wall_clock_start=wall_clock_start)
            if self.epoch.number == 0:
                self._origin = wall_clock_start - self.epoch.start_seconds
