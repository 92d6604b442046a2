"""Indexing again what is indexed already: how long 1,000 files take to be found unchanged.

    python benchmarks/again.py [--files 1000] [--json]

Makes the files (each a second of its own, with subtitles), indexes them once, and then measures
`longtake index FOLDER` as a whole command, start-up included, over several rounds; beside it the
same command over one file, so that the cost of a file can be told from the cost of starting. The
programs run as installed ones do, with their byte code compiled once. Beside wall time, processor
time is given, which says more on a machine that does other things too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LONGTAKE = (sys.executable, "-m", "cli.main", "--set", "index.reserve_bytes=0")

LIMIT_SECONDS = 2.0


def make_files(folder: Path, count: int) -> None:
    from clips import noise_picture, write_clip

    first = folder / "clip-0.mp4"
    write_clip(first, [noise_picture(0)] * 10, rate=10)
    content = first.read_bytes()
    for number in range(count):
        # What follows the last box of an MP4 file is another content to us and nothing to players.
        box = (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (folder / f"clip-{number}.mp4").write_bytes(content + box)
        (folder / f"clip-{number}.en.srt").write_text(
            f"1\n00:00:00,100 --> 00:00:00,900\nThis is clip number {number}.\n"
        )


def command(folder: Path, library: Path) -> tuple[float, float]:
    """(wall, processor) seconds."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(library.parent / "byte-code")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began, before = time.perf_counter(), _children_seconds()
    subprocess.run(
        [*LONGTAKE, "index", "--profile", "packaged", str(folder), "--library", str(library)],
        cwd=ROOT,
        check=True,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    return time.perf_counter() - began, _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        many, one = Path(scratch) / "many", Path(scratch) / "one"
        for folder, count in ((many, arguments.files), (one, 1)):
            folder.mkdir()
            make_files(folder, count)
        command(one, Path(scratch) / "library-one")
        first = command(many, Path(scratch) / "library-many")[0]
        rounds = [
            (
                *command(many, Path(scratch) / "library-many"),
                *command(one, Path(scratch) / "library-one"),
            )
            for _ in range(arguments.rounds)
        ]
    again, again_cpu, one_again, one_cpu = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    if not arguments.json:
        print(
            f"{arguments.files} files: first {first:.1f} s, again {again:.2f} s "
            f"({again_cpu:.2f} s of processor time); one: {one_again:.2f} s ({one_cpu:.2f} s)"
        )
    result = {
        "files": arguments.files,
        "first_seconds": round(first, 2),
        "again_seconds": round(again, 3),
        "again_processor_seconds": round(again_cpu, 3),
        "one_file_again_seconds": round(one_again, 3),
        "one_file_again_processor_seconds": round(one_cpu, 3),
        "again_over_first": round(again / first, 4),
        "again_over_limit": round(again / LIMIT_SECONDS, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
