"""Free space: the reserve below which nothing is written, and the ballast that lets a library on a
full disk open.

The engine maps its files into memory, so a full disk kills the process (SIGBUS), when it writes and
again when it opens. Asking for the free space costs two microseconds, so it is asked before every
write.

On a memory disk (tmpfs) even reading the hole of a file takes space, and each shard that is not yet
optimised has up to 64 MB of holes in its write-ahead log: there the reserve must cover those.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from index.errors import DiskFullError, LibraryError, LibraryReadOnlyError


def human_bytes(size: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def bytes_on_disk(path: Path) -> int:
    """What the files under `path` occupy, holes not counted."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:  # removed meanwhile
                pass
    return total


def sync_directory(path: Path) -> None:
    """Makes renames, creations and removals in that folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Makes every file and folder under `path` durable."""
    for folder, _, files in os.walk(path):
        for name in files:
            _with_descriptor(Path(folder, name), os.fsync)
        sync_directory(Path(folder))


def sync_files(folder: Path) -> None:
    """Makes what is in the files of that folder durable, the folder too, though somebody may be
    renaming them and adding new ones."""
    for last in (False, False, True):
        try:
            for name in os.listdir(folder):
                _with_descriptor(folder / name, sync_data)
            break
        except FileNotFoundError:  # renamed since it was listed
            if last:
                raise
    sync_directory(folder)


def sync_data(descriptor: int) -> None:
    """Makes durable all that is needed to read the data again. Where only the time of the last
    change is new, fsync would commit the file system's journal, with what others have in it."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:  # macOS
        os.fsync(descriptor)


def write_back(path: Path) -> None:
    """Has the system begin to write what the files under `path` hold in memory. Promises nothing,
    but takes the bulk of the time off a sync that follows."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                _with_descriptor(Path(folder, name), _start_writing)
            except OSError:  # gone meanwhile: it was replaced
                pass


@contextmanager
def holding_files(folder: Path) -> Iterator[None]:
    """Keeps the files under `folder` open, so that none of them is given back to the disk meanwhile
    though it is removed. At the end they are, without the interpreter's lock."""
    descriptors: list[int] = []
    try:
        for inside, _, names in os.walk(folder):
            for name in names:
                try:
                    descriptors.append(os.open(os.path.join(inside, name), os.O_RDONLY))
                except OSError:  # gone meanwhile, or too many: it is a help, not a need
                    pass
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _with_descriptor(path: Path, act: Callable[[int], object]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        act(descriptor)
    finally:
        os.close(descriptor)


def _start_writing(descriptor: int) -> None:
    if _sync_file_range is not None:
        _sync_file_range(descriptor, 0, 0, 2)  # WRITE


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_sync_file_range = _find_sync_file_range()


def write_durably(path: Path, data: bytes) -> None:
    """Replaces the file in one step: after a power cut it holds the old or the new data."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def translate(error: OSError, path: Path, doing: str) -> LibraryError:
    """The library error for a file operation that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"The disk of the library {path} is full ({doing}). Nothing that was committed is "
            "lost. Free some space, then run the same command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LibraryReadOnlyError(
            f"The library {path} cannot be written ({doing}: {error.strerror}). Make the folder "
            "writable for this user, or choose another one with --library."
        )
    return LibraryError(f"The library {path} cannot be used ({doing}: {error.strerror or error}).")


class DiskGuard:
    """Watches the free space of one library's disk."""

    def __init__(self, path: Path, *, reserve_bytes: int, ballast_bytes: int):
        self.path = path
        self.reserve_bytes = reserve_bytes
        self.ballast_bytes = ballast_bytes
        self.ballast = path / "ballast"

    def free_bytes(self) -> int:
        """What this user may still write."""
        stats = os.statvfs(self.path)
        return stats.f_bavail * stats.f_frsize

    def check(self, need_bytes: int = 0) -> None:
        """Raises DiskFullError if writing `need_bytes` would go below the reserve."""
        free = self.free_bytes()
        if free < self.reserve_bytes + need_bytes:
            raise DiskFullError(
                f"The disk of the library {self.path} has {human_bytes(free)} free, and "
                f"{human_bytes(self.reserve_bytes + need_bytes)} must stay free for a safe write. "
                "Nothing that was committed is lost, and searching goes on. Free some space (or "
                "remove videos with `longtake rm`), then run the same command again."
            )

    def release_for_opening(self) -> bool:
        """Gives the ballast's space back if opening could otherwise run out of it. True if so."""
        if self.free_bytes() >= self.ballast_bytes or self.held_bytes() == 0:
            return False
        self.ballast.unlink(missing_ok=True)
        return True

    def held_bytes(self) -> int:
        """How much space the ballast holds."""
        try:
            return self.ballast.stat().st_size
        except OSError:
            return 0

    def restore(self) -> None:
        """Lays the ballast down again if it is missing and there is room for it."""
        if (
            self.ballast_bytes == 0
            or self.held_bytes() == self.ballast_bytes
            or self.free_bytes() < self.reserve_bytes + 2 * self.ballast_bytes
        ):
            return
        try:
            with open(self.ballast, "wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self.ballast_bytes)
                else:  # macOS
                    file.write(b"\0" * self.ballast_bytes)
        except OSError:  # it is a help, not a need
            self.ballast.unlink(missing_ok=True)
