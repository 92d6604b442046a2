"""What brings an older library up to the present schema, one version at a time.

A step takes the open store of version `v` and leaves it in version `v + 1`; it must be safe to run
again after a kill, because the version is recorded only when the step's work is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from index.errors import LibraryOlderError
from index.records import generation_from
from index.store import ATOMIC_POINTS, Store, scroll, where


def _what_is_said_in_sentences(store: Store) -> None:
    """Cuts what is said anew, into sentences and windows with outlines over them. The vectors of
    the old passages go, and the next `longtake index` makes new ones; nothing is recognised
    again."""
    from index.library import Library
    from index.passages import SAID, PassageBuilder, passage_point, reading_order

    library = Library(store)
    for point in list(scroll(store, where(kind="generation", channel=SAID))):
        generation = generation_from(point.payload)
        for kind in ("passage", "text_stats", "outline"):
            store.delete(where(kind=kind, generation=generation.id))
        builder = PassageBuilder(generation)
        evidence = library.evidence(
            generation.video_id, channel=generation.channel, generation=generation.id
        )
        passages = builder.push(sorted(evidence, key=reading_order))
        points = [
            *map(passage_point, passages),
            *builder.statistics_points(),
            *builder.outline_points(),
        ]
        for start in range(0, len(points), ATOMIC_POINTS):
            store.upsert(points[start : start + ATOMIC_POINTS])
    for channel in SAID:
        store.delete(where(kind="embedding", channel=channel))
        store.delete(where(kind="generation", channel=f"text:{channel}"))


MIGRATIONS: Mapping[int, Callable[[Store], None]] = {1: _what_is_said_in_sentences}
"""from_version -> step."""


def check_path(
    from_version: int,
    to_version: int,
    location: str,
) -> None:
    """Raises LibraryOlderError if a step is missing, before anything is touched."""
    for version in range(from_version, to_version):
        if version not in MIGRATIONS:
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
) -> None:
    """Runs the steps in order. `record(version)` must make the new version durable."""
    for version in range(from_version, to_version):
        MIGRATIONS[version](store)
        store.flush()
        record(version + 1)
