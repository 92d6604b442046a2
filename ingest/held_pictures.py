"""Pictures of a stream that are kept for a while, for those who look behind it.

As JPEG files, in memory, within bounds: what has no room goes, the oldest first, and is counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ingest.channel import Sample
from ingest.reducing import reduced_picture

_QUALITY = 90
"""Of the JPEG files: what they lose is less than what a model's own reduction does."""


@dataclass(frozen=True, slots=True)
class _Held:
    time_seconds: float
    jpeg: bytes


class HeldPictures:
    """Push samples in one thread, read them in another.

    most_bytes: of all files together. max_side: pixels; larger pictures are reduced. dropped: how
    many went for want of room.
    """

    def __init__(self, most_bytes: int, max_side: int):
        self._most_bytes = most_bytes
        self._max_side = max_side
        self._held: deque[_Held] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.dropped = 0

    def push(self, sample: Sample) -> None:
        """In time order."""
        jpeg = _encoded(sample.image, self._max_side)
        with self._lock:
            self._held.append(_Held(sample.time_seconds, jpeg))
            self._bytes += len(jpeg)
            while self._bytes > self._most_bytes and len(self._held) > 1:
                self._bytes -= len(self._held.popleft().jpeg)
                self.dropped += 1

    def forget_before(self, time_seconds: float) -> None:
        """Nobody will ask for what was shown before that time; the picture that was still there
        then stays."""
        with self._lock:
            while len(self._held) > 1 and self._held[1].time_seconds <= time_seconds:
                self._bytes -= len(self._held.popleft().jpeg)

    def shown(
        self, wanted: Sequence[float], start_seconds: float, end_seconds: float
    ) -> list[tuple[float, bytes]]:
        """(when it is shown, JPEG) of the pictures of [start_seconds, end_seconds) that are shown
        at the times wanted, or else come next, each once, in time order."""
        with self._lock:
            inside = [h for h in self._held if start_seconds <= h.time_seconds < end_seconds]
        found: dict[float, bytes] = {}
        for at in wanted if inside else ():
            before = [held for held in inside if held.time_seconds <= at]
            held = before[-1] if before else inside[0]
            found[held.time_seconds] = held.jpeg
        return sorted(found.items())


class HeldReader:
    """As `ingest.segment_frames.FrameReader`, over held pictures. A span of which none is left has
    none."""

    def __init__(self, pictures: HeldPictures, max_side: int | None = None):
        self._pictures = pictures
        self._max_side = max_side

    def __enter__(self) -> HeldReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def read(
        self, wanted: Sequence[float], start_seconds: float, end_seconds: float, *, snap: bool
    ) -> list[tuple[float, np.ndarray]]:
        """snap: means nothing here."""
        found = self._pictures.shown(wanted, start_seconds, end_seconds)
        return [(time, _decoded(jpeg, self._max_side)) for time, jpeg in found]


def _encoded(image: np.ndarray, max_side: int) -> bytes:
    """image: uint8 (height, width, 3) RGB."""
    bgr = cv2.cvtColor(reduced_picture(image, max_side), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _decoded(jpeg: bytes, max_side: int | None) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return reduced_picture(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), max_side)
