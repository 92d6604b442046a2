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
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

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


class Player:
    """Sends the packets when they are due. shown: word -> time of day when its first picture was
    handed to the network."""

    def __init__(self, path: Path, words: dict[str, float]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._path = path
        self._words = words
        self.shown: dict[str, float] = {}
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        with contextlib.suppress(av.FFmpegError):  # nobody takes it any more
            self._send()

    def _send(self) -> None:
        with (
            av.open(str(self._path)) as recording,
            av.open(f"tcp://127.0.0.1:{self.port}?listen=1", "w", format="mpegts") as output,
        ):
            source = recording.streams.video[0]
            stream = output.add_stream_from_template(source)
            began = None
            for packet in recording.demux(source):
                if packet.pts is None:
                    continue
                at = float(packet.pts * packet.time_base)
                if began is None:
                    output.start_encoding()  # returns when somebody has called
                    began = time.time() - at
                time.sleep(max(0.0, began + at - time.time()))
                for word, start in self._words.items():
                    if at >= start:
                        self.shown.setdefault(word, began + start)
                packet.stream = stream
                output.mux(packet)


def measure(kind: str, seconds: float, folder: Path) -> dict:
    path = folder / f"{kind}.ts"
    words = planted(seconds)
    encode(kind, seconds, path, words)
    player = Player(path, words)
    library = folder / f"library-{kind}"
    watch = subprocess.Popen(
        [
            sys.executable, "-m", "cli.main", "watch", f"tcp://127.0.0.1:{player.port}",
            "--name", kind, "--library", str(library), "--profile", "packaged", "--json",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    states: list[dict] = []
    reading = threading.Thread(
        target=lambda: states.extend(json.loads(line) for line in watch.stdout), daemon=True
    )
    reading.start()
    process = psutil.Process(watch.pid)
    while not player.shown:
        time.sleep(0.05)
    began, used = time.monotonic(), sum(process.cpu_times()[:2])
    latencies, query_seconds = poll(library, player, words)
    wall = time.monotonic() - began
    share = (sum(process.cpu_times()[:2]) - used) / wall / os.cpu_count()
    resident = process.memory_info().rss
    player.thread.join(seconds)
    watch.terminate()
    watch.wait()
    reading.join(5)
    last = states[-1]
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
        players = [Player(path, {}) for _ in range(count)]
        library = folder / f"library-{kind}-{count}"
        watch = subprocess.Popen(
            [
                sys.executable, "-m", "cli.main", "watch",
                *(f"tcp://127.0.0.1:{player.port}" for player in players),
                *(word for at in range(count) for word in ("--name", f"{kind} {at}")),
                "--library", str(library), "--profile", "packaged", "--json",
                "--set", "index.ballast_bytes=0",
            ],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        states: dict[str, dict] = {}

        def read(lines=watch.stdout, states=states) -> None:
            for line in lines:
                state = json.loads(line)
                states[state["source"]] = state

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        while sum(one["state"] == "live" for one in list(states.values())) < count:
            time.sleep(0.05)
        process = psutil.Process(watch.pid)
        began, used = time.monotonic(), sum(process.cpu_times()[:2])
        time.sleep(seconds - ENDING_SECONDS)
        share = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began) / os.cpu_count()
        load = psutil.getloadavg()[0]
        watch.terminate()
        watch.wait()
        reading.join()
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
