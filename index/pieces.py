"""Recordings of live sources: the pieces of media they lie in, and the spans that must stay.

A piece is a media file of its own, whose clock begins at 0. Its record is written when it begins,
and again when it is whole; after a kill the file tells how long it became.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from index.convert import convert
from index.schema import make_id, microseconds
from index.store import Point, Range, Store, scroll, where

RECORDINGS = "recordings"
"""The folder of all pieces, in that of the library."""

PIECE_KINDS = ("piece", "pin")
"""Kinds of points that belong to a video and go with it. The files are the caller's to remove."""


@dataclass(frozen=True, slots=True)
class Piece:
    """[start_seconds, end_seconds) of the video's clock. name: of its file, in the folder of the
    video's recordings. end_seconds: None while it is being written. size: of the file, in bytes."""

    video_id: str
    epoch: int
    name: str
    start_seconds: float
    end_seconds: float | None = None
    size: int = 0

    @property
    def id(self) -> str:
        return make_id("piece", self.video_id, self.name)


@dataclass(frozen=True, slots=True)
class Pin:
    """A span that is kept, whatever else goes. note: why, for people."""

    video_id: str
    start_seconds: float
    end_seconds: float
    note: str = ""

    @property
    def id(self) -> str:
        span = (microseconds(self.start_seconds), microseconds(self.end_seconds))
        return make_id("pin", self.video_id, *span)


class PieceBook:
    """The pieces and pins of a library. Errors: the store's."""

    def __init__(self, store: Store):
        self._store = store

    def pieces(
        self, video_id: str, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> list[Piece]:
        """Those that begin in [start_seconds, end_seconds), in time order."""
        end_us = None if end_seconds is None else microseconds(end_seconds)
        begins = Range("start_us", gte=microseconds(start_seconds), lt=end_us)
        points = scroll(self._store, where(kind="piece", video_id=video_id).and_(begins))
        found = [convert(point.payload["record"], Piece) for point in points]
        return sorted(found, key=lambda piece: (piece.start_seconds, piece.name))

    def put_piece(self, piece: Piece) -> None:
        """The caller flushes."""
        self._store.upsert([_point("piece", piece)])

    def remove_piece(self, piece: Piece) -> None:
        """The caller flushes."""
        self._store.delete(where(kind="piece", video_id=piece.video_id, piece=piece.name))

    def pins(self, video_id: str) -> list[Pin]:
        points = scroll(self._store, where(kind="pin", video_id=video_id))
        found = [convert(point.payload["record"], Pin) for point in points]
        return sorted(found, key=lambda pin: (pin.start_seconds, pin.end_seconds))

    def put_pin(self, pin: Pin) -> None:
        self._store.upsert([_point("pin", pin)])
        self._store.flush()

    def remove_pin(self, pin: Pin) -> None:
        self._store.delete(where(kind="pin", video_id=pin.video_id, pin=pin.id))
        self._store.flush()


def recordings_folder(library: Path, video_id: str) -> Path:
    """Where the pieces of a video lie."""
    return library / RECORDINGS / video_id


def _point(kind: str, record: Piece | Pin) -> Point:
    own = {"piece": record.name} if isinstance(record, Piece) else {"pin": record.id}
    payload = {
        "kind": kind,
        "video_id": record.video_id,
        "start_us": microseconds(record.start_seconds),
        **own,
        "record": msgspec.to_builtins(record),
    }
    return Point(record.id, payload)
