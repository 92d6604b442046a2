"""Is what is asked for there at all?

The nearest sentence of a large collection is near to any question, the more so the more sentences
there are. So the mean of the best three is held against a floor that rises with the logarithm of
their number. Of what was tried that tells the questions of two collections apart best, and words
in common make it worse: docs/retrieval.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.settings import PresenceSettings

FEWEST = 100
"""Sentences for which the floor is what it is for fewer, too."""

MORE_AT = (100, 1000)
"""Sentences from which on the mean is of two, and of three."""


@dataclass(frozen=True, slots=True)
class Presence:
    """there: whether anything is near enough. score, floor: what was held against what, 0..1."""

    there: bool
    score: float
    floor: float


def presence(
    scores: Sequence[float], count: Callable[[], int], settings: PresenceSettings
) -> Presence:
    """scores: of the nearest sentences, 0..1, best first. count: tells how many sentences there
    are; asked only where the answer matters."""
    if not scores:
        return Presence(False, 0.0, settings.floor)
    if not settings.floor and not settings.rise:
        return Presence(True, scores[0], 0.0)
    sentences = max(count(), 1)
    best = scores[: 1 + sum(sentences >= enough for enough in MORE_AT)]
    score = sum(best) / len(best)
    floor = settings.floor + settings.rise * math.log(max(sentences, FEWEST) / 1000)
    return Presence(score >= floor, score, floor)
