"""Which subtitle files belong to a video, and what their names say."""

from __future__ import annotations

import bisect
import functools
import os
import re
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from index.languages import language_tag

SUBTITLE_EXTENSIONS = (".srt", ".vtt", ".ass", ".ssa")
_FOLDERS = frozenset({"subs", "subtitles", "sub", "subtitle"})
_FORCED = frozenset({"forced", "foreign"})
_FOR_THE_DEAF = frozenset({"sdh", "cc", "hi"})

_SETTLED_NS = 2_000_000_000
"""A folder that changed less than this ago may change again without its time moving on."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a subtitle file's name says beyond the video's."""

    path: Path
    language: str | None
    forced: bool
    for_the_deaf: bool


def find_sidecars(path: Path) -> tuple[Path, ...]:
    """The subtitle files that belong to a video, by the rules that players share, sorted.

    `film.srt`, `film.en.srt`, `film.en-US.forced.vtt`, `film.English.srt` (any case) beside
    `film.mp4` or in a folder `Subs` or `Subtitles` there, and everything in `Subs/film/`. A file
    that fits another video's longer name better is that one's.
    """
    return tuple(sidecar.path for sidecar in sidecars(path))


def sidecars(path: Path) -> tuple[Sidecar, ...]:
    """As `find_sidecars`, with what the names say."""
    path = Path(path)
    stem = folded(path.stem)
    here = _listing(path.parent)
    found = _matching(path.parent, here, path, here)
    for name in here.folders:
        if folded(name) in _FOLDERS:
            folder = path.parent / name
            listing = _listing(folder)
            found += _matching(folder, listing, path, here)
            for inner in listing.folders:
                if folded(inner) == stem:
                    found += [
                        _sidecar(folder / inner / file, re.split(r"[._\s]+", Path(file).stem))
                        for _, file in _listing(folder / inner).subtitles
                    ]
    return tuple(sorted(found, key=lambda sidecar: str(sidecar.path)))


@dataclass(frozen=True, slots=True)
class _Listing:
    subtitles: tuple[tuple[str, str], ...]  # (folded name without extension, name), sorted
    folders: tuple[str, ...]
    stems: frozenset[str]  # of everything but subtitles


def _listing(folder: Path) -> _Listing:
    """Listed anew only where the folder has changed: a batch asks once for each of its videos."""
    try:
        changed_ns = os.stat(folder).st_mtime_ns
    except OSError:
        changed_ns = -1
    if time.time_ns() - changed_ns < _SETTLED_NS:
        return _list.__wrapped__(str(folder), changed_ns)
    return _list(str(folder), changed_ns)


@functools.lru_cache(maxsize=256)
def _list(folder: str, changed_ns: int) -> _Listing:
    subtitles, folders, stems = [], [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                stem, extension = os.path.splitext(entry.name)
                if extension.lower() in SUBTITLE_EXTENSIONS:
                    if _is_pipe_or_device(entry):
                        continue
                    subtitles.append((folded(stem), entry.name))
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    stems.add(folded(stem))
    except OSError:
        pass
    return _Listing(tuple(sorted(subtitles)), tuple(sorted(folders)), frozenset(stems))


def _is_pipe_or_device(entry: os.DirEntry) -> bool:
    """Opening a pipe waits for a writer that may never come."""
    return not entry.is_file() and not entry.is_dir() and os.path.exists(entry.path)


def is_forced(words: Iterable[str]) -> bool:
    """Words of a name that say: only what is foreign to the film's language is in there."""
    return not _FORCED.isdisjoint(words)


def folded(name: str) -> str:
    """A name as it is compared: case and the two ways of writing an accent make no difference."""
    return unicodedata.normalize("NFC", name).casefold()


def _matching(folder: Path, listing: _Listing, video: Path, beside: _Listing) -> list[Sidecar]:
    """Of the listing's subtitle files, those whose name begins with the video's."""
    stem = folded(video.stem)
    found = []
    for own, name in listing.subtitles[bisect.bisect_left(listing.subtitles, (stem, "")) :]:
        if own == stem:
            found.append(_sidecar(folder / name, []))
        elif own.startswith(stem + "."):
            parts = own[len(stem) + 1 :].split(".")
            if parts[0] == folded(video.suffix[1:]):
                parts = parts[1:]  # film.mp4.en.srt
            longer = (f"{stem}.{'.'.join(parts[:n])}" for n in range(1, len(parts) + 1))
            if not any(other in beside.stems for other in longer):
                found.append(_sidecar(folder / name, parts))
        elif not own.startswith(stem):
            break  # sorted: nothing that begins with it comes after
    return found


def _sidecar(path: Path, parts: Iterable[str]) -> Sidecar:
    parts = [folded(part) for part in parts]
    languages = [part for part in parts if language_tag(part)]
    if len(languages) > 1 and "hi" in languages:  # film.en.hi.srt: for the hearing impaired
        languages.remove("hi")
    language = languages[-1] if languages else None
    return Sidecar(
        path,
        language_tag(language),
        forced=is_forced(parts),
        for_the_deaf=any(part in _FOR_THE_DEAF and part != language for part in parts),
    )
