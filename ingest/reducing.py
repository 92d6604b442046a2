"""Pictures no larger than somebody wants them."""

from __future__ import annotations

import numpy as np


def reduced_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """(height, width) of a picture whose longer side is at most `side` pixels; None: as it is."""
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduced_picture(image: np.ndarray, side: int | None) -> np.ndarray:
    """image: uint8 (height, width, 3). The very same where it is small enough."""
    import cv2  # not above: see cli.index

    height, width = reduced_size(*image.shape[:2], side)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
