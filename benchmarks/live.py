"""How long after it is shown a text of a live source is found, and what watching takes.

A sender plays a recording at its own pace over TCP on loopback; `longtake watch` (packaged profile)
watches it in a process of its own; this process polls searches through the owner's socket. Texts
that occur once are put on the screen at known times.

    python benchmarks/live.py       # a still camera, a talk, a film: a minute each of 1080p30
    python benchmarks/live.py --seconds 30 --kinds talk
    python benchmarks/live.py --hour    # what an hour of each leaves, from a minute in a pipe
    python benchmarks/live.py --sources 8   # of each kind, how many at once, up to 8

Prints for each kind the latency from a text's being sent to its being found (p50, p95, most), what
was dropped, and the share of the machine's cores that `watch` took. With --sources: for each number
of sources what was dropped, how far behind the slowest was at the end, and the share.
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
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from watching import Player, Watch, cores_share  # noqa: E402

WIDTH, HEIGHT, RATE = 1920, 1080, 30
EVERY_SECONDS = 5.0
SHOWN_SECONDS = 3.0
FIRST_SECONDS = 8.0
ENDING_SECONDS = 5.0
"""Before a recording's end watching is stopped."""
LAG_SECONDS = 5.0
"""Farther behind than this a source does not fit."""
DATA = ROOT.parent / "shared" / "data" / "video"
SOURCES = {
    "still": DATA / "intel",
    "talk": DATA / "screencast.mp4",
    "film": DATA / "bbb_360p.mp4",
}
WORDS = """
anchor basket candle dragon engine forest garden hammer island jacket kettle ladder magnet needle
orange pencil quarry rocket saddle tunnel urchin violin walnut yonder zipper
"""


def pictures(kind: str, seconds: float) -> Iterator[np.ndarray]:
    """uint8 (1080, 1920, 3), BGR, one each 1/30 s."""
    place = SOURCES[kind]
    path = sorted(place.glob("*.mp4"))[0] if place.is_dir() else place
    wanted, at = round(seconds * RATE), 0
    last: np.ndarray | None = None
    while at < wanted:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            base = None
            if kind == "film":
                container.seek(60_000_000)
            for frame in container.decode(stream):
                shown = float(frame.pts * frame.time_base)
                base = shown if base is None else base
                image = frame.reformat(WIDTH, HEIGHT, format="bgr24").to_ndarray()
                if last is None:
                    last, first = image, at
                while at < wanted and (at - first) / RATE <= shown - base:
                    yield last
                    at += 1
                last = image
                if at >= wanted:
                    return
        last = None


def plant(image: np.ndarray, word: str) -> np.ndarray:
    """The word in a box at the bottom, as captions burnt in are."""
    image = image.copy()
    cv2.rectangle(image, (60, 940), (900, 1050), (255, 255, 255), -1)
    cv2.putText(image, word.upper(), (80, 1020), cv2.FONT_HERSHEY_SIMPLEX, 2.4, (0, 0, 0), 6)
    return image


def planted(seconds: float) -> dict[str, float]:
    """word -> when it appears."""
    times = np.arange(FIRST_SECONDS, seconds - SHOWN_SECONDS, EVERY_SECONDS)
    # Not in step with the samples, which are taken once a second.
    return {
        word: float(t) + 0.137 * n
        for n, (word, t) in enumerate(zip(WORDS.split(), times, strict=False))
    }


def encode(kind: str, seconds: float, path: Path, words: dict[str, float]) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "25"}
        stream.gop_size = RATE * 2
        for at, image in enumerate(pictures(kind, seconds)):
            now = at / RATE
            for word, start in words.items():
                if start <= now < start + SHOWN_SECONDS:
                    image = plant(image, word)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame.pts, frame.time_base = at, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def measure(kind: str, seconds: float, folder: Path) -> dict:
    path = folder / f"{kind}.ts"
    words = planted(seconds)
    encode(kind, seconds, path, words)
    player = Player(path, words)
    library = folder / f"library-{kind}"
    with Watch({kind: player.url}, library) as watch:
        while not player.shown:
            watch.check()
            time.sleep(0.05)
        began, used = time.monotonic(), watch.used_seconds()
        latencies, query_seconds = poll(library, player, words)
        share = cores_share(watch.used_seconds() - used, time.monotonic() - began)
        resident = watch.process.memory_info().rss
        player.thread.join(seconds)
    last = watch.states[kind]
    return {
        "kind": kind,
        "texts": len(words),
        "found": len(latencies),
        "p50_seconds": round(statistics.median(latencies), 2),
        "p95_seconds": round(float(np.quantile(latencies, 0.95)), 2),
        "most_seconds": round(max(latencies), 2),
        "query_p50_ms": round(1000 * statistics.median(query_seconds), 1),
        "dropped": last["dropped"],
        "evidence": last["found"],
        "cores_share": round(share, 2),
        "load_of_others": round(max(0.0, psutil.getloadavg()[0] - share * os.cpu_count()), 1),
        "resident_mb": round(resident / 1e6),
    }


def poll(library: Path, player: Player, words: dict[str, float]) -> tuple[list[float], list[float]]:
    """Searches for each text from when it is shown on until it is found, 15 s at most."""
    from index.access import open_store
    from index.library import Library
    from rag.retrieve import Retriever

    while not (library / "manifest.json").exists():
        time.sleep(0.05)
    store = open_store(library)
    latencies, queries = [], []
    try:
        retriever = Retriever(Library(store))
        for word in words:
            while word not in player.shown:
                time.sleep(0.005)
            until = player.shown[word] + 15
            while time.time() < until:
                asked = time.perf_counter()
                found = any(word in m.text.casefold() for m in retriever.search(word).moments)
                queries.append(time.perf_counter() - asked)
                if found:
                    latencies.append(time.time() - player.shown[word])
                    break
                time.sleep(0.05)
    finally:
        store.close()
    return latencies, queries


def sources(kind: str, seconds: float, folder: Path, most: int) -> Iterator[dict]:
    """One source more each time, of one process, until pictures are dropped or it falls behind."""
    path = folder / f"{kind}.ts"
    encode(kind, seconds, path, {})
    for count in range(1, most + 1):
        players = {f"{kind} {at}": Player(path, {}) for at in range(count)}
        urls = {name: player.url for name, player in players.items()}
        library = folder / f"library-{kind}-{count}"
        with Watch(urls, library, "index.ballast_bytes=0") as watch:
            watch.await_live()
            began, used = time.monotonic(), watch.used_seconds()
            time.sleep(seconds - ENDING_SECONDS)
            share = cores_share(watch.used_seconds() - used, time.monotonic() - began)
            load = psutil.getloadavg()[0]
        states = watch.states
        lag = max(one["lag_seconds"] or 0.0 for one in states.values())
        dropped = sum(one["dropped"] for one in states.values())
        fits = not dropped and lag < LAG_SECONDS
        yield {
            "kind": kind,
            "sources": count,
            "dropped": dropped,
            "lag_seconds": round(lag, 1),
            "cores_share": round(share, 2),
            "load": round(load, 1),
            "fits": fits,
        }
        if not fits:
            return


def hour(kind: str, seconds: float, folder: Path) -> dict:
    """What is kept of the recording, without texts put into it, scaled to an hour."""
    from index.access import open_store
    from index.disk import bytes_on_disk
    from index.store import where

    path, library = folder / f"{kind}.ts", folder / f"library-{kind}"
    encode(kind, seconds, path, {})
    with path.open("rb") as recording:
        subprocess.run(
            [
                sys.executable, "-m", "cli.main", "watch", "-", "--name", kind,
                "--library", str(library), "--profile", "packaged",
                "--set", "index.ballast_bytes=0", "--set", "index.compact=false",
            ],
            cwd=ROOT, stdin=recording, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    store = open_store(library)
    evidence = store.count(where(kind="evidence"))
    points = store.info().points
    store.close()
    scale = 3600 / seconds
    return {
        "kind": kind,
        "seconds": seconds,
        "evidence_an_hour": round(evidence * scale),
        "points_an_hour": round(points * scale),
        "thumbnails_mb_an_hour": round(bytes_on_disk(library / "thumbnails") * scale / 1e6, 1),
        "library_mb_now": round(bytes_on_disk(library / "shards") / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kinds", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--hour", action="store_true", help="what an hour leaves")
    parser.add_argument("--sources", type=int, help="how many fit, up to this number")
    given = parser.parse_args()
    run = hour if given.hour else measure
    with tempfile.TemporaryDirectory() as folder:
        for kind in given.kinds:
            if given.sources:
                for found in sources(kind, given.seconds, Path(folder), given.sources):
                    print(json.dumps(found), flush=True)
            else:
                print(json.dumps(run(kind, given.seconds, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
