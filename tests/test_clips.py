"""Clips: the frames that were asked for, the sound with them, in a file that plays."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import DATA, GRAY, RED, noise_picture, solid, truncated, write_clip

from index.errors import ExportError, MediaError, UsageError
from ingest.audio import read_audio
from ingest.clips import cut_clip
from ingest.cut_points import CutPoints
from ingest.decode import decode_video
from ingest.frames import picture, small_bgr

RATE = 25
BITS = 8


def numbered(number: int, width: int = 128, height: int = 96) -> np.ndarray:
    """A picture that says which one it is: a column a bit, black or white."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8) * 255
    row = np.repeat(bits, width // BITS)
    return np.repeat(np.tile(row, (height, 1))[:, :, None], 3, axis=2)


def number_of(image: np.ndarray) -> int:
    columns = image.mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(columns) if value > 127)


def numbers(path: Path) -> list[tuple[int, float]]:
    """(number, when it is shown) of each picture in a file."""
    with decode_video(path, prefetch=False) as frames:
        return [(number_of(picture(f)), f.time_seconds) for f in frames]


def length(path: Path) -> float:
    """Seconds that players show of it."""
    with av.open(str(path)) as container:
        return container.duration / av.time_base


def onset_seconds(path: Path) -> float:
    """When the sound begins to be heard."""
    rate = 16_000
    samples = np.concatenate([b.samples for b in read_audio(path, sample_rate=rate)])
    return int(np.argmax(np.abs(samples) > 0.05)) / rate


def film(path: Path, frames: int = 100, **options) -> Path:
    options = {"key_frame_every": 20, "b_frames": 2, **options}
    return write_clip(path, [numbered(n) for n in range(frames)], rate=RATE, **options)


CONTAINERS = {
    "a.mp4": {},
    "b.mkv": {},
    "c.ts": {"start_seconds": 40_000.0},
    "d.mpg": {"codec": "mpeg2video", "start_seconds": 100.0},
    "e.webm": {"codec": "libvpx", "b_frames": 0},
    "f.mov": {},
}


CUTS = [(name, exact) for name in CONTAINERS for exact in (False, True)]


@pytest.mark.parametrize("name, exact", [cut for cut in CUTS if cut != ("d.mpg", False)])
def test_the_frames_asked_for_are_in_it(tmp_path, name, exact):
    source = film(tmp_path / name, **CONTAINERS[name])
    clip = cut_clip(source, 1.9, 2.55, tmp_path / "clip", exact=exact)
    shown = numbers(clip.path)
    assert [n for n, _ in shown] == list(range(shown[0][0], shown[0][0] + len(shown)))
    first, last = shown[0][0], shown[-1][0]
    if exact:
        assert (first, last) == (47, 63)
        assert bool(clip.encoded)
    else:
        with decode_video(source, prefetch=False) as frames:
            keys = [number_of(picture(f)) for f in frames if f.frame.key_frame]
        assert first == max(key for key in keys if key <= 47)
        assert 63 <= last <= 67
        assert not clip.encoded
    for number, time in shown:
        assert time == pytest.approx((number - first) / RATE, abs=2e-3)
    assert length(clip.path) == pytest.approx(len(shown) / RATE, abs=2e-3)
    assert clip.start_seconds == pytest.approx(first / RATE, abs=2e-3)
    assert clip.end_seconds == pytest.approx((last + 1) / RATE, abs=2e-3)


def test_where_a_container_keeps_too_few_times_it_says_so(tmp_path):
    """An MPEG program stream keeps one time for several small pictures."""
    with pytest.raises(MediaError, match="--exact"):
        cut_clip(film(tmp_path / "d.mpg", **CONTAINERS["d.mpg"]), 1.9, 2.5, tmp_path / "clip")


def test_a_seek_in_a_program_stream_keeps_the_times(tmp_path):
    """It ends in the middle of a picture, which takes the time of the next one that has any."""
    noise = np.random.default_rng(1).integers(0, 256, (250, 96, 256, 3), np.uint8)
    pictures = [np.vstack([numbered(n, 256), noise[n]]) for n in range(250)]
    source = tmp_path / "d.mpg"
    write_clip(source, pictures, codec="mpeg2video", b_frames=2)
    for second in range(10):
        with decode_video(source, from_seconds=second, prefetch=False) as frames:
            first = next(iter(frames))
        assert first.time_seconds == pytest.approx(number_of(picture(first)[:80]) / RATE)
        clip = cut_clip(source, second, second + 0.5, tmp_path / "clip", overwrite=True)
        with decode_video(clip.path, prefetch=False) as frames:
            shown = [number_of(picture(f)[:80]) for f in frames]
        first = round(clip.start_seconds * RATE)
        assert second * RATE - 12 < first <= second * RATE
        assert shown == list(range(first, first + len(shown)))


def test_the_first_pictures_of_a_transport_stream_are_reached(tmp_path):
    """A seek to its start may end up at the second key frame."""
    source = film(tmp_path / "c.ts", 120, key_frame_every=48)
    for start in (0.0, 0.5):
        clip = cut_clip(source, start, 1.0, tmp_path / "clip", overwrite=True)
        shown = [n for n, _ in numbers(clip.path)]
        assert shown == list(range(len(shown))) and len(shown) >= 25


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.ts"])
def test_sound_stays_with_the_pictures(tmp_path, name, exact):
    source = film(
        tmp_path / name,
        audio_seconds=2.0,
        audio_start_seconds=2.0,
        start_seconds=CONTAINERS[name].get("start_seconds", 0.0),
    )
    clip = cut_clip(source, 1.9, 3.0, tmp_path / "clip", exact=exact)
    assert clip.start_seconds + onset_seconds(clip.path) == pytest.approx(2.0, abs=0.025)
    assert clip.start_seconds < 2.0


def test_sound_that_begins_before_the_pictures_is_kept(tmp_path):
    source = film(tmp_path / "late.mkv", audio_seconds=5.0, audio_start_seconds=-0.5)
    with CutPoints(source) as points:
        assert points.span(0.2, 1.0) == (Fraction(0.2), Fraction(51, 50))
    clip = cut_clip(source, 0.0, 1.0, tmp_path / "clip")
    assert clip.start_seconds == 0
    assert numbers(clip.path)[0] == (0, pytest.approx(0.5, abs=2e-3))
    assert onset_seconds(clip.path) < 0.05


def test_a_picture_that_stands_long_is_not_followed_back_to_its_beginning(tmp_path):
    times = [0.0, 0.04, 0.08, 5.0, 5.04, 9.0]
    source = write_clip(tmp_path / "slides.mp4", [numbered(n) for n in range(6)], times=times)
    clip = cut_clip(source, 2.0, 5.06, tmp_path / "clip", exact=True)
    assert clip.start_seconds == 2.0
    assert [n for n, _ in numbers(clip.path)] == [2, 3, 4]
    assert [t for _, t in numbers(clip.path)] == pytest.approx([0.0, 3.0, 3.04], abs=1e-3)
    assert length(clip.path) == pytest.approx(3.06, abs=2e-3)


@pytest.mark.parametrize("exact", [False, True])
def test_rotation_and_the_shape_of_pixels_are_kept(tmp_path, exact):
    source = film(tmp_path / "turned.mp4", rotation=90, pixel_aspect=Fraction(4, 3))
    clip = cut_clip(source, 0.5, 1.5, tmp_path / "clip", exact=exact)
    with decode_video(source) as before, decode_video(clip.path) as after:
        shapes = [picture(next(iter(frames))).shape for frames in (before, after)]
    assert shapes[0] == shapes[1] == (128 * 4 // 3 + 1, 96, 3)


def test_odd_sizes_are_encoded(tmp_path):
    pictures = [noise_picture(n, 64, 48)[:47, :63] for n in range(10)]
    source = tmp_path / "odd.gif"
    frames = [cv2.cvtColor(p, cv2.COLOR_RGB2BGR) for p in pictures]
    cv2.imwritemulti(str(source), frames)
    with pytest.raises(MediaError, match="--exact"):
        cut_clip(source, 0.0, 0.2, tmp_path / "clip")
    clip = cut_clip(source, 0.0, 0.2, tmp_path / "clip", exact=True)
    assert clip.path.suffix == ".mp4" and clip.encoded == ("gif to h264",)


def test_what_lies_on_key_frames_is_copied_even_when_cut_exactly(tmp_path):
    source = film(tmp_path / "a.mp4", b_frames=0)
    clip = cut_clip(source, 0.8, 1.6, tmp_path / "clip", exact=True)
    assert clip.encoded == ()
    assert [n for n, _ in numbers(clip.path)] == list(range(20, 40))


def test_webm_stays_webm_and_mp4_can_be_played_while_it_loads(tmp_path):
    webm = film(tmp_path / "a.webm", codec="libvpx-vp9", b_frames=0, frames=30)
    assert cut_clip(webm, 0, 1, tmp_path / "x").path.name == "x.webm"
    clip = cut_clip(film(tmp_path / "a.mp4"), 0, 1, tmp_path / "y")
    data = clip.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_what_a_browser_may_not_play_is_said_and_is_encoded_when_cut_exactly(tmp_path):
    source = film(tmp_path / "a.mp4", codec="mpeg4", b_frames=0)
    copied = cut_clip(source, 0.5, 1.5, tmp_path / "copied")
    assert "mpeg4" in copied.notes[0] and "--exact" in copied.notes[0]
    encoded = cut_clip(source, 0.8, 1.6, tmp_path / "encoded", exact=True)
    assert encoded.encoded == ("mpeg4 to h264",) and not encoded.notes


@pytest.mark.parametrize("exact", [False, True])
def test_sound_alone_is_a_clip_too(tmp_path, exact):
    source = write_clip(tmp_path / "talk.mp4", [], audio_seconds=4.0, audio_start_seconds=1.0)
    clip = cut_clip(source, 1.0, 2.0, tmp_path / "clip", exact=exact)
    assert clip.path.suffix == ".m4a"
    assert clip.end_seconds - clip.start_seconds == pytest.approx(1.0, abs=0.13)
    with av.open(str(clip.path)) as made:
        assert [s.type for s in made.streams] == ["audio"]


def test_nothing_is_overwritten_unless_asked_and_no_half_file_is_left(tmp_path):
    source = film(tmp_path / "a.mp4")
    clip = cut_clip(source, 0, 1, tmp_path / "clip")
    before = clip.path.read_bytes()
    with pytest.raises(ExportError, match="--force"):
        cut_clip(source, 1, 2, tmp_path / "clip")
    assert clip.path.read_bytes() == before
    cut_clip(source, 1, 2, tmp_path / "clip", overwrite=True)
    assert clip.path.read_bytes() != before
    broken = truncated(source, tmp_path / "b.mp4", 0.5)
    with pytest.raises(MediaError):
        cut_clip(broken, 3, 4, tmp_path / "broken")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "clip.mp4"]


def test_errors_name_the_thing(tmp_path):
    with pytest.raises(MediaError, match="not there"):
        cut_clip(tmp_path / "gone.mp4", 0, 1, tmp_path / "clip")
    source = film(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="is 4"):
        cut_clip(source, 60, 62, tmp_path / "clip")
    with pytest.raises(ExportError, match="cannot be written"):
        cut_clip(source, 0, 1, tmp_path / ("x" * 300))
    for exact in (False, True):
        with pytest.raises(ExportError, match=r"nowhere.*cannot be written"):
            cut_clip(source, 0, 1, tmp_path / "nowhere" / "clip", exact=exact)


def test_of_a_file_cut_short_a_clip_is_what_is_there(tmp_path):
    pictures = [noise_picture(n) for n in range(100)]
    whole = write_clip(tmp_path / "whole.mkv", pictures, rate=25, audio_seconds=4.0)
    broken = truncated(whole, tmp_path / "b.mkv", 0.5)
    with CutPoints(broken) as points:
        _, ends = points.span(1.0, 3.5)
        assert 1.0 < ends < 2.5
        assert points.span(1.0, float(ends)) == (1, ends)
        with pytest.raises(MediaError, match=r"b\.mkv: its pictures break off at"):
            points.span(3.0, 3.5)
    with CutPoints(whole) as points:
        assert points.span(3.0, 3.5) == (3, Fraction(88, 25))
    for exact in (False, True):
        clip = cut_clip(broken, 1.0, 3.5, tmp_path / f"clip {exact}", exact=exact)
        assert clip.end_seconds == pytest.approx(float(ends), abs=0.05)
        assert clip.start_seconds == 1.0 or not exact


def test_of_slides_cut_short_a_clip_is_what_is_there(tmp_path):
    """Of which the last one lasts long."""
    pictures = [noise_picture(n) for n in range(30)]
    whole = write_clip(tmp_path / "whole.mkv", pictures, rate=1, key_frame_every=5)
    broken = truncated(whole, tmp_path / "b.mkv", 0.5)
    clip = cut_clip(broken, 2.0, 25.0, tmp_path / "clip", exact=True)
    assert clip.start_seconds == 2.0 and 10.0 < clip.end_seconds < 20.0


def test_a_clip_of_a_file_without_a_length_ends_where_its_pictures_do(tmp_path):
    source = film(tmp_path / "live.mkv", container_options={"live": "1"})
    with CutPoints(source) as points:
        assert points.duration_seconds is None
        assert points.span(1.0, 400.0) == (Fraction(1), Fraction(4))
        with pytest.raises(UsageError, match=r"4\.000 s long"):
            points.span(100.0, 400.0)
    assert cut_clip(source, 1.0, 400.0, tmp_path / "clip").end_seconds == 4.0


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, small_disk):
    source = write_clip(
        tmp_path / "big.mp4",
        [np.random.default_rng(n).integers(0, 256, (240, 320, 3), np.uint8) for n in range(50)],
    )
    filler = small_disk / "filler"
    with open(filler, "wb") as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1 << 20))
    for exact in (False, True):
        with pytest.raises(ExportError, match="Free some space"):
            cut_clip(source, 0.0, 1.7, small_disk / "clip", exact=exact)
    assert [p.name for p in small_disk.iterdir() if p.is_file()] == ["filler"]


def test_a_span_on_borders_stays_where_it_is(tmp_path):
    source = film(tmp_path / "a.mkv")
    with CutPoints(source) as points:
        start, end = points.span(1.01, 1.99)
        assert (start, end) == (Fraction(1), Fraction(2))
        assert points.span(float(start), float(end)) == (start, end)
        assert points.span(0.999, 2.001) == (start, end)  # as written in milliseconds
        assert points.span(1.01, 1.01) == (Fraction(1), Fraction(26, 25))  # one frame at least
        assert points.constant and points.frame_rate == 25


def test_colours_are_kept(tmp_path):
    source = write_clip(tmp_path / "red.mp4", [solid(RED)] * 30 + [solid(GRAY)] * 30)
    clip = cut_clip(source, 0.6, 1.9, tmp_path / "clip", exact=True)
    with decode_video(source) as before, decode_video(clip.path) as after:
        wanted, got = (picture(next(iter(frames))) for frames in (before, after))
    assert np.abs(wanted.astype(int) - got).max() <= 2


REAL = [
    ("pyscenedetect/counter.mp4", 0.95, 2.31),
    ("pyscenedetect/delayed_start.mp4", 0.3, 0.8),
    ("mdn/flower-fragmented.mp4", 1.3, 2.7),
    ("mdn/flower.webm", 1.3, 2.7),
    ("torchcodec/nasa_13013.mp4", 1.3, 2.7),
    ("odd/flipping_a_pancake.mkv", 6.1, 7.3),
    ("bbb_360p.mp4", 300.3, 302.2),
]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name, start, end", REAL)
def test_real_films_are_cut_to_the_frame(tmp_path, name, start, end, exact):
    source = DATA / "video" / name
    if not source.exists():
        pytest.skip(f"{source} is not here")
    clip = cut_clip(source, start, end, tmp_path / "clip", exact=exact)
    with decode_video(source, from_seconds=clip.start_seconds) as frames:
        wanted = []
        for f in frames:
            if f.time_seconds >= clip.end_seconds - 1e-3:
                break
            if f.time_seconds >= clip.start_seconds - 1e-3:
                wanted.append((f.time_seconds - clip.start_seconds, small_bgr(f.frame, 128)))
    with decode_video(clip.path) as frames:
        got = [(f.time_seconds, small_bgr(f.frame, 128)) for f in frames]
    assert len(got) == len(wanted)
    assert [t for t, _ in got] == pytest.approx([t for t, _ in wanted], abs=1e-3)
    for (_, one), (_, other) in zip(got, wanted, strict=True):
        assert np.abs(one.astype(int) - other).mean() < (3 if exact else 0.01)
