"""Blocks of bytes in one file that is written over from the beginning once it is full."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO


class Ring:
    """Blocks by number, the first in being the first out.

    limit: bytes that the file never exceeds. folder: where it is (None: where temporary files go),
    once one is needed. It has no name there, so that whatever becomes of this process, nothing is
    left of it.
    """

    def __init__(self, limit: int, folder: Path | None = None):
        self._limit, self._folder = limit, folder
        self._file: IO[bytes] | None = None
        self._places: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._head = 0
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def place(self, number: int) -> tuple[int, int]:
        """[start, end) in the file, in bytes. Raises KeyError."""
        return self._places[number]

    def push(self, number: int, parts: Sequence[memoryview]) -> bool:
        """Whether there was room in one place; where not, `pop` makes some. parts: bytes that are
        written one behind another. Raises OSError where the file can neither grow nor be written
        over, in which case, too, there may be room after a `pop`."""
        size = sum(map(len, parts))
        if size > self._limit:
            return False
        first = next(iter(self._places.values()))[0] if self._places else 0
        ahead = not self._places or self._head > first
        if not self._places:
            self._head = 0
        end = self._limit if ahead else first
        refused: OSError | None = None
        for start, room in ((self._head, end), (0, first if ahead else 0)):
            if start + size > room:
                continue
            try:
                self._write(parts, start)
            except OSError as error:  # a full disk: what is there already can be written over
                refused = error
                continue
            self._places[number] = start, start + size
            self._head = start + size
            return True
        if refused is not None:
            raise refused
        return False

    def _write(self, parts: Sequence[memoryview], start: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - it lives as long as the ring
                buffering=0, prefix="longtake-stream-", dir=self._folder
            )
        rest, at = [part for part in parts if len(part)], start
        try:
            while rest:  # a disk that is nearly full takes a part
                count = os.pwritev(self._file.fileno(), rest, at)
                at += count
                while rest and count >= len(rest[0]):
                    count -= len(rest.pop(0))
                if rest:
                    rest[0] = rest[0][count:]
        except OSError:
            self._file.truncate(self.nbytes)
            raise
        self.nbytes = max(self.nbytes, at)

    def pop(self) -> int:
        """Forgets the first one and returns its number. Its room is kept for others."""
        return self._places.popitem(last=False)[0]

    def read(self, start: int, room: memoryview) -> None:
        """Fills it with the bytes from `start` on. Raises OSError where they cannot be read."""
        while room and self._file is not None:
            count = os.preadv(self._file.fileno(), [room], start)
            if not count:
                raise OSError("A file of a stream is shorter than what was written.")
            room, start = room[count:], start + count

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._places.clear()
        self._head = self.nbytes = 0
