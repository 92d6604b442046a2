"""Searching by a clip: copies are found wherever they are, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import DATA, film, panning, solid, write_clip
from talks import put_channel

from cli.main import main
from index.access import open_store
from index.errors import MediaError, UsageError, VideoNotFoundError
from index.library import Library
from index.schema import Generation, Space
from ingest.decode import decode_video
from ingest.frames import picture
from ingest.stretch import Stretch
from rag.align import Alignment, Track
from rag.clips import split
from rag.footage import FootageFind, _joined
from rag.hough import Line
from rag.retrieve import Retriever
from rag.vectors import QueryEncoders

pytestmark = pytest.mark.usefixtures("own_places")

RATE = 12
Shots = Sequence[tuple[float, Callable[[float], np.ndarray]]]

VOYAGE: Shots = [(length, panning(n)) for n, length in enumerate([4, 7, 5, 9, 6, 8, 5, 7, 9])]
"""60 s, shots 0 to 8."""
RETURN: Shots = [(6, panning(20)), (8, panning(5)), (9, panning(21)), (5, panning(2)),
                 (7, panning(22)), (8, panning(5)), (6, panning(23))]  # fmt: skip
"""Another film, with shots of the first: number 5 at 6 s and at 35 s, number 2 at 23 s."""
OTHER: Shots = [(5, panning(n)) for n in range(40, 48)]


def index(library: Path, *paths: Path) -> None:
    given = ["index", *map(str, paths), "--library", str(library), "--channels", "fingerprint"]
    assert main([*given, "--set", "index.reserve_bytes=0"]) == 0


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, shots in (("voyage", VOYAGE), ("return", RETURN)):
        film(folder / f"{name}.mp4", shots, rate=RATE)
    return folder


@pytest.fixture(scope="module")
def indexed(films, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("indexed") / "library"
    index(path, films)
    return path


@pytest.fixture
def library(indexed):
    store = open_store(indexed)
    yield Library(store)
    store.close()


def shots_between(shots: Shots, start: float, end: float) -> list[np.ndarray]:
    pictures = [draw(n / RATE) for length, draw in shots for n in range(round(length * RATE))]
    return pictures[round(start * RATE) : round(end * RATE)]


def copy(path: Path, pictures: Sequence[np.ndarray], speed: float = 1.0) -> Path:
    """Encoded anew, and played that much faster."""
    times = [n / RATE / speed for n in range(len(pictures))]
    return write_clip(path, pictures, rate=RATE, times=times)


def found(library: Library, clip: Path | str, **options) -> list[tuple[str, float, float]]:
    moments = Retriever(library).search(clip=str(clip), **options).moments
    return [(m.title, m.start_seconds, m.end_seconds) for m in moments]


def cropped(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def crop(image: np.ndarray) -> np.ndarray:
        dy, dx = (round(side * share / 2) for side in image.shape[:2])
        part = image[dy : image.shape[0] - dy, dx : image.shape[1] - dx]
        return cv2.resize(part, (160, 90))

    return crop


def recompressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "recompressed": recompressed,
    "half size": lambda image: cv2.resize(image, (80, 46), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (320, 180)),
    "brighter": lambda image: cv2.convertScaleAbs(image, beta=25),
    "5% cut off": cropped(0.05),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


@pytest.mark.parametrize("alter", COPIES.values(), ids=COPIES)
def test_a_copy_is_found_where_it_was_taken_from(library, tmp_path, alter, request):
    pictures = [alter(image) for image in shots_between(VOYAGE, 13, 27)]
    clip = copy(tmp_path / "copy.mp4", pictures)
    result = Retriever(library).search(clip=str(clip))
    best = result.moments[0]
    assert (best.title, best.channel) == ("voyage", "fingerprint")
    assert (best.start_seconds, best.end_seconds) == pytest.approx((13, 27), abs=0.6)
    assert (best.clip.start_seconds, best.clip.end_seconds) == pytest.approx((0, 14), abs=0.6)
    assert best.clip.speed == pytest.approx(1.0, abs=0.03)
    assert best.clip.mirrored == ("mirrored" in request.node.name)
    assert best.text.endswith("same footage")
    assert {m.title for m in result.moments[1:]} <= {"return"}  # which has one of the shots


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_a_clip_that_runs_faster_or_slower_is_found_with_its_speed(library, tmp_path, speed):
    clip = copy(tmp_path / "copy.mp4", shots_between(VOYAGE, 20, 45), speed)
    best = Retriever(library).search(clip=str(clip)).moments[0]
    assert best.title == "voyage"
    assert (best.start_seconds, best.end_seconds) == pytest.approx((20, 45), abs=0.8)
    assert best.clip.speed == pytest.approx(speed, abs=0.02)
    assert best.clip.end_seconds == pytest.approx(25 / speed, abs=0.8)


def test_a_different_film_is_not_found_and_its_nearest_misses_are_told(library, tmp_path):
    def faintly(t: float) -> np.ndarray:
        return np.uint8(0.4 * panning(5)(t) + 0.6 * panning(60)(t))

    strange = film(tmp_path / "strange.mp4", OTHER, rate=RATE)
    result = Retriever(library).search(clip=str(strange), explain=True)
    assert result.moments == result.dropped == ()

    near = film(tmp_path / "near.mp4", [*OTHER[:4], (3, faintly), *OTHER[4:]], rate=RATE)
    result = Retriever(library).search(clip=str(near), explain=True)
    assert result.moments == ()
    assert result.dropped
    assert all("too little in common" in dropped.reason for dropped in result.dropped)


def test_every_place_is_found_each_with_its_part_of_the_clip(library, tmp_path):
    """Of a clip made of other things and two shots, one of which the other film shows twice."""
    pictures = [*shots_between(OTHER, 0, 6), *shots_between(VOYAGE, 31, 39),
                *shots_between(OTHER, 10, 14), *shots_between(VOYAGE, 11, 16)]  # fmt: skip
    clip = copy(tmp_path / "compilation.mp4", pictures)
    moments = Retriever(library).search(clip=str(clip)).moments
    wanted = {
        ("voyage", 31, 39, 6, 14), ("voyage", 11, 16, 18, 23), ("return", 6, 14, 6, 14),
        ("return", 35, 43, 6, 14), ("return", 23, 28, 18, 23),
    }  # fmt: skip
    got = {
        (m.title, *map(round, (m.start_seconds, m.end_seconds)),
         *map(round, (m.clip.start_seconds, m.clip.end_seconds)))
        for m in moments
    }  # fmt: skip
    assert got == wanted


def test_a_stretch_of_a_video_of_the_library_is_found_elsewhere_and_not_where_it_is(library, films):
    assert [place[0] for place in found(library, "voyage@31-39")] == ["return", "return"]
    for named in ("voyage@0:31-0:39", f"{films / 'voyage.mp4'}@31-39"):
        assert sorted(round(start) for _, start, _ in found(library, named)) == [6, 35]
    places = found(library, "return.mp4@0:06-0:14")
    assert sorted((title, round(start)) for title, start, _ in places) == [
        ("return", 35), ("voyage", 31),
    ]  # fmt: skip
    assert found(library, "voyage@0-10") == []


def test_only_the_asked_videos(library):
    assert found(library, "voyage@31-39", videos=["voyage"]) == []
    assert len(found(library, "voyage@31-39", videos=["return"])) == 2
    assert found(library, "voyage@31-39", channels=["speech"]) == []


def test_a_video_whose_file_is_gone_is_searched_for_by_what_was_indexed(tmp_path):
    for name, shots in (("voyage", VOYAGE), ("return", RETURN)):
        film(tmp_path / f"{name}.mp4", shots, rate=RATE)
    index(tmp_path / "library", tmp_path)
    (tmp_path / "voyage.mp4").unlink()
    store = open_store(tmp_path / "library")
    try:
        result = Retriever(Library(store)).search(clip="voyage@31-39")
        with pytest.raises(UsageError, match="shorter"):
            Retriever(Library(store)).search(clip="voyage@5:00-")
    finally:
        store.close()
    assert "is not there" in result.notes[0]
    assert sorted(round(m.start_seconds) for m in result.moments) == [6, 35]


def test_a_long_clip_is_one_find(tmp_path):
    shots = [(5, panning(100 + n)) for n in range(36)]
    film(tmp_path / "long.mp4", shots, rate=RATE)
    index(tmp_path / "library", tmp_path)
    clip = copy(tmp_path / "copy.mp4", shots_between(shots, 20, 175), speed=1.1)
    store = open_store(tmp_path / "library")
    try:
        (only,) = Retriever(Library(store)).search(clip=str(clip)).moments
    finally:
        store.close()
    assert (only.start_seconds, only.end_seconds) == pytest.approx((20, 175), abs=0.8)
    assert only.clip.speed == pytest.approx(1.1, abs=0.01)
    assert (only.clip.start_seconds, only.clip.end_seconds) == pytest.approx((0, 141), abs=0.8)


def test_two_opinions_of_one_part_are_not_a_longer_find_at_another_speed():
    clip = Track(np.arange(0.0, 20.0, 0.25), np.ones((80, 1), np.float32), 0.0, 20.0)

    def lies(offset: float, until: float) -> Alignment:
        line = Line(1.0, offset)
        return Alignment(offset, offset + until, 0.0, until, line, 1.0, 9.0, 9, 1.0)

    sure, doubtful = lies(200.0, 19.4), lies(200.7, 20.0)
    assert _joined([(clip, sure), (clip, doubtful)]) == [sure, doubtful]
    later = Track(clip.times + 10.0, clip.vectors, 10.0, 30.0)
    goes_on = Alignment(210.1, 230.0, 10.0, 30.0, Line(1.0, 200.1), 1.0, 9.0, 9, 1.0)
    (both,) = _joined([(clip, sure), (later, goes_on)])
    assert (both.start_seconds, both.end_seconds) == (200.0, 230.0)


def test_dark_and_plain_pictures_match_nothing(tmp_path):
    dark, gray = [solid((0, 0, 0))] * 60, [solid((120, 120, 120))] * 60
    write_clip(tmp_path / "dark.mp4", dark + gray, rate=RATE)
    index(tmp_path / "library", tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", gray + dark, rate=RATE)
    store = open_store(tmp_path / "library")
    try:
        result = Retriever(Library(store)).search(clip=str(clip))
    finally:
        store.close()
    assert result.moments == ()
    assert "dark or plain" in result.notes[0]


def test_a_picture_that_stays_is_found_as_long_as_it_is_shown(library, tmp_path):
    still = shots_between(VOYAGE, 18, 19)[:1] * 40
    film(tmp_path / "slides.mp4", [(4, panning(60)), (9, lambda t: still[0]), (4, panning(61))])
    index(tmp_path / "library", tmp_path)
    clip = copy(tmp_path / "still.mp4", [recompressed(image) for image in still])
    store = open_store(tmp_path / "library")
    try:
        (only,) = Retriever(Library(store)).search(clip=str(clip)).moments
    finally:
        store.close()
    assert (only.start_seconds, only.end_seconds) == pytest.approx((4.2, 13.0), abs=0.1)
    assert only.clip.speed is None


class Colours:
    """An encoder that goes by coarse colours, as one that was trained goes by meaning: it knows a
    picture with black bars again."""

    space, size = "frame.colours", 27

    def encode_images(self, images):
        return np.array([self._encode(image) for image in images], np.float32)

    def _encode(self, image: np.ndarray) -> np.ndarray:
        lit = image[image.sum(axis=2) > 30].astype(int)
        places = np.minimum(lit // 86, 2) @ [9, 3, 1]
        counts = np.bincount(places, minlength=27) - len(lit) / 27
        return counts / np.linalg.norm(counts)


def test_vectors_of_frames_find_what_fingerprints_cannot(tmp_path):
    shots: Shots = [(4, panning(200 + n)) for n in range(8)]
    film(tmp_path / "film.mp4", shots, rate=RATE)
    index(tmp_path / "library", tmp_path)
    store = open_store(tmp_path / "library")
    try:
        library, encoder = Library(store), Colours()
        (video,) = library.videos()
        filler = Generation(video.id, 0, "frame", "1")
        library.add_space(Space(encoder.space, "frame", "colours", encoder.size), filler.id)
        times = np.arange(0.2, 32, 1.0)
        pictures = shots_between(shots, 0, 32)
        vectors = encoder.encode_images([pictures[round(t * RATE)] for t in times])
        put_channel(
            library, video, "frame", [(t, t + 1, "") for t in times], language=None,
            vectors=[{encoder.space: vector} for vector in vectors],
        )  # fmt: skip
        barred = [
            cv2.copyMakeBorder(image, 30, 30, 0, 0, cv2.BORDER_CONSTANT)
            for image in shots_between(shots, 8, 20)
        ]
        clip = copy(tmp_path / "barred.mp4", barred)
        assert found(library, clip) == []
        encoders = QueryEncoders(lambda space: None, lambda space: encoder)
        moment = Retriever(library, encoders=encoders).search(clip=str(clip)).moments[0]
    finally:
        store.close()
    assert (moment.channel, moment.text) == ("frame", "similar footage")
    assert (moment.start_seconds, moment.end_seconds) == pytest.approx((8, 20), abs=1.1)


def test_what_is_no_clip_is_told(library, tmp_path):
    search = Retriever(library).search
    with pytest.raises(VideoNotFoundError, match=r"nothing\.mp4.*no file, and no video"):
        search(clip="nothing.mp4")
    with pytest.raises(VideoNotFoundError, match=r"“x-y” a stretch, as in"):
        search(clip="film@x-y")
    with pytest.raises(MediaError, match="is a folder"):
        search(clip=str(tmp_path))
    with pytest.raises(UsageError, match="ends before it begins"):
        search(clip="voyage@0:39-0:31")
    with pytest.raises(UsageError, match="shorter"):
        search(clip="voyage@2:00-2:10")
    with pytest.raises(UsageError, match="lang"):
        search("lang:en", clip="voyage@31-39")
    words = tmp_path / "words.mp4"
    words.write_text("no film")
    with pytest.raises(MediaError, match=r"words\.mp4"):
        search(clip=str(words))


@pytest.mark.parametrize(
    "given, meant",
    [
        ("film.mp4", ("film.mp4", 0.0, None)),
        ("film.mp4@1:02-1:20", ("film.mp4", 62.0, 80.0)),
        ("film.mp4@1:02–1:20.5", ("film.mp4", 62.0, 80.5)),
        ("film.mp4@62-80", ("film.mp4", 62.0, 80.0)),
        ("film.mp4@1:00:00-", ("film.mp4", 3600.0, None)),
        ("film.mp4@-30s", ("film.mp4", 0.0, 30.0)),
        ("me@home.mp4", ("me@home.mp4", 0.0, None)),
        ("me@home.mp4@5-9", ("me@home.mp4", 5.0, 9.0)),
        ("film@2-part.mp4", ("film@2-part.mp4", 0.0, None)),
    ],
)
def test_a_stretch_is_written_behind_the_name(given, meant):
    assert split(given) == meant


@pytest.mark.parametrize("given", ["", " ", "film@1:70-2:00", "film@-", "film@12", "film@1-2-3"])
def test_a_stretch_that_is_none_is_refused(given):
    if given == "film@-":  # a name like any other
        assert split(given) == (given, 0.0, None)
        return
    with pytest.raises(UsageError):
        split(given)


def test_a_file_that_has_such_a_name_is_meant_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film@1-2").touch()
    assert split("film@1-2") == ("film@1-2", 0.0, None)


def test_a_stretch_has_a_picture_at_every_step_also_while_nothing_changes(tmp_path):
    first, second = panning(1)(0.0), panning(2)(0.0)
    path = write_clip(tmp_path / "slow.mp4", [first, second, first], times=[0.0, 1.0, 3.5])
    stretch = Stretch(path, 0.6, 3.0, 0.4)
    times, images = zip(*stretch, strict=True)
    assert times == pytest.approx((0.6, 1.0, 1.4, 1.8, 2.2, 2.6))
    assert images[1] is images[2] is images[5] and images[0] is not images[1]
    assert stretch.end_seconds == 3.0 and stretch.damage is None


def test_the_command_says_where_and_which_part_of_the_clip(indexed, films, tmp_path, capsys):
    clip = copy(tmp_path / "fast.mp4", shots_between(VOYAGE, 20, 45), 1.25)
    given = ["search", "--clip", str(clip), "--library", str(indexed)]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("voyage  0:") and "[fingerprint]" in lines[0]
    assert "of the clip, at 1.25 times the speed" in lines[1]
    assert lines[2].strip() == "same footage"

    assert main([*given, "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert set(first["clip"]) == {"start_seconds", "end_seconds", "speed", "mirrored"}
    assert main([*given, "--explain"]) == 0
    assert "of 256 bits differ; weight" in capsys.readouterr().out
    assert main(["search", "--clip", "", "--library", str(indexed)]) == 2


# Real material

BUNNY = DATA / "video" / "bbb_360p.mp4"


@pytest.fixture(scope="module")
def bunny(tmp_path_factory):
    """Two minutes of the film, and other people's films."""
    if not BUNNY.exists():
        pytest.skip(f"{BUNNY} is not here")
    from ingest.excerpt import copy_excerpt

    folder = tmp_path_factory.mktemp("bunny")
    copy_excerpt(BUNNY, 120.0, 240.0, folder / "bunny.mkv")
    for name in ("odd/sintel_5s.mp4", "odd/flipping_a_pancake.mkv", "torchcodec/nasa_13013.mp4"):
        shutil.copy(DATA / "video" / name, folder)
    index(folder / "library", folder)
    store = open_store(folder / "library")
    yield Library(store), folder / "bunny.mkv"
    store.close()


def real(path: Path, start: float, end: float) -> list[np.ndarray]:
    with decode_video(path, from_seconds=start) as frames:
        pictures = []
        for decoded in frames:
            if decoded.time_seconds >= end:
                break
            if decoded.time_seconds >= start:
                pictures.append(picture(decoded))
    return pictures


@pytest.mark.parametrize(
    "size, share, speed",
    [
        ((640, 360), 0.0, 1.0),
        ((320, 180), 0.0, 1.25),
        ((426, 240), 0.05, 1.0),
        ((640, 360), 0, 0.8),
    ],
    ids=["re-encoded", "half size, faster", "5% cut off", "slower"],
)
def test_copies_of_a_real_film(bunny, tmp_path, size, share, speed):
    library, film = bunny
    pictures = real(film, 30, 50)
    dy, dx = (round(side * share / 2) for side in pictures[0].shape[:2])
    altered = [cv2.resize(i[dy : 360 - dy, dx : 640 - dx], size) for i in pictures]
    times = [n / 24 / speed for n in range(len(altered))]
    clip = write_clip(tmp_path / "clip.mp4", altered, rate=24, times=times)
    best = Retriever(library).search(clip=str(clip)).moments[0]
    assert best.title == "bunny"
    assert (best.start_seconds, best.end_seconds) == pytest.approx((30, 50), abs=1.0)
    assert best.clip.speed == pytest.approx(speed, abs=0.02)


def test_a_real_film_that_is_not_there_is_not_found(bunny):
    library, _ = bunny
    elsewhere = f"{BUNNY}@300-360"
    for clip in (elsewhere, DATA / "video" / "pyscenedetect" / "testvideo.mp4"):
        result = Retriever(library).search(clip=str(clip), explain=True)
        assert result.moments == ()
        finds = [dropped.find for dropped in result.dropped]
        assert all(isinstance(find, FootageFind) for find in finds)
        assert max((find.alignment.weight for find in finds), default=0.0) < 2.0
