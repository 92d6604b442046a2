"""Options to choose from: how a model is shown them, and which one it has chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase as LETTERS

from rag.delimited import one_line

ASK = "Reply with the letter of the best option alone."
"""Where a model is shown nothing else."""

_LETTER = r"\(?\**([A-Z])\**(?=$|[\s.):,*\]])"
_FIRST = re.compile(rf"^\W*{_LETTER}")
_TOLD = re.compile(
    rf"\b(?:answer|option|choice|letter)(?: is|:| would be)*:?\s*\**{_LETTER}", re.IGNORECASE
)
_ALONE = re.compile(r"(?:^|[\s(\[*])([A-Z])(?=$|[\s.):,\]*])")


def lettered(question: str, options: Sequence[str]) -> str:
    """The question and under it its options, a line each."""
    lines = [f"{letter}. {one_line(text)}" for letter, text in zip(LETTERS, options, strict=False)]
    return "\n".join([question, *lines])


def choice_of(answer: str, options: Sequence[str]) -> int | None:
    """The index of the option that a model's answer names; None where it names none, or several.

    By its letter at the beginning, by “the answer is B”, by the option's own words, or by the only
    letter that stands alone (A and I may be words).
    """
    text = answer.strip()
    known = LETTERS[: len(options)]
    first = _FIRST.match(text)
    if first and first[1] in known and not _is_word(text, first):
        return known.index(first[1])
    told = [found[1].upper() for found in _TOLD.finditer(text)]
    told = [letter for letter in told if letter in known]
    if told:
        return known.index(told[-1])
    folded = " ".join(text.casefold().split()).strip(" .\"'“”")
    same = [at for at, one in enumerate(options) if one.casefold().strip(" .") == folded]
    inside = [at for at, one in enumerate(options) if one.casefold().strip(" .") in folded]
    for found in (same, inside):
        if len(found) == 1:
            return found[0]
    alone = {letter for letter in _ALONE.findall(text) if letter in known and letter not in "AI"}
    return known.index(alone.pop()) if len(alone) == 1 else None


def _is_word(text: str, found: re.Match) -> bool:
    """Whether a letter at the beginning is a word: “A man walks in”."""
    behind = text[found.end() :]
    return found[1] in "AI" and bool(re.match(r"\s+[a-z]", behind))
