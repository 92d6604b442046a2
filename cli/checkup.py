"""The half of `longtake doctor` that looks at the library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cli.finding import Finding

if TYPE_CHECKING:
    from cli.settings import Settings
    from index.library import Library
    from index.schema import Generation

PATIENCE_SECONDS = 3.0
"""How long an owner may stay silent before it is reported."""

NAMED = 5
"""Videos and generations named in one finding; the rest are counted."""


def examine_library(settings: Settings) -> Iterator[Finding]:
    """Looks at the library without changing it, apart from what any opening settles. What may
    kill a process (a shard that was cut short, a full disk) is tried in a child."""
    if settings.server is not None:
        yield from _served(settings)
        return
    path = settings.library
    yield disk(settings)
    if not (path / "manifest.json").exists() and not _has_shards(path):
        text = f"There is no library at {path} yet."
        yield Finding("library", "info", text, "longtake index FOLDER makes one.")
        return
    healthy = True
    for finding in _files(path):
        healthy = healthy and finding.status != "broken"
        yield finding
    if not healthy:
        return
    for finding in _shards(path):
        healthy = healthy and finding.status != "broken"
        yield finding
    if healthy:
        yield from _contents(settings)


def disk(settings: Settings) -> Finding:
    """Free space on the library's disk against the reserve below which nothing is written."""
    from index.disk import DiskGuard, human_bytes

    path = settings.library
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    reserve = settings.index.reserve_bytes
    guard = DiskGuard(place, reserve_bytes=reserve, ballast_bytes=settings.index.ballast_bytes)
    try:
        free = guard.free_bytes()
    except OSError as error:
        return Finding("disk", "broken", f"The disk of {place} does not answer: {error.strerror}.")
    detail = {"path": str(place), "free_bytes": free, "reserve_bytes": reserve}
    text = f"{human_bytes(free)} free at {place}"
    if free < reserve:
        text += f", less than the reserve of {human_bytes(reserve)}: nothing can be indexed."
        hint = (
            "Free some space, or put the library on another disk (--library). Searching goes on "
            "meanwhile."
        )
        return Finding("disk", "broken", text, hint, detail)
    if free < 4 * reserve:
        text += f"; indexing stops at {human_bytes(reserve)}."
        return Finding("disk", "warning", text, "Free some space soon.", detail)
    return Finding("disk", "ok", f"{text} ({human_bytes(reserve)} are kept free).", detail=detail)


def _has_shards(path: Path) -> bool:
    try:
        return any((path / "shards").iterdir())
    except OSError:
        return False


def _files(path: Path) -> Iterator[Finding]:
    """The folder and the manifest."""
    from index import manifest
    from index.errors import LibraryError
    from index.migrations import check_path
    from index.schema import SCHEMA_VERSION

    if not os.access(path, os.W_OK | os.X_OK):
        text = f"{path} cannot be written by this user, so it cannot be searched either."
        hint = f"chmod -R u+rwX {path}, or copy it to another disk and name that with --library."
        yield Finding("library", "broken", text, hint)
    try:
        found = manifest.read(path, SCHEMA_VERSION)
        if found is not None:
            check_path(found.schema_version, SCHEMA_VERSION, str(path))
    except LibraryError as error:
        yield Finding("library", "broken", str(error))
        return
    if found is None:
        yield Finding(
            "library", "broken", f"{path / manifest.FILE_NAME} is missing, but there are shards.",
            "Restore it from a backup, or move the folder away and index again.",
        )  # fmt: skip
        return
    text = f"{path}, schema version {found.schema_version}."
    if found.schema_version < SCHEMA_VERSION:
        text = f"{text[:-1]}; the next command upgrades it to version {SCHEMA_VERSION}."
    yield Finding(
        "library", "ok", text,
        detail={"path": str(path), "schema_version": found.schema_version},
    )  # fmt: skip


def _shards(path: Path) -> Iterator[Finding]:
    """Each shard, opened and read in a child of its own. Nothing where a live process has the
    library open: that one has read them."""
    from index.errors import LibraryBusyError, LibraryError
    from index.health import check

    try:
        reports = check(path)
    except LibraryBusyError:
        return
    except LibraryError as error:
        yield Finding("library", "broken", str(error))
        return
    for report in reports:
        if not report.ok:
            yield Finding("library", "broken", report.message, detail=asdict(report))
    if reports and all(report.ok for report in reports):
        points = sum(report.points or 0 for report in reports)
        text = f"{_plural(len(reports), 'shard')} opened and read: {_plural(points, 'point')}."
        yield Finding("library", "ok", text, detail={"shards": [asdict(r) for r in reports]})


def _contents(settings: Settings) -> Iterator[Finding]:
    """What the library holds, asked of its owner or read here."""
    from index.access import open_store
    from index.errors import LongtakeError
    from index.library import Library
    from index.remote import SocketStore

    try:
        store = open_store(
            settings.library,
            settings=settings.index,
            create=False,
            patience_seconds=PATIENCE_SECONDS,
        )
    except LongtakeError as error:
        yield Finding("library", "broken", str(error))
        return
    try:
        if isinstance(store, SocketStore):
            text = f"Open in process {store.owner_pid}, which answers for it."
            yield Finding("library", "ok", text, detail={"owner": store.owner_pid})
        yield from _counts(store)
        yield from catalogue(Library(store), owned=isinstance(store, SocketStore))
    except LongtakeError as error:
        yield Finding("library", "broken", str(error))
    finally:
        store.close()


def _counts(store) -> Iterator[Finding]:
    from index.disk import human_bytes
    from index.store import where

    info = store.info()
    kinds = {kind: store.count(where(kind=kind)) for kind in ("video", "evidence", "passage")}
    size = "" if info.bytes_on_disk is None else f", {human_bytes(info.bytes_on_disk)}"
    text = (
        f"{_plural(kinds['video'], 'video')}, {kinds['evidence']:,} pieces of evidence, "
        f"{_plural(kinds['passage'], 'passage')}{size}."
    )
    detail = {**kinds, "points": info.points, "shards": info.shards, "engine": info.engine}
    yield Finding("library", "ok", text, detail=detail | dict(info.detail))
    if problem := info.detail.get("compaction_error"):
        yield Finding("library", "warning", f"The last compaction failed: {problem}")


def catalogue(library: Library, owned: bool = False) -> Iterator[Finding]:
    """Work that was begun and not finished, and files that have gone.

    owned: another process has the library open, so unfinished work may be in its hands.
    """
    from cli.browse import notes_on

    videos = {video.id: video for video in library.videos()}
    unfinished: dict[str, set[str]] = {}
    generations: dict[str, list[Generation]] = {}
    for generation in library.generations():
        generations.setdefault(generation.video_id, []).append(generation)
        live = generation.video_id in videos and videos[generation.video_id].source
        if (not generation.complete or generation.state != "active") and not live:
            unfinished.setdefault(generation.video_id, set()).add(generation.channel)
    if unfinished:
        named = [
            f"{videos[id_].title if id_ in videos else id_[:8]} ({', '.join(sorted(channels))})"
            for id_, channels in unfinished.items()
        ]
        yield Finding(
            "library", "info" if owned else "warning",
            f"Not indexed to the end: {_some(named)}.",
            "longtake index with the same paths goes on where it stopped.",
            {"unfinished": {id_: sorted(channels) for id_, channels in unfinished.items()}},
        )  # fmt: skip
    missing = [
        file.path
        for video in videos.values()
        for file in video.files
        if not os.path.exists(file.path)
    ]
    if missing:
        yield Finding(
            "library", "warning",
            f"Files that are not there any more: {_some(missing)}.",
            "If moved, index the new place; if gone for good, longtake rm VIDEO.",
            {"missing": missing},
        )  # fmt: skip
    noted = [
        video.title for video in videos.values() if notes_on(video, generations.get(video.id, ()))
    ]
    if noted:
        yield Finding(
            "library", "info",
            f"Indexing left notes with {_some(noted)}.",
            "longtake show VIDEO tells them.",
        )  # fmt: skip


def _served(settings: Settings) -> Iterator[Finding]:
    """A library on a Qdrant server."""
    from cli.compose import open_store
    from index.errors import LongtakeError
    from index.library import Library

    try:
        store = open_store(settings)
    except LongtakeError as error:
        yield Finding("library", "broken", str(error))
        return
    try:
        yield Finding("library", "ok", f"The Qdrant server at {settings.server.url} answers.")
        yield from _counts(store)
        yield from catalogue(Library(store))
    except LongtakeError as error:
        yield Finding("library", "broken", str(error))
    finally:
        store.close()


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
