"""`longtake export`, and `--export` of searches: moments as files for other programs and people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.compose import build_thumbnails, media_of, open_library
from cli.export_input import parse_span, read_moments, standard_input
from cli.export_target import (
    CLIP_ENDINGS,
    OF_ONE_VIDEO,
    Target,
    check_target,
    refuse_sources,
    target_of,
)
from cli.render import Part, data_line, print_json, safe, say, say_error
from cli.settings import Settings
from index.errors import ExportError, LongtakeError, UsageError
from index.library import Library
from index.outputs import make_folder, whole_file
from index.schema import Moment, Segment
from rag.timestamp import time_span

if TYPE_CHECKING:
    from ingest.clips import Clip
    from rag.export.cuts import Cut

_CHAPTER_LETTERS = 100
_NAME_BYTES = 120


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written. cut, clip: of a clip, what was asked for and what is in it."""

    path: Path
    format: str
    moments: int = 1
    cut: Cut | None = None
    clip: Clip | None = None


def run_export(
    settings: Settings,
    video: str | None,
    spans: Sequence[str],
    *,
    output: str | None,
    format: str | None,
    exact: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Writes what was asked for; returns the exit status, 1 where some of it could not be."""
    target = target_of(output, format)
    if exact and target.format != "clips":
        raise UsageError("--exact is for clips.")
    if as_json and target.place is None:
        raise UsageError("--json tells what was written; name a file with -o.")
    check_target(target, force=force)
    times = [parse_span(span) for span in spans]
    if video is None:
        if times:
            raise UsageError("--span needs the video that it is of.")
        moments = read_moments(standard_input())
    elif not times:
        raise UsageError("From when to when? --span 1:02-1:20 says it.")
    with open_library(settings) as library:
        title = None
        if video is not None:
            found = library.find(video)
            title = found.title
            path = found.files[0].path if found.files else None
            moments = [
                Moment(found.id, 0, found.title, path, start, end, 0.0, "") for start, end in times
            ]
        tell = print_written_json if as_json else print_written
        return export_moments(
            settings, library, moments, target, tell, title=title, exact=exact, force=force
        )


def export_moments(
    settings: Settings,
    library: Library,
    moments: Sequence[Moment],
    target: Target,
    tell: Callable[[Written], None],
    *,
    title: str | None = None,
    exact: bool = False,
    force: bool = False,
) -> int:
    """Writes the moments and tells each file; returns the exit status. title: of a page or a
    timeline; by default the output's name."""
    from rag.export.cuts import cuts_of

    if not moments:
        say("Nothing to export.")
        return 0
    cuts, wrong = cuts_of(moments, library, media_of(settings, library))
    for problem in wrong:
        say_error(problem)
    if target.format == "clips":
        wrong += _write_clips(settings, library, cuts, target, tell, exact=exact, force=force)
    elif cuts:
        title = title or (target.place.stem if target.place else "Moments")
        for place, held in _files(cuts, target):
            text, missing = _text(settings, held, target.format, title)
            wrong += missing
            if place is None:
                sys.stdout.write(text)
                continue
            try:
                refuse_sources(place, settings, library)
                with whole_file(place, overwrite=force) as partial:
                    partial.write_bytes(text.encode(errors="replace"))
            except ExportError as error:
                say_error(str(error))
                wrong.append(str(error))
                continue
            tell(Written(place, target.format, len(held)))
    return 1 if wrong else 0


def _files(cuts: Sequence[Cut], target: Target) -> Iterator[tuple[Path | None, Sequence[Cut]]]:
    """Each file to write and what goes into it."""
    if target.format not in OF_ONE_VIDEO:
        yield target.place, cuts
        return
    from rag.export.cuts import by_video

    videos = by_video(cuts)
    if target.folder:
        make_folder(target.place)
        names = _file_names(cuts)
        for id, own in videos.items():
            yield target.place / f"{names[id]}.{target.format}", own
        return
    if len(videos) > 1:
        raise UsageError(
            f"These moments are of {len(videos)} videos, and a {target.format} file is of one. "
            "Name a folder, as in -o hits/, for a file each, or search with --video."
        )
    yield target.place, next(iter(videos.values()))


def _text(
    settings: Settings, cuts: Sequence[Cut], format: str, title: str
) -> tuple[str, list[str]]:
    """The file, and what is missing in it, which has been said."""
    if format == "html":
        return _page(settings, cuts, title)
    if format in ("edl", "otio"):
        from rag.export.timeline import edl, otio_json, timeline_notes

        for note in timeline_notes(cuts, format):
            say((safe(note), "yellow"))
        return (edl if format == "edl" else otio_json)(cuts, title), []
    if format in ("srt", "vtt"):
        from rag.export.subtitles import subtitles

        return subtitles(cuts, format), []
    if format == "ffmetadata":
        return _chapters(cuts), []
    from rag.export.table import csv_table, json_lines

    return (csv_table if format == "csv" else json_lines)(cuts), []


def _page(settings: Settings, cuts: Sequence[Cut], title: str) -> tuple[str, list[str]]:
    from rag.export.page import html_page
    from rag.export.pictures import pictures_of

    pictures = pictures_of(cuts, _kept_picture(settings))
    missing = [
        f"{cut.footage.path}: no picture can be decoded at "
        f"{time_span(cut.start_seconds, cut.end_seconds)}."
        for cut, picture in zip(cuts, pictures, strict=True)
        if picture is None and cut.footage.there and cut.footage.has_pictures
    ]
    for problem in missing:
        say_error(problem)
    return html_page(cuts, title, pictures), missing


def _chapters(cuts: Sequence[Cut]) -> str:
    from index.schema import Chapter
    from ingest.chapters import ffmetadata

    chapters = []
    for cut in cuts:
        span = time_span(cut.start_seconds, cut.end_seconds)
        title = cut.text[:_CHAPTER_LETTERS].rstrip() or span
        chapters.append(Chapter(cut.start_seconds, cut.end_seconds, title))
    return ffmetadata(chapters).decode()


def _kept_picture(settings: Settings) -> Callable[[Moment], bytes | None]:
    thumbnails = build_thumbnails(settings)

    def kept(moment: Moment) -> bytes | None:
        span = Segment(moment.video_id, moment.epoch, "", moment.start_seconds, moment.end_seconds)
        path = thumbnails.nearest(span)
        try:
            return path and path.read_bytes()
        except OSError:
            return None

    return kept


def _write_clips(
    settings: Settings,
    library: Library,
    cuts: Sequence[Cut],
    target: Target,
    tell: Callable[[Written], None],
    *,
    exact: bool,
    force: bool,
) -> list[str]:
    """Cuts one clip after the other; returns what could not be cut, and has said it."""
    from ingest.clips import cut_clip

    wrong = []
    if target.folder:
        make_folder(target.place)
    elif len(cuts) > 1:
        raise UsageError(f"{target.place} is one clip, not {len(cuts)}; name a folder/ for them.")
    names = _file_names(cuts)
    for cut in cuts:
        if not cut.footage.there:  # said already
            continue
        span = f"{_clock(cut.start_seconds)}-{_clock(cut.end_seconds)}"
        place = target.place / f"{names[cut.reel]}-{span}"
        if not target.folder:
            place = target.place.with_suffix("")
        try:
            for ending in CLIP_ENDINGS:  # which of them it gets is known once it is cut
                refuse_sources(place.with_name(place.name + ending), settings, library)
            clip = cut_clip(
                cut.footage.path,
                cut.start_seconds,
                cut.end_seconds,
                place,
                exact=exact,
                overwrite=force,
                ending=None if target.folder else target.place.suffix.lower(),
                title=cut.moment.title,
            )
        except LongtakeError as error:
            say_error(str(error))
            wrong.append(str(error))
            continue
        tell(Written(clip.path, "clips", 1, cut, clip))
    return wrong


def print_written_json(written: Written) -> None:
    """One JSON line. Of a clip, with what is in it and what was asked for."""
    cut, clip = written.cut, written.clip
    if cut is None or clip is None:
        record = {"path": str(written.path), "format": written.format, "moments": written.moments}
    else:
        record = {
            "path": str(written.path),
            "format": written.format,
            "video_id": cut.moment.video_id,
            "start_seconds": clip.start_seconds,
            "end_seconds": clip.end_seconds,
            "asked_start_seconds": cut.start_seconds,
            "asked_end_seconds": cut.end_seconds,
            "encoded": clip.encoded,
            "notes": clip.notes,
        }
    print_json(record)
    sys.stdout.flush()


def print_written(written: Written) -> None:
    """Clips as data, a line each, because what is in one follows from where its key frames are;
    other files as messages."""
    if written.clip is None:
        say_written(written)
        return
    data_line(*_clip_line(written.clip))
    _say_notes(written.clip)
    sys.stdout.flush()


def say_written(written: Written) -> None:
    """As a message."""
    if written.clip is None:
        count = f"{written.moments} moment{'' if written.moments == 1 else 's'}"
        say(f"{safe(str(written.path))}: {count}")
    else:
        say(*_clip_line(written.clip))
        _say_notes(written.clip)


def _clip_line(clip: Clip) -> list[Part]:
    how = f"encoded: {', '.join(clip.encoded)}" if clip.encoded else "copied"
    span = time_span(clip.start_seconds, clip.end_seconds)
    return [(safe(str(clip.path)), "bold"), "  ", (span, "cyan"), f"  {how}"]


def _say_notes(clip: Clip) -> None:
    for note in clip.notes:
        say((f"{safe(clip.path.name)}: {safe(note)}", "yellow"))


def _file_names(cuts: Sequence[Cut]) -> dict[str, str]:
    """`Cut.reel` -> a name for files made of it: that of its file, as every system takes it, with a
    piece of the id where two have the same."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for cut in cuts:
        id = cut.reel
        if id in names:
            continue
        stem = cut.footage.name.rpartition(".")[0] or cut.footage.name
        if cut.footage.recorded:
            stem = f"{cut.moment.title}-{stem}"
        name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in stem)
        name = name.encode()[:_NAME_BYTES].decode(errors="ignore").strip(" .-") or "video"
        if name.casefold() in taken:  # as file systems that know no case see it
            name = f"{name}-{id[:8]}"
        names[id] = name
        taken.add(name.casefold())
    return names


def _clock(seconds: float) -> str:
    """`00.01.02.033`: a time that a file's name may hold."""
    from rag.export.table import clock

    return clock(seconds).replace(":", ".").rjust(12, "0")
