"""Speech is found where somebody speaks, in chunks that end at pauses, from wherever one starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from clips import DATA

from ingest.audio import AudioBlock, read_audio
from ingest.models.silero import SAMPLE_RATE, WINDOW, SileroVoice, VoiceState, fresh_state
from ingest.voice import Chunk, Stretch, first_sound_seconds, stretches

AUDIO = DATA / "audio"
WINDOW_SECONDS = WINDOW / SAMPLE_RATE


@pytest.fixture(scope="module")
def silero() -> SileroVoice:
    return SileroVoice()


def recording(name: str) -> Path:
    if not AUDIO.exists():
        pytest.skip("the shared data is not here")
    return AUDIO / name


def listen(voice, path: Path, start: float = 0.0, most: int | None = None) -> list[Stretch]:
    first = first_sound_seconds(start)
    sound = read_audio(path, sample_rate=SAMPLE_RATE, from_seconds=first)
    return list(islice(stretches(voice, sound, start), most))


def chunks(found: list[Stretch]) -> list[Chunk]:
    return [chunk for stretch in found for chunk in stretch.chunks]


def spoken_seconds(found: list[Stretch]) -> float:
    return sum(end - start for chunk in chunks(found) for start, end in chunk.speech)


def same(one: list[Stretch], other: list[Stretch]) -> bool:
    return [s.end_seconds for s in one] == [s.end_seconds for s in other] and all(
        a.start_seconds == b.start_seconds
        and a.speech == b.speech
        and np.array_equal(a.samples, b.samples)
        for a, b in zip(chunks(one), chunks(other), strict=True)
    )


# --- Real sound -----------------------------------------------------------------------------


def test_of_a_song_next_to_nothing_counts_as_speech(silero):
    found = listen(silero, recording("frenchsong.mp3"))
    assert spoken_seconds(found) <= 5.0


def voice_energy(path: Path) -> np.ndarray:
    """Energy of each hundredth of a second in the band of the telephone, 300 to 3,400 Hz, where
    a voice is and the rumble of a room or the hum of a film is not; what is 20 dB below the loudest
    passages is left out as no voice."""
    samples = np.concatenate([block.samples for block in read_audio(path, sample_rate=SAMPLE_RATE)])
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(frequencies < 300) | (frequencies > 3400)] = 0
    band = np.fft.irfft(spectrum, len(samples))
    size = SAMPLE_RATE // 100
    energy = (band[: len(band) // size * size].reshape(-1, size) ** 2).sum(axis=1)
    return np.where(energy > np.percentile(energy, 95) / 100, energy, 0.0)


def heard(found: list[Stretch], hundredths: int) -> tuple[np.ndarray, np.ndarray]:
    """Which hundredths of a second count as speech, and which a recogniser is given: bool of shape
    (hundredths,) each."""
    at = np.arange(hundredths) / 100
    counted, handed_on = np.zeros((2, hundredths), bool)
    for chunk in chunks(found):
        handed_on |= (at >= chunk.start_seconds) & (at < chunk.end_seconds)
        for start, end in chunk.speech:
            counted |= (at >= start) & (at < end)
    return counted, handed_on


@pytest.mark.parametrize("name", ["faster-whisper/jfk.flac", "lucier/lucier.wav"])
def test_talk_keeps_its_speech(silero, name):
    path = recording(name)
    energy = voice_energy(path)
    counted, handed_on = heard(listen(silero, path), len(energy))
    assert energy[counted].sum() >= 0.95 * energy.sum()
    # The recogniser hears a little more than that, by loudness and by time.
    assert energy[handed_on].sum() >= 0.99 * energy.sum()
    assert (handed_on & (energy > 0)).sum() >= 0.99 * (energy > 0).sum()


def test_a_film_without_words_has_none(silero):
    if not (DATA / "video" / "bbb_360p.mp4").exists():
        pytest.skip("the shared data is not here")
    sound = read_audio(DATA / "video" / "bbb_360p.mp4", sample_rate=SAMPLE_RATE)
    first_minutes = (block for _, block in zip(range(150), sound, strict=False))
    assert chunks(list(stretches(silero, first_minutes))) == []


@pytest.mark.parametrize("name", ["lucier/lucier.wav", "frenchsong.mp3"])
def test_a_run_from_the_end_of_a_stretch_finds_the_same_chunks(silero, name):
    path = recording(name)
    whole = listen(silero, path)
    assert len(whole) > 3
    for number in range(1, len(whole), 2):
        found = listen(silero, path, whole[number - 1].end_seconds, most=2)
        assert same(found, whole[number : number + 2])


def test_the_network_is_heard_as_its_makers_run_it(silero):
    from faster_whisper.vad import get_vad_model

    path = recording("faster-whisper/jfk.flac")
    samples = np.concatenate([block.samples for block in read_audio(path, sample_rate=SAMPLE_RATE)])
    samples = samples[: len(samples) // WINDOW * WINDOW]
    wanted = get_vad_model()(samples).reshape(-1)
    state, found = fresh_state(), []
    for first in range(0, len(samples), 25 * WINDOW):
        probabilities, state = silero.probabilities(samples[first : first + 25 * WINDOW], state)
        found.append(probabilities)
    np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-6)


def test_voice_activity_starts_up_without_the_recogniser():
    code = (
        "import sys, numpy as np\n"
        "from ingest.models.silero import SileroVoice, fresh_state\n"
        "SileroVoice().probabilities(np.zeros(512, np.float32), fresh_state())\n"
        "print(sorted({'faster_whisper', 'ctranslate2', 'torch', 'av'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# --- Scripted probabilities -----------------------------------------------------------------


class Script:
    """A voice whose probability at a time is a function; the samples carry the time."""

    name = "script"

    def __init__(self, probability: Callable[[float], float]):
        self._probability = probability

    def probabilities(self, samples: np.ndarray, state: VoiceState):
        times = samples.reshape(-1, WINDOW).max(axis=1)
        return np.array([self._probability(float(t)) for t in times], np.float32), state


def clock(seconds: float, first: float = 0.0) -> Iterator[AudioBlock]:
    """Sound whose samples are their own times."""
    samples = np.arange(round(first * SAMPLE_RATE), round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    for start in range(0, len(samples), SAMPLE_RATE):
        block = samples[start : start + SAMPLE_RATE].astype(np.float32)
        yield AudioBlock(first + start / SAMPLE_RATE, block)


def scripted(
    speech: list[tuple[float, float]], seconds: float, level: float = 0.95, **options
) -> list[Stretch]:
    voice = Script(lambda t: level if any(a <= t < b for a, b in speech) else 0.02)
    return list(stretches(voice, clock(seconds), **options))


def spans(found: list[Stretch]) -> list[tuple[float, float]]:
    return [span for chunk in chunks(found) for span in chunk.speech]


def test_chunks_are_cut_at_pauses_and_never_longer_than_allowed():
    """Words of .6 s with pauses of .2 s, a longer one after every ninth: cut at those."""
    words, at = [], 1.0
    longer = []
    for number in range(1, 200):
        words.append((at, at + 0.6))
        at += 0.8
        if number % 9 == 0:
            longer.append((at - 0.2, at + 0.5))
            at += 0.5
    found = scripted(words, at + 1)
    assert len(chunks(found)) > 4
    for stretch in found[:-1]:
        assert any(a <= stretch.end_seconds <= b for a, b in longer)
    for chunk in chunks(found):
        assert len(chunk.samples) <= 30 * SAMPLE_RATE
        assert not any(a < chunk.start_seconds < b - 0.05 for a, b in words)
        assert not any(a + 0.05 < chunk.end_seconds < b for a, b in words)
    covered = sum(c.end_seconds - c.start_seconds for c in chunks(found))
    assert covered == pytest.approx(words[-1][1] - words[0][0], abs=3)


def test_speech_without_a_pause_is_cut_where_it_is_least_likely():
    dips = [20.0, 47.0]
    voice = Script(lambda t: 0.6 if any(abs(t - dip) < 0.05 for dip in dips) else 0.97)
    found = list(stretches(voice, clock(60.0)))
    assert [stretch.end_seconds for stretch in found[:-1]] == pytest.approx(dips, abs=0.1)
    assert all(len(chunk.samples) <= 30 * SAMPLE_RATE for chunk in chunks(found))


def test_a_long_silence_ends_a_stretch_and_is_in_no_chunk():
    found = scripted([(2.0, 4.0), (30.0, 31.0)], 60.0)
    first, second = chunks(found)
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0.7, 5.3), abs=0.1)
    assert (second.start_seconds, second.end_seconds) == pytest.approx((28.7, 32.3), abs=0.1)
    assert spans(found)[0] == pytest.approx((1.7, 4.3), abs=0.1)
    assert max(b.end_seconds - a.end_seconds for a, b in pairwise(found)) < 12


def test_unsure_phrases_count_only_among_sure_ones():
    unsure = [(2.0, 4.0), (8.0, 9.0)]
    assert spans(scripted(unsure, 20.0, level=0.8)) == []
    level = {2: 0.8, 3: 0.8, 8: 0.97}
    voice = Script(lambda t: level.get(int(t), 0.02))
    assert len(spans(list(stretches(voice, clock(20.0))))) == 2
    assert spans(scripted([(3.0, 3.06)], 20.0)) == []  # a click


def test_a_cut_anywhere_is_a_place_to_start_from():
    rng = np.random.default_rng(3)
    edges = np.cumsum(rng.uniform(0.15, 2.5, 300))
    words = list(zip(edges[::2], edges[1::2], strict=True))
    voice = Script(lambda t: 0.95 if any(a <= t < b for a, b in words) else 0.02)
    seconds = float(edges[-1])
    whole = list(stretches(voice, clock(seconds)))
    assert len(whole) > 8
    for number, stretch in enumerate(whole[:-1], 1):
        start = stretch.end_seconds
        sound = clock(seconds, first_sound_seconds(start))
        assert same(list(stretches(voice, sound, start)), whole[number:])


def test_what_a_run_happens_to_know_of_the_future_changes_nothing():
    """After the cut at 20 s nothing is likely enough to begin a phrase, but all of it would go on
    with one; a run that was not interrupted has heard ten seconds of that already."""

    def probability(t: float) -> float:
        return 0.02 if 20.0 <= t < 20.09 or t > 45 else 0.95 if t < 20.0 else 0.4

    voice = Script(probability)
    whole = list(stretches(voice, clock(70.0)))
    assert whole[0].end_seconds == pytest.approx(20.05, abs=0.1)
    for number, stretch in enumerate(whole[:-1], 1):
        sound = clock(70.0, first_sound_seconds(stretch.end_seconds))
        assert same(list(stretches(voice, sound, stretch.end_seconds)), whole[number:])


def test_no_sound_at_all_is_one_empty_stretch():
    assert [(s.chunks, s.end_seconds) for s in scripted([], 0.0)] == [((), 0.0)]
