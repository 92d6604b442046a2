"""The whole content of a library, in a form that two runs can be compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from index.access import open_store
from index.library import DERIVED_KINDS
from index.store import Filter, Match, SparseVector, scroll

RUN_DEPENDENT = {"indexed_at", "inode", "modified_ns", "stamp"}


def dump(library: Path) -> dict[str, Any]:
    """id -> payload and vectors of every point but those that say when they were written."""
    store = open_store(library)
    try:
        everything = Filter((Match("kind", ("video", "generation", "space", *DERIVED_KINDS)),))
        return {
            point.id: (_plain(point.payload), {k: _vector(v) for k, v in point.vectors.items()})
            for point in scroll(store, everything, with_vectors=True)
        }
    finally:
        store.close()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in RUN_DEPENDENT}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def _vector(vector: Any) -> Any:
    if isinstance(vector, SparseVector):
        pairs = sorted(zip(vector.indices, vector.values, strict=True))
        return [(index, round(value, 5)) for index, value in pairs]
    return [round(float(x), 5) for x in vector]
