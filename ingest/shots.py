"""Where shots begin: PySceneDetect's detectors, driven by us frame by frame on a small picture.

Its detectors decide; the differences of pictures that two of them decide on are computed faster
here, with equal values. https://scenedetect.com
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    ThresholdDetector,
)

from index.errors import ConfigError
from ingest.settings import ShotSettings

_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Cut:
    """A shot begins here. frame_index counts from the first frame that was pushed."""

    time_seconds: float
    frame_index: int


class ShotDetector:
    """Push every frame in order; get the cuts as they are found, `window` frames late at most
    for the adaptive detector, at once for the hash detector, late by the shortest shot for the
    content detector, and at the end of a fade for the threshold detector.

    frame_rate: average frames per second of the video.
    Raises ConfigError for a detector that nobody knows.
    """

    def __init__(self, settings: ShotSettings, frame_rate: float = 25.0):
        if settings.detector not in _DETECTORS:
            raise ConfigError(
                f"shots.detector: there is no detector {settings.detector!r}; "
                f"choose one of {', '.join(sorted(_DETECTORS))}."
            )
        self._kind = _DETECTORS[settings.detector]
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
        self._detector = self._kind.build(settings, length)
        self.analysis_width = settings.analysis_width
        self._lag_frames = self._kind.lag_frames(settings, min_frames)
        self._warmup_frames = self._kind.warmup_frames(settings, min_frames)
        self._pushed: deque[tuple[int, float]] = deque()
        self._count = 0
        self._shape: tuple[int, ...] | None = None
        self._known_seconds: float | None = None
        self._from_seconds = 0.0

    @classmethod
    def resume(
        cls,
        settings: ShotSettings,
        from_seconds: float,
        last_cut_seconds: float,
        frame_rate: float = 25.0,
    ) -> ShotDetector:
        """A detector that goes on where another stopped, which had found all cuts before
        `from_seconds`, the last of them at `last_cut_seconds` (0 where none).

        Push it frames from at least `warmup_frames` before `from_seconds`; it emits exactly the
        cuts from there on that the other would have. Where `warmup_frames` is None, only pushing
        the video from its start does that.
        """
        detector = cls(settings, frame_rate)
        if detector._warmup_frames is not None:
            detector._known_seconds = last_cut_seconds
            detector._from_seconds = from_seconds
            if detector._by_frames:
                detector._count = settings.min_shot_frames + 1
        return detector

    @property
    def warmup_frames(self) -> int | None:
        """Frames before the point of a resume that it must see; None: all of them."""
        return self._warmup_frames

    @property
    def lag_frames(self) -> int:
        """How many frames may follow a cut before it is announced; fades may take longer."""
        return self._lag_frames

    @property
    def last_index(self) -> int:
        """Of the frame that was pushed last; -1 before the first."""
        return self._count - 1

    @property
    def settled_index(self) -> int:
        """Cuts at frames up to this one have all been announced; -1 before the first frame."""
        settled = self._count - 1 - self._lag_frames
        fade = getattr(self._detector, "last_fade", None)
        if fade is not None and fade["type"] == "out":
            settled = min(settled, self._index_at(fade["frame"].seconds) - 1)
        return settled

    def push(self, time_seconds: float, small_bgr: np.ndarray) -> list[Cut]:
        """The next frame: when it is shown, and its small picture, uint8 (h, w, 3) BGR.
        Returns the cuts that are now known, in order."""
        if self._shape is None:
            self._shape = small_bgr.shape
        elif small_bgr.shape != self._shape:  # the video changes its size in the middle
            small_bgr = cv2.resize(small_bgr, self._shape[1::-1], interpolation=cv2.INTER_LINEAR)
        index = self._count
        self._count += 1
        self._pushed.append((index, time_seconds))
        warming_up = self._known_seconds is not None
        if warming_up:
            self._set_last_cut()
        found = self._detector.process_frame(self._timecode(index, time_seconds), small_bgr)
        cuts = self._cuts(found)
        if warming_up:
            cuts = [c for c in cuts if self._is_new(c)]
            settled = self._count - 1 - self._lag_frames
            if cuts or self._time_at(settled) >= self._from_seconds:
                self._known_seconds = None
            else:
                self._set_last_cut()
        self._forget()
        return cuts

    def finish(self) -> list[Cut]:
        """The video ended: the cuts that were still open."""
        if not self._pushed:
            return []
        index, time_seconds = self._pushed[-1]
        return self._cuts(self._detector.post_process(self._timecode(index, time_seconds)))

    def _is_new(self, cut: Cut) -> bool:
        return cut.time_seconds >= self._from_seconds and cut.time_seconds > self._known_seconds

    def _timecode(self, index: int, time_seconds: float) -> FrameTimecode | _Tick:
        if self._kind.subtracts_only:
            if self._by_frames:
                return _Tick(index, float(index / self._rate))
            return _Tick(time_seconds, time_seconds)
        if self._by_frames:
            return FrameTimecode(index, fps=self._rate)
        return FrameTimecode(Timecode(round(time_seconds * 1_000_000), _MICROSECOND), self._rate)

    def _cuts(self, found: list[FrameTimecode | _Tick]) -> list[Cut]:
        cuts = []
        for timecode in found:
            index = self._index_at(timecode.seconds)
            cuts.append(Cut(self._time_at(index), index))
        return cuts

    def _index_at(self, seconds: float) -> int:
        """The remembered frame that a detector means by this time of its own."""
        if self._by_frames:
            return round(seconds * self._rate)
        return min(self._pushed, key=lambda entry: abs(entry[1] - seconds))[0]

    def _time_at(self, index: int) -> float:
        first = self._pushed[0][0]
        if index < first:
            return -1.0
        return self._pushed[index - first][1]

    def _forget(self) -> None:
        """Keeps the times that a later cut can mean: those since a fade began, or of the lag."""
        keep_from = min(self.settled_index, self._count - 2)
        while self._pushed[0][0] < keep_from:
            self._pushed.popleft()

    def _set_last_cut(self) -> None:
        known = self._known_seconds
        if self._by_frames:
            index = next((i for i, t in self._pushed if t >= known), None)
            last_index = 0 if index is None or self._pushed[0][1] > known else index
            timecode = self._timecode(last_index, known)
        else:
            timecode = self._timecode(0, known)
        setattr(self._detector, self._kind.last_cut_attribute, timecode)


class _Tick(NamedTuple):
    """A time for detectors that only take differences of times: PySceneDetect's own, in exact
    fractions, costs them more than looking at the picture. at: frames or seconds, as the
    shortest shot is given in."""

    at: float
    seconds: float

    def __sub__(self, other: _Tick) -> float:
        return self.at - other.at


class _FastScore:
    """ContentDetector's score, with OpenCV in place of NumPy's 32-bit integers: about ten times
    faster, and equal to the last bit (sums of absolute differences are whole numbers)."""

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: np.ndarray) -> float:
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


@dataclass(frozen=True, slots=True)
class _Kind:
    """A detector: how it is built, how late it speaks, what a resume needs.

    warmup_frames: gives None where a decision may lean on any earlier frame.
    subtracts_only: see _Tick.
    """

    build: Callable[[ShotSettings, float | int], object]
    lag_frames: Callable[[ShotSettings, int], int]
    warmup_frames: Callable[[ShotSettings, int], int | None]
    last_cut_attribute: str = ""
    subtracts_only: bool = False


_DETECTORS = {
    "adaptive": _Kind(
        build=lambda s, length: _FastAdaptive(
            adaptive_threshold=s.adaptive_threshold,
            min_scene_len=length,
            window_width=s.adaptive_window_frames,
            min_content_val=s.adaptive_min_content,
        ),
        lag_frames=lambda s, _min_frames: s.adaptive_window_frames,
        # Every score of the window, one more frame to difference against, and the shortest shot,
        # so that what lies before the first frame seen is too far back to hold up a cut.
        warmup_frames=lambda s, min_frames: 2 * s.adaptive_window_frames + 2 + min_frames,
        last_cut_attribute="_last_cut",
        subtracts_only=True,
    ),
    "content": _Kind(
        build=lambda s, length: _FastContent(threshold=s.content_threshold, min_scene_len=length),
        lag_frames=lambda _s, min_frames: min_frames,
        warmup_frames=lambda _s, _min_frames: None,
    ),
    "hash": _Kind(
        build=lambda s, length: HashDetector(threshold=s.hash_threshold, min_scene_len=length),
        lag_frames=lambda _s, _min_frames: 0,
        warmup_frames=lambda _s, min_frames: 2 + min_frames,
        last_cut_attribute="_last_scene_cut",
    ),
    "threshold": _Kind(
        build=lambda s, length: ThresholdDetector(
            threshold=s.black_threshold, min_scene_len=length
        ),
        lag_frames=lambda _s, _min_frames: 0,
        warmup_frames=lambda _s, _min_frames: None,
    ),
}
DETECTORS = tuple(sorted(_DETECTORS))
"""The names that `shots.detector` may have."""
