"""A voice and a recogniser of speech that do what a script says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingest.models.files import ModelFiles
from ingest.models.silero import SAMPLE_RATE, WINDOW
from ingest.transcripts import Transcript, Utterance, Word
from ingest.voice import Chunk

SCRIPTED_FILES = ModelFiles("scripted", Path("nowhere"), "00ff", Path("nowhere"))


class Loudness:
    """A voice wherever it is loud."""

    name = "loudness"

    def probabilities(self, samples, state):
        return (np.abs(samples.reshape(-1, WINDOW)).max(axis=1) > 0.05) * np.float32(0.95), state


class Scripted:
    """Says which second it is, every second of the sound that is given to it, as one long stream of
    words whose every seventh ends a sentence."""

    def __init__(self, batch_size: int = 1):
        self.batch_size = batch_size
        self.batches: list[int] = []
        self.ends: list[float] = []

    def transcribe(self, chunks: Sequence[Chunk]) -> list[Transcript]:
        assert all(len(chunk.samples) <= 30 * SAMPLE_RATE for chunk in chunks)
        self.batches.append(len(chunks))
        self.ends += [chunk.end_seconds for chunk in chunks]
        return [self._one(chunk, len(chunks)) for chunk in chunks]

    def _one(self, chunk: Chunk, together: int) -> Transcript:
        words = []
        for start, end in chunk.speech:
            for second in range(round(start), round(end)):
                stop = "." if second % 7 == 0 else ""
                # The batch shows in the text, as it may in real figures.
                words.append(Word(second + 0.1, second + 0.9, f" S{second}x{together}{stop}"))
        language = "fr" if chunk.start_seconds > 200 else "en"
        return Transcript(language, (Utterance(tuple(words)),) if words else ())


class Silent(Loudness):
    def probabilities(self, samples, state):
        return np.zeros(len(samples) // WINDOW, np.float32), state
