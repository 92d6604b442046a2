"""The numbers in a text, written in digits or in English words."""

from __future__ import annotations

import re
import unicodedata

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * value for value, word in enumerate(_ROUND.split(), start=2)}
_POWERS = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_ORDINALS = {
    "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip
_VAGUE = frozenset(("one", "zero"))
"""Alone, mostly no number: "this one", "one can see"."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[A-Za-z]+")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def numbers_in(text: str) -> set[float]:
    """ "1,500", "1500", "fifteen hundred" and "one thousand five hundred" are the same number;
    "twenty-five" is 25. "one" and "zero" alone are none."""
    found: set[float] = set()
    run: list[str] = []
    text = unicodedata.normalize("NFKC", text)
    last_end = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        word = token.casefold()
        gap = text[last_end : match.start()]
        last_end = match.end()
        spelt = word in _UNITS or word in _TENS or word in _POWERS
        joined = spelt or (word == "and" and run and run[-1] in _POWERS)
        if run and (not joined or gap.strip() not in ("", "-")):
            found |= _spelt(run)
            run = []
        if spelt or (joined and run):
            run.append(word)
        elif word in _ORDINALS:
            found.add(float(_ORDINALS[word]))
        elif token[0].isdigit():
            found.add(_written(token))
    return found | _spelt(run)


def _written(token: str) -> float:
    if _GROUPED.fullmatch(token):
        return float(token.replace(",", ""))
    parts = re.split(r"[.,]", token)
    if len(parts) == 2:
        return float(f"{parts[0]}.{parts[1]}")
    return float("".join(parts))


def _spelt(run: list[str]) -> set[float]:
    """The numbers in a row of number words; "two three" are two."""
    words = [word for word in run if word != "and"]
    if not words or (len(words) == 1 and words[0] in (*_VAGUE, *_POWERS)):
        return set()
    found: set[float] = set()
    total = current = 0
    began = False
    for at, word in enumerate(words):
        if word in _POWERS:
            power = _POWERS[word]
            if power == 100:
                current = max(current, 1) * power
            else:
                total, current = total + max(current, 1) * power, 0
        else:
            value = _UNITS.get(word, _TENS.get(word, 0))
            before = words[at - 1] if at else ""
            fits = not began or before in _POWERS or (before in _TENS and 0 < value < 10)
            if not fits:
                found.add(float(total + current))
                total = current = 0
            current += value
        began = True
    found.add(float(total + current))
    return found
