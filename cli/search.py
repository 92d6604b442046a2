"""`longtake search`: moments, one after the other, best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli.compose import build_retriever, open_library
from cli.render import data_line, print_json, safe, say, telling_titles, write_moment
from cli.settings import Settings
from rag.fuse import Dropped, Find, Term
from rag.query import typed
from rag.retrieve import Explanation, SearchResult
from rag.timestamp import time_span


def run_search(
    settings: Settings,
    words: Sequence[str],
    *,
    image: Path | None,
    videos: Sequence[str],
    channels: Sequence[str],
    limit: int | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Prints what is found; returns the exit status, 0 also where nothing is."""
    with open_library(settings) as library:
        result = build_retriever(settings, library).search(
            typed(words),
            image=image,
            videos=videos,
            channels=channels,
            limit=limit,
            explain=explain,
        )
    for note in result.notes:
        say(safe(note))
    if as_json:
        _print_json(result, explain)
    else:
        _print(result, explain)
    if not result.moments:
        say("Nothing found.")
    elif result.more:
        say((f"{result.more} more; --limit shows them.", "dim"))
    return 0


def _print_json(result: SearchResult, explain: bool) -> None:
    """A line a moment; with `explain`, then one line for the query and what was dropped."""
    import msgspec

    for at, moment in enumerate(result.moments):
        record = msgspec.to_builtins(moment)
        if explain:
            record["explanation"] = msgspec.to_builtins(result.explanations[at])
        print_json(record)
    if explain:
        print_json({"query": {"terms": result.terms, "dropped": result.dropped}})


def _print(result: SearchResult, explain: bool) -> None:
    if explain:
        for term in result.terms:
            data_line((_describe(term), "dim"))
        data_line()
    titles = telling_titles((m.video_id, m.title, m.path) for m in result.moments)
    for at, moment in enumerate(result.moments):
        write_moment(moment, titles[moment.video_id])
        if explain:
            _print_explanation(result.explanations[at])
    if result.dropped:
        data_line()
        data_line("Dropped:")
        for dropped in result.dropped:
            data_line((_describe_dropped(dropped), "dim"), indent=2)


def _describe(term: Term) -> str:
    """`lens: idf 2.31, in 3 of 120 passages (english)`."""
    return (
        f"{safe(term.word)}: idf {term.idf:.2f}, in {term.passages} of {term.of} passages "
        f"({term.analyzer})"
    )


def _print_explanation(explanation: Explanation) -> None:
    for find in explanation.finds:
        data_line((_describe_find(find), "dim"), indent=4)
    for merged in explanation.merged:
        data_line((f"merged: {_describe_dropped(merged)}", "dim"), indent=4)


def _describe_find(find: Find) -> str:
    span = time_span(find.start_seconds, find.end_seconds)
    return f"{find.channel} #{find.rank}  {span}  {safe(find.reason())}"


def _describe_dropped(dropped: Dropped) -> str:
    find = dropped.find
    span = time_span(find.start_seconds, find.end_seconds)
    return f"{find.channel} {span} in {find.video_id[:8]}: {dropped.reason}"
