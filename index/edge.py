"""The embedded library: a few shards under a manifest (index.folder shows its files).

Writes go to the head, which has a write-ahead log. It is sealed when it is full or old; sealed
shards only lose points, and compaction (index.compaction) replaces them by optimised ones. Queries
ask all shards and merge. index.shards says what survives what.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index import fanout
from index.compaction import Compactor
from index.disk import DiskGuard, bytes_on_disk
from index.errors import StoreError
from index.faults import fault_point
from index.folder import LibraryFolder
from index.manifest import Manifest
from index.migrations import check_path, migrate
from index.schema import SCHEMA_VERSION
from index.settings import StoreSettings
from index.shard import (
    CHUNK_POINTS,
    ENGINE,
    PAGE_POINTS,
    Shard,
    engine_filter,
    engine_points,
    named,
    plain_vector,
)
from index.shards import Shards
from index.store import Filter, Hit, Point, StoreInfo, Vector, VectorSpace
from index.vectors import check_same_space, check_space, check_vector, last_of_each_id

_COUNTS_KEPT = 64
"""Answers of `count`: searches ask the same again and again, and counting takes 4 ms in 100,000."""


class EdgeStore:
    """The `Store` over the embedded engine.

    One lock orders all calls; no call holds it for longer than a page or a chunk takes in each
    shard.

    Opening raises LibraryBusyError where another EdgeStore owns the library, LibraryNewerError,
    LibraryOlderError, LibraryDamagedError, LibraryReadOnlyError, DiskFullError. `create=False`:
    LibraryError where there is no library. spaces: that a new one begins with, for the sake of
    time: `ensure_spaces` makes another head.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: StoreSettings | None = None,
        create: bool = True,
        spaces: Sequence[VectorSpace] = (),
    ):
        self.path = Path(path).absolute()
        self.settings = settings or StoreSettings()
        self._begins_with = tuple(spaces)
        self.lock = threading.RLock()
        self._closed = False
        self._counts: dict[str, int] = {}  # by filter; empty after each write
        self._folder = LibraryFolder(self.path, create=create)
        try:
            self._open()
        except BaseException:
            self._folder.release()
            raise

    # --- opening and closing ---------------------------------------------------------------

    def _open(self) -> None:
        self.disk = DiskGuard(
            self.path,
            reserve_bytes=self.settings.reserve_bytes,
            ballast_bytes=self.settings.ballast_bytes,
        )
        self.disk.release_for_opening()
        manifest = self._folder.read_manifest(SCHEMA_VERSION)
        check_path(manifest.schema_version, SCHEMA_VERSION, str(self.path))
        self._compactor = Compactor(self)
        self.shards = Shards(self._folder, manifest, self.lock, self._begins_with)
        self.spaces = self.shards.manifest.vector_spaces()
        self._head_points = self.shards.head.count()
        self.disk.restore()
        try:
            migrate(self, manifest.schema_version, SCHEMA_VERSION, self._record_version)
        except BaseException:
            self.shards.close()
            raise
        if self.settings.compact:
            self._compactor.wake(after_seconds=self.settings.compact_delay_seconds)

    def _record_version(self, version: int) -> None:
        with self._opened():
            self.shards.record_version(version)

    def close(self) -> None:
        with self.lock:
            if self._closed:
                return
            self._closed = True
        self._compactor.stop()  # outside the lock, which its thread may want
        with self.lock:
            try:
                self.shards.close()
            finally:
                self._folder.release()

    def __enter__(self) -> EdgeStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- writing ---------------------------------------------------------------------------

    def ensure_spaces(self, spaces: Sequence[VectorSpace]) -> None:
        adding: dict[str, VectorSpace] = {}
        with self._opened():
            for space in spaces:
                check_space(space)
                known = self.spaces.get(space.name) or adding.setdefault(space.name, space)
                check_same_space(known, space, f"the library {self.path}")
            if adding:
                self.disk.check()
                self.spaces = self.shards.add_spaces(self.spaces, adding)
                self._head_points = 0

    def upsert(self, points: Sequence[Point]) -> None:
        points, spaces = last_of_each_id(points), self.spaces
        ids, made = [p.id for p in points], engine_points(points, spaces)
        size = min(CHUNK_POINTS, self.settings.head_points)
        for start in range(0, len(made), size):
            with self._opened():
                self.disk.check()
                self._write(ids[start : start + size], made[start : start + size])
        fault_point("after-upsert")

    def _write(self, ids: list[str], made: list[Any]) -> None:
        self._counts.clear()
        self._rotate_for(len(made))
        self.shards.head.upsert(made)
        self._head_points += len(made)
        head = self.shards.head
        if self._head_points > self.settings.head_points // 2 or head.log_is_long(0.5):
            self.shards.expect_rotation(self.spaces.values())
        fault_point("between-copies")
        if sealed := self.shards.sealed():
            written = named(ids)
            for shard in sealed:
                if stale := shard.ids(written, None, len(ids)):
                    self.shards.supersede(shard, stale)
                    self._compactor.note_removed(shard.name, stale)

    def delete(self, where: Filter) -> None:
        if not where.must and not where.must_not:
            raise StoreError("Deleting with an empty filter would delete everything.")
        passing = engine_filter(where)
        self._drop_whole_shards(passing)
        after = None
        while True:
            with self._opened():
                page = fanout.first_ids(self.shards.holding(where), passing, after, CHUNK_POINTS)
                for shard, ids in fanout.by_shard(page).items():
                    self._remove(shard, ids)
            if len(page) < CHUNK_POINTS:
                break
            after = str(page[-1][0])
        if self.settings.compact:
            self._compactor.wake()

    def _drop_whole_shards(self, passing: Any) -> None:
        """Sealed shards all of whose points pass go at once, and their disk space with them."""
        with self._opened():
            names = [shard.name for shard in self.shards.sealed()]
        for name in names:
            with self._opened():
                shard = self.shards.get(name)
                if shard is None or self._compactor.reads(name):
                    continue
                if shard.count(passing) < shard.count():
                    continue
                self._counts.clear()
                gone = self.shards.replace([name], [], {})
            self.shards.discard(gone)

    def _remove(self, shard: Shard, ids: list[Any]) -> None:
        self._counts.clear()
        shard.remove(ids)
        self._compactor.note_removed(shard.name, ids)

    def _rotate_for(self, points: int) -> None:
        """Seals the head if it is old, its log long, or these points would not fit. While a
        compaction has the disk busy the head may grow to twice its size, until the next one has
        been made in the background."""
        if not self._worn(points):
            return
        self._head_points = self.shards.head.count()  # the counter knows no replaced points
        if not self._worn(points):
            return
        waits = self._compactor.busy and not self.shards.expect_rotation(self.spaces.values())
        if not waits or self._worn(points, size=2):
            self.rotate()

    def _worn(self, points: int, size: int = 1) -> bool:
        age = time.time() - self.manifest.shards[-1].created_seconds
        return (
            self._head_points + points > size * self.settings.head_points
            or self.shards.head.log_is_long(size)
            or (self._head_points > 0 and age > size * self.settings.head_max_age_seconds)
        )

    def rotate(self) -> None:
        """Seals the head and begins a new one."""
        with self._opened():
            self.shards.begin_head(self.spaces.values())
            self._head_points = 0
        if self.settings.compact:
            self._compactor.wake()

    # --- reading ---------------------------------------------------------------------------

    def retrieve(
        self, ids: Sequence[str], *, with_vectors: bool = False, with_payload: bool = True
    ) -> list[Point]:
        found: dict[str, Point] = {}
        for start in range(0, len(ids), CHUNK_POINTS):
            these = set(ids[start : start + CHUNK_POINTS])
            wanted, missing = named(these), len(these)
            with self._opened():
                for shard in reversed(self.shards.all()):
                    points = shard.passing(wanted, missing, with_vectors, with_payload)
                    found.update((point.id, point) for point in points)
                    missing -= len(points)
                    if not missing:
                        break
        return [found[i] for i in ids if i in found]

    def query(
        self,
        space: str,
        vector: Vector,
        *,
        where: Filter,
        limit: int,
        exact: bool = False,
        with_payload: bool = True,
    ) -> list[Hit]:
        with self._opened():
            if space not in self.spaces or limit < 1:
                return []
            wanted = plain_vector(check_vector(self.spaces[space], vector))
            shards = self.shards.holding(where)
            best = fanout.nearest(shards, space, wanted, where, limit, exact)
            if not with_payload:
                return [Hit(str(id), score, {}) for score, id, _ in best]
            located = [(id, shard) for _, id, shard in best]
            points = fanout.read_points(located, with_vectors=False)
        return [
            Hit(point.id, score, point.payload)
            for point, (score, _, _) in zip(points, best, strict=True)
        ]

    def scores(self, space: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        if not ids or space not in self.spaces:
            return found
        wanted = plain_vector(check_vector(self.spaces[space], vector))
        for start in range(0, len(ids), PAGE_POINTS):
            these = ids[start : start + PAGE_POINTS]
            with self._opened():
                found |= fanout.scores(self.shards.all(), space, wanted, these)
        return found

    def scroll_page(
        self, where: Filter, *, after: str | None, limit: int, with_vectors: bool = False
    ) -> list[Point]:
        passing = engine_filter(where)
        found: list[Point] = []
        while len(found) < limit:
            asked = min(limit - len(found), PAGE_POINTS)
            with self._opened():
                page = fanout.first_ids(self.shards.holding(where), passing, after, asked)
                found += fanout.read_points(page, with_vectors=with_vectors)
            if len(page) < asked:
                break
            after = str(page[-1][0])
        return found

    def count(self, where: Filter) -> int:
        asked = repr(where)  # by which, unlike by equality, True is not 1
        with self._opened():
            if asked not in self._counts:
                counted = fanout.count(self.shards.holding(where), where)
                if len(self._counts) >= _COUNTS_KEPT:
                    self._counts.clear()
                self._counts[asked] = counted
            return self._counts[asked]

    def info(self) -> StoreInfo:
        with self._opened():
            entries = self.manifest.shards
            return StoreInfo(
                engine=ENGINE,
                location=str(self.path),
                schema_version=self.manifest.schema_version,
                points=sum(shard.count() for shard in self.shards.all()),
                shards=len(entries),
                bytes_on_disk=bytes_on_disk(self.path / "shards"),
                detail={
                    "free_bytes": self.disk.free_bytes(),
                    "reserve_bytes": self.disk.reserve_bytes,
                    "ballast_bytes": self.disk.held_bytes(),
                    "unoptimised_shards": sum(not e.optimised for e in entries[:-1]),
                    "compaction_error": self._compactor.last_error,
                },
            )

    # --- the rest --------------------------------------------------------------------------

    def flush(self) -> None:
        with self._opened():
            pass
        self.shards.flush()
        self.disk.restore()

    def compact_now(self) -> None:
        """Optimises and merges all that can be, and returns when it is done; other calls go on
        meanwhile. A head that is more than half full is sealed first, since it answers slowest.
        Raises StoreError, DiskFullError."""
        with self._opened():
            half_full = self._head_points > self.settings.head_points // 2
            if half_full:
                self.shards.expect_rotation(self.spaces.values())
        if half_full:
            self.shards.await_next_head()
            with self._opened():
                if self._head_points > self.settings.head_points // 2:
                    self.shards.begin_head(self.spaces.values())
                    self._head_points = 0
        self._compactor.run_all()

    @property
    def manifest(self) -> Manifest:
        return self.shards.manifest

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """The lock, and the promise that the store is open while it is held."""
        with self.lock:
            if self._closed:
                raise StoreError(f"The library {self.path} is closed.")
            yield
