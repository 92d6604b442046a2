"""SceneTilling (Wang et al., VideoLLaMB, 2024): where a sequence of pictures changes its meaning.

Over consecutive embeddings, the similarity of each picture to the next has valleys where a scene
gives way to another. A valley's depth is measured from the peaks beside it, as TextTiling does it
for words; deep ones, by the mean and the deviation of all depths, are boundaries.

Videos are divided by the causal form (`ingest.stitch`): the other one needs all that comes until
the shot ends, which may be hours away, and so could neither be resumed in its middle nor follow a
stream. It is the measure that the causal form is held against.
"""

from __future__ import annotations

import math

import numpy as np

from ingest.settings import StitchSettings

_LEAST_DEPTH = 1e-3
"""What is shallower is noise of the arithmetic."""


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


def scene_tilling(
    vectors: np.ndarray, settings: StitchSettings | None = None, *, most_boundaries: int = 15
) -> list[int]:
    """SceneTilling of a whole sequence, as VideoLLaMB has it: the places after which a scene ends.

    vectors: float32 of shape (frames, size), unit length. Returns ascending indices i, each a
    boundary between frames i and i + 1, the end of the sequence not among them; none for two frames
    or fewer, where the deviation is undefined.
    """
    settings = settings or StitchSettings()
    if len(vectors) <= 2:
        return []
    similar = np.einsum("ij,ij->i", vectors[:-1], vectors[1:], dtype=np.float64)
    depths = _climb(similar) + _climb(similar[::-1])[::-1] - 2 * similar
    usual = depths.mean() + settings.deviations * depths.std()
    # A constant sequence has depths of rounding errors only.
    deep = np.flatnonzero((depths > usual) & (depths > _LEAST_DEPTH))
    deepest = deep[np.argsort(-depths[deep], kind="stable")[:most_boundaries]]
    return sorted(int(index) for index in deepest)


def _climb(values: np.ndarray) -> np.ndarray:
    """For each value the peak that is reached going left for as long as it rises."""
    peaks = values.copy()
    for at in range(1, len(values)):
        if values[at - 1] > values[at]:
            peaks[at] = peaks[at - 1]
    return peaks
