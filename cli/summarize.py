"""`longtake summarize`: chapters and a summary of one video, made once and kept."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

from cli.chapter_files import called, format_of, written
from cli.compose import (
    build_answerer,
    build_claims,
    build_prompt_builder,
    build_video_llm,
    open_library,
)
from cli.export_target import refuse_sources
from cli.render import data_line, print_json, safe, say, say_error
from cli.settings import Settings
from index.errors import LibraryBusyError, LongtakeError, UsageError
from index.library import Library
from index.outputs import refuse_existing, whole_file
from index.schema import Video
from rag.overview import Overview, extract, material
from rag.overview_store import fingerprint, load, save, stale, stored
from rag.timestamp import timestamp


def run_summarize(
    settings: Settings,
    name: str,
    *,
    format: str | None,
    output: str | None,
    again: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Prints the overview, or writes it; returns the exit status."""
    format, place = format_of(format, output)
    if as_json and format is not None and place is None:
        raise UsageError("--json and --format both want standard output; name a file with -o.")
    if place is not None:
        refuse_existing(place, overwrite=force)
    with open_library(settings) as library:
        video = library.find(name)
        if place is not None:
            refuse_sources(place, settings, library)
        overview = overview_of(settings, library, video, again=again)
    for note in overview.notes:
        say((safe(note), "yellow"))
    if not overview.chapters and not overview.summary:
        say(f"Nothing is said, captioned or written in “{safe(video.title)}” to make chapters of.")
    if format is not None:
        text = written(video, overview, format)
        if place is None:
            sys.stdout.write(text)
        else:
            with whole_file(place, overwrite=force) as partial:
                partial.write_bytes(text.encode(errors="replace"))
            count = len(overview.chapters)
            say(f"{safe(str(place))}: {count} chapter{'' if count == 1 else 's'}")
    if as_json:
        print_json(_record(video, overview))
    elif format is None:
        _print(video, overview)
    return 0


def overview_of(
    settings: Settings, library: Library, video: Video, *, again: bool = False
) -> Overview:
    """The one that is kept where it is still true and by the same model, else a new one. Raises
    LibraryBusyError where another process works on the video, and what the model raises."""
    made_by = _made_by(settings)
    kept = stored(library, video.id)
    if kept is not None and not again and kept.detail["by"] == made_by:
        there = None if stale(library, video, kept) else load(library, video.id)
        if there is not None:
            return there
    claimed, claims = build_claims(settings, library)
    with claims.holding(video.id) as claim:
        if claim is None or not claim.take("summary"):
            raise LibraryBusyError(
                f"Another process is working on “{video.title}”; try again when it is done."
            )
        mark = fingerprint(claimed, video, made_by)
        overview = _made(settings, claimed, video)
        if overview.chapters or overview.summary:
            save(claimed, video, overview, made_by, mark, force=again)
        elif kept is not None:
            claimed.drop(kept)
    return overview


def refresh_overviews(settings: Settings, library: Library) -> None:
    """Makes anew, in the way they were made, the overviews of videos whose evidence is no more what
    they were made from. One whose model cannot be asked goes, and that is said."""
    for generation in library.generations():
        if generation.channel != "summary" or generation.state != "active":
            continue
        video = library.video(generation.video_id)
        if video is None or not stale(library, video, generation):
            continue
        by = generation.detail["by"]
        try:
            if by and by != _made_by(settings):
                raise UsageError(f"It was made with {by.get('model')}, which is not ask.model now.")
            overview_of(settings if by else _without_model(settings), library, video)
        except LongtakeError as error:
            library.drop(generation)
            say_error(
                f"The summary of “{video.title}” was of what is no more there, and is gone. "
                f"`longtake summarize {video.id[:8]}` makes another. {error}"
            )


def _without_model(settings: Settings) -> Settings:
    return settings.model_copy(update={"ask": settings.ask.model_copy(update={"model": None})})


def _made_by(settings: Settings) -> Mapping[str, Any]:
    """What of the settings shapes an overview: the model and its instructions."""
    if settings.ask.model is None:
        return {}
    from cli.senses import prompt_text

    ask = settings.ask
    prompts = (("answer", ask.prompt), ("part", ask.part_prompt), ("chapter", ask.chapter_prompt))
    texts = "\x1f".join(prompt_text(f"prompts/{name}.txt", given) for name, given in prompts)
    return {
        "model": ask.model,
        "backend": ask.backend,
        "prompts": hashlib.blake2b(texts.encode(), digest_size=8).hexdigest(),
    }


def _made(settings: Settings, library: Library, video: Video) -> Overview:
    plain = extract(video, material(library, video))
    if settings.ask.model is None or not plain.chapters:
        return plain
    from rag.overview_model import write_overview

    return write_overview(
        library,
        video,
        plain,
        build_answerer(settings, library),
        build_video_llm(settings),
        build_prompt_builder(settings, library, "chapter"),
        settings.ask,
    )


def _record(video: Video, overview: Overview) -> dict[str, Any]:
    return {
        "video_id": video.id,
        "title": video.title,
        "duration_seconds": video.duration_seconds,
        "model": overview.model,
        "source": overview.source,
        "language": overview.language,
        "chapters": overview.chapters,
        "summary": overview.summary,
        "notes": overview.notes,
    }


def _print(video: Video, overview: Overview) -> None:
    data_line((safe(video.title), "bold"))
    for one in overview.summary:
        data_line(f"{safe(one.text)} ", (f"({timestamp(round(one.start_seconds))})", "cyan"))
    if overview.chapters:
        data_line()
    for number, one in enumerate(overview.chapters, 1):
        time = timestamp(round(one.start_seconds))
        data_line((time, "cyan"), "  ", (safe(called(number, one)), "bold"))
        if one.text:
            data_line((safe(one.text), "dim"), indent=len(time) + 2)
