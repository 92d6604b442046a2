"""Temporal grounding without training: where, on a relevance curve, the moment begins and ends.

Proposals come from two published methods and from the window that was ranked, and vote for each
other by their overlap (TFVTG's vote):

* contrast: of all stretches, the mean inside minus the mean outside (TFVTG, Zheng et al. 2024,
  "Training-free Video Temporal Grounding using Large-scale Pre-trained Models"), less how far its
  length lies from that of a usual moment;
* histogram: what stands above the lower edge of the highest bins that hold enough of the curve,
  joined over short gaps (VTG-GPT, Xu et al. 2024, "VTG-GPT: Tuning-Free Zero-Shot Video Temporal
  Grounding with GPT").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.settings import GroundSettings

MOST_CANDIDATES = 400
"""Stretches by contrast, the best ones, of which proposals are taken."""

Proposal = tuple[int, int, float]
"""First and one past the last of the pieces, and what speaks for it."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a moment usually is and at most may be, in seconds. grow: windows that are ranked
    grow with it, as they do in long videos."""

    usual_seconds: float
    longest_seconds: float
    grow: bool


def lengths(duration_seconds: float | None, settings: GroundSettings) -> Lengths:
    """Of the moments of a video that lasts so long; None: a live one.

    People mark about a seventh of a video whatever its length: 13% of the tutorials, 15% of the
    lectures, 16% of QVHighlights' clips, 12% of TVR's.
    """
    if duration_seconds is None:
        longest = settings.longest_seconds
        return Lengths(longest / 2, longest, True)
    short = duration_seconds <= settings.short_video_seconds
    longest = settings.longest_in_short_seconds if short else settings.longest_seconds
    usual = max(settings.usual_share * duration_seconds, settings.shortest_seconds)
    return Lengths(min(usual, longest), longest, not short)


def ground(
    relevance: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    window: tuple[int, int],
    background: float,
    allowed: Lengths,
    settings: GroundSettings,
) -> tuple[int, int]:
    """The moment about the ranked window: (first, one past the last) of the pieces.

    relevance, starts, ends: of the pieces of the stretch around it, float64 of shape (n,), times
    in seconds, in time order. window: half-open range in them. background: the relevance of what
    has nothing to do with the query. The best piece of the window is always in it. Constant curves
    give the window back.
    """
    first, last = window
    best = first + int(relevance[first:last].argmax())
    if relevance[best] - background < 1e-6:
        return window
    curve = (relevance - background) / (relevance[best] - background)
    found = [
        *_by_contrast(curve, starts, ends, allowed, settings),
        *((a, b, settings.histogram_weight * s) for a, b, s in _by_histogram(curve, settings)),
    ]
    found = [one for one in found if one[0] <= best < one[1]]
    most = max((score for _, _, score in found), default=1.0)
    found.append((first, last, settings.window_weight * most))
    kept = [
        (a, b, s)
        for a, b, s in found
        if s > 0 and ends[a:b].max() - starts[a] <= allowed.longest_seconds
    ]
    if not kept:
        return window
    return max(kept, key=lambda one: (_vote(one, found, settings.vote_exponent), -one[0]))[:2]


def _vote(one: Proposal, proposals: Sequence[Proposal], exponent: float) -> float:
    """TFVTG: the sum over all proposals of IoU ** 0.6 times what speaks for them."""
    return sum(_iou(one, other) ** exponent * other[2] for other in proposals if other[2] > 0)


def _iou(one: Proposal, other: Proposal) -> float:
    inside = min(one[1], other[1]) - max(one[0], other[0])
    return max(inside, 0) / (max(one[1], other[1]) - min(one[0], other[0]))


def _by_contrast(
    curve: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    allowed: Lengths,
    settings: GroundSettings,
) -> list[Proposal]:
    """The best stretches that do not overlap by more than `settings.suppression`."""
    count = len(curve)
    total = np.concatenate([[0.0], np.cumsum(curve)])
    first, last = np.meshgrid(np.arange(count), np.arange(1, count + 1), indexing="ij")
    sizes = last - first
    seconds = np.maximum.accumulate(ends)[last - 1] - starts[first]
    inside = total[last] - total[first]
    outside = (total[-1] - inside) / np.maximum(count - sizes, 1)
    far = np.log(np.maximum(seconds, 0.1) / allowed.usual_seconds) ** 2
    scores = inside / np.maximum(sizes, 1) - outside - settings.length_weight * far
    scores[(sizes < 1) | (seconds > allowed.longest_seconds)] = -np.inf
    order = np.argsort(-scores, axis=None, kind="stable")[:MOST_CANDIDATES]
    a, b, scores = first.flat[order], last.flat[order], scores.flat[order]
    alive = scores > -np.inf
    kept: list[Proposal] = []
    while alive.any() and len(kept) < settings.proposals:
        at = int(alive.argmax())
        kept.append((int(a[at]), int(b[at]), float(scores[at])))
        inside = np.minimum(b, b[at]) - np.maximum(a, a[at])
        union = np.maximum(b, b[at]) - np.minimum(a, a[at])
        alive &= inside < settings.suppression * union
    return kept


def _by_histogram(curve: np.ndarray, settings: GroundSettings) -> list[Proposal]:
    """Runs above VTG-GPT's threshold, each scored half by its share of all that is above it and
    half by its mean."""
    low, high = curve.min(), curve.max()
    if high - low < 1e-6:
        return []
    scaled = (curve - low) / (high - low)
    counts, edges = np.histogram(scaled, 10, (0.0, 1.0))
    enough = max(3, len(curve) // 6)
    bins = int(np.argmax(np.cumsum(counts[::-1]) >= enough))
    above = np.flatnonzero(scaled >= edges[9 - bins])
    breaks = np.flatnonzero(np.diff(above) > settings.histogram_gap + 1)
    runs = zip(
        above[np.concatenate([[0], breaks + 1])],
        above[np.concatenate([breaks, [len(above) - 1]])] + 1,
        strict=True,
    )
    return [
        (int(a), int(b), 0.5 * (b - a) / len(curve) + 0.5 * float(scaled[a:b].mean()))
        for a, b in runs
    ]
