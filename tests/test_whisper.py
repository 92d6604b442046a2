"""Whisper's real format, with random weights, says here what faster-whisper makes of it."""

from __future__ import annotations

import dataclasses
import shutil
import socket

import numpy as np
import pytest
from whisper_models import make_whisper

from index.errors import LongtakeError, ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.whisper import WhisperRecognizer
from ingest.transcripts import Transcript, Utterance, Word
from ingest.voice import Chunk

CLOSE = 1e-4
THREADS = 1  # on a busy machine more of them wait for one another


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> ModelFiles:
    import torch

    torch.set_num_threads(2)
    return make_whisper(tmp_path_factory.mktemp("whisper"))


def sound(seed: int, seconds: float) -> np.ndarray:
    """Something with formants that change, unlike for every seed."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * 16_000)) / 16_000
    corners = np.arange(0, seconds + 1, 0.4)
    pitch = 120 + 40 * np.interp(at, corners, rng.uniform(-1, 1, len(corners)))
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    tones = sum(np.sin(n * phase) / n for n in range(1, 12))
    return (0.1 * tones + 0.01 * rng.standard_normal(len(at))).astype(np.float32)


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    return [
        Chunk(start, sound(seed, 6.0 + seed), ()) for seed, start in enumerate((0.0, 50.0, 90.0))
    ]


def make(files: ModelFiles, **options) -> WhisperRecognizer:
    options = {"compute_type": "float32", "threads": THREADS, "retry": False, **options}
    return WhisperRecognizer(files, device="cpu", **options)


@pytest.fixture(scope="module")
def library(files):
    from faster_whisper import WhisperModel

    return WhisperModel(
        str(files.folder), device="cpu", compute_type="float32", cpu_threads=THREADS
    )


AS_OURS = {
    "word_timestamps": True,
    "temperature": 0.0,
    "condition_on_previous_text": False,
    "compression_ratio_threshold": None,
    "log_prob_threshold": None,
    "no_speech_threshold": None,
    "max_new_tokens": 224,
}


def compare(found: Transcript, segments, start_seconds: float, offset: float = 0.0) -> None:
    """offset: where the chunk lies in what the library was given."""
    segments = [segment for segment in segments if segment.words]
    assert segments
    assert len(found.utterances) == len(segments)
    for ours, theirs in zip(found.utterances, segments, strict=True):
        assert [word.text for word in ours.words] == [word.word for word in theirs.words]
        shift = start_seconds - offset
        for mine, other in zip(ours.words, theirs.words, strict=True):
            assert mine.start_seconds == pytest.approx(other.start + shift, abs=CLOSE)
            assert mine.end_seconds == pytest.approx(other.end + shift, abs=CLOSE)
            assert mine.confidence == pytest.approx(other.probability, abs=CLOSE)
        assert ours.log_probability == pytest.approx(theirs.avg_logprob, abs=CLOSE)
        assert ours.no_speech_probability == pytest.approx(theirs.no_speech_prob, abs=CLOSE)
        assert ours.compression_ratio == pytest.approx(theirs.compression_ratio, abs=CLOSE)


def test_chunks_with_timestamps_are_as_the_library_transcribes_them(files, library, chunks):
    found = make(files)._timed(chunks)
    languages = set()
    for chunk, transcript in zip(chunks, found, strict=True):
        segments, info = library.transcribe(chunk.samples, **AS_OURS)
        compare(transcript, list(segments), chunk.start_seconds)
        assert transcript.language == info.language
        languages.add(transcript.language)
    assert len({utterance.text for t in found for utterance in t.utterances}) > 2


def test_a_language_that_is_set_is_not_detected(files, library, chunks):
    (found,) = make(files, language="ja")._timed(chunks[:1])
    segments, _ = library.transcribe(chunks[0].samples, language="ja", **AS_OURS)
    compare(found, list(segments), 0.0)
    assert found.language == "ja"


def words(transcript: Transcript) -> list[Word]:
    return [word for utterance in transcript.utterances for word in utterance.words]


def test_chunks_in_batches_are_as_the_librarys_batches(files, library, chunks):
    from faster_whisper import BatchedInferencePipeline

    found = make(files, batch_size=8, language="fr").transcribe(chunks)
    together = np.concatenate([chunk.samples for chunk in chunks])
    ends = [float(end) for end in np.cumsum([len(chunk.samples) for chunk in chunks]) / 16_000]
    starts = [0.0, *ends[:-1]]
    spans = [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]
    segments, _ = BatchedInferencePipeline(library).transcribe(
        together, language="fr", clip_timestamps=spans, **AS_OURS
    )
    for chunk, transcript, start, theirs in zip(chunks, found, starts, segments, strict=True):
        assert transcript.language == "fr"
        ours = words(transcript)
        assert [word.text for word in ours] == [word.word for word in theirs.words]
        shift = chunk.start_seconds - start
        for mine, other in zip(ours, theirs.words, strict=True):
            assert mine.start_seconds == pytest.approx(other.start + shift, abs=CLOSE)
            assert mine.end_seconds == pytest.approx(other.end + shift, abs=CLOSE)
            assert mine.confidence == pytest.approx(other.probability, abs=CLOSE)
        for utterance in transcript.utterances:
            assert utterance.log_probability == pytest.approx(theirs.avg_logprob, abs=CLOSE)
            assert utterance.compression_ratio == pytest.approx(theirs.compression_ratio, abs=CLOSE)
            assert utterance.no_speech_probability == pytest.approx(
                theirs.no_speech_prob, abs=CLOSE
            )


def test_in_a_batch_each_chunk_is_decoded_in_its_own_language(files, chunks, monkeypatch):
    alone = {
        language: make(files, batch_size=3, language=language).transcribe(chunks)
        for language in ("fr", "ja")
    }
    assert alone["fr"] != alone["ja"]
    recognizer = make(files, batch_size=3)
    assert [t.language for t in recognizer.transcribe(chunks)] == [
        t.language for t in make(files).transcribe(chunks)
    ]
    monkeypatch.setattr(recognizer, "_languages", lambda *_: ["fr", "ja", "fr"])
    mixed = recognizer.transcribe(chunks)
    wanted = [alone["fr"][0], alone["ja"][1], alone["fr"][2]]
    for found, expected in zip(mixed, wanted, strict=True):
        assert found.language == expected.language
        assert [word.text for word in words(found)] == [word.text for word in words(expected)]
        for mine, other in zip(words(found), words(expected), strict=True):
            assert mine.start_seconds == pytest.approx(other.start_seconds, abs=0.1)


def test_in_a_batch_sentences_are_judged_one_by_one(files, chunks, monkeypatch):
    from ingest.models import whisper

    monkeypatch.setattr(whisper, "_SENTENCE_ENDS", ("v",))  # as in "iv", which it likes to say
    (found, *_) = make(files, batch_size=3, language="ja").transcribe(chunks)
    assert len(found.utterances) > 1
    assert all(utterance.text.endswith("v") for utterance in found.utterances[:-1])
    assert len({utterance.log_probability for utterance in found.utterances}) == 1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_text_that_repeats_itself_is_decoded_again_and_always_alike(files, chunks, batch_size):
    """Random weights repeat themselves a lot."""
    once = make(files, batch_size=batch_size).transcribe(chunks)
    twice = make(files, batch_size=batch_size, retry=True)
    found = twice.transcribe(chunks)

    def worst(transcripts):
        return max(u.compression_ratio for t in transcripts for u in t.utterances)

    assert worst(once) > 2.4
    assert worst(found) < worst(once)
    assert twice.transcribe(chunks) == found


def said(until: float, compression: float = 1.0) -> Transcript:
    word = Word(0.0, until, f"until {until}, {compression}")
    return Transcript("en", (Utterance((word,), compression_ratio=compression),))


@pytest.mark.parametrize(
    ("whole", "timed", "forbidding", "expected", "attempts"),
    [
        (said(19.0), said(20.0), said(20.0), said(19.0), 1),
        (said(1.0), said(19.5), said(20.0), said(19.5), 2),  # it had left out what followed
        (said(20.0, 9.0), said(19.0), said(20.0), said(19.0), 2),
        (said(20.0, 9.0), said(20.0, 9.0), said(19.0), said(19.0), 3),
        (said(20.0, 9.0), said(5.0), said(12.0), said(12.0), 3),
        (said(5.0), said(20.0, 9.0), said(4.0), said(5.0), 3),  # the best of three that are no good
    ],
)
def test_of_several_attempts_the_one_that_leaves_out_least_and_does_not_repeat_itself(
    files, monkeypatch, whole, timed, forbidding, expected, attempts
):
    recognizer = make(files, retry=True)
    good = Chunk(0.0, sound(1, 20.0), ((0.0, 20.0),))
    asked: list[list[Chunk]] = []

    def answer(transcript: Transcript):
        def way(chunks, no_repeat=0):
            asked.append(list(chunks))
            return [(forbidding if no_repeat else transcript) for _ in chunks]

        return way

    monkeypatch.setattr(recognizer, "_whole", answer(whole))
    monkeypatch.setattr(recognizer, "_timed", answer(timed))
    assert recognizer.transcribe([good]) == [expected]
    assert sum(map(len, asked)) == attempts


def test_int8_is_the_arithmetic_of_a_cpu(files, chunks):
    recognizer = WhisperRecognizer(files, device="cpu", threads=THREADS)
    assert recognizer._model.model.compute_type.startswith("int8")
    assert recognizer.batch_size == 1
    assert recognizer.transcribe(chunks[:1])[0].utterances


def test_nothing_is_fetched(files, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    make(files)
    for name in ("model.bin", "tokenizer.json", "config.json"):
        folder = tmp_path / name
        shutil.copytree(files.folder, folder)
        (folder / name).unlink()
        with pytest.raises(ModelMissingError, match=rf"{name}.*longtake models pull tiny-random"):
            make(dataclasses.replace(files, folder=folder))
    with pytest.raises(ModelMissingError, match="models pull"):
        make(dataclasses.replace(files, folder=tmp_path / "absent"))


def test_broken_weights_are_told(files, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(files.folder, folder)
    (folder / "model.bin").write_bytes(b"\x06\0\0\0nothing")
    with pytest.raises(ModelMissingError, match="cannot be loaded on cpu"):
        make(dataclasses.replace(files, folder=folder))
    with pytest.raises(ModelMissingError, match="cannot be loaded on cpu"):
        make(files, compute_type="float8")


def test_an_engine_that_fails_is_told(files, chunks, monkeypatch):
    recognizer = make(files)
    monkeypatch.setattr(recognizer._model, "encode", _out_of_memory)
    with pytest.raises(LongtakeError, match="smaller batch"):
        recognizer.transcribe(chunks)


def _out_of_memory(features):
    raise RuntimeError("CUDA failed with error out of memory")
