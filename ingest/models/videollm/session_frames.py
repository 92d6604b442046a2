"""Frames as a stream takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from index.errors import UsageError
from ingest.models.videollm import Frame


def checked(frames: Sequence[np.ndarray], times: Sequence[float], last: float) -> list[Frame]:
    """last: the time of the frame before them. Raises UsageError where a frame is no uint8 of shape
    (height, width, 3), or a time does not come after the one before it."""
    if len(frames) != len(times):
        raise UsageError(f"{len(frames)} frames were given with {len(times)} times.")
    shown = []
    for image, time in zip(frames, times, strict=True):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            raise UsageError("A frame is an array of uint8 of shape (height, width, 3).")
        if image.shape[2] != 3 or 0 in image.shape:
            raise UsageError(f"A frame has the shape (height, width, 3), not {image.shape}.")
        if not math.isfinite(time) or time <= last:
            raise UsageError(f"A frame at {time} s came after one at {last} s. Times have to rise.")
        last = float(time)
        shown.append(Frame(last, image))
    return shown
