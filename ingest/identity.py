"""Which file is which: identity by content, and the files that a command line means."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from index.errors import LongtakeError, MediaError, NotMediaError, UsageError
from index.schema import FileStat, make_id
from ingest.sidecars import SUBTITLE_EXTENSIONS, find_sidecars

_CONTAINERS = """
3g2 3gp asf avi divx dv f4v flv m1v m2t m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts mxf ogm ogv qt rm
rmvb tod ts vob webm wmv
"""
VIDEO_EXTENSIONS = frozenset("." + name for name in _CONTAINERS.split())
"""What is taken from a folder; a file that is named is tried whatever it is called."""

_ALSO_PROGRAM_TEXT = frozenset({".ts", ".mts"})  # TypeScript

_NOT_THE_USERS = frozenset(
    {"$recycle.bin", "system volume information", "lost+found", "@eadir", "__macosx"}
)

_OF_A_LIBRARY = frozenset({"shards", "thumbnails", "claims", "recordings"})

_BLOCK = 64 * 1024
_WHOLE = 1024 * 1024
_BLOCKS = 16


def content_id(path: Path) -> str:
    """The id of a file's content: UUIDv5 of its size and of 16 evenly spaced blocks of 64 KiB,
    the first and the last among them; of all of it up to 1 MiB.

    Raises NotMediaError where it is empty, MediaError where it cannot be read.
    """
    _refuse_pipes(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _WHOLE:
                digest.update(file.read())
            else:
                for number in range(_BLOCKS):
                    file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
    except OSError as error:
        raise unreadable(path, error) from error
    if not size:
        raise NotMediaError(f"{shown(path)}: is empty; copy it again from its source or delete it.")
    return make_id("content", size, digest.hexdigest())


def full_digest(path: Path) -> str:
    """BLAKE2b over the whole file, in hexadecimal. Raises MediaError."""
    _refuse_pipes(path)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def stat_of(path: Path) -> FileStat:
    """How the file looks now, by its absolute path. Raises MediaError where it is not there."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return FileStat(os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _refuse_pipes(path: Path) -> None:
    """Opening a pipe waits for a writer that may never come. Raises MediaError."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MediaError(
            f"{shown(path)}: is a pipe, a socket or a device, not a file; save what comes out of "
            "it to a file and index that."
        )


def same(a: FileStat, b: FileStat) -> bool:
    """Whether a file has the size, time and inode that it had; its path does not matter."""
    return (a.size, a.modified_ns, a.inode) == (b.size, b.modified_ns, b.inode)


def _raise(error: LongtakeError) -> None:
    raise error


def discover(
    paths: Iterable[str], on_error: Callable[[LongtakeError], None] = _raise
) -> Iterator[Path]:
    """The files that the arguments mean, each once, folders in natural order (2 before 10).

    A file is itself whatever its name, but a subtitle file is the video it belongs to; a folder,
    all videos in it and below, by their extensions, without hidden ones; what does not exist and
    has `*`, `?` or `[` in it is a pattern (`**` for any depth). on_error is told what
    is wrong with an argument; the others go on.
    """
    seen: set[str] = set()
    for argument in paths:
        for path in _meant(os.fspath(argument), on_error):
            absolute = os.path.abspath(path)
            if absolute in seen:
                continue
            seen.add(absolute)
            try:
                str(path).encode()
            except UnicodeEncodeError:
                on_error(MediaError(f"{shown(path)}: its name is not valid UTF-8; rename it."))
                continue
            yield path


def _meant(argument: str, on_error: Callable[[LongtakeError], None]) -> Iterator[Path]:
    path = Path(argument)
    if not argument:
        on_error(UsageError("An empty path means nothing; name a file or a folder."))
    elif os.path.isdir(path):
        yield from _walk(path, on_error)
    elif os.path.lexists(path):
        if path.suffix.lower() not in SUBTITLE_EXTENSIONS:
            yield path
        elif (video := _its_video(path)) is not None:
            yield video
        else:
            on_error(
                UsageError(f"{shown(path)}: is a subtitle file without its video; name the video.")
            )
    elif glob.has_magic(argument):
        yield from _matching(argument, on_error)
    elif "://" in argument:
        on_error(UsageError(f"{argument}: addresses cannot be indexed; download the file first."))
    else:
        on_error(UsageError(f"{shown(path)}: does not exist; check the spelling."))


def _matching(pattern: str, on_error: Callable[[LongtakeError], None]) -> Iterator[Path]:
    found = sorted(glob.iglob(pattern, recursive=True), key=natural_order)
    # "*.mp3" says what is wanted; "*" and "clip*" leave it open.
    named = os.path.splitext(pattern)[1] and not glob.has_magic(os.path.splitext(pattern)[1])
    for name in found:
        path = Path(name)
        if path.is_dir():
            if not pattern.rstrip(os.sep).endswith("**"):
                yield from _walk(path, on_error)
        elif named or _is_video(path):
            yield path
    if not found:
        on_error(UsageError(f"{shown(Path(pattern))}: no file matches; check the pattern."))


def _walk(folder: Path, on_error: Callable[[LongtakeError], None]) -> Iterator[Path]:
    entered: set[tuple[int, int]] = set()

    def report(error: OSError) -> None:
        on_error(unreadable(Path(error.filename or folder), error))

    for root, folders, files in os.walk(folder, followlinks=True, onerror=report):
        try:
            status = os.stat(root)
        except OSError as error:
            report(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in entered:  # a link to where we have been
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        if "manifest.json" in files and "shards" in folders:  # a Longtake library
            if Path(root) != folder:
                folders.clear()
                continue
            # The user named it: a library may lie right among the films.
            folders[:] = [name for name in folders if name not in _OF_A_LIBRARY]
        folders[:] = sorted(
            (f for f in folders if f[0] != "." and f.lower() not in _NOT_THE_USERS),
            key=natural_order,
        )
        for name in sorted(files, key=natural_order):
            path = Path(root, name)
            if name[0] != "." and _is_video(path):
                yield path


def _is_video(path: Path) -> bool:
    extension = path.suffix.lower()
    if extension in _ALSO_PROGRAM_TEXT:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return True  # to be reported where it is read
            with open(path, "rb") as file:
                head = file.read(5)
        except OSError:
            return True
        return not head or head[0] == 0x47 or head[4:] == b"G"  # sync byte of a transport stream
    return extension in VIDEO_EXTENSIONS


def _its_video(path: Path) -> Path | None:
    """The video that a subtitle file belongs to."""
    folder = path.parent
    candidates = [folder, folder.parent, folder.parent.parent]
    mine = os.path.abspath(path)
    for place in candidates:
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS and mine in (
                os.path.abspath(sidecar) for sidecar in find_sidecars(place / name)
            ):
                return place / name
    return None


def natural_order(name: str) -> tuple:
    """Sort key in which `part 2` comes before `part 10`."""
    pieces = re.split(r"(\d+)", name.casefold())
    # int() would fail on digits that are not decimal, which \d does not match.
    return ([(int(p), "") if n % 2 else (0, p) for n, p in enumerate(pieces)], name)


def shown(path: Path) -> str:
    """A path as it can be printed, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreadable(path: Path, error: OSError) -> MediaError:
    """The error for a file or folder that cannot be opened or read, with the way out."""
    if isinstance(error, PermissionError):
        mode = "+rx" if os.path.isdir(path) else "+r"
        return MediaError(
            f"{shown(path)}: may not be read (permission); `chmod {mode}` it and run again."
        )
    if isinstance(error, FileNotFoundError):
        return MediaError(
            f"{shown(path)}: is not there (any more); put it back, or connect its drive, and run "
            "again."
        )
    if isinstance(error, IsADirectoryError):
        return MediaError(f"{shown(path)}: is a folder, not a file.")
    return MediaError(
        f"{shown(path)}: cannot be read ({error.strerror or error}); check its drive or network "
        "and run again."
    )
