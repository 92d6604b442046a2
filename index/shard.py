"""One shard of the embedded engine: the only file that touches qdrant-edge-py.

Every call holds the interpreter lock while it runs, so callers keep them short: at most
`CHUNK_POINTS` points a call. Foreign errors, and the engine's panics, become StoreError or
LibraryDamagedError here.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine

from index.errors import LibraryDamagedError, StoreError
from index.store import (
    INDEXED_FIELDS,
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

ENGINE = f"qdrant-edge {version('qdrant-edge-py')}"

_DISTANCES = {"cosine": engine.Distance.Cosine, "dot": engine.Distance.Dot}


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
    """A checked vector as the engine takes it. It reads lists twice as fast as arrays."""
    if isinstance(vector, SparseVector):
        with _translated("take a sparse vector"):
            return engine.SparseVector(list(vector.indices), list(vector.values))
    return vector.tolist()


def engine_point(point: Point, spaces: Mapping[str, VectorSpace]) -> engine.Point:
    """The point, checked, as the engine takes it."""
    vectors = {n: plain_vector(v) for n, v in check_vectors(point, spaces).items()}
    with _translated(f"take the point {point.id}"):
        return engine.Point(id=point.id, vector=vectors, payload=point.payload)


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
    return np.asarray(vector, dtype=np.float32)


class Shard:
    """An open shard. Not safe for several threads at once; the store's lock sees to that.

    name: its folder's. spaces: names of the vector spaces it has. dirty: it has changes that a
    power cut would lose.
    """

    def __init__(self, name: str, path: Path, edge: engine.EdgeShard, spaces: Iterable[str]):
        self.name = name
        self.path = path
        self.spaces = set(spaces)
        self.dirty = False
        self._edge = edge

    @classmethod
    def create(cls, name: str, path: Path, spaces: Iterable[VectorSpace], *, logged: bool) -> Shard:
        """A new, empty shard. logged: with a write-ahead log, so that unflushed points survive
        the death of the process (30 MB and 30 ms at each opening)."""
        spaces = list(spaces)
        path.mkdir(parents=True)
        with _translated(f"create the shard {path}"):
            edge = engine.EdgeShard.create(
                str(path),
                engine.EdgeConfig(
                    vectors={
                        s.name: engine.EdgeVectorParams(s.size, _DISTANCES[s.distance])
                        for s in spaces
                        if s.size is not None
                    },
                    # The engine wants one space at least; a shard of payloads gets an idle one.
                    sparse_vectors={
                        name: engine.EdgeSparseVectorParams()
                        for name in [s.name for s in spaces if s.size is None] or ["_idle"]
                    },
                    # One segment loads and answers faster than several.
                    optimizers=engine.EdgeOptimizersConfig(default_segment_number=1),
                    wal_enabled=logged,
                ),
            )
            for field, kind in INDEXED_FIELDS.items():
                # Payload indexes on disk, and no extra graph links for them, halve the time that
                # a shard takes to load; filtered searches over them stay exact enough because the
                # engine scores small matching sets one by one.
                cold: dict[str, Any] = {"memory": engine.Memory.Cold, "enable_hnsw": False}
                params = (
                    engine.KeywordIndexParams(**cold)
                    if kind == "keyword"
                    else engine.IntegerIndexParams(range=True, lookup=False, **cold)
                )
                edge.update(engine.UpdateOperation.create_field_index(field, params))
        shard = cls(name, path, edge, (s.name for s in spaces))
        shard.dirty = True
        return shard

    @classmethod
    def load(cls, name: str, path: Path, spaces: Iterable[str]) -> Shard:
        """Opens a shard. Raises LibraryDamagedError. A file that was cut short can kill the
        process instead: see index.health."""
        try:
            # The engine opens a folder without them as an empty shard.
            for part in ("edge_config.json", "segments"):
                if not (path / part).exists():
                    raise StoreError(f"{part} is missing")
            with _translated("open it"):
                edge = engine.EdgeShard.load(str(path))
        except StoreError as error:
            raise LibraryDamagedError(damage(path, str(error))) from error
        return cls(name, path, edge, spaces)

    def add_space(self, space: VectorSpace) -> None:
        """Does nothing where it exists already with the same parameters."""
        with _translated(f"add the vector space {space.name}"):
            if space.size is None:
                operation = engine.UpdateOperation.create_sparse_vector(space.name)
            else:
                operation = engine.UpdateOperation.create_dense_vector(
                    space.name, space.size, _DISTANCES[space.distance]
                )
            self._edge.update(operation)
        self.spaces.add(space.name)
        self.dirty = True

    def upsert(self, points: list[engine.Point]) -> None:
        """One entry of the write-ahead log, so all or nothing after a kill."""
        self.dirty = True
        with _translated(f"write {len(points)} points to {self.path}"):
            self._edge.update(engine.UpdateOperation.upsert_points(points))

    def present(self, ids: Sequence[Any]) -> list[uuid.UUID]:
        """Those of the ids that are here: 0.6 ms for 500."""
        with _translated(f"look up ids in {self.path}"):
            return [record.id for record in self._edge.retrieve(list(ids), False, False)]

    def remove(self, ids: Sequence[Any]) -> None:
        self.dirty = True
        with _translated(f"delete {len(ids)} points from {self.path}"):
            self._edge.update(engine.UpdateOperation.delete_points(list(ids)))

    def get(self, ids: Sequence[Any], *, with_vectors: bool) -> dict[uuid.UUID, Point]:
        """The points that are here, payloads included."""
        found = {}
        for start in range(0, len(ids), CHUNK_POINTS):
            with _translated(f"read from {self.path}"):
                chunk = list(ids[start : start + CHUNK_POINTS])
                for record in self._edge.retrieve(chunk, True, with_vectors):
                    found[record.id] = Point(
                        str(record.id),
                        record.payload or {},
                        {n: _our_vector(v) for n, v in (record.vector or {}).items()}
                        if with_vectors
                        else {},
                    )
        return found

    def ids(self, where: engine.Filter | None, after: str | None, limit: int) -> list[uuid.UUID]:
        """The first ids above `after` that pass, in order."""
        offset = None
        if after is not None:
            following = uuid.UUID(after).int + 1
            if following >> 128:
                return []
            offset = uuid.UUID(int=following)
        with _translated(f"scroll {self.path}"):
            records, _ = self._edge.scroll(
                engine.ScrollRequest(
                    offset=offset,
                    limit=limit,
                    filter=where,
                    with_payload=False,
                    with_vector=False,
                )
            )
            return [record.id for record in records]

    def nearest(
        self, space: str, vector: Any, where: engine.Filter | None, limit: int, exact: bool
    ) -> list[tuple[float, uuid.UUID]]:
        """(score, id), best first. `vector` as `plain_vector` gives it."""
        if space not in self.spaces:
            return []
        with _translated(f"search {self.path}"):
            found = self._edge.query(
                engine.QueryRequest(
                    limit=limit,
                    query=engine.Query.Nearest(vector, using=space),
                    filter=where,
                    with_payload=False,
                    params=engine.SearchParams(exact=True) if exact else None,
                )
            )
            return [(hit.score, hit.id) for hit in found]

    def count(self, where: engine.Filter | None = None) -> int:
        with _translated(f"count in {self.path}"):
            return self._edge.count(engine.CountRequest(exact=True, filter=where))

    def write_back(self) -> None:
        """Has the system write what the files of this shard hold in memory. That takes the bulk
        of the time off a `flush` that follows, and leaves the interpreter to others meanwhile."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):  # gone meanwhile: it was replaced
                    file = os.open(os.path.join(folder, name), os.O_RDONLY)
                    try:
                        os.fsync(file)
                    finally:
                        os.close(file)

    def flush(self) -> None:
        with _translated(f"flush {self.path}"):
            self._edge.flush()
        self.dirty = False

    def optimise(self) -> None:
        """Stops the whole process for seconds (12 s at 50,000 points): for a child only."""
        with _translated(f"optimise {self.path}"):
            self._edge.optimize()

    def close(self) -> None:
        with _translated(f"close {self.path}"):
            self._edge.close()


def damage(path: Path, reason: str) -> str:
    """The message for a shard that cannot be opened."""
    library = path.parent.parent
    return (
        f"Shard {path.name} of the library {library} cannot be opened: {reason}. Run `longtake "
        f"doctor` for the state of the others. The way out: restore {path} from a backup, or move "
        "the library away and index again."
    )
