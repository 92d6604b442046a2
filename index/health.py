"""Whether the shards of a library open, found out in child processes: a damaged shard can kill the
process that opens it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from index.disk import bytes_on_disk
from index.errors import LibraryDamagedError, LibraryError, damage
from index.folder import LibraryFolder
from index.schema import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard's state. points is None, and message says what is wrong, where it is not ok."""

    name: str
    state: str
    ok: bool
    points: int | None
    bytes_on_disk: int
    message: str = ""


def child_command(module: str, *arguments: str) -> list[str]:
    """Runs one of our modules as a program, whatever folder we are in."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """The environment in which `child_command` finds our modules."""
    root = str(Path(__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{others}" if others else root}


def probe(shard: Path) -> int:
    """Opens the shard in a child and reads all of it. Returns the number of points. Raises
    LibraryDamagedError."""
    child = subprocess.run(
        child_command("index.health", str(shard)),
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"error": f"opening it ended a process with status {child.returncode}"}
        if child.returncode == -7:  # SIGBUS
            answer["error"] += " (a file is shorter than it should be, or the disk is full)"
    if "error" in answer:
        raise LibraryDamagedError(answer.get("message") or damage(shard, answer["error"]))
    return answer["points"]


def check(path: str | os.PathLike[str]) -> list[ShardReport]:
    """Opens every shard of a library that nobody has open.

    Raises LibraryBusyError where somebody has, and what reading the manifest raises.
    """
    folder = LibraryFolder(Path(path).absolute(), create=False)
    try:
        reports = []
        for entry in folder.read_manifest(SCHEMA_VERSION).shards:
            shard = folder.shards / entry.name
            size = bytes_on_disk(shard)
            try:
                points = probe(shard)
            except LibraryError as error:
                reports.append(ShardReport(entry.name, entry.state, False, None, size, str(error)))
            else:
                reports.append(ShardReport(entry.name, entry.state, True, points, size))
        return reports
    finally:
        folder.release()


def _main(path: Path) -> None:
    from index.shard import PAGE_POINTS, Shard

    try:
        shard = Shard.load(path.name, path, ())
        points, after = 0, None
        while True:
            ids = shard.ids(None, after, PAGE_POINTS)
            points += len(shard.get(ids, with_vectors=True))
            if len(ids) < PAGE_POINTS:
                break
            after = str(ids[-1])
        shard.close()
        print(json.dumps({"points": points}), flush=True)
    except LibraryError as error:
        print(json.dumps({"error": "it does not load", "message": str(error)}), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
