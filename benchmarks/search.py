"""How long a search takes that goes by words, by meaning and by what pictures show.

    python benchmarks/search.py [--rounds 5] [--folder KEPT] [--json]

At true shapes, with random weights: a ViT-B/32 text tower and a multilingual text encoder of 118
million parameters, over a library of one lecture. `cold` is the whole command, as a user types it,
beside a process that only imports what every search needs (numpy, onnxruntime, the engine) and
ends: the limit. `warm` is a search in a process that has done one, through the socket of another
process that owns the library.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "benchmarks")]

import clip_query  # noqa: E402
import text_query  # noqa: E402

from cli.compose import build_retriever, open_library  # noqa: E402
from cli.settings import Settings, load  # noqa: E402
from index.schema import Evidence, Generation, Video  # noqa: E402
from ingest.channels.text import embedding_point  # noqa: E402
from ingest.models.depot import Depot  # noqa: E402
from ingest.models.encoders import space_name  # noqa: E402
from ingest.writer import ChannelWriter  # noqa: E402

WORDS = "how the tides follow the moon"
LENGTH_SECONDS = 3600
LIMIT = "import numpy, onnxruntime, qdrant_edge, typer, rich"

CLIENT = """
import json, statistics, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cli.compose import build_retriever, open_library
from cli.settings import load
settings, _ = load({"library": sys.argv[2], "models": {"dir": sys.argv[3]}}, None)
with open_library(settings) as library:
    retriever = build_retriever(settings, library)
    times = []
    for number in range(int(sys.argv[4]) + 1):
        started = time.perf_counter()
        retriever.search(f"number {number}: " + sys.argv[5])
        times.append(time.perf_counter() - started)
    print(json.dumps({"store": type(library.store).__name__, "times": times[1:]}))
"""


def make_models(folder: Path) -> None:
    """Both models as `longtake models pull` and `prepare` leave them."""
    from ingest.models import clip_export, text_export

    depot = Depot(folder)
    making = folder / "making"
    for kind, name, make, prepare in (
        ("clip", "ViT-B-32", lambda at: clip_query.make_model("ViT-B-32", at), clip_export.prepare),
        ("text", "small", text_query.make_model, text_export.prepare),
    ):
        if (folder / kind / name).exists():
            continue
        making.mkdir(parents=True, exist_ok=True)
        shutil.copytree(make(making).folder, folder / kind / name)
        shutil.rmtree(making)
        prepare(depot.files(kind, name))


def fill(settings: Settings) -> None:
    """A lecture of an hour: a vector for every second, a sentence for every five."""
    depot = Depot(settings.models.dir)
    clip, text = depot.files("clip", "ViT-B-32"), depot.files("text", "small")
    rng = np.random.default_rng(0)
    vocabulary = ["".join(rng.choice(list("aeioulmnrst"), 6)) for _ in range(3000)]

    def unit(size: int) -> np.ndarray:
        vector = rng.standard_normal(size, dtype=np.float32)
        return vector / np.linalg.norm(vector)

    with open_library(settings, must_exist=False) as library:
        library.put_video(Video("lecture", "Lecture", duration_seconds=LENGTH_SECONDS))
        made: dict[str, list] = {"frame": [], "speech": []}
        generations = {}
        for channel, model in (("frame", "ViT-B-32"), ("speech", ""), ("text:speech", "small")):
            wanted = Generation("lecture", 0, channel, "made up", detail={"model": model})
            generations[channel] = library.begin(wanted)
        for second in range(0, LENGTH_SECONDS):
            space = space_name("frame", clip.name, clip.digest)
            made["frame"].append(
                evidence(generations["frame"], second, 1, vectors={space: unit(512)})
            )
            if second % 5 == 0:
                said = " ".join(rng.choice(vocabulary, 12))
                made["speech"].append(evidence(generations["speech"], second, 5, text=said))
        for channel, found in made.items():
            writer = ChannelWriter(library, generations[channel])
            writer.add(found)
            library.finish([writer.take(LENGTH_SECONDS, LENGTH_SECONDS, last=True)])
        from index.passages import passage_from_payload
        from index.store import scroll, where

        writer = ChannelWriter(library, generations["text:speech"])
        space = space_name("text", text.name, text.digest)
        for point in scroll(library.store, where(kind="passage")):
            passage = passage_from_payload(point.payload)
            vector = unit(384)
            writer.add_points([embedding_point(writer.generation, passage, space, vector)])
        library.finish([writer.take(LENGTH_SECONDS, LENGTH_SECONDS, last=True)])


def evidence(generation: Generation, second: int, length: int, **fields) -> Evidence:
    attributes = {"language": "en"} if "text" in fields else {}
    return Evidence(
        "lecture", 0, generation.channel, generation.id, second, second + length,
        attributes=attributes, **fields,
    )  # fmt: skip


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the models; default: nowhere")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="search-") as scratch:
        models = arguments.folder or Path(scratch) / "models"
        make_models(models)
        library = Path(scratch) / "library"
        given = {"library": str(library), "models": {"dir": str(models)}}
        settings, _ = load(given, None)
        fill(settings)
        search = [
            sys.executable, "-m", "cli.main", "search", WORDS, "--library", str(library),
            "--set", f"models.dir={models}",
        ]  # fmt: skip
        seconds_of(search)  # the disk's cache is warm from here on
        cold, limit = [], []
        for _ in range(arguments.rounds):
            cold.append(seconds_of(search))
            limit.append(seconds_of([sys.executable, "-c", LIMIT]))
        with open_library(settings) as owned:
            build_retriever(settings, owned)
            client = [
                sys.executable, "-c", CLIENT, str(REPO), str(library), str(models), "20", WORDS,
            ]  # fmt: skip
            done = subprocess.run(client, cwd=REPO, check=True, capture_output=True, text=True)
        warm = json.loads(done.stdout)
    result = {
        "cold_seconds": statistics.median(cold),
        "imports_alone_seconds": statistics.median(limit),
        "cold_vs_imports": statistics.median(cold) / statistics.median(limit),
        "warm_ms_p50": statistics.median(warm["times"]) * 1000,
        "warm_store": warm["store"],
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    result = {k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}
    for key, value in result.items():
        print(f"{key:24} {value}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
