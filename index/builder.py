"""Shards made by a child process: nice, and with an interpreter's lock of its own to hold.

This module is also the child's program (`python -m index.builder KIND`). It takes pages of points
on stdin, each with the folder of its shard and the vector spaces that are new there, makes the
shards durable and answers with the number of points.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from index.disk import sync_directory, sync_tree, write_back
from index.health import child_command, child_environment
from index.shard import Shard, engine_points
from index.store import Point, SparseVector, VectorSpace

_WRITE_BACK_SECONDS = 0.2


class BuildError(Exception):
    """The child failed; the text says how."""


@dataclass(slots=True)
class Target:
    """A shard to be made in the folder `path`. spaces, kinds: the vector spaces and the kinds of
    the points that it has so far."""

    path: Path
    spaces: dict[str, VectorSpace] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)


class Builder:
    """One child at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self) -> None:
        """From another thread: what is being built fails, and so does all that is asked later."""
        self._stopping = True
        child = self._child
        if child is not None:
            child.kill()

    def build(self, pages: Iterable[tuple[Target, Sequence[Point]]], *, head: bool = False) -> None:
        """Returns when every target of `pages` is in its folder, durable and closed. head: as a
        head is made (see Shard.create), else optimised. Raises BuildError; what `pages` raises
        goes to the caller."""
        self._child = child = subprocess.Popen(
            child_command("index.builder", "head" if head else "sealed"),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is for us, not for the child
        )
        assert child.stdin and child.stdout and child.stderr
        try:
            if self._stopping:
                child.kill()
            sent = 0
            known: dict[Path, set[str]] = {}
            try:
                for target, points in pages:
                    there = known.setdefault(target.path, set())
                    new = [space for name, space in target.spaces.items() if name not in there]
                    there.update(space.name for space in new)
                    plain = [_plain_point(point) for point in points]
                    _send(child.stdin, [str(target.path), [_plain_space(s) for s in new], plain])
                    sent += len(points)
                child.stdin.close()
                _keep_writing_back(list(known), until=child.stdout)
                answer = child.stdout.read()
            except BrokenPipeError:
                answer = b""
            errors = child.stderr.read().decode(errors="replace").strip()
            if child.wait() != 0 or answer != b"%d" % sent:
                message = errors.splitlines()[-1] if errors else "no message"
                raise BuildError(f"status {child.returncode}: {message}")
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
            self._child = None


def _keep_writing_back(targets: Sequence[Path], until: IO[bytes]) -> None:
    """Else what the child has written piles up in memory, and whoever flushes when it goes to the
    disk has to wait for all of it."""
    while not select.select([until], [], [], _WRITE_BACK_SECONDS)[0]:
        for target in targets:
            write_back(target)


# --- what goes through the pipe: messages of msgpack, each after its length ---------------------


def _send(pipe: IO[bytes], message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(4, "little"))
    pipe.write(data)


def _receive(pipe: IO[bytes]) -> Iterator[Any]:
    """All messages until the pipe is closed."""
    while header := pipe.read(4):
        size = int.from_bytes(header, "little")
        data = pipe.read(size)
        if len(data) < size:
            raise EOFError("the sender died")
        yield msgspec.msgpack.decode(data)


def _plain_space(space: VectorSpace) -> list[Any]:
    return [space.name, space.size, space.distance]


def _plain_point(point: Point) -> list[Any]:
    vectors = {
        name: [vector.indices, vector.values]
        if isinstance(vector, SparseVector)
        else vector.tobytes()
        for name, vector in point.vectors.items()
    }
    return [point.id, point.payload, vectors]


def _point(plain: list[Any]) -> Point:
    point_id, payload, vectors = plain
    return Point(
        point_id,
        payload,
        {
            name: np.frombuffer(vector, dtype=np.float32)
            if isinstance(vector, bytes)
            else SparseVector(tuple(vector[0]), tuple(vector[1]))
            for name, vector in vectors.items()
        },
    )


# --- the child -----------------------------------------------------------------------------------


def _die_with_parent() -> None:
    """Linux kills us when the thread that started us ends. Elsewhere we notice when we answer."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:  # it died before
        sys.exit(1)


def _main(head: bool) -> None:
    import psutil  # not above: whoever opens a library imports this file

    _die_with_parent()
    os.nice(10)
    if hasattr(psutil, "IOPRIO_CLASS_IDLE"):  # some schedulers look at it
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    shards: dict[str, Shard] = {}
    spaces: dict[str, VectorSpace] = {}
    received = 0
    for path, plain_spaces, plain_points in _receive(sys.stdin.buffer):
        new = {space[0]: VectorSpace(*space) for space in plain_spaces}
        spaces |= new
        if path in shards:
            for space in new.values():
                shards[path].add_space(space)
        else:
            shards[path] = Shard.create(Path(path).name, Path(path), new.values(), head=head)
        shards[path].upsert(engine_points([_point(plain) for plain in plain_points], spaces))
        received += len(plain_points)
    for path, shard in shards.items():
        if not head:
            shard.optimise()
        shard.flush()
        shard.close()
        sync_tree(Path(path))
        sync_directory(Path(path).parent)
    sys.stdout.write(str(received))
    sys.stdout.flush()


if __name__ == "__main__":
    _main(head=sys.argv[1] == "head")
