"""Temporal grounding without training: where, on a relevance curve, the moment begins and ends.

Every span around the best piece is believed in more or less: by what it holds of the curve, by its
length, and by where the best piece lies in it, since people first say what they are about to do.
The span is taken that has the greatest expected overlap with these, beside proposals of two
published methods and the window that was ranked, which vote as in TFVTG:

* contrast: of all stretches, the mean inside minus the mean outside (TFVTG, Zheng et al. 2024,
  "Training-free Video Temporal Grounding using Large-scale Pre-trained Models"), less how far its
  length lies from that of a usual moment;
* histogram: what stands above the lower edge of the highest bins that hold enough of the curve,
  joined over short gaps (VTG-GPT, Xu et al. 2024, "VTG-GPT: Tuning-Free Zero-Shot Video Temporal
  Grounding with GPT").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rag.settings import GroundSettings

MOST_CANDIDATES = 400
"""Stretches by contrast, the best ones, of which proposals are taken."""

EDGES = 7
"""Of the spans that are believed in, to a ranked window: in long ones not each piece is an edge."""

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
    until = np.maximum.accumulate(ends)
    times = starts, until
    proposed = _proposals(curve, times, window, best, allowed, settings)
    step = max(1, (last - first) // EDGES)
    spans = _pairs(np.arange(best, -1, -step), np.arange(best + 1, len(curve) + 1, step))
    belief = _belief(curve, times, spans, best, last - first, allowed, settings)
    share = settings.proposals_share
    voters = (
        np.concatenate([spans[0], proposed[0]]),
        np.concatenate([spans[1], proposed[1]]),
        np.concatenate([(1.0 - share) * belief, share * proposed[2]]),
    )
    found = elected(times, spans, voters, allowed.longest_seconds)
    if found and step > 1:
        near = (
            np.arange(max(found[0] - step + 1, 0), min(found[0] + step - 1, best) + 1),
            np.arange(max(found[1] - step + 1, best + 1), min(found[1] + step, len(curve) + 1)),
        )
        found = elected(times, _pairs(*near), voters, allowed.longest_seconds)
    return found or (best, best + 1)


def _pairs(firsts: np.ndarray, lasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each with each."""
    return np.repeat(firsts, len(lasts)), np.tile(lasts, len(firsts))


def _belief(
    curve: np.ndarray,
    times: tuple[np.ndarray, np.ndarray],
    spans: tuple[np.ndarray, np.ndarray],
    best: int,
    size: int,
    allowed: Lengths,
    settings: GroundSettings,
) -> np.ndarray:
    """How much each of the spans about the best piece is believed in, float64, in sum 1.

    Every piece speaks for being inside by what it is above a level; size: pieces of the ranked
    window, which speak as loud together as EDGES of a short one. Lengths are log-normal about the
    usual one. The later the best piece lies in a span, the less it is believed in.
    """
    starts, until = times
    first, last = spans
    total = np.concatenate([[0.0], np.cumsum(curve - settings.level)])
    held = (total[last] - total[first]) * EDGES / size
    seconds = np.maximum(until[last - 1] - starts[first], 0.1)
    # The logarithm of a log-normal length lies below that of its mean.
    far = np.log(seconds / allowed.usual_seconds) + settings.spread**2 / 2
    middle = (starts[best] + until[best]) / 2
    late = (middle - starts[first]) / seconds
    sure = settings.sharpness * held - far**2 / (2 * settings.spread**2) - settings.early * late
    belief = np.exp(sure - sure.max())
    return belief / belief.sum()


def elected(
    times: tuple[np.ndarray, np.ndarray],
    spans: tuple[np.ndarray, np.ndarray],
    voters: tuple[np.ndarray, np.ndarray, np.ndarray],
    longest_seconds: float,
) -> tuple[int, int] | None:
    """Of the spans that are not too long, that with the greatest expected intersection over union
    with the voters (first, one past the last, weight); None where all are too long."""
    starts, until = times
    first, last = spans
    begin, end = starts[first][:, None], until[last - 1][:, None]
    fit = (end - begin)[:, 0] <= longest_seconds
    if not fit.any():
        return None
    theirs, others, weights = starts[voters[0]], until[voters[1] - 1], voters[2]
    inside = np.maximum(np.minimum(end, others) - np.maximum(begin, theirs), 0.0)
    union = np.maximum(np.maximum(end, others) - np.minimum(begin, theirs), 1e-6)
    at = int(np.where(fit, (inside / union) @ weights, -1.0).argmax())
    return int(first[at]), int(last[at])


def _proposals(
    curve: np.ndarray,
    times: tuple[np.ndarray, np.ndarray],
    window: tuple[int, int],
    best: int,
    allowed: Lengths,
    settings: GroundSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those that hold the best piece: first, one past the last, and weights, in sum 1; all 0 where
    nothing speaks for any."""
    found = [
        *_by_contrast(curve, times, best, allowed, settings),
        *((a, b, settings.histogram_weight * s) for a, b, s in _by_histogram(curve, settings)),
    ]
    found = [one for one in found if one[0] <= best < one[1] and one[2] > 0]
    most = max((score for _, _, score in found), default=1.0)
    found.append((*window, settings.window_weight * most))
    first, last, weights = (np.array(values) for values in zip(*found, strict=True))
    return first, last, weights / (weights.sum() or 1.0)


def _by_contrast(
    curve: np.ndarray,
    times: tuple[np.ndarray, np.ndarray],
    best: int,
    allowed: Lengths,
    settings: GroundSettings,
) -> list[Proposal]:
    """The best stretches with the best piece that do not overlap by more than
    `settings.suppression`."""
    starts, until = times
    count = len(curve)
    total = np.concatenate([[0.0], np.cumsum(curve)])
    first, last = _pairs(np.arange(best + 1), np.arange(best + 1, count + 1))
    sizes = last - first
    seconds = until[last - 1] - starts[first]
    inside = total[last] - total[first]
    outside = (total[-1] - inside) / np.maximum(count - sizes, 1)
    far = np.log(np.maximum(seconds, 0.1) / allowed.usual_seconds) ** 2
    scores = inside / sizes - outside - settings.length_weight * far
    scores[seconds > allowed.longest_seconds] = -np.inf
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    a, b, scores = first[order], last[order], scores[order]
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
