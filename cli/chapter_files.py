"""An overview of a video as files for other programs and people."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from index.errors import UsageError
from index.schema import Chapter, Video
from rag.overview import ChapterNote, Overview
from rag.timestamp import timestamp

ENDINGS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".ffmeta": "ffmetadata",
    ".ffmetadata": "ffmetadata",
    ".txt": "youtube",
}
FORMATS = tuple(dict.fromkeys(ENDINGS.values()))

YOUTUBE_CHAPTERS = 3
YOUTUBE_SECONDS = 10
"""What YouTube asks for: at least so many chapters, each at least so long, the first at 0:00."""

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|])")


def format_of(format: str | None, output: str | None) -> tuple[str | None, Path | None]:
    """The format, None for none, and the file, None for standard output. Raises UsageError."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"No format “{format}”. Known: {', '.join(FORMATS)}.")
    if output is None or output == "-":
        if output == "-" and format is None:
            raise UsageError("-o - does not say what to write; name a --format.")
        return format, None
    if not output.strip() or output.endswith("/") or os.path.isdir(output):
        raise UsageError("-o needs the path of a file.")
    place = Path(output)
    format = format or ENDINGS.get(place.suffix.lower())
    if format is None:
        raise UsageError(
            f"“{output}” does not say what to write. Give it one of the endings "
            f"{', '.join(ENDINGS)}, or name a --format."
        )
    return format, place


def written(video: Video, overview: Overview, format: str) -> str:
    """The file's text. Raises UsageError where the format cannot hold it."""
    if format == "markdown":
        return markdown(video, overview)
    if not overview.chapters:
        raise UsageError(f"“{video.title}” has no chapters to write.")
    if format == "youtube":
        return youtube(overview.chapters, video.duration_seconds)
    from ingest.chapters import ffmetadata

    chapters = [
        Chapter(one.start_seconds, one.end_seconds, called(number, one))
        for number, one in enumerate(overview.chapters, 1)
    ]
    return ffmetadata(chapters).decode()


def called(number: int, chapter: ChapterNote) -> str:
    return chapter.title or f"Chapter {number}"


def markdown(video: Video, overview: Overview) -> str:
    lines = [f"# {_plain(video.title)}", ""]
    if overview.summary:
        lines += ["## Summary", ""]
        lines += [
            f"- {_plain(one.text)} ({timestamp(round(one.start_seconds))})"
            for one in overview.summary
        ]
        lines.append("")
    if overview.chapters:
        lines += ["## Chapters", ""]
        for number, one in enumerate(overview.chapters, 1):
            text = f": {_plain(one.text)}" if one.text else ""
            time = timestamp(round(one.start_seconds))
            lines.append(f"- {time} **{_plain(called(number, one))}**{text}")
        lines.append("")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line that steers no terminal."""
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    kept = " ".join(text.split())
    return "".join(character for character in kept if unicodedata.category(character) != "Cc")


def youtube(chapters: Sequence[ChapterNote], duration_seconds: float | None) -> str:
    """A line a chapter, for a video's description. Chapters that are too short for YouTube go into
    the one before them, the first one begins at 0:00. Raises UsageError where too few are left."""
    kept: list[tuple[int, str]] = []
    for number, one in enumerate(chapters, 1):
        start = int(one.start_seconds) if kept else 0
        if kept and start - kept[-1][0] < YOUTUBE_SECONDS:
            continue
        kept.append((start, called(number, one)))
    end = duration_seconds or max((one.end_seconds for one in chapters), default=0.0)
    while len(kept) > 1 and end - kept[-1][0] < YOUTUBE_SECONDS:
        kept.pop()
    if len(kept) < YOUTUBE_CHAPTERS:
        raise UsageError(
            f"YouTube shows chapters where there are at least {YOUTUBE_CHAPTERS} of "
            f"{YOUTUBE_SECONDS} s or longer; here are {len(kept)}. --format ffmetadata takes any."
        )
    return "".join(f"{timestamp(start)} {_one_line(title)}\n" for start, title in kept)
