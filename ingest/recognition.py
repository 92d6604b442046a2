"""What is said in a file's sound: voice activity, a recogniser, guards, sentences, in one stream.

How a run resumes. From time to time all state is dropped: between stretches of voice activity,
where everything that was heard has been recognised and no sentence is open, once `seal_seconds`
have gone by; where no such place comes, an open sentence is ended there after twice as long. What
follows is a function of the sound from there on. The watermark is the last such place.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.errors import DamagedMediaError, NotMediaError
from ingest.channels.settings import RecognitionSettings
from ingest.hallucinations import GUARDS_VERSION, Guards, Limits
from ingest.models.files import ModelFiles
from ingest.sentences import SENTENCES_VERSION, Sentence, SentenceBuilder
from ingest.transcripts import Recognizer, Word
from ingest.voice import VOICE_VERSION, Chunk, Stretch, Voice, first_sound_seconds, stretches

if TYPE_CHECKING:
    from ingest.audio import AudioBlock

_CODE_VERSION = 2
"""Raised when a change in this file, in ingest.audio or ingest.models.whisper changes sentences."""

_SHORTEST_SECONDS = 0.02
_LIVE_SEAL_SECONDS = 5.0
_AHEAD_STRETCHES = 16  # as many chunks as a GPU takes at once; 2 MB each

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """Sentences in the order of their starts, and how far recognition has come with them; the
    fields as in ingest.channel.Batch."""

    sentences: tuple[Sentence, ...]
    watermark_seconds: float
    analysed_seconds: float
    notes: tuple[str, ...] = ()
    damaged: bool = False


class Recognition:
    """Recognises speech in files, one model for all of them.

    files: of a Whisper model. load: what makes a recogniser of them, at the first word that anybody
    says; None is WhisperRecognizer as configured. voice: None is Silero's network.
    """

    def __init__(
        self,
        files: ModelFiles,
        settings: RecognitionSettings | None = None,
        *,
        load: Callable[[ModelFiles], Recognizer] | None = None,
        voice: Voice | None = None,
    ):
        self._files = files
        self._settings = settings or RecognitionSettings()
        self._load = load or self._load_whisper
        self._voice = voice
        self._recognizer: Recognizer | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Of the model, for people."""
        return self._files.name

    def describe(self) -> Mapping[str, Any]:
        """What shapes the sentences. Where and how fast the model runs is left out: a library that
        is moved to a machine with a GPU is not recognised anew. Raises ModelMissingError."""
        return {
            "model": self._files.name,
            "digest": self._files.digest,
            "voice": self._hearing().name,
            "settings": self._settings.model_dump(
                mode="json", exclude={"model", "device", "compute_type", "batch", "threads"}
            ),
            "code": [_CODE_VERSION, VOICE_VERSION, GUARDS_VERSION, SENTENCES_VERSION],
        }

    def run(self, path: Path, from_seconds: float = 0.0) -> Iterator[Heard]:
        """What is said from the watermark `from_seconds` to the end of the file's sound.

        Sound that is damaged or cannot be decoded is a note. Raises MediaError where the file
        cannot be read, ModelMissingError, and LongtakeError where the recogniser fails.
        """
        from ingest.audio import read_audio
        from ingest.decode import Problems
        from ingest.models.silero import SAMPLE_RATE

        problems = Problems()
        sound = read_audio(
            path,
            sample_rate=SAMPLE_RATE,
            from_seconds=first_sound_seconds(from_seconds),
            problems=problems,
        )
        broken: list[str] = []

        def blocks():
            try:
                yield from sound
            except (DamagedMediaError, NotMediaError) as error:
                broken.append(str(error))

        run = _Run(self._settings, self._loaded, from_seconds)
        found = stretches(
            self._hearing(), blocks(), from_seconds, chunk_seconds=self._settings.chunk_seconds
        )
        with contextlib.closing(_ahead(found, sound)) as ready:
            for stretch in ready:
                heard = run.push(stretch)
                if heard is not None:
                    yield heard
        if problems.errors and not broken:
            at = f" from {problems.first_seconds:.1f} s on" if problems.first_seconds else ""
            broken.append(
                f"{path}: its sound is damaged{at} ({problems.message}, {problems.errors} times); "
                "what decodes is recognised. Copy the file again from its source to have all of it."
            )
        yield run.finish(tuple(broken))
        _log.debug("%s: not believed: %s", path, dict(run.dropped) or "nothing")

    def listen(self, sound: Iterator[AudioBlock]) -> Iterator[Heard]:
        """What is said in a sound that is still coming, 16 kHz from 0 on: told behind each stretch,
        so half a minute late where somebody talks on. Nobody resumes it.

        Raises ModelMissingError, and LongtakeError where the recogniser fails.
        """
        settings = self._settings.model_copy(update={"seal_seconds": _LIVE_SEAL_SECONDS})
        run = _Run(settings, self._loaded, 0.0)
        chunk_seconds = settings.chunk_seconds
        for stretch in stretches(self._hearing(), sound, chunk_seconds=chunk_seconds):
            heard = run.push(stretch)
            if heard is not None:
                yield heard
        yield run.finish(())

    def _hearing(self) -> Voice:
        if self._voice is None:
            from ingest.models.silero import SileroVoice

            self._voice = SileroVoice()
        return self._voice

    def _loaded(self) -> Recognizer:
        with self._lock:
            if self._recognizer is None:
                self._recognizer = self._load(self._files)
            return self._recognizer

    def _load_whisper(self, files: ModelFiles) -> Recognizer:
        from ingest.models.whisper import WhisperRecognizer

        settings = self._settings
        return WhisperRecognizer(
            files,
            device=settings.device,
            compute_type=settings.compute_type,
            batch_size=settings.batch or None,
            threads=settings.threads,
            language=settings.language,
            beam_size=settings.beam_size,
        )


class _Run:
    """One file: what has been heard since all state was dropped. dropped: utterances that were not
    believed, by reason."""

    def __init__(
        self, settings: RecognitionSettings, loaded: Callable[[], Recognizer], from_seconds: float
    ):
        self._settings, self._loaded = settings, loaded
        self._limits = Limits(settings.no_speech, settings.log_probability, settings.compression)
        self.dropped: Counter[str] = Counter()
        self._end_seconds = from_seconds
        self._begin(from_seconds)

    def _begin(self, at_seconds: float) -> None:
        self._watermark_seconds = at_seconds
        self._chunks: list[Chunk] = []
        self._guards = Guards(self._limits)
        self._builder = SentenceBuilder(self._settings.sentence_seconds)
        self._sentences: list[Sentence] = []
        self._latest = at_seconds

    def push(self, stretch: Stretch) -> Heard | None:
        """What is final now; None where there is nothing new to tell."""
        self._chunks += stretch.chunks
        self._end_seconds = max(self._end_seconds, stretch.end_seconds)
        recognised = bool(self._chunks) and len(self._chunks) >= self._loaded().batch_size
        if recognised:
            self._recognise()
        if self._chunks:
            return None
        self._sentences += self._builder.pause(self._end_seconds)
        since = self._end_seconds - self._watermark_seconds
        if since >= 2 * self._settings.seal_seconds:
            self._sentences += self._builder.flush()
        if since >= self._settings.seal_seconds and not self._builder.open:
            sentences = self._distinct()
            self._begin(self._end_seconds)
            return Heard(sentences, self._end_seconds, self._end_seconds)
        return Heard((), self._watermark_seconds, self._end_seconds) if recognised else None

    def finish(self, notes: tuple[str, ...]) -> Heard:
        if self._chunks:
            self._recognise()
        self._sentences += self._builder.flush()
        end = self._end_seconds
        return Heard(self._distinct(), end, end, notes, damaged=bool(notes))

    def _recognise(self) -> None:
        chunks, self._chunks = self._chunks, []
        for chunk, transcript in zip(chunks, self._loaded().transcribe(chunks), strict=True):
            for utterance in transcript.utterances:
                reason = self._guards.reason(utterance, chunk.speech)
                if reason is not None:
                    self.dropped[reason] += 1
                    continue
                words = [self._placed(word, chunk) for word in utterance.words]
                self._sentences += self._builder.push(words, transcript.language)

    def _placed(self, word: Word, chunk: Chunk) -> Word:
        """The word within its chunk, and not before the one before it."""
        start = min(max(word.start_seconds, self._latest, chunk.start_seconds), chunk.end_seconds)
        # What starts where a chunk ends would start at a watermark, and belong to what follows.
        start = max(chunk.start_seconds, min(start, chunk.end_seconds - _SHORTEST_SECONDS))
        self._latest = start
        end = max(start, min(word.end_seconds, chunk.end_seconds))
        return replace(word, start_seconds=start, end_seconds=end)

    def _distinct(self) -> tuple[Sentence, ...]:
        """Words without any length may make the same sentence twice at the same time."""
        by_id = {(s.start_seconds, s.language, s.text): s for s in self._sentences}
        return tuple(by_id.values())


def _ahead(found: Iterator[Stretch], sound: Iterator[AudioBlock]) -> Iterator[Stretch]:
    """The same stretches, found a few ahead by a thread that ends when this generator is closed, so
    that a recogniser on a GPU need not wait for them."""
    ready: queue.Queue[Stretch | BaseException | None] = queue.Queue(_AHEAD_STRETCHES)
    stop = threading.Event()

    def put(item: Stretch | BaseException | None) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            with contextlib.closing(sound):
                for stretch in found:
                    if not put(stretch):
                        return
        except BaseException as error:
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=work, name="voice activity", daemon=True)
    thread.start()
    try:
        while isinstance(item := ready.get(), Stretch):
            yield item
        if item is not None:
            raise item
    finally:
        stop.set()
        thread.join()
