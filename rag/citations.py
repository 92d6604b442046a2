"""An answer's text as it streams, with its citations taken out as they pass.

A model is told to write `[3]` behind what it says from source 3; `[3, 4]`, `[3–5]`, `[Source 3]`
and `【3】` are understood too. Pieces of an answer end anywhere, so what may become a citation is
held back until it is one or is none: a few characters at most.

What stands in code (between backticks) is left alone, and so is `a[1]` outside of it: a citation
that touches the word before it is taken for one only where that word could be no variable's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from index.schema import AnswerEvent, Citation, Source, Token

_LONGEST = 40
"""Characters of a citation with its brackets. A longer one is text."""

_CLOSING = {"[": "]", "【": "】"}
_BEGINS = re.compile(r"[ ]*(s(o(u(r(c(es?)?)?)?)?)?)?[ ]*[\d ,;–-]*", re.IGNORECASE)
_WHOLE = re.compile(
    r"\s*(?:sources?\s*)?(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\s*[,;]?\s*", re.IGNORECASE
)
_RANGE = re.compile(r"(\d+)\s*[–-]\s*(\d+)")
_MOST_IN_RANGE = 20
_SHORTEST_WORD = 3
_FENCE = 3
_NO_END = ""


class CitationParser:
    """One answer's. `feed` it the pieces, then `finish`; both return what has become certain.

    sources: by number. invented: citations so far of sources that do not exist. They are left out
    of the text. However an answer is cut into pieces, the same events come, but for where its text
    is cut into Tokens.
    """

    def __init__(self, sources: Mapping[int, Source]):
        self.sources = dict(sources)
        self.invented = 0
        self._out: list[AnswerEvent] = []
        self._text = ""
        self._spaces = ""
        self._bracket = ""
        self._ticks = ""
        self._code = ""  # the backticks that opened it
        self._word = ""  # what the text ends in, as far as it may be a name
        self._last = "\n"

    def feed(self, text: str) -> list[AnswerEvent]:
        for character in text:
            self._take(character)
        return self._flush()

    def finish(self) -> list[AnswerEvent]:
        self._end_ticks()
        self._give(self._spaces + self._bracket)
        self._spaces = self._bracket = ""
        return self._flush()

    def _flush(self) -> list[AnswerEvent]:
        self._end_token()
        out, self._out = self._out, []
        return out

    def _end_token(self) -> None:
        if self._text:
            self._out.append(Token(self._text))
            self._text = ""

    def _give(self, text: str) -> None:
        for character in text:
            self._last = character
            named = character.isascii() and (character.isalnum() or character == "_")
            self._word = (self._word + character)[-_LONGEST:] if named else ""
        self._text += text

    def _take(self, character: str) -> None:
        if self._bracket:
            self._in_bracket(character)
            return
        if character == "`":
            if not self._ticks:
                self._give(self._spaces)
                self._spaces = ""
            self._ticks += character
            return
        self._end_ticks()
        if self._code:
            if character == "\n" and len(self._code) < _FENCE:
                self._code = _NO_END  # a lone backtick was none
            self._give(character)
        elif character == " ":
            self._spaces += character
        elif character in _CLOSING and self._may_cite():
            self._bracket = character
        else:
            self._give(self._spaces + character)
            self._spaces = ""

    def _end_ticks(self) -> None:
        """A run of backticks has come to its end."""
        ticks, self._ticks = self._ticks, ""
        if not ticks:
            return
        self._give(ticks)
        if not self._code:
            self._code = ticks
        elif ticks == self._code or (len(self._code) >= _FENCE and len(ticks) >= len(self._code)):
            self._code = _NO_END

    def _may_cite(self) -> bool:
        """Whether a bracket that opens here may be a citation's, by what stands before it."""
        if self._spaces or self._last == "":
            return True
        if self._last in "]_":
            return False
        return not self._word or self._word.isdigit() or self._touched()

    def _touched(self) -> bool:
        """Whether the word right before is one of a language rather than a name in code."""
        word = self._word
        plain = word.isalpha() and (word.islower() or word.istitle())
        return plain and len(word) >= _SHORTEST_WORD

    def _in_bracket(self, character: str) -> None:
        opened = self._bracket[0]
        if character == _CLOSING[opened]:
            numbers = _numbers(self._bracket[1:])
            touching = bool(self._word) and not self._word.isdigit() and not self._spaces
            known = [number for number in numbers if number in self.sources]
            if numbers and (known or not touching):
                self._cite(numbers)
            else:
                self._release(character)
            return
        content = self._bracket[1:] + character
        if len(content) < _LONGEST and _BEGINS.fullmatch(content):
            self._bracket += character
            return
        self._release()
        self._take(character)

    def _release(self, character: str = "") -> None:
        """It was no citation."""
        self._give(self._spaces + self._bracket + character)
        self._spaces = self._bracket = ""

    def _cite(self, numbers: list[int]) -> None:
        self._spaces = self._bracket = ""
        self._end_token()
        for number in numbers:
            if number in self.sources:
                self._out.append(Citation(self.sources[number]))
            else:
                self.invented += 1
        self._last = self._word = ""


def _numbers(content: str) -> list[int]:
    """What a citation's brackets name, each once; nothing where it is no citation."""
    whole = _WHOLE.fullmatch(content)
    if whole is None:
        return []
    found: dict[int, None] = {}
    for part in re.split(r"[,;]", whole[1]):
        span = _RANGE.fullmatch(part.strip())
        if span is None and not part.strip().isdigit():
            return []
        low, high = (int(span[1]), int(span[2])) if span else (int(part), int(part))
        if high < low or high - low > _MOST_IN_RANGE:
            return []
        found.update(dict.fromkeys(range(low, high + 1)))
    return list(found)
