"""One shard of the embedded engine: with index.engine_config all that touches the engine's shards.

Every call of the engine holds the interpreter lock while it runs, so callers keep them short: at
most `CHUNK_POINTS` points a call. Foreign errors, and the engine's panics, become StoreError or
LibraryDamagedError here.

What makes a shard durable is its log: the engine's write-ahead log, or for a shard without one the
list of what was removed (index.removed). On opening the log is applied to the other files, in
whatever state a power cut left those.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine

from index.disk import sync_files, translate
from index.engine_config import (
    DISTANCES,
    EXACT,
    approximate,
    field_indexes,
    limit_threads,
    shard_config,
)
from index.errors import LibraryDamagedError, StoreError, damage
from index.removed import RemovedLog
from index.store import (
    Condition,
    Filter,
    Match,
    Point,
    SparseVector,
    Vector,
    VectorSpace,
)
from index.vectors import check_vectors

CHUNK_POINTS = 500
"""Points per call: 12 ms in, 12 ms out with their vectors (512-d, two cores)."""

PAGE_POINTS = 1000
"""Ids per call, without payloads: 0.8 ms."""

ENUMERATED = ("kind", "channel", "language")
"""Indexed fields of few values, of which `Shard.values` tells."""

_FEW_VALUES = 256

LOG_POINTS = 40_000
"""A log of more writes is long: applying it takes a second. To empty it takes the engine some
seventy synchronous writes under the interpreter's lock, so the head is sealed instead."""

ENGINE = f"qdrant-edge {version('qdrant-edge-py')}"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The engine raises bare Exception, and its panics are BaseException of a private class."""
    try:
        yield
    except (StoreError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise StoreError(f"The engine refused to {what}: {error}") from error
        raise


def plain_vector(vector: Vector) -> Any:
    """A checked vector as the engine takes it."""
    with _translated("take a vector"):
        return _plain(vector)


def _plain(vector: Vector) -> Any:
    """The engine reads lists twice as fast as arrays."""
    if isinstance(vector, SparseVector):
        return engine.SparseVector(vector.indices, vector.values)
    return vector.tolist()


def engine_points(points: Sequence[Point], spaces: Mapping[str, VectorSpace]) -> list[engine.Point]:
    """The points, checked, as the engine takes them."""
    made: list[engine.Point] = []
    point = None
    try:
        for point, vectors in check_vectors(points, spaces):
            plain = {name: _plain(vector) for name, vector in vectors.items()}
            made.append(engine.Point(id=point.id, vector=plain, payload=point.payload))
    except StoreError:
        raise
    except BaseException as error:
        with _translated(f"take the point {point.id}" if point else "take points"):
            raise error
    return made


def named(ids: Collection[Any]) -> engine.Filter:
    """Passes the points of these ids. Made once and asked in each shard, since reading the ids is
    what takes the time."""
    with _translated(f"take {len(ids)} ids"):
        return engine.Filter(must=[engine.HasIdCondition(set(ids))])


def _condition(condition: Condition) -> Any:
    key = condition.key
    if not isinstance(condition, Match):
        bounds = engine.RangeFloat(gte=condition.gte, lt=condition.lt)
        return engine.FieldCondition(key=key, range=bounds)
    values = condition.any_of
    words = [v for v in values if isinstance(v, str)]
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    choices: list[Any] = [
        # Python's True would be taken for the number 1, which no stored true equals.
        engine.FieldCondition(key=key, match=engine.MatchValue(np.bool_(v)))
        for v in values
        if isinstance(v, bool)
    ]
    choices += [
        engine.FieldCondition(key=key, match=engine.MatchAny(group))
        for group in (words, numbers)
        if group
    ]
    if not choices:  # nothing equals one of nothing
        return engine.HasIdCondition(set())
    return choices[0] if len(choices) == 1 else engine.Filter(should=choices)


def engine_filter(where: Filter) -> engine.Filter | None:
    """The filter as the engine takes it; None passes everything."""
    if not where.must and not where.must_not:
        return None
    with _translated(f"filter by {where}"):
        return engine.Filter(
            must=[_condition(c) for c in where.must] or None,
            must_not=[_condition(c) for c in where.must_not] or None,
        )


def _our_vector(vector: Any) -> Vector:
    if isinstance(vector, engine.SparseVector):
        return SparseVector(tuple(vector.indices), tuple(vector.values))
    return np.frombuffer(struct.pack(f"{len(vector)}f", *vector), np.float32)  # 1/5 of asarray


def _our_point(id: uuid.UUID, record: Any, with_vectors: bool) -> Point:
    vectors = (record.vector or {}).items() if with_vectors else ()
    return Point(str(id), record.payload or {}, {n: _our_vector(v) for n, v in vectors})


class Shard:
    """An open shard. Its methods but `sync` want the store's lock: it is not safe for several
    threads at once.

    name: its folder's. spaces: names of the vector spaces it has. kinds: those of its points, None
    where they are not known. logged: how many points were written or removed since the last
    `flush`.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        edge: engine.EdgeShard,
        spaces: Iterable[str],
        kinds: Iterable[str] | None = None,
    ):
        self.name = name
        self.path = path
        self.spaces = set(spaces)
        self.kinds = None if kinds is None else frozenset(kinds)
        self.logged = 0
        self._values: dict[str, frozenset[str | None] | None] = {}
        self._changes = self._synced = 0
        self._approximate = approximate(path)
        self._edge = edge
        self._wal = path / "wal"
        self._removed = None if self._wal.is_dir() else RemovedLog(path)

    @property
    def dirty(self) -> bool:
        """Are there changes that a power cut would lose?"""
        return self._changes > self._synced

    @contextmanager
    def _changing(self, points: int = 1) -> Iterator[None]:
        try:
            yield
        finally:
            self.logged += points
            self._changes += 1  # last: a `sync` that goes on meanwhile must not count it

    @classmethod
    def create(cls, name: str, path: Path, spaces: Iterable[VectorSpace], *, head: bool) -> Shard:
        """A new, empty shard.

        head: one that takes writes has a write-ahead log (30 MB and 20 ms at each opening) and no
        index of times and languages, which costs a tenth of writing; those that only lose points
        are the other way round."""
        spaces = list(spaces)
        path.mkdir(parents=True)
        with _translated(f"create the shard {path}"):
            edge = engine.EdgeShard.create(str(path), shard_config(spaces, head=head))
            for operation in field_indexes(head=head):
                edge.update(operation)
        shard = cls(name, path, edge, (s.name for s in spaces))
        shard._changes = 1
        return shard

    @classmethod
    def load(
        cls, name: str, path: Path, spaces: Iterable[str], kinds: Iterable[str] | None = None
    ) -> Shard:
        """Opens a shard. Raises LibraryDamagedError. A file that was cut short can kill the
        process instead: see index.health."""
        try:
            # The engine opens a folder without them as an empty shard.
            for part in ("edge_config.json", "segments"):
                if not (path / part).exists():
                    raise StoreError(f"{part} is missing")
            limit_threads(path)
            with _translated("open it"):
                shard = cls(name, path, engine.EdgeShard.load(str(path)), spaces, kinds)
            shard._apply_removed()
        except StoreError as error:
            raise LibraryDamagedError(damage(path, str(error))) from error
        return shard

    def _apply_removed(self) -> None:
        if self._removed is not None and (ids := self._removed.read()):
            with _translated(f"delete {len(ids)} points"):
                self._edge.update(engine.UpdateOperation.delete_points(ids))
            self.flush()

    def add_space(self, space: VectorSpace) -> None:
        """Does nothing where it exists already with the same parameters."""
        with self._changing(), _translated(f"add the vector space {space.name}"):
            if space.size is None:
                operation = engine.UpdateOperation.create_sparse_vector(space.name)
            else:
                operation = engine.UpdateOperation.create_dense_vector(
                    space.name, space.size, DISTANCES[space.distance]
                )
            self._edge.update(operation)
        self.spaces.add(space.name)

    def upsert(self, points: list[engine.Point]) -> None:
        """One entry of the write-ahead log, so all or nothing after a kill."""
        changing = self._changing(len(points))
        with changing, _translated(f"write {len(points)} points to {self.path}"):
            self._edge.update(engine.UpdateOperation.upsert_points(points))

    def remove(self, ids: Sequence[Any]) -> None:
        with self._changing(len(ids)):
            if self._removed is not None:
                with self._files("writing what was removed"):
                    self._removed.append(ids)
            with _translated(f"delete {len(ids)} points from {self.path}"):
                self._edge.update(engine.UpdateOperation.delete_points(list(ids)))

    def get(self, ids: Sequence[Any], *, with_vectors: bool) -> dict[int, Point]:
        """The points that are here, payloads included, by their ids as numbers."""
        found = {}
        for start in range(0, len(ids), CHUNK_POINTS):
            with _translated(f"read from {self.path}"):
                chunk = list(ids[start : start + CHUNK_POINTS])
                for record in self._edge.retrieve(chunk, True, with_vectors):
                    id = record.id
                    found[id.int] = _our_point(id, record, with_vectors)
        return found

    def passing(
        self, where: engine.Filter, limit: int, with_vectors: bool, with_payload: bool
    ) -> list[Point]:
        """The points that pass. Where most of the ids asked for are elsewhere, `named` once for all
        shards, this takes a tenth of `get`."""
        request = engine.ScrollRequest(
            limit=limit, filter=where, with_payload=with_payload, with_vector=with_vectors
        )
        with _translated(f"read from {self.path}"):
            found = self._edge.scroll(request)[0]
        return [_our_point(record.id, record, with_vectors) for record in found]

    def ids(self, where: engine.Filter | None, after: str | None, limit: int) -> list[uuid.UUID]:
        """The first ids above `after` that pass, in order."""
        offset = None
        if after is not None:
            following = uuid.UUID(after).int + 1
            if following >> 128:
                return []
            offset = uuid.UUID(int=following)
        with _translated(f"scroll {self.path}"):
            request = engine.ScrollRequest(
                offset=offset, limit=limit, filter=where, with_payload=False, with_vector=False
            )
            return [record.id for record in self._edge.scroll(request)[0]]

    def nearest(
        self, space: str, vector: Any, where: engine.Filter | None, limit: int, exact: bool
    ) -> list[engine.ScoredPoint]:
        """What it finds, with `score` and `id`, best first. `vector` as `plain_vector` gives it.
        Each reading of an `id` makes an object of 3 µs, so read those that are needed."""
        if space not in self.spaces:
            return []
        with _translated(f"search {self.path}"):
            return self._edge.query(
                engine.QueryRequest(
                    limit=limit,
                    query=engine.Query.Nearest(vector, using=space),
                    filter=where,
                    with_payload=False,
                    params=EXACT if exact else self._approximate,
                )
            )

    def may_hold(self, where: Filter) -> bool:
        """False where, by their kinds, none of its points passes."""
        return self.kinds is None or all(
            not isinstance(one, Match) or one.key != "kind" or not self.kinds.isdisjoint(one.any_of)
            for one in where.must
        )

    def values(self, field: str) -> frozenset[str | None] | None:
        """What text its points have in one of ENUMERATED, None among it where one has none there.
        None where that is not known: it takes writes, or a point has several."""
        if field == "kind" and self.kinds is not None and str(None) not in self.kinds:
            return self.kinds
        if self._removed is None:
            return None
        if field not in self._values:  # it only loses points, so it is asked once: 8 ms in 100,000
            self._values[field] = self._read_values(field)
        return self._values[field]

    def _read_values(self, field: str) -> frozenset[str | None] | None:
        request = engine.FacetRequest(key=field, limit=_FEW_VALUES, exact=True)
        try:
            with _translated(f"look for every {field} in {self.path}"):
                hits, info = self._edge.facet(request).hits, self._edge.info()
        except StoreError:  # it has no index of that field: it came of an older Longtake
            return None
        having = info.payload_schema[field].points
        if len(hits) == _FEW_VALUES or sum(hit.count for hit in hits) != having:
            return None
        return frozenset([hit.value for hit in hits] + [None] * (having < info.points_count))

    def count(self, where: engine.Filter | None = None) -> int:
        with _translated(f"count in {self.path}"):
            return self._edge.count(engine.CountRequest(exact=True, filter=where))

    def sync(self) -> None:
        """Makes everything that was written before the call durable. Does without the engine, and
        so without the interpreter's lock and the store's."""
        seen = self._changes
        with self._files("writing its log to the disk"):
            if self._removed is None:
                sync_files(self._wal)
            else:
                self._removed.sync()
        self._synced = max(self._synced, seen)

    def log_is_long(self, times: float = 1) -> bool:
        """Does it hold more than so many times LOG_POINTS?"""
        return self._removed is None and self.logged > times * LOG_POINTS

    def flush(self) -> None:
        """Brings all files up to date, so that the log can be emptied."""
        with _translated(f"flush {self.path}"):
            self._edge.flush()
        if self._removed is not None:
            with self._files("emptying its log"):
                self._removed.clear()
        self.logged, self._synced = 0, self._changes

    def optimise(self) -> None:
        """Stops the whole process for seconds (12 s at 50,000 points): for a child only."""
        with _translated(f"optimise {self.path}"):
            self._edge.optimize()

    def close(self) -> None:
        with _translated(f"close {self.path}"):
            self._edge.close()
        if self._removed is not None:
            self._removed.close()

    @contextmanager
    def _files(self, doing: str) -> Iterator[None]:
        """Translates OSError."""
        try:
            yield
        except OSError as error:
            raise translate(error, self.path.parent.parent, doing) from error
