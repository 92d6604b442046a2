"""What `longtake estimate` says, against what `longtake index` then takes.

    python benchmarks/estimate.py FILE... [--profile P] [--json]

For each file, both commands as a user runs them, in one run on the same machine. `time_ratio` is
the estimate over the time that indexing took (aim: within .7 .. 1.3), `memory_ratio` the same for
the peak of memory. The library's bytes are shown beside those estimated, but an embedded library
takes some 30 MB for its log whatever is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> tuple[float, str, int]:
    """Seconds, stdout, and the child's peak of memory in bytes."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments], cwd=REPO, stdout=out
        )
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - started
        if status:
            raise SystemExit(f"{' '.join(arguments)}: status {status}")
        out.seek(0)
        return took, out.read(), usage.ru_maxrss * 1024


def size_of(folder: Path) -> int:
    """Bytes on disk, holes left out."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def measure(path: Path, profile: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "library"
        common = ("--library", str(library), "--profile", profile, "--json")
        estimating, out, _ = run("estimate", str(path), *common)
        said = json.loads(out)
        took, _, peak = run("index", str(path), *common)
        kept = sum(size_of(folder) for folder in (library / "thumbnails",) if folder.exists())
        stored = size_of(library / "shards")
        return {
            "media_seconds": said["media_seconds"],
            "estimate_seconds": said["total_seconds"],
            "index_seconds": took,
            "time_ratio": said["total_seconds"] / took,
            "margin": said["margin"],
            "estimating_seconds": estimating,
            "estimate_bytes": said["total_bytes"],
            "library_bytes": stored + kept,
            "memory_ratio": said["memory_bytes"] / peak,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--profile", default="packaged")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {path.name: measure(path.resolve(), arguments.profile) for path in arguments.files}
    for name, result in results.items():
        shown = {key: round(value, 3) for key, value in result.items()}
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in shown.items()))
    if arguments.json:
        load = round(os.getloadavg()[0], 1)
        print(json.dumps({"cpus": os.cpu_count(), "load_average": load, "files": results}))


if __name__ == "__main__":
    main()
