"""`longtake pin`: spans of live sources that retention leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

from cli.compose import open_library
from cli.export_input import parse_span
from cli.render import data_line, print_json, safe, say
from cli.settings import Settings
from index.errors import UsageError
from index.pieces import PieceBook, Pin
from index.schema import readable
from rag.timestamp import time_span


def run_pin(
    settings: Settings,
    name: str,
    spans: Sequence[str],
    *,
    note: str,
    remove: bool,
    as_json: bool,
) -> int:
    """Keeps spans, or lets them go, and lists those that are kept; returns the exit status."""
    times = [parse_span(span) for span in spans]
    if note and not times:
        raise UsageError("--note says why a span is kept: --span says which.")
    with open_library(settings) as library:
        book = PieceBook(library.store)
        video = library.find(name)
        if not video.source:
            raise UsageError(
                f"“{video.title}” is no live source: nothing of it goes by itself, so there is "
                "nothing to pin."
            )
        asked = [Pin(video.id, start, end, readable(note)) for start, end in times]
        known = {pin.id: pin for pin in book.pins(video.id)}
        if remove:
            unknown = next((pin for pin in asked if pin.id not in known), None)
            if unknown is not None:
                span = time_span(unknown.start_seconds, unknown.end_seconds)
                raise UsageError(f"{span} of “{video.title}” is not pinned.")
            for pin in asked or list(known.values()):
                book.remove_pin(known[pin.id])
        else:
            for pin in asked:
                book.put_pin(pin)
                if pin.start_seconds < video.kept_from_seconds:
                    say(("What was before some of it has been let go of already.", "yellow"))
        pins = book.pins(video.id)
    for pin in pins:
        if as_json:
            print_json(pin)
            continue
        span = time_span(pin.start_seconds, pin.end_seconds)
        data_line((span, "cyan"), f"  {safe(pin.note)}" if pin.note else "")
    if not pins:
        say(f"Nothing of “{safe(video.title)}” is pinned.")
    return 0
