"""`longtake ls`, `show` and `rm`: what is in the library."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from cli.compose import build_thumbnails, open_library
from cli.render import (
    bar,
    cells,
    data_line,
    fitted,
    in_order,
    percent,
    print_json,
    safe,
    say,
    shares_text,
    telling_titles,
    terminal_width,
)
from cli.settings import Settings
from cli.timeline import timeline
from index.disk import translate
from index.errors import UsageError
from index.library import Library
from index.pieces import recordings_folder
from index.schema import Epoch, Generation, Segment, Stream, Video
from index.store import where
from rag.timestamp import time_of_day, time_span, timestamp

FINDS = {"evidence": "evidence", "segment": "segments", "embedding": "vectors"}

HEARD_OF_SECONDS = 60.0
"""A live source is written of more often than that while somebody watches it; else whoever did was
killed."""

EPOCHS_SHOWN = 10
"""Epochs of a live source that `show` lists, the newest; --json has all."""

SEGMENTS_SHOWN = 40
"""Segments that `show` lists on a terminal; in a pipe all."""


def run_ls(settings: Settings, *, as_json: bool) -> int:
    wanted = settings.channels.wanted()
    with open_library(settings) as library:
        videos = library.videos()
        generations: dict[str, list[Generation]] = {}
        for generation in library.generations():
            generations.setdefault(generation.video_id, []).append(generation)
        notes = {video.id: notes_on(video, generations.get(video.id, ())) for video in videos}
        coverage = {
            video.id: in_order(library.coverage(video, generations.get(video.id, ()), wanted))
            for video in videos
        }
    if as_json:
        for video in videos:
            print_json(
                {
                    "video_id": video.id,
                    "title": video.title,
                    "path": video.files[0].path if video.files else None,
                    "paths": [file.path for file in video.files],
                    "duration_seconds": video.duration_seconds,
                    "source": video.source or None,
                    "wall_clock_start": video.wall_clock_start,
                    "coverage": coverage[video.id],
                    "notes": notes[video.id],
                    "indexed_at": video.indexed_at,
                }
            )
    else:
        print_list(videos, coverage, notes)
    total = sum(video.duration_seconds or 0.0 for video in videos)
    count = f"{len(videos)} video{'' if len(videos) == 1 else 's'}"
    say((f"{count}, {timestamp(round(total))} in all, in {safe(str(settings.library))}", "dim"))
    return 0


def notes_on(video: Video, generations: Iterable[Generation]) -> list[str]:
    """What indexing left for the user to know of the video and of its channels."""
    notes = list(video.notes)
    for generation in generations:
        if generation.state == "active":
            notes += map(str, generation.detail.get("notes", ()))
    return list(dict.fromkeys(notes))


def print_list(
    videos: list[Video], coverage: dict[str, dict[str, float]], notes: dict[str, list[str]]
) -> None:
    """Id, duration, coverage, title. The title comes last, so that it can be long."""
    states = {id: coverage_text(shares) for id, shares in coverage.items()}
    durations = {video.id: duration_text(video) for video in videos}
    titles = telling_titles((v.id, v.title, v.files[0].path if v.files else None) for v in videos)
    wide = max(map(len, durations.values()), default=0)
    state_width = max(map(len, states.values()), default=0)
    for video in videos:
        title = safe(titles[video.id])
        if sys.stdout.isatty():
            room = terminal_width() - 8 - wide - state_width - 6
            title = fitted(title, room) if room >= 12 else title
        count = len(notes[video.id])
        note = f"  ({count} note{'s' * (count > 1)})" if count else ""
        data_line(
            (video.id[:8], "dim"),
            f"  {durations[video.id]:>{wide}}  ",
            (f"{states[video.id]:<{state_width}}", "green"),
            "  ",
            (title, "bold"),
            (note, "yellow"),
        )


def duration_text(video: Video) -> str:
    if video.duration_seconds is not None:
        return timestamp(round(video.duration_seconds))
    return "live" if being_watched(video) else "cut off"


def being_watched(video: Video) -> bool:
    """By what the catalogue has heard of its watcher lately."""
    lately = time.time() - (video.indexed_at or 0.0) < HEARD_OF_SECONDS
    return video.duration_seconds is None and lately


def coverage_text(shares: dict[str, float]) -> str:
    """`complete`, or how far each channel is."""
    if shares and all(share >= 1.0 for share in shares.values()):
        return "complete"
    return shares_text(shares) or "nothing yet"


def run_show(settings: Settings, name: str, *, as_json: bool) -> int:
    with open_library(settings) as library:
        video = library.find(name)
        generations = [g for g in library.generations(video.id) if g.state == "active"]
        coverage = in_order(library.coverage(video, generations, settings.channels.wanted()))
        segments = library.segments(video.id)
        counts = count_evidence(library, video.id, generations)
        begun = {g.channel: g for g in generations}
        if as_json:
            print_json(
                {
                    "video": video,
                    "channels": {
                        name: {
                            "coverage": share,
                            "evidence": counts.get(name, 0),
                            "complete": name in begun and begun[name].complete,
                            "detail": begun[name].detail if name in begun else {},
                        }
                        for name, share in coverage.items()
                    },
                    "segments": segments,
                }
            )
            return 0
        evidence = library.evidence(video.id)
    print_head(video)
    print_channels(coverage, counts, begun)
    print_segments(segments)
    spans: dict[str, list[tuple[float, float]]] = {
        channel: [] for channel in coverage if channel in begun and kept_as(channel) == "evidence"
    }
    for one in evidence:
        spans.setdefault(one.channel, []).append((one.start_seconds, one.end_seconds))
    cuts = [start for start, _ in spans.pop("shot", ())]
    cuts = cuts or [segment.start_seconds for segment in segments]
    end = video.duration_seconds or max((one.end_seconds for one in evidence), default=0.0)
    if end > 0:
        data_line()
        looked_at = {g.channel: end if g.complete else g.analysed_seconds for g in generations}
        for line in timeline(end, spans, looked_at, cuts, terminal_width()):
            print(line)
    return 0


def kept_as(channel: str) -> str:
    """The kind of point that a channel's finds are."""
    if channel == "segment":
        return "segment"
    return "embedding" if channel.startswith("text:") else "evidence"


def count_evidence(
    library: Library, video_id: str, generations: Iterable[Generation]
) -> dict[str, int]:
    """By channel, how much it has found."""
    of: dict[str, list[str]] = {}
    for generation in generations:
        of.setdefault(generation.channel, []).append(generation.id)
    return {
        channel: library.store.count(
            where(kind=kept_as(channel), video_id=video_id, generation=ids)
        )
        for channel, ids in of.items()
    }


def print_head(video: Video) -> None:
    data_line((safe(video.title), "bold"))
    print_field("id", video.id)
    print_field("duration", duration_text(video))
    for file in video.files:
        print_field("file", f"{safe(file.path)}  ({size_text(file.size)})")
    if video.source:
        print_field("source", safe(video.source))
    if video.kept_from_seconds:
        print_field(
            "kept", f"from {timestamp(round(video.kept_from_seconds))} on, and what is pinned"
        )
    for epoch in video.epochs[-EPOCHS_SHOWN:]:
        print_field("epoch", safe(epoch_text(epoch)))
    for file in video.sidecars:
        print_field("subtitles", safe(file.path))
    for stream in video.streams:
        print_field("stream", stream_text(stream))
    for note in video.notes:
        print_field("note", safe(note), "yellow")


def print_field(name: str, value: str, style: str = "") -> None:
    data_line((f"{name:<10}", "dim"), (value, style), indent=2)


def epoch_text(epoch: Epoch) -> str:
    """`0  0:00–1:02:03  from 2026-11-28 14:31:07  (started), 12 pictures dropped`."""
    start, end = timestamp(round(epoch.start_seconds)), "…"
    if epoch.end_seconds is not None:
        end = timestamp(round(epoch.end_seconds))
    dropped = f", {epoch.dropped} pictures dropped" if epoch.dropped else ""
    since = time_of_day(epoch.wall_clock_start)
    return f"{epoch.number}  {start}–{end}  from {since}  ({epoch.began}){dropped}"


def size_text(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def stream_text(stream: Stream) -> str:
    """`#0 video h264 640×360 24 fps`."""
    parts = [f"#{stream.index}", stream.kind, stream.codec]
    if stream.width and stream.height:
        parts.append(f"{stream.width}×{stream.height}")
    if stream.frame_rate:
        parts.append(f"{stream.frame_rate:.5g} fps")
    if stream.rotation:
        parts.append(f"rotated by {stream.rotation}°")
    if stream.sample_rate:
        parts.append(f"{stream.sample_rate} Hz")
    if stream.channels:
        parts.append(f"{stream.channels} channel{'s' * (stream.channels > 1)}")
    parts.extend(part for part in (stream.language, stream.title) if part)
    return safe(" ".join(parts))


def print_channels(
    coverage: dict[str, float], counts: dict[str, int], generations: dict[str, Generation]
) -> None:
    data_line()
    if not coverage:
        data_line("Nothing indexed yet.")
    width = max(map(len, coverage), default=0)
    for name, share in coverage.items():
        data_line(
            f"{name:<{width}}  ",
            (bar(share), "green"),
            f"  {percent(share):>4}  {counts.get(name, 0)} {FINDS[kept_as(name)]}",
            indent=2,
        )
        for note in generations[name].detail.get("notes", ()) if name in generations else ():
            data_line((safe(str(note)), "yellow"), indent=width + 4)


def print_segments(segments: list[Segment]) -> None:
    if not segments:
        return
    data_line()
    limit = SEGMENTS_SHOWN if sys.stdout.isatty() else len(segments)
    spans = [time_span(s.start_seconds, s.end_seconds) for s in segments[:limit]]
    width = max(map(cells, spans))
    for segment, span in zip(segments, spans, strict=False):
        title = safe(segment.title or "")
        if title:
            data_line((f"{span:<{width}}", "cyan"), f"  {title}", indent=2)
        else:
            data_line((span, "cyan"), indent=2)
    if limit < len(segments):
        data_line((f"... and {len(segments) - limit} segments more; --json has all.", "dim"))


def run_rm(settings: Settings, name: str, *, yes: bool, as_json: bool) -> int:
    """Removes a video and all that was derived from it; returns 1 where the user says no."""
    with open_library(settings) as library:
        video = library.find(name, exact=True)
        if not yes and not confirmed(video):
            say("Nothing was removed.")
            return 1
        # The catalogue's entry goes last: a removal that was interrupted can be asked for again.
        build_thumbnails(settings).remove(video.id)
        if video.source:
            remove_recordings(recordings_folder(settings.library, video.id))
        library.remove_video(video.id)
        library.forget_spaces()
    if as_json:
        print_json({"removed": video.id, "title": video.title})
    else:
        say(f"Removed {safe(video.title)} ({video.id[:8]}) from the library.")
    return 0


def remove_recordings(folder: Path) -> None:
    """Raises LibraryError where some of it is still there."""
    for attempts_left in (2, 1, 0):  # who records may begin a file meanwhile, or let one go
        if not os.path.lexists(folder):
            return
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if not attempts_left:
                raise translate(error, folder, "removing what was recorded") from error


def confirmed(video: Video) -> bool:
    """Asks on the terminal. Raises UsageError where there is none to ask on."""
    place = ", ".join((video.id[:8], *(file.path for file in video.files)))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"rm would remove “{video.title}” ({place}); --yes does it.")
    sys.stderr.write(f"Remove {safe(f'{video.title} ({place})')} from the library? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
