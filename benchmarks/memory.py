"""Peak memory of indexing: does it grow with the length of the video?

    python benchmarks/memory.py [--minutes 10 60] [--json]

Makes two films of the same kind, one several times as long as the other (pictures that change every
few seconds, words, and a long still stretch), indexes each with the command in a process of its own
and compares the peaks of resident memory. The last line is JSON; `ratio` is long over short.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LONGTAKE = (sys.executable, "-m", "cli.main", "--set", "index.reserve_bytes=0")


def make_film(path: Path, minutes: float) -> None:
    """Every minute: six scenes of 5 s with structure, a slide with words for 10 s, 20 s of gray."""
    from clips import GRAY, noise_picture, solid, text_picture, write_clip

    rate, pictures = 5, []
    for minute in range(round(minutes)):
        for scene in range(6):
            pictures += [noise_picture(minute * 10 + scene, 320, 180)] * (5 * rate)
        pictures += [text_picture([f"MINUTE {minute}", "STILL RUNNING"])] * (10 * rate)
        pictures += [solid(GRAY, 320, 180)] * (20 * rate)
    cues = [
        (s, s + 4.0, f"Sentence number {n}.")
        for n, s in enumerate(range(0, len(pictures) // rate, 5))
    ]
    write_clip(path, pictures, rate=rate, key_frame_every=50)
    path.with_suffix(".en.srt").write_text(
        "\n".join(
            f"{n + 1}\n{_srt(start)} --> {_srt(end)}\n{text}\n"
            for n, (start, end, text) in enumerate(cues)
        )
    )


def _srt(seconds: float) -> str:
    whole = int(seconds)
    return (
        f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{round(seconds % 1 * 1000):03}"
    )


def peak_bytes(film: Path, library: Path) -> int:
    process = subprocess.Popen(
        [*LONGTAKE, "index", "--profile", "packaged", str(film), "--library", str(library)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"indexing {film} failed")
    return usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs=2, default=(10, 60))
    parser.add_argument("--json", action="store_true", help="print only the last line")
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as scratch:
        for minutes in arguments.minutes:
            film = Path(scratch) / f"{minutes:g}-minutes.mp4"
            make_film(film, minutes)
            peaks.append(peak_bytes(film, Path(scratch) / f"library-{minutes:g}"))
            if not arguments.json:
                print(f"{minutes:g} minutes: peak {peaks[-1] / 2**20:.0f} MiB")
    result = {"minutes": arguments.minutes, "peak_bytes": peaks, "ratio": peaks[1] / peaks[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
