"""Which pictures are looked at: a few of each shot, and none twice that look the same."""

from __future__ import annotations

import numpy as np

from ingest.settings import SamplingSettings, StillSettings


class SampleSchedule:
    """The times in one shot whose picture is wanted: `offset_seconds` after its start, then every
    `interval_seconds`. A pure function of the shot's start, so that a resume in mid-shot wants
    the same ones.
    """

    def __init__(
        self, settings: SamplingSettings, shot_start_seconds: float, from_seconds: float = 0.0
    ):
        """from_seconds: times before it are not asked about."""
        self._settings = settings
        self._start = shot_start_seconds
        behind = from_seconds - shot_start_seconds - settings.offset_seconds
        self._next = max(0, int(behind / settings.interval_seconds))
        while self._due() < from_seconds:
            self._next += 1

    @property
    def begun(self) -> bool:
        """Whether a time of this shot has passed."""
        return self._next > 0

    def falls_before(self, seconds: float) -> bool:
        """Whether a wanted time lies before `seconds`; if so, all of those are done with."""
        found = False
        while self._due() < seconds:
            self._next += 1
            found = True
        return found

    def _due(self) -> float:
        settings = self._settings
        return self._start + settings.offset_seconds + self._next * settings.interval_seconds


class StillFilter:
    """Tells a picture that shows something new from one that is the last all over again.

    The pictures are compared small and gray, in blocks: what counts is the block that changed
    most, so that one new line of text in a large still picture is a change, while compression
    noise, which is spread thin, is not. The comparison is with the last picture that counted as
    new, so slow changes add up.
    """

    def __init__(self, settings: StillSettings | None = None):
        self._settings = settings or StillSettings()
        self._last: np.ndarray | None = None
        self._shape: tuple[int, ...] | None = None

    def changed(self, image: np.ndarray) -> bool:
        """Whether `image`, uint8 of shape (height, width, 3), RGB, differs from the last picture
        for which this was true. True for the first one, and where the size changes."""
        small = self._thumbnail(image)
        if self._shape != image.shape or self.difference(small) > self._settings.threshold:
            self._last, self._shape = small, image.shape
            return True
        return False

    def difference(self, thumbnail: np.ndarray) -> float:
        """Mean absolute difference, 0..255, of the block that changed most."""
        import cv2  # not above: see cli.index

        apart = cv2.absdiff(thumbnail, self._last)
        side = self._settings.block_pixels
        blocks = (max(1, apart.shape[1] // side), max(1, apart.shape[0] // side))
        return float(cv2.resize(apart, blocks, interpolation=cv2.INTER_AREA).max())

    def _thumbnail(self, image: np.ndarray) -> np.ndarray:
        import cv2

        width = min(self._settings.width_pixels, image.shape[1])
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
