"""The contract between Longtake and the engine that holds its points.

A point is an id, a payload and any number of named vectors (dense or sparse). Everything that
Longtake keeps (evidence, passages, and the catalogue of videos, generations and segments) is a
point in one `Store`; `kind` in the payload says which. Three implementations pass one conformance
suite (tests/test_store.py): `index.edge.EdgeStore`, `index.server.ServerStore` and
`index.remote.SocketStore`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

INDEXED_FIELDS: Mapping[str, str] = {
    "kind": "keyword",
    "video_id": "keyword",
    "channel": "keyword",
    "generation": "keyword",
    "state": "keyword",
    "language": "keyword",
    "start_us": "integer",
    "end_seconds": "float",
}
"""Payload fields that every store indexes; filters on others work but are slower."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A named vector space. `size` is None for a sparse one.

    distance: "cosine" or "dot"; sparse spaces always use the dot product.
    """

    name: str
    size: int | None = None
    distance: str = "cosine"


@dataclass(frozen=True, slots=True)
class SparseVector:
    """indices: unique, each in 0..2**32-1; values: as many floats."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


Vector = np.ndarray | SparseVector
"""Dense vectors are float32 arrays of shape (size,)."""


@dataclass(frozen=True, slots=True)
class Point:
    """One record. `id` is a UUID in its canonical text form.

    payload: JSON-like values only (None, bool, int, float, str, list, dict with str keys).
    """

    id: str
    payload: dict[str, Any]
    vectors: dict[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A point with its score for a query: the cosine, or the dot product."""

    id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """The payload field equals one of `any_of` (or, for a list, holds one)."""

    key: str
    any_of: tuple[str | int | bool, ...]

    def holds(self, payload: Mapping[str, Any]) -> bool:
        value = payload.get(self.key)
        values = value if isinstance(value, list) else [value]
        return any(one in self.any_of for one in values)


@dataclass(frozen=True, slots=True)
class Range:
    """gte <= field < lt; a bound that is None does not bind."""

    key: str
    gte: float | None = None
    lt: float | None = None

    def holds(self, payload: Mapping[str, Any]) -> bool:
        value = payload.get(self.key)
        if value is None:
            return False
        above = self.gte is None or value >= self.gte
        return above and (self.lt is None or value < self.lt)


Condition = Match | Range


@dataclass(frozen=True, slots=True)
class Filter:
    """All of `must` hold and none of `must_not`. An empty filter passes everything."""

    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    def passes(self, payload: Mapping[str, Any]) -> bool:
        """Whether a point with that payload does, as the engines judge it."""
        return all(one.holds(payload) for one in self.must) and not any(
            one.holds(payload) for one in self.must_not
        )

    def and_(self, *must: Condition) -> Filter:
        return Filter(self.must + must, self.must_not)

    def also(self, other: Filter) -> Filter:
        """Passes what both do."""
        return Filter(self.must + other.must, self.must_not + other.must_not)

    def but_not(self, *must_not: Condition) -> Filter:
        return Filter(self.must, self.must_not + must_not)


def where(**equal: str | int | bool | Sequence[str | int]) -> Filter:
    """`where(kind="evidence", channel=["speech", "sound"])`: a filter of equalities."""
    several = (list, tuple, set, frozenset)
    return Filter(
        tuple(
            Match(key, tuple(value) if isinstance(value, several) else (value,))
            for key, value in equal.items()
        )
    )


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What `longtake doctor` shows. points: live ones. bytes_on_disk: None when remote."""

    engine: str
    location: str
    schema_version: int
    points: int
    shards: int = 1
    bytes_on_disk: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """Points in, points out. Safe to call from several threads.

    Durability: what was written before `flush` returned survives a power cut; what was written
    after it survives the death of the process only if the engine is kind. Callers rely on `flush`.

    Errors: `StoreError` and `LibraryError` of index.errors, never the engine's own.
    """

    def ensure_spaces(self, spaces: Sequence[VectorSpace]) -> None:
        """Makes the named vector spaces exist. A space of that name and another size raises
        StoreError."""
        ...

    def upsert(self, points: Sequence[Point]) -> None:
        """Writes the points, replacing whole any that have the same id. One call of at most
        `ATOMIC_POINTS` points is applied wholly or not at all, whatever kills the process."""
        ...

    def delete(self, where: Filter) -> None:
        """Deletes every point that passes. An empty filter raises StoreError."""
        ...

    def retrieve(
        self, ids: Sequence[str], *, with_vectors: bool = False, with_payload: bool = True
    ) -> list[Point]:
        """The points with these ids that exist, in the order asked for. Without payloads theirs are
        empty."""
        ...

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
        """The `limit` points nearest to `vector` that pass, best first. A sparse query returns
        only points that share an index with it. Scores are comparable across shards. A space
        that does not exist has no points. Payloads are what takes the time to read; without them
        those of the hits are empty."""
        ...

    def scores(self, space: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        """How near to `vector` each of these points lies, exactly, as `query` scores it: by id.
        Points that are not there, or have no vector in that space, have none; nor have those that
        share no index with a sparse one."""
        ...

    def scroll_page(
        self, where: Filter, *, after: str | None, limit: int, with_vectors: bool = False
    ) -> list[Point]:
        """The first `limit` points that pass with id > `after`, in the order of their ids (as
        numbers). Fewer than `limit` means there are no more. See `scroll`."""
        ...

    def count(self, where: Filter) -> int:
        """How many points pass, exactly."""
        ...

    def flush(self) -> None:
        """Returns when everything written so far is on disk."""
        ...

    def info(self) -> StoreInfo: ...

    def close(self) -> None:
        """Flushes and releases. Further calls raise StoreError."""
        ...


ATOMIC_POINTS = 64
"""A call of `upsert` with at most this many points is atomic."""


def scroll(
    store: Store, where: Filter, *, with_vectors: bool = False, page: int = 1000
) -> Iterator[Point]:
    """Every point that passes, in the order of ids. Points written or deleted meanwhile may or
    may not appear; none appears twice."""
    after: str | None = None
    while True:
        points = store.scroll_page(where, after=after, limit=page, with_vectors=with_vectors)
        yield from points
        if len(points) < page:
            return
        after = points[-1].id
