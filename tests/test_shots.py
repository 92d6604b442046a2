"""Cuts are PySceneDetect's, and a detector that resumes finds what one that never stopped does."""

import json
import random
from itertools import takewhile

import numpy as np
import pytest
from clips import DATA, noise_picture, write_clip

from index.errors import ConfigError
from ingest.decode import decode_video
from ingest.frames import small_bgr
from ingest.settings import ShotSettings
from ingest.shots import DETECTORS, ShotDetector

PEERS = DATA / "video" / "pyscenedetect"
GOLDENS = sorted(
    path
    for path in PEERS.glob("goldens/*.json")
    if path.name.split(".")[2].removesuffix("Detector").lower() in DETECTORS
)
PARAMETERS = {"default": {}, "t5": {"adaptive_threshold": 5.0}, "t30": {"content_threshold": 30.0}}


def small_pictures(path, from_seconds=0.0, to_seconds=float("inf")):
    """(average rate, [(time, small picture)])."""
    with decode_video(path, from_seconds=from_seconds) as frames:
        wanted = takewhile(lambda f: f.time_seconds < to_seconds, frames)
        return frames.frame_rate, [
            (f.time_seconds, small_bgr(f.frame, ShotSettings().analysis_width)) for f in wanted
        ]


def cuts_of(detector, pictures):
    cuts = [cut for time, small in pictures for cut in detector.push(time, small)]
    return cuts + detector.finish()


@pytest.fixture(scope="module")
def peers():
    cache = {}

    def pictures(name):
        if name not in cache:
            cache[name] = small_pictures(PEERS / name)
        return cache[name]

    return pictures


def test_the_goldens_are_here():
    if not PEERS.exists():
        pytest.skip("the real material is not here")
    assert len(GOLDENS) == 18


@pytest.mark.parametrize("by", ["frames", "seconds"])
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_cuts_equal_pyscenedetects(golden, by, peers):
    name, kind, parameters = golden.stem.rsplit(".", 2)
    rate, pictures = peers(name)
    length = {"min_shot_frames": 15} if by == "frames" else {"min_shot_seconds": 15 / rate}
    settings = ShotSettings(
        detector=kind.removesuffix("Detector").lower(), **length, **PARAMETERS[parameters]
    )
    cuts = cuts_of(ShotDetector(settings, rate), pictures)
    assert [cut.frame_index for cut in cuts] == json.loads(golden.read_text())["cuts"]
    assert [cut.time_seconds for cut in cuts] == [pictures[c.frame_index][0] for c in cuts]


def test_cuts_equal_those_of_its_detector_on_full_pictures():
    """The fast small pictures and the fast score decide as PySceneDetect's own do."""
    path = DATA / "video" / "bbb_360p.mp4"
    if not path.exists():
        pytest.skip("the real material is not here")
    import cv2
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    theirs, ours = AdaptiveDetector(min_scene_len=14), ShotDetector(ShotSettings(), 24.0)
    expected, found = [], []
    with decode_video(path) as frames:
        for f in takewhile(lambda f: f.time_seconds < 30, frames):
            large = f.frame.reformat(format="bgr24").to_ndarray()
            small = cv2.resize(large, (256, 144), interpolation=cv2.INTER_LINEAR)
            cuts = theirs.process_frame(FrameTimecode(f.index, fps=24.0), small)
            expected += [cut.frame_num for cut in cuts]
            found += ours.push(f.time_seconds, small_bgr(f.frame, ShotSettings().analysis_width))
    assert len(expected) >= 3
    assert [cut.frame_index for cut in found] == expected


@pytest.fixture(scope="module")
def film():
    path = DATA / "video" / "bbb_360p.mp4"
    if not path.exists():
        pytest.skip("the real material is not here")
    return small_pictures(path, 100.0, 145.0)


@pytest.mark.parametrize(
    "settings",
    [
        ShotSettings(),
        ShotSettings(min_shot_seconds=2.5),
        ShotSettings(min_shot_frames=15),
        ShotSettings(detector="hash"),
    ],
    ids=["adaptive", "long shots", "by frames", "hash"],
)
def test_a_resumed_detector_finds_what_an_uninterrupted_one_does(film, settings):
    rate, pictures = film
    whole = cuts_of(ShotDetector(settings, rate), pictures)
    assert len(whole) >= 5
    warmup = ShotDetector(settings, rate).warmup_frames
    at_cuts = [c.frame_index + near for c in whole for near in (-1, 0, 1, 2, 3, 20)]
    anywhere = random.Random(5).sample(range(warmup, len(pictures)), 12)
    for index in [i for i in at_cuts if warmup <= i < len(pictures)] + anywhere:
        at_seconds = pictures[index][0]
        known = [c.time_seconds for c in whole if c.time_seconds < at_seconds]
        detector = ShotDetector.resume(settings, at_seconds, max(known, default=0.0), rate)
        found = cuts_of(detector, pictures[index - warmup :])
        assert [c.time_seconds for c in found] == [
            c.time_seconds for c in whole if c.time_seconds >= at_seconds
        ]


@pytest.mark.parametrize("detector", ["content", "threshold"])
def test_a_detector_that_needs_the_whole_video_says_so(detector):
    assert ShotDetector(ShotSettings(detector=detector)).warmup_frames is None


@pytest.mark.parametrize("detector", DETECTORS)
def test_no_cut_comes_after_its_frame_was_settled(detector, peers):
    if not PEERS.exists():
        pytest.skip("the real material is not here")
    for name in ("testvideo.mp4", "fades.mp4"):
        rate, pictures = peers(name)
        shots = ShotDetector(ShotSettings(detector=detector), rate)
        settled = -1
        for time, small in pictures:
            assert all(cut.frame_index > settled for cut in shots.push(time, small))
            settled = shots.settled_index


def test_an_unknown_detector_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="adaptive, content, hash, threshold"):
        ShotDetector(ShotSettings(detector="magic"))


def test_a_cut_is_the_time_of_the_first_new_frame_also_where_the_rate_varies(tmp_path):
    steps = np.where(np.arange(60) % 3 == 0, 0.05, 0.03)
    times = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    pictures = [noise_picture(n // 30, 320, 180) for n in range(60)]
    path = write_clip(tmp_path / "a.mp4", pictures, times=times)
    rate, small = small_pictures(path)
    (cut,) = cuts_of(ShotDetector(ShotSettings(), rate), small)
    assert cut.frame_index == 30
    assert cut.time_seconds == pytest.approx(times[30], abs=1e-4)


def test_a_video_that_changes_its_size_goes_on():
    detector = ShotDetector(ShotSettings())
    for index in range(40):
        size = (64, 48) if index < 20 else (80, 40)
        detector.push(index / 25, noise_picture(1, *size))
    assert detector.finish() == []
