"""Sealed shards become few, optimised ones, while everything else goes on.

The engine gives every point of a shard a slot in each of its dense spaces (2 kB in one of 512). So
what a head took as it came is sorted (`sort_of`) into shards of points that have vectors in the
same dense spaces, and one for the catalogue; from then on only shards of one sort are merged. A
search in a space asks the shards that have it alone, and one for a kind those that hold it.

Optimising stops the whole process that does it, so a child does (index.builder). The owner's
background thread reads the inputs page by page, holding the store's lock for a page at a time, and
pipes the points to the child, which builds shards without a write-ahead log. Points that leave the
inputs meanwhile are noted, and leave the outputs too before those take the inputs' place in the
manifest.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from index.builder import Builder, BuildError, Target
from index.disk import bytes_on_disk
from index.errors import LongtakeError, StoreError
from index.faults import fault_point
from index.passages import OTHERWISE_CUT
from index.shard import CHUNK_POINTS, Shard, named
from index.store import Point, VectorSpace

if TYPE_CHECKING:
    from index.edge import EdgeStore

logger = logging.getLogger(__name__)

_DELETED_SHARE = 0.25
"""A shard that lost this share of its points is written anew."""

_GROWTH = 1.5
"""In the background a shard is merged again only with newer ones that together are not much
smaller, so that a point is rewritten a logarithmic number of times."""

_MATERIAL = ("evidence", "passage", "outline", "embedding")
"""The kinds of most points. All others are what the library knows of itself, which every search
reads."""

_FEW = 200
"""So many removed points can be applied to the output in the moment of the swap."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sealed shard. points: now; written: when it was sealed or compacted. sort: as `sort_of` has
    it for all its points; None where they differ or nobody knows."""

    name: str
    points: int
    written: int
    optimised: bool
    sort: str | None = ""

    @property
    def needy(self) -> bool:
        return not self.optimised or self.points < (1 - _DELETED_SHARE) * self.written


def sort_of(point: Point, spaces: Mapping[str, VectorSpace]) -> str:
    """Which points it is to lie with: those that are searched with it. What is cut into sentences
    and what is not are searched apart, each three times as fast where no other lies between."""
    dense = "+".join(sorted(name for name in point.vectors if spaces[name].size is not None))
    kind = point.payload.get("kind")
    if kind == "embedding" and point.payload.get("channel") in OTHERWISE_CUT:
        return f"{dense} of windows"
    return dense or ("" if kind in _MATERIAL else "catalogue")


def plan(sealed: Sequence[Candidate], shard_points: int, *, full: bool) -> list[Candidate]:
    """The next shards (oldest first) to write anew; empty when there is nothing to do. `sealed` are
    oldest first. full: merge all that fit together."""
    unsorted = [candidate for candidate in sealed if candidate.sort is None]
    if unsorted:
        group = unsorted[:1]
        for candidate in unsorted[1:]:
            if sum(c.points for c in group) + candidate.points > shard_points:
                break
            group.append(candidate)
        return group
    for sort in dict.fromkeys(candidate.sort for candidate in sealed):
        same = [candidate for candidate in sealed if candidate.sort == sort]
        if group := _merger(same, shard_points, full=full):
            return group
    return []


def _merger(same: Sequence[Candidate], shard_points: int, *, full: bool) -> list[Candidate]:
    """Those of one sort that are to be written as one."""
    group: list[Candidate] = []

    def worth() -> bool:
        return any(c.needy for c in group) or len(group) > 1

    for candidate in reversed(same):
        total = sum(c.points for c in group)
        joins = total + candidate.points <= shard_points and (
            full or candidate.needy or 0 < candidate.points <= _GROWTH * total
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

    @property
    def busy(self) -> bool:
        """Is a compaction going on?"""
        return bool(self._inputs)

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
                done.update(self._compact(group))
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
                    sealed.append(
                        Candidate(entry.name, points, written, entry.optimised, entry.sort)
                    )
        return plan(sealed, self._store.settings.shard_points, full=full)

    @contextmanager
    def _lock_while_open(self) -> Iterator[None]:
        with self._store.lock:
            if self._stopping:
                raise StoreError(f"The library {self._store.path} is closed.")
            yield

    def _compact(self, group: list[Candidate]) -> list[str]:
        """Returns the names of the new shards; none where no point was left, or where an input went
        meanwhile."""
        store = self._store
        names = [candidate.name for candidate in group]
        with self._lock_while_open():
            inputs = [shard for shard in store.shards.sealed() if shard.name in names]
            if len(inputs) < len(names):
                return []  # one was dropped since it was planned
            store.disk.check(sum(bytes_on_disk(shard.path) for shard in inputs))
            self._removed = []
            self._inputs = frozenset(names)
        targets: dict[str, Target] = {}
        outputs: list[Shard] = []
        try:
            self._build(inputs, targets)
            for target in targets.values():
                path = target.path
                outputs.append(Shard.load(path.name, path, target.spaces, target.kinds))
            sorts = {target.path.name: sort for sort, target in targets.items()}
            gone = self._publish(names, outputs, sorts)
        except BaseException:
            for target in targets.values():
                if store.shards.get(target.path.name) is None:
                    shutil.rmtree(target.path, ignore_errors=True)
            for output in outputs:
                if store.shards.get(output.name) is None:
                    output.close()
            raise
        finally:
            self._inputs = frozenset()
        left = [output for output in outputs if store.shards.get(output.name) is not output]
        store.shards.discard([*gone, *left])
        fault_point("compaction-inputs-removed")
        return [output.name for output in outputs if output not in left]

    def _publish(
        self, names: list[str], outputs: list[Shard], sorts: Mapping[str, str]
    ) -> list[Shard]:
        """Takes what left the inputs out of the outputs, then swaps. Returns the inputs."""
        while True:
            while self._removed:
                with self._store.lock:
                    ids = self._removed[:CHUNK_POINTS]
                    self._removed = self._removed[CHUNK_POINTS:]
                _remove(ids, outputs)
            for output in outputs:
                if output.dirty:
                    output.sync()  # some of it is on disk already in the inputs, which go
            with self._lock_while_open():
                if len(self._removed) > _FEW:
                    continue
                if self._removed:
                    for output in _remove(self._removed, outputs):
                        output.sync()
                left = [output for output in outputs if output.count()]
                gone = self._store.shards.replace(names, left, sorts)
                self._inputs = frozenset()
                return gone

    def _build(self, inputs: list[Shard], targets: dict[str, Target]) -> None:
        """Has a child make the outputs, and notes them in `targets`. Raises StoreError."""
        try:
            self._builder.build(self._sorted(inputs, targets))
        except BuildError as error:
            raise StoreError(
                f"Optimising the shards {', '.join(s.name for s in inputs)} of the library "
                f"{self._store.path} failed ({error}). Nothing is lost; searching is slower until "
                "it succeeds."
            ) from error

    def _sorted(
        self, inputs: list[Shard], targets: dict[str, Target]
    ) -> Iterator[tuple[Target, list[Point]]]:
        """The pages of the inputs, each cut into what goes to the same output."""
        for page in self._pages(inputs):
            spaces = self._store.spaces
            parts: dict[str, list[Point]] = {}
            for point in page:
                parts.setdefault(sort_of(point, spaces), []).append(point)
            for sort, points in parts.items():
                if sort not in targets:
                    with self._lock_while_open():
                        targets[sort] = Target(self._store.shards.reserve())
                target = targets[sort]
                has = {name for point in points for name in point.vectors}
                target.spaces.update((name, spaces[name]) for name in sorted(has))
                target.kinds.update(str(point.payload.get("kind")) for point in points)
                yield target, points

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


def _remove(ids: Sequence[Any], outputs: Iterable[Shard]) -> list[Shard]:
    """Deletes them wherever they are, and returns where that was."""
    there = named(ids)
    changed = []
    for output in outputs:
        if held := output.ids(there, None, len(ids)):
            output.remove(held)
            changed.append(output)
    return changed
