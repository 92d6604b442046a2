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
    return [cut for time, small in pictures for cut in detector.push(time, small)]


def resumed(settings, rate, pictures, index):
    """What follows the frame of that index: the cuts of a detector that is pushed few frames from
    before it, and how many those are."""
    cuts = {}  # announced with which frame
    whole = ShotDetector(settings, rate)
    for at, picture in enumerate(pictures):
        for cut in whole.push(*picture):
            cuts[cut.time_seconds] = at
    known = [time for time, at in cuts.items() if at <= index]
    expected = [time for time, at in cuts.items() if at > index]

    def frames_from(seconds):
        return iter([p for p in pictures if p[0] >= seconds])

    for back in (10, 20, 40, 80, 160, 320, 640):
        first = max(0, index - back)
        detector = ShotDetector.resume(settings, known, frames_from, rate)
        before = cuts_of(detector, pictures[first : index + 1])
        if detector.warm:
            assert [c.time_seconds for c in before] == [
                time for time in known if detector.start.seconds < time
            ]
            found = cuts_of(detector, pictures[index + 1 :])
            assert [c.time_seconds for c in found] == expected
            return index - first
    return None


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


RESUMABLE = {
    "adaptive": ShotSettings(),
    "long shots": ShotSettings(min_shot_seconds=2.5),
    "by frames": ShotSettings(min_shot_frames=15),
    "wide window": ShotSettings(adaptive_window_frames=12),
    "hash": ShotSettings(detector="hash"),
    "content": ShotSettings(detector="content"),
    "content by frames": ShotSettings(detector="content", min_shot_frames=15),
    "content, all": ShotSettings(detector="content", min_shot_seconds=0),
    "threshold": ShotSettings(detector="threshold", black_threshold=150),
    "threshold by frames": ShotSettings(
        detector="threshold", black_threshold=150, min_shot_frames=15
    ),
}


@pytest.mark.parametrize("settings", RESUMABLE.values(), ids=RESUMABLE)
def test_a_resumed_detector_finds_what_an_uninterrupted_one_does(film, settings):
    rate, pictures = film
    whole = cuts_of(ShotDetector(settings, rate), pictures)
    assert len(whole) >= 2
    at_cuts = [c.frame_index + near for c in whole for near in (-1, 0, 1, 2, 3, 13, 20)]
    anywhere = random.Random(5).sample(range(len(pictures) // 2, len(pictures)), 6)
    indices = [i for i in at_cuts[-21:] if i < len(pictures)] + anywhere
    took = [resumed(settings, rate, pictures, index) for index in indices]
    seen = [frames for frames in took if frames is not None]
    assert len(seen) > len(took) / 2
    # Half of the pictures are dark at this threshold; what a cut takes is bounded for the others.
    bound = 400 if settings.detector == "threshold" else 3 * 2.5 * rate
    assert max(seen) <= bound


def flickering(seed, flashes):
    """Small pictures of shots, of which some flicker, and some are black for a while."""
    random_ = random.Random(seed)
    pictures = []
    for shot in range(1, 13):
        calm, flash = noise_picture(2 * shot, 32, 24), noise_picture(2 * shot + 1, 32, 24)
        length = random_.choice([3, 8, 16, 20, 60, 140])
        kind = random_.choice(flashes)
        for at in range(length):
            if kind == "black":
                pictures.append(np.zeros_like(calm) if at % 11 else calm // 30)
            elif kind == "flicker":
                pictures.append(flash if random_.random() < 0.4 else calm)
            elif kind == "flash":
                pictures.append(flash if at == 5 else calm)
            else:
                pictures.append(calm)
    return [(index / 25, picture) for index, picture in enumerate(pictures)]


@pytest.mark.parametrize("by", [{}, {"min_shot_frames": 15}], ids=["seconds", "frames"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("detector", ["content", "threshold"])
def test_flicker_and_black_are_remembered_by_a_resume(detector, seed, by):
    """Where the detector's state hangs on what it saw long before."""
    kinds = ["calm", "flicker", "flash"] if detector == "content" else ["calm", "black"]
    pictures = flickering(seed, kinds)
    settings = ShotSettings(detector=detector, **by)
    assert cuts_of(ShotDetector(settings, 25.0), pictures)
    for index in range(0, len(pictures), 17):
        resumed(settings, 25.0, pictures, index)


def test_a_detector_that_flickered_once_waits_for_hours():
    """A burst too short for a cut leaves the content detector waiting; a resume far from it does
    not see it, but what follows the cut before."""
    calm, flash, other = (noise_picture(seed, 32, 24) for seed in (1, 2, 3))
    for early in (calm, flash):
        shots = [noise_picture(0, 32, 24)] * 30 + [calm] * 5 + [early] + [calm] * 400
        shots += [other] * 5 + [calm, other] + [other] * 50
        pictures = [(index / 25, picture) for index, picture in enumerate(shots)]
        settings = ShotSettings(detector="content")
        assert resumed(settings, 25.0, pictures, 300) <= 80
        cuts = [c.frame_index for c in cuts_of(ShotDetector(settings, 25.0), pictures)]
        # Merged, the last of the differences is the cut; else the first.
        assert cuts == [30, 436 if early is calm else 442]


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
        assert detector.push(index / 25, noise_picture(1, *size)) == []
    assert detector.last_index == 39
