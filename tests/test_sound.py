"""What is heard: windows on a fixed grid, silence left out, the same after a resume."""

from __future__ import annotations

import tracemalloc
import wave
from pathlib import Path

import clips
import numpy as np
import pytest
from test_clap import tiny_clap

from index.errors import ModelMissingError
from index.schema import Evidence, Generation, Stream, Video
from ingest.channels.settings import SoundSettings
from ingest.channels.sound import SoundChannel

RATE = 8_000
GENERATION = Generation("v", 0, "sound", "fingerprint")
HEARD = Video(id="v", title="a video", streams=(Stream(0, "audio", "pcm_s16le"),))
ABOUT = {"space": "sound.fake.00", "size": 8, "sample_rate": RATE, "window_seconds": 10.0}


class Spectra:
    """The strength of eight bands. Its last bits hang on what a window is encoded with, as rounding
    does in a real one."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_audio(self, windows: list[np.ndarray]) -> np.ndarray:
        self.batches.append(len(windows))
        found = []
        for window in windows:
            power = np.abs(np.fft.rfft(window)) ** 2
            found.append([band.sum() for band in np.array_split(power, 8)])
        vectors = np.array(found) / np.linalg.norm(found, axis=1, keepdims=True)
        together = sum(float(np.abs(window).mean()) for window in windows)
        return (vectors * (1 + 1e-6 * together)).astype(np.float32)


def tone(seconds: float, hertz: float, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def recording(path: Path, *parts: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for part in parts:
            file.writeframes((part * 32767).astype("<i2").tobytes())
    return path


def channel(encoder=None, **changes) -> SoundChannel:
    made = encoder or Spectra()
    return SoundChannel(SoundSettings(**{"batch": 3, **changes}), lambda: made, ABOUT)


def evidence_of(batches) -> list[Evidence]:
    return [evidence for batch in batches for evidence in batch.evidence]


def told(evidence: list[Evidence]) -> list[tuple[float, float]]:
    return [(one.start_seconds, one.end_seconds) for one in evidence]


def everything(evidence: list[Evidence]) -> list[tuple]:
    return [
        (e.start_seconds, e.end_seconds, e.id, e.vectors["sound.fake.00"].tobytes())
        for e in evidence
    ]


def test_windows_overlap_and_reach_to_the_end(tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.1, 23 * RATE)
    sweep = np.concatenate([tone(4, 200), tone(5, 1500), tone(5, 2500), tone(9, 3500)])
    path = recording(tmp_path / "a.wav", sweep + noise * 0.05)
    batches = list(channel(same_cosine=2.0).run(path, HEARD, GENERATION, 0.0))
    found = evidence_of(batches)
    assert told(found) == [(0, 10), (5, 15), (10, 20), (15, 23)]
    assert all(e.channel == "sound" and e.text == "" for e in found)
    assert all(e.vectors["sound.fake.00"].shape == (8,) for e in found)
    assert (batches[-1].watermark_seconds, batches[-1].analysed_seconds) == (23.0, 23.0)
    assert not any(batch.damaged or batch.notes for batch in batches)


def test_what_goes_on_and_on_is_one_evidence_up_to_the_seal(tmp_path):
    path = recording(tmp_path / "a.wav", tone(40, 300), tone(40, 3000))
    found = evidence_of(channel(seal_seconds=30).run(path, HEARD, GENERATION, 0.0))
    assert told(found) == [(0, 35), (30, 40), (35, 45), (40, 75), (70, 80)]


def test_silence_has_no_evidence_and_ends_what_was_heard(tmp_path):
    hum = tone(20, 60, level=0.0004)  # below -60 decibels
    path = recording(tmp_path / "a.wav", tone(10, 300), silence(20), hum, tone(10, 300))
    encoder = Spectra()
    batches = list(channel(encoder).run(path, HEARD, GENERATION, 0.0))
    assert told(evidence_of(batches)) == [(0, 15), (45, 60)]
    assert sum(encoder.batches) == 4
    assert batches[-1].watermark_seconds == 60.0


def test_a_short_sound_in_silence_is_heard(tmp_path):
    click = np.concatenate([silence(12), tone(0.05, 1000), silence(12)])
    path = recording(tmp_path / "a.wav", click)
    assert told(evidence_of(channel().run(path, HEARD, GENERATION, 0.0))) == [(5, 20)]


def test_what_is_silent_needs_no_model(tmp_path):
    def never():
        raise ModelMissingError("loaded")

    path = recording(tmp_path / "a.wav", silence(30))
    quiet = SoundChannel(SoundSettings(), never, ABOUT)
    batches = list(quiet.run(path, HEARD, GENERATION, 0.0))
    assert evidence_of(batches) == [] and batches[-1].watermark_seconds == 30.0
    path = recording(tmp_path / "b.wav", tone(3, 300))
    with pytest.raises(ModelMissingError, match="loaded"):
        list(quiet.run(path, HEARD, GENERATION, 0.0))


def test_a_video_without_sound_is_done_at_once(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", [clips.solid(clips.RED)] * 25)
    mute = Video(id="v", title="a", duration_seconds=1.0, streams=(Stream(0, "video", "h264"),))
    (batch,) = channel().run(path, mute, GENERATION, 0.0)
    assert (batch.evidence, batch.watermark_seconds, batch.analysed_seconds) == ((), 1.0, 1.0)
    assert not batch.damaged and not batch.notes


def test_a_run_resumed_at_any_watermark_ends_like_an_uninterrupted_one(tmp_path):
    random = np.random.default_rng(2)
    parts = []
    for _ in range(25):
        hertz, seconds = random.choice([200, 1200, 2200, 3300]), random.choice([2, 7, 12, 26])
        parts.append(tone(seconds, hertz) if random.random() < 0.8 else silence(seconds))
    path = recording(tmp_path / "a.wav", *parts)
    sounds = channel(seal_seconds=20, batch=4)
    whole = everything(evidence_of(sounds.run(path, HEARD, GENERATION, 0.0)))
    assert len(whole) > 20
    emitted, watermark, cuts = [], 0.0, 0
    for batch in sounds.run(path, HEARD, GENERATION, 0.0):
        emitted += batch.evidence
        assert batch.watermark_seconds >= watermark
        assert batch.analysed_seconds >= batch.watermark_seconds or batch.evidence == ()
        watermark = batch.watermark_seconds
        final = [e for e in emitted if e.start_seconds < watermark]
        rest = evidence_of(sounds.run(path, HEARD, GENERATION, watermark))
        assert everything(final) + everything(rest) == whole
        cuts += 1
    assert cuts > 8


def test_sound_that_breaks_off_is_kept_and_noted(tmp_path):
    whole = clips.write_clip(
        tmp_path / "a.mp4",
        [],
        audio_seconds=40.0,
        container_options={"movflags": "faststart"},
    )
    broken = clips.truncated(whole, tmp_path / "b.mp4", 0.7)
    batches = list(channel(same_cosine=2.0).run(broken, HEARD, GENERATION, 0.0))
    assert 20 < evidence_of(batches)[-1].end_seconds < 40
    assert batches[-1].damaged and "Copy the file again" in batches[-1].notes[0]
    # As far as it goes, it is what the whole file gives.
    sound = evidence_of(channel(same_cosine=2.0).run(whole, HEARD, GENERATION, 0.0))
    assert told(evidence_of(batches))[:3] == told(sound)[:3]


def test_memory_does_not_grow_with_the_length(tmp_path):
    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        recording(path, *[tone(20, 200 + 150 * (n % 20)) for n in range(minutes * 3)])
        tracemalloc.start()
        for _ in channel().run(path, HEARD, GENERATION, 0.0):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(15) < 1.1 * peak(3)


def test_settings_that_leave_holes_are_refused():
    with pytest.raises(ValueError, match="step_seconds"):
        SoundSettings(window_seconds=4, step_seconds=5)


def test_what_shapes_the_evidence_is_described(tmp_path):
    plain = channel().describe(tmp_path, HEARD)
    assert plain == channel(batch=16).describe(tmp_path, HEARD)
    assert plain != channel(step_seconds=2.0).describe(tmp_path, HEARD)
    other = SoundChannel(SoundSettings(), Spectra, {**ABOUT, "digest": "f"})
    assert plain != other.describe(tmp_path, HEARD)


def test_by_clap_a_sound_is_found_by_the_vector_of_its_window(tmp_path):
    """The whole way, with a real (tiny, random) model: sound at another rate, in a container."""
    from ingest.audio import read_audio
    from ingest.models.clap import ClapEncoder, describe_clap

    files = tiny_clap(tmp_path / "model")
    path = clips.write_clip(tmp_path / "a.mp4", [clips.solid(clips.RED)] * 150, audio_seconds=6.0)
    sounds = SoundChannel(
        SoundSettings(step_seconds=1.0, same_cosine=2.0),
        lambda: ClapEncoder(files, device="cpu"),
        describe_clap(files),
    )
    found = evidence_of(sounds.run(path, HEARD, GENERATION, 0.0))
    assert told(found)[:3] == [(0, 2), (1, 3), (2, 4)]  # the model hears two seconds at once
    (space,) = sounds.spaces
    assert (space.name, space.size) == ("sound.tiny-clap.01234567", 24)
    heard = np.concatenate([block.samples for block in read_audio(path, sample_rate=48_000)])
    encoder = ClapEncoder(files, device="cpu")
    (expected,) = encoder.encode_audio([heard[48_000 : 3 * 48_000]])
    np.testing.assert_allclose(found[1].vectors[space.name], expected, atol=1e-5)
