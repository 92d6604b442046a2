"""Fetches EasyOCR's weights from the releases that the package itself names.

They are on no hub and only exist as .pth, that is as pickles. They are accepted for that reason
alone: each is held against the MD5 that EasyOCR publishes (and the catalogue repeats) before it is
kept, and is loaded weights-only.
"""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from index.errors import ModelMissingError
from ingest.models.depot import Place
from ingest.models.depot_record import FileRecord, hash_file, record_file
from ingest.models.files import INSTALL_MODELS

Transfer = Callable[[str, Path, int | None, Callable[[int], None]], None]


def fetch_releases(
    place: Place,
    work: Path,
    transfer: Transfer,
    progress: Callable[[int, int | None], None] | None,
) -> tuple[FileRecord, ...]:
    """Puts the files of an EasyOCR model into `work`. Raises ModelMissingError."""
    if place.spec is None:
        raise ModelMissingError(
            f"EasyOCR has no model “{place.name}” that the catalogue knows. Put its .pth files "
            f"into {place.folder}."
        )
    urls = release_urls(easyocr_config())
    records, before = [], 0
    for file in place.spec.files:
        target = work / file.path
        if not target.exists():
            if file.path not in urls:
                raise ModelMissingError(f"This version of easyocr does not know {file.path}.")
            archive = work / f"{file.path}.zip.part"

            def moved(here: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + here, None)

            if not zipfile.is_zipfile(archive):  # its end is there, so all of it is
                _fetch(place, urls[file.path], archive, transfer, moved)
            before += archive.stat().st_size
            _unpack(archive, file.path, target)
        found = hash_file(target, "md5")
        if found != file.md5:
            target.unlink()
            raise ModelMissingError(
                f"{file.path} is not the file that EasyOCR publishes: its MD5 is {found} instead "
                f"of {file.md5}. It was not kept; pull again."
            )
        records.append(record_file(work, file.path, "catalogue (md5)"))
    return tuple(records)


def easyocr_config() -> ModuleType:
    """easyocr's list of models, without the rest of the package, which loads torch. Raises
    ModelMissingError where it is not installed."""
    spec = importlib.util.find_spec("easyocr")
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissingError(
            f"easyocr is not installed, and it knows where its weights are: {INSTALL_MODELS}."
        )
    path = Path(spec.submodule_search_locations[0]) / "config.py"
    config = importlib.util.spec_from_file_location("easyocr_config", path)
    if config is None or config.loader is None or not path.exists():
        raise ModelMissingError(f"This version of easyocr has no {path}.")
    module = importlib.util.module_from_spec(config)
    config.loader.exec_module(module)
    return module


def release_urls(config: ModuleType) -> dict[str, str]:
    """File name -> where its archive is."""
    groups = [config.detection_models, *config.recognition_models.values()]
    return {model["filename"]: model["url"] for group in groups for model in group.values()}


def _fetch(
    place: Place, url: str, archive: Path, transfer: Transfer, moved: Callable[[int], None]
) -> None:
    try:
        transfer(url, archive, None, moved)
    except Exception as error:  # of the HTTP client, whichever it is
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMissingError(
            f"EasyOCR's {place.name} cannot be fetched ({why}). Pull again to go on, or put "
            f"{', '.join(file.path for file in place.spec.files)} into {place.folder} by hand."  # type: ignore[union-attr]
        ) from error


def _unpack(archive: Path, name: str, target: Path) -> None:
    """One file of the archive, by name; whatever else is in it stays there."""
    try:
        with zipfile.ZipFile(archive) as inside, inside.open(name) as source:
            temporary = target.with_name(f"{name}.tmp")
            with temporary.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            temporary.replace(target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelMissingError(f"{archive.name} is no archive with {name} in it.") from error
    finally:
        archive.unlink(missing_ok=True)
