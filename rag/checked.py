"""An answer's events, sentence by sentence: each is held against what it cites as soon as it ends.

A sentence ends with its full stop and the citations behind it, or with its line. A dot within a
number, or before a small letter, ends none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from index.schema import AnswerEvent, Checked, Citation, Token
from rag.answer_settings import CheckSettings
from rag.material import Line
from rag.support import SupportScorer

_STOPS = ".!?…؟।"
_STOPS_ANYWHERE = "。！？｡"
_CLOSING = "\"'”’»)]』」）*_"
_LISTED = re.compile(r"\s*(?:[-*•]|\d{1,3}[.)])\s*")
_LETTER = re.compile(r"\w")
_OTHER_LANGUAGE_LETTERS = 24
"""Letters of a sentence whose language can be told."""


class SentenceChecker:
    """One attempt's. `feed` it events of `rag.citations`, then `finish`.

    words: of each source that has any, by number. scorer: None checks nothing, and every sentence
    passes as it is. strict: a sentence is held back until it has been checked, and left out where
    it is unsupported or uncited. verdicts: how many there have been of each.
    """

    def __init__(
        self,
        words: Mapping[int, Sequence[Line]],
        scorer: SupportScorer | None,
        settings: CheckSettings,
        *,
        strict: bool = False,
    ):
        self.verdicts: Counter[str] = Counter()
        self.left_out = 0
        self._words = words
        self._scorer = scorer
        self._settings = settings
        self._strict = strict
        self._sentence = ""
        self._cited: dict[int, None] = {}
        self._text = ""  # to be told
        self._held: list[AnswerEvent] = []  # of the sentence, where it is held back
        self._out: list[AnswerEvent] = []
        self._stop = ""  # the full stop that the sentence may have ended with
        self._gap = ""  # space behind it

    def feed(self, events: Iterable[AnswerEvent]) -> list[AnswerEvent]:
        if self._scorer is None:
            return list(events)
        for event in events:
            if isinstance(event, Token):
                for character in event.text:
                    self._take(character)
            else:
                self._tell(self._gap)
                self._gap = ""
                self._flush()
                if isinstance(event, Citation):
                    self._cited[event.source.number] = None
                (self._held if self._strict else self._out).append(event)
        return self._given()

    def finish(self) -> list[AnswerEvent]:
        if self._scorer is not None:
            self._gap = ""
            self._close()
        return self._given()

    def _given(self) -> list[AnswerEvent]:
        self._flush()
        out, self._out = self._out, []
        return out

    def _take(self, character: str) -> None:
        if character == "\n":
            self._close()
            self._tell(self._gap + character)
            self._gap = ""
        elif self._gap and character.isspace():
            self._gap += character
        elif self._gap:
            gap, self._gap = self._gap, ""
            if _begins(character):
                self._close()
                self._tell(gap)
                self._say(character)
            else:  # the dot of an abbreviation
                self._say(gap + character)
        elif self._stop and character.isspace():
            self._gap = character
        elif self._stop and character in _CLOSING + _STOPS + _STOPS_ANYWHERE:
            self._say(character, stop=self._stop)
        elif self._stop and self._stop in _STOPS_ANYWHERE:
            self._close()
            self._say(character)
        else:
            self._say(character)

    def _say(self, text: str, *, stop: str = "") -> None:
        """Of the sentence."""
        self._sentence += text
        self._stop = stop or (text[-1] if text[-1] in _STOPS + _STOPS_ANYWHERE else "")
        self._tell(text)

    def _tell(self, text: str) -> None:
        self._text += text

    def _flush(self) -> None:
        if self._text:
            (self._held if self._strict else self._out).append(Token(self._text))
            self._text = ""

    def _close(self) -> None:
        """The sentence is over."""
        self._flush()
        checked = self._verdict()
        dropped = False
        if checked is not None:
            self.verdicts[checked.verdict] += 1
            dropped = self._strict and checked.verdict in ("unsupported", "uncited")
        self.left_out += dropped
        if not dropped:
            self._out += self._held
            if checked is not None:
                self._out.append(checked)
        self._held = []
        self._sentence = self._stop = ""
        self._cited = {}

    def _verdict(self) -> Checked | None:
        """None where nothing is said that could be checked."""
        sentence = self._sentence.strip()
        said = _LISTED.sub("", sentence, count=1) if _LISTED.match(sentence) else sentence
        if not _LETTER.search(said):
            return None
        if not self._cited:
            if said.endswith((":", "：")) or self._scorer.score(said, [said]).score is None:
                return None  # leads in, or says nothing
            return Checked(sentence, "uncited", None, "it cites nothing")
        lines = [line for number in self._cited for line in self._words.get(number, ())]
        if not lines:
            return Checked(sentence, "unchecked", None, "it cites pictures alone")
        language = _most(line.language for line in lines)
        found = self._scorer.score(said, [line.text for line in lines], language)
        if found.score is None:
            return Checked(sentence, "unchecked", None, "it says nothing that could be looked for")
        floor = self._settings.floor
        if found.score >= floor:
            return Checked(sentence, "supported", found.score, ", ".join(found.lacking))
        if _in_another_language(said, language):
            return Checked(sentence, "unchecked", found.score, "its source is in another language")
        lacking = ", ".join(found.lacking) or "its words"
        return Checked(sentence, "unsupported", found.score, f"not in its sources: {lacking}")


def _begins(character: str) -> bool:
    """Whether a sentence may begin so."""
    return not (character.islower() or character in ",;:")


def _most(languages: Iterable[str | None]) -> str | None:
    counts = Counter(language for language in languages if language)
    return counts.most_common(1)[0][0] if counts else None


def _in_another_language(sentence: str, language: str | None) -> bool:
    if language is None or sum(map(str.isalpha, sentence)) < _OTHER_LANGUAGE_LETTERS:
        return False
    from index.languages import language_tag
    from index.text import detect_language

    own = detect_language(sentence)
    return own is not None and own != language_tag(language)
