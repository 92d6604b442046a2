"""What an export writes, and where: what -o, --format and --export mean."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cli.settings import Settings
from index.errors import ExportError, UsageError
from index.library import Library
from index.outputs import refuse_existing
from index.pieces import RECORDINGS
from ingest.sidecars import SUBTITLE_EXTENSIONS, find_sidecars

ENDINGS = {
    ".srt": "srt",
    ".vtt": "vtt",
    ".edl": "edl",
    ".otio": "otio",
    ".ffmetadata": "ffmetadata",
    ".ffmeta": "ffmetadata",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".html": "html",
    ".htm": "html",
}
FORMATS = ("clips", *dict.fromkeys(ENDINGS.values()))
OF_ONE_VIDEO = ("srt", "vtt", "ffmetadata")
CLIP_ENDINGS = (".mp4", ".webm", ".m4a", ".mkv")


@dataclass(frozen=True, slots=True)
class Target:
    """What to write where. place: a file, or the folder of several; None for standard output."""

    format: str
    place: Path | None
    folder: bool


def target_of(output: str | None, format: str | None, option: str = "-o") -> Target:
    """What -o and --format mean. Raises UsageError for what means nothing."""
    if output is not None and not output.strip():
        raise UsageError(f"{option} needs the path of a file or a folder.")
    if format is not None and format not in FORMATS:
        raise UsageError(f"No format “{format}”. Known: {', '.join(FORMATS)}.")
    to_stdout = output == "-"
    place = None if output is None or to_stdout else Path(output)
    folder = place is not None and (output.endswith("/") or os.path.isdir(place))
    one_clip = place is not None and not folder and place.suffix.lower() in CLIP_ENDINGS
    if one_clip and format in (None, "clips"):
        return Target("clips", place, False)
    if format is None:
        if output is None or folder:
            format = "clips"
        elif to_stdout:
            raise UsageError(f"{option} - does not say what to write; name a --format.")
        else:
            format = ENDINGS.get(place.suffix.lower())
        if format is None:
            raise UsageError(
                f"“{output}” does not say what to write. Give it one of the endings "
                f"{', '.join((*CLIP_ENDINGS, *ENDINGS))}, or end it in / for a folder of clips."
            )
    if format == "clips":
        if to_stdout:
            raise UsageError("Clips cannot go to standard output; name a folder with -o.")
        return Target(format, place or Path(), True)
    if folder and format not in OF_ONE_VIDEO:
        raise UsageError(f"{output} is a folder, and one {format} file holds all; name a file.")
    return Target(format, place, folder)


def check_target(target: Target, *, force: bool = False) -> None:
    """Raises ExportError where it is clear beforehand that the target cannot be written."""
    if target.place is not None and not target.folder:
        refuse_existing(target.place, overwrite=force)


def refuse_sources(place: Path, settings: Settings, library: Library) -> None:
    """Raises ExportError where a video of the library, a subtitle file that belongs to one, or what
    was recorded of a live source is in that place: --force never means it."""
    if not os.path.exists(place):
        return

    def here(path: str | Path) -> bool:
        return os.path.exists(path) and os.path.samefile(place, path)

    recorded = settings.library / RECORDINGS
    if recorded.resolve() in place.resolve().parents:
        raise ExportError(f"{place} is in the library's recordings; name another file.")
    subtitles = place.suffix.lower() in SUBTITLE_EXTENSIONS
    for video in library.videos():
        if any(here(file.path) for file in video.files):
            raise ExportError(f"{place} is a video of the library; name another file.")
        known = [file.path for file in video.sidecars]
        if subtitles:  # also one that was put there since
            known += [path for file in video.files for path in find_sidecars(Path(file.path))]
        if any(map(here, known)):
            raise ExportError(
                f"{place} has the subtitles of “{video.title}”, which is in the library; name "
                "another file."
            )
