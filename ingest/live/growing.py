"""What is read byte by byte: standard input, and a file that somebody else is still writing."""

from __future__ import annotations

import hashlib
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable

from index.errors import SourceError

_POLL_SECONDS = 0.1
_HEAD_BYTES = 4096
_TS_SYNC, _TS_BYTES = 0x47, 188


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

    It ends where another file has taken its name, it has become shorter, it was begun anew (MPEG-TS
    alone, since others write their beginning once more in the end), or the user stops. Raises
    SourceError where it cannot be read.
    """

    def __init__(
        self,
        path: str,
        stop: threading.Event,
        say: Callable[[str], None] = lambda text: None,
        patience_seconds: float = math.inf,
    ):
        """say: told, once, where so long nothing more has come and it is not `understood`."""
        self.name = path
        self.understood = False
        self._stop = stop
        self._say = say
        self._patience_seconds = patience_seconds
        self._at = 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise SourceError(f"{path}: is not there (yet).") from error
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error
        self._inode = os.fstat(self._descriptor).st_ino
        self._head = b""

    def content(self) -> str:
        """What the file is known again by: its first bytes, and its inode. "" while it is too short
        to tell."""
        head = os.pread(self._descriptor, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES:
            return ""
        return f"{self._inode}:{hashlib.blake2b(head, digest_size=12).hexdigest()}"

    def read(self, size: int) -> bytes:
        since = time.monotonic()
        while not self._stop.is_set():
            try:
                if self._begun_anew():
                    return b""
                data = os.read(self._descriptor, size)
            except OSError as error:
                raise SourceError(f"{self.name}: cannot be read ({error.strerror}).") from error
            if data:
                self._at += len(data)
                return data
            if self._replaced():
                return b""
            if not self.understood and time.monotonic() - since >= self._patience_seconds:
                self.understood = True  # as far as anybody is told
                self._say(
                    f"{self.name}: holds nothing so far that can be read as video or sound, and is "
                    "waited for to grow."
                )
            self._stop.wait(_POLL_SECONDS)
        return b""

    def _begun_anew(self) -> bool:
        """As by a recorder that was started again and is already past where it was."""
        if not self._at:
            return False
        if len(self._head) < _HEAD_BYTES:
            before, self._head = self._head, os.pread(self._descriptor, _HEAD_BYTES, 0)
            return _is_ts(before) and not self._head.startswith(before)
        return _is_ts(self._head) and os.pread(self._descriptor, _HEAD_BYTES, 0) != self._head

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


def _is_ts(head: bytes) -> bool:
    return head[:1] == head[_TS_BYTES : _TS_BYTES + 1] == bytes([_TS_SYNC])
