"""The store as a machine sees it that works under leases: what it has lost, it cannot write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from index.errors import LeaseLostError
from index.leases import OVERTAKEN, Claim, changed
from index.library import DERIVED_KINDS
from index.server import ServerStore
from index.store import Filter, Match, Point, Range, where


class FencedStore:
    """The `Store` of a server, for indexing under the claims of an index.leases.Leases.

    Records of generations are written only under a claim that holds their channel's lease, each
    with its fence. Evidence and what is derived from it is written and deleted only while the
    claim on its video, where there is one, holds. All else is passed on.

    Raises LeaseLostError, besides what the store does.
    """

    def __init__(self, store: ServerStore, claims: Mapping[str, Claim]):
        self._store = store
        self._claims = claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def scroll_page(self, where: Filter, **page: Any) -> list[Point]:
        points = self._store.scroll_page(where, **page)
        for point in points:
            if point.payload.get("kind") == "generation":
                claim = self._claims.get(point.payload["video_id"])
                if claim is not None:
                    claim.seen.add(point.id)
        return points

    def upsert(self, points: Sequence[Point]) -> None:
        records: dict[tuple[str, str], list[Point]] = {}
        others = []
        for point in points:
            if point.payload.get("kind") == "generation":
                channel = (point.payload["video_id"], point.payload["channel"])
                records.setdefault(channel, []).append(point)
            else:
                others.append(point)
        derived = (p.payload for p in others if p.payload.get("kind") in DERIVED_KINDS)
        for video_id in {payload["video_id"] for payload in derived}:
            self._check(video_id)
        if others:
            self._store.upsert(others)
        for (video_id, channel), generations in records.items():
            self._write_records(video_id, channel, generations)

    def _write_records(self, video_id: str, channel: str, records: Sequence[Point]) -> None:
        """In one request, so that all that a flip changes changes together."""
        claim = self._claims.get(video_id)
        if claim is None:
            raise LeaseLostError(f"The channel {channel} is not claimed.")
        fence = claim.fence(channel)
        fenced = [changed(record, fence=fence) for record in records]
        ids = [record.id for record in fenced]
        not_overtaken = Filter((Range("fence", lt=fence + 1),))
        new = claim.seen.isdisjoint(ids)
        self._store.upsert_settled(fenced, only=not_overtaken, insert=new)
        claim.seen.update(ids)
        there = {record.id: record.payload for record in self._store.read_settled(ids)}
        for gone in ids:
            if gone not in there:  # and what was written for it just now must not outlive it
                for kind in DERIVED_KINDS:
                    self._store.delete(where(kind=kind, generation=gone))
        if any(there.get(id, {}).get("fence") != fence for id in ids):
            raise LeaseLostError(OVERTAKEN)

    def delete(self, where: Filter) -> None:
        named = [c.any_of for c in where.must if isinstance(c, Match) and c.key == "generation"]
        for record in self._store.retrieve([str(id) for ids in named for id in ids]):
            self._check(record.payload["video_id"])
        self._store.delete(where)

    def _check(self, video_id: str) -> None:
        if video_id in self._claims:
            self._claims[video_id].check()
