"""Is what is asked for there at all?

The nearest sentence of a large collection is near to any question, the more so the more sentences
there are, and a single one may be so by chance. So each is taken together with a little of its
neighbours, and the mean of the best four is held against a floor that rises with the logarithm of
the number of sentences. Of what was tried that tells the questions of two collections apart best;
words in common, and the length of a question, help on one collection what they cost on the other:
docs/retrieval.md.

What is said in another language than the question's is less near to it, and so is what has nothing
to do with it: there the floor lies lower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from index.text import detect_language, language_tag
from rag.curves import Curve
from rag.settings import PresenceSettings
from rag.words import WordQuery

FEWEST = 100
"""Sentences for which the floor is what it is for fewer, too."""

MORE_AT = (100, 400, 1600)
"""Sentences from which on the mean is of two, of three, and of four."""

NEIGHBOURS = 0.1
"""Share of the sentences before and after in what a sentence scores."""


@dataclass(frozen=True, slots=True)
class Presence:
    """there: whether anything is near enough. score, floor: what was held against what, 0..1."""

    there: bool
    score: float
    floor: float


def nearest(curves: Sequence[Curve]) -> list[float]:
    """What the sentences of the curves score, each with a little of its neighbours, 0..1, best
    first."""
    scores = [np.zeros(0)]
    for curve in curves:
        padded = np.pad(curve.meaning, 1, mode="edge")
        around = (padded[:-2] + padded[2:]) / 2
        scores.append((1.0 - NEIGHBOURS) * curve.meaning + NEIGHBOURS * around)
    return sorted(np.concatenate(scores).tolist(), reverse=True)


def presence(
    scores: Sequence[float],
    count: Callable[[], int],
    settings: PresenceSettings,
    translated: Callable[[], bool] = lambda: False,
) -> Presence:
    """scores: of the nearest sentences, 0..1, best first. count: tells how many sentences there
    are. translated: whether they are all in another language than the question. Both are asked
    only where the answer matters."""
    if not scores:
        return Presence(False, 0.0, settings.floor)
    if not settings.floor and not settings.rise:
        return Presence(True, scores[0], 0.0)
    sentences = max(count(), 1)
    best = scores[: 1 + sum(sentences >= enough for enough in MORE_AT)]
    score = sum(best) / len(best)
    floor = settings.floor + settings.rise * math.log(max(sentences, FEWEST) / 1000)
    if floor - settings.translated <= score < floor and translated():
        floor -= settings.translated
    return Presence(score >= floor, score, floor)


def in_other_languages(query: WordQuery, languages: Iterable[str | None]) -> bool:
    """Whether the query is surely in a language, and all of `languages` are known and others. Not
    where most of its words are said: that is no other language, and to tell them apart loads a
    model."""
    known = set(languages)
    terms = [term for each in query.terms.values() for term in each.values()]
    said = sum(term.passages > 0 for term in terms)
    if not known or None in known or 2 * said > len(terms):
        return False
    asked = detect_language(query.text)
    return asked is not None and all(language_tag(one) != asked for one in known)
