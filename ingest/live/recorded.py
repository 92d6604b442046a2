"""What is kept of a source's stream: the records of its pieces, and the files they lie in."""

from __future__ import annotations

import shutil
from pathlib import Path

from index.library import Library
from index.pieces import Piece, PieceBook
from ingest.live.recording import mended
from ingest.segment_frames import Recording


class Recordings:
    """Of one video. folder_of_all: of the recordings of all videos; None where there are none."""

    def __init__(self, library: Library, folder_of_all: Path | None, video_id: str):
        self._store = library.store
        self._book = PieceBook(library.store)
        self._video_id = video_id
        self.folder = None if folder_of_all is None else folder_of_all / video_id

    def keep(self, piece: Piece) -> None:
        """A piece that has begun, or is whole."""
        self._book.put_piece(piece)
        self._store.flush()

    def mend(self) -> None:
        """What a run that was killed has left: pieces that it was writing get their length, or go
        where nothing of them can be read; files that no record knows go. Nobody may be recording.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        known = set()
        for piece in self._book.pieces(self._video_id):
            if piece.end_seconds is None:
                whole = mended(piece, self.folder)
                if whole is None:
                    self._book.remove_piece(piece)
                    continue
                self._book.put_piece(whole)
            known.add(piece.name)
        self._store.flush()
        for path in self.folder.glob("*.mkv"):
            if path.name not in known:
                path.unlink(missing_ok=True)

    def media(self) -> Recording:
        """Where the pictures lie that were recorded."""
        pieces = self._book.pieces(self._video_id) if self.folder is not None else []
        return Recording(
            tuple((self.folder / one.name, one.start_seconds, one.end_seconds) for one in pieces)
        )

    def remove(self) -> None:
        """All files. Their records go with the video."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
