"""Sealed shards become few, optimised ones, while everything else goes on.

Optimising stops the whole process that does it, so a child does (index.builder). The owner's
background thread reads the inputs page by page, holding the store's lock for a page at a time, and
pipes the points to the child, which builds a shard without a write-ahead log. Points that leave the
inputs meanwhile are noted, and leave the output too before it takes the inputs' place in the
manifest.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.builder import Builder, BuildError
from index.disk import bytes_on_disk
from index.errors import LongtakeError, StoreError
from index.faults import fault_point
from index.shard import CHUNK_POINTS, Shard
from index.store import Point, VectorSpace

if TYPE_CHECKING:
    from index.edge import EdgeStore

logger = logging.getLogger(__name__)

_DELETED_SHARE = 0.25
"""A shard that lost this share of its points is written anew."""

_GROWTH = 1.5
"""In the background a shard is merged again only with newer ones that together are not much
smaller, so that a point is rewritten a logarithmic number of times."""

_FEW = 200
"""So many removed points can be applied to the output in the moment of the swap."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sealed shard. points: now; written: when it was sealed or compacted."""

    name: str
    points: int
    written: int
    optimised: bool

    @property
    def needy(self) -> bool:
        return not self.optimised or self.points < (1 - _DELETED_SHARE) * self.written


def plan(sealed: Sequence[Candidate], shard_points: int, *, full: bool) -> list[Candidate]:
    """The next neighbouring shards (oldest first) to write as one; empty when there is nothing to
    do. `sealed` are oldest first. full: merge all that fit together."""
    group: list[Candidate] = []

    def worth() -> bool:
        return any(c.needy for c in group) or (full and len(group) > 1)

    for candidate in reversed(sealed):
        total = sum(c.points for c in group)
        joins = total + candidate.points <= shard_points and (
            full or candidate.needy or candidate.points <= _GROWTH * total
        )
        if group and not joins:
            if worth():
                break
            group = []
        group.insert(0, candidate)
    return group if worth() else []


class Compactor:
    """The background thread of one EdgeStore, and its child."""

    def __init__(self, store: EdgeStore):
        self.last_error: str | None = None
        self._store = store
        self._wake = threading.Event()
        self._wait_until = 0.0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._working = threading.Lock()  # one compaction at a time
        self._builder = Builder()
        self._inputs: frozenset[str] = frozenset()
        self._removed: list[Any] = []

    # --- called by the store, which holds its lock ------------------------------------------

    def wake(self, after_seconds: float = 0.0) -> None:
        """Something may have to be compacted."""
        if self._stopping:
            return
        if self._thread is None:
            self._wait_until = time.monotonic() + after_seconds
            self._thread = threading.Thread(target=self._run, name="compaction", daemon=True)
            self._thread.start()
        self._wake.set()

    def reads(self, shard: str) -> bool:
        """Is the shard an input of the compaction that is going on?"""
        return shard in self._inputs

    def note_removed(self, shard: str, ids: Iterable[Any]) -> None:
        """These points have just left a shard."""
        if shard in self._inputs:
            self._removed.extend(ids)

    # --- called without the lock ------------------------------------------------------------

    def stop(self) -> None:
        """Ends the thread and the child; what they had not finished is left undone."""
        self._stopping = True
        self._wake.set()
        self._builder.stop()
        if self._thread is not None:
            self._thread.join()
        with self._working:  # a compact_now in another thread
            pass

    def run_all(self) -> None:
        """Compacts all that is sealed now. What others seal meanwhile waits for the next time, so
        that a steady writer does not keep this from ending."""
        with self._working:
            with self._lock_while_open():
                now = {shard.name for shard in self._store.shards.sealed()}
            done: set[str] = set()
            while group := self._plan(full=True, only=now | done, done=done):
                done |= {name for name in [self._compact(group)] if name}
        self.last_error = None

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            delay = self._wait_until - time.monotonic()
            if delay > 0:
                # Only a stop cuts the delay short.
                self._wake.wait(delay)
                self._wake.clear()
                continue
            try:
                with self._working:
                    while not self._stopping and (group := self._plan(full=False)):
                        self._compact(group)
                self.last_error = None
            except Exception as error:
                # Kept for `longtake doctor`. Searching goes on, only slower; the next rotation or
                # opening tries again. No error, ours or not, may end the thread.
                self.last_error = None if self._stopping else str(error) or type(error).__name__
                if not isinstance(error, LongtakeError) and not self._stopping:
                    logger.warning("compaction failed", exc_info=error)
            self._wake.wait()
            self._wake.clear()

    def _plan(
        self, *, full: bool, only: set[str] | None = None, done: Collection[str] = ()
    ) -> list[Candidate]:
        """The next group. only: leave all other shards alone. done: just compacted, so no reason
        to do it again, unless to merge."""
        with self._lock_while_open():
            sealed = []
            for entry in self._store.manifest.shards[:-1]:
                shard = self._store.shards.get(entry.name)
                if shard is not None and (only is None or entry.name in only):
                    points = shard.count()
                    written = points if entry.name in done else entry.points
                    sealed.append(Candidate(entry.name, points, written, entry.optimised))
        return plan(sealed, self._store.settings.shard_points, full=full)

    @contextmanager
    def _lock_while_open(self) -> Iterator[None]:
        with self._store.lock:
            if self._stopping:
                raise StoreError(f"The library {self._store.path} is closed.")
            yield

    def _compact(self, group: list[Candidate]) -> str | None:
        """Returns the name of the new shard; None where there is none, because no point was left
        or because an input went meanwhile."""
        store = self._store
        names = [candidate.name for candidate in group]
        with self._lock_while_open():
            inputs = [shard for shard in store.shards.sealed() if shard.name in names]
            if len(inputs) < len(names):
                return None  # one was dropped since it was planned
            store.disk.check(sum(bytes_on_disk(shard.path) for shard in inputs))
            spaces = [s for n, s in store.spaces.items() if any(n in i.spaces for i in inputs)]
            target = store.shards.reserve()
            self._removed = []
            self._inputs = frozenset(names)
        try:
            self._build(inputs, spaces, target)
            output = Shard.load(target.name, target, [space.name for space in spaces])
            try:
                gone = self._publish(names, output)
            except BaseException:
                if store.shards.get(output.name) is None:
                    output.close()
                raise
        except BaseException:
            if store.shards.get(target.name) is None:
                shutil.rmtree(target, ignore_errors=True)
            raise
        finally:
            self._inputs = frozenset()
        if store.shards.get(target.name) is None:  # no point was left
            gone = [*gone, output]
        store.shards.discard(gone)
        fault_point("compaction-inputs-removed")
        return target.name if store.shards.get(target.name) else None

    def _publish(self, names: list[str], output: Shard) -> list[Shard]:
        """Takes what left the inputs out of the output, then swaps. Returns the inputs."""
        while True:
            while self._removed:
                with self._store.lock:
                    ids = self._removed[:CHUNK_POINTS]
                    self._removed = self._removed[CHUNK_POINTS:]
                output.remove(ids)
            if output.dirty:
                output.sync()  # some of it is on disk already in the inputs, which go
            with self._lock_while_open():
                if len(self._removed) > _FEW:
                    continue
                if self._removed:
                    output.remove(self._removed)
                    output.sync()
                gone = self._store.shards.replace(names, output if output.count() else None)
                self._inputs = frozenset()
                return gone

    def _build(self, inputs: list[Shard], spaces: list[VectorSpace], target: Path) -> None:
        """Has a child make the output. Raises StoreError."""
        try:
            self._builder.build(target, spaces, self._pages(inputs))
        except BuildError as error:
            raise StoreError(
                f"Optimising the shards {', '.join(s.name for s in inputs)} of the library "
                f"{self._store.path} failed ({error}). Nothing is lost; searching is slower until "
                "it succeeds."
            ) from error

    def _pages(self, inputs: list[Shard]) -> Iterator[list[Point]]:
        """All points of the inputs. Rests as long as it held the lock, so that whoever waits for
        it gets it: Python's locks are not fair."""
        for shard in inputs:
            after = None
            while True:
                started = time.monotonic()
                with self._lock_while_open():
                    ids = shard.ids(None, after, CHUNK_POINTS)
                    points = shard.get(ids, with_vectors=True)
                rest = time.monotonic() - started
                yield list(points.values())
                time.sleep(rest)
                if len(ids) < CHUNK_POINTS:
                    break
                after = str(ids[-1])
        fault_point("compaction-sent")
