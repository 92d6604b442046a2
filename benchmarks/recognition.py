"""What trained Whisper weights make of real talk through Longtake, beside faster-whisper alone.

    python benchmarks/recognition.py FOLDER [--film MINUTES] [--json]

FOLDER holds a Whisper model as faster-whisper has it. Word error rates, over texts that are known:
two recordings and a film dialogue of the shared material, and where `flite` is on the PATH
lectures that it reads aloud (its voices are synthetic, so compare columns, not with other work).
The peer is `WhisperModel.transcribe`, with its own voice activity and without. Words in a film
without a dialogue, and in a song, are words that nobody should find.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ingest.channels.settings import RecognitionSettings  # noqa: E402
from ingest.models.files import ModelFiles  # noqa: E402
from ingest.recognition import Recognition  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
JFK = (
    "And so my fellow Americans, ask not what your country can do for you, ask what you can do for "
    "your country."
)
VOICES = ("slt", "rms", "kal16")
LECTURE_WORDS = 520

Way = Callable[[Path], str]


def known() -> Iterator[tuple[str, Path, str]]:
    """Name, sound, and what is said in it."""
    audio = DATA / "audio"
    yield "jfk", audio / "faster-whisper" / "jfk.flac", JFK
    yield "lucier", audio / "lucier" / "lucier.wav", (audio / "lucier" / "lucier.txt").read_text()
    friday = DATA / "video" / "mdn" / "friday.mp4"
    lines = friday.with_suffix(".vtt").read_text().splitlines()[1:]
    yield "friday", friday, " ".join(line for line in lines if "-->" not in line)


def read_aloud(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """The beginnings of some lectures, by flite."""
    if shutil.which("flite") is None:
        return
    path = DATA / "transcripts" / "3b1b" / "transcripts.jsonl"
    lectures = [json.loads(line) for line in path.read_text().splitlines()]
    for voice, lecture in zip(VOICES, lectures[:: len(lectures) // len(VOICES)], strict=False):
        words = " ".join(text for _, _, text in lecture["sentences"]).split()[:LECTURE_WORDS]
        sound, text = folder / f"{voice}.wav", folder / f"{voice}.txt"
        text.write_text(" ".join(words))
        subprocess.run(["flite", "-voice", voice, "-f", text, "-o", sound], check=True)
        yield f"flite {voice}", sound, " ".join(words)


def ways(folder: Path) -> dict[str, Way]:
    from faster_whisper import WhisperModel

    files = ModelFiles(folder.name, folder, "measured", folder / "prepared")

    heard = Recognition(files, RecognitionSettings(device="cpu"))
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)

    def peer(*, voice: bool) -> Way:
        given = {"vad_filter": voice, "word_timestamps": True}
        return lambda path: " ".join(s.text for s in model.transcribe(str(path), **given)[0])

    return {
        "here": lambda path: " ".join(s.text for one in heard.run(path) for s in one.sentences),
        "peer, voice activity": peer(voice=True),
        "peer": peer(voice=False),
    }


def words_of(text: str) -> list[str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})(text).split()


def excerpt(film: Path, minutes: float, folder: Path) -> Path:
    """Its first minutes of sound, copied."""
    import av

    path = folder / "film.mka"
    with av.open(str(film)) as source, av.open(str(path), "w") as output:
        sound = source.streams.audio[0]
        copy = output.add_stream_from_template(sound)
        for packet in source.demux(sound):
            if packet.pts is None or packet.pts * packet.time_base >= minutes * 60:
                break
            packet.stream = copy
            output.mux(packet)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--film", type=float, default=10, help="minutes of the film")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from rapidfuzz.distance import Levenshtein

    result: dict = {"model": arguments.folder.name, "load_average": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        items = [*known(), *read_aloud(folder)]
        silent = {
            "film without dialogue": excerpt(
                DATA / "video" / "bbb_360p.mp4", arguments.film, folder
            ),
            "song": DATA / "audio" / "frenchsong.mp3",
        }
        for name, way in ways(arguments.folder).items():
            row: dict = {"errors": {}, "words_too_many": {}}
            way(items[0][1])  # what is loaded once
            busy = time.process_time()
            wrong = total = 0
            for title, sound, text in items:
                said, heard = words_of(text), words_of(way(sound))
                off = Levenshtein.distance(said, heard)
                row["errors"][title] = f"{off}/{len(said)}"
                wrong, total = wrong + off, total + len(said)
            row["word_error_rate"] = round(wrong / total, 4)
            row["processor_seconds"] = round(time.process_time() - busy, 1)
            for title, sound in silent.items():
                row["words_too_many"][title] = len(re.findall(r"\w+", way(sound)))
            result[name] = row
            print(name, json.dumps(row), flush=True)
    for name in ("peer, voice activity", "peer"):
        ratios = {
            key: round(result["here"][key] / result[name][key], 2)
            for key in ("word_error_rate", "processor_seconds")
        }
        result[f"here over {name}"] = ratios
        print(f"here over {name}:", json.dumps(ratios))
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
