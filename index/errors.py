"""The errors that a user of Longtake can meet, in one tree.

* LongtakeError
  - UsageError            what was asked for makes no sense; exit status 2
  - ConfigError           a setting is wrong
  - MediaError            a file cannot be read as video
    · NotMediaError       it is no media file at all, or empty
    · DamagedMediaError   it starts well and breaks; what decoded is kept
    · SourceError         a live source cannot be read, or broke off
  - SubtitleError         a subtitle file cannot be read
  - ModelMissingError     a channel needs weights or a package that are not here
  - VideoLLMError         a language model did not answer (see ingest.models.videollm)
  - LibraryError          the library as a whole
    · LibraryNewerError   written by a newer Longtake
    · LibraryOlderError   written by an older one that cannot be upgraded in place
    · LibraryDamagedError a shard or the manifest cannot be read
    · LibraryReadOnlyError
    · LibraryBusyError    the owning process does not answer
    · DiskFullError       free space is below the reserve; nothing was lost
  - StoreError            the engine refused an operation
    · StoreUnreachableError  the server or the owner went away
  - LeaseLostError        another machine may be working on the same by now
  - VideoNotFoundError    no such video in the library
  - ExportError           a file for others cannot be written, or is there already
  - Interrupted           stopped by the user; what was committed stays

Every message names the thing that is wrong and the way out. Foreign exceptions are translated in
the one file that touches the foreign library.
"""

from __future__ import annotations

from pathlib import Path


class LongtakeError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_status = 1


class UsageError(LongtakeError):
    """What was asked for makes no sense."""

    exit_status = 2


class ConfigError(UsageError):
    """A setting is unknown or has a wrong value."""


class MediaError(LongtakeError):
    """A file cannot be read as video."""


class NotMediaError(MediaError):
    """The file is empty, or no media file at all."""


class DamagedMediaError(MediaError):
    """Decoding broke off; `at_seconds` says where."""

    def __init__(self, message: str, at_seconds: float | None = None):
        super().__init__(message)
        self.at_seconds = at_seconds


class SourceError(MediaError):
    """A live source cannot be opened, or broke off. `lasting`: it would be the same next time."""

    def __init__(self, message: str, *, lasting: bool = False):
        super().__init__(message)
        self.lasting = lasting


class SubtitleError(LongtakeError):
    """A subtitle file or stream cannot be read."""


class ModelMissingError(LongtakeError):
    """A channel needs weights or a package that are not installed."""


class LibraryError(LongtakeError):
    """The library as a whole cannot be used as asked."""


class LibraryNewerError(LibraryError):
    """The library was written by a newer Longtake."""


class LibraryOlderError(LibraryError):
    """The library was written by an older Longtake and cannot be upgraded in place."""


class LibraryDamagedError(LibraryError):
    """A shard or the manifest cannot be read."""


class LibraryReadOnlyError(LibraryError):
    """The library's folder cannot be written."""


class LibraryBusyError(LibraryError):
    """The process that owns the library does not answer."""


class DiskFullError(LibraryError):
    """Free space is below the reserve."""


class StoreError(LongtakeError):
    """The engine refused an operation."""


class StoreUnreachableError(StoreError):
    """The server, or the process that owns the library, went away."""


class LeaseLostError(LongtakeError):
    """What this machine was working on may be in another's hands by now."""


class VideoNotFoundError(LongtakeError):
    """No video in the library answers to that name."""


class ExportError(LongtakeError):
    """A file for others cannot be written, or is there already."""


class Interrupted(LongtakeError):
    """The user asked to stop; what was committed stays."""

    exit_status = 130


def damage(path: Path, reason: str) -> str:
    """The message for a shard that cannot be opened."""
    library = path.parent.parent
    return (
        f"Shard {path.name} of the library {library} cannot be opened: {reason}. Run `longtake "
        f"doctor` for the state of the others. The way out: restore {path} from a backup, or move "
        "the library away and index again."
    )
