"""Results in the order in time that a question asks for (`rag.order`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from index.library import Library
from index.schema import Moment
from rag.fuse import Find, Fused
from rag.order import Order
from rag.query import Ask, ParsedQuery, parse
from rag.result import Catalogue, Explanation, SearchResult
from rag.scope import Scope
from rag.settings import OrderSettings, RetrieveSettings
from rag.timestamp import time_span

TELLING = ("speech", "caption", "screen_text", "object")
"""Channels that tell what happens, the best first."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A result with the find of the anchor that it lies after or before (None where it does not),
    its score that of both. at: which of the results it was."""

    moment: Moment
    at: int
    anchor: Moment | None

    def reason(self, order: Order) -> str:
        side = "before" if order.relation == "before" else "after"
        if self.anchor is None:
            return f"not {side} “{order.anchor}”"
        span = time_span(self.anchor.start_seconds, self.anchor.end_seconds)
        return f"{side} “{order.anchor}” at {span}"


class Search(Protocol):
    """One search, in no order. asks: in place of the query's own words."""

    def __call__(
        self,
        query: ParsedQuery,
        scope: Scope,
        limit: int,
        explain: bool = False,
        *,
        asks: Sequence[Ask] = (),
    ) -> SearchResult: ...


def search_in_order(
    order: Order,
    search: Search,
    library: Library,
    everywhere: Scope,
    scope: Scope,
    limit: int,
    explain: bool,
    settings: RetrieveSettings,
    *,
    excluded: tuple[str, ...] = (),
    asks: Sequence[Ask] = (),
) -> SearchResult | None:
    """What lies on the right side of the anchor, best first; None where nothing does.

    everywhere: where the anchor may lie, scope: where the results may. excluded: of the results.
    """
    anchors = _anchors(search, order, everywhere, settings.order)
    if not anchors:
        return None
    if order.target:
        videos = tuple(dict.fromkeys(anchor.video_id for anchor in anchors))
        target = replace(parse(order.target), excluded=excluded)
        deep = max(limit, settings.order.targets)
        result = search(target, scope.only(videos), deep, explain, asks=asks)
        longest = settings.longest_moment_seconds
        placed = place(order, result.moments, anchors, settings.order, longest)
    else:
        result, placed = _beside(order, anchors, library, scope, settings.order)
    if not placed:
        return None
    shown = placed[:limit]
    why = result.explanations if explain else ()
    return SearchResult(
        tuple(one.moment for one in shown),
        tuple(replace(why[one.at], order=one.reason(order)) for one in shown if why),
        result.dropped,
        len(placed) - len(shown) + result.more,
        result.terms,
        (*result.notes, _note_on(order, shown[0])),
        tuple(result.shares[one.at] for one in shown),
    )


def _anchors(
    search: Search, order: Order, everywhere: Scope, settings: OrderSettings
) -> list[Moment]:
    """The finds of the anchor that count, best first."""
    found = search(parse(order.anchor), everywhere, settings.anchors).moments
    least = settings.near_best * found[0].score if found else 0.0
    return [moment for moment in found if moment.score >= least]


def place(
    order: Order,
    targets: Sequence[Moment],
    anchors: Sequence[Moment],
    settings: OrderSettings,
    longest_seconds: float,
) -> list[Placed]:
    """The targets, the best first by how well they match and how near to an anchor they lie on the
    right side; empty where none lies there. One that follows its anchor "then" begins with it,
    unless both together last longer than `longest_seconds`."""
    placed = []
    for at, moment in enumerate(targets):
        fits = [(_fit(order, moment, anchor, anchors[0], settings), anchor) for anchor in anchors]
        fit, anchor = max(fits, key=lambda one: one[0])
        score = moment.score * (1.0 - settings.weight + settings.weight * fit)
        start_seconds = moment.start_seconds
        both_seconds = moment.end_seconds - anchor.start_seconds
        if fit > 0 and order.relation == "then" and both_seconds <= longest_seconds:
            start_seconds = anchor.start_seconds
        moment = replace(moment, score=score, start_seconds=start_seconds)
        placed.append(Placed(moment, at, anchor if fit > 0 else None))
    if not any(one.anchor for one in placed):
        return []
    return sorted(placed, key=lambda one: (-one.moment.score, one.at))


def _fit(
    order: Order, moment: Moment, anchor: Moment, best: Moment, settings: OrderSettings
) -> float:
    """0 where it does not lie on the right side, 1 right beside the best anchor."""
    if (moment.video_id, moment.epoch) != (anchor.video_id, anchor.epoch):
        return 0.0
    first, second = (moment, anchor) if order.relation == "before" else (anchor, moment)
    if first.start_seconds >= second.start_seconds or first.end_seconds >= second.end_seconds:
        return 0.0
    overlap = max(first.end_seconds - second.start_seconds, 0.0)
    if overlap > 0.5 * min(_seconds(first), _seconds(second)):  # the same moment
        return 0.0
    gap = max(second.start_seconds - first.end_seconds, 0.0)
    return anchor.score / (best.score or 1.0) * 0.5 ** (gap / settings.half_life_seconds)


def _seconds(moment: Moment) -> float:
    return moment.end_seconds - moment.start_seconds


def _beside(
    order: Order,
    anchors: Sequence[Moment],
    library: Library,
    scope: Scope,
    settings: OrderSettings,
) -> tuple[SearchResult, list[Placed]]:
    """What happens right after or before each anchor."""
    catalogue = Catalogue(library)
    moments: list[Moment] = []
    why: list[Explanation] = []
    placed: list[Placed] = []
    for anchor in anchors:
        told = _told(order, anchor, library, scope.channels or TELLING, settings.window_seconds)
        inside, _ = scope.keep([] if told is None else [told])
        for find in inside:
            moment = catalogue.moment(Fused(find.start_seconds, find.end_seconds, [find]))
            if moment is not None:
                placed.append(Placed(moment, len(moments), anchor))
                moments.append(moment)
                why.append(Explanation((find,), ()))
    return SearchResult(tuple(moments), tuple(why), shares=(1.0,) * len(moments)), placed


def _told(
    order: Order, anchor: Moment, library: Library, channels: Sequence[str], window_seconds: float
) -> Find | None:
    """What happens right after or before the anchor, from the first of the channels that tells it;
    None where none does."""
    start, end = anchor.end_seconds, anchor.end_seconds + window_seconds
    if order.relation == "before":
        start, end = max(anchor.start_seconds - window_seconds, 0.0), anchor.start_seconds
    there = library.evidence(
        anchor.video_id, channel=channels, start_seconds=start, end_seconds=end
    )
    there = [one for one in there if one.text and one.epoch == anchor.epoch]
    for channel in channels:
        own = [one for one in there if one.channel == channel]
        if own:
            return Find(
                video_id=anchor.video_id,
                epoch=anchor.epoch,
                channel=channel,
                start_seconds=own[0].start_seconds,
                end_seconds=max(one.end_seconds for one in own),
                raw=anchor.score,
                score=anchor.score,
                text=("\n" if channel == "screen_text" else " ").join(one.text for one in own),
                evidence=tuple(one.id for one in own),
            )
    return None


def _note_on(order: Order, best: Placed) -> str:
    """Which find of the anchor the best result was held against, in a sentence."""
    side = "before" if order.relation == "before" else "after"
    anchor = best.anchor
    if anchor is None:
        return f"The best match is not {side} “{order.anchor}”."
    span = time_span(anchor.start_seconds, anchor.end_seconds)
    return f"The best match lies {side} “{order.anchor}”, found in “{anchor.title}” at {span}."
