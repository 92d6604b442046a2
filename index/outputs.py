"""Files that are made for others: each is there once it is whole, and never in another's place."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from index.errors import ExportError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(place: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path to write to, beside `place`, which takes its place at the end. Nothing is left of it
    where that does not come.

    Raises ExportError where `place` is there and not to be overwritten, or cannot be written.
    """
    partial = place.with_name(f".{place.name}.part")
    try:
        refuse_existing(place, overwrite=overwrite)
        yield partial
        os.replace(partial, place)
    except OSError as error:
        raise refusal(place, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def refuse_existing(place: Path, *, overwrite: bool) -> None:
    """Raises ExportError where something is in that place and is not to be overwritten."""
    if os.path.isdir(place):
        raise ExportError(f"{place} is a folder; name a file.")
    if os.path.exists(place) and not overwrite:
        raise ExportError(
            f"{place} is there already; name another, or replace it (`longtake export` and "
            "`summarize` do with --force)."
        )


def make_folder(folder: Path) -> None:
    """Raises ExportError where there cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(folder, error) from error


def refusal(place: Path, error: OSError) -> ExportError:
    """The error for a file that the system did not let be written."""
    why = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return ExportError(
            f"{place} cannot be written ({why}). Free some space, or name another place."
        )
    return ExportError(f"{place} cannot be written ({why}). Name another place.")
