"""Segments by meaning: borders where they were planted, lengths kept, causal, resumable."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.schema import Chapter
from ingest.segments import fixed_windows
from ingest.settings import SegmentSettings, StitchSettings
from ingest.stitch import FrameVector, Stitcher, stitch
from ingest.tilling import CausalDepths

LENGTHS = SegmentSettings()


def at_angle(degrees: float) -> np.ndarray:
    """cos of the angle between two of these is their similarity; .82 is 34.9 degrees."""
    radians = math.radians(degrees)
    return np.array([math.cos(radians), math.sin(radians), 0.0], np.float32)


def frames_of(angles, start: float = 0.0, step: float = 1.0) -> list[FrameVector]:
    return [
        FrameVector(start + i * step, start + (i + 1) * step, at_angle(angle))
        for i, angle in enumerate(angles)
    ]


def shots_at(cuts, end: float):
    return list(pairwise([0.0, *cuts, end]))


# Stitching shots


def test_shots_that_look_alike_are_one_event_and_others_are_not():
    shots = shots_at([4, 8, 12, 16, 20], 24)
    frames = frames_of([0] * 4 + [20] * 4 + [40] * 4 + [90] * 4 + [100] * 4 + [180] * 4)
    assert stitch(shots, frames) == [(0, 12), (12, 20), (20, 24)]


def test_how_alike_shots_must_be_is_a_setting():
    shots, frames = shots_at([4], 8), frames_of([0] * 4 + [20] * 4)
    assert stitch(shots, frames) == [(0, 8)]
    assert stitch(shots, frames, settings=StitchSettings(join_cosine=0.95)) == [(0, 4), (4, 8)]


def test_what_counts_is_the_end_of_one_shot_and_the_beginning_of_the_next():
    """Long shots that change on the way: their middles are far apart, their seam is not."""
    drift = [angle * 5 for angle in range(12)]
    assert stitch(shots_at([6], 12), frames_of(drift)) == [(0, 12)]
    back = [angle * 10 for angle in range(6)] + [angle * 10 for angle in range(6)]
    assert stitch(shots_at([6], 12), frames_of(back)) == [(0, 6), (6, 12)]


def test_without_vectors_a_shot_is_a_segment():
    assert stitch(shots_at([5, 12], 20), []) == [(0, 5), (5, 12), (12, 20)]


def test_a_still_that_lasts_through_a_cut_joins_the_shots():
    still = [FrameVector(0.2, 10.0, at_angle(0)), FrameVector(10.0, 14.0, at_angle(90))]
    assert stitch(shots_at([5, 10], 14), still) == [(0, 10), (10, 14)]


def test_of_borders_too_close_together_the_strongest_stands():
    shots = shots_at([6, 7], 14)
    assert stitch(shots, frames_of([0] * 6 + [40] + [130] * 7)) == [(0, 7), (7, 14)]
    assert stitch(shots, frames_of([0] * 6 + [90] + [130] * 7)) == [(0, 6), (6, 14)]


def test_a_border_waits_for_a_stronger_one_close_behind():
    stitcher = Stitcher()
    for frame in frames_of([0] * 6 + [40] + [130] * 13):
        stitcher.push_frame(frame)
    stitcher.push_cut(6.0)
    stitcher.push_cut(7.0)
    told = [segment for tenth in range(200) for segment in stitcher.advance(tenth / 10)]
    assert told + stitcher.finish(20.0) == [(0, 7), (7, 20)]


# Inside a shot


def test_a_long_shot_is_divided_where_it_changes():
    frames = frames_of([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 70, 71, 70, 71, 70, 71, 70, 71, 70])
    assert stitch([(0, 20)], frames) == [(0, 11), (11, 20)]


def test_a_short_shot_is_not_divided():
    assert stitch([(0, 7)], frames_of([0, 0, 0, 0, 90, 90, 90])) == [(0, 7)]


def test_a_camera_that_never_rests_is_not_divided_everywhere():
    """Neighbours are always 45 degrees apart, far beyond what joins two shots."""
    assert stitch([(0, 28)], frames_of([45 * (i % 2) for i in range(28)])) == [(0, 28)]


def test_a_flicker_is_not_a_border():
    noise = np.random.default_rng(0).uniform(0, 4, 300)
    segments = stitch([(0, 300)], frames_of(noise))
    assert all(end - start >= LENGTHS.max_seconds / 2 for start, end in segments)


# Where only length forces a cut


def test_what_never_changes_has_fixed_windows():
    for end in (29, 31, 45, 95, 300):
        assert stitch([(0, end)], frames_of([10] * end)) == fixed_windows(end)
        assert stitch([(0, end)], []) == fixed_windows(end)


def test_a_stretch_too_long_is_cut_at_its_calmest_point():
    """Something moves all the time except from 19 to 25."""
    moving = [0, 12] * 20
    angles = moving[:19] + [0] * 6 + moving[19:39]
    ((start, cut), *_) = stitch([(0, 45)], frames_of(angles))
    assert start == 0 and 19 + 2 <= cut <= 25


def test_a_cut_between_alike_shots_comes_before_the_calmest_point():
    shots = shots_at([10, 18, 23, 40], 50)
    angles = [0] * 10 + [3] * 8 + [23] * 5 + [26] * 17 + [26] * 10
    assert stitch(shots, frames_of(angles))[0] == (0, 18)  # 10 is too early, 23 more alike


def test_a_cut_made_for_its_length_leaves_no_short_rest():
    shots = shots_at([30.5], 40)
    segments = stitch(shots, frames_of([0] * 61 + [90] * 19, step=0.5))
    assert segments[-1] == (30.5, 40)
    assert all(end - start >= LENGTHS.min_seconds for start, end in segments)


# Properties

angle_steps = st.one_of(st.just(0.0), st.floats(-4, 4), st.floats(-90, 90))


@st.composite
def films(draw):
    """(shots, frames, chapters): any lengths, looks that stay, drift and jump, gaps, stills."""
    durations = draw(
        st.lists(st.one_of(st.floats(0.1, 6), st.floats(4, 80)), min_size=1, max_size=14)
    )
    cuts = list(np.cumsum(durations))
    end, cuts = float(cuts[-1]), [float(cut) for cut in cuts[:-1]]
    steps = draw(st.lists(angle_steps, min_size=1, max_size=40))
    lasting = draw(st.lists(st.sampled_from([0.5, 1.0, 1.0, 7.0]), min_size=1, max_size=10))
    gaps = draw(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3, 15.0]), min_size=1, max_size=10))
    frames, at, angle, number = [], 0.2, 0.0, 0
    while at < end:
        angle += steps[number % len(steps)]
        until = at + lasting[number % len(lasting)]
        frames.append(FrameVector(at, min(until, end), at_angle(angle)))
        at = until + gaps[number % len(gaps)]
        number += 1
    edges = sorted(draw(st.lists(st.floats(0.5, 200), max_size=3, unique=True)))
    return shots_at(cuts, end), frames, [Chapter(a, b, "x") for a, b in pairwise([0.0, *edges])]


limits = st.sampled_from(
    [
        SegmentSettings(),
        SegmentSettings(min_seconds=5, max_seconds=10),
        SegmentSettings(max_seconds=9),
    ]
)


@settings(deadline=None)
@given(films(), limits)
def test_segments_partition_the_video_between_the_two_lengths(film, lengths):
    shots, frames, chapters = film
    end = shots[-1][1]
    segments = stitch(shots, frames, chapters, segments=lengths)
    assert segments[0][0] == 0 and segments[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(segments))
    borders = {0.0, end, *(c.end_seconds for c in chapters)}
    for start, stop in segments:
        assert not any(start < border < stop for border in borders)
        assert stop - start <= lengths.max_seconds + 1e-6
        # Only a chapter, or a video, that is short itself is a short segment.
        assert stop - start >= lengths.min_seconds - 1e-6 or {start, stop} <= borders


@settings(deadline=None, max_examples=60)
@given(films(), limits, st.floats(0.3, 40))
def test_told_while_the_video_runs_they_are_the_same_and_a_resume_anywhere_agrees(
    film, lengths, tick
):
    shots, frames, chapters = film
    end = shots[-1][1]
    whole = stitch(shots, frames, chapters, segments=lengths)

    def run(from_seconds: float):
        """Segments, as they are told; and where the run could be cut off."""
        stitcher = Stitcher(lengths, None, chapters, from_seconds=from_seconds)
        cuts = [start for start, _ in shots if start > from_seconds]
        looks = [frame for frame in frames if frame.end_seconds > from_seconds]
        told, resumes, at = [], [], from_seconds
        while at + tick < end:
            at += tick
            while cuts and cuts[0] < at:
                stitcher.push_cut(cuts.pop(0))
            while looks and looks[0].start_seconds < at:
                stitcher.push_frame(looks.pop(0))
            told += stitcher.advance(at)
            resumes.append((stitcher.open_seconds, len(told)))
            lag = lengths.max_seconds + 2 * lengths.min_seconds + StitchSettings().long_shot_seconds
            assert at - stitcher.open_seconds <= lag
        for cut in cuts:
            stitcher.push_cut(cut)
        for frame in looks:
            stitcher.push_frame(frame)
        return told + stitcher.finish(end), resumes

    told, resumes = run(0.0)
    assert told == whole
    for from_seconds, count in dict(resumes).items():
        assert run(from_seconds)[0] == whole[count:]


# SceneTilling


def test_scene_tilling_finds_planted_boundaries():
    rng = np.random.default_rng(3)
    scenes = rng.normal(size=(4, 64))
    lengths = (12, 7, 20, 9)
    noisy = np.repeat(scenes, lengths, axis=0) + rng.normal(0, 0.02, (sum(lengths), 64))
    vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    depths = CausalDepths(StitchSettings().deviations)
    told = [depths.push(float(a @ b)) for a, b in pairwise(vectors)]
    deepest = sorted(range(len(told)), key=lambda at: -told[at][0])[:3]
    assert sorted(deepest) == [11, 18, 38]
    assert all(told[at][1] for at in deepest)


def test_the_causal_form_looks_only_to_the_left():
    depths = CausalDepths(deviations=0.5)
    told = [depths.push(value) for value in (0.9, 0.95, 0.9, 0.4, 0.8, 0.9)]
    assert [round(depth, 6) for depth, _ in told] == [0, 0, 0.05, 0.55, 0, 0]
    assert [deep for _, deep in told] == [False, False, True, True, False, False]
