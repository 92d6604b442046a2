"""How relevant a result is beside what lies around it: the curve for `--explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from index.schema import Moment
from rag.query import ParsedQuery
from rag.result import RelevanceCurve, SearchResult
from rag.saliency import CurveReader, relevance
from rag.scope import Scope

if TYPE_CHECKING:
    from rag.retrieve import Retriever

AROUND = 1.0
"""Of a result's length, shown on either side of it."""

LEAST_SECONDS = 10.0
"""Shown on either side, at least."""

PARTS = 40
"""Values of a curve."""


def with_curves(
    result: SearchResult,
    retriever: Retriever,
    query: ParsedQuery,
    videos: Sequence[str],
    channels: Sequence[str],
) -> SearchResult:
    """The same, each explanation with the curve of the query's words around its moment, also
    beyond the times that the query is bound to. videos, channels: that were looked in."""
    library = retriever.library
    scope = Scope.of(replace(query, after=(), before=()), library, videos, channels)
    reader = CurveReader.of(query.text, library, retriever.encoders, scope, retriever.settings)
    known = library.some_videos({moment.video_id for moment in result.moments})
    explained = [
        replace(why, curve=_around(moment, known[moment.video_id].duration_seconds, reader))
        if moment.video_id in known
        else why
        for moment, why in zip(result.moments, result.explanations, strict=True)
    ]
    return replace(result, explanations=tuple(explained))


def _around(moment: Moment, duration: float | None, reader: CurveReader) -> RelevanceCurve | None:
    start, end = moment.start_seconds, moment.end_seconds
    reach = max(AROUND * (end - start), LEAST_SECONDS)
    begin = max(start - reach, 0.0)
    until = end + reach if duration is None else max(min(end + reach, duration), end)
    curves = reader.read(moment.video_id, moment.epoch, begin, until)
    values = relevance(curves, begin, until, PARTS)
    channels = tuple(dict.fromkeys(curve.channel for curve in curves))
    if not values.any():
        return None
    return RelevanceCurve(begin, until, tuple(round(float(v), 4) for v in values), channels)
