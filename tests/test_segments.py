"""Segments partition the video, keep their lengths, and a resume goes on as if nothing was."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from index.schema import Chapter
from ingest.segments import Segmenter, fixed_windows, titles_from_chapters
from ingest.settings import SegmentSettings

SETTINGS = SegmentSettings()

lengths = st.lists(
    st.one_of(st.floats(0.04, 3), st.floats(0.04, 40), st.floats(30, 200)), min_size=1, max_size=40
)


def shots_of(durations):
    shots, start = [], 0.0
    for duration in durations:
        shots.append((start, start + duration))
        start += duration
    return shots


def segments_of(shots, chapters=(), from_seconds=0.0, join=None):
    segmenter = Segmenter(SETTINGS, chapters, from_seconds=from_seconds, join=join)
    segments = [s for shot in shots if shot[1] > from_seconds for s in segmenter.push(*shot)]
    return segments + segmenter.finish(shots[-1][1])


def assert_partition(segments, end):
    assert segments[0][0] == 0.0
    assert segments[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(segments))
    assert all(start < stop for start, stop in segments)


@given(lengths)
def test_segments_partition_the_video_between_the_two_lengths(durations):
    shots = shots_of(durations)
    segments = segments_of(shots)
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


@given(lengths, st.lists(st.floats(0.5, 300), max_size=3, unique=True))
def test_a_resume_at_the_end_of_any_segment_gives_the_same_ones(durations, borders):
    shots = shots_of(durations)
    edges = [0.0, *sorted(borders)]
    chapters = [Chapter(a, b, "x") for a, b in pairwise(edges)]
    segments = segments_of(shots, chapters, join=_pairs)
    for at, (_, end) in enumerate(segments[:-1]):
        assert segments_of(shots, chapters, from_seconds=end, join=_pairs) == segments[at + 1 :]


def _pairs(segment, shot):
    return segment[1] - segment[0] < 12 and shot[1] - shot[0] < 8


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


def test_join_keeps_shots_together_up_to_the_greatest_length():
    shots = [(at, at + 8) for at in range(0, 64, 8)]
    assert segments_of(shots, join=lambda _segment, _shot: True) == [(0, 24), (24, 48), (48, 64)]


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


@given(lengths, st.lists(st.floats(0.5, 300), max_size=4, unique=True), st.floats(0.1, 20))
def test_segments_told_while_a_shot_lasts_are_those_told_at_its_end(durations, borders, tick):
    """What `advance` gives out early changes nothing, and leaves little waiting."""
    shots = shots_of(durations)
    edges = [0.0, *sorted(borders)]
    chapters = [Chapter(a, b, "x") for a, b in pairwise(edges)]
    segmenter, segments = Segmenter(SETTINGS, chapters), []
    for start, end in shots:
        at = start
        while at < end:
            segments += segmenter.advance(at)
            assert at - segmenter.open_seconds <= 2 * SETTINGS.max_seconds + SETTINGS.min_seconds
            at += tick
        segments += segmenter.push(start, end)
    segments += segmenter.finish(shots[-1][1])
    expected = segments_of(shots, chapters)
    assert [pytest.approx(s) for s in expected] == segments
