"""Asking several shards as if they were one. `shards` are oldest first; the caller holds the lock.

An id that two shards hold counts once, the newer copy winning.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from index.shard import ENUMERATED, PAGE_POINTS, Shard, engine_filter, named
from index.store import Filter, Match, Point

Located = list[tuple[uuid.UUID, Shard]]
"""Ids, each with the shard that has it."""


def first_ids(shards: Sequence[Shard], passing: Any, after: str | None, limit: int) -> Located:
    """The first ids above `after` that pass, in order."""
    where: dict[uuid.UUID, Shard] = {}
    for shard in shards:
        where.update((i, shard) for i in shard.ids(passing, after, limit))
    return sorted(where.items(), key=lambda item: item[0])[:limit]


def nearest(
    shards: Sequence[Shard], space: str, vector: Any, where: Filter, limit: int, exact: bool
) -> list[tuple[float, uuid.UUID, Shard]]:
    """The best ids of all shards, with scores and where they are, best first. Ties go by id."""
    found = []
    for shard in reversed(shards):
        own = narrowed(where, shard) if space in shard.spaces else None
        if own is not None:
            hits = shard.nearest(space, vector, engine_filter(own), limit, exact)
            found.append((shard, [(hit.score, hit) for hit in hits]))
    # Of a dozen shards most of what they found is no result: only what can be one is looked at.
    scores = sorted((score for _, hits in found for score, _ in hits), reverse=True)
    least = scores[limit - 1] if len(scores) > limit else -math.inf
    # By number: UUIDs are hashed and compared in Python.
    ranked: dict[int, tuple[float, uuid.UUID, Shard]] = {}
    for shard, hits in found:
        for score, hit in hits:
            if score >= least:
                id = hit.id
                ranked.setdefault(id.int, (score, id, shard))
    best = sorted(ranked.items(), key=lambda item: (-item[1][0], item[0]))[:limit]
    return [one for _, one in best]


def count(shards: Sequence[Shard], where: Filter) -> int:
    """How many points pass, exactly."""
    filters = ((shard, narrowed(where, shard)) for shard in shards)
    return sum(shard.count(engine_filter(own)) for shard, own in filters if own is not None)


def narrowed(where: Filter, shard: Shard) -> Filter | None:
    """The filter without what all of the shard's points pass: a search looks at each condition for
    every point that it comes by, and takes twice as long over 94,500 frames where it looks whether
    each is one. None where no point passes."""
    for field in ENUMERATED:
        must = [c for c in where.must if isinstance(c, Match) and c.key == field]
        must_not = [c for c in where.must_not if isinstance(c, Match) and c.key == field]
        asked = {value for c in (*must, *must_not) for value in c.any_of}
        text = all(isinstance(value, str) for value in asked)
        there = shard.values(field) if (must or must_not) and text else None
        if there is None:
            continue
        left = {value for value in there if all(value in c.any_of for c in must)}
        left -= {value for c in must_not for value in c.any_of}
        if not left:
            return None
        others = Filter(
            tuple(c for c in where.must if c not in must),
            tuple(c for c in where.must_not if c not in must_not),
        )
        if left == there:
            where = others
        elif None in left:  # what has no value passes, and no condition says that
            where = others.but_not(Match(field, tuple(sorted(there - left))))
        else:
            where = others.and_(Match(field, tuple(sorted(left))))
    return where


def scores(
    shards: Sequence[Shard], space: str, vector: Any, ids: Sequence[str]
) -> dict[str, float]:
    """The exact scores of those of the ids that have a vector there, by id."""
    passing = named(ids)
    by_number = {int(id.replace("-", ""), 16): id for id in ids}
    found: dict[str, float] = {}
    for shard in reversed(shards):
        for hit in shard.nearest(space, vector, passing, len(ids), True):
            found.setdefault(by_number[hit.id.int], hit.score)
    return found


def read_points(page: Located, *, with_vectors: bool) -> list[Point]:
    """The points of a page, in its order."""
    found: dict[int, Point] = {}
    for shard, ids in by_shard(page).items():
        found |= shard.get(ids, with_vectors=with_vectors)
    return [found[i.int] for i, _ in page]


def by_shard(page: Located) -> dict[Shard, list[uuid.UUID]]:
    grouped: dict[Shard, list[uuid.UUID]] = {}
    for i, shard in page:
        grouped.setdefault(shard, []).append(i)
    return grouped


def settle(shards: Sequence[Shard], unsettled: Iterable[str]) -> None:
    """Deletes the ids of the unsettled shards from all older ones."""
    names = [shard.name for shard in shards]
    for name in unsettled:
        newer, older = shards[names.index(name)], shards[: names.index(name)]
        after: str | None = None
        while older:
            ids = newer.ids(None, after, PAGE_POINTS)
            for shard in older:
                if ids and (stale := shard.ids(named(ids), None, PAGE_POINTS)):
                    shard.remove(stale)
            if len(ids) < PAGE_POINTS:
                break
            after = str(ids[-1])
