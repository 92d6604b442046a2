"""How long a search takes while a live source is watched, against an idle library of the same size.

A library is filled, and `longtake watch` (packaged profile, OCR included) opens it in a process of
its own; this process searches through that process's socket, as `longtake search` does once it has
started. A sender plays 1080p30 in real time for some seconds, pauses as long, plays on, and so
forth, so that both kinds of searches meet the same library and the same machine, whatever else that
does. What is left to look at when a pause begins is not counted to either.

    python benchmarks/live_queries.py                  # a still camera, a talk, a film
    python benchmarks/live_queries.py --evidence 100000 --kinds talk --rounds 4

Prints for each kind p50 and p95 of a search in milliseconds, idle and while watching, and their
ratios; the aim is 2 at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import live  # noqa: E402
import made_library  # noqa: E402
from watching import Player, Watch, cores_share  # noqa: E402

SETTLE_SECONDS = 4.0
EVERY_SECONDS = 0.1
"""Between two searches: somebody who asks, not a load test."""
AIM = 2.0


class Sender(Player):
    """Plays for so long, pauses for so long, and on. playing: whether it does, and since when."""

    def __init__(self, path: Path, play_seconds: float, pause_seconds: float):
        self._play_seconds, self._pause_seconds = play_seconds, pause_seconds
        self.playing, self.since, self._pauses = False, time.monotonic(), 0
        super().__init__(path, {})

    def _send(self) -> None:
        super()._send()
        self._turn(False)

    def _wait(self, at_seconds: float, began: float) -> None:
        if not self.playing:
            self._turn(True)
        while at_seconds >= (self._pauses + 1) * self._play_seconds:
            self._pauses += 1
            self._turn(False)
            time.sleep(self._pause_seconds)
            self._turn(True)
        super()._wait(at_seconds, began + self._pauses * self._pause_seconds)

    def _turn(self, playing: bool) -> None:
        self.playing, self.since = playing, time.monotonic()


def measure(kind: str, given: argparse.Namespace, folder: Path, queries: list) -> dict:
    path, library = folder / f"{kind}.ts", folder / "library"
    live.encode(kind, given.seconds * given.rounds, path, live.planted(given.seconds))
    sender = Sender(path, given.seconds, given.seconds + SETTLE_SECONDS)
    settings = ("live.read_timeout_seconds=600", "index.compact=false", *given.set)
    with Watch({kind: sender.url}, library, *settings) as watch:
        watch.await_live()
        times, share = search(sender, library, queries, watch)
    result: dict = {"kind": kind, "searches": {name: len(each) for name, each in times.items()}}
    for name, each in times.items():
        for percent in (50, 95):
            result[f"{name}_p{percent}_ms"] = round(1000 * float(np.percentile(each, percent)), 1)
    for percent in (50, 95):
        ratio = result[f"watching_p{percent}_ms"] / result[f"idle_p{percent}_ms"]
        result[f"ratio_p{percent}"] = round(ratio, 2)
    return result | {
        "dropped": watch.states[kind]["dropped"],
        "cores_share": round(share, 2),
        "load": round(psutil.getloadavg()[0], 1),
    }


def search(
    sender: Sender, library: Path, queries: list, watch: Watch
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each search, by whether the source is watched meanwhile; the share of the
    machine's cores that the watching process takes then."""
    from index.access import open_store
    from index.library import Library
    from rag.retrieve import Retriever
    from rag.vectors import QueryEncoders

    spaces = (made_library.FRAME_SPACE, made_library.TEXT_SPACE)
    encoders = {space.name: made_library.Ready(space, queries) for space in spaces}
    times: dict[str, list[float]] = {"idle": [], "watching": []}
    used = wall = 0.0
    store = open_store(library)
    try:
        retriever = Retriever(
            Library(store), encoders=QueryEncoders(lambda space: encoders[space.name])
        )
        for query in queries[:20]:
            retriever.search(query.text, limit=10)
        at = 0
        while sender.thread.is_alive():
            playing, since = sender.playing, sender.since
            before, started = watch.used_seconds(), time.monotonic()
            retriever.search(queries[at % len(queries)].text, limit=10)
            took = time.monotonic() - started
            at += 1
            time.sleep(EVERY_SECONDS)
            if sender.since != since or started - since < SETTLE_SECONDS:
                continue
            times["watching" if playing else "idle"].append(took)
            if playing:
                used += watch.used_seconds() - before
                wall += time.monotonic() - started
    finally:
        store.close()
    return times, cores_share(used, wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of playing, and of a pause")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--evidence", type=int, default=45_000, help="in the library before")
    parser.add_argument("--kinds", nargs="+", default=list(live.SOURCES), choices=[*live.SOURCES])
    parser.add_argument("--set", action="append", default=[], help="a setting, for watch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = made_library.fill(Path(folder), given.evidence)
        queries = made_library.queries_of(made["videos"], 60)
        for kind in given.kinds:
            print(json.dumps(measure(kind, given, Path(folder), queries)))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
