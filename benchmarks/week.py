"""Days of a quiet camera, as fast as they can be watched: do memory, open files, the time of a
query and the disk stay where they are, while epochs follow each other, the store compacts, and what
is too old is let go of?

A stream of one small picture every four seconds is made while it is read: a still scene, every ten
minutes another one for half a minute, and every five minutes a sentence as a subtitle. `longtake
watch -` (channels fingerprint, speech and shots, `--record --keep`) reads it from a pipe, which it
makes wait. Shards are sealed when they hold 1,000 points or are two minutes old (which is as much
of the stream as some hours), and compacted behind that.

    python benchmarks/week.py --days 7                 # half an hour
    python benchmarks/week.py --days 2 --keep-hours 6 --every-seconds 1

Prints a line twenty-four times in what is kept, and last the ratio of each figure's mean over the
last such time to its mean over the second one, the first in which all that is to be kept is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DAY, HOUR = 86_400, 3600
HEAD_POINTS = 1000
SENTENCES = (
    "The {a} was seen at the {b} at {n} o'clock.",
    "Nobody has opened the {a} since {n}.",
    "A {a} waits beside the {b}, number {n}.",
)
NOUNS = (
    *("gate", "barrier", "lorry", "ferry", "crane", "warden", "bicycle", "lantern", "parcel"),
    *("trolley", "ladder", "fence", "kiosk", "platform", "signal", "tunnel", "bridge", "harbour"),
    *("depot", "garage", "window", "corridor", "counter", "staircase", "escalator"),
)


def scene(seed: int) -> np.ndarray:
    """uint8 (72, 96, 3), RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)


class Stream:
    """Writes the stream into a pipe. at_seconds: how much was written."""

    def __init__(self, pipe, seconds: int, every_seconds: int):
        self._pipe, self._seconds, self._every_seconds = pipe, seconds, every_seconds
        self.at_seconds = 0
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        try:
            options = {"cluster_time_limit": "5000", "max_interleave_delta": "50000"}
            with av.open(self._pipe, "w", format="matroska", container_options=options) as output:
                video = output.add_stream("libx264", rate=Fraction(1, self._every_seconds))
                video.width, video.height, video.pix_fmt = 96, 72, "yuv420p"
                video.gop_size, video.max_b_frames = 10, 0
                video.options = {"preset": "ultrafast", "tune": "zerolatency"}
                words = output.add_mux_stream("subrip")
                words.time_base = Fraction(1, 1000)
                output.start_encoding()
                still = scene(0)
                rng = np.random.default_rng(5)
                for at in range(0, self._seconds, self._every_seconds):
                    if at % 300 < self._every_seconds:
                        text = SENTENCES[at // 300 % 3].format(
                            a=rng.choice(NOUNS), b=rng.choice(NOUNS), n=at // 300
                        )
                        packet = av.Packet(text.encode())
                        packet.stream, packet.time_base = words, words.time_base
                        packet.pts = packet.dts = 1000 * at
                        packet.duration = 4000
                        output.mux(packet)
                    passing = at % 600 >= 570
                    image = scene(1 + at // 600) if passing else still
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = at, Fraction(1, 1)
                    frame.duration = self._every_seconds
                    output.mux(video.encode(frame))
                    self.at_seconds = at + self._every_seconds
                output.mux(video.encode(None))
        except (OSError, av.FFmpegError):
            pass
        finally:
            self._pipe.close()


def folder_bytes(path: Path) -> int:
    from index.disk import bytes_on_disk

    return bytes_on_disk(path) if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--keep-hours", type=float, default=24.0)
    parser.add_argument("--every-seconds", type=int, default=4, help="a picture")
    given = parser.parse_args()
    seconds, keep = round(given.days * DAY), given.keep_hours * HOUR
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        watch = subprocess.Popen(
            [
                sys.executable, "-m", "cli.main", "watch", "-", "--name", "yard", "--record",
                "--keep", f"{given.keep_hours}h", "--channels", "speech,fingerprint",
                "--library", str(library),
                "--profile", "packaged", "--json", "--set", "live.keep_check_seconds=5",
                "--set", "live.waiting_bytes=2097152",  # else it reads hours ahead
                "--set", f"index.head_points={HEAD_POINTS}",
                "--set", f"index.shard_points={5 * HEAD_POINTS}",
                "--set", "index.head_max_age_seconds=120",
            ],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        latest: dict = {}

        def read() -> None:
            for line in watch.stdout:
                latest.update(json.loads(line))

        threading.Thread(target=read, daemon=True).start()
        began = time.monotonic()
        Stream(watch.stdin, seconds, given.every_seconds)
        lines = measure(watch, library, seconds, keep / 24)
        watch.wait()
        took = time.monotonic() - began
    report(lines, keep, seconds, took)


def measure(watch: subprocess.Popen, library: Path, seconds: int, every: float) -> list[dict]:
    from index.access import open_store
    from index.errors import LongtakeError
    from index.library import Library
    from rag.retrieve import Retriever

    process = psutil.Process(watch.pid)
    while not (library / "manifest.json").exists():
        time.sleep(0.1)
    store = open_store(library)
    lines: list[dict] = []
    due = every
    try:
        own = Library(store)
        retriever = Retriever(own)
        while due <= seconds and watch.poll() is None:
            time.sleep(0.5)
            video = next(iter(own.videos()), None)
            reached = max(
                (g.analysed_seconds for g in own.generations(video.id)), default=0.0
            ) if video else 0.0  # fmt: skip
            if reached < due - 60:
                continue
            times = []
            for noun in NOUNS[:10]:
                asked = time.perf_counter()
                retriever.search(f"{noun} seen")
                times.append(time.perf_counter() - asked)
            recordings, info = folder_bytes(library / "recordings"), store.info()
            line = {
                "hour": round(due / HOUR, 2),
                "reached_hour": round(reached / HOUR, 2),
                "resident_mb": round(process.memory_info().rss / 1e6),
                "open_files": process.num_fds(),
                "threads": process.num_threads(),
                "query_p50_ms": round(1000 * statistics.median(times), 1),
                "index_mb": round((folder_bytes(library) - recordings) / 1e6, 1),
                "recordings_mb": round(recordings / 1e6, 2),
                "points": info.points,
                "shards": info.shards,
                "epochs": len(video.epochs),
            }
            if watch.poll() is not None:
                break  # it has ended meanwhile, and these are no figures of its
            lines.append(line)
            print(json.dumps(line), flush=True)
            while due <= reached + 60:
                due += every
    except LongtakeError as error:  # it has ended
        print(json.dumps({"note": str(error)}))
    finally:
        store.close()
    return lines


FIGURES = ("resident_mb", "open_files", "query_p50_ms", "index_mb", "recordings_mb", "points")


def report(lines: list[dict], keep: float, seconds: int, took: float) -> None:
    second = [line for line in lines if 1 < line["hour"] * HOUR / keep <= 2]
    last = [line for line in lines if line["hour"] * HOUR > seconds - keep]
    if not second or not last or second == last:
        print(json.dumps({"note": "too short for ratios: let --days be three times what is kept"}))
        return
    ratios = {}
    for name in FIGURES:
        before, after = (statistics.mean(one[name] for one in those) for those in (second, last))
        ratios[name] = round(after / before, 2)
    print(json.dumps({"last_to_second": ratios, "times_real_time": round(seconds / took)}))


if __name__ == "__main__":
    main()
