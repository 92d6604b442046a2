"""How long a search takes in a large embedded library, beside what the encoders take.

    python benchmarks/million.py [--evidence 10000 100000 300000 1000000] [--folder KEPT] [--json]

The library (see benchmarks/made_library.py) is made once, in steps, and measured at each of them by
a process of its own that opens it anew: `Retriever.search` with encoders that have every query's
vector ready, without filters and with them, the share of what an exhaustive search of a vector
space finds that the approximate one finds, and resident memory. A library that is in the folder
from before is used as it is, as far as it goes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from made_library import (  # noqa: E402
    FRAME_SPACE,
    TEXT_SPACE,
    Prepared,
    Ready,
    fill,
    queries_of,
)

from index.edge import EdgeStore  # noqa: E402
from index.library import Library  # noqa: E402
from index.settings import StoreSettings  # noqa: E402
from index.store import where  # noqa: E402

SIZES = (10_000, 100_000, 300_000, 1_000_000)
QUERIES = 200
LIMIT = 10

AIM_P50_MS, AIM_P95_MS, AIM_BYTES = 40.0, 100.0, 6e9


# --- measuring -----------------------------------------------------------------------------------

WAYS = ("no filter", "video:", "channel:", "after: before:", "lang:")


def filtered(way: str, query: Prepared) -> str:
    """The query as it is typed in this way."""
    start = max(query.middle_seconds - 120, 0)
    return {
        "no filter": query.text,
        "video:": f'{query.text} video:"{query.title}"',
        "channel:": f"{query.text} channel:speech",
        "after: before:": f"{query.text} after:{start:.0f}s before:{start + 300:.0f}s",
        "lang:": f"{query.text} lang:en",
    }[way]


def resident() -> dict[str, int]:
    """Bytes by kind: of files that are mapped, and of its own."""
    kinds = {"VmRSS": "resident", "RssAnon": "own", "RssFile": "of_files"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {kinds[w[0][:-1]]: int(w[1]) * 1024 for w in lines if w and w[0][:-1] in kinds}


def measure(arguments: argparse.Namespace) -> dict:
    from rag.retrieve import Retriever
    from rag.vectors import QueryEncoders

    folder, count = arguments.folder, arguments.queries
    queries = queries_of(arguments.measure, count)
    gc.collect()
    encoders = {space.name: Ready(space, queries) for space in (FRAME_SPACE, TEXT_SPACE)}
    result: dict = {}
    before = resident()
    opening = time.perf_counter()
    with EdgeStore(folder / "library", settings=StoreSettings(compact=False)) as store:
        result["open_seconds"] = time.perf_counter() - opening
        library = Library(store)
        retriever = Retriever(library, encoders=QueryEncoders(lambda space: encoders[space.name]))
        gc.freeze()  # as `longtake` does before it searches
        info = store.info()
        result |= {
            "points": info.points,
            "evidence": store.count(where(kind="evidence"))
            + store.count(where(kind="passage")) - store.count(where(scale="sentence")),
            "frame_vectors": store.count(where(kind="evidence", channel="frame")),
            "text_vectors": store.count(where(kind="embedding")),
            "shards": info.shards,
            "bytes_on_disk": info.bytes_on_disk,
        }  # fmt: skip
        for query in queries[:20]:  # what is on the disk comes into memory once
            for way in WAYS:
                retriever.search(filtered(way, query), limit=LIMIT)
        times: dict[str, list[float]] = {}
        worked: dict[str, list[float]] = {}
        found = 0
        for at, query in enumerate(queries):
            # By turns, so that what else the machine does falls on all of them.
            for way in WAYS if at < count // 2 else WAYS[:1]:
                started, busy = time.perf_counter(), time.process_time()
                answer = retriever.search(filtered(way, query), limit=LIMIT)
                times.setdefault(way, []).append((time.perf_counter() - started) * 1000)
                worked.setdefault(way, []).append((time.process_time() - busy) * 1000)
                if way == "no filter":
                    found += any(
                        m.video_id == query.video
                        and m.start_seconds - 1 <= query.middle_seconds <= m.end_seconds + 1
                        for m in answer.moments
                    )
        off = times.pop("no filter")
        on = [one for each in times.values() for one in each]
        result |= {
            "p50_ms": statistics.median(off),
            "p95_ms": percentile(off, 95),
            "filtered_p50_ms": statistics.median(on),
            "filtered_p95_ms": percentile(on, 95),
            "by_filter": {
                way: [round(statistics.median(each), 1), round(percentile(each, 95), 1)]
                for way, each in times.items()
            },
            "processor_p50_ms": {
                way: round(statistics.median(each), 1) for way, each in worked.items()
            },
            "target_found": found / len(queries),
        }
        after = resident()
        result |= {f"memory_{kind}_bytes": value for kind, value in after.items()}
        result["memory_before_bytes"] = before["resident"]
        result |= recalls(store, queries[:50])
        if arguments.profile:
            show_profile(retriever, queries)
    return result


def percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(values, share))


def recalls(store: EdgeStore, queries: Sequence[Prepared]) -> dict[str, float]:
    """Of the nearest 10 and 100 there are, how many the approximate search finds."""
    shares: dict[str, list[float]] = {}
    for query in queries:
        asked = (
            ("text", TEXT_SPACE, query.vectors[TEXT_SPACE.name], "embedding"),
            ("frame", FRAME_SPACE, query.vectors[FRAME_SPACE.name], "evidence"),
            ("picture", FRAME_SPACE, query.picture, "evidence"),
        )
        for name, space, vector, kind in asked:
            for limit in (10, 100):
                there, near = (
                    {
                        hit.id
                        for hit in store.query(
                            space.name, vector, where=where(kind=kind), limit=limit, exact=exact
                        )
                    }
                    for exact in (True, False)
                )
                share = len(there & near) / len(there)
                shares.setdefault(f"recall_{name}_at_{limit}", []).append(share)
    return {name: statistics.mean(each) for name, each in shares.items()}


def show_profile(retriever, queries: Sequence[Prepared]) -> None:
    import cProfile
    import pstats

    for way in WAYS[:2]:
        profiler = cProfile.Profile()
        profiler.enable()
        for query in queries[:50]:
            retriever.search(filtered(way, query), limit=LIMIT)
        profiler.disable()
        print(f"\n{way}, 50 searches", file=sys.stderr)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evidence", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where to keep the library; default: nowhere")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--profile", action="store_true", help="where the time goes, on stderr")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="million-"))
    folder.mkdir(parents=True, exist_ok=True)
    curve = []
    try:
        for size in sorted(arguments.evidence):
            made = fill(folder, size)
            command = [
                sys.executable, __file__, "--folder", str(folder),
                "--measure", str(made["videos"]), "--queries", str(arguments.queries),
                *(["--profile"] if arguments.profile else []),
            ]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            load = round(os.getloadavg()[0], 1)
            curve.append(made | json.loads(done.stdout) | {"load_average": load})
            show(curve[-1])
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
    largest = curve[-1]
    result = {
        "curve": [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in one.items()} for one in curve
        ],
        "p50_reached": max(largest["p50_ms"], largest["filtered_p50_ms"]) < AIM_P50_MS,
        "p95_reached": max(largest["p95_ms"], largest["filtered_p95_ms"]) < AIM_P95_MS,
        "memory_reached": largest["memory_resident_bytes"] < AIM_BYTES,
        "cpus": os.cpu_count(),
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))


def show(one: dict) -> None:
    print(
        f"{one['evidence']:>9,} evidence, {one['points']:>9,} points, {one['shards']} shards, "
        f"{one['bytes_on_disk'] / 1e9:.2f} GB; load {one['load_average']}"
    )
    ways = {"no filter": (one["p50_ms"], one["p95_ms"]), **one["by_filter"]}
    for way, (p50, p95) in ways.items():
        busy = one["processor_p50_ms"][way]
        print(
            f"    {way:15} {p50:6.1f} {p95:6.1f} ms (p50, p95); {busy:6.1f} ms of processor (p50)"
        )
    print(
        f"    {one['memory_resident_bytes'] / 1e9:.2f} GB resident, "
        f"{one['memory_of_files_bytes'] / 1e9:.2f} of them pages of files "
        f"({one['memory_before_bytes'] / 1e9:.2f} before opening); "
        f"opened in {one['open_seconds']:.2f} s; {one['target_found']:.0%} found"
    )
    print("    " + ", ".join(f"{k} {v:.3f}" for k, v in one.items() if k.startswith("recall_")))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
