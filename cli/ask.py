"""`longtake ask`: the answer as it comes, then its sources."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.compose import build_answerer, open_library
from cli.render import data_line, print_json, safe, say, say_error, speaks_unicode
from cli.settings import Settings
from index.errors import UsageError
from index.schema import AnswerEvent, Checked, Citation, Done, Source, Sources, Token
from rag.answer_settings import CONTEXTS
from rag.query import typed
from rag.timestamp import place_in_time

INTERRUPTED = 130

_MARKS = {"unsupported": "unsupported", "uncited": "no source", "unchecked": "unchecked"}


def run_ask(
    settings: Settings,
    words: Sequence[str],
    *,
    videos: Sequence[str],
    context: str | None,
    strict: bool,
    as_json: bool,
) -> int:
    """Streams the answer; returns the exit status: 0 also where the library holds none, 1 where it
    broke off, 130 where it was interrupted, after what was said so far."""
    if context is not None and context not in CONTEXTS:
        raise UsageError(f"No context “{context}”. Known: {', '.join(CONTEXTS)}.")
    given = {"context": context} if context is not None else {}
    given |= {"strict": True} if strict else {}
    settings = settings.model_copy(update={"ask": settings.ask.model_copy(update=given)})
    with open_library(settings) as library:
        events = build_answerer(settings, library).ask(typed(words), videos=videos)
        return _json_lines(events) if as_json else stream_answer(events)


def _json_lines(events: Iterator[AnswerEvent]) -> int:
    status = 0
    try:
        for event in events:
            print_json(_tagged(event))
            sys.stdout.flush()
            if isinstance(event, Done):
                status = _status(event)
    except KeyboardInterrupt:  # while it was printed
        events.close()
        print_json(_tagged(Done(True, {"interrupted": True})))
        return INTERRUPTED
    return status


def _tagged(event: AnswerEvent) -> dict:
    """`{"event": "token", "text": ...}`."""
    import msgspec

    return {"event": type(event).__name__.lower(), **msgspec.to_builtins(event)}


def stream_answer(events: Iterator[AnswerEvent]) -> int:
    """Writes an answer as it comes, then what it leans on; returns the exit status."""
    cited: dict[int, Source] = {}
    shown: Sequence[Source] = ()
    said = False
    try:
        for event in events:
            match event:
                case Sources(sources=shown, again=again):  # at the end, and only those it leans on
                    if again:
                        _write("\n" if said else "")
                        say((safe(again), "yellow"))
                    cited.clear()
                    said = False
                case Token(text=text):
                    _write("\n".join(map(safe, text.split("\n"))))
                    said = True
                case Citation(source=source):
                    cited[source.number] = source
                    _write(f" [{source.number}]")
                case Checked(verdict=verdict):
                    if verdict in _MARKS:
                        _write(f" ({'⚠ ' if speaks_unicode() else ''}{_MARKS[verdict]})")
                case Done():
                    return _end(event, cited, shown)
    except KeyboardInterrupt:  # while it was printed
        events.close()
        return _end(Done(True, {"interrupted": True}), cited)
    return 0


def _end(done: Done, cited: dict[int, Source], shown: Sequence[Source] = ()) -> int:
    """shown: what the model was shown, where it named none of it: so the reader has a place to
    look for himself."""
    _write("\n")
    detail = done.detail
    leans_on = list(cited.values())
    if not cited and done.found and detail.get("answerer") == "model" and shown:
        say(("The model names no source for this. It was shown these:", "yellow"))
        leans_on = list(shown)
    if leans_on:
        data_line()
    show_sources(leans_on)
    for note in (detail.get("coverage_note"), *_notes(detail)):
        if note:
            say((safe(note), "yellow"))
    if error := detail.get("error"):
        say_error(error)
    elif detail.get("interrupted"):
        say(("Interrupted.", "yellow"))
    return _status(done)


def _status(done: Done) -> int:
    if done.detail.get("interrupted"):
        return INTERRUPTED
    return 1 if done.detail.get("error") else 0


def _notes(detail: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the answer should know; only answers by a model have it."""
    if detail.get("answerer") != "model":
        return
    yield from detail.get("notes", ())
    if dropped := detail.get("dropped"):
        yield f"{_count(dropped, 'sentence')} without support left out."
    if invented := detail.get("invented"):
        yield f"{_count(invented, 'citation')} of sources that do not exist left out."
    if detail.get("cut_off"):
        yield "The answer was cut off: raise ask.answer_tokens."
    if detail.get("repeated"):
        yield "The model began to say the same over and over, and was stopped."


def _count(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def show_sources(sources: Sequence[Source]) -> None:
    """A line for each, with its number and place."""
    for source in sources:
        moment = source.moment
        place = moment.path or moment.video_id
        data_line(
            f"[{source.number}] ",
            (safe(moment.title), "bold"),
            "  ",
            (place_in_time(moment), "cyan"),
            "  ",
            (f"[{moment.channel}]", "green"),
            f"  {safe(place)}",
        )
