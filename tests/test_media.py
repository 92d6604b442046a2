"""What files say about themselves, one clock, upright pictures, and clear words for bad files."""

import gc
import os
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clips import (
    BLUE,
    DATA,
    GREEN,
    RED,
    corrupted,
    noise_picture,
    solid,
    truncated,
    write_clip,
)
from PIL import Image

from index.errors import DamagedMediaError, MediaError, NotMediaError
from ingest.decode import decode_video
from ingest.frames import picture, small_bgr
from ingest.media import decode_image, iter_subtitle_packets, measure_duration, probe

VIDEO = DATA / "video"
PICTURES = [noise_picture(n // 10) for n in range(50)]

# file: (duration by probe, by measuring, kinds of streams, pictures, problems). The numbers of
# pictures are those that `ffprobe -count_frames` gives.
TABLE = {
    "odd/-video-with-dash-.mp4": (5.0, 5.0, "v", 5, 0),
    "odd/audio_only.mp4": (52.219, 52.220, "a", None, 0),
    "odd/big_buck_bunny_432_433.webm": (1.0, 1.008, "va", 24, 0),
    "odd/clip1024.flv": (17.3, 17.4, "v", 174, 0),
    "odd/corrupted.mp4": (5.0, 5.0, "v", 49, 2),
    "odd/flipping_a_pancake.mkv": (10.381, 10.374, "va", 310, 0),
    "odd/no_duration.webm": (None, 4.938, "va", 74, 0),
    "odd/sintel_5s.mp4": (5.016, 5.017, "va", 120, 0),
    "odd/smpte-2997.mp4": (10.048, 10.048, "va", 251, 0),
    "odd/transparent.webm": (5.0, 5.0, "va", 150, 0),
    "odd/video_with_failing_audio.mp4": (11.233, 11.234, "va", 280, 0),
    "torchcodec/av1_video.mkv": (5.0, 5.0, "v", 125, 0),
    "torchcodec/bt709_full_range.mp4": (1.0, 1.0, "v", 30, 0),
    "torchcodec/dog_eating_854132.mp4": (13.8, 13.8, "v", 345, 0),
    "torchcodec/h264_10bits.mp4": (1.0, 1.0, "v", 30, 0),
    "torchcodec/h265_10bits.mp4": (1.0, 1.0, "v", 30, 0),
    "torchcodec/h265_video.mp4": (1.0, 1.0, "v", 10, 0),
    "torchcodec/nasa_13013.mp4": (13.056, 13.056, "vasvas", 390, 0),
    "torchcodec/var_fps_video.mp4": (14.933, 14.967, "v", 300, 0),
    "pyscenedetect/delayed_start.mp4": (0.96, 0.96, "v", 24, 0),
    "pyscenedetect/issue-134-rotate.mp4": (10.01, 10.01, "va", 240, 0),
    "pyscenedetect/issue-195-aspect-ratio.mp4": (25.12, 25.12, "va", 628, 0),
    "pyscenedetect/issue-236-split-copy.mkv": (2.017, 2.016, "vasss", 48, 0),
    "vhs/tutorial.gif": (6.56, 6.56, "v", 328, 0),
    "vhs/tutorial.mp4": (6.56, 6.56, "v", 164, 0),
    "vhs/tutorial.webm": (6.56, 6.56, "v", 164, 0),
}
UPRIGHT = {  # (width, height) of the pictures that are turned or stretched
    "pyscenedetect/issue-134-rotate.mp4": (544, 1280),
    "pyscenedetect/issue-195-aspect-ratio.mp4": (1024, 576),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, PICTURES, audio_seconds=2.0)


def times(path, **options):
    with decode_video(path, **options) as frames:
        return [decoded.time_seconds for decoded in frames]


@pytest.mark.parametrize("name", TABLE)
def test_real_files_say_and_give_what_is_in_them(name):
    path = VIDEO / name
    if not path.exists():
        pytest.skip("the real material is not here")
    duration, measured, kinds, pictures, problems = TABLE[name]
    info = probe(path)
    assert info.duration_seconds == (
        None if duration is None else pytest.approx(duration, abs=2e-3)
    )
    assert measure_duration(path) == pytest.approx(measured, abs=2e-3)
    assert "".join(stream.kind[0] for stream in info.streams) == kinds
    if pictures is None:
        with pytest.raises(NotMediaError, match="no video stream"):
            decode_video(path)
        return
    with decode_video(path) as frames:
        shown = [(f.time_seconds, f.frame) for f in frames]
        assert len(shown) == pictures
        assert shown[0][0] == 0.0
        assert all(a[0] < b[0] for a, b in pairwise(shown))
        assert frames.end_seconds == pytest.approx(measured, abs=0.15)
        assert frames.problems.errors == problems
    if name in UPRIGHT:
        with decode_video(path, prefetch=False) as frames:
            assert picture(next(iter(frames))).shape[1::-1] == UPRIGHT[name]


def test_chapters_streams_and_language(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv",
        PICTURES,
        chapters=[(0, 1, "One"), (1, 2, "Two")],
        subtitles=[(0.5, 1.0, "Hello")],
        subtitle_language="deu",
    )
    info = probe(path)
    assert [(c.start_seconds, c.end_seconds, c.title) for c in info.chapters] == [
        (0, 1, "One"),
        (1, 2, "Two"),
    ]
    video, words = info.streams
    assert (video.codec, video.width, video.height, video.frame_rate) == ("h264", 64, 48, 25)
    assert (words.codec, words.language) == ("subrip", "deu")


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_subtitle_streams_keep_the_videos_clock(tmp_path, ending):
    path = write_clip(
        tmp_path / f"a.{ending}", PICTURES, subtitles=[(0.5, 1.0, "Hello"), (1.2, 1.5, "you")]
    )
    packets = list(iter_subtitle_packets(path))
    assert [(p.start_seconds, p.end_seconds, p.data) for p in packets] == [
        (0.5, 1.0, b"Hello"),
        (1.2, 1.5, b"you"),
    ]
    assert {p.language for p in packets} == {"eng"}


def test_styled_subtitles_come_with_their_header(tmp_path):
    script = tmp_path / "a.ass"
    script.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
        "Style: Default,Arial\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, "
        "MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,Hello, you\n"
    )
    path = write_clip(tmp_path / "a.mkv", PICTURES, subtitle_file=script)
    (packet,) = iter_subtitle_packets(path)
    assert (packet.codec, packet.start_seconds, packet.end_seconds) == ("ass", 0.5, 1.0)
    assert packet.data.endswith(b",Hello, you")


# One clock


def test_sound_that_begins_later_stays_later(tmp_path):
    path = write_clip(tmp_path / "a.mkv", PICTURES, audio_seconds=1.0, audio_start_seconds=2.0)
    assert times(path)[0] == 0.0
    assert measure_duration(path) == pytest.approx(3.0, abs=0.1)


def test_pictures_that_begin_later_stay_later(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv", PICTURES, times=[2 + n / 25 for n in range(50)], audio_seconds=4.0
    )
    assert times(path)[0] == pytest.approx(2.0, abs=0.08)


@pytest.mark.parametrize("start", [0.0, 1.4, 26.5 * 3600])
def test_a_transport_stream_begins_at_zero_wherever_its_clock_does(tmp_path, start):
    path = write_clip(tmp_path / "a.ts", PICTURES, start_seconds=start, b_frames=2)
    shown = times(path)
    assert len(shown) == 50
    assert np.allclose(shown, np.arange(50) / 25, atol=1e-4)


def test_times_are_those_of_the_frames_not_of_an_average_rate(tmp_path):
    wanted = [0.0, 0.1, 1.0, 1.5, 3.0]
    path = write_clip(tmp_path / "a.mp4", PICTURES[:5], times=wanted)
    assert times(path) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("at", [0.3, 1.0, 1.99])
def test_decoding_from_the_middle_begins_at_a_key_frame_with_the_same_frames(
    tmp_path, ending, b_frames, at
):
    path = write_clip(tmp_path / f"a.{ending}", PICTURES, b_frames=b_frames, start_seconds=5.0)
    with decode_video(path) as frames:
        whole = {f.time_seconds: small_bgr(f.frame, 256) for f in frames}
    with decode_video(path, from_seconds=at) as frames:
        part = [
            (f.index, f.time_seconds, small_bgr(f.frame, 256), f.frame.key_frame) for f in frames
        ]
    assert part[0][1] <= at
    assert part[0][0] == 0
    assert part[0][3]
    assert [t for _, t, _, _ in part] == [t for t in whole if t >= part[0][1]]
    assert all(np.array_equal(small, whole[t]) for _, t, small, _ in part)


# Pictures


@pytest.mark.parametrize(
    ("rotation", "red_at"),
    [(0, "left"), (90, "top"), (180, "right"), (270, "bottom")],
)
def test_pictures_are_upright(tmp_path, rotation, red_at):
    image = solid(BLUE)
    image[:, :32] = RED
    path = write_clip(tmp_path / "a.mp4", [image] * 3, rotation=rotation)
    assert probe(path).streams[0].rotation == rotation
    with decode_video(path) as frames:
        decoded = next(iter(frames))
    shown = picture(decoded)
    height, width = shown.shape[:2]
    assert (width, height) == ((48, 64) if rotation % 180 else (64, 48))
    spot = {
        "left": (height // 2, 4),
        "right": (height // 2, width - 5),
        "top": (4, width // 2),
        "bottom": (height - 5, width // 2),
    }[red_at]
    assert np.abs(shown[spot].astype(int) - RED).max() < 12
    small = small_bgr(decoded.frame, 256)
    assert small.shape == shown.shape
    assert np.abs(small[spot][::-1].astype(int) - RED).max() < 12


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96))])
def test_pixels_are_square(tmp_path, aspect, size):
    path = write_clip(tmp_path / "a.mp4", PICTURES[:3], pixel_aspect=aspect)
    with decode_video(path) as frames:
        assert picture(next(iter(frames))).shape[1::-1] == size


@pytest.mark.parametrize(
    "name", ["torchcodec/h264_10bits.mp4", "torchcodec/bt709_full_range.mp4", "vhs/tutorial.gif"]
)
def test_the_small_picture_shows_what_the_large_one_does_in_any_format(name):
    path = VIDEO / name
    if not path.exists():
        pytest.skip("the real material is not here")
    with decode_video(path) as frames:
        decoded = next(iter(frames))
    large = picture(decoded)[..., ::-1].astype(float)
    small = small_bgr(decoded.frame, 256).astype(float)
    assert np.abs(large.mean((0, 1)) - small.mean((0, 1))).max() < 4


def test_a_picture_file_is_read_as_it_is_seen(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a %d.png"), solid(GREEN)[..., ::-1])
    assert np.array_equal(decode_image(tmp_path / "a %d.png"), solid(GREEN))


def test_a_broken_picture_file_is_refused():
    path = DATA / "images/mmocr/tests/data/broken.jpg"
    if not path.exists():
        pytest.skip("the real material is not here")
    with pytest.raises(MediaError, match=r"broken\.jpg: cannot be read as a picture"):
        decode_image(path)


# Names


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp", "tiff", "gif", "avif"])
def test_a_picture_is_no_video_and_an_animation_is_one(form, tmp_path):
    pictures = [Image.fromarray(noise_picture(n, 64, 48)) for n in range(3)]
    for name in ("still", f"still.{form}"):
        pictures[0].save(tmp_path / name, format=form)
        with pytest.raises(NotMediaError, match=r"is a picture, not a video.*search --image"):
            probe(tmp_path / name)
    if form in ("png", "gif"):
        more = {"save_all": True, "append_images": pictures[1:], "duration": 200}
        pictures[0].save(tmp_path / "moves", format=form, **more)
        assert [stream.kind for stream in probe(tmp_path / "moves").streams] == ["video"]
    if form == "jpeg":  # as cameras write them: one after the other, nothing between
        (tmp_path / "moves").write_bytes((tmp_path / "still").read_bytes() * 3)
        assert [stream.kind for stream in probe(tmp_path / "moves").streams] == ["video"]


@pytest.mark.parametrize(
    "name",
    ["-dash.mp4", "two words.mp4", "🎬.mp4", "new\nline.mp4", "p%03d.mp4", "http:x.mp4",
     "concat:a|b.mp4", "file:x.mp4", "quote'\".mp4"],
)  # fmt: skip
def test_a_name_is_only_a_name(clip, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(clip.read_bytes())
    assert probe(tmp_path / name).duration_seconds == pytest.approx(2.0, abs=0.1)
    monkeypatch.chdir(tmp_path)
    assert len(times(Path(name))) == 50


# Bad files


def bad(tmp_path, data, name="bad.mp4"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"Just words, by no means a film.\n" * 40, "is no media file"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n", "neither pictures nor sound"),
        (bytes(5000), "is no media file"),
    ],
)
def test_what_is_no_media_is_said_to_be_none(tmp_path, data, message):
    path = bad(tmp_path, data)
    with pytest.raises(NotMediaError, match=message) as caught:
        probe(path)
    assert str(path) in str(caught.value)


def test_a_playlist_reaches_no_other_file(tmp_path, clip):
    path = bad(tmp_path, f"#EXTM3U\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n".encode(), "list.mp4")
    with pytest.raises(MediaError):
        probe(path)


def test_a_video_of_zero_length_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [])
    with pytest.raises(NotMediaError, match=r"a\.mp4"):
        probe(path)


def test_a_video_of_one_frame_is_a_video(tmp_path):
    path = write_clip(tmp_path / "a.mp4", PICTURES[:1])
    assert probe(path).duration_seconds == pytest.approx(0.04)
    assert times(path) == [0.0]


def test_a_file_that_lost_its_index_is_said_to_be_cut_short(tmp_path, clip):
    with pytest.raises(DamagedMediaError, match="cut short"):
        probe(truncated(clip, tmp_path / "short.mp4", 0.6))


def test_missing_files_folders_and_permissions(tmp_path, clip):
    with pytest.raises(MediaError, match="is not there"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)
    path = bad(tmp_path, clip.read_bytes())
    path.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(MediaError, match="permission"):
            probe(path)
        return
    # Root reads everything: a child that is nobody does not.
    tmp_path.chmod(0o755)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(tmp_path)
            os.setuid(65534)
            probe(path.relative_to(tmp_path))
            os.write(write, b"no error")
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 4096).decode()
    os.close(read)
    assert said.startswith("MediaError")
    assert "permission" in said


def test_a_file_cut_short_gives_what_is_there_and_says_where_it_ends(tmp_path):
    whole = write_clip(
        tmp_path / "a.mp4", PICTURES * 2, container_options={"movflags": "faststart"}
    )
    path = truncated(whole, tmp_path / "short.mp4", 0.6)
    shown = []
    with (
        pytest.raises(DamagedMediaError, match=r"short\.mp4: its pictures break off") as caught,
        decode_video(path) as frames,
    ):
        shown.extend(f.time_seconds for f in frames)
    assert 10 < len(shown) < 90
    assert caught.value.at_seconds == pytest.approx(shown[-1], abs=0.1)


def test_damage_in_the_middle_is_counted_and_passed_over(tmp_path):
    whole = write_clip(tmp_path / "a.ts", [noise_picture(n // 10, 320, 180) for n in range(100)])
    path = corrupted(whole, tmp_path / "hurt.ts", 0.45, 0.5)
    with decode_video(path) as frames:
        shown = [f.time_seconds for f in frames]
        assert frames.problems.errors
        assert 1.0 < frames.problems.first_seconds < 3.0
    assert shown[-1] == pytest.approx(3.96, abs=0.05)


# Threads


def decoding() -> set[threading.Thread]:
    """The threads that decode; others may come and go meanwhile."""
    return {thread for thread in threading.enumerate() if thread.name == "decode"}


def test_leaving_early_ends_the_decoding_thread(clip):
    before = decoding()
    with decode_video(clip) as frames:
        for _ in frames:
            break
        assert decoding() - before
    assert not decoding() - before
    frames = iter(decode_video(clip))
    next(frames)
    assert decoding() - before
    del frames
    gc.collect()
    assert not decoding() - before
