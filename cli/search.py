"""`longtake search`: moments or videos, one after the other, best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.compose import build_retriever, open_library
from cli.export import export_moments, say_written
from cli.export_target import check_target, target_of
from cli.render import data_line, in_order, print_json, safe, say, telling_titles, write_moment
from cli.settings import Settings
from index.errors import UsageError
from index.schema import Moment
from rag.fuse import Dropped, Find, Term
from rag.query import typed
from rag.result import Explanation, RelevanceCurve, SearchResult
from rag.settings import MOST_MOMENTS, GroupSettings
from rag.timestamp import time_span, timestamp


def run_search(
    settings: Settings,
    words: Sequence[str],
    *,
    image: Path | None,
    clip: str | None,
    videos: Sequence[str],
    channels: Sequence[str],
    limit: int | None,
    group_by: str | None = None,
    exports: Sequence[str] = (),
    misses: bool = False,
    explain: bool,
    as_json: bool,
) -> int:
    """Prints what is found, and writes it to `exports`; returns the exit status, 0 also where
    nothing is found."""
    targets = [target_of(path, None, "--export") for path in exports]
    for target in targets:
        check_target(target)
    if group_by not in (None, "video"):
        raise UsageError(f"--group-by takes video, not “{group_by}”.")
    asked = limit
    if group_by:
        limit = settings.retrieve.limit if limit is None else limit
        asked = min(limit * settings.retrieve.group.moments, MOST_MOMENTS)
    with open_library(settings) as library:
        result = build_retriever(settings, library).search(
            typed(words),
            image=image,
            clip=clip,
            videos=videos,
            channels=channels,
            limit=asked,
            misses=misses,
            explain=explain,
        )
    for note in result.notes:
        say(safe(note))
    if group_by:
        found = _print_videos(result, limit, settings.retrieve.group, explain, as_json)
    else:
        found = _print_moments(result, channels, explain, as_json)
    if not targets or not found:
        return 0
    with open_library(settings) as library:
        title = " ".join(words) or (image.name if image else clip)
        return max(
            export_moments(settings, library, found, target, say_written, title=title)
            for target in targets
        )


def _print_moments(
    result: SearchResult, channels: Sequence[str], explain: bool, as_json: bool
) -> Sequence[Moment]:
    """Returns what it has shown."""
    if as_json:
        _print_json(result, explain)
    else:
        _print(result, explain)
    if lacking := never_begun(result, channels):
        say((f"Not indexed in some of these videos: {', '.join(lacking)}.", "dim"))
    if not result.moments:
        say("Nothing found.")
    elif result.more:
        say((f"{result.more} more; --limit shows them.", "dim"))
    return result.moments


def _print_videos(
    result: SearchResult, limit: int, how: GroupSettings, explain: bool, as_json: bool
) -> Sequence[Moment]:
    """Returns what it has shown."""
    from cli.videos import print_videos, print_videos_json
    from rag.group import group_by_video

    reasons = dict(zip(map(id, result.moments), result.explanations, strict=False))
    videos = group_by_video(result.moments, how)
    if as_json:
        print_videos_json(videos[:limit], lambda moment: _record(moment, reasons.get(id(moment))))
        _print_query_json(result, explain)
    else:
        _print_terms(result, explain)
        print_videos(
            videos[:limit],
            lambda moment: _print_explanation(reasons.get(id(moment)), moment, indent=6),
        )
        _print_dropped(result)
    if not videos:
        say("Nothing found.")
    elif len(videos) > limit:
        say((f"{len(videos) - limit} more videos; --limit shows them.", "dim"))
    return [moment for video in videos[:limit] for moment in video.moments]


def never_begun(result: SearchResult, channels: Sequence[str]) -> list[str]:
    """Channels (of those searched) that cover nothing of some video in the result."""
    lacking = {name: 0.0 for m in result.moments for name, s in m.coverage.items() if not s}
    return [n for n in in_order(lacking) if not channels or n.removeprefix("text:") in channels]


def _print_json(result: SearchResult, explain: bool) -> None:
    """A line a moment; with `explain`, then one line for the query and what was dropped."""
    for at, moment in enumerate(result.moments):
        print_json(_record(moment, result.explanations[at] if explain else None))
    _print_query_json(result, explain)


def _record(moment: Moment, explanation: Explanation | None) -> dict[str, Any]:
    import msgspec

    record = msgspec.to_builtins(moment)
    if explanation is not None:
        record["explanation"] = msgspec.to_builtins(explanation)
    return record


def _print_query_json(result: SearchResult, explain: bool) -> None:
    if explain:
        print_json({"query": {"terms": result.terms, "dropped": result.dropped}})


def _print(result: SearchResult, explain: bool) -> None:
    _print_terms(result, explain)
    titles = telling_titles((m.video_id, m.title, m.path) for m in result.moments)
    for at, moment in enumerate(result.moments):
        write_moment(moment, titles[moment.video_id])
        _print_explanation(result.explanations[at] if explain else None, moment)
    _print_dropped(result)


def _print_terms(result: SearchResult, explain: bool) -> None:
    if explain:
        for term in result.terms:
            data_line((_describe(term), "dim"))
        data_line()


def _print_dropped(result: SearchResult) -> None:
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


def _print_explanation(explanation: Explanation | None, moment: Moment, indent: int = 4) -> None:
    if explanation is None:
        return
    for line in filter(None, (explanation.order, explanation.judged)):
        data_line((safe(line), "dim"), indent=indent)
    for find in explanation.finds:
        data_line((_describe_find(find), "dim"), indent=indent)
    if explanation.curve is not None:
        data_line((_describe_curve(explanation.curve, moment), "dim"), indent=indent)
    for merged in explanation.merged:
        data_line((f"merged: {_describe_dropped(merged)}", "dim"), indent=indent)


def _describe_find(find: Find) -> str:
    """`speech #1  0:30–0:34  score 0.73  BM25 8.52: lens (4.46)`: the score calibrated, then the
    channel's own."""
    span = time_span(find.start_seconds, find.end_seconds)
    rank = f" #{find.rank}" if find.rank else ""
    return f"{find.channel}{rank}  {span}  score {find.score:.2f}  {safe(find.reason())}".rstrip()


def _describe_curve(curve: RelevanceCurve, moment: Moment) -> str:
    """`0:12 ▁▁▂[▅▇▅]▂▁▁ 0:58  relevance up to 0.61`, the moment in brackets."""
    import numpy as np

    from cli.curve_line import LEAST_TOP, bars, bracketed

    values = np.array(curve.values)
    peak = float(values.max())
    at = curve.start_seconds
    row = bracketed(
        bars(values, len(values), max(peak, LEAST_TOP)),
        [(moment.start_seconds - at, moment.end_seconds - at)],
        curve.end_seconds - at,
    )
    ends = timestamp(round(at)), timestamp(round(curve.end_seconds))
    return f"{ends[0]} {row} {ends[1]}  relevance up to {peak:.2f}"


def _describe_dropped(dropped: Dropped) -> str:
    find = dropped.find
    span = time_span(find.start_seconds, find.end_seconds)
    where = f"{find.channel} {span} in {find.video_id[:8]}"
    return f"{where}, score {find.score:.2f}: {dropped.reason}"
