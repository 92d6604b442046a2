"""What a recogniser of speech is to the rest of Longtake, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.voice import Chunk


@dataclass(frozen=True, slots=True)
class Word:
    """One word, with the space before it where its script has spaces, and its punctuation.

    start_seconds, end_seconds: on the video's clock. confidence: 0..1. speaker: where whoever
    recognises, or labels what was recognised, tells speakers apart.
    """

    start_seconds: float
    end_seconds: float
    text: str
    confidence: float = 1.0
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a decoder put out in one piece, and what it thinks of it.

    log_probability: average by token, natural logarithm. no_speech_probability: that nobody spoke
    in the window that it was decoded from. compression_ratio: bytes of the window's text over what
    zlib makes of them; text that repeats itself has a high one.
    """

    words: tuple[Word, ...]
    log_probability: float = 0.0
    no_speech_probability: float = 0.0
    compression_ratio: float = 1.0

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words).strip()


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one chunk, in order. language: BCP 47 primary tag."""

    language: str | None
    utterances: tuple[Utterance, ...]


class Recognizer(Protocol):
    """Speech to words; ingest.models.whisper.WhisperRecognizer is the real one.

    batch_size: chunks that it takes best at once. What it makes of a chunk may depend on those it
    gets it with, but on nothing that came before: it keeps no state from call to call.
    """

    batch_size: int

    def transcribe(self, chunks: Sequence[Chunk]) -> list[Transcript]: ...
