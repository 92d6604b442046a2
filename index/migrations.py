"""What brings an older library up to the present schema, one version at a time.

A step takes the open store of version `v` and leaves it in version `v + 1`; it must be safe to run
again after a kill, because the version is recorded only when the step's work is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from index.errors import LibraryOlderError
from index.store import Store

MIGRATIONS: Mapping[int, Callable[[Store], None]] = {}
"""from_version -> step. Version 1 is the first, so there is nothing to migrate yet."""


def check_path(
    from_version: int,
    to_version: int,
    location: str,
    migrations: Mapping[int, Callable[[Store], None]] | None = None,
) -> None:
    """Raises LibraryOlderError if a step is missing, before anything is touched."""
    migrations = MIGRATIONS if migrations is None else migrations
    for version in range(from_version, to_version):
        if version not in migrations:
            raise LibraryOlderError(
                f"The library {location} has schema version {version}, which this Longtake "
                f"(version {to_version}) cannot upgrade. Build it anew: `longtake index` your "
                "videos into another library with --library, then remove this one."
            )


def migrate(
    store: Store,
    from_version: int,
    to_version: int,
    record: Callable[[int], None],
    migrations: Mapping[int, Callable[[Store], None]] | None = None,
) -> None:
    """Runs the steps in order. `record(version)` must make the new version durable."""
    migrations = MIGRATIONS if migrations is None else migrations
    for version in range(from_version, to_version):
        migrations[version](store)
        store.flush()
        record(version + 1)
