"""Where the subject changes: of all ways to cut what is said into so many chapters, the one whose
sentences lie nearest to their chapter's mean (kernel change points: Harchaoui and Cappé 2007,
"Retrospective Multiple Change-Point Estimation with Kernels"), found exactly.

A pause before a chapter speaks for it, and a length far from the usual one against it. How many
chapters there are follows from the length: people mark about a seventh of a video, whatever its
length, as one thing (`rag.ground.lengths`). TextTiling (Hearst 1997) finds fewer true ones:
docs/answers-figures.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

USUAL_SHARE = 0.15
SHORTEST_SECONDS, LONGEST_SECONDS = 30.0, 900.0
"""Of a usual chapter: this share of the video, within these bounds."""

LEAST_SHARE = 0.5
"""Of a usual chapter's length that every one has, and never less than LEAST_SECONDS."""

LEAST_SECONDS = 10.0

LENGTH_WEIGHT = 0.02
PAUSE_WEIGHT = 0.02
"""Beside the mean scatter within a chapter: of the squared logarithm of its length by the usual
one, and of the logarithm of the pause before it in seconds."""

LONGEST_SENTENCE_SECONDS = 30.0
MOST_PIECES = 1500
"""Of more sentences, neighbours are taken together: time and memory grow with the square."""


def usual_seconds(duration_seconds: float) -> float:
    return min(max(USUAL_SHARE * duration_seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


def boundaries(
    vectors: np.ndarray,
    starts: Sequence[float],
    ends: Sequence[float],
    duration_seconds: float,
) -> list[int]:
    """The sentences with which chapters begin, ascending; the first chapter begins with 0.

    vectors: of the sentences, float32 of shape (n, size). starts, ends: seconds, ascending starts.
    """
    count = len(vectors)
    if not count:
        return []
    every = -(-count // MOST_PIECES)
    firsts = np.arange(0, count, every)
    begins = np.asarray(starts, np.float64)[firsts]
    until = np.maximum.accumulate(np.asarray(ends, np.float64))
    pauses = np.maximum(begins[1:] - until[firsts[1:] - 1], 0.0)
    spoken = np.clip(np.subtract(ends, starts), 0.5, LONGEST_SENTENCE_SECONDS)
    weighted = np.add.reduceat(spoken[:, None] * vectors, firsts, axis=0)
    seconds = np.add.reduceat(spoken, firsts)
    edges = np.concatenate([[0.0], begins[1:], [max(duration_seconds, begins[-1] + 1e-3)]])

    usual = usual_seconds(duration_seconds)
    least = max(LEAST_SECONDS, LEAST_SHARE * usual)
    wanted = max(1, round(duration_seconds / usual))
    usual = duration_seconds / wanted
    unit = seconds.sum() / wanted  # what a chapter's score is of
    gains = _gains(weighted, seconds)
    lengths = edges[None, :] - edges[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        gains -= LENGTH_WEIGHT * unit * np.log(np.maximum(lengths, 1.0) / usual) ** 2
    gains[lengths < least] = -np.inf
    bonus = np.concatenate([[0.0], PAUSE_WEIGHT * unit * np.log1p(pauses), [0.0]])
    return [int(firsts[at]) for at in _best_cuts(gains, bonus, wanted)]


def _gains(weighted: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """What is not scatter of pieces a..b (half-open), float64 of shape (n + 1, n + 1): the squared
    length of their weighted sum by their weight."""
    mean = weighted.sum(axis=0) / seconds.sum()
    centred = weighted - seconds[:, None] * mean
    total = np.concatenate([np.zeros((1, centred.shape[1])), np.cumsum(centred, axis=0)])
    time = np.concatenate([[0.0], np.cumsum(seconds)])
    products = total @ total.T
    own = np.diag(products)
    spread = own[None, :] + own[:, None] - 2 * products
    return spread / np.maximum(time[None, :] - time[:, None], 1e-9)


def _best_cuts(gains: np.ndarray, bonus: np.ndarray, wanted: int) -> list[int]:
    """First pieces of at most `wanted` chapters, as many as can be, with the greatest sum."""
    count = len(gains) - 1
    best = np.full((wanted + 1, count + 1), -np.inf)
    came = np.zeros((wanted + 1, count + 1), np.int64)
    best[0, 0] = 0.0
    for number in range(1, wanted + 1):
        ways = best[number - 1][:, None] + gains
        came[number] = ways.argmax(axis=0)
        best[number] = ways.max(axis=0) + bonus
    number = max((n for n in range(1, wanted + 1) if best[n, count] > -np.inf), default=0)
    if not number:  # shorter than a chapter may be
        return [0]
    cuts, at = [], count
    while number:
        at = int(came[number, at])
        cuts.append(at)
        number -= 1
    return cuts[::-1]
