"""How good a ranked list of moments is, and how sure that is.

A result counts as *found* when it lies in the right video and overlaps a true span; as found at an
IoU of t when its intersection over union with one of them is at least t. What was asked of several
true spans is judged by the one that fits best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

RANKS = (1, 5, 10)
"""Where recall is measured."""

IOUS = (0.3, 0.5, 0.7)

SPAN_SECONDS = (60, 300)
"""What results should be no longer than, where true spans are short and where they are long: whole
videos would be found more often."""

MOST_OVERLAP = 0.3
"""Two results in one video that share more, as a part of the shorter, are near copies."""

RESAMPLES = 2000
"""Of the bootstrap. The ends of a 95% interval then move by less than a fifth of its half width."""

Span = tuple[float, float]
"""start_seconds, end_seconds."""


@dataclass(frozen=True, slots=True)
class Result:
    """One moment that a search returned. video: as the question calls it, or the library's id."""

    video: str
    start_seconds: float
    end_seconds: float
    score: float

    @property
    def span(self) -> Span:
        return self.start_seconds, self.end_seconds


def iou(one: Span, other: Span) -> float:
    """Intersection over union of two spans, 0..1."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    if shared <= 0:
        return 0.0
    return shared / (max(one[1], other[1]) - min(one[0], other[0]))


def overlaps(one: Span, other: Span) -> bool:
    """Whether they share more than an edge."""
    return min(one[1], other[1]) > max(one[0], other[0])


@dataclass(frozen=True)
class Judged:
    """What one question got. windows: its true spans; () where only the video is known.

    latency_seconds: of the search; None where it was not timed.
    """

    id: str
    video: str
    windows: tuple[Span, ...]
    results: tuple[Result, ...]
    latency_seconds: float | None = None

    @cached_property
    def rank(self) -> int | None:
        """Of the first result that is found, from 1."""
        return self._first(lambda r: any(overlaps(r.span, window) for window in self.windows))

    @cached_property
    def video_rank(self) -> int | None:
        """Of the first result in the right video."""
        return self._first(lambda result: True)

    def rank_at(self, least: float) -> int | None:
        """Of the first result found at that IoU."""
        return self._first(lambda result: self._iou(result) >= least)

    @property
    def first_iou(self) -> float:
        """Of the first result; 0 in another video."""
        return self._iou(self.results[0]) if self.results else 0.0

    def _iou(self, result: Result) -> float:
        if result.video != self.video:
            return 0.0
        return max((iou(result.span, window) for window in self.windows), default=0.0)

    def _first(self, right: Callable[[Result], bool]) -> int | None:
        for at, result in enumerate(self.results, 1):
            if result.video == self.video and right(result):
                return at
        return None


def within(rank: int | None, most: int) -> bool:
    return rank is not None and rank <= most


def measures(judged: Sequence[Judged]) -> dict[str, np.ndarray]:
    """Name -> one number a question, float64 of shape (questions,), whose mean is the figure."""
    found: dict[str, list[float]] = {}
    for one in judged:
        here: dict[str, float] = {}
        for k in RANKS:
            here[f"moment_recall.{k}"] = within(one.rank, k)
            here[f"iou_recall.{k}"] = within(one.rank_at(IOUS[0]), k)
            here[f"video_recall.{k}"] = within(one.video_rank, k)
        here["mrr"] = 0.0 if one.rank is None else 1.0 / one.rank
        for least in IOUS:
            here[f"r1_iou.{least}"] = one.first_iou >= least
        here["miou"] = one.first_iou
        for name, value in here.items():
            found.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """All figures over the questions, with 95% bootstrap intervals of those that are means.

    Questions whose true span is not known count for `video_recall` alone. `iou_recall` is at an
    IoU of .3. `median_span_seconds` and `longest_span_seconds` are over all results,
    `median_first_span_seconds` over the first of each. `longer_than_seconds` counts the results
    that are; `most_overlap` is the greatest of `overlap_shares`, and `overlapping_pairs` counts
    those above `MOST_OVERLAP`.
    """
    spanned = [one for one in judged if one.windows]
    of_videos = {n: v for n, v in measures(judged).items() if n.startswith("video_recall.")}
    of_spans = {n: v for n, v in measures(spanned).items() if n not in of_videos}
    by_name = of_spans | of_videos
    figures = {name: float(values.mean()) for name, values in by_name.items()}
    lengths = [r.end_seconds - r.start_seconds for one in judged for r in one.results]
    firsts = [one.results[0].span for one in judged if one.results]
    shares = [share for one in judged for share in overlap_shares(one.results)]
    latencies = [one.latency_seconds for one in judged if one.latency_seconds is not None]
    return {
        **nested(figures),
        "median_span_seconds": float(np.median(lengths)) if lengths else None,
        "latency_ms": {
            name: 1000.0 * float(np.percentile(latencies, at)) if latencies else None
            for name, at in (("p50", 50), ("p95", 95))
        },
        "median_first_span_seconds": (
            float(np.median([end - start for start, end in firsts])) if firsts else None
        ),
        "longest_span_seconds": max(lengths, default=None),
        "longer_than_seconds": {
            str(most): sum(length > most for length in lengths) for most in SPAN_SECONDS
        },
        "most_overlap": max(shares, default=0.0),
        "overlapping_pairs": sum(share > MOST_OVERLAP for share in shares),
        "queries": len(judged),
        "queries_with_spans": len(spanned),
        "queries_without_results": sum(not one.results for one in judged),
        "intervals": nested(intervals(of_spans) | intervals(of_videos)),
    }


def nested(figures: Mapping[str, Any]) -> dict[str, Any]:
    """`{"mrr": …, "moment_recall.1": …}` as `{"mrr": …, "moment_recall": {"1": …}}`."""
    tree: dict[str, Any] = {}
    for name, value in figures.items():
        group, _, key = name.partition(".")
        if key:
            tree.setdefault(group, {})[key] = value
        else:
            tree[name] = value
    return tree


def overlap_shares(results: Sequence[Result]) -> list[float]:
    """Of each two results in one video, the part of the shorter that lies in the other, 0..1."""
    shares = []
    for at, one in enumerate(results):
        for other in results[at + 1 :]:
            shorter = min(r.end_seconds - r.start_seconds for r in (one, other))
            if one.video == other.video and shorter > 0:
                starts = max(one.start_seconds, other.start_seconds)
                ends = min(one.end_seconds, other.end_seconds)
                shares.append(max(ends - starts, 0.0) / shorter)
    return shares


def intervals(by_name: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """The 95% interval of each mean, by resampling questions with replacement (Efron 1979, by
    percentiles). The same every time.

    by_name: float64 of shape (questions,), all of one length, which is at least 1.
    """
    if not by_name:
        return {}
    table = np.stack(list(by_name.values()), axis=1)
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(table), len(table)) for _ in range(RESAMPLES))
    means = np.array([table[rows].mean(axis=0) for rows in drawn])
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return {name: (float(low[at]), float(high[at])) for at, name in enumerate(by_name)}


def compare(ours: Sequence[Judged], theirs: Sequence[Judged]) -> dict[str, Any]:
    """How much better `ours` is on the questions that both have, by id: difference of the means
    and its 95% interval, resampling pairs. {"queries": 0} where there are none."""
    known = {one.id: one for one in theirs}
    pairs = [(one, known[one.id]) for one in ours if one.windows and one.id in known]
    if not pairs:
        return {"queries": 0}
    mine, others = (measures([pair[side] for pair in pairs]) for side in (0, 1))
    differences = {name: mine[name] - others[name] for name in mine}
    return {
        "queries": len(pairs),
        "difference": nested({name: float(d.mean()) for name, d in differences.items()}),
        "intervals": nested(intervals(differences)),
    }


def roc_area(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """The chance that one of `positives` scores higher than one of `negatives`; equal scores count
    half (the area under the ROC curve, as Mann and Whitney's U). Both must hold something."""
    above = np.array(positives)[:, None]
    below = np.array(negatives)[None, :]
    return float((above > below).mean() + 0.5 * (above == below).mean())
