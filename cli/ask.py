"""`longtake ask`: the answer as it comes, then its sources."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from cli.compose import build_answerer, open_library
from cli.render import data_line, print_json, safe, say
from cli.settings import Settings
from index.schema import AnswerEvent, Citation, Done, Source, Sources, Token
from rag.query import typed
from rag.timestamp import time_span


def run_ask(
    settings: Settings, words: Sequence[str], *, videos: Sequence[str], as_json: bool
) -> int:
    """Streams the answer; returns the exit status, 0 also where the library holds none."""
    with open_library(settings) as library:
        events = build_answerer(settings, library).ask(typed(words), videos=videos)
        if as_json:
            for event in events:
                print_json(_tagged(event))
                sys.stdout.flush()
        else:
            _stream(events)
    return 0


def _tagged(event: AnswerEvent) -> dict:
    """`{"event": "token", "text": ...}`."""
    import msgspec

    return {"event": type(event).__name__.lower(), **msgspec.to_builtins(event)}


def _stream(events: Iterator[AnswerEvent]) -> None:
    cited: dict[int, Source] = {}
    for event in events:
        match event:
            case Sources():
                pass  # shown at the end, and only those that the answer leans on
            case Token(text=text):
                _write("\n".join(map(safe, text.split("\n"))))
            case Citation(source=source):
                cited[source.number] = source
                _write(f" [{source.number}]")
            case Done(detail=detail):
                _write("\n")
                _show_sources(list(cited.values()))
                if note := detail.get("coverage_note"):
                    say((safe(note), "yellow"))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _show_sources(sources: list[Source]) -> None:
    if sources:
        data_line()
    for source in sources:
        moment = source.moment
        place = moment.path or moment.video_id
        data_line(
            f"[{source.number}] ",
            (safe(moment.title), "bold"),
            "  ",
            (time_span(moment.start_seconds, moment.end_seconds), "cyan"),
            "  ",
            (f"[{moment.channel}]", "green"),
            f"  {safe(place)}",
        )
