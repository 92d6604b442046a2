"""The log of a shard that has none of the engine's: the ids of the points that have left it since
its files were last flushed.

Shards that compaction wrote only lose points. To flush one takes the engine some fifty synchronous
writes, all under the interpreter's lock; to sync this file is one, and others go on meanwhile.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from index.disk import sync_data, sync_directory

_ID_BYTES = 16


class RemovedLog:
    """The file `removed` in the folder of a shard: 16 bytes an id. OSError goes to the caller."""

    def __init__(self, shard: Path):
        self._path = shard / "removed"
        self._descriptor: int | None = None
        self._size = 0
        self._entered = True  # its name is on disk, where there is a file

    def read(self) -> list[uuid.UUID]:
        """What a kill left: those points may be back."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        whole = len(data) // _ID_BYTES * _ID_BYTES  # of one cut short nothing was promised
        return [uuid.UUID(bytes=data[at : at + _ID_BYTES]) for at in range(0, whole, _ID_BYTES)]

    def append(self, ids: Iterable[Any]) -> None:
        """ids: UUIDs or their text forms. All or nothing."""
        data = b"".join(uuid.UUID(str(i)).bytes for i in ids)
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            self._size = os.fstat(self._descriptor).st_size // _ID_BYTES * _ID_BYTES
            self._entered = False
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Makes what was appended durable."""
        if self._descriptor is not None:
            sync_data(self._descriptor)
        if not self._entered:
            self._entered = True
            sync_directory(self._path.parent)

    def clear(self) -> None:
        """The files of the shard say it all now."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
