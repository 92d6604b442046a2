"""Where shots begin: PySceneDetect's detectors, driven by us frame by frame on a small picture.

Its detectors decide; the differences of pictures that two of them decide on are computed faster
in ingest.detectors, with equal values.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from scenedetect.common import FrameTimecode, Timecode

from index.errors import ConfigError
from ingest.detectors import DETECTORS, Known, Pushed, Start, Tick, Time, build
from ingest.settings import ShotSettings

_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Cut:
    """A shot begins here. frame_index counts from the first frame that was pushed."""

    time_seconds: float
    frame_index: int


class KnownCuts:
    """Stands in for a ShotDetector where all cuts of a video are stored already: looks at no
    picture. cuts: in seconds, ascending. from_start: it is pushed the video's first frame first."""

    analysis_width = None
    warm = True
    last_change = 0.0

    def __init__(self, cuts: Sequence[float], *, from_start: bool):
        self._cuts = cuts
        self._next = 0
        self._from_start = from_start
        self.start: Start | None = None
        self.last_index = -1

    @property
    def settled_index(self) -> int:
        return self.last_index

    def push(self, time_seconds: float, _small_bgr: None) -> list[Cut]:
        self.last_index += 1
        now = bisect_right(self._cuts, time_seconds)
        passed, self._next = self._cuts[self._next : now], now
        if self._from_start:
            return [Cut(at, self.last_index) for at in passed]
        if self.start is None:  # what was passed on the way here was given out before
            self.start = Start(self.last_index, time_seconds, passed[-1] if passed else 0.0)
            return []
        return [Cut(at, self.last_index) for at in passed]


def decides_soon(settings: ShotSettings, frames: int) -> bool:
    """Whether each cut is known at most so many frames after it."""
    lag = {"adaptive": settings.adaptive_window_frames, "hash": 0}
    return lag.get(settings.detector, math.inf) <= frames


class ShotDetector:
    """Push every frame in order; get the cuts as they are found: `adaptive_window_frames` late for
    the adaptive detector, at once for the hash detector, late by the shortest shot at most where
    the content detector merges several, and at the end of a fade for the threshold detector.

    frame_rate: average frames per second of the video.
    Raises ConfigError for a detector that nobody knows.
    """

    def __init__(self, settings: ShotSettings, frame_rate: float = 25.0):
        if settings.detector not in DETECTORS:
            raise ConfigError(
                f"shots.detector: there is no detector {settings.detector!r}; "
                f"choose one of {', '.join(sorted(DETECTORS))}."
            )
        self._rate = Fraction(frame_rate).limit_denominator(100_000)
        self._by_frames = settings.min_shot_frames is not None
        min_frames = (
            settings.min_shot_frames
            if self._by_frames
            else round(settings.min_shot_seconds * frame_rate)
        )
        # PySceneDetect's command turns seconds into whole frames and counts those. Half a frame
        # less than that many, in seconds, is the same at a constant rate, and right for others.
        length = min_frames if self._by_frames else max(0.0, (min_frames - 0.5) / frame_rate)
        self._detector = build(settings, length)
        self.analysis_width = settings.analysis_width
        self._pushed: list[Pushed] = []
        self._count = 0
        self._shape: tuple[int, ...] | None = None
        self._known: Known | None = None
        self._pending: tuple[Time, int] | None = None

    @classmethod
    def resume(
        cls,
        settings: ShotSettings,
        known_cuts: Sequence[float],
        frames_from: Callable[[float], Iterator[tuple[float, np.ndarray]]],
        frame_rate: float = 25.0,
    ) -> ShotDetector:
        """A detector that goes on where another stopped. Push it frames from some way before that
        place, until it is `warm`: how many it takes hangs on what they show.

        known_cuts: ascending, in seconds: all that the other had announced at that place.
        frames_from: the frames (time in seconds, small picture) from the one at a time on.
        """
        detector = cls(settings, frame_rate)

        def timed_from(seconds: float) -> Iterator[tuple[Time, np.ndarray]]:
            for index, (at_seconds, small) in enumerate(frames_from(seconds)):
                yield detector._timecode(index, at_seconds), detector._fitted(small)

        detector._known = Known(
            sorted(cut for cut in known_cuts if cut > 0),
            timed_from,
            lambda at: detector._cut_at(at).time_seconds,
        )
        return detector

    @property
    def warm(self) -> bool:
        """Whether all that will be pushed is decided as if it had never stopped."""
        return self._known is None or self._detector.warm

    @property
    def start(self) -> Start | None:
        """Of one that resumed: where what it says begins; None while it has not seen enough."""
        return self._detector.start

    @property
    def last_index(self) -> int:
        """Of the frame that was pushed last; -1 before the first."""
        return self._count - 1

    @property
    def last_change(self) -> float:
        """How much the frame pushed last differs from the one before: 0..255; 0 for the first."""
        return self._detector.change

    @property
    def settled_index(self) -> int:
        """Cuts at frames up to this one have all been announced; -1 before the first frame."""
        settled = self._count - 1 - self._detector.lag_frames
        return settled if self._pending is None else min(settled, self._pending[1] - 1)

    def push(self, time_seconds: float, small_bgr: np.ndarray) -> list[Cut]:
        """The next frame: when it is shown, and its small picture, uint8 (h, w, 3) BGR.
        Returns the cuts that are now known, in order."""
        small_bgr = self._fitted(small_bgr)
        frame = Pushed(self._count, time_seconds, self._timecode(self._count, time_seconds))
        self._count += 1
        self._pushed.append(frame)
        if self.warm:
            found = self._detector.process(frame.at, small_bgr)
        else:
            found = self._detector.warm_up(self._pushed, small_bgr, self._known)
        cuts = [self._cut_at(at) for at in found]
        self._look_for_pending()
        if self.warm:
            self._forget()
        return cuts

    def _fitted(self, small_bgr: np.ndarray) -> np.ndarray:
        if self._shape is None:
            self._shape = small_bgr.shape
        elif small_bgr.shape != self._shape:  # the video changes its size in the middle
            return cv2.resize(small_bgr, self._shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return small_bgr

    def _timecode(self, index: int, time_seconds: float) -> Time:
        if self._detector.subtracts_only:
            if self._by_frames:
                return Tick(index, float(index / self._rate))
            return Tick(time_seconds, time_seconds)
        if self._by_frames:
            return FrameTimecode(index, fps=self._rate)
        return FrameTimecode(Timecode(round(time_seconds * 1_000_000), _MICROSECOND), self._rate)

    def _cut_at(self, at: Time) -> Cut:
        """The remembered frame that a detector means by this time of its own."""
        if self._by_frames:
            index = round(at.seconds * self._rate)
            frame = self._pushed[index - self._pushed[0].index]
        else:
            frame = min(self._pushed, key=lambda frame: abs(frame.seconds - at.seconds))
        return Cut(frame.seconds, frame.index)

    def _look_for_pending(self) -> None:
        pending = self._detector.pending
        if pending is None:
            self._pending = None
        elif self._pending is None or self._pending[0] is not pending:
            index = next(f.index for f in reversed(self._pushed) if f.at is pending)
            self._pending = (pending, index)

    def _forget(self) -> None:
        """Keeps the times that a later cut can mean: of the lag, of a burst or since a fade
        began."""
        keep_from = min(self.settled_index, self._count - 2)
        first = self._pushed[0].index
        if keep_from - first >= len(self._pushed) // 2:  # so that each is moved a few times only
            del self._pushed[: keep_from - first]
