"""Retention: what of a live source is too old, or too much, goes: its media, its thumbnails, its
evidence and its records together.

It goes in blocks of five minutes, as what is said is kept in (`index.outline`), so at most that
much is kept longer than asked. Evidence that lasts into what is kept stays too: it tells of that,
and may last for an hour (`consolidation`). What is pinned stays with all of its blocks. An epoch
that has nothing left goes as a whole, its counts of words included; those of an epoch that has lost
a part are only then right again. Evidence goes first and the record of a piece last, so that what a
kill interrupts is done at the next turn.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from index.disk import human_bytes, translate
from index.library import Library
from index.outline import BLOCK_SECONDS
from index.pieces import Piece, PieceBook
from index.schema import Video, microseconds
from index.store import Range, scroll, where
from ingest.thumbnails import Thumbnails

_LASTING = ("evidence", "passage", "segment", "embedding")
"""Kinds of points that may last into what is kept, and stay then."""

_SAME_SECONDS = 1e-6

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went. kept_from_seconds: nothing unpinned begins before it any more."""

    video_id: str
    kept_from_seconds: float
    pieces: int
    bytes: int

    @property
    def text(self) -> str:
        """For the user."""
        recorded = f", {human_bytes(self.bytes)} of it recorded" if self.pieces else ""
        return f"let go of what was before {timedelta(seconds=self.kept_from_seconds)}{recorded}"


class Retention:
    """keep_seconds: how much of a source's time is kept; keep_bytes: of recorded media, a source.
    None: all of it. folder: where its pieces lie; None where none do."""

    def __init__(
        self,
        library: Library,
        thumbnails: Thumbnails,
        folder: Path | None,
        *,
        keep_seconds: float | None,
        keep_bytes: int | None,
    ):
        self._library = library
        self._book = PieceBook(library.store)
        self._thumbnails = thumbnails
        self._folder = folder
        self._keep_seconds = keep_seconds
        self._keep_bytes = keep_bytes

    def prune(self, video: Video, reached_seconds: float) -> tuple[Video, Pruned | None]:
        """reached_seconds: how far the source has come. Returns the video as it is now, which the
        caller keeps (`Library.put_video`), and what went; None where nothing had to.

        Raises what the store does, and LibraryError where a file cannot be removed.
        """
        pieces = self._book.pieces(video.id)
        pins = [(pin.start_seconds, pin.end_seconds) for pin in self._book.pins(video.id)]
        kept = [_blocks(pin) for pin in pins]
        before = _floor(max(self._too_old(reached_seconds), self._too_much(pieces, kept)))
        if before <= video.kept_from_seconds:
            return video, None
        for start, end in _without((0.0, before), kept):
            self._forget(video.id, start, end)
        gone = [
            epoch
            for epoch in video.epochs
            if epoch.end_seconds is not None
            and epoch.end_seconds <= before
            and not any(_touch((epoch.start_seconds, epoch.end_seconds), one) for one in kept)
        ]
        for generation in self._library.generations(video.id) if gone else ():
            if video.epoch_of(generation.epoch) in gone:
                self._library.drop(generation)
        self._library.store.flush()
        dropped = [piece for piece in pieces if _droppable(piece, before, kept)]
        for piece in dropped:
            self._remove(piece)
        self._library.store.flush()
        left = tuple(epoch for epoch in video.epochs if epoch not in gone)
        video = dataclasses.replace(video, epochs=left, kept_from_seconds=before)
        return video, Pruned(video.id, before, len(dropped), sum(piece.size for piece in dropped))

    def _too_old(self, reached_seconds: float) -> float:
        return 0.0 if self._keep_seconds is None else reached_seconds - self._keep_seconds

    def _too_much(self, pieces: Sequence[Piece], kept: Sequence[Span]) -> float:
        """Up to where media must go so that the rest is not too much. A pin does not count: what it
        holds is there because somebody wants it."""
        if self._keep_bytes is None:
            return 0.0
        loose = [piece for piece in pieces if not any(_touch(_span(piece), one) for one in kept)]
        total = sum(piece.size for piece in loose)
        before = 0.0
        for piece in loose:
            if total <= self._keep_bytes or piece.end_seconds is None:
                break
            total -= piece.size
            # Its whole block, or the block would go only with the next one.
            before = math.ceil(piece.end_seconds / BLOCK_SECONDS) * BLOCK_SECONDS
        newest = max((piece.start_seconds for piece in pieces), default=0.0)
        return min(before, newest)

    def _forget(self, video_id: str, start_seconds: float, end_seconds: float) -> None:
        store = self._library.store
        span = Range("start_us", gte=microseconds(start_seconds), lt=microseconds(end_seconds))
        over = Range("end_seconds", lt=end_seconds + _SAME_SECONDS)
        for kind in _LASTING:
            store.delete(where(kind=kind, video_id=video_id).and_(span, over))
        store.delete(where(kind="outline", video_id=video_id).and_(span))
        self._forget_passages(video_id, span)
        lasting = scroll(store, where(kind="segment", video_id=video_id).and_(span))
        starts = {point.payload["start_us"] for point in lasting}
        self._thumbnails.remove_between(video_id, start_seconds, end_seconds, but=starts)

    def _forget_passages(self, video_id: str, span: Range) -> None:
        """Those that are left and hold words of evidence that has gone, with their vectors."""
        store = self._library.store
        left = list(scroll(store, where(kind="passage", video_id=video_id).and_(span)))
        told = {id for point in left for id in point.payload["evidence"]}
        gone = told - {point.id for point in store.retrieve(sorted(told))}
        passages = [point.id for point in left if gone & set(point.payload["evidence"])]
        if passages:
            store.delete(where(kind="passage", video_id=video_id, evidence=gone))
            store.delete(where(kind="embedding", video_id=video_id, passage=passages))

    def _remove(self, piece: Piece) -> None:
        if self._folder is not None:
            path = self._folder / piece.name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise translate(error, path, "removing what is too old") from error
        self._book.remove_piece(piece)


def _span(piece: Piece) -> Span:
    return piece.start_seconds, math.inf if piece.end_seconds is None else piece.end_seconds


def _droppable(piece: Piece, before: float, kept: Sequence[Span]) -> bool:
    span = _span(piece)
    return span[1] <= before and not any(_touch(span, one) for one in kept)


def _touch(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _floor(seconds: float) -> float:
    return max(math.floor(seconds / BLOCK_SECONDS), 0) * BLOCK_SECONDS


def _blocks(span: Span) -> Span:
    """All blocks that the span touches."""
    return _floor(span[0]), max(
        _floor(span[0]) + BLOCK_SECONDS, _floor(span[1] - 1e-6) + BLOCK_SECONDS
    )


def _without(span: Span, kept: Sequence[Span]) -> list[Span]:
    """What is left of a span."""
    left: list[Span] = []
    at = span[0]
    for start, end in sorted(kept):
        if start > at:
            left.append((at, min(start, span[1])))
        at = max(at, end)
        if at >= span[1]:
            break
    if at < span[1]:
        left.append((at, span[1]))
    return [(start, end) for start, end in left if start < end]
