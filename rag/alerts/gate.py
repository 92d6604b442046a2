"""The gate: what one piece of evidence says to a standing question, at little cost.

What is said or written is judged by the question's words alone. A search weighs words by how rare
they are in the library; here all weigh the same, so that what fires today fires tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from index.alerts import Alert
from index.errors import UsageError
from index.schema import Evidence, Space
from index.text import PLAIN, analyzer, analyzer_for, detect_language
from rag.alerts.settings import AlertSettings
from rag.images import BITS, LOW_QUALITY
from rag.query import parse
from rag.settings import RetrieveSettings
from rag.vectors import QueryEncoders, SpaceQuery, words_in
from rag.wording import ranges, words

LONGEST_RUN_TOGETHER = 60
"""Characters of a word that may be several that were read as one."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one piece of evidence says. kind: one of `rag.alerts.settings.KINDS`. score: 0..1; 0
    where it speaks against it. text: what was said or written."""

    kind: str
    start_seconds: float
    end_seconds: float
    score: float
    channel: str
    text: str = ""
    evidence: str = ""


class Gate:
    """A standing question, ready to be held against evidence.

    spaces: those of the library that vectors may be in; `encoders` puts the question into them. A
    question with quoted phrases is about words alone, since no picture holds one.
    `notes` then tells, in sentences, which of them cannot be asked.
    Raises UsageError for a question that asks for nothing, or in a way that none can.
    """

    def __init__(
        self,
        alert: Alert,
        settings: AlertSettings,
        *,
        retrieve: RetrieveSettings | None = None,
        encoders: QueryEncoders | None = None,
        spaces: Iterable[Space] = (),
    ):
        asked = parse(alert.text)
        if asked.videos or asked.after or asked.before:
            raise UsageError(
                "A standing question is about what is to come: video:, before: and after: mean "
                "nothing to it. --source names the source that it is for."
            )
        self.notes: list[str] = []
        self._settings = settings
        self._thresholds = dict(alert.thresholds)
        self._channels = asked.channels
        self._languages = asked.languages
        self._phrases = asked.phrases
        self._excluded = asked.excluded
        self._words = _Words(asked.text)
        self._picture = None if alert.picture is None else _bits(alert.picture)
        if not self._words.wanted and not self._phrases and self._picture is None:
            raise UsageError(f"“{alert.text}” holds no word that could be looked for.")
        self._vectors: dict[str, SpaceQuery] = {}
        if asked.text and not asked.phrases and encoders is not None:
            for space in spaces:
                if space.channel not in ("frame", "sound"):
                    continue
                encoder = encoders.text(space)
                if encoder is None:
                    self.notes.append(encoders.note(space))
                    continue
                query = words_in(space, encoder, asked.text, retrieve or RetrieveSettings())
                self._vectors[space.name] = query

    def threshold(self, kind: str) -> float:
        """The score from which a sighting of that kind counts."""
        return self._thresholds.get(kind, self._settings.threshold(kind))

    def look(self, evidence: Evidence) -> list[Sighting]:
        """One sighting of each kind that the evidence can be judged by, also of score 0; none where
        it is not asked about."""
        if self._channels and evidence.channel not in self._channels:
            return []
        scores: dict[str, float] = {}
        if evidence.text and self._words.text:
            scores["words"] = self._worded(evidence)
        for name, vector in evidence.vectors.items():
            if (query := self._vectors.get(name)) is not None:
                score = query.scale.score(float(query.vector @ np.asarray(vector, np.float32)))
                kind = query.space.channel
                scores[kind] = max(score, scores.get(kind, 0.0))
            elif name == "fingerprint" and self._picture is not None and _tells(evidence):
                scores["picture"] = _same_bits(self._picture, np.asarray(vector))
        return [
            Sighting(
                kind,
                evidence.start_seconds,
                evidence.end_seconds,
                score,
                evidence.channel,
                evidence.text,
                evidence.id,
            )
            for kind, score in scores.items()
        ]

    def _worded(self, evidence: Evidence) -> float:
        language = evidence.attributes.get("language")
        if self._languages and language not in self._languages:
            return 0.0
        if any(not ranges(phrase, evidence.text) for phrase in self._phrases):
            return 0.0
        name = analyzer_for(language)
        if any(_holds(evidence.text, one, name) for one in self._excluded):
            return 0.0
        return self._words.share(evidence.text, name)


class _Words:
    """The words of a question.

    text: all of it. wanted: those that are looked for, folded, without those that its language, or
    English, takes for too common.
    """

    def __init__(self, text: str):
        self.text = text
        language = analyzer_for(detect_language(text))
        self._stopping = [analyzer(n) for n in dict.fromkeys((language, "english")) if n != PLAIN]
        self._all = list(dict.fromkeys(word.text for word in words(text)))
        self.wanted = [word for word in self._all if not self._stopped(word)] or self._all
        self._terms: dict[str, list[frozenset[int]]] = {}

    def share(self, text: str, name: str) -> float:
        """Of the wanted words, those that the text holds as that analyzer or a plain one sees them,
        0..1. 1 where nothing is wanted."""
        if not self.wanted:
            return 1.0
        there = {model: set(analyzer(model).query(text)) for model in {name, PLAIN}}
        held = [
            any(self._terms_of(model)[at] & terms for model, terms in there.items())
            for at in range(len(self.wanted))
        ]
        if not all(held):
            together = self._run_together(text)
            held = [one or word in together for one, word in zip(held, self.wanted, strict=True)]
        return sum(held) / len(held)

    def _terms_of(self, name: str) -> list[frozenset[int]]:
        if name not in self._terms:
            self._terms[name] = [analyzer(name).tokens(word) for word in self.wanted]
        return self._terms[name]

    def _run_together(self, text: str) -> set[str]:
        """Wanted words in words that are several of the question's (and of those that are too
        common to look for) without the spaces between, as screens are often read. `unblocked` holds
        no `blocked`, since `un` is none."""
        found: set[str] = set()
        for word in words(text):
            inside = [one for one in self.wanted if one in word.text and one != word.text]
            if inside and len(word.text) <= LONGEST_RUN_TOGETHER:
                found.update(self._taken_apart(word.text) & set(inside))
        return found

    def _taken_apart(self, word: str) -> set[str]:
        ways: dict[int, set[str]] = {0: set()}
        for end in range(1, len(word) + 1):
            for start in sorted(ways):
                piece = word[start:end]
                if piece in self._all or (len(piece) > 1 and self._stopped(piece)):
                    ways[end] = ways[start] | {piece}
                    break
        return ways.get(len(word), set())

    def _stopped(self, word: str) -> bool:
        return any(not model.tokens(word) for model in self._stopping)


def _holds(text: str, excluded: str, name: str) -> bool:
    if ranges(excluded, text):
        return True
    terms = set(analyzer(name).query(excluded))
    return bool(len(words(excluded)) == 1 and terms and terms <= set(analyzer(name).query(text)))


def _bits(digits: str) -> np.ndarray:
    """The vector of a fingerprint of hexadecimal digits."""
    from ingest.models.pdq import to_vector

    return to_vector(np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool))


def _tells(evidence: Evidence) -> bool:
    return evidence.attributes.get("quality", 100) >= LOW_QUALITY


def _same_bits(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of the bits that are the same."""
    return float(np.count_nonzero((ours > 0) == (theirs > 0))) / BITS
