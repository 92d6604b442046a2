"""Our points and filters as qdrant-client has them, and back. `m` is its module of models, which is
imported where the store is opened."""

from __future__ import annotations

from typing import Any

import numpy as np

from index.store import INDEXED_FIELDS, Condition, Filter, Match, Point, SparseVector, Vector


def their_vector(m: Any, vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return m.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return vector.tolist()


def their_index(m: Any, field: str) -> Any:
    """Of one of INDEXED_FIELDS."""
    match INDEXED_FIELDS[field]:
        case "integer":
            return m.IntegerIndexParams(
                type=m.IntegerIndexType.INTEGER, lookup=True, range=True, on_disk=True
            )
        case "float":
            return m.FloatIndexParams(type=m.FloatIndexType.FLOAT, on_disk=True)
    # Points of one video lie together on disk, and most filters name a video.
    return m.KeywordIndexParams(
        type=m.KeywordIndexType.KEYWORD, is_tenant=field == "video_id", on_disk=True
    )


def their_filter(m: Any, where: Filter) -> Any:
    """None for the empty one."""
    if not where.must and not where.must_not:
        return None
    return m.Filter(
        must=[_their_condition(m, c) for c in where.must] or None,
        must_not=[_their_condition(m, c) for c in where.must_not] or None,
    )


def _their_condition(m: Any, condition: Condition) -> Any:
    key = condition.key
    if not isinstance(condition, Match):
        bounds = m.Range(gte=condition.gte, lt=condition.lt)
        return m.FieldCondition(key=key, range=bounds)
    values = condition.any_of
    choices: list[Any] = [
        m.FieldCondition(key=key, match=m.MatchValue(value=v))
        for v in values
        if isinstance(v, bool)
    ]
    words = [v for v in values if isinstance(v, str)]
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    choices += [
        m.FieldCondition(key=key, match=m.MatchAny(any=group))
        for group in (words, numbers)
        if group
    ]
    if not choices:  # nothing equals one of nothing
        return m.HasIdCondition(has_id=[])
    return choices[0] if len(choices) == 1 else m.Filter(should=choices)


def our_point(record: Any) -> Point:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return Point(
        str(record.id),
        record.payload or {},
        {
            name: SparseVector(tuple(vector.indices), tuple(vector.values))
            if hasattr(vector, "indices")
            else np.asarray(vector, dtype=np.float32)
            for name, vector in vectors.items()
        },
    )
