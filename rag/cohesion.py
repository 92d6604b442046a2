"""How much the sentences of a stretch are about the same thing.

Of sentences that each say something else, a mean cosine is low even where all together say what was
asked: their vectors' mean is short. Divided by its length, the mean of the cosines is the cosine of
the stretch as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rag.curves import Curve

USUAL = 0.65
"""Of seven sentences of a tutorial, in the space of all-MiniLM-L6-v2; of what was not read."""


def sample(first: int, last: int, most: int) -> range:
    """Of the sentences first..last (half-open), evenly, about `most`: enough to tell from."""
    return range(first, last, max(1, (last - first) // most))


def cohesion(
    curve: Curve, first: int, last: int, vectors: Mapping[str, np.ndarray], most: int
) -> float:
    """The length of the mean of the sentences' unit vectors, 0..1, estimated from a `sample`.

    vectors: those that were read, by the sentence's id, float32 of shape (size,).
    """
    read = [vectors[curve.ids[at]] for at in sample(first, last, most) if curve.ids[at] in vectors]
    if not read:
        return USUAL
    return mean_length(np.stack(read), last - first)


def mean_length(vectors: np.ndarray, count: int) -> float:
    """The length of the mean of `count` unit vectors of which `vectors`, of shape (n, size), are
    some, from how alike those are."""
    n = len(vectors)
    squared = float((vectors.mean(axis=0, dtype=np.float64) ** 2).sum())
    alike = (n * squared - 1.0) / (n - 1) if n > 1 else 1.0
    return float(np.sqrt(max(1.0 / count + (1.0 - 1.0 / count) * alike, 1e-3)))


def ids_of(curve: Curve, spans: Sequence[tuple[int, int]], most: int) -> list[str]:
    """Of the sentences in the samples of these stretches."""
    return list(dict.fromkeys(curve.ids[at] for span in spans for at in sample(*span, most)))
