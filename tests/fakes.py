"""Test aids that stand in for something slow, and only where the thing itself is not the matter."""

from __future__ import annotations

import fcntl
import pickle
import sqlite3
import threading
import uuid
from pathlib import Path

from index.errors import LibraryBusyError
from index.store import Filter, Hit, Point, SparseVector, StoreInfo


class TableStore:
    """A Store in a SQLite table: locked, durable against kill -9, slow and obvious."""

    def __init__(self, library: Path):
        library.mkdir(parents=True, exist_ok=True)
        self._lock_file = open(library / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LibraryBusyError("locked") from None
        self._lock = threading.Lock()
        self._table = sqlite3.connect(
            library / "table", check_same_thread=False, isolation_level=None
        )
        self._table.execute("pragma synchronous = off")
        self._table.execute("create table if not exists points (id text primary key, point blob)")
        self.flushes = 0

    def ensure_spaces(self, spaces) -> None:
        pass

    def upsert(self, points) -> None:
        rows = [(point.id, pickle.dumps(point)) for point in points]
        with self._lock:
            self._table.execute("begin")
            self._table.executemany("insert or replace into points values (?, ?)", rows)
            self._table.execute("commit")

    def _passing(self, where: Filter) -> list[Point]:
        with self._lock:
            rows = self._table.execute("select point from points").fetchall()
        points = [pickle.loads(row[0]) for row in rows]
        passing = [point for point in points if where.passes(point.payload)]
        return sorted(passing, key=lambda point: uuid.UUID(point.id).int)

    def delete(self, where) -> None:
        ids = [(point.id,) for point in self._passing(where)]
        with self._lock:
            self._table.executemany("delete from points where id = ?", ids)

    def retrieve(self, ids, *, with_vectors=False, with_payload=True) -> list[Point]:
        found = {point.id: point for point in self._passing(Filter())}
        points = [_shown(found[id_], with_vectors) for id_ in ids if id_ in found]
        return points if with_payload else [Point(one.id, {}, one.vectors) for one in points]

    def query(self, space, vector, *, where, limit, exact=False, with_payload=True) -> list[Hit]:
        def score(own) -> float:
            if isinstance(own, SparseVector):
                ours = dict(zip(own.indices, own.values, strict=True))
                pairs = zip(vector.indices, vector.values, strict=True)
                return sum(value * ours.get(index, 0.0) for index, value in pairs)
            return float(own @ vector)

        points = [point for point in self._passing(where) if space in point.vectors]
        hits = [Hit(point.id, score(point.vectors[space]), point.payload) for point in points]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    def scroll_page(self, where, *, after, limit, with_vectors=False) -> list[Point]:
        floor = uuid.UUID(after).int if after else -1
        points = [point for point in self._passing(where) if uuid.UUID(point.id).int > floor]
        return [_shown(point, with_vectors) for point in points[:limit]]

    def count(self, where) -> int:
        return len(self._passing(where))

    def flush(self) -> None:
        self.flushes += 1

    def info(self) -> StoreInfo:
        return StoreInfo("table", "", 1, self.count(Filter()))

    def close(self) -> None:
        self._table.close()
        self._lock_file.close()


def _shown(point: Point, with_vectors: bool) -> Point:
    return point if with_vectors else Point(point.id, point.payload)
