"""What is read byte by byte: standard input, and a file that somebody else is still writing."""

from __future__ import annotations

import hashlib
import os
import select
import sys
import threading

from index.errors import SourceError

_POLL_SECONDS = 0.1
_HEAD_BYTES = 4096


class StandardInput:
    """Gives bytes as they come. `read` waits for some, and returns none at the end, or where the
    user stops. ended: whether there are no more."""

    name = "standard input"

    def __init__(self, stop: threading.Event):
        self._stop = stop
        self._descriptor = sys.stdin.fileno()
        self.ended = False

    def read(self, size: int) -> bytes:
        while not self._stop.is_set():
            if select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
                data = os.read(self._descriptor, size)
                self.ended = not data
                return data
        return b""

    def close(self) -> None:
        pass


class GrowingFile:
    """Gives a file's bytes, then waits for more.

    It ends where another file has taken its name, it has become shorter, or the user stops. Raises
    SourceError where it cannot be read.
    """

    def __init__(self, path: str, stop: threading.Event):
        self.name = path
        self._stop = stop
        self._at = 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error
        self._inode = os.fstat(self._descriptor).st_ino

    def content(self) -> str:
        """What the file is known again by: its first bytes, and its inode. "" while it is too short
        to tell."""
        head = os.pread(self._descriptor, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES:
            return ""
        return f"{self._inode}:{hashlib.blake2b(head, digest_size=12).hexdigest()}"

    def read(self, size: int) -> bytes:
        while not self._stop.is_set():
            try:
                data = os.read(self._descriptor, size)
            except OSError as error:
                raise SourceError(f"{self.name}: cannot be read ({error.strerror}).") from error
            if data:
                self._at += len(data)
                return data
            if self._replaced():
                return b""
            self._stop.wait(_POLL_SECONDS)
        return b""

    def _replaced(self) -> bool:
        """Also where it was removed and nothing has come in its place yet."""
        if os.fstat(self._descriptor).st_size < self._at:
            return True
        try:
            return os.stat(self.name).st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        """May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
