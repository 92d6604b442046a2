"""Segments partition the video, keep their lengths, and a resume goes on as if nothing was."""

import random
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from index.schema import Chapter
from ingest.segments import Segmenter, fixed_windows, titles_from_chapters
from ingest.settings import SegmentSettings

SETTINGS = SegmentSettings()

lengths = st.lists(
    st.one_of(st.floats(0.04, 3), st.floats(0.04, 40), st.floats(30, 200)), min_size=1, max_size=40
)

seeds = st.integers(0, 1000)


def shots_of(durations):
    shots, start = [], 0.0
    for duration in durations:
        shots.append((start, start + duration))
        start += duration
    return shots


def segments_of(shots, chapters=(), from_seconds=0.0, changes=()):
    segmenter = Segmenter(SETTINGS, chapters, from_seconds=from_seconds)
    for change in changes:
        if change[0] > from_seconds:
            segmenter.push_change(*change)
    segments = [s for shot in shots if shot[1] > from_seconds for s in segmenter.push(*shot)]
    return segments + segmenter.finish(shots[-1][1])


def changes_of(shots, seed, calm=()):
    """10 frames a second that change now more and now less, those in `calm` spans not at all."""
    random_ = random.Random(seed)
    level, changes = 1.0, []
    for tick in range(1, int(10 * shots[-1][1]) + 1):
        if tick % 13 == 0:
            level = random_.choice([1.0, 3.0, 9.0])
        still = any(start <= tick / 10 < end for start, end in calm)
        changes.append((tick / 10, 0.0 if still else level * random_.uniform(0.8, 1.2)))
    return changes


def assert_partition(segments, end):
    assert segments[0][0] == 0.0
    assert segments[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(segments))
    assert all(start < stop for start, stop in segments)


@settings(deadline=None)
@given(lengths, seeds)
def test_segments_partition_the_video_between_the_two_lengths(durations, seed):
    shots = shots_of(durations)
    segments = segments_of(shots, changes=changes_of(shots, seed))
    assert_partition(segments, shots[-1][1])
    for start, end in segments:
        assert end - start <= SETTINGS.max_seconds + 1e-6
        assert end - start >= SETTINGS.min_seconds - 1e-6 or len(segments) == 1


@given(lengths, st.lists(st.floats(0.5, 300), max_size=4, unique=True))
def test_no_segment_crosses_a_chapter(durations, borders):
    shots = shots_of(durations)
    edges = [0.0, *sorted(borders)]
    chapters = [Chapter(a, b, "x") for a, b in pairwise(edges)]
    segments = segments_of(shots, chapters)
    assert_partition(segments, shots[-1][1])
    for border in borders:
        assert not any(start < border < end for start, end in segments)


@settings(deadline=None)
@given(lengths, st.lists(st.floats(0.5, 300), max_size=3, unique=True), seeds)
def test_a_resume_at_the_end_of_any_segment_gives_the_same_ones(durations, borders, seed):
    shots = shots_of(durations)
    edges = [0.0, *sorted(borders)]
    chapters = [Chapter(a, b, "x") for a, b in pairwise(edges)]
    changes = changes_of(shots, seed)
    segments = segments_of(shots, chapters, changes=changes)
    for at, (_, end) in enumerate(segments[:-1]):
        resumed = segments_of(shots, chapters, from_seconds=end, changes=changes)
        assert resumed == segments[at + 1 :]


def test_a_shot_is_a_segment():
    assert segments_of([(0, 5), (5, 12), (12, 20)]) == [(0, 5), (5, 12), (12, 20)]


def test_a_short_shot_joins_the_one_before():
    assert segments_of([(0, 5), (5, 6), (6, 20)]) == [(0, 6), (6, 20)]


def test_a_short_shot_at_the_start_joins_the_one_after():
    assert segments_of([(0, 1), (1, 8), (8, 20)]) == [(0, 8), (8, 20)]


def test_a_short_shot_at_the_end_joins_the_one_before():
    assert segments_of([(0, 8), (8, 20), (20, 21)]) == [(0, 8), (8, 21)]


def test_a_segment_is_given_out_before_the_video_ends():
    segmenter = Segmenter(SETTINGS)
    assert segmenter.push(0, 5) == []
    assert segmenter.push(5, 12) == [(0, 5)]


def test_what_is_too_long_is_cut_at_its_calmest_point():
    shots = [(0, 100)]
    calm = [(21, 25), (40, 41), (65, 69)]
    segments = segments_of(shots, changes=changes_of(shots, 3, calm))
    assert [start for start, _ in segments if 20 < start < 27] == pytest.approx([24], abs=1.01)
    assert [start for start, _ in segments if 64 < start < 70] == pytest.approx([68], abs=1.01)


def test_what_is_a_bit_too_long_is_cut_where_no_rest_is_short():
    shots = [(0, 31), (31, 35)]
    changes = [(t / 10, 0.0 if 28 < t / 10 < 35 else 50.0) for t in range(1, 350)]
    assert segments_of(shots, changes=changes) == [(0, 29), (29, 31), (31, 35)]


def test_noise_is_as_calm_as_nothing():
    shots = [(0, 95)]
    noise = [(t / 25, 0.05 + 0.1 * random.Random(t).random()) for t in range(95 * 25)]
    assert segments_of(shots, changes=noise) == fixed_windows(95)


def test_memory_does_not_grow_while_a_shot_lasts():
    segmenter = Segmenter(SETTINGS)
    for tick in range(3600 * 5):
        segmenter.push_change(tick / 5, tick % 7)
        segmenter.advance(tick / 5)
        assert len(segmenter._changes) < 5 * (2 * SETTINGS.max_seconds + SETTINGS.min_seconds)


def test_without_cuts_the_windows_are_fixed():
    assert fixed_windows(95) == [(0, 30), (30, 60), (60, 90), (90, 95)]
    assert fixed_windows(31) == [(0, 15.5), (15.5, 31)]
    assert fixed_windows(0.5) == [(0, 0.5)]
    assert fixed_windows(0) == []


def test_a_segment_takes_the_title_of_the_chapter_that_holds_most_of_it():
    chapters = [Chapter(0, 10, "Start"), Chapter(10, 20, "Middle"), Chapter(20, 25, "")]
    segments = [(0, 8), (8, 18), (20, 25), (30, 40)]
    assert titles_from_chapters(segments, chapters) == ["Start", "Middle", None, None]
    assert titles_from_chapters(segments, []) == [None] * 4


def test_lengths_that_cannot_both_hold_are_refused():
    with pytest.raises(ValidationError):
        SegmentSettings(min_seconds=10, max_seconds=15)


@settings(deadline=None)
@given(lengths, st.lists(st.floats(0.5, 300), max_size=4, unique=True), st.floats(0.1, 20), seeds)
def test_segments_told_while_a_shot_lasts_are_those_told_at_its_end(durations, borders, tick, seed):
    """What `advance` gives out early changes nothing, and leaves little waiting."""
    shots = shots_of(durations)
    edges = [0.0, *sorted(borders)]
    chapters = [Chapter(a, b, "x") for a, b in pairwise(edges)]
    changes = changes_of(shots, seed)
    expected = segments_of(shots, chapters, changes=changes)
    segmenter, segments = Segmenter(SETTINGS, chapters), []
    waiting = deque(changes)

    def push_changes(until):
        while waiting and waiting[0][0] < until:
            segmenter.push_change(*waiting.popleft())

    for start, end in shots:
        at = start
        while at < end:
            push_changes(at)
            segments += segmenter.advance(at)
            assert at - segmenter.open_seconds <= 2 * SETTINGS.max_seconds + SETTINGS.min_seconds
            at += tick
        push_changes(end)
        segments += segmenter.push(start, end)
    segments += segmenter.finish(shots[-1][1])
    assert [pytest.approx(s) for s in expected] == segments
