"""One process at a time works on a video: a file lock that dies with its holder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.disk import translate


@contextmanager
def claim(folder: Path, video_id: str) -> Iterator[bool]:
    """Yields whether this process now holds the claim on `video_id`; gives it up at the end.

    folder: where the lock files lie, one a video; made when missing, but not what is above it.
    Raises DiskFullError, LibraryReadOnlyError.
    """
    try:
        folder.mkdir(exist_ok=True)
        file = (folder / f"{video_id}.lock").open("w")
    except OSError as error:
        raise translate(error, folder, "claiming a video") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # The file stays: removing it would let a third process lock a new one of the same name.
        yield True
