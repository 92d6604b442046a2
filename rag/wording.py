"""Whether a text holds a phrase as it is written: the same words in the same order, whatever their
case, the punctuation between them and the way Unicode spells them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana and Chinese."""


@dataclass(frozen=True, slots=True)
class Word:
    """A run of letters, marks and digits (of a script without spaces, a single letter) in its
    folded form, and the half-open range of characters that it stands at."""

    text: str
    start: int
    end: int


def is_word(text: str) -> bool:
    """A single letter is none, but in scripts without spaces."""
    return len(text) > 1 or _SPACELESS.match(text) is not None


def words(text: str) -> list[Word]:
    """The words of the text, in order."""
    if text.isascii():
        found = _ASCII_WORD.finditer(text)
        return [Word(match[0].lower(), match.start(), match.end()) for match in found]
    folded = ((_folded(text[start:end]), start, end) for start, end in _runs(text))
    return [Word(word, start, end) for word, start, end in folded if word]


def occurrences(phrase: Sequence[str], inside: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of `inside` where the phrase stands; both are words in folded form."""
    if not phrase:
        return
    for at in range(len(inside) - len(phrase) + 1):
        if inside[at] == phrase[0] and list(inside[at : at + len(phrase)]) == list(phrase):
            yield at, at + len(phrase)


def ranges(phrase: str, text: str) -> list[tuple[int, int]]:
    """Half-open character ranges of `text` that hold the phrase."""
    there = words(text)
    wanted = [word.text for word in words(phrase)]
    found = occurrences(wanted, [word.text for word in there])
    return [(there[start].start, there[end - 1].end) for start, end in found]


def _runs(text: str) -> Iterator[tuple[int, int]]:
    start = None
    for at, character in enumerate(text):
        category = unicodedata.category(character)
        alone = _SPACELESS.match(character) is not None
        if category[0] == "M" or category == "Cf":  # joins what it follows
            continue
        if start is not None and (alone or category[0] not in "LN" or _alone(text, start)):
            yield start, at
            start = None
        if start is None and category[0] in "LN":
            start = at
    if start is not None:
        yield start, len(text)


def _alone(text: str, at: int) -> bool:
    return _SPACELESS.match(text[at]) is not None


def _folded(word: str) -> str:
    kept = "".join(c for c in word if unicodedata.category(c) != "Cf")  # soft hyphens and joiners
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", kept).casefold())
