"""Samples: a few of each shot at a floor rate, the same ones after a resume, and no still twice."""

import hashlib
from itertools import takewhile

import numpy as np
import pytest
from clips import DATA, noise_picture, text_picture, truncated, write_clip

from ingest.analysis import VideoAnalysis
from ingest.channel import Sample
from ingest.picture_events import Progress, ShotEnded
from ingest.sampling import SampleSchedule, StillFilter
from ingest.settings import SamplingSettings, ShotSettings

SETTINGS = SamplingSettings()


def events_of(path, to_seconds=float("inf"), **options):
    """Comparable events, in the order they come; Progress kept apart."""
    events, progress = [], []
    with VideoAnalysis(path, **options) as analysis:
        for event in analysis:
            if isinstance(event, Progress):
                progress.append(event)
                if event.time_seconds > to_seconds:
                    break
            elif isinstance(event, Sample):
                digest = hashlib.md5(event.image.tobytes()).hexdigest()
                events.append((event.time_seconds, "sample", event.shot_start_seconds, digest))
            else:
                events.append((event.end_seconds, "shot", event.start_seconds))
    return list(takewhile(lambda e: e[0] <= to_seconds, events)), progress


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Shots of 2.0, 1.2 and 4.0 s."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    shots = [0] * 50 + [1] * 30 + [2] * 100
    return write_clip(path, [noise_picture(n, 320, 180) for n in shots], b_frames=2)


def test_every_shot_is_sampled_after_its_cut_and_then_at_the_interval(clip):
    events, _ = events_of(clip)
    assert [e[0] for e in events if e[1] == "shot"] == pytest.approx([2.0, 3.2, 7.2])
    assert [e[2] for e in events if e[1] == "shot"] == pytest.approx([0.0, 2.0, 3.2])
    samples = [e[0] for e in events if e[1] == "sample"]
    assert samples == pytest.approx([0.2, 1.2, 2.2, 3.4, 4.4, 5.4, 6.4], abs=0.041)


def test_events_come_in_time_order_and_progress_keeps_its_word(clip):
    with VideoAnalysis(clip) as analysis:
        events = list(analysis)
    ends = [e.end_seconds if isinstance(e, ShotEnded) else e.time_seconds for e in events]
    assert ends == sorted(ends)
    for at, event in enumerate(events):
        if isinstance(event, Progress):
            assert all(end >= event.time_seconds for end in ends[at:])


def test_a_shot_too_short_for_the_schedule_is_sampled_all_the_same(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [noise_picture(1)])
    events, _ = events_of(path)
    assert [e[:3] for e in events] == [(0.0, "sample", 0.0), (0.04, "shot", 0.0)]


def test_a_picture_that_stays_is_sampled_though_no_frame_comes_at_the_time(tmp_path):
    pictures = [noise_picture(n) for n in range(3)]
    path = write_clip(tmp_path / "a.mp4", pictures, times=[0.0, 5.0, 20.0])
    events, _ = events_of(path)
    assert [e[0] for e in events if e[1] == "sample"] == pytest.approx([0.0, 5.0], abs=1e-3)


def assert_resumes(path, shots, whole, from_seconds, known_cuts, to_seconds=float("inf")):
    part, _ = events_of(
        path, to_seconds, shots=shots, from_seconds=from_seconds, known_cuts=known_cuts
    )
    assert part == [
        (time, kind, *rest)
        for time, kind, *rest in whole
        if time >= from_seconds and (kind != "shot" or time not in known_cuts)
    ]


@pytest.mark.parametrize("detector", ["adaptive", "content", "hash", "threshold"])
def test_a_resume_gives_what_an_uninterrupted_run_gives_from_there(clip, detector):
    shots = ShotSettings(detector=detector)
    whole, progress = events_of(clip, shots=shots)
    ends = [e[0] for e in whole if e[1] == "shot"]
    assert len(progress) > 5
    for point in progress:
        known = [end for end in ends if end <= point.shot_start_seconds]
        assert_resumes(clip, shots, whole, point.time_seconds, known)
    for time, kind, *_ in whole:
        if kind == "sample":
            assert_resumes(clip, shots, whole, time, [end for end in ends if end <= time])


@pytest.mark.parametrize("detector", ["adaptive", "content", "threshold"])
def test_a_resume_in_a_real_film_gives_the_same(detector):
    path = DATA / "video" / "bbb_360p.mp4"
    if not path.exists():
        pytest.skip("the real material is not here")
    # No picture of it is black enough by default.
    shots = ShotSettings(detector=detector, black_threshold=60)
    whole, progress = events_of(path, 60.0, shots=shots)
    ends = [e[0] for e in whole if e[1] == "shot"]
    assert len(ends) >= (1 if detector == "threshold" else 5)
    for point in [p for p in progress if p.time_seconds > 10][::25]:
        known = [end for end in ends if end <= point.shot_start_seconds]
        assert_resumes(path, shots, whole, point.time_seconds, known, 60.0)


def unseen(monkeypatch):
    """From here on nothing looks for cuts."""

    def look(*_):
        raise AssertionError("a picture is looked at for cuts that are known")

    monkeypatch.setattr("ingest.picture_events.small_bgr", look)


@pytest.mark.parametrize("detector", ["adaptive", "hash"])
@pytest.mark.parametrize("film", ["made", "real"])
def test_with_all_cuts_known_nothing_looks_for_them_and_samples_are_the_same(
    clip, film, detector, monkeypatch
):
    path = clip if film == "made" else DATA / "video" / "bbb_360p.mp4"
    if not path.exists():
        pytest.skip("the real material is not here")
    shots = ShotSettings(detector=detector)
    whole, progress = events_of(path, 60.0, shots=shots)
    cuts = [0.0, *(e[0] for e in whole if e[1] == "shot")]
    assert len(cuts) >= 4

    unseen(monkeypatch)
    known = {"shots": shots, "known_cuts": cuts, "all_known": True}
    assert events_of(path, 59.0, **known)[0] == [e for e in whole if e[0] <= 59.0]
    samples = [e for e in whole if e[1] == "sample"]
    points = [p.time_seconds for p in progress] + [e[0] for e in samples]
    for point in points if film == "made" else points[::20]:
        part, _ = events_of(path, 59.0, from_seconds=point, **known)
        wanted = [e for e in samples if point <= e[0] <= 59.0]
        assert [e for e in part if e[1] == "sample"] == wanted


def test_cuts_that_may_come_late_are_looked_for_even_where_they_are_known(clip, monkeypatch):
    """Which sample comes first after a late cut hangs on when it was found."""
    unseen(monkeypatch)
    for shots in (ShotSettings(detector="content"), ShotSettings(adaptive_window_frames=9)):
        with pytest.raises(AssertionError):
            events_of(clip, shots=shots, known_cuts=[2.0, 3.2], all_known=True)


@pytest.mark.parametrize("detector", ["content", "threshold"])
def test_a_resume_begins_near_where_it_goes_on(tmp_path, detector):
    """In the middle of a long shot; only the place right after the last cut is looked at too."""
    pictures = [noise_picture(n > 100, 64, 48) for n in range(3000)]
    path = write_clip(tmp_path / "a.mp4", pictures, key_frame_every=25)
    known = [] if detector == "threshold" else [101 / 25]
    with VideoAnalysis(
        path, ShotSettings(detector=detector), from_seconds=100.0, known_cuts=known
    ) as analysis:
        first = next(iter(analysis))
        assert not analysis._decoder.from_start
    assert first.time_seconds >= 100.0


def test_a_resume_inside_a_fade_that_memory_cannot_hold(tmp_path, monkeypatch):
    """Its cut comes late, after samples that follow it."""
    monkeypatch.setattr("ingest.picture_events._HELD_BYTES", 0)
    bright, black = noise_picture(1, 64, 48), np.zeros((48, 64, 3), np.uint8)
    pictures = [bright] * 80 + [black] * 120 + [bright] * 40 + [black] * 7 + [bright] * 60
    path = write_clip(tmp_path / "a.mp4", pictures)
    shots = ShotSettings(detector="threshold")
    whole, progress = events_of(path, shots=shots)
    ends = [e[0] for e in whole if e[1] == "shot"]
    assert ends == pytest.approx([140 / 25, 244 / 25, 307 / 25], abs=0.05)
    # No promise is broken: what is told of progress waits for the cut.
    assert not any(80 / 25 <= p.time_seconds < ends[0] for p in progress)
    samples = [e[0] for e in whole if e[1] == "sample"]
    for time in samples:
        known = [end for end in ends if end <= time]
        part, _ = events_of(path, shots=shots, from_seconds=time, known_cuts=known)
        wanted = [e for e in whole if e[1] == "sample" and e[0] >= time]
        assert [e for e in part if e[1] == "sample"] == wanted


def test_damage_ends_the_events_and_is_told(tmp_path):
    pictures = [noise_picture(n // 25, 320, 180) for n in range(150)]
    whole = write_clip(tmp_path / "a.mp4", pictures, container_options={"movflags": "faststart"})
    path = truncated(whole, tmp_path / "short.mp4", 0.6)
    with VideoAnalysis(path) as analysis:
        events = list(analysis)
    assert isinstance(events[-1], ShotEnded)
    assert events[-1].end_seconds == analysis.end_seconds < 5.0
    assert "short.mp4" in str(analysis.damage)
    assert analysis.damage.at_seconds == pytest.approx(analysis.end_seconds, abs=0.1)


def test_a_schedule_is_the_same_from_the_middle():
    whole = SampleSchedule(SETTINGS, 10.0)
    for tick in range(250, 400):
        middle = SampleSchedule(SETTINGS, 10.0, from_seconds=tick / 25)
        while whole._due() < tick / 25:
            whole._next += 1
        assert middle._due() == whole._due()


# Stills


def noisy(image, seed, strength=6):
    """The picture as a codec or a camera gives it back: a little different everywhere."""
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (1616, 1568), (3840, 2160)])
def test_one_more_line_of_text_is_a_change_and_noise_is_none(size):
    page = text_picture(["$ make test", "passed"], *size)
    more = text_picture(["$ make test", "passed", "$ make"], *size)
    stills = StillFilter()
    assert stills.changed(page)
    for seed in range(5):
        assert not stills.changed(noisy(page, seed))
    assert stills.changed(noisy(more, 6))
    assert not stills.changed(noisy(more, 7))


def test_slow_changes_add_up():
    stills = StillFilter()
    changes = [stills.changed(np.full((90, 160, 3), level, np.uint8)) for level in range(100)]
    assert changes[0]
    assert 5 <= sum(changes) <= 20


def test_another_size_is_a_change():
    stills = StillFilter()
    assert stills.changed(noise_picture(1, 160, 90))
    assert stills.changed(noise_picture(1, 90, 160))


def test_a_terminal_recording_keeps_what_is_typed_and_drops_what_stays():
    path = DATA / "video" / "vhs" / "neofetch__neofetch.mp4"
    if not path.exists():
        pytest.skip("the real material is not here")
    stills = StillFilter()
    with VideoAnalysis(path) as analysis:
        kept = [stills.changed(e.image) for e in analysis if isinstance(e, Sample)]
    assert len(kept) == 14
    assert sum(kept) == 11
