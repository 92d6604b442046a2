"""PySceneDetect's detectors, and what each must see to go on where another stopped.
https://scenedetect.com

What a detector decides from some frame on hangs on its state there. `warm_up` builds that state
again from the cuts that were found before and from few frames, as follows.

* adaptive, hash: the differences inside a window, and when the last cut was.
* content: it merges what flickers. While a burst of large differences goes on, each less than the
  shortest shot after the last, no cut is made; when it is over, its last difference is one, if it
  lies at least that length after the burst began. A burst that is too short leaves the detector
  waiting, for hours if need be, for the next difference. That can begin only within the shortest
  shot after a cut (later differences are cuts themselves). So whether it waits is seen right after
  the last cut, wherever that was; what has happened since, just before the place of the resume.
* threshold: a cut lies in the middle of a stretch of black, and is made at its end. In a bright
  picture nothing is open. So the state is known from the last bright picture on, which lies far
  back only where it has been black for long.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    ThresholdDetector,
)

from ingest.settings import ShotSettings


class Tick(NamedTuple):
    """A time for detectors that only take differences of times: PySceneDetect's own, in exact
    fractions, costs them more than looking at the picture. at: frames or seconds, as the
    shortest shot is given in."""

    at: float
    seconds: float

    def __sub__(self, other: Tick) -> float:
        return self.at - other.at


Time = Tick | FrameTimecode


class Pushed(NamedTuple):
    """A frame that a detector has seen. index: from 0 for the first. at: its time, for it."""

    index: int
    seconds: float
    at: Time


class Start(NamedTuple):
    """From this frame on a detector that resumed says what one that never stopped would.
    last_cut_seconds: of the cuts known beforehand, the last up to there; 0 where none."""

    index: int
    seconds: float
    last_cut_seconds: float


class Known(NamedTuple):
    """What is known where a detector resumes.

    cuts: in seconds, ascending: those that the other had announced. frames_from: the frames from
    the one at a time on, as (time, small picture), for a look at what followed a cut.
    seconds_of: the time of the frame that a detector's time means.
    """

    cuts: Sequence[float]
    frames_from: Callable[[float], Iterator[tuple[Time, np.ndarray]]]
    seconds_of: Callable[[Time], float]

    def last_cut(self, seconds: float) -> float:
        """The last cut up to there; 0 where there is none."""
        at = bisect_right(self.cuts, seconds)
        return self.cuts[at - 1] if at else 0.0


class Detector(Protocol):
    """lag_frames: how many frames a decision comes late. subtracts_only: takes `Tick`s.

    start, warm: of `warm_up`; `process` is for when it is warm, or was never to be.
    """

    lag_frames: int
    subtracts_only: bool
    start: Start | None
    warm: bool

    def process(self, at: Time, small_bgr: np.ndarray) -> list[Time]:
        """The next frame; returns the cuts that are now known."""
        ...

    def warm_up(self, pushed: Sequence[Pushed], small_bgr: np.ndarray, known: Known) -> list[Time]:
        """The next frame, the last of all those pushed, of a detector that goes on where another
        stopped. When enough was seen, `start` is set, and from then on cuts after it are
        returned; some frames later, maybe, `warm` is."""
        ...

    @property
    def pending(self) -> Time | None:
        """The earliest frame that may yet turn out to be a cut, beyond the lag."""
        ...

    @property
    def change(self) -> float:
        """How much the last picture differs from the one before it: 0..255, mean over pixels and
        colours; 0 for the first."""
        ...


def build(settings: ShotSettings, length: float | int) -> Detector:
    """The detector of `settings.detector`. length: of the shortest shot, in frames where it is
    whole, else in seconds."""
    return DETECTORS[settings.detector](settings, length)


class _FastScore:
    """ContentDetector's score, with OpenCV in place of NumPy's 32-bit integers: about ten times
    faster, and equal to the last bit (sums of absolute differences are whole numbers)."""

    def _calculate_frame_score(self, timecode: Time, frame_img: np.ndarray) -> float:
        if self._weights.delta_edges > 0.0 or self.stats_manager is not None:
            return super()._calculate_frame_score(timecode, frame_img)
        hsv = cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV)
        last, self._last_frame = self._last_frame, hsv
        if last is None:
            return 0.0
        pixels = float(hsv.shape[0] * hsv.shape[1])
        sums = cv2.sumElems(cv2.absdiff(hsv, last))
        score = sum(
            total / pixels * weight for total, weight in zip(sums, self._weights, strict=True)
        )
        return score / sum(abs(weight) for weight in self._weights)


class _FastAdaptive(_FastScore, AdaptiveDetector):
    pass


class _FastContent(_FastScore, ContentDetector):
    pass


class _Windowed:
    """What adaptive and hash share: they know some frames and their last cut."""

    subtracts_only = False
    lag_frames = 0
    pending: Time | None = None
    _last_cut_attribute: str
    _state_frames: int
    """How many frames before one must have been seen to decide about it."""

    def __init__(self, detector: AdaptiveDetector | HashDetector, length: float | int):
        self._detector = detector
        self._length = length
        self.start: Start | None = None
        self.warm = False

    def process(self, at: Time, small_bgr: np.ndarray) -> list[Time]:
        return self._detector.process_frame(at, small_bgr)

    def warm_up(self, pushed: Sequence[Pushed], small_bgr: np.ndarray, known: Known) -> list[Time]:
        now = pushed[-1]
        self.process(now.at, small_bgr)
        # With the length of a shot behind it, a cut before the first frame holds up none.
        seen_enough = now.index >= self._state_frames and _reaches(pushed, self._length)
        if self.start is None and seen_enough:
            self.start = Start(now.index, now.seconds, known.last_cut(now.seconds))
        if self.start is not None:
            self.warm = now.index - self.lag_frames >= self.start.index
            last_cut = _frame_at(pushed, self.start.last_cut_seconds)
            setattr(self._detector, self._last_cut_attribute, last_cut.at)
        return []


class _Adaptive(_Windowed):
    subtracts_only = True
    _last_cut_attribute = "_last_cut"

    def __init__(self, settings: ShotSettings, length: float | int):
        detector = _FastAdaptive(
            adaptive_threshold=settings.adaptive_threshold,
            min_scene_len=length,
            window_width=settings.adaptive_window_frames,
            min_content_val=settings.adaptive_min_content,
        )
        super().__init__(detector, length)
        self.lag_frames = settings.adaptive_window_frames
        self._state_frames = self.lag_frames + 1

    @property
    def change(self) -> float:
        return self._detector._frame_score


class _Hash(_Windowed):
    _last_cut_attribute = "_last_scene_cut"
    _state_frames = 1

    def __init__(self, settings: ShotSettings, length: float | int):
        super().__init__(
            HashDetector(threshold=settings.hash_threshold, min_scene_len=length), length
        )
        self._changes = _Changes()

    def process(self, at: Time, small_bgr: np.ndarray) -> list[Time]:
        self._changes.push(small_bgr)
        return super().process(at, small_bgr)

    @property
    def change(self) -> float:
        return self._changes.last


class _Content:
    lag_frames = 0
    subtracts_only = False

    def __init__(self, settings: ShotSettings, length: float | int):
        self._make = lambda: _FastContent(
            threshold=settings.content_threshold, min_scene_len=length
        )
        self._detector = self._make()
        self._threshold = settings.content_threshold
        self._length = length
        self._above: list[Pushed] = []
        self.start: Start | None = None
        self.warm = False

    def process(self, at: Time, small_bgr: np.ndarray) -> list[Time]:
        return self._detector.process_frame(at, small_bgr)

    @property
    def pending(self) -> Time | None:
        merging = self._detector._flash_filter
        if merging._merge_triggered and (
            merging._last_above - merging._merge_start >= self._length
        ):
            return merging._last_above
        return None

    @property
    def change(self) -> float:
        return self._detector._frame_score

    def warm_up(self, pushed: Sequence[Pushed], small_bgr: np.ndarray, known: Known) -> list[Time]:
        now = pushed[-1]
        self._detector._frame_score = self._detector._calculate_frame_score(now.at, small_bgr)
        if self._detector._frame_score >= self._threshold:
            self._above.append(now)
        cut_seconds = known.last_cut(now.seconds)
        cut = _frame_at(pushed, cut_seconds)
        inside = cut_seconds >= pushed[0].seconds
        # The first of three lengths is where a burst after an earlier cut begins, the second what
        # it takes to become a cut. Of a cut in the last it is not known when it was decided.
        seen_enough = now.index >= 1 and _reaches(pushed, 3 * self._length)
        if seen_enough and not (inside and now.at - cut.at < self._length):
            self._restore(cut, cut_seconds, inside, known)
            self.start = Start(now.index, now.seconds, cut_seconds)
            self.warm = True
        return []

    def _restore(self, cut: Pushed, cut_seconds: float, inside: bool, known: Known) -> None:
        above = [frame for frame in self._above if frame.seconds > cut_seconds]
        merging = self._detector._flash_filter
        merging._last_above = above[-1].at if above else cut.at
        merging._merge_enabled = cut_seconds > 0
        if merging._merge_enabled and self._length > 0:
            merging._merge_start = above[0].at if inside and above else cut.at
            merging._merge_triggered = (
                bool(above) if inside else self._flickers(known.frames_from(cut_seconds))
            )

    def _flickers(self, frames: Iterator[tuple[Time, np.ndarray]]) -> bool:
        """Whether a cut, the first of these frames, has a large difference soon after it."""
        detector, cut = self._make(), None
        for at, small in frames:
            score = detector._calculate_frame_score(at, small)
            if cut is None:
                cut = at
            elif at - cut >= self._length:
                break
            elif score >= self._threshold:
                return True
        return False


class _Threshold:
    lag_frames = 0
    subtracts_only = False

    def __init__(self, settings: ShotSettings, length: float | int):
        self._detector = ThresholdDetector(threshold=settings.black_threshold, min_scene_len=length)
        self._length = length
        self._changes = _Changes()
        self.start: Start | None = None
        self.warm = False

    def process(self, at: Time, small_bgr: np.ndarray) -> list[Time]:
        self._changes.push(small_bgr)
        return self._detector.process_frame(at, small_bgr)

    @property
    def pending(self) -> Time | None:
        fade = self._detector.last_fade
        return fade["frame"] if fade["type"] == "out" else None

    @property
    def change(self) -> float:
        return self._changes.last

    def warm_up(self, pushed: Sequence[Pushed], small_bgr: np.ndarray, known: Known) -> list[Time]:
        now, detector = pushed[-1], self._detector
        detector.min_scene_len = 0  # until all that can be too near is known
        last_cut = detector.last_scene_cut
        found = self.process(now.at, small_bgr)
        if self.start is None:
            if detector.last_fade["type"] == "in":
                self.start = Start(now.index, now.seconds, known.last_cut(now.seconds))
                detector.last_scene_cut = now.at
            return []
        if found and known.seconds_of(found[0]) not in known.cuts:  # too near the one before
            detector.last_scene_cut = last_cut
            found = []
        if now.at - pushed[self.start.index].at >= self._length:
            detector.min_scene_len = self._length
            self.warm = True
        return found


class _Changes:
    """Differences of pictures, for detectors that decide on something else."""

    def __init__(self) -> None:
        self._picture: np.ndarray | None = None
        self.last = 0.0

    def push(self, small_bgr: np.ndarray) -> None:
        if self._picture is not None:
            self.last = cv2.norm(small_bgr, self._picture, cv2.NORM_L1) / small_bgr.size
        self._picture = small_bgr


def _reaches(pushed: Sequence[Pushed], length: float | int) -> bool:
    """Whether so much time, or so many frames, have gone by since the first frame pushed."""
    return pushed[-1].at - pushed[0].at >= length


def _frame_at(pushed: Sequence[Pushed], seconds: float) -> Pushed:
    """The frame at that time; the first one for all earlier times."""
    at = bisect_right(pushed, seconds, key=lambda frame: frame.seconds)
    return pushed[max(0, at - 1)]


DETECTORS: dict[str, Callable[[ShotSettings, float | int], Detector]] = {
    "adaptive": _Adaptive,
    "content": _Content,
    "hash": _Hash,
    "threshold": _Threshold,
}
"""By the names that `shots.detector` may have."""
