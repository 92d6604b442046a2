"""Fetches a model from the hub: the files it consists of and no others, resumed where it was broken
off, held against their hashes, and put in place in one step.

Which commit and which hashes: those that the catalogue pins; else those that were recorded when the
model was pulled the first time; else what the hub answers now, which is recorded and kept to from
then on. The hub states a hash of every file (SHA-256 of large ones, git's id of small ones), so
each is checked whatever is pinned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace as with_values

from index.disk import human_bytes
from index.errors import ModelMissingError
from ingest.models import hub
from ingest.models.depot import Depot, Place, pulling
from ingest.models.depot_record import (
    FILE_NAME,
    FileRecord,
    Record,
    against_catalogue,
    hash_file,
    incomplete,
    pickles,
    read_record,
    record_file,
    relevant,
    safe_relative,
    unchanged,
    weights,
    write_record,
    wrong_format,
)
from ingest.models.hub import Source

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those that there will be; None is not known."""

_PLAN = "plan.json"
_PART = ".part"
_ROOM = 100_000_000
"""Bytes of the disk that are left free."""


class Plan(msgspec.Struct, frozen=True):
    """What a pull fetches, settled before the first byte, so that one that goes on later takes the
    same commit."""

    repo: str
    revision: str
    commit: str
    files: tuple[Source, ...]


def pull(
    depot: Depot,
    place: Place,
    *,
    endpoint: str | None = None,
    progress: Progress | None = None,
) -> bool:
    """Makes the model be there and whole. Returns whether anything had to be fetched.

    Raises ModelMissingError: no network, no such repo or revision, weights only as pickles, a hash
    that is wrong, a full disk, another pull of the same model. What was fetched stays, and the next
    pull goes on with it.
    """
    record, problem = depot.look(place)
    if record is not None and not problem:
        return False
    if not place.ours:
        raise ModelMissingError(f"{place.folder} is a folder of yours: {problem or 'it is empty'}.")
    with _claimed(place) as work:
        if place.kind == "easyocr":
            from ingest.models.pull_easyocr import fetch_releases

            files = fetch_releases(place, work, hub.transfer, progress)
            made = Record(place.kind, place.name, "release", files)
        else:
            made = _pull_from_hub(place, work, endpoint, progress)
        _put_in_place(place, work, made)
    return True


@contextmanager
def _claimed(place: Place) -> Iterator[Path]:
    """The folder that a model is put together in, for one process at a time."""
    work = pulling(place)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / ".lock").open("w")
    except OSError as error:
        raise ModelMissingError(
            f"{work} cannot be written ({error.strerror}). The setting models.dir chooses another "
            "folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelMissingError(f"Another process is pulling {place.name} already.") from error
        try:
            yield work
        except OSError as error:
            raise _disk_error(error, place) from error
        finally:
            if work.is_dir() and set(os.listdir(work)) <= {".lock"}:  # nothing to go on with
                shutil.rmtree(work, ignore_errors=True)


def _pull_from_hub(
    place: Place, work: Path, endpoint: str | None, progress: Progress | None
) -> Record:
    if place.repo is None:
        raise ModelMissingError(
            f"The catalogue has no {place.kind} model “{place.name}”. Name a repo of the hub "
            "(owner/name), or copy the files to "
            f"{place.folder}. `longtake models ls` lists what it knows."
        )
    with hub.translated(place):
        plan = _settled(place, work) or _settle(place, work, endpoint)
    _salvage(place, work, plan)
    total = sum(file.size or 0 for file in plan.files)
    done = sum(_size(work / file.path) for file in plan.files)
    _check_room(place, work, total - done)
    if progress is not None:
        progress(done, total)
    records = []
    for file in plan.files:
        path = work / file.path
        if not path.exists():
            others = done - _size(path)

            def moved(here: int, others: int = others) -> None:
                if progress is not None:
                    progress(others + here, total)

            part = path.with_name(path.name + _PART)
            with hub.translated(place):
                hub.fetch(
                    plan.repo, plan.commit, file.path, part,
                    size=file.size or 0, endpoint=endpoint, moved=moved,
                )  # fmt: skip
            os.replace(part, path)
            done = others + (file.size or 0)
        records.append(_checked(place, work, file))
    return Record(
        place.kind, place.name, "hub", tuple(records), plan.repo, plan.revision, plan.commit
    )


def _settled(place: Place, work: Path) -> Plan | None:
    """The plan of a pull that was interrupted."""
    try:
        plan = msgspec.json.decode((work / _PLAN).read_bytes(), type=Plan)
    except (OSError, ValueError):
        return None
    return plan if plan.repo == place.repo and plan.revision == (place.revision or "") else None


def _settle(place: Place, work: Path, endpoint: str | None) -> Plan:
    """Asks the hub which files the commit has, and writes that down."""
    pinned = read_record(place.folder)
    if pinned is not None and (pinned.origin != "hub" or pinned.repo != place.repo):
        pinned = None
    revision = (pinned.commit if pinned else "") or place.revision or "main"
    commit, listed = hub.list_repo(place.repo or "", revision, endpoint)
    siblings = {one.path: one for one in listed}
    chosen = relevant(place.kind, [path for path in siblings if safe_relative(path)])
    if lacks := incomplete(place.kind, chosen):
        refused = pickles(siblings)
        why = (
            f"{place.repo} has its weights only as {refused[0]}, a pickle, which runs whatever its "
            "maker wrote into it when it is loaded. Longtake takes safetensors only. A revision "
            f"that has them will do ({place.repo}@refs/pr/1, say), or another model."
            if refused and not weights(place.kind, chosen)
            else f"{place.repo} has {lacks}: it is no {place.kind} model."
        )
        raise ModelMissingError(why)
    files = tuple(siblings[path] for path in chosen)
    if unsized := [file.path for file in files if file.size is None]:
        raise ModelMissingError(f"The hub does not say how large {unsized[0]} of {place.repo} is.")
    plan = Plan(place.repo or "", place.revision or "", commit, files)
    _hold_against_pins(place, plan, pinned)
    # Pieces of another commit's files are of no use.
    for leftover in work.rglob(f"*{_PART}"):
        leftover.unlink()
    temporary = work / f"{_PLAN}.tmp"
    temporary.write_bytes(msgspec.json.encode(plan))
    os.replace(temporary, work / _PLAN)
    return plan


def _hold_against_pins(place: Place, plan: Plan, pinned: Record | None) -> None:
    """Refuses before the first byte what would be refused after the last."""
    known = {file.path: file.sha256 for file in pinned.files} if pinned else {}
    if place.spec is not None:
        known |= {file.path: file.sha256 for file in place.spec.files if file.sha256}
    for file in plan.files:
        if file.sha256 and known.get(file.path, file.sha256) != file.sha256:
            raise ModelMissingError(
                _wrong_hash(plan.repo, file.path, file.sha256, known[file.path])
            )


def _wrong_hash(repo: str, path: str, found: str, expected: str) -> str:
    return (
        f"{path} of {repo} is not the file that is pinned: it hashes to {found[:16]}…, and "
        f"{expected[:16]}… is expected. It was not kept. Pull again; if it stays so, the hub (or "
        "somebody between) gives out another file under the same name."
    )


def _salvage(place: Place, work: Path, plan: Plan) -> None:
    """Takes over from a damaged model what is as it should be."""
    old = read_record(place.folder)
    if old is None:
        return
    for source in plan.files:
        file = next((file for file in old.files if file.path == source.path), None)
        path = work / source.path
        if file is None or path.exists() or file.size != source.size:
            continue
        if source.sha256 == file.sha256 and unchanged(place.folder, file):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(place.folder / file.path, path)


def _check_room(place: Place, work: Path, need: int) -> None:
    free = shutil.disk_usage(work).free
    if free < need + _ROOM:
        raise ModelMissingError(
            f"{place.name} needs {human_bytes(need)} more, and the disk of {work.parent} has "
            f"{human_bytes(free)} free. Free some space, or choose another folder (models.dir)."
        )


def _size(path: Path) -> int:
    for there in (path, path.with_name(path.name + _PART)):
        try:
            return there.stat().st_size
        except OSError:
            continue
    return 0


def _checked(place: Place, work: Path, source: Source) -> FileRecord:
    """The file's record, if it is the right one; else it goes, and ModelMissingError is raised."""
    path = work / source.path
    file = record_file(work, source.path)
    expected, found, against = source.sha256, file.sha256, "hub"
    if not expected and source.git:
        expected, found, against = source.git, hash_file(path, "git"), "hub (git)"
    catalogued = against_catalogue(place.spec, work, file)
    if expected and found != expected:
        problem = _wrong_hash(place.repo or "", source.path, found, expected)
    elif catalogued is None:
        known = next(f.sha256 or "" for f in place.spec.files if f.path == source.path)  # type: ignore[union-attr]
        problem = _wrong_hash(place.repo or "", source.path, file.sha256, known)
    elif wrong := wrong_format(place.kind, path):
        problem = f"{source.path} of {place.repo} is refused: {wrong}."
    else:
        return with_values(file, checked=catalogued or (against if expected else ""))
    path.unlink()
    raise ModelMissingError(problem)


def _put_in_place(place: Place, work: Path, record: Record) -> None:
    """The finished folder takes its place by a rename. What was prepared of the same weights is
    kept."""
    old = read_record(place.folder)
    prepared = place.folder / "prepared"
    if old is not None and old.digest == record.digest and prepared.is_dir():
        os.replace(prepared, work / "prepared")
    (work / _PLAN).unlink(missing_ok=True)
    write_record(work, record)
    if not (work / FILE_NAME).exists():
        raise ModelMissingError(f"{work} cannot be written.")
    if place.folder.exists():
        gone = place.folder.with_name(f".{place.folder.name}.old")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(place.folder, gone)
        os.replace(work, place.folder)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        os.replace(work, place.folder)
    (place.folder / ".lock").unlink(missing_ok=True)


def _disk_error(error: OSError, place: Place) -> ModelMissingError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelMissingError(
            f"The disk of {place.folder.parent} is full. What was fetched of {place.name} stays: "
            "free some space and pull again, or choose another folder (models.dir)."
        )
    return ModelMissingError(f"{place.name} cannot be written: {error.strerror or error}.")
