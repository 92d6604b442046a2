"""The folder of an embedded library: who owns it, whether it was closed well, what lies in it.

manifest.json   which shards there are (index.manifest)
shards/NAME/    one shard of the engine each
lock            held (flock) by the one process that owns the library
unclean         there while the library is open; found on opening, it tells of a kill
ballast         space to give back when the disk is full (index.disk)
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index import manifest as manifests
from index.disk import translate, write_durably
from index.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryError,
    LibraryReadOnlyError,
)
from index.manifest import Manifest


class LibraryFolder:
    """Makes the folder if asked to, and owns it until `release`.

    Raises LibraryBusyError, LibraryReadOnlyError, DiskFullError; LibraryError where there is none
    and `create` is False.
    """

    def __init__(self, path: Path, *, create: bool):
        self.path = path
        self.shards = path / "shards"
        self._marker = path / "unclean"
        with self.files("making its folder"):
            if not (path / manifests.FILE_NAME).exists() and not create and not self._has_shards():
                raise LibraryError(
                    f"There is no library at {path}. Make one with `longtake index PATH`, or name "
                    "another with --library."
                )
            self.shards.mkdir(parents=True, exist_ok=True)
        self._lock = self._take()

    def _has_shards(self) -> bool:
        return self.shards.is_dir() and any(self.shards.iterdir())

    def _take(self) -> int:
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise LibraryReadOnlyError(
                f"The library {self.path} cannot be written, which searches need as well: the "
                "engine opens its files for writing. Make the folder writable for this user, copy "
                "it to another disk (`cp -r`), or choose another one with --library."
            )
        with self.files("locking it"):
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise LibraryBusyError(
                    f"The library {self.path} is open in another process."
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def release(self) -> None:
        """Gives the library to whoever wants it next."""
        os.close(self._lock)

    def read_manifest(self, schema_version: int) -> Manifest:
        """The manifest; in a new folder an empty one, written."""
        with self.files("reading its manifest"):
            found = manifests.read(self.path, schema_version)
            if found is not None:
                return found
            if self._has_shards():
                raise LibraryDamagedError(
                    f"{self.path / manifests.FILE_NAME} is missing, but there are shards. Restore "
                    "it from a backup, or move the folder away and index again."
                )
            found = Manifest(schema_version=schema_version)
            manifests.write(self.path, found)
            return found

    def write_manifest(self, manifest: Manifest) -> None:
        with self.files("writing its manifest"):
            manifests.write(self.path, manifest)

    def sweep(self, manifest: Manifest) -> None:
        """Removes what a kill left behind: shard folders that the manifest does not name."""
        known = {entry.name for entry in manifest.shards}
        with self.files("removing left-over shards"):
            for folder in self.shards.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder)

    # The marker holds "opening" while the shards are loaded, so that the next one knows whether
    # a shard may have killed this process.

    def marker(self) -> str | None:
        """None after a clean close, else "opening" or "open": where the last owner died."""
        try:
            return self._marker.read_text()
        except FileNotFoundError:
            return None

    def mark(self, state: str | None) -> None:
        with self.files("marking it as open"):
            if state is None:
                self._marker.unlink(missing_ok=True)
            else:
                write_durably(self._marker, state.encode())

    @contextmanager
    def files(self, doing: str) -> Iterator[None]:
        """Translates OSError."""
        try:
            yield
        except OSError as error:
            raise translate(error, self.path, doing) from error
