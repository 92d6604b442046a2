"""Where an event was recorded."""

from __future__ import annotations

from pathlib import Path

from index.alerts import AlertEvent
from index.pieces import PieceBook, recordings_folder
from rag.alerts.delivery import Clip, ClipOf

AROUND_SECONDS = 2.0
"""Shown before and behind an event."""

LONGEST_PIECE_SECONDS = 600.0
"""A piece that begins earlier than this before an event does not reach it: it ends with the first
key frame after a minute."""


def clip_finder(book: PieceBook, library: Path) -> ClipOf:
    """library: the folder under which recordings lie."""

    def clip_of(event: AlertEvent) -> Clip | None:
        start, end = event.start_seconds, event.end_seconds
        earliest = max(start - LONGEST_PIECE_SECONDS, 0.0)
        for piece in book.pieces(event.video_id, earliest, start + 1e-3):
            if piece.end_seconds is None or start < piece.end_seconds:
                last = end + AROUND_SECONDS - piece.start_seconds
                if piece.end_seconds is not None:
                    last = min(last, piece.end_seconds - piece.start_seconds)
                return Clip(
                    str(recordings_folder(library, event.video_id) / piece.name),
                    max(start - AROUND_SECONDS - piece.start_seconds, 0.0),
                    last,
                )
        return None

    return clip_of
