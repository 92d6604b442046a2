"""How fast the embedded library is, beside one bare shard of its engine doing the same.

    python benchmarks/edge_store.py [--points 100000] [--json]

60% of the points carry a 512-d vector, the others a sparse passage of a dozen terms. Measured:
points in per second, the median search before and after compaction, reopening, and the longest that
any call waits while a compaction runs, beside the longest of the same calls without one. Beside
each flush a bare one is timed: 4 KiB appended to a file on the same disk, and fsync. The last line
with --json holds the figures and the ratios to the bare shard, which is the limit: it is optimised
in this process, at a stretch.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from index.edge import EdgeStore
from index.settings import StoreSettings
from index.shard import CHUNK_POINTS, Shard, engine_points, plain_vector
from index.store import Filter, Point, SparseVector, VectorSpace, where

SPACES = [VectorSpace("frame", 512), VectorSpace("words")]
EVERYTHING = Filter()
BARE = "bare_fsync"
TARGETS = {
    "in_per_second": (">=", 20_000),
    "p50_ms_after": ("<", 5),
    "reopen_seconds": ("<", 0.5),
    "longest_wait_ms": ("<", 250),
}


def make_points(count: int, seed: int = 0) -> list[Point]:
    """Evidence and passages of some fifty videos. The vectors lie around the directions of
    2,000 shots, as those of pictures do; among independent ones nothing is near to anything."""
    rng = np.random.default_rng(seed)
    shots = np.random.default_rng(7).standard_normal((2000, 512), dtype=np.float32)
    points = []
    for number in range(count):
        payload = {
            "kind": "evidence" if number % 5 < 3 else "passage",
            "video_id": f"video-{number // 2000}",
            "channel": "frame" if number % 5 < 3 else "speech",
            "generation": f"generation-{number // 2000}",
            "start_us": (number % 2000) * 1_000_000,
            "text": "the words that were spoken there, a dozen or so",
        }
        if number % 5 < 3:
            noise = rng.standard_normal(512, dtype=np.float32)
            vectors = {"frame": shots[rng.integers(len(shots))] + 0.5 * noise}
        else:
            terms = np.unique(rng.zipf(1.3, 24) % 30_000)[:12]
            vectors = {
                "words": SparseVector(tuple(terms.tolist()), tuple(rng.random(len(terms)).tolist()))
            }
        points.append(Point(str(uuid.UUID(bytes=rng.bytes(16), version=4)), payload, vectors))
    return points


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def median_ms(calls: list[Callable[[], object]]) -> float:
    return statistics.median(seconds(call) for call in calls) * 1000


def bare(points: list[Point], folder: Path) -> dict[str, float]:
    """One shard, by the engine's own calls."""
    spaces = {space.name: space for space in SPACES}
    shard = Shard.create("bare", folder / "shards" / "bare", SPACES, head=True)

    def write() -> None:
        for start in range(0, len(points), CHUNK_POINTS):
            shard.upsert(engine_points(points[start : start + CHUNK_POINTS], spaces))
        shard.flush()

    vectors = [p.vectors["frame"] for p in points if "frame" in p.vectors][:100]

    def searches() -> list[Callable[[], object]]:
        def search(vector):
            found = shard.nearest("frame", plain_vector(vector), None, 10, False)
            return shard.get([one.id for one in found], with_vectors=False)

        return [lambda v=v: search(v) for v in vectors]

    result = {"bare_in_per_second": len(points) / seconds(write)}
    result["bare_p50_ms_before"] = median_ms(searches())
    result["bare_optimise_seconds"] = seconds(shard.optimise)
    shard.flush()
    result["bare_p50_ms_after"] = median_ms(searches())
    shard.close()
    result["bare_reopen_seconds"] = statistics.median(
        seconds(lambda: Shard.load("bare", folder / "shards" / "bare", spaces).close())
        for _ in range(3)
    )
    return result


def waits(store: EdgeStore, points: list[Point], running: threading.Event, bare_file: Path) -> dict:
    """Calls of every kind, one after the other, for as long as the compaction runs. kind -> how
    long each took, in ms."""
    took: dict[str, list[float]] = defaultdict(list)
    fresh = make_points(4000, seed=1)
    rounds = 0

    def timed(kind: str, call: Callable[[], object]) -> None:
        took[kind].append(seconds(call) * 1000)

    def bare_fsync() -> None:
        with open(bare_file, "ab") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())

    while running.is_set():
        at = rounds * 64 % 3900
        vector = points[rounds % 500 * 5].vectors["frame"]
        some = [points[(rounds * 97 + n) % len(points)] for n in range(32)]
        timed(
            "search",
            lambda v=vector: store.query("frame", v, where=where(kind="evidence"), limit=10),
        )
        timed(
            "search_words",
            lambda: store.query(
                "words", SparseVector((1, 5, 17), (1.0, 2.0, 3.0)), where=EVERYTHING, limit=10
            ),
        )
        timed("upsert_new", lambda a=at: store.upsert(fresh[a : a + 64]))
        timed("upsert_again", lambda p=some: store.upsert(p))
        timed("count", lambda: store.count(where(video_id="video-3")))
        timed("scroll", lambda: store.scroll_page(EVERYTHING, after=None, limit=200))
        timed("retrieve", lambda p=some: store.retrieve([x.id for x in p], with_vectors=True))
        timed(
            "delete", lambda a=at: store.delete(where(video_id="video-1", start_us=a * 1_000_000))
        )
        if rounds % 5 == 0:
            timed("flush", store.flush)
            timed(BARE, bare_fsync)
        rounds += 1
        time.sleep(0.02)
    return dict(took)


def longest(took: dict[str, list[float]]) -> dict[str, float]:
    """kind -> its longest wait, in ms."""
    return {kind: round(max(ms), 1) for kind, ms in sorted(took.items()) if kind != BARE}


def spread(ms: list[float]) -> dict[str, float]:
    """How many there were, and where they lie."""
    quantiles = {"p50": 50, "p95": 95, "max": 100}
    return {"count": len(ms)} | {
        name: round(float(np.percentile(ms, percent)), 1) for name, percent in quantiles.items()
    }


def measure(points: list[Point], folder: Path) -> dict:
    quiet = StoreSettings(compact=False)
    vectors = [p.vectors["frame"] for p in points if "frame" in p.vectors][:100]
    result: dict = {}
    with EdgeStore(folder / "library", settings=quiet) as store:
        store.ensure_spaces(SPACES)

        def searches() -> list[Callable[[], object]]:
            return [
                lambda v=v: store.query("frame", v, where=EVERYTHING, limit=10) for v in vectors
            ]

        def write() -> None:
            for start in range(0, len(points), 1000):
                store.upsert(points[start : start + 1000])
            store.flush()

        spent = time.process_time()
        result["in_per_second"] = len(points) / seconds(write)
        result["in_per_cpu_second"] = len(points) / (time.process_time() - spent)
        result["shards_before"] = store.info().shards
        result["p50_ms_before"] = median_ms(searches())

        def waits_during(work: Callable[[], object]) -> tuple[float, dict[str, list[float]]]:
            running, took = threading.Event(), {}
            running.set()
            prober = threading.Thread(
                target=lambda: took.update(waits(store, points, running, folder / "bare"))
            )
            prober.start()
            worked = seconds(work)
            running.clear()
            prober.join()
            return worked, took

        worked, took = waits_during(store.compact_now)
        result["compaction_seconds"] = worked
        result["waits_ms"] = longest(took)
        result["longest_wait_ms"] = max(result["waits_ms"].values())
        result["flush_ms"], result["bare_fsync_ms"] = spread(took["flush"]), spread(took[BARE])
        result["flush_vs_bare_fsync"] = statistics.mean(took["flush"]) / statistics.mean(took[BARE])
        _, took = waits_during(lambda: time.sleep(min(worked, 15)))
        result["waits_without_compaction_ms"] = longest(took)
        store.compact_now()
        result["p50_ms_after"] = median_ms(searches())
        result["shards_after"] = store.info().shards
        result["bytes_on_disk"] = store.info().bytes_on_disk
        exact = [
            {h.id for h in store.query("frame", v, where=EVERYTHING, limit=10, exact=True)}
            for v in vectors
        ]
        near = [
            {h.id for h in store.query("frame", v, where=EVERYTHING, limit=10)} for v in vectors
        ]
        result["recall_at_10"] = statistics.mean(
            len(a & b) / 10 for a, b in zip(exact, near, strict=True)
        )
    times = []
    for _ in range(3):
        opened = []
        times.append(
            seconds(lambda o=opened: o.append(EdgeStore(folder / "library", settings=quiet)))
        )
        opened[0].close()
    result["reopen_seconds"] = statistics.median(times)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    points = make_points(arguments.points)
    gc.freeze()  # the collector need not look through what only this script holds
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(points, Path(folder)) | bare(points, Path(folder))
    result |= {
        "points": arguments.points,
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "in_vs_bare": result["in_per_second"] / result["bare_in_per_second"],
        "p50_vs_bare": result["p50_ms_after"] / result["bare_p50_ms_after"],
        "reopen_vs_bare": result["reopen_seconds"] / result["bare_reopen_seconds"],
    }
    result = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    for key, value in result.items():
        target = TARGETS.get(key)
        print(f"{key:24} {value}" + (f"   (target {target[0]} {target[1]})" if target else ""))
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
