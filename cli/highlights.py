"""`longtake highlights`: what stands out in one video, as spans and over its whole length."""

from __future__ import annotations

from collections.abc import Sequence

from cli.compose import build_retriever, open_library
from cli.curve_line import LEAST_TOP, LONGEST, bars, numbered
from cli.render import (
    cells,
    data_line,
    highlighted,
    in_order,
    print_json,
    safe,
    say,
    terminal_width,
)
from cli.settings import Settings
from index.errors import UsageError
from rag.highlights import Highlights, find_highlights
from rag.query import typed
from rag.saliency import CLIP_SECONDS
from rag.timestamp import time_span, timestamp


def run_highlights(
    settings: Settings,
    name: str,
    words: Sequence[str],
    *,
    channels: Sequence[str],
    limit: int | None,
    misses: bool,
    as_json: bool,
) -> int:
    """Prints the highlights; returns the exit status, 0 also where nothing is found."""
    query = typed(words)
    if not query.strip():
        raise UsageError('Highlights of what? `longtake highlights VIDEO "what to look for"`.')
    with open_library(settings) as library:
        found = find_highlights(
            build_retriever(settings, library),
            library.find(name),
            query,
            channels=channels,
            limit=limit,
            misses=misses,
        )
    for note in found.notes:
        say(safe(note))
    if as_json:
        print_json(_record(found, query))
    else:
        _print(found)
    if not found.highlights:
        say("Nothing found.")
    elif not found.stands_out:
        say(("Nothing stands out: the rest of the video is about it nearly as much.", "yellow"))
    if found.more:
        say((f"{found.more} more; --limit shows them.", "dim"))
    return 0


def _record(found: Highlights, query: str) -> dict:
    return {
        "query": query,
        "vid": found.video.id,
        "title": found.video.title,
        "duration_seconds": found.duration_seconds,
        "clip_seconds": CLIP_SECONDS,
        "channels": list(in_order(dict.fromkeys(found.channels, 1.0))),
        "stands_out": found.stands_out,
        "highlights": [
            {
                "start_seconds": one.moment.start_seconds,
                "end_seconds": one.moment.end_seconds,
                "score": one.moment.score,
                "saliency": round(one.saliency, 4),
                "channels": list(_channels(one.moment)),
                "text": one.moment.text,
            }
            for one in found.highlights
        ],
        **found.predictions(),
    }


def _print(found: Highlights) -> None:
    if found.saliency.any():
        _print_curve(found)
    for number, one in enumerate(found.highlights, 1):
        moment = one.moment
        data_line(
            f"{number}. ",
            (time_span(moment.start_seconds, moment.end_seconds), "cyan"),
            f"  {moment.score:.2f}  ",
            (f"[{'+'.join(_channels(moment))}]", "green"),
            f"  saliency {one.saliency:.2f}",
        )
        if moment.text:
            data_line(*highlighted(moment.text, moment.highlights), indent=3)


def _print_curve(found: Highlights) -> None:
    """The whole video in one line, from its start to its end, and under it where spans lie."""
    end = timestamp(round(found.duration_seconds))
    width = min(terminal_width() - len(end) - 7, LONGEST)
    peak = float(found.saliency.max())
    row = bars(found.saliency, width, max(peak, LEAST_TOP))
    spans = [(o.moment.start_seconds, o.moment.end_seconds) for o in found.highlights]
    length = len(found.saliency) * CLIP_SECONDS
    channels = ", ".join(in_order(dict.fromkeys(found.channels, 1.0)))
    data_line((safe(found.video.title), "bold"), f"  saliency up to {peak:.2f} ({channels})")
    data_line(f"0:00 {row} {end}")
    if under := numbered(spans, length, cells(row)):
        data_line((f"     {under}", "cyan"))


def _channels(moment) -> Sequence[str]:
    return list(dict.fromkeys((moment.channel, *(hit.channel for hit in moment.hits))))
