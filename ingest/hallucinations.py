"""What a recogniser put out although nobody said it.

Whisper invents text where there is little to hear, and repeats itself where it loses its way. Each
guard looks at one utterance and says why it is not believed.

* `no speech`: Whisper's own rule, that it is likely nobody spoke, and the tokens are unlikely.
* `unsure`: the tokens are so unlikely, on average, that the text is worth nothing in any case.
  (OpenAI calls -1 a failure, but keeps such text when trying again fails as well; so it is kept
  here down to half as much again.)
* `compression`: the text repeats itself, by Whisper's measure and threshold.
* `silence`: fewer than half of its words lie where the voice activity found speech.
* `rate`: more letters a second than anybody speaks. Words that are invented are often aligned to
  the same instant.
* `anomaly`: some words lie outside of speech, and too many are improbable, or too short or too long
  to be words, by the score with which Whisper looks for hallucinations in silence.
* `loop`: the same few words over and over in one utterance, or the same utterances (up to four that
  take turns) for the third time, across chunks as well.
* `credit`: the names of subtitling services, which are in Whisper's training data where silence is,
  and which nobody says. "Thank you for watching" is not among them: people do say that.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.transcripts import Utterance, Word

GUARDS_VERSION = 1
"""Raised when a change in this file changes what is believed."""

_HOPELESS = 1.5  # times the limit of the log probability
_LETTERS_A_SECOND = 35.0  # fast talkers reach some 28 in English
_LETTERS = 12  # fewer may be squeezed by the alignment
_TOUCHING_SECONDS = 0.2
_LOOP_TIMES = 4
_LOOP_WORDS = 8
_LOOP_SHARE = 0.6
_PERIODS = range(1, 5)
_TURNS = 3

_CREDITS = re.compile(
    r"amara\.org|opensubtitles|dimatorzok|subtitles by the \w+ community|"
    r"sous-titr\w+ (st'? ?\d+|société radio-canada|fr\b|par\b)|"
    r"untertitel\w* (im auftrag|der|des) .*(zdf|funk|amara)|"
    r"ondertitel\w* ingediend door|napisy stworzone przez|sottotitoli (creati|e revisione)|"
    r"legendas pela comunidade|subtítulos (realizados|por la comunidad)|"
    r"субтитры (сделал|создавал|подогнал)|редактор субтитров|字幕由|字幕by|字幕志愿者",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """no_speech: probability. log_probability: average by token. compression: ratio."""

    no_speech: float = 0.6
    log_probability: float = -1.0
    compression: float = 2.4


class Guards:
    """Judges utterances in the order that they were spoken in, and remembers the last ones."""

    def __init__(self, limits: Limits = Limits()):
        self._limits = limits
        self._said: deque[str] = deque(maxlen=_TURNS * max(_PERIODS))

    def reason(self, utterance: Utterance, speech: Sequence[tuple[float, float]]) -> str | None:
        """Why it is not believed; None where it is.

        speech: half-open spans, in seconds, in which the voice activity found speech.
        """
        text = utterance.text
        if not any(character.isalnum() for character in text):
            return "empty"
        turning = self._turns(_folded(text))
        words = [word for word in utterance.words if word.text.strip()]
        limits = self._limits
        unlikely = utterance.log_probability < limits.log_probability
        if unlikely and utterance.no_speech_probability > limits.no_speech:
            return "no speech"
        if utterance.log_probability < _HOPELESS * limits.log_probability:
            return "unsure"
        if utterance.compression_ratio > limits.compression:
            return "compression"
        if _CREDITS.search(text):
            return "credit"
        if turning or _loops([_folded(word.text) for word in words]):
            return "loop"
        heard = _heard(words, speech)
        if heard < 0.5:
            return "silence"
        if _hurried(words):
            return "rate"
        if heard < 1 and _anomalous(words):
            return "anomaly"
        return None

    def _turns(self, text: str) -> bool:
        """Whether the last utterances, this one included, are the same ones three times over."""
        self._said.append(text)
        said = list(self._said)
        for period in _PERIODS:
            last = said[-_TURNS * period :]
            if len(last) == _TURNS * period and last == last[:period] * _TURNS:
                return True
        return False


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _loops(words: Sequence[str]) -> bool:
    """Whether most of the words are one group, several times in a row."""
    for size in range(1, len(words) // _LOOP_TIMES + 1):
        for first in range(len(words) - size * _LOOP_TIMES + 1):
            group = words[first : first + size]
            times = 1
            while words[first + times * size : first + (times + 1) * size] == group:
                times += 1
            looped = times * size
            if (
                times >= _LOOP_TIMES
                and looped >= _LOOP_WORDS
                and looped >= _LOOP_SHARE * len(words)
            ):
                return True
    return False


def _heard(words: Sequence[Word], speech: Sequence[tuple[float, float]]) -> float:
    """Share of the words that touch speech."""
    touching = sum(
        any(
            word.start_seconds < end + _TOUCHING_SECONDS
            and word.end_seconds > start - _TOUCHING_SECONDS
            for start, end in speech
        )
        for word in words
    )
    return touching / len(words)


def _hurried(words: Sequence[Word]) -> bool:
    letters = sum(character.isalnum() for word in words for character in word.text)
    lasting = words[-1].end_seconds - words[0].start_seconds
    return letters > _LETTERS and letters > _LETTERS_A_SECOND * lasting


def _anomalous(words: Sequence[Word]) -> bool:
    """`is_segment_anomaly` of openai/whisper: over the first eight words."""
    words = [word for word in words if any(c.isalnum() for c in word.text)][:8]
    score = sum(_anomaly(word) for word in words)
    return score >= 3 or score + 0.01 >= len(words)


def _anomaly(word: Word) -> float:
    lasting = word.end_seconds - word.start_seconds
    score = 1.0 if word.confidence < 0.15 else 0.0
    score += max(0.0, 0.133 - lasting) * 15
    return score + max(0.0, lasting - 2.0)
