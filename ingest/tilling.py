"""SceneTilling (Wang et al., VideoLLaMB, 2024): where a sequence of pictures changes its meaning.

Over consecutive embeddings, the similarity of each picture to the next has valleys where a scene
gives way to another. A valley's depth is measured from the peaks beside it, as TextTiling does it
for words; deep ones, by the mean and the deviation of all depths, are boundaries.

This is its causal form, which measures from the peak to the left alone; `ingest.stitch` divides
videos by it. As published it needs all that comes until the shot ends, which may be hours away: it
could neither be resumed in the middle nor follow a stream.
"""

from __future__ import annotations

import math


class CausalDepths:
    """SceneTilling for streams: how far each similarity of neighbours lies below the peak to its
    left, and whether that is more than usual so far."""

    def __init__(self, deviations: float):
        self._deviations = deviations
        self._peak = self._last = -math.inf
        self._count = 0
        self._mean = self._squares = 0.0

    def push(self, similarity: float) -> tuple[float, bool]:
        """Returns (depth, whether it exceeds mean + deviations x standard deviation, with it among
        them). Never for the first, where there is no deviation."""
        # Climbing left from here ends at the last place where the similarities stopped falling.
        if similarity >= self._last:
            self._peak = similarity
        self._last = similarity
        depth = self._peak - similarity
        self._count += 1
        off = depth - self._mean  # Welford
        self._mean += off / self._count
        self._squares += off * (depth - self._mean)
        if self._count < 2:
            return depth, False
        usual = self._mean + self._deviations * math.sqrt(self._squares / self._count)
        return depth, depth > usual
