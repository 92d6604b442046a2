"""Aligning a clip with a video: the line is found, the stretch is right, and chance is no match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.align import Alignment, Likeness, Shown, Track, _best_stretches, look
from rag.hough import BIN_SECONDS, FASTEST, SLOWEST, Votes, speeds, vote

LIKENESS = Likeness(neutral=0.25, slope=4.0, same=0.875)
CALM_SECONDS = 1.5
"""How long a picture of `Film` takes to become another one."""


class Film:
    """Pictures that change all the time: unit vectors of 256, each halfway between two others."""

    def __init__(self, seed: int, seconds: float):
        count = int(seconds / CALM_SECONDS) + 3
        self.seconds = seconds
        self._keys = np.random.default_rng(seed).choice([-1.0, 1.0], (count, 256))

    def at(self, times) -> np.ndarray:
        places = np.asarray(times, float) / CALM_SECONDS
        before = places.astype(int)
        share = (places - before)[:, None]
        mixed = (1 - share) * self._keys[before] + share * self._keys[before + 1]
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)

    def shown(self, first: float = 0.2) -> Shown:
        starts = np.arange(first, self.seconds, 1.0)
        return Shown(starts, np.append(starts[1:], self.seconds), self.at(starts))

    def clip(self, start: float, end: float, speed: float = 1.0) -> Track:
        """[start, end) of the film, played `speed` times as fast."""
        times = np.arange(0.0, (end - start) / speed, 0.125)
        return Track(times, self.at(start + speed * times), 0.0, (end - start) / speed)


def pairs(clip: Track, shown: Shown) -> Votes:
    """What a store would find for a picture of the clip every half second."""
    rows = []
    for at in range(0, len(clip.times), 4):
        weights = LIKENESS.weights(shown.vectors @ clip.vectors[at])
        for n in np.flatnonzero(weights > 0):
            span = (clip.times[at], clip.times[at] + 0.5)
            rows.append((*span, shown.starts[n], shown.ends[n], weights[n]))
    return Votes(*np.array(rows).reshape(-1, 5).T)


def align(clip: Track, shown: Shown) -> Alignment | None:
    votes = pairs(clip, shown)
    if not len(votes):
        return None
    return look(clip, shown, vote(votes, clip.seconds), LIKENESS, 0.25)


@pytest.mark.parametrize("speed", [0.8, 0.96, 1.0, 1.043, 1.25])
@pytest.mark.parametrize("seconds", [10.0, 40.0])
def test_the_span_and_the_speed_come_out(speed, seconds):
    film = Film(1, 120.0)
    found = align(film.clip(50.3, 50.3 + seconds * speed, speed), film.shown())
    assert found.start_seconds == pytest.approx(50.3, abs=0.4)
    assert found.end_seconds == pytest.approx(50.3 + seconds * speed, abs=0.4)
    assert found.speed == pytest.approx(speed, abs=0.5 / seconds)
    assert found.clip_start_seconds == pytest.approx(0.0, abs=0.4)
    assert found.clip_end_seconds == pytest.approx(seconds, abs=0.4)


def test_another_film_is_no_match():
    strongest = 0.0
    for seed in range(2, 12):
        found = align(Film(1, 60.0).clip(10, 40), Film(seed, 120.0).shown())
        strongest = max(strongest, found.weight if found else 0.0)
    assert strongest < 1.0


def test_only_the_part_of_a_clip_that_is_there_is_found():
    film, other = Film(1, 120.0), Film(2, 120.0)
    before, inside, behind = other.clip(0, 12), film.clip(60, 75), other.clip(30, 40)
    vectors = np.concatenate([before.vectors, inside.vectors, behind.vectors])
    clip = Track(np.arange(len(vectors)) * 0.125, vectors, 0.0, len(vectors) * 0.125)
    found = align(clip, film.shown())
    assert (found.start_seconds, found.end_seconds) == pytest.approx((60, 75), abs=1.0)
    part = (found.clip_start_seconds, found.clip_end_seconds)
    assert part == pytest.approx((12, 27), abs=1.0)


def test_pictures_that_stay_are_aligned_by_when_they_change():
    """A lecture: six slides of very different lengths, of which the clip shows the last seconds of
    one, all of two and the first of another."""
    slides = np.random.default_rng(4).choice([-1.0, 1.0], (6, 256)).astype(np.float32) / 16
    starts = np.array([0.0, 40.0, 47.0, 90.0, 101.0, 160.0])
    shown = Shown(starts + 0.2, np.append(starts[1:], 200.0), slides)
    times = np.arange(0.0, 78.0, 0.125)
    clip = Track(times, slides[np.searchsorted(starts, times + 30.0, "right") - 1], 0.0, 78.0)
    found = align(clip, shown)
    assert found.line.offset_seconds == pytest.approx(30.0, abs=0.5)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((30, 108), abs=0.5)
    assert found.speed == pytest.approx(1.0, abs=0.01)


def test_one_picture_that_stays_is_found_for_as_long_as_it_is_shown_and_has_no_speed():
    slides = np.random.default_rng(5).choice([-1.0, 1.0], (3, 256)).astype(np.float32) / 16
    shown = Shown(np.array([0.2, 20.2, 50.2]), np.array([20.0, 50.0, 60.0]), slides)
    clip = Track(np.arange(0.0, 5.0, 0.125), np.repeat(slides[1:2], 40, axis=0), 0.0, 5.0)
    found = align(clip, shown)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((20.2, 50.0))
    assert (found.clip_start_seconds, found.clip_end_seconds) == pytest.approx((0.0, 5.0))
    assert found.speed is None and found.pictures == 1


def test_dark_pictures_neither_match_nor_end_a_match():
    film = Film(1, 60.0)
    shown, clip = film.shown(), film.clip(10, 40)
    shown.vectors[20:24] = 0.0  # from 20.2 to 24.2
    light = (clip.times < 10.2) | (clip.times >= 14.2)
    clip = Track(clip.times[light], clip.vectors[light], 0.0, 30.0)
    found = align(clip, shown)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((10, 40), abs=0.3)
    only_dark = Shown(shown.starts, shown.ends, np.zeros_like(shown.vectors))
    assert align(clip, only_dark) is None


def test_a_dark_beginning_of_both_belongs_to_the_match_and_one_of_only_the_video_does_not():
    film = Film(1, 60.0)
    shown, clip = film.shown(), film.clip(10, 40)
    shown.vectors[:15] = 0.0
    light = clip.times >= 5.2
    both = align(Track(clip.times[light], clip.vectors[light], 0.0, 30.0), shown)
    assert both.start_seconds == pytest.approx(10.0, abs=0.3)
    assert align(clip, shown).start_seconds == pytest.approx(15.0, abs=0.5)


def test_the_speeds_tried_cover_what_is_promised_and_no_more():
    for seconds in (0.5, 5.0, 60.0):
        tried = speeds(seconds)
        assert SLOWEST <= tried[0] <= 0.82 and 1.23 <= tried[-1] <= FASTEST
        assert 1.0 in tried.round(12)
        assert np.diff(tried).max() * seconds <= 1.3


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 40), st.integers(1, 12), st.integers(0, 80), st.integers(1, 30),
            st.integers(1, 12),
        ),
        min_size=1,
        max_size=12,
    )
)  # fmt: skip
def test_a_vote_is_as_high_as_the_time_for_which_pictures_are_shown_together(rows):
    """Against the sum of overlaps, each as a share of the shorter span, computed one by one."""
    clip_starts, clip_lengths, starts, lengths, weights = (
        np.array(column) / 4 for column in zip(*rows, strict=True)
    )
    votes = Votes(clip_starts, clip_starts + clip_lengths, starts, starts + lengths, weights)
    line = vote(votes, 0.5)

    def height(speed: float, offset: float) -> float:
        first = np.maximum(offset + speed * votes.clip_starts, votes.starts)
        last = np.minimum(offset + speed * votes.clip_ends, votes.ends)
        shorter = np.minimum(speed * clip_lengths, lengths)
        return float((weights * np.maximum(last - first, 0) / shorter).sum())

    slope = float((weights / np.minimum(SLOWEST * clip_lengths, lengths)).sum())
    assert height(line.speed, line.offset_seconds) == pytest.approx(
        line.votes, abs=slope * BIN_SECONDS
    )
    best = max(
        height(speed, offset) for speed in speeds(0.5) for offset in np.arange(-60, 30, BIN_SECONDS)
    )
    assert line.votes >= best - slope * BIN_SECONDS


@given(
    st.lists(
        st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4
    )
)  # fmt: skip
def test_the_best_stretch_is_that_of_all(rows):
    weights = np.array(rows, float)
    gains, firsts, lasts = _best_stretches(weights)
    for row, gain, first, last in zip(weights, gains, firsts, lasts, strict=True):
        every = [row[a:b].sum() for a in range(5) for b in range(a + 1, 6)]
        assert gain == max(every)
        assert row[first : last + 1].sum() == gain
