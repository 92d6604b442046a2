"""Reads again only those rows of the picture that changed since they were last read.

On a screen most stays as it is: a letter is typed, a clock goes on. The picture that each row was
last read in is kept (gray, a byte a pixel), and what differs from it, in blocks half as wide as
those that tell still pictures apart, is read again, across the whole width, together with the
lines that it touches. All other lines keep the reading they had, so they do not flicker either.

Measured in benchmarks/ocr.py against reading every changed picture whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ingest.models.ocr import Line, reading_order
from ingest.settings import StillSettings

Rows = tuple[int, int]
"""First row of pixels, and one past the last."""

READ_WHOLE = 0.6
"""Share of the rows from which on the whole picture is read."""
READ_ACROSS = 8
"""Times its height: no band that is wider is read without rows around it, so what is nearer
together than that is read as one."""
BLOCKS_ACROSS = 80
SMALLEST_BLOCK = 4
"""Pixels."""
INK = 32
"""Gray levels: by so much differ the rows of a changed block that have to do with the change."""
EDGE = 0.2
"""In heights of a line: above and below its letters there is as much of its box, in which lines
that stand close overlap."""


def code_constants() -> dict[str, float]:
    """The constants above, for a channel's `describe`."""
    return {
        "read_whole": READ_WHOLE,
        "read_across": READ_ACROSS,
        "blocks_across": BLOCKS_ACROSS,
        "smallest_block": SMALLEST_BLOCK,
        "ink": INK,
        "edge": EDGE,
        "changed_code": 1,
    }


class ChangedReader:
    """What is written in the latest picture.

    read: (image, rows) -> lines, as ingest.models.ocr.OcrReader.read.
    """

    def __init__(
        self, read: Callable[[np.ndarray, Rows | None], list[Line]], settings: StillSettings
    ):
        self._read = read
        self._threshold = settings.threshold
        self._lines: list[Line] = []
        self._seen: np.ndarray | None = None

    def whole(self, image: np.ndarray) -> list[Line]:
        """Reads all of `image`, uint8 of shape (height, width, 3), RGB. Reading order."""
        self._seen = _gray(image)
        self._lines = self._read(image, None)
        return self._lines

    def update(self, image: np.ndarray) -> tuple[list[Line], bool]:
        """Reads what changed. Also returns whether that was the whole picture."""
        if self._seen is None or self._seen.shape != image.shape[:2]:
            return self.whole(image), True
        gray = _gray(image)
        height, width = gray.shape
        least = width // READ_ACROSS
        bands = with_lines(self._changed_rows(gray), self._lines, height, least)
        if sum(max(last - first, least) for first, last in bands) >= READ_WHOLE * height:
            return self.whole(image), True
        kept = [
            line for line in self._lines if not any(touches(band, line, height) for band in bands)
        ]
        for first, last in bands:
            kept += self._read(image, (first, last))
            self._seen[first:last] = gray[first:last]
        self._lines = reading_order(kept)
        return self._lines, False

    def _changed_rows(self, gray: np.ndarray) -> list[Rows]:
        import cv2

        height, width = gray.shape
        block = max(SMALLEST_BLOCK, width // BLOCKS_ACROSS)
        down, across = max(1, height // block), max(1, width // block)
        apart = cv2.absdiff(gray, self._seen)
        blocks = cv2.resize(apart, (across, down), interpolation=cv2.INTER_AREA)
        bands = []
        for n in np.flatnonzero(blocks.max(axis=1) >= self._threshold).tolist():
            first, last = n * height // down, -(-(n + 1) * height // down)
            ink = first + np.flatnonzero((apart[first:last] >= INK).any(axis=1))
            bands.append((int(ink[0]), int(ink[-1]) + 1) if len(ink) else (first, last))
        return bands


def _gray(image: np.ndarray) -> np.ndarray:
    import cv2  # not above: a channel that is only described needs no pictures

    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def touches(band: Rows, line: Line, height: int) -> bool:
    top, bottom = line.box[1] * height, line.box[3] * height
    edge = EDGE * (bottom - top)
    return top + edge < band[1] and bottom - edge > band[0]


def with_lines(bands: list[Rows], lines: list[Line], height: int, least: int) -> list[Rows]:
    """The bands, grown by the lines that they touch until they touch no other; those merged that
    cost less together, where a band costs at least as much as one of `least` rows."""
    merged = _merged(bands, least)
    while True:
        grown = []
        for first, last in merged:
            for line in lines:
                if touches((first, last), line, height):
                    first = min(first, int(line.box[1] * height))
                    last = max(last, min(height, int(line.box[3] * height) + 1))
            grown.append((first, last))
        grown = _merged(grown, least)
        if grown == merged:
            return merged
        merged = grown


def _merged(bands: list[Rows], least: int) -> list[Rows]:
    merged: list[Rows] = []
    for first, last in sorted(bands):
        if merged:
            before, end = merged[-1]
            together = max(last, end) - before
            if first <= end or together <= max(end - before, least) + max(last - first, least):
                merged[-1] = (before, max(last, end))
                continue
        merged.append((first, last))
    return merged
