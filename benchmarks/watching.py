"""`longtake watch` in a process of its own, and those who send it a recording, for benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import av
import psutil

ROOT = Path(__file__).resolve().parents[1]


class Player:
    """Sends the packets when they are due, over TCP on loopback, to who calls first. shown: word ->
    time of day when its first picture was handed to the network. words: word -> second of the
    recording at which it is shown first."""

    def __init__(self, path: Path, words: Mapping[str, float]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self._path = path
        self._words = words
        self._began: float | None = None
        self.shown: dict[str, float] = {}
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        with contextlib.suppress(av.FFmpegError):  # nobody takes it any more
            self._send()

    def _send(self) -> None:
        with (
            av.open(str(self._path)) as recording,
            av.open(f"{self.url}?listen=1", "w", format="mpegts") as output,
        ):
            source = recording.streams.video[0]
            stream = output.add_stream_from_template(source)
            for packet in recording.demux(source):
                if packet.pts is None:
                    continue
                at = float(packet.pts * packet.time_base)
                if self._began is None:
                    output.start_encoding()  # returns when somebody has called
                    self._began = time.time() - at
                self._wait(at, self._began)
                packet.stream = stream
                output.mux(packet)

    def _wait(self, at_seconds: float, began: float) -> None:
        """Until that second of the recording is due, which began at that time of day."""
        time.sleep(max(0.0, began + at_seconds - time.time()))
        for word, start in self._words.items():
            if at_seconds >= start:
                self.shown.setdefault(word, began + start)


class Watch:
    """Watches sources, name -> URL, with the packaged profile until the block ends. settings: as
    --set takes them. states: the newest of each source, as --json tells it."""

    def __init__(self, sources: Mapping[str, str], library: Path, *settings: str):
        self._names = list(sources)
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "cli.main", "watch", *sources.values(),
                *(word for name in sources for word in ("--name", name)),
                "--library", str(library), "--profile", "packaged", "--json",
                *(word for one in settings for word in ("--set", one)),
            ],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.states: dict[str, dict] = {}
        self.process = psutil.Process(self._process.pid)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Has it stop; `states` are the last ones then."""
        self._process.terminate()
        self._process.wait()
        self._reading.join()

    def await_live(self) -> None:
        """Returns when all its sources are live. Raises SystemExit where it ends before."""
        while not all(self.states.get(n, {}).get("state") == "live" for n in self._names):
            self.check()
            time.sleep(0.05)

    def check(self) -> None:
        """Raises SystemExit where it has ended by itself, which says nothing about speed."""
        if self._process.poll() is not None:
            raise SystemExit(f"watch ended by itself, with status {self._process.returncode}.")

    def used_seconds(self) -> float:
        """Of processor time, so far."""
        self.check()
        return sum(self.process.cpu_times()[:2])

    def _read(self) -> None:
        for line in self._process.stdout:
            state = json.loads(line)
            self.states[state["source"]] = state


def cores_share(used_seconds: float, wall_seconds: float) -> float:
    """Of the machine's cores."""
    return used_seconds / wall_seconds / (os.cpu_count() or 1)
