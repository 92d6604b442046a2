"""Shots and sampling alone, against plain decoding and against PySceneDetect.

    python benchmarks/shots.py FILE [--rounds 3] [--json]

Each round runs, in turn, Longtake's analysis (cuts and sampled pictures; nothing looks at them),
`ffmpeg -i FILE -an -f null -` and `scenedetect -i FILE detect-adaptive list-scenes`; the ratios
are medians over the rounds. Longtake's time leaves out importing its libraries, which an index
run does once for all files, and has everything else in it; ffmpeg's is the whole command's;
PySceneDetect's is the whole command's less that of its `version`, measured in the same round.

The last line is JSON: vs_ffmpeg_decode (our time over ffmpeg's), speedup_vs_pyscenedetect, f1
against PySceneDetect's list within one frame, and the cuts in seconds. --json prints only that.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def longtake(path: Path) -> tuple[float, list[float], int, float]:
    """(seconds taken, cuts, samples, length of the video in seconds)."""
    from ingest.analysis import VideoAnalysis
    from ingest.picture_events import Sample, ShotEnded

    cuts, samples = [], 0
    began = time.perf_counter()
    with VideoAnalysis(path) as analysis:
        for event in analysis:
            if isinstance(event, ShotEnded):
                cuts.append(event.end_seconds)
            elif isinstance(event, Sample):
                samples += 1
    taken = time.perf_counter() - began
    return taken, cuts[:-1], samples, analysis.end_seconds


def ffmpeg(path: Path) -> float:
    return _run(["ffmpeg", "-nostdin", "-v", "quiet", "-i", path, "-an", "-f", "null", "-"])


def pyscenedetect(path: Path) -> tuple[float, list[float]]:
    """(seconds taken without start-up, cuts)."""
    command = [sys.executable, "-m", "scenedetect"]
    startup = _run([*command, "version"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-q", "-i", path, "-o", folder, "detect-adaptive", "list-scenes"]
        taken = _run([*command, *arguments, "-f", "scenes.csv", "-s"])
        rows = list(csv.DictReader((Path(folder) / "scenes.csv").open()))
    return taken - startup, [float(row["Start Time (seconds)"]) for row in rows[1:]]


def f1_score(found: list[float], expected: list[float], within_seconds: float) -> float:
    """F1 of cuts matched one to one, in order, at most that far apart. 1 where both are empty."""
    if not found and not expected:
        return 1.0
    hits = i = j = 0
    while i < len(found) and j < len(expected):
        apart = found[i] - expected[j]
        if abs(apart) <= within_seconds:
            hits, i, j = hits + 1, i + 1, j + 1
        elif apart < 0:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(found) + len(expected))


def _run(command: list) -> float:
    began = time.perf_counter()
    subprocess.run(
        [str(word) for word in command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    arguments = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        print("ffmpeg is not installed; it is the yardstick here.", file=sys.stderr)
        return 1
    path = arguments.file.resolve()

    from ingest.decode import decode_video

    began = time.perf_counter()
    with decode_video(path) as decoder:
        frame_seconds = 1 / decoder.frame_rate
        next(iter(decoder))
    to_first_frame = time.perf_counter() - began

    ours, plain, theirs = [], [], []
    for number in range(arguments.rounds):
        taken, cuts, samples, length = longtake(path)
        ours.append(taken)
        plain.append(ffmpeg(path))
        seconds, expected = pyscenedetect(path)
        theirs.append(seconds)
        if not arguments.json:
            print(
                f"round {number + 1}: longtake {ours[-1]:.2f} s, ffmpeg {plain[-1]:.2f} s, "
                f"pyscenedetect {theirs[-1]:.2f} s",
                flush=True,
            )
    result = {
        "file": path.name,
        "length_seconds": round(length, 3),
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "longtake_seconds": round(statistics.median(ours), 3),
        "ffmpeg_seconds": round(statistics.median(plain), 3),
        "pyscenedetect_seconds": round(statistics.median(theirs), 3),
        "first_frame_seconds": round(to_first_frame, 3),
        "vs_ffmpeg_decode": round(
            statistics.median(a / b for a, b in zip(ours, plain, strict=True)), 3
        ),
        "speedup_vs_pyscenedetect": round(
            statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 3
        ),
        "f1": round(f1_score(cuts, expected, frame_seconds + 0.002), 4),
        "samples": samples,
        "cuts": [round(cut, 6) for cut in cuts],
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
