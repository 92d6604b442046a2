"""Where weights lie on this machine, and which of them are what they should be.

    <models.dir>/clip/ViT-B-32-SigLIP2-256/   the files, model.json (see depot_record) and
                                              prepared/ (what `longtake models prepare` made)
    <models.dir>/text/owner--name/            a hub repo that the catalogue does not know
    <models.dir>/text/name.pulling/           a pull that is not done

A folder that somebody copied here is as good as one that was pulled: its files are hashed when they
are first seen. Nothing here loads a model, torch or the hub's library.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from msgspec.structs import replace as with_values

from index.errors import ConfigError, ModelMissingError
from ingest.models import catalogue
from ingest.models.catalogue import CATALOGUE, KINDS, ModelSpec
from ingest.models.depot_missing import Missing, explain, lacking_packages
from ingest.models.depot_record import (
    FileRecord,
    Record,
    against_catalogue,
    incomplete,
    list_folder,
    pickles,
    read_record,
    record_file,
    unchanged,
    write_record,
    wrong_format,
)
from ingest.models.files import ModelFiles, inside_package

PULLING = ".pulling"
_PREPARED = "prepared"
_FACTS_BYTES = 100_000
_REPO = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*?)(@(?P<revision>[\w][\w./-]*))?")


@dataclass(frozen=True, slots=True)
class Place:
    """Which model a name means, and where it lies or would lie.

    spec: what the catalogue knows. repo: to pull it from; None where that makes no sense.
    revision: asked for; None takes the pinned one or the newest. ours: whether the folder is in
    models.dir, so that it may be filled and removed.
    """

    kind: str
    name: str
    folder: Path
    spec: ModelSpec | None = None
    repo: str | None = None
    revision: str | None = None
    ours: bool = True

    @property
    def called(self) -> str:
        """What means this place again: the path of a folder that no name leads to."""
        return self.name if self.ours or self.spec else str(self.folder.resolve())


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list. size: on disk if it is here, else to download. revision: the commit that
    is here, or would be pulled; None is not known before the hub was asked. pinned: "catalogue",
    "first use" (from now on what was pulled first) or "" (not yet)."""

    kind: str
    name: str
    state: Literal["here", "prepared", "partly pulled", "damaged", "missing"]
    size: int | None
    revision: str | None
    pinned: str
    default_for: tuple[str, ...] = ()
    origin: str = ""
    license: str = ""
    folder: Path | None = None
    problem: str = ""


class Depot:
    """The models in one folder, which need not exist. Raises ConfigError for unknown kinds.

    packages: name of a model in the catalogue -> PACKAGE/FOLDER, an installed Python package that
    carries it, for where it is not in the folder.
    """

    def __init__(self, folder: Path, packages: Mapping[str, str] | None = None):
        self.folder = folder
        self._packages = {name.casefold(): where for name, where in (packages or {}).items()}

    # Names

    def place(self, kind: str, name: str) -> Place:
        """name: of the catalogue, owner/name[@revision] of a hub repo, a folder's path, or what a
        folder under <models.dir>/<kind> is called."""
        if kind not in KINDS:
            raise ConfigError(f"No kind of model “{kind}”. Known: {', '.join(KINDS)}.")
        if spec := catalogue.known(name, kind):
            folder = self.folder / kind / spec.name
            carried = self._packages.get(spec.name.casefold())
            if carried and not folder.exists() and (inside := inside_package(carried)):
                return Place(kind, spec.name, inside, spec, ours=False)
            return Place(kind, spec.name, folder, spec, spec.repo, spec.revision)
        if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
            folder = Path(name).expanduser()
            return Place(kind, folder.resolve().name, folder, ours=False)
        if match := _REPO.fullmatch(name):
            slug = name.replace("/", "--")
            # The same weights as the catalogue's at another revision are another model.
            return Place(
                kind, name, self.folder / kind / slug, None, match["repo"], match["revision"]
            )
        if not re.fullmatch(r"[\w][\w.@-]*", name) or name.endswith(PULLING):
            raise ConfigError(f"“{name}” cannot be a model's name.")
        return Place(kind, name, self.folder / kind / name)

    def places(self, name: str) -> list[Place]:
        """Every model that answers to the name, whatever its kind."""
        if spec := catalogue.known(name):
            return [self.place(spec.kind, spec.name)]
        return [
            place for kind in KINDS if (place := self.place(kind, name)).folder.is_dir()
        ]  # a path can be looked at as any kind; the caller knows which

    @staticmethod
    def default(kind: str, device: str) -> str:
        """The name of the kind's default on that device ("cpu", "cuda", "mps"). Raises
        ConfigError where a model must be named."""
        name = catalogue.default(kind, device)
        if name is None:
            raise ConfigError(f"There is no default {kind} model: name one.")
        return name

    # Looking

    def find(self, kind: str, name: str) -> ModelFiles | None:
        """The model if it is here and whole. Looks at sizes and times; hashes only what it sees
        for the first time, or what has changed since."""
        with suppress(ModelMissingError):
            return self.files(kind, name)
        return None

    def files(self, kind: str, name: str) -> ModelFiles:
        """As `find`. Raises ModelMissingError that says what is missing or wrong, how large it is,
        and the ways out."""
        place = self.place(kind, name)
        record, problem = self.look(place)
        if record is None or problem:
            raise ModelMissingError(explain([self._missing(place, problem)]))
        return self._model(place, record)

    def _model(self, place: Place, record: Record) -> ModelFiles:
        # Beside the weights, so that a folder that is copied brings it along; but nothing is put
        # into folders that are not ours.
        prepared = place.folder / _PREPARED
        if not place.ours and not prepared.is_dir():
            slug = f"{place.name}-{record.digest[:12]}"
            prepared = self.folder / _PREPARED / place.kind / slug
        kind = None if place.ours or place.spec else place.kind
        folder, digest = place.folder, record.digest
        return ModelFiles(place.name, folder, digest, prepared, kind, pullable(place))

    def look(self, place: Place) -> tuple[Record | None, str]:
        """The record of what is there, hashed anew as far as it must be; and what is wrong with
        it, "" for nothing."""
        try:
            paths = list_folder(place.kind, place.folder)
        except NotADirectoryError:
            return None, f"{place.folder} is no folder"
        except FileNotFoundError:
            return None, "" if place.ours else f"there is no folder {place.folder}"
        except OSError as error:
            return None, f"{place.folder} cannot be read ({error.strerror})"
        old = read_record(place.folder)
        if old is not None and old.kind != place.kind and old.origin != "folder":
            return old, f"{place.folder} holds a {old.kind} model"
        if old is not None and old.origin != "folder":
            return self._look_at_pulled(place, old)
        if lacks := incomplete(place.kind, paths):
            if not paths and not any(place.folder.iterdir()):
                return None, ""
            found = pickles(entry.name for entry in place.folder.iterdir())
            if found and place.kind != "easyocr":
                lacks += (
                    f"; {found[0]} is a pickle, which runs whatever its maker wrote into it, and "
                    "is not loaded"
                )
            return None, f"{place.folder} has {lacks}"
        return self._take_stock(place, paths, old)

    def _take_stock(
        self, place: Place, paths: list[str], old: Record | None
    ) -> tuple[Record | None, str]:
        """Hashes what is new or has changed in a folder that somebody filled by hand."""
        known = {file.path: file for file in old.files} if old and old.kind == place.kind else {}
        files: list[FileRecord] = []
        for path in paths:
            file = known.get(path)
            if file is not None and unchanged(place.folder, file):
                files.append(file)
                continue
            if wrong := wrong_format(place.kind, place.folder / path):
                return None, f"{place.folder / path}: {wrong}"
            try:
                file = record_file(place.folder, path)
            except OSError as error:
                return None, f"{place.folder / path} cannot be read ({error.strerror})"
            checked = against_catalogue(place.spec, place.folder, file)
            if checked is None:
                return None, f"{place.folder / path} is not the file that the catalogue knows"
            files.append(with_values(file, checked=checked))
        record = Record(place.kind, place.name, "folder", tuple(files))
        if old is None or tuple(old.files) != record.files or old.kind != record.kind:
            write_record(place.folder, record, beside=place.ours)
        return record, ""

    def _look_at_pulled(self, place: Place, old: Record) -> tuple[Record | None, str]:
        """What was pulled is pinned: a file that has become another one is damage."""
        files = []
        for file in old.files:
            path = place.folder / file.path
            if unchanged(place.folder, file):
                files.append(file)
                continue
            try:
                # Copying changes times and not contents, so only then is it worth hashing.
                same_size = path.stat().st_size == file.size
                found = record_file(place.folder, file.path) if same_size else None
            except FileNotFoundError:
                return old, f"{path} is missing"
            except OSError as error:
                return old, f"{path} cannot be read ({error.strerror})"
            if found is None or found.sha256 != file.sha256:
                return old, f"{path} is not the file that was pulled"
            files.append(with_values(file, mtime_ns=found.mtime_ns))
        if tuple(files) != old.files:
            old = with_values(old, files=tuple(files))
            write_record(place.folder, old, beside=place.ours)
        return old, ""

    def prepared(self, files: ModelFiles) -> bool:
        """Whether there is an ONNX copy of just these weights."""
        try:
            names = os.listdir(files.prepared)
        except OSError:
            return False
        for name in names:
            if name.endswith(".json"):
                with suppress(OSError, ValueError, AttributeError):
                    if os.path.getsize(files.prepared / name) > _FACTS_BYTES:
                        continue  # a tokenizer
                    facts = json.loads((files.prepared / name).read_bytes())
                    if facts.get("digest", files.digest) != files.digest:
                        return False
        return any(name.endswith(".onnx") for name in names)

    # What is missing

    def missing(self, wanted: Sequence[tuple[str, str]]) -> list[Missing]:
        """Which of the (kind, name) are not here, each once, and packages that they need."""
        found = []
        for kind, name in dict.fromkeys(wanted):
            place = self.place(kind, name)
            record, problem = self.look(place)
            if record is None or problem:
                found.append(self._missing(place, problem))
            # An ONNX copy answers queries and indexes on the CPU without the packages.
            elif (lacking := lacking_packages(kind)) and not self.prepared(
                self._model(place, record)
            ):
                found.append(Missing(kind, place.name, place.folder, here=True, packages=lacking))
        return found

    def check_present(self, wanted: Sequence[tuple[str, str]]) -> None:
        """Raises one ModelMissingError that lists what is missing, its sizes, and the ways out."""
        if missing := self.missing(wanted):
            raise ModelMissingError(
                explain(missing) + " Or leave those channels out: --channels, --profile packaged."
            )

    def _missing(self, place: Place, problem: str) -> Missing:
        size = place.spec.size if place.spec else None
        return Missing(
            place.kind, place.name, place.folder, size, problem,
            packages=lacking_packages(place.kind), pullable=pullable(place),
        )  # fmt: skip

    # All of them

    def listing(self) -> list[Entry]:
        """The catalogue, and whatever else lies in the folder."""
        entries = [self.entry(self.place(spec.kind, spec.name)) for spec in CATALOGUE]
        listed = {entry.folder for entry in entries}
        for kind in KINDS:
            for folder in self._folders(kind):
                if folder not in listed:
                    record = read_record(folder)
                    name = record.name if record else folder.name.replace("--", "/", 1)
                    entries.append(self.entry(replace(self.place(kind, folder.name), name=name)))
        order = {kind: at for at, kind in enumerate(KINDS)}
        return sorted(entries, key=lambda entry: order[entry.kind])

    def _folders(self, kind: str) -> Iterator[Path]:
        with suppress(OSError):
            for entry in sorted((self.folder / kind).iterdir()):
                if entry.is_dir() and not entry.name.startswith(".") and entry.suffix != PULLING:
                    yield entry

    def entry(self, place: Place) -> Entry:
        """The line of one model."""
        record, problem = self.look(place)
        spec, revision = place.spec, place.revision
        state: Literal["here", "prepared", "partly pulled", "damaged", "missing"] = "missing"
        size = spec.size if spec else None
        pinned = "catalogue" if spec and (spec.revision or spec.kind == "easyocr") else ""
        if problem:
            state = "damaged"
        elif record is not None:
            state = "prepared" if self.prepared(self._model(place, record)) else "here"
            size = record.size
            pinned = pinned if record.commit == revision or not record.commit else "first use"
        elif pulling(place).is_dir():
            state = "partly pulled"
        if record is not None:
            revision = record.commit or revision
        return Entry(
            place.kind, place.name, state, size, revision, pinned,
            spec.default_for if spec else (), record.origin if record else "",
            spec.license if spec else "", place.folder, problem,
        )  # fmt: skip

    def verify(self, place: Place) -> Iterator[tuple[str, str]]:
        """Hashes every file again, whatever its time says. Yields (path, what is wrong), "" for
        nothing; damage to what was pulled is remembered. Raises ModelMissingError."""
        record, problem = self.look(place)
        if record is None:
            raise ModelMissingError(explain([self._missing(place, problem)]))
        files = list(record.files)
        for number, file in enumerate(files):
            try:
                found = record_file(place.folder, file.path)
            except OSError as error:
                yield file.path, "is missing" if error.errno == 2 else str(error.strerror)
                continue
            if found.size != file.size:
                yield file.path, f"has {found.size} bytes instead of {file.size}"
            elif found.sha256 != file.sha256:
                files[number] = with_values(file, mtime_ns=0)  # the next look hashes it, too
                yield file.path, f"hashes to {found.sha256} instead of {file.sha256}"
            elif against_catalogue(place.spec, place.folder, found) is None:
                yield file.path, "is not the file that the catalogue knows"
            else:
                yield file.path, ""
        if tuple(files) != record.files and record.origin != "folder":
            write_record(place.folder, with_values(record, files=tuple(files)), beside=place.ours)

    def remove(self, place: Place) -> int:
        """Deletes the model, what was prepared of it and what was pulled of it so far. Returns the
        bytes freed. Raises ConfigError for a folder that is not in models.dir."""
        if not place.ours:
            raise ConfigError(f"{place.folder} is not in {self.folder}: remove it yourself.")
        freed = 0
        for folder in (place.folder, pulling(place)):
            for path, _, names in os.walk(folder):
                freed += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
            try:
                if folder.is_symlink():
                    folder.unlink()
                elif folder.exists():
                    shutil.rmtree(folder)
            except OSError as error:
                raise ConfigError(f"{folder} cannot be removed: {error.strerror}.") from error
        return freed


def pulling(place: Place) -> Path:
    """Where a model is put together while it is pulled."""
    return place.folder.with_name(place.folder.name + PULLING)


def pullable(place: Place) -> bool:
    """Whether there is somewhere to pull it from."""
    return place.repo is not None or (place.spec is not None and place.kind == "easyocr")
