"""Where a clip lies in a video: temporal alignment of two rows of pictures.

Along a line that was voted for (`rag.hough`), and lines close by, each picture of the video is
compared with what the clip shows at that time, whether it voted or not. The weights of these
comparisons are positive for what is alike and negative for what is not, so the stretch in which
they add up to most is what the two have in common (the maximum subarray).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.hough import FASTEST, SLOWEST, Line, speed_step

POINT_SECONDS = 1.0
"""A picture that stays is compared this often while it is shown."""

SPEED_GAIN = 0.05
"""Another speed than 1 must be better by this share: a few seconds say little about speed."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What cosines in a vector space say about two pictures being one.

    neutral: the cosine that speaks neither for nor against it; slope: weight a unit of cosine above
    it. same: from which cosine on neighbours are one picture that stays. least: the weight of what
    has nothing in common.
    """

    neutral: float
    slope: float
    same: float
    least: float = -1.0

    def weights(self, cosines: np.ndarray) -> np.ndarray:
        return np.maximum(self.slope * (cosines - self.neutral), self.least)


@dataclass(frozen=True, slots=True)
class Track:
    """Pictures as vectors. times: float64 of shape (n,), seconds, rising; vectors: float32 of shape
    (n, size), of unit length. start_seconds, end_seconds: of the stretch that they are from."""

    times: np.ndarray
    vectors: np.ndarray
    start_seconds: float
    end_seconds: float

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds

    @property
    def step_seconds(self) -> float:
        """From a picture to the next, mostly."""
        gaps = np.diff(self.times)
        return float(np.median(gaps)) if len(gaps) else POINT_SECONDS

    def part(self, start_seconds: float, end_seconds: float) -> Track:
        inside = (self.times >= start_seconds) & (self.times < end_seconds)
        return Track(self.times[inside], self.vectors[inside], start_seconds, end_seconds)


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures of the video with the spans for which each is shown, in order of time.

    starts, ends: float64 of shape (n,). vectors: float32 of shape (n, size), of unit length; rows
    of zeros are pictures that say nothing (blank ones) and are alike to none.
    """

    starts: np.ndarray
    ends: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True, slots=True)
class Alignment:
    """What a clip and a video have in common.

    [start_seconds, end_seconds) of the video shows [clip_start_seconds, clip_end_seconds) of the
    clip. speed: seconds of the video for each of the clip; None for one picture that stays.
    weight: the sum that the stretch was chosen by. pictures: different ones of the video that are
    alike, and cosine: how much, on average.
    """

    start_seconds: float
    end_seconds: float
    clip_start_seconds: float
    clip_end_seconds: float
    line: Line
    speed: float | None
    weight: float
    pictures: int
    cosine: float


def look(
    clip: Track, shown: Shown, line: Line, likeness: Likeness, slack_seconds: float
) -> Alignment | None:
    """What the two have in common along that line, or one close by; None where nothing is.

    slack_seconds: pictures this far from the line in the clip's time are on it.
    """
    points = _Points.of(shown, likeness)
    if not len(points.times):
        return None
    grid = _Grid.of(clip, shown.vectors[points.owners], slack_seconds)
    lines = _lines_near(line)
    weights, cosines = grid.along(lines, points, likeness, grid.near)
    sharp, _ = grid.along(lines, points, likeness, grid.at)
    totals, firsts, lasts = _best_stretches(weights)
    if totals.max() <= 0:
        return None
    # By the slack alone many lines would be as good. A faster one goes by more pictures, which must
    # not speak for it.
    sums = (totals + _best_stretches(sharp)[0]) / np.array([one.speed for one in lines])
    plain = np.array([one.speed == 1.0 for one in lines])
    if plain.any() and sums[plain].max() >= (1 - SPEED_GAIN) * sums.max():
        sums[~plain] = -np.inf
    chosen = int(sums.argmax())
    first, last = int(firsts[chosen]), int(lasts[chosen])
    inside = slice(first, last + 1)
    counted = weights[chosen, inside] > 0
    alike = np.unique(points.owners[inside][counted])
    cosine = float(cosines[chosen, inside][counted].mean())
    line, total = lines[chosen], float(totals[chosen])
    vectors = shown.vectors[alike]
    if (vectors @ vectors[0] >= likeness.same).all():
        start, end = float(shown.starts[alike[0]]), float(shown.ends[alike[-1]])
        near = clip.vectors @ vectors[0]
        same = clip.times[near >= near.max() - (1 - likeness.same)]
        part = float(same[0]), float(same[-1] + clip.step_seconds)
        return Alignment(start, end, *part, line, None, total, 1, cosine)
    start, end = _ends(clip, shown, points, grid, line, first, last)
    part = line.clip_seconds(start), line.clip_seconds(end)
    return Alignment(start, end, *part, line, line.speed, total, len(alike), cosine)


@dataclass(frozen=True, slots=True)
class _Points:
    """The video's pictures, once a second while they are shown: when, and which of `Shown`.

    parts: how much each point says about its picture. novelty: how much each picture of `Shown`
    says: what it adds to the one before it, 0 where it is blank.
    """

    times: np.ndarray
    owners: np.ndarray
    parts: np.ndarray
    novelty: np.ndarray

    @classmethod
    def of(cls, shown: Shown, likeness: Likeness) -> _Points:
        seconds = np.maximum(shown.ends - shown.starts, 0.0)
        counts = np.maximum(np.ceil(seconds / POINT_SECONDS - 0.25), 1).astype(int)
        owners = np.repeat(np.arange(len(counts)), counts)
        firsts = np.cumsum(counts) - counts
        number = np.arange(len(owners)) - firsts[owners]
        times = shown.starts[owners] + number * POINT_SECONDS
        parts = np.where(number == 0, 1.0, 0.5)
        # Before a cut the picture stayed to the end; else it went some time before the next one.
        cut = np.append(shown.ends[:-1] < shown.starts[1:] - 0.05, True)
        final = (firsts + counts - 1)[cut & (counts > 1)]
        times[final] = np.maximum(times[final], shown.ends[owners[final]] - 0.25)
        parts[final] = 1.0
        novelty = np.ones(len(counts))
        alike = np.einsum("ij,ij->i", shown.vectors[1:], shown.vectors[:-1])
        novelty[1:] = np.clip((1 - alike) / (1 - likeness.neutral), 0.1, 1.0)
        novelty[~shown.vectors.any(axis=1)] = 0.0
        return cls(times, owners, parts, novelty)

    def shares(self, covered: np.ndarray) -> np.ndarray:
        """How much each point counts where these are covered, bool of shape (lines, points): the
        points of a picture share what it says."""
        parts = np.where(covered, self.parts, 0.0)
        firsts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        sums = np.add.reduceat(parts, firsts, axis=1)
        return parts * (self.novelty / np.maximum(sums, 1e-9))[:, self.owners]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Cosines of the video's points and the clip's pictures at even steps of the clip's time.

    at, near: float32 of shape (points, steps): with the picture there, and with the likest one
    within the slack. -2 where there is none.
    """

    start_seconds: float
    step_seconds: float
    at: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, clip: Track, vectors: np.ndarray, slack_seconds: float) -> _Grid:
        step = clip.step_seconds
        count = max(1, math.ceil(clip.seconds / step))
        ticks = clip.start_seconds + step * np.arange(count)
        right = np.clip(np.searchsorted(clip.times, ticks), 0, len(clip.times) - 1)
        left = np.maximum(right - 1, 0)
        nearer = np.abs(clip.times[left] - ticks) < np.abs(clip.times[right] - ticks)
        nearest = np.where(nearer, left, right)
        there = np.abs(clip.times[nearest] - ticks) <= 0.75 * step
        at = (vectors @ clip.vectors.T)[:, nearest]
        at[:, ~there] = -2.0
        reach = max(0, round(slack_seconds / step))
        padded = np.pad(at, ((0, 0), (reach, reach)), constant_values=-2.0)
        near = at
        for shift in range(2 * reach + 1):
            near = np.maximum(near, padded[:, shift : shift + count])
        return cls(clip.start_seconds, step, at, near)

    def is_dark(self, point: int, time_seconds: float, line: Line) -> bool:
        """Whether the clip shows nothing there to tell it by."""
        at = round((line.clip_seconds(time_seconds) - self.start_seconds) / self.step_seconds)
        return self.near[point, min(max(at, 0), self.near.shape[1] - 1)] < -1.5

    def along(
        self, lines: Sequence[Line], points: _Points, likeness: Likeness, cosines: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights and cosines of the points on each line: float of shape (lines, points). Where
        the clip shows nothing that tells, the weight is 0 and the cosine nan."""
        speed = np.array([line.speed for line in lines])[:, None]
        offset = np.array([line.offset_seconds for line in lines])[:, None]
        seconds = (points.times[None] - offset) / speed
        steps = np.rint((seconds - self.start_seconds) / self.step_seconds).astype(int)
        inside = (steps >= 0) & (steps < cosines.shape[1])
        rows = np.arange(len(points.times))[None]
        found = cosines[rows, np.clip(steps, 0, cosines.shape[1] - 1)].astype(np.float64)
        covered = inside & (found > -1.5) & (points.novelty[points.owners] > 0)[None]
        weights = np.where(covered, likeness.weights(found) * points.shares(covered), 0.0)
        return weights, np.where(covered, found, np.nan)


def _lines_near(line: Line) -> list[Line]:
    """Lines that cross the given one in the middle of what voted for it, at about its speed, and
    those a little beside them."""
    seconds = line.last_seconds - line.first_seconds
    middle = (line.first_seconds + line.last_seconds) / 2
    step = speed_step(seconds) / 4
    tried = {line.speed * math.exp(n * step) for n in range(-4, 5)}
    tried = {speed for speed in tried if SLOWEST <= speed <= FASTEST}
    if abs(1.0 - line.speed) * seconds / 2 <= 1.5:
        tried.add(1.0)
    return [
        Line(speed, line.offset_seconds + (line.speed - speed) * middle + beside / 8, line.votes)
        for speed in sorted(tried)
        for beside in range(-10, 11)
    ]


def _best_stretches(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row, the greatest sum of neighbours, and the first and last of them. weights: of
    shape (rows, n)."""
    sums = np.cumsum(weights, axis=1)
    before = np.pad(sums[:, :-1], ((0, 0), (1, 0)))
    lowest = np.minimum.accumulate(before, axis=1)
    gains = sums - lowest
    lasts = gains.argmax(axis=1)
    rows = np.arange(len(weights))
    # The last place where the sum was at its lowest: what adds nothing stays outside.
    at_lowest = before <= lowest[rows, lasts][:, None] + 1e-12
    at_lowest &= np.arange(weights.shape[1])[None] <= lasts[:, None]
    firsts = weights.shape[1] - 1 - at_lowest[:, ::-1].argmax(axis=1)
    return gains[rows, lasts], firsts, lasts


def _ends(
    clip: Track, shown: Shown, points: _Points, grid: _Grid, line: Line, first: int, last: int
) -> tuple[float, float]:
    """From when to when the video shows the clip: from the clip's start to its end, as far as no
    picture beyond the points `first` and `last` says otherwise."""

    def goes_on(point: int) -> bool:
        """Whether that point lies in the clip, and both are dark there."""
        dark = points.novelty[points.owners[point]] == 0
        return dark and grid.is_dark(point, points.times[point], line)

    def reached(point: int) -> bool:
        return clip.start_seconds <= line.clip_seconds(points.times[point]) < clip.end_seconds

    start, end = line.video_seconds(clip.start_seconds), line.video_seconds(clip.end_seconds)
    earliest, latest = max(start, 0.0), end
    before, behind = first - 1, last + 1
    while before >= 0 and reached(before) and goes_on(before):
        before -= 1
    while behind < len(points.times) and reached(behind) and goes_on(behind):
        behind += 1
    # Where it ends is known if there is a cut; else it is somewhere between two pictures.
    if before >= 0 and reached(before):
        start = max(start, _border(shown, points, before))
    if behind < len(points.times) and reached(behind):
        end = min(end, _border(shown, points, behind - 1))
    start = max(min(start, float(points.times[first])), earliest)
    return start, min(max(end, float(points.times[last])), latest)


def _border(shown: Shown, points: _Points, point: int) -> float:
    """Where what is shown at a point gives way to what is shown at the next."""
    this, following = float(points.times[point]), float(points.times[point + 1])
    ends = float(shown.ends[points.owners[point]])
    return ends if this < ends < following - 0.05 else (this + following) / 2
