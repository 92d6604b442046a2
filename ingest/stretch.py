"""Pictures of a stretch of a video file at even steps, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.errors import DamagedMediaError
from ingest.decode import decode_video
from ingest.frames import DecodedFrame, picture


@dataclass(slots=True)
class Stretch:
    """What [start_seconds, end_seconds) of a file shows, step by step.

    end_seconds: None is the end of the video; when it has been iterated, where the pictures ended.
    damage: then, why decoding broke off, if it did; what came before was given out.

    Iterating yields (time in seconds, picture), the time a whole number of steps after the start
    and the picture uint8 of shape (height, width, 3), RGB, upright; the same object as before while
    the file shows the same frame. Raises MediaError where the file cannot be opened, NotMediaError
    where it has no pictures.
    """

    path: Path
    start_seconds: float
    end_seconds: float | None
    step_seconds: float
    damage: DamagedMediaError | None = None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        end = math.inf if self.end_seconds is None else self.end_seconds
        shown: DecodedFrame | None = None
        image: np.ndarray | None = None
        step = 0

        def due() -> float:
            return self.start_seconds + step * self.step_seconds

        with decode_video(self.path, from_seconds=self.start_seconds) as frames:
            try:
                for decoded in frames:
                    until = min(decoded.time_seconds, end)
                    while due() < until:
                        if shown is not None:
                            image = picture(shown) if image is None else image
                            yield due(), image
                        step += 1
                    if decoded.time_seconds >= end:
                        break
                    shown, image = decoded, None
            except DamagedMediaError as error:
                self.damage = error
            until = min(max(frames.end_seconds, self.start_seconds), end)
        while shown is not None and due() < until:
            image = picture(shown) if image is None else image
            yield due(), image
            step += 1
        self.end_seconds = until
