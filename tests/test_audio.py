"""Sound comes out of any file on the one clock, and a resumed run hears the very same samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import DATA, RED, corrupted, solid, truncated, write_clip

from index.errors import DamagedMediaError, MediaError, NotMediaError
from ingest.audio import audio_stream, read_audio
from ingest.decode import Problems

AUDIO = DATA / "audio"
RATE = 16_000


def heard(path: Path, rate: int = RATE, **options) -> tuple[float, np.ndarray]:
    """(when it begins, all samples); checks that blocks follow one another and end at seconds."""
    blocks = list(read_audio(path, sample_rate=rate, **options))
    index = round(blocks[0].start_seconds * rate)
    for block in blocks:
        assert block.samples.dtype == np.float32
        assert block.samples.ndim == 1
        assert block.start_seconds == index / rate
        index += len(block.samples)
        assert index % rate == 0 or block is blocks[-1]
        assert len(block.samples) <= rate
    return blocks[0].start_seconds, np.concatenate([block.samples for block in blocks])


def loudness(samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Root mean square of every tenth of a second."""
    size = rate // 10
    tenths = samples[: len(samples) // size * size].reshape(-1, size)
    return np.sqrt((tenths**2).mean(axis=1))


def tone_clip(path: Path, spans: list[tuple[float, float]], rate: int = RATE) -> Path:
    """Sound whose packets cover only those spans; a tone throughout."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start, end in spans:
            for first in range(round(start * rate), round(end * rate), rate // 10):
                at = np.arange(first, first + rate // 10) / rate
                tone = (8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def need_audio() -> None:
    if not AUDIO.exists():
        pytest.skip("the shared data is not here")


def test_the_samples_are_those_that_whisper_is_given_elsewhere():
    need_audio()
    from faster_whisper import decode_audio

    for name in ("jfk.flac", "stereo_diarization.wav"):
        path = AUDIO / "faster-whisper" / name
        start, samples = heard(path)
        assert start == 0.0
        np.testing.assert_array_equal(samples, decode_audio(str(path)))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_sound_that_begins_late_stays_there(tmp_path, ending):
    path = write_clip(
        tmp_path / f"late.{ending}",
        [solid(RED)] * 125,
        audio_seconds=2.0,
        audio_start_seconds=2.0,
        start_seconds=600.0 if ending == "ts" else 0.0,
    )
    start, samples = heard(path)
    assert start == 0.0
    loud = np.flatnonzero(loudness(samples) > 0.05) / 10
    assert loud[0] == pytest.approx(2.0, abs=0.11)
    assert loud[-1] == pytest.approx(3.9, abs=0.21)


def test_a_gap_is_silence_and_what_follows_stays_in_place(tmp_path):
    path = tone_clip(tmp_path / "gap.mkv", [(0.0, 1.0), (3.5, 4.5)])
    _, samples = heard(path)
    assert len(samples) == pytest.approx(4.5 * RATE, abs=RATE // 100)
    levels = loudness(samples)
    assert (levels[:10] > 0.1).all()
    assert (levels[11:34] < 1e-3).all()
    assert (levels[36:45] > 0.1).all()


def test_rounded_timestamps_leave_no_seams(tmp_path):
    """44,100 samples a second in frames of 23.2 ms, in a container that counts milliseconds."""
    path = tone_clip(tmp_path / "tone.mkv", [(0.0, 5.0)], rate=44_100)
    _, samples = heard(path, 44_100)
    at = np.arange(len(samples)) / 44_100
    wanted = 8000 / 32768 * np.sin(2 * np.pi * 440 * at)
    assert np.abs(samples - wanted).max() < 1e-3


@pytest.mark.parametrize("source", ["mkv", "mp3", "aac"])
def test_a_run_from_anywhere_yields_the_same_samples(tmp_path, source):
    if source == "mp3":
        need_audio()
        path = AUDIO / "countdown.mp3"
    elif source == "aac":
        if not (DATA / "video").exists():
            pytest.skip("the shared data is not here")
        path = DATA / "video" / "torchcodec" / "nasa_13013.mp4"
    else:
        path = tone_clip(tmp_path / "a.mkv", [(0.5, 3.0), (4.2, 6.0)], rate=44_100)
    _, whole = heard(path)
    for from_seconds in (0.032, 1.0, 2.4999, 4.0):
        start, samples = heard(path, from_seconds=from_seconds)
        first = round(from_seconds * RATE)
        assert start == first / RATE
        np.testing.assert_array_equal(samples, whole[first:])


def test_damage_is_skipped_and_counted(tmp_path):
    whole = write_clip(tmp_path / "whole.ts", [solid(RED)] * 50, audio_seconds=20.0)
    problems = Problems()
    _, samples = heard(corrupted(whole, tmp_path / "bad.ts", 0.4, 0.6), problems=problems)
    assert problems.errors
    assert 4.0 < problems.first_seconds < 13.0
    assert len(samples) > 18 * RATE
    levels = loudness(samples)
    assert (levels[2:40] > 0.05).all()
    assert (levels[-40:-5] > 0.05).all()


def test_sound_that_breaks_off_is_heard_up_to_there(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4",
        [solid(RED)] * 25,
        audio_seconds=20.0,
        container_options={"movflags": "faststart"},
    )
    seconds = 0.0
    blocks = read_audio(truncated(whole, tmp_path / "cut.mp4", 0.6), sample_rate=RATE)
    with pytest.raises(DamagedMediaError, match="breaks off") as caught:
        for block in blocks:
            seconds += len(block.samples) / RATE
    assert 5.0 < seconds < 19.0
    assert caught.value.at_seconds == pytest.approx(seconds, abs=0.1)


def test_the_stream_marked_as_default_is_heard(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for n in range(10):
            for level, stream in zip((0, 8000), streams, strict=True):
                samples = np.full((1, RATE // 10), level, np.int16)
                frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, n * RATE // 10
                frame.time_base = Fraction(1, RATE)
                output.mux(stream.encode(frame))
    assert audio_stream(path) == 1
    assert loudness(heard(path)[1]).min() > 0.1


def test_files_without_sound_are_told(tmp_path):
    silent = write_clip(tmp_path / "silent.mp4", [solid(RED)] * 5)
    assert audio_stream(silent) is None
    with pytest.raises(NotMediaError, match="no sound"):
        list(read_audio(silent, sample_rate=RATE))
    with pytest.raises(MediaError):
        list(read_audio(tmp_path / "absent.mp4", sample_rate=RATE))
