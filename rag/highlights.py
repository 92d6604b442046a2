"""What stands out in a video for a query: a saliency for each 2 s of it, and the best spans.

The spans are those of a search in that video, which lie on the same curves. Peaks of the saliency
itself, grounded by the same methods, were tried in their place and are worse (docs/search.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.errors import UsageError
from index.schema import Moment, Video
from rag.query import parse
from rag.retrieve import Retriever
from rag.saliency import CLIP_SECONDS, CurveReader, saliency
from rag.scope import Scope

LEAST_SECONDS = 1.0
"""Of a span that a better one has taken a part of."""

STANDS_OUT = 0.1
"""What the clips of some span must have, on average, above those outside of all spans."""


@dataclass(frozen=True, slots=True)
class Highlight:
    """moment: a span that overlaps no other one. saliency: mean of its clips, 0..1."""

    moment: Moment
    saliency: float


@dataclass(frozen=True, slots=True)
class Highlights:
    """duration_seconds: of the video, or of what there is of it so far. saliency: of each clip of
    `CLIP_SECONDS`, 0..1, float64 of shape (clips,). highlights: best first. channels: those that
    the saliency is from. stands_out: whether any highlight rises above the rest. more: further
    ones. notes: sentences for the user."""

    video: Video
    duration_seconds: float
    saliency: np.ndarray
    highlights: tuple[Highlight, ...]
    channels: tuple[str, ...]
    stands_out: bool
    more: int = 0
    notes: tuple[str, ...] = ()

    def predictions(self) -> dict[str, list]:
        """In the layout of QVHighlights' submissions: at most ten windows."""
        return {
            "pred_relevant_windows": [
                [one.moment.start_seconds, one.moment.end_seconds, round(one.moment.score, 4)]
                for one in self.highlights[:10]
            ],
            "pred_saliency_scores": [round(float(value), 4) for value in self.saliency],
        }


def find_highlights(
    retriever: Retriever,
    video: Video,
    text: str,
    *,
    channels: Sequence[str] = (),
    limit: int | None = None,
    misses: bool = False,
) -> Highlights:
    """text: as a person types it; what it asks for in an order in time counts for the spans, and
    the saliency is that of all its words. Raises what a search for it raises."""
    library = retriever.library
    found = retriever.search(text, videos=[video.id], channels=channels, limit=limit, misses=misses)
    query = parse(text)
    duration = video.duration_seconds or max(
        (generation.analysed_seconds for generation in library.generations(video.id)), default=0.0
    )
    if not duration:
        raise UsageError(f"Nothing of “{video.title}” is indexed yet.")
    # A window of words that reaches over a bound counts for what lies inside: the bound is a mask.
    scope = Scope.of(replace(query, after=(), before=()), library, [video.id], channels)
    reader = CurveReader.of(query.text, library, retriever.encoders, scope, retriever.settings)
    curves = reader.read(video.id, 0, 0.0, duration)
    values = saliency(curves, duration)
    bounded = Scope.of(query, library, [video.id], channels)
    after, before = bounded.within.get(video.id, bounded.window)
    middles = (np.arange(len(values)) + 0.5) * CLIP_SECONDS
    values[middles < (after or 0.0)] = 0.0
    values[middles >= (math.inf if before is None else before)] = 0.0
    moments = list(_apart(found.moments, duration))
    inside = np.zeros(len(values), bool)
    for moment in moments:
        inside[_clips(moment, len(values))] = True
    outside = float(values[~inside].mean()) if not inside.all() else 0.0
    highlights = tuple(
        Highlight(moment, float(values[_clips(moment, len(values))].mean())) for moment in moments
    )
    return Highlights(
        video,
        duration,
        values,
        highlights,
        tuple(dict.fromkeys(curve.channel for curve in curves)),
        any(one.saliency - outside >= STANDS_OUT for one in highlights),
        found.more,
        found.notes,
    )


def _apart(moments: Iterable[Moment], duration_seconds: float) -> Iterable[Moment]:
    """The moments without what better ones have of them."""
    taken: list[tuple[float, float]] = []
    for moment in moments:
        start = max(moment.start_seconds, 0.0)
        end = max(min(moment.end_seconds, duration_seconds), start)
        least = min(LEAST_SECONDS, end - start)
        for other_start, other_end in taken:
            if other_start < end and start < other_end:
                before, after = other_start - start, end - other_end
                start, end = (start, other_start) if before >= after else (other_end, end)
        if end - start >= least and end > start:
            taken.append((start, end))
            yield replace(moment, start_seconds=start, end_seconds=end)


def _clips(moment: Moment, count: int) -> slice:
    """The clips that it lies in, at least one."""
    first = min(int(moment.start_seconds / CLIP_SECONDS), count - 1)
    last = int(np.ceil(moment.end_seconds / CLIP_SECONDS - 1e-6))
    return slice(first, max(first + 1, min(last, count)))
