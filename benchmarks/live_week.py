"""Days of a stream in minutes: whether memory, files and searches stay as they were.

A recording of an hour (a picture a second, other words every few minutes, a cut now and then, else
still) goes through a pipe into `longtake watch -` again and again, its clock going on, as fast as
it is looked at. Small shards, so that they turn over and are compacted; retention keeps the last
two days.

    python benchmarks/live_week.py --days 7

Prints a line each so many hours of the stream: resident memory and open files of `watch`, bytes of
the library, videos' evidence, and how long a search from another process takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(1, str(ROOT / "tests"))

HOUR = 3600


def write_hour(path: Path) -> None:
    """A picture a second: other words every five minutes, in between a picture without for one."""
    from clips import noise_picture, text_picture

    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "23"}
        stream.gop_size = 60
        for at in range(HOUR):
            block, second = divmod(at, 300)
            picture = (
                noise_picture(block, 320, 180)
                if second < 60
                else text_picture(f"NOTICE NUMBER {block}")
            )
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


class Pump(threading.Thread):
    """Writes the hour into a pipe, again and again. hours: written so far."""

    def __init__(self, path: Path, hours: int, pipe):
        super().__init__(daemon=True)
        self._path, self._wanted, self._pipe = path, hours, pipe
        self.hours = 0

    def run(self) -> None:
        with av.open(self._pipe, "w", format="matroska") as output:
            stream = None
            for hour in range(self._wanted):
                with av.open(str(self._path)) as recording:
                    source = recording.streams.video[0]
                    stream = stream or output.add_stream_from_template(source)
                    shift = round(hour * HOUR / source.time_base)
                    for packet in recording.demux(source):
                        if packet.pts is not None:
                            packet.pts = packet.dts = packet.pts + shift  # none is reordered
                            packet.stream = stream
                            output.mux(packet)
                self.hours = hour + 1
        self._pipe.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--every-hours", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hour, library = Path(folder) / "hour.mkv", Path(folder) / "library"
        write_hour(hour)
        watch = subprocess.Popen(
            [
                sys.executable, "-m", "cli.main", "watch", "-", "--name", "lobby",
                "--library", str(library), "--profile", "packaged", "--keep", "2d",
                "--set", "index.head_points=2000", "--set", "index.compact_delay_seconds=1",
                "--set", "index.ballast_bytes=0", "--set", "live.keep_check_seconds=5",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pump = Pump(hour, round(given.days * 24), watch.stdin)
        began = time.monotonic()
        pump.start()
        look(watch, pump, library, given.every_hours, began)


def look(watch, pump: Pump, library: Path, every_hours: int, began: float) -> None:
    from index.access import open_store
    from index.library import Library
    from rag.retrieve import Retriever

    while not (library / "manifest.json").exists():
        time.sleep(0.1)
    process = psutil.Process(watch.pid)
    store = open_store(library)
    next_hours = every_hours
    try:
        while watch.poll() is None:
            time.sleep(0.2)
            if pump.hours < next_hours and pump.is_alive():
                continue
            next_hours = pump.hours + every_hours
            kept = Library(store)
            retriever = Retriever(kept)
            took = []
            for number in range(20):
                asked = time.perf_counter()
                retriever.search(f"notice number {number}")
                took.append(time.perf_counter() - asked)
            videos = kept.videos()
            print(
                json.dumps(
                    {
                        "hours": pump.hours,
                        "wall_seconds": round(time.monotonic() - began),
                        "resident_mb": round(process.memory_info().rss / 1e6),
                        "files": process.num_fds(),
                        "threads": process.num_threads(),
                        "library_mb": round(size_of(library) / 1e6, 1),
                        "points": store.info().points,
                        "epochs": len(videos[0].epochs) if videos else 0,
                        "query_p50_ms": round(1000 * statistics.median(took), 1),
                    }
                ),
                flush=True,
            )
            if not pump.is_alive():
                break
    finally:
        store.close()
        watch.wait()


def size_of(folder: Path) -> int:
    return sum(
        os.stat(os.path.join(root, name)).st_blocks * 512
        for root, _, names in os.walk(folder)
        for name in names
        if os.path.exists(os.path.join(root, name))
    )


if __name__ == "__main__":
    main()
