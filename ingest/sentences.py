"""Words to sentences: pieces of speech that a search can show.

A sentence ends at its punctuation, at a long pause, and where speaker or language change. One that
goes on for too long is cut at its last comma, else at its longest pause. That serves scripts
without spaces as well: a word is whatever the recogniser calls one, and carries its own spaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from index.passages import CLOSING_MARKS, SENTENCE_ENDS
from ingest.transcripts import Word

SENTENCES_VERSION = 1
"""Raised when a change in this file cuts other sentences."""

_PAUSE_SECONDS = 1.5
_HALTS = frozenset(",;:、，；：،؛–—")
_ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e"),
        *("nr", "bzw", "z.b", "d.h", "usw", "mme", "mlle", "sra", "dott"),
    )
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """language: BCP 47 primary tag, where it is known."""

    words: tuple[Word, ...]
    language: str | None

    @property
    def text(self) -> str:
        return " ".join("".join(word.text for word in self.words).split())

    @property
    def start_seconds(self) -> float:
        return self.words[0].start_seconds

    @property
    def end_seconds(self) -> float:
        return max(word.end_seconds for word in self.words)

    @property
    def confidence(self) -> float:
        return sum(word.confidence for word in self.words) / len(self.words)

    @property
    def speaker(self) -> str | None:
        return self.words[0].speaker


class SentenceBuilder:
    """Takes words as they come, across chunks, and gives out sentences that are complete.

    longest_seconds: of a sentence.
    """

    def __init__(self, longest_seconds: float = 15.0):
        self._longest = longest_seconds
        self._words: list[Word] = []
        self._language: str | None = None

    @property
    def open(self) -> bool:
        """Whether a sentence has begun that may go on."""
        return bool(self._words)

    def push(self, words: Iterable[Word], language: str | None) -> list[Sentence]:
        """The sentences that these words complete. words: in order, not before earlier ones."""
        done: list[Sentence] = []
        for word in words:
            if not word.text.strip():
                continue
            if self._words and self._ends_before(word, language):
                done += self.flush()
            self._language = language
            self._words.append(word)
            while self._words[-1].end_seconds - self._words[0].start_seconds > self._longest:
                if len(self._words) == 1:
                    break
                done.append(self._cut())
        return done

    def pause(self, at_seconds: float) -> list[Sentence]:
        """Nobody has spoken until then: ends what a pause of that length ends."""
        if self._words and at_seconds - self._words[-1].end_seconds >= _PAUSE_SECONDS:
            return self.flush()
        return []

    def flush(self) -> list[Sentence]:
        """Nothing more comes."""
        words, self._words = self._words, []
        return [Sentence(tuple(words), self._language)] if words else []

    def _ends_before(self, word: Word, language: str | None) -> bool:
        last = self._words[-1]
        return (
            language != self._language
            or word.speaker != last.speaker
            or word.start_seconds - last.end_seconds >= _PAUSE_SECONDS
            or _ends(last.text, word.text)
        )

    def _cut(self) -> Sentence:
        """Takes off the first part of what has become too long."""
        words = self._words
        inner = range(max(1, len(words) // 3), len(words))
        halts = [n for n in inner if words[n - 1].text.strip().rstrip(CLOSING_MARKS)[-1:] in _HALTS]
        if halts:
            at = halts[-1]
        else:
            at = max(inner, key=lambda n: words[n].start_seconds - words[n - 1].end_seconds)
        self._words = words[at:]
        return Sentence(tuple(words[:at]), self._language)


def _ends(text: str, following: str) -> bool:
    """Whether a sentence ends with the word `text`, when `following` comes next."""
    bare = text.strip().rstrip(CLOSING_MARKS)
    if not bare or bare[-1] not in SENTENCE_ENDS:
        return False
    if bare[-1] != ".":
        return True
    stem = bare[:-1].lstrip("\"'“‘«([{¿¡").casefold()
    initial = len(stem) == 1 and stem.isalpha() and stem != "i"
    if stem in _ABBREVIATIONS or initial:
        return False
    begins = following.strip().lstrip("\"'“‘«([{¿¡")[:1]
    return not begins.islower() and not (stem[-1:].isdigit() and begins.isdigit())
