"""Pictures of spans: the file's own, at their own times, however they were reached."""

from __future__ import annotations

import clips
import cv2
import numpy as np
import pytest
from clips import DATA

from index.errors import MediaError, NotMediaError
from ingest.decode import decode_video
from ingest.frames import picture
from ingest.media import measure_duration, probe
from ingest.segment_frames import frames_of, spread

REAL = (
    "pyscenedetect/delayed_start.mp4",
    "pyscenedetect/issue-134-rotate.mp4",
    "pyscenedetect/issue-195-aspect-ratio.mp4",
    "mdn/flower-fragmented.mp4",
    "mdn/flower.webm",
    "odd/clip1024.flv",
    "odd/no_duration.webm",
    "odd/-video-with-dash-.mp4",
)


def reduced(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("name", REAL)
def test_pictures_are_the_files_own(name):
    path = DATA / "video" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    end = probe(path).duration_seconds or measure_duration(path)
    spans = [(end * n / 4, end * (n + 1) / 4) for n in range(4)]
    near = dict(frames_of(path, spans, 3, 96))
    exact = dict(frames_of(path, spans, 3, 96, snap=False))
    found = {
        time: image for each in (near, exact) for span in each.values() for time, image in span
    }
    times = []
    with decode_video(path, prefetch=False) as frames:
        for each in frames:
            times.append(each.time_seconds)
            for time in [time for time in found if abs(time - each.time_seconds) < 1e-6]:
                np.testing.assert_array_equal(found.pop(time), reduced(picture(each), 96))
    assert not found, "pictures at times that the file does not have"
    for index, (start, stop) in enumerate(spans):
        for span in (near[index], exact[index]):
            assert span and [time for time, _ in span] == sorted({time for time, _ in span})
            assert all(start - 0.5 <= time < stop for time, _ in span)
        for wanted in spread(start, stop, 3):
            late = next((time for time in times if time >= wanted - 1e-6), stop)
            if late < min(stop, wanted + 0.25):
                assert min(abs(time - late) for time, _ in exact[index]) < 1e-6


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """12 s at 10 a second, a key frame every 3 s, pictures that tell their number."""
    pictures = [clips.solid((2 * n, 2 * n, 2 * n), 64, 48) for n in range(120)]
    path = tmp_path_factory.mktemp("clips") / "counting.mp4"
    return clips.write_clip(path, pictures, rate=10, key_frame_every=30, b_frames=2)


def numbers(found) -> list[float]:
    return [round(image.mean() / 2) / 10 for _, image in found]


def test_each_picture_is_the_one_of_its_time(counting):
    spans = [(0.0, 4.0), (4.0, 9.5), (9.5, 12.0)]
    for index, found in frames_of(counting, spans, 5, snap=False):
        times = [time for time, _ in found]
        assert times == pytest.approx(spread(*spans[index], 5), abs=0.1001)
        assert numbers(found) == pytest.approx(times, abs=0.1001)


def test_a_key_frame_of_the_span_stands_for_the_wanted_picture(counting):
    ((_, found),) = frames_of(counting, [(1.0, 6.0)], 1)
    assert [time for time, _ in found] == pytest.approx([3.0])
    ((_, found),) = frames_of(counting, [(3.05, 5.9)], 1)  # has none
    assert [time for time, _ in found] == pytest.approx([4.5])


def test_key_frames_at_a_cut_are_left_alone(counting):
    ((_, found),) = frames_of(counting, [(3.0, 5.8)], 1)
    assert [time for time, _ in found] == pytest.approx([4.4], abs=0.1001)


@pytest.mark.parametrize("snap", [True, False])
def test_which_pictures_are_taken_does_not_depend_on_what_came_before(counting, snap):
    spans = [(n * 0.7, n * 0.7 + 1.9) for n in range(14)]
    together = dict(frames_of(counting, spans, 3, snap=snap))
    for index, span in enumerate(spans):
        ((_, alone),) = frames_of(counting, [span], 3, snap=snap)
        assert [time for time, _ in alone] == [time for time, _ in together[index]]
        for (_, one), (_, other) in zip(alone, together[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_spans_come_in_time_order_under_their_own_numbers(counting):
    order = [index for index, _ in frames_of(counting, [(8.0, 9.0), (0.0, 1.0), (4.0, 5.0)], 1)]
    assert order == [1, 2, 0]


def test_a_still_stretch_shows_what_stays(tmp_path):
    pictures = [clips.solid((10 * n, 0, 0)) for n in (1, 9, 20)]
    path = clips.write_clip(tmp_path / "slides.mp4", pictures, times=[0.0, 10.0, 20.0])
    found = dict(frames_of(path, [(1.0, 9.0), (10.5, 19.0)], 2))
    assert [time for time, _ in found[0]] == [0.0]
    assert [time for time, _ in found[1]] == [10.0]


def test_large_pictures_are_reduced_and_small_ones_are_not(counting):
    ((_, found),) = frames_of(counting, [(0.0, 2.0)], 1, 32)
    assert found[0][1].shape == (24, 32, 3)
    ((_, found),) = frames_of(counting, [(0.0, 2.0)], 1, 500)
    assert found[0][1].shape == (48, 64, 3)


def test_a_damaged_file_gives_what_it_has(tmp_path):
    pictures = [clips.noise_picture(n, 320, 240) for n in range(80)]
    whole = clips.write_clip(tmp_path / "whole.mkv", pictures, rate=10, key_frame_every=20)
    path = clips.truncated(whole, tmp_path / "cut.mkv", 0.5)
    found = dict(frames_of(path, [(0.0, 2.0), (2.0, 4.0), (6.0, 8.0)], 2))
    assert len(found[0]) == 2
    assert all(time < 5.0 for time, _ in found[2])


def test_what_has_no_pictures_is_an_error(tmp_path):
    sound = clips.write_clip(tmp_path / "sound.mp4", [], audio_seconds=1.0)
    with pytest.raises(NotMediaError):
        next(frames_of(sound, [(0.0, 1.0)], 1))
    with pytest.raises(MediaError):
        next(frames_of(tmp_path / "none.mp4", [(0.0, 1.0)], 1))
