"""A folder that a recorder drops pieces into, one after the other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from index.errors import MediaError, SourceError
from ingest.identity import content_id, discover, natural_order

_POLL_SECONDS = 0.5
_SLACK_SECONDS = 0.5
"""A file's time of day and what its pictures say part by less."""
_REMEMBERED = 1000
"""So many pieces, the newest, are known again."""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """ended_at: when it was written last, as Unix time: its last picture was shown about then."""

    path: Path
    ended_at: float
    size: int


class PieceFolder:
    """The whole pieces in a folder and below, by when they were written. A piece is whole when a
    later one is there, or nothing was written to it for settle_seconds. One that is touched, or
    gets another name, is no new one."""

    def __init__(self, folder: Path, settle_seconds: float, stop: threading.Event):
        self._folder = folder
        self._settle_seconds = settle_seconds
        self._stop = stop
        self._since: dict[Path, tuple[FilePiece, float]] = {}
        self._known: dict[str, Path] = {}

    def pieces(self, seen_until: float) -> Iterator[FilePiece]:
        """Those written after that time, as they come; ends where the user stops. Raises
        SourceError where the folder cannot be read."""
        last = (seen_until + _SLACK_SECONDS, ())
        while not self._stop.is_set():
            new = [piece for piece in self._listed() if _order(piece) > last]
            if new and (len(new) > 1 or self._is_settled(new[0])):
                last = _order(new[0])
                if not self._is_known(new[0].path):
                    yield new[0]
            else:
                self._stop.wait(min(_POLL_SECONDS, self._settle_seconds / 2))

    def _listed(self) -> list[FilePiece]:
        if not self._folder.is_dir():
            raise SourceError(f"{self._folder}: is not there (any more).")
        found = []
        for path in discover([os.fspath(self._folder)], on_error=lambda error: None):
            try:
                status = os.stat(path)
            except OSError:  # gone meanwhile
                continue
            found.append(FilePiece(path, status.st_mtime, status.st_size))
        return sorted(found, key=_order)

    def _is_known(self, path: Path) -> bool:
        try:
            content = content_id(path)
        except MediaError:  # whoever reads it says why
            return False
        before = self._known.pop(content, None)
        self._known[content] = path
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return before is not None and (before == path or not before.exists())

    def _is_settled(self, piece: FilePiece) -> bool:
        known, since = self._since.get(piece.path, (None, 0.0))
        if known != piece:
            self._since = {piece.path: (piece, time.monotonic())}
            return False
        return time.monotonic() - since >= self._settle_seconds


def _order(piece: FilePiece) -> tuple:
    return piece.ended_at, natural_order(os.fspath(piece.path))
