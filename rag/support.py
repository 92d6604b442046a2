"""Whether the words that a sentence cites say what it says.

A score of 0..1 for a sentence and the lines that it cites: how much of the sentence's weight its
words hold, all together and in one place, and, where there is an encoder, how near they mean; less
where a number or a name of the sentence is not in them, or where one says not what the other says.
That is no proof: who did what to whom, it does not read. What it was measured on is in
docs/answers-figures.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from index.text import analyzer, analyzer_for
from rag.answer_settings import CheckSettings
from rag.numbers import numbers_in
from rag.sentences import sentences

if TYPE_CHECKING:
    import numpy as np

NEAR = 3
"""Sentences of the source that are one place."""

SURE = 0.8
"""Score of shared words from which nearness in meaning is not asked for, since it takes time."""

REMEMBERED = 2048
"""Vectors of places in sources: sentences that follow each other cite the same."""

FEWEST_TERMS = 2
"""Of a sentence that says something that can be looked for."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NEGATING = (
    "not no never none nobody nothing neither nor without cannot "
    "nicht kein keine keinen keiner keines nie niemals nichts ohne "
    "pas jamais rien aucun aucune sans "
    "nunca ningún ninguna nada sin não nenhum sem non mai nessuno senza "
    "не нет никогда ничего без"
)
_NEGATIONS = frozenset(_NEGATING.split())
_NEGATED = re.compile(r"n['’]t$")
_LIKE_NAMES = ("I", "I'm", "I'll", "I've", "I'd")

Weigh = Callable[[str, Sequence[int]], Mapping[int, float]]
"""An analyzer's name (see `index.text`) and term ids of it to what each weighs; 1 where it is not
said."""

Embed = Callable[[Sequence[str]], "np.ndarray"]
"""Texts to float32 of shape (len(texts), size), unit length."""


@dataclass(frozen=True, slots=True)
class Support:
    """score: 0..1; None where the sentence says nothing that can be looked for, or is in another
    language than its source and nothing tells what it means. lacking: what told against it."""

    score: float | None
    lacking: tuple[str, ...] = ()


class SupportScorer:
    """language: of the words cited, as a BCP 47 tag. weigh: what terms weigh; None: all the same.
    embed: for nearness in meaning. meaning: (zero, full), the cosines that are worth 0 and 1."""

    def __init__(
        self,
        settings: CheckSettings | None = None,
        *,
        weigh: Weigh | None = None,
        embed: Embed | None = None,
        meaning: tuple[float, float] = (0.1, 0.8),
    ):
        self._settings = settings or CheckSettings()
        self._weigh = weigh
        self._embed = embed
        self._meaning = meaning
        self._vectors: dict[str, np.ndarray] = {}

    def score(self, sentence: str, lines: Sequence[str], language: str | None = "en") -> Support:
        """lines: what the sentence cites, as it was said or written, in order."""
        settings = self._settings
        name = analyzer_for(language)
        terms = _terms(sentence, name)
        numbers = numbers_in(sentence)
        if len(terms) < FEWEST_TERMS and not numbers:
            return Support(None)
        pieces = [text[a:b] for text in lines for a, b in sentences(text)]
        if not pieces:
            return Support(None)
        told = [_terms(piece, name) for piece in pieces]
        weights = dict.fromkeys(terms, 1.0)
        if self._weigh is not None:
            weights |= {t: w for t, w in self._weigh(name, sorted(terms)).items() if t in terms}
        everywhere = _share(weights, set().union(*told))
        at, place = _best_place(weights, told)
        score = (everywhere + place) / 2
        if self._embed is not None and score < SURE:
            windows = [
                " ".join(pieces[i : i + NEAR]) for i in range(max(1, len(pieces) - NEAR + 1))
            ]
            near = self._nearness(sentence, windows)
            share = settings.coverage_weight
            score = max(score, share * score + (1 - share) * near)
        lacking: list[str] = []
        there = set().union(*(numbers_in(text) for text in lines)) if numbers else set()
        if missing := sorted(numbers - there):
            lacking.append(f"number {', '.join(f'{n:g}' for n in missing)}")
            score *= settings.lacking_number
        named = _names(sentence)
        known = {_folded(word) for text in lines for word in _WORD.findall(text)}
        if missing_names := [name for name in named if _folded(name) not in known]:
            lacking.append(f"name {', '.join(missing_names)}")
            lost = len(missing_names) / len(named)
            score *= 1 - lost * (1 - settings.lacking_name)
        if _says_otherwise(sentence, weights, pieces, told, at):
            lacking.append("negation")
            score *= settings.other_negation
        return Support(min(max(score, 0.0), 1.0), tuple(lacking))

    def _nearness(self, sentence: str, windows: Sequence[str]) -> float:
        new = [window for window in dict.fromkeys(windows) if window not in self._vectors]
        vectors = self._embed([sentence, *new])
        if len(self._vectors) + len(new) > REMEMBERED:
            self._vectors = {w: v for w, v in self._vectors.items() if w in windows}
        self._vectors |= dict(zip(new, vectors[1:], strict=True))
        zero, full = self._meaning
        cosine = max(float(self._vectors[window] @ vectors[0]) for window in windows)
        return min(max((cosine - zero) / (full - zero), 0.0), 1.0)


def _terms(text: str, name: str) -> frozenset[int]:
    model = analyzer(name)
    words = (word for word in _WORD.findall(text) if not _negation(word))
    return frozenset(term for word in words for term in model.tokens(word))


def _share(weights: Mapping[int, float], there: frozenset[int] | set[int]) -> float:
    total = sum(weights.values())
    return sum(w for term, w in weights.items() if term in there) / total if total else 1.0


def _best_place(weights: Mapping[int, float], told: Sequence[frozenset[int]]) -> tuple[int, float]:
    """Where NEAR sentences in a row hold the most, and how much of the weight that is."""
    best = (0, -1.0)
    for at in range(max(1, len(told) - NEAR + 1)):
        share = _share(weights, frozenset().union(*told[at : at + NEAR]))
        if share > best[1]:
            best = (at, share)
    return best


def _says_otherwise(
    sentence: str,
    weights: Mapping[int, float],
    pieces: Sequence[str],
    told: Sequence[frozenset[int]],
    at: int,
) -> bool:
    """Whether the sentence that says most nearly the same says not where this one does not, or the
    other way round. Only where it clearly is the same statement."""
    here = range(at, min(at + NEAR, len(told)))
    shares = {i: _share(weights, told[i]) for i in here}
    most = max(shares.values())
    if most < 0.6:
        return False
    alike = [i for i in here if shares[i] >= most - 1e-9]
    return all(_negates(pieces[i]) != _negates(sentence) for i in alike)


def _negates(text: str) -> bool:
    return any(map(_negation, _WORD.findall(text)))


def _negation(word: str) -> bool:
    word = word.casefold()
    return word in _NEGATIONS or _NEGATED.search(word) is not None


def _names(sentence: str) -> list[str]:
    """Words with a capital that do not begin the sentence; nothing where all have one."""
    words = _WORD.findall(sentence)
    inner = [word for word in words[1:] if word[0].isupper() and word not in _LIKE_NAMES]
    if len(words) > 2 and len(inner) > 0.7 * len(words):
        return []
    return list(dict.fromkeys(inner))


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKC", word).casefold()
    return re.sub(r"['’]s$", "", plain)
