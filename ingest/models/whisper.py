"""Speech to words: Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356), run by
faster-whisper on CTranslate2.

The only file that touches faster-whisper. It hands over single chunks, hence uses the steps below
faster-whisper's `transcribe`, which would encode each chunk twice to find its language, and neither
that nor its batched pipeline tells the language of each. Tests hold its outputs against theirs.

Whisper's way out of a text that repeats itself is to decode again with ever more randomness, whose
outcome nobody can reproduce (CTranslate2 cannot reset its random numbers between chunks), while a
resumed run must find what an uninterrupted one does. So here a chunk is first decoded as a whole,
without timestamps. Where that repeats itself, or ends before those who speak do, it is decoded with
timestamps, as faster-whisper does by default: then a sentence that reaches to the end of the chunk
is decoded once more by itself, where most loops begin. Where that is no good either, a third
attempt forbids what mostly goes wrong: a group of three tokens that comes twice. docs/figures.md
has what that is worth with trained weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from index.errors import LongtakeError, ModelMissingError
from index.languages import language_tag
from ingest.models.device import usable_cores
from ingest.models.files import INSTALL_MODELS, ModelFiles
from ingest.models.silero import SAMPLE_RATE
from ingest.transcripts import Transcript, Utterance, Word
from ingest.voice import Chunk

_FILES = ("model.bin", "config.json", "tokenizer.json")
_WINDOW_SECONDS = 30.0
_GPU_BATCH = 16
_REPETITIVE = 2.4
"""Compression ratio from which a text is decoded again; Whisper's own."""
_LEFT_OUT_SECONDS = 2.0
"""What is said after the last word that was decoded, from which on a text is, too."""
_GOOD = (False, 0.0)
_MOST_TOKENS = 224
"""Of half a minute; Whisper's own. A loop goes on to the last."""

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")


class WhisperRecognizer:
    """Implements ingest.transcripts.Recognizer.

    device: "cpu" or "cuda"; None is the GPU where there is one. compute_type: CTranslate2's name;
    None is int8 on a CPU, float16 on a GPU. batch_size: chunks decoded together; None is 1 on a
    CPU, which they keep busy one by one, and 16 on a GPU. threads: on a CPU; 0 is as many as this
    process may use. language: as Whisper calls it; None finds each chunk's. retry: whether a text
    that repeats itself, or ends too early, is decoded in another way.

    Raises ModelMissingError where the package or files are missing or cannot be loaded. Never
    reaches into the network.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str | None = None,
        compute_type: str | None = None,
        batch_size: int | None = None,
        threads: int = 0,
        language: str | None = None,
        beam_size: int = 5,
        retry: bool = True,
    ):
        try:
            import faster_whisper
            from faster_whisper.transcribe import ctranslate2
        except ImportError as error:
            raise ModelMissingError(
                f"speech cannot be recognised, because faster-whisper does not load ({error}): "
                f"{INSTALL_MODELS}, or leave the recognition of speech out"
            ) from error
        # Without its tokenizer faster-whisper would fetch one.
        missing = [name for name in _FILES if not (files.folder / name).is_file()]
        if missing:
            raise ModelMissingError(
                f"{files.folder}: {files.name} cannot be loaded without {', '.join(missing)}; "
                f"{files.fetching}"
            )
        device = device or ("cuda" if ctranslate2.get_cuda_device_count() else "cpu")
        gpu = device != "cpu"
        self.name = files.name
        self.batch_size = batch_size or (_GPU_BATCH if gpu else 1)
        self._language, self._retry = language, retry
        self._beam_size = beam_size
        try:
            self._model = faster_whisper.WhisperModel(
                str(files.folder),
                device=device,
                compute_type=compute_type or ("float16" if gpu else "int8"),
                cpu_threads=threads or usable_cores(),
                local_files_only=True,
            )
        except Exception as error:  # whatever its C++ and the tokenizer make of a wrong file
            raise ModelMissingError(
                f"{files.folder}: {files.name} cannot be loaded on {device} ({error}); "
                f"{files.fetching}"
            ) from error
        self._multilingual = bool(self._model.model.is_multilingual)

    def transcribe(self, chunks: Sequence[Chunk]) -> list[Transcript]:
        """One transcript a chunk; a chunk is 30 s long at most.

        Raises LongtakeError where the engine fails, out of memory as a rule.
        """
        try:
            found = self._whole(chunks)
            if self._retry:
                self._again(found, chunks, self._timed)
                self._again(found, chunks, partial(self._timed, no_repeat=3))
        except (RuntimeError, MemoryError) as error:
            raise LongtakeError(
                f"recognising speech with {self.name} failed ({error}); a smaller batch or a "
                "smaller model needs less memory"
            ) from error
        return found

    def _again(
        self,
        found: list[Transcript],
        chunks: Sequence[Chunk],
        way: Callable[[Sequence[Chunk]], list[Transcript]],
    ) -> None:
        """Decodes in that way what is doubtful, and puts it in place where it is better."""
        numbers = [n for n, one in enumerate(found) if _badness(one, chunks[n]) > _GOOD]
        for n, one in zip(numbers, way([chunks[n] for n in numbers]), strict=True):
            if _badness(one, chunks[n]) < _badness(found[n], chunks[n]):
                found[n] = one

    # --- As a whole, many at once -----------------------------------------------------------

    def _whole(self, chunks: Sequence[Chunk]) -> list[Transcript]:
        batches = (
            chunks[first : first + self.batch_size]
            for first in range(0, len(chunks), self.batch_size)
        )
        return [one for batch in batches for one in self._together(batch)]

    def _together(self, chunks: Sequence[Chunk]) -> list[Transcript]:
        from faster_whisper.audio import pad_or_trim

        model = self._model
        features = np.stack(
            [pad_or_trim(model.feature_extractor(chunk.samples)[..., :-1]) for chunk in chunks]
        )
        languages = self._languages(model.encode(features) if self._detects else None, len(chunks))
        by_language = defaultdict(list)
        for number, language in enumerate(languages):
            by_language[language].append(number)
        # Words are aligned with the tokens of one language at a time.
        transcripts: dict[int, Transcript] = {}
        for language, numbers in by_language.items():
            found = self._decoded(features, chunks, language, numbers)
            for number, utterances in zip(numbers, found, strict=True):
                transcripts[number] = Transcript(language_tag(language), utterances)
        return [transcripts[number] for number in range(len(chunks))]

    def _decoded(
        self,
        features: np.ndarray,
        chunks: Sequence[Chunk],
        language: str,
        numbers: Sequence[int],
    ) -> list[tuple[Utterance, ...]]:
        """What those chunks are decoded to.

        Without timestamps: with them the library's pipeline drops what follows the last one.
        """
        from faster_whisper import BatchedInferencePipeline

        tokenizer = self._tokenizer(language)
        options = replace(self._options(tokenizer), without_timestamps=True)
        # Each chunk gets a place of its own on one clock, since the pipeline looks from the words
        # of one back to those of the one before it.
        places = [
            {"offset": place * _WINDOW_SECONDS, "duration": len(chunks[n].samples) / SAMPLE_RATE}
            for place, n in enumerate(numbers)
        ]
        pipeline = BatchedInferencePipeline(self._model)
        found = pipeline.forward(features[list(numbers)], tokenizer, places, options)
        return [
            tuple(_by_sentence(segments[0], place["offset"], chunks[n]))
            for n, place, segments in zip(numbers, places, found, strict=True)
        ]

    # --- With timestamps, one by one --------------------------------------------------------

    def _timed(self, chunks: Sequence[Chunk], no_repeat: int = 0) -> list[Transcript]:
        return [self._alone(chunk, no_repeat) for chunk in chunks]

    def _alone(self, chunk: Chunk, no_repeat: int) -> Transcript:
        from faster_whisper.audio import pad_or_trim

        model = self._model
        features = model.feature_extractor(chunk.samples)
        frames = min(model.feature_extractor.nb_max_frames, features.shape[-1] - 1)
        encoded = model.encode(pad_or_trim(features[:, :frames]))
        language = self._languages(encoded)[0]
        tokenizer = self._tokenizer(language)
        options = replace(self._options(tokenizer), no_repeat_ngram_size=no_repeat)
        found = model.generate_segments(features, tokenizer, options, False, encoded)
        return Transcript(
            language_tag(language),
            tuple(
                Utterance(
                    tuple(
                        _word(chunk, word.start, word.end, word.word, word.probability)
                        for word in segment.words
                    ),
                    float(segment.avg_logprob),
                    float(segment.no_speech_prob),
                    float(segment.compression_ratio),
                )
                for segment in found
                if segment.words
            ),
        )

    # --- Both -------------------------------------------------------------------------------

    @property
    def _detects(self) -> bool:
        return self._multilingual and self._language is None

    def _languages(self, encoded, count: int = 1) -> list[str]:
        """Whisper's name of each chunk's language."""
        if not self._multilingual:
            return ["en"] * count
        if self._language is not None:
            return [self._language] * count
        return [best[0][0][2:-2] for best in self._model.model.detect_language(encoded)]

    def _tokenizer(self, language: str):
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(
            self._model.hf_tokenizer, self._multilingual, task="transcribe", language=language
        )

    def _options(self, tokenizer):
        from faster_whisper.transcribe import TranscriptionOptions, get_suppressed_tokens

        return TranscriptionOptions(
            beam_size=self._beam_size,
            best_of=1,
            patience=1,
            length_penalty=1,
            repetition_penalty=1,
            no_repeat_ngram_size=0,
            # The decoder's failures are judged in ingest.hallucinations.
            log_prob_threshold=None,
            no_speech_threshold=None,
            compression_ratio_threshold=None,
            condition_on_previous_text=False,
            prompt_reset_on_temperature=0.5,
            temperatures=[0.0],
            initial_prompt=None,
            prefix=None,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            without_timestamps=False,
            max_initial_timestamp=1.0,
            word_timestamps=True,
            prepend_punctuations=_PREPENDED,
            append_punctuations=_APPENDED,
            multilingual=False,
            max_new_tokens=_MOST_TOKENS,
            clip_timestamps="0",
            hallucination_silence_threshold=None,
            hotwords=None,
        )


def _by_sentence(segment: dict[str, Any], offset: float, chunk: Chunk) -> Iterator[Utterance]:
    """What the library's pipeline makes of a chunk, which is one long segment: cut by sentence, so
    that one that is not believed does not take the others with it.

    offset: in seconds, of the chunk on the pipeline's clock.
    """
    figures = [
        float(segment[name]) for name in ("avg_logprob", "no_speech_prob", "compression_ratio")
    ]
    words: list[Word] = []
    for each in segment.get("words", ()):
        start, end = each["start"] - offset, each["end"] - offset
        words.append(_word(chunk, start, end, each["word"], each["probability"]))
        if words[-1].text.rstrip("\"'”)")[-1:] in _SENTENCE_ENDS:
            yield Utterance(tuple(words), *figures)
            words = []
    if words:
        yield Utterance(tuple(words), *figures)


def _badness(found: Transcript, chunk: Chunk) -> tuple[bool, float]:
    """Whether it repeats itself, and how many seconds too much it leaves out."""
    repetitive = any(one.compression_ratio > _REPETITIVE for one in found.utterances)
    return repetitive, max(_unheard_seconds(found, chunk) - _LEFT_OUT_SECONDS, 0.0)


def _unheard_seconds(found: Transcript, chunk: Chunk) -> float:
    """How long somebody speaks after the last word."""
    ends = (word.end_seconds for one in found.utterances for word in one.words)
    last = max(ends, default=chunk.start_seconds)
    return sum(max(0.0, end - max(start, last)) for start, end in chunk.speech)


def _word(chunk: Chunk, start: float, end: float, text: str, probability: float) -> Word:
    return Word(
        chunk.start_seconds + float(start),
        chunk.start_seconds + float(end),
        text,
        float(probability),
    )
