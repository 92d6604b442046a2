"""What finding speech costs beside recognising it, and whether memory grows with the length.

    python benchmarks/speech.py [--shape base] [--tokens 110] [--minutes 10 60]

Cost: decoding, voice activity and chunking of some minutes of talk, against the recogniser's own
time for the chunks that come out. The recogniser is a Whisper of a true shape with random weights,
int8, as WhisperRecognizer loads it; since random weights do not know when to stop, each chunk is
decoded to `--tokens` tokens (talk has about 3.5 a second), five hypotheses wide, and its words are
aligned. `share_of_processor_time` compares processor seconds, the recogniser on one thread;
`elapsed_over_recogniser_alone` is the whole stream as it runs, voice activity ahead in its thread,
over the recogniser on chunks that are ready, on all cores (it means something on a quiet machine).

What counts as speech, of real recordings: seconds of a song, and of two talks the share of their
energy in the band of a telephone (`tests/test_voice.py` says how).

Memory: peaks of processes of their own that send so many minutes of talk through everything but the
network of the recogniser. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402

TALK = ROOT.parent / "shared" / "data" / "audio" / "faster-whisper" / "multilingual.mp3"
SHAPES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}
RATE = 16_000
COST_MINUTES = 5


def make_talk(path: Path, minutes: float) -> Path:
    """A minute of talk (synthetic where the real one is not here), over and over, as AAC."""
    import av

    samples = _real_minute() if TALK.exists() else _synthetic_minute()
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        packets = []
        for first in range(0, len(samples) // 1024 * 1024, 1024):
            block = samples[None, first : first + 1024]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, first
            packets += stream.encode(frame)
        packets += stream.encode(None)
        data = [bytes(packet) for packet in packets]
        for number in range(round(minutes * 60 * RATE / 1024)):
            packet = av.Packet(data[number % len(data)])
            packet.stream, packet.time_base = stream, packets[0].time_base
            packet.pts = packet.dts = number * 1024
            packet.duration = 1024
            output.mux(packet)
    return path


def _real_minute() -> np.ndarray:
    from ingest.audio import read_audio

    return np.concatenate([block.samples for block in read_audio(TALK, sample_rate=RATE)])


def _synthetic_minute() -> np.ndarray:
    """Buzz through formants that move four times a second, with pauses."""
    rng = np.random.default_rng(0)
    at = np.arange(60 * RATE) / RATE
    phase = np.cumsum(110 + 20 * np.interp(at, np.arange(61), rng.uniform(-1, 1, 61))) / RATE
    buzz = np.sign(np.sin(2 * np.pi * phase)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * at))
    return (0.1 * buzz * (at % 5 < 4)).astype(np.float32)


def spent() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def since(start: tuple[float, float]) -> np.ndarray:
    """(processor seconds, elapsed seconds)."""
    now = spent()
    return np.array([now[0] - start[0], now[1] - start[1]])


def finding(path: Path) -> tuple[np.ndarray, list]:
    """What it takes to find the chunks, and the chunks."""
    from ingest.audio import read_audio
    from ingest.models.silero import SileroVoice, fresh_state
    from ingest.voice import stretches

    voice = SileroVoice()
    voice.probabilities(np.zeros(512, np.float32), fresh_state())
    start = spent()
    sound = read_audio(path, sample_rate=RATE)
    chunks = [chunk for stretch in stretches(voice, sound) for chunk in stretch.chunks]
    return since(start), chunks


class Fixed:
    """Whisper as WhisperRecognizer loads it, doing for a chunk what it does, but for a number of
    tokens that is given."""

    batch_size = 1

    def __init__(self, files, tokens: int, threads: int):
        from ingest.models.whisper import WhisperRecognizer

        recognizer = WhisperRecognizer(files, device="cpu", threads=threads, language="en")
        self._model, self._tokens = recognizer._model, tokens
        self._tokenizer = recognizer._tokenizer("en")

    def transcribe(self, chunks):
        from ingest.transcripts import Transcript

        for chunk in chunks:
            self._transcribe(chunk)
        return [Transcript("en", ()) for _ in chunks]

    def _transcribe(self, chunk) -> None:
        from faster_whisper.audio import pad_or_trim

        model, tokenizer = self._model, self._tokenizer
        features = model.feature_extractor(chunk.samples)[..., :-1]
        encoded = model.encode(pad_or_trim(features))
        model.model.detect_language(encoded)
        result = model.model.generate(
            encoded,
            [[*tokenizer.sot_sequence, tokenizer.no_timestamps]],
            beam_size=5,
            max_length=2 * self._tokens,  # CTranslate2 decodes half of that, as Whisper does
            suppress_tokens=[tokenizer.eot],
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        assert len(result.sequences_ids[0]) == self._tokens
        words = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        model.find_alignment(tokenizer, [words], encoded, min(features.shape[-1], 3000))


def cost(folder: Path, shape: str, tokens: int) -> Iterator[tuple[str, float]]:
    import torch
    from whisper_models import make_whisper

    from ingest.recognition import Recognition

    torch.set_num_threads(2)
    path = make_talk(folder / "talk.m4a", COST_MINUTES)
    runs = [finding(path) for _ in range(3)]
    found = statistics.median(taken[0] for taken, _ in runs)
    chunks = runs[0][1]
    width, layers, heads = SHAPES[shape]
    files = make_whisper(
        folder / "model", width=width, layers=layers, heads=heads, text_tokens=50_257
    )
    recognizer = Fixed(files, tokens, threads=1)
    recognizer.transcribe(chunks[:1])
    start = spent()
    recognizer.transcribe(chunks)
    recognised = since(start)[0]
    yield "chunks", len(chunks)
    yield "finding_processor_seconds", round(float(found), 2)
    yield "recognising_processor_seconds", round(float(recognised), 1)
    yield "share_of_processor_time", round(float(found / recognised), 4)

    recognizer = Fixed(files, tokens, threads=0)
    recognizer.transcribe(chunks[:1])
    start = spent()
    recognizer.transcribe(chunks)
    alone = since(start)[1]
    start = spent()
    list(Recognition(files, load=lambda _: recognizer).run(path))
    yield "elapsed_over_recogniser_alone", round(float(since(start)[1] / alone), 4)


class Mute:
    """A recogniser that says one word a chunk, from its sound."""

    batch_size = 1

    def transcribe(self, chunks):
        from ingest.transcripts import Transcript, Utterance, Word

        return [
            Transcript(
                "en",
                (
                    Utterance(
                        (
                            Word(
                                chunk.start_seconds,
                                chunk.end_seconds,
                                f" {float(np.abs(chunk.samples).mean()):.6f}.",
                            ),
                        )
                    ),
                ),
            )
            for chunk in chunks
        ]


def hearing() -> Iterator[tuple[str, float]]:
    import test_voice as voice

    from ingest.models.silero import SileroVoice

    silero = SileroVoice()
    song = voice.listen(silero, voice.AUDIO / "frenchsong.mp3")
    yield "song_speech_seconds", round(voice.spoken_seconds(song), 2)
    for name in ("faster-whisper/jfk.flac", "lucier/lucier.wav"):
        path = voice.AUDIO / name
        energy = voice.voice_energy(path)
        counted, _ = voice.heard(voice.listen(silero, path), len(energy))
        share = energy[counted].sum() / energy.sum()
        yield f"{path.stem}_share_kept", round(float(share), 4)


def listen(path: Path) -> None:
    from ingest.models.files import ModelFiles
    from ingest.recognition import Recognition

    files = ModelFiles("mute", path.parent, "00", path.parent)
    recognition = Recognition(files, load=lambda _: Mute())
    sentences = sum(len(heard.sentences) for heard in recognition.run(path))
    assert sentences, "nothing was heard"


def peak_bytes(path: Path) -> int:
    child = subprocess.Popen([sys.executable, __file__, "--listen", str(path)])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"listening to {path} failed")
    return usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--tokens", type=int, default=110, help="of a chunk")
    parser.add_argument("--minutes", type=float, nargs=2, default=(10, 60))
    parser.add_argument("--listen", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.listen is not None:
        return listen(arguments.listen)
    result: dict[str, object] = {"shape": arguments.shape, "tokens": arguments.tokens}
    if TALK.exists():
        result |= hearing()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        peaks = [
            peak_bytes(make_talk(folder / f"{minutes:g}.m4a", minutes))
            for minutes in arguments.minutes
        ]
        result |= {"minutes": arguments.minutes, "peak_bytes": peaks}
        result["peak_ratio"] = round(peaks[1] / peaks[0], 4)
        result |= cost(folder, arguments.shape, arguments.tokens)
    print(json.dumps(result))
    return None


if __name__ == "__main__":
    main()
