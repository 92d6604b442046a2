"""The manifest: which shards make up a library, in which order, and what is known of them.

The file is replaced whole by an atomic rename, so it is the one thing that decides what the library
is: a shard folder that it does not name is left over from a kill and is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from index.disk import write_durably
from index.errors import LibraryDamagedError, LibraryNewerError
from index.faults import fault_point
from index.store import VectorSpace

FILE_NAME = "manifest.json"


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One shard.

    state: "head" takes the writes (exactly one, the last); "sealed" only loses points.
    optimised: written by a compaction: merged, indexed, and without a write-ahead log.
    sort: what its points have in common (see index.compaction); None where nobody sorted them.
    kinds: the kinds of its points; None where they are not known.
    settled: no older shard's copy of one of its points can come back after a kill (see
        index.edge). Never true of the head.
    created_seconds: Unix time.
    points: how many it held when it was sealed or compacted; 0 for the head.
    spaces: names of the vector spaces that it has.
    """

    name: str
    state: Literal["head", "sealed"]
    optimised: bool = False
    sort: str | None = None
    kinds: tuple[str, ...] | None = None
    settled: bool = False
    created_seconds: float = 0.0
    points: int = 0
    spaces: tuple[str, ...] = ()


class Space(msgspec.Struct, frozen=True):
    """A `VectorSpace` as stored."""

    name: str
    size: int | None
    distance: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """shards: oldest first, the head last. next_shard: number for the next folder."""

    schema_version: int
    spaces: tuple[Space, ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    next_shard: int = 1

    def vector_spaces(self) -> dict[str, VectorSpace]:
        return {s.name: VectorSpace(s.name, s.size, s.distance) for s in self.spaces}

    def replace(self, **changes) -> Manifest:
        return msgspec.structs.replace(self, **changes)


class _Version(msgspec.Struct):
    schema_version: int


def read(library: Path, supported_version: int) -> Manifest | None:
    """The manifest of the library, None where there is none yet.

    Raises LibraryNewerError for a schema above `supported_version` (whose manifest may hold what we
    cannot read, so only the version is looked at), LibraryDamagedError for one that is unreadable.
    """
    path = library / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LibraryDamagedError(
            f"{path} cannot be read ({error.strerror}). Check the permissions of the folder; "
            "where the disk is at fault, restore the folder from a backup."
        ) from error
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version > supported_version:
            raise LibraryNewerError(
                f"The library {library} has schema version {version}; this Longtake knows "
                f"versions up to {supported_version}. Upgrade Longtake, or choose another library "
                "with --library."
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise LibraryDamagedError(
            f"{path} is damaged ({error}). Restore it from a backup, or move the folder away and "
            "index again."
        ) from error


def write(library: Path, manifest: Manifest) -> None:
    """Replaces the manifest durably. OSError goes to the caller."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    fault_point("manifest")
    write_durably(library / FILE_NAME, data)
    fault_point("manifest-renamed")
