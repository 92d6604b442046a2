"""A shard made by a child process: nice, and with an interpreter's lock of its own to hold.

This module is also the child's program (`python -m index.builder FOLDER KIND`). It takes the vector
spaces and pages of points on stdin, makes the shard durable and answers with the number of points.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
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


class Builder:
    """Makes one shard at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self) -> None:
        """From another thread: what is being built fails, and so does all that is asked later."""
        self._stopping = True
        child = self._child
        if child is not None:
            child.kill()

    def build(
        self,
        target: Path,
        spaces: Sequence[VectorSpace],
        pages: Iterable[Sequence[Point]] = (),
        *,
        head: bool = False,
    ) -> None:
        """Returns when the shard is in the folder `target`, durable and closed. head: as a head
        is made (see Shard.create), else optimised. Raises BuildError; what `pages` raises goes to
        the caller."""
        self._child = child = subprocess.Popen(
            child_command("index.builder", str(target), "head" if head else "sealed"),
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
            try:
                _send(child.stdin, [_plain_space(space) for space in spaces])
                for points in pages:
                    _send(child.stdin, [_plain_point(point) for point in points])
                    sent += len(points)
                child.stdin.close()
                _keep_writing_back(target, until=child.stdout)
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


def _keep_writing_back(target: Path, until: IO[bytes]) -> None:
    """Else what the child has written piles up in memory, and whoever flushes when it goes to the
    disk has to wait for all of it."""
    while not select.select([until], [], [], _WRITE_BACK_SECONDS)[0]:
        write_back(target, wait=False)


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


def _main(target: Path, head: bool) -> None:
    import psutil  # not above: whoever opens a library imports this file

    _die_with_parent()
    os.nice(10)
    if hasattr(psutil, "IOPRIO_CLASS_IDLE"):  # some schedulers look at it
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    messages = _receive(sys.stdin.buffer)
    spaces = {space[0]: VectorSpace(*space) for space in next(messages)}
    shard = Shard.create(target.name, target, spaces.values(), head=head)
    received = 0
    for points in messages:
        shard.upsert(engine_points([_point(plain) for plain in points], spaces))
        received += len(points)
    if not head:
        shard.optimise()
    shard.flush()
    shard.close()
    sync_tree(target)
    sync_directory(target.parent)
    sys.stdout.write(str(received))
    sys.stdout.flush()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), head=sys.argv[2] == "head")
