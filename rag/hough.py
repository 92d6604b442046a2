"""Temporal Hough voting: the lines along which a clip may lie in a video.

Every picture of the clip that is near one of the video votes for the offsets at which the two are
shown together, at each of a grid of speeds, after Douze, Jégou and Schmid, "An Image-Based Approach
to Video Copy Detection With Spatio-Temporal Post-Filtering" (2010). Pictures that stay are spans
here, so a vote is no single offset: it grows with the time for which both are shown at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

SLOWEST, FASTEST = 0.78, 1.29
"""Speeds looked for; a little beyond .8 and 1.25, so that these are found too."""

BIN_SECONDS = 0.25
"""Resolution of offsets in the vote."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Pairs of alike pictures. Arrays of float64, shape (n,): when the clip shows its picture
    [clip_starts, clip_ends), when the video shows its own [starts, ends), and how much a pair
    weighs."""

    clip_starts: np.ndarray
    clip_ends: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def overlap(self, start_seconds: float, end_seconds: float) -> np.ndarray:
        """Which pairs have a picture that the video shows in that span: bool of shape (n,)."""
        return (self.starts < end_seconds) & (self.ends > start_seconds)

    def keep(self, mask: np.ndarray) -> Votes:
        return Votes(
            self.clip_starts[mask],
            self.clip_ends[mask],
            self.starts[mask],
            self.ends[mask],
            self.weights[mask],
        )


@dataclass(frozen=True, slots=True)
class Line:
    """video seconds = offset_seconds + speed * clip seconds.

    votes: what voted for it. first_seconds, last_seconds: the part of the clip that did.
    """

    speed: float
    offset_seconds: float
    votes: float = 0.0
    first_seconds: float = 0.0
    last_seconds: float = 0.0

    def video_seconds(self, clip_seconds: float) -> float:
        return self.offset_seconds + self.speed * clip_seconds

    def clip_seconds(self, video_seconds: float) -> float:
        return (video_seconds - self.offset_seconds) / self.speed


def speeds(clip_seconds: float) -> np.ndarray:
    """A grid so fine that at the ends of the clip neighbouring speeds are half a second apart."""
    step = speed_step(clip_seconds)
    slower, faster = math.log(SLOWEST) // step, math.log(FASTEST) // step
    return np.exp(np.arange(slower + 1, faster + 1) * step)


def speed_step(clip_seconds: float) -> float:
    return min(0.05, 1.0 / max(clip_seconds, 1.0))


def vote(votes: Votes, clip_seconds: float) -> Line:
    """The line that most votes are for. At least one vote."""
    best = Line(1.0, 0.0, -math.inf)
    clip_lengths = np.maximum(votes.clip_ends - votes.clip_starts, BIN_SECONDS)
    lengths = np.maximum(votes.ends - votes.starts, BIN_SECONDS)
    for speed in speeds(clip_seconds):
        # Two spans of lengths a and b are shown together for min(a, b) at most; over the offsets
        # that is a trapezoid. Its second derivative is four spikes, summed here for all.
        first = votes.starts - speed * (votes.clip_starts + clip_lengths)
        last = votes.starts + lengths - speed * votes.clip_starts
        rise = np.minimum(speed * clip_lengths, lengths)
        low = first.min()
        places = np.concatenate([first, first + rise, last - rise, last])
        slopes = votes.weights / rise
        spikes = np.concatenate([slopes, -slopes, -slopes, slopes])
        at = (places - low) / BIN_SECONDS
        whole = at.astype(np.int64)
        part = at - whole
        count = int(whole.max()) + 2
        bent = np.bincount(whole, spikes * (1 - part), count)
        bent += np.bincount(whole + 1, spikes * part, count)
        heights = np.cumsum(np.cumsum(bent)) * BIN_SECONDS
        top = int(heights.argmax())
        # The middle of a flat top, not its edge.
        end = top
        while end + 1 < count and heights[end + 1] >= heights[top] - 1e-6 * abs(heights[top]):
            end += 1
        if heights[top] > best.votes + 1e-9:
            # Summed twice, entry n is the height at the end of bin n.
            offset = low + ((top + end) / 2 + 1) * BIN_SECONDS
            best = Line(float(speed), float(offset), float(heights[top]))
    voters = supports(votes, best)
    if not voters.any():
        return best
    first, last = votes.clip_starts[voters].min(), votes.clip_ends[voters].max()
    return replace(best, first_seconds=float(first), last_seconds=float(last))


def supports(votes: Votes, line: Line, slack_seconds: float = 0.5) -> np.ndarray:
    """Which pairs are shown together on that line: bool of shape (n,)."""
    first = line.offset_seconds + line.speed * votes.clip_starts
    last = line.offset_seconds + line.speed * votes.clip_ends
    return (first < votes.ends + slack_seconds) & (last > votes.starts - slack_seconds)
