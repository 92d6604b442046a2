"""One process at a time works on a channel of a video.

In an embedded library that is a file lock a video, which dies with its holder: `FileClaims`. On a
server it is a lease a channel, which other machines see as well: index.leases.Leases.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from index.disk import translate


class Claim(Protocol):
    def take(self, channel: str) -> bool:
        """Whether this process may work on that channel from now on. Raises LeaseLostError."""
        ...


class Claims(Protocol):
    def holding(self, video_id: str) -> AbstractContextManager[Claim | None]:
        """A claim on the video, given up at the end. None where another process has all of it."""
        ...


class WholeVideo:
    """A claim on all channels."""

    def take(self, channel: str) -> bool:
        return True


class FileClaims:
    """folder: of the lock files, one a video; made when missing, but not what is above it."""

    def __init__(self, folder: Path):
        self._folder = folder

    @contextmanager
    def holding(self, video_id: str) -> Iterator[WholeVideo | None]:
        """Raises DiskFullError, LibraryReadOnlyError."""
        try:
            self._folder.mkdir(exist_ok=True)
            file = (self._folder / f"{video_id}.lock").open("w")
        except OSError as error:
            raise translate(error, self._folder, "claiming a video") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            # The file stays: removing it would let a third process lock a new one of the same name.
            yield WholeVideo()
