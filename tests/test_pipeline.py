"""What a run leaves in the library: segments with titles and pictures; a channel added later."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import noise_picture, text_picture, write_clip
from dump import dump

import ingest.estimate
from cli.main import main
from index.access import open_store
from index.library import Library
from ingest.picture_pass import PicturePass

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [(0.0, 4.0, "Setting out"), (4.0, 12.0, "At sea")]
NO_RESERVE = ("--set", "index.reserve_bytes=0")


@pytest.fixture
def film(tmp_path):
    """12 s: three scenes of 4 s, two chapters."""
    path = tmp_path / "films" / "voyage.mp4"
    path.parent.mkdir()
    scenes = [
        *[text_picture("LOG BOOK")] * 40,
        *[noise_picture(1, 320, 180)] * 40,
        *[noise_picture(2, 320, 180)] * 40,
    ]
    write_clip(path, scenes, rate=10, chapters=CHAPTERS, key_frame_every=20)
    return path


def index(film, library, *options):
    return main(["index", str(film), "--library", str(library), *NO_RESERVE, *options])


@pytest.fixture
def opened(tmp_path):
    """Opens the test's library for a look, as often as asked."""
    stores = []

    def look():
        while stores:
            stores.pop().close()
        stores.append(open_store(tmp_path / "library"))
        return Library(stores[-1])

    yield look
    while stores:
        stores.pop().close()


def close(library):
    library.store.close()


def test_segments_follow_cuts_and_chapters_and_each_has_a_picture(film, tmp_path, opened):
    assert index(film, tmp_path / "library", "--channels", "fingerprint") == 0
    library = opened()
    (video,) = library.videos()
    segments = library.segments(video.id)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [(0, 4), (4, 8), (8, 12)]
    assert [s.title for s in segments] == ["Setting out", "At sea", "At sea"]
    pictures = sorted((tmp_path / "library" / "thumbnails" / video.id).iterdir())
    assert {p.name for p in pictures} == {"0.jpg", "4000000.jpg", "8000000.jpg"}
    assert all(p.read_bytes().startswith(b"\xff\xd8") for p in pictures)
    close(library)

    assert main(["rm", "voyage", "--yes", "--library", str(tmp_path / "library")]) == 0
    assert not (tmp_path / "library" / "thumbnails" / video.id).exists()


def test_a_channel_added_later_leaves_the_others_as_they_are(film, tmp_path, opened):
    library_path = tmp_path / "library"
    assert index(film, library_path, "--channels", "fingerprint") == 0
    library = opened()
    (video,) = library.videos()
    before = {e.id for e in library.evidence(video.id, channel=("shot", "fingerprint"))}
    close(library)

    assert index(film, library_path) == 0
    library = opened()
    after = {e.id for e in library.evidence(video.id, channel=("shot", "fingerprint"))}
    assert after == before
    assert [e.text for e in library.evidence(video.id, channel="screen_text")] == ["LOG BOOK"]
    shares = library.coverage(library.video(video.id), library.generations(video.id))
    assert shares == {"shot": 1.0, "speech": 1.0, "screen_text": 1.0, "fingerprint": 1.0}
    close(library)


def test_a_setting_changed_runs_what_hangs_on_it_anew_and_nothing_else(film, tmp_path, opened):
    library_path = tmp_path / "library"
    assert index(film, library_path) == 0
    library = opened()
    (video,) = library.videos()
    before = {g.channel: g.id for g in library.generations(video.id)}
    close(library)

    assert index(film, library_path, "--set", "channels.fingerprint.still_distance=20") == 0
    library = opened()
    after = {g.channel: g.id for g in library.generations(video.id)}
    assert {name for name in before if before[name] != after[name]} == {"fingerprint"}
    held = {e.generation for e in library.evidence(video.id)}
    assert held <= set(after.values())
    close(library)


def test_one_channel_anew_finds_the_same_without_looking_for_cuts(film, tmp_path, monkeypatch):
    library = tmp_path / "library"
    assert index(film, library) == 0
    before = dump(library)

    def look(*_):
        raise AssertionError("the cuts are known")

    monkeypatch.setattr("ingest.picture_events.small_bgr", look)
    for channel in ("fingerprint", "screen_text"):
        again = ("--channel", channel, "--library", str(library), *NO_RESERVE)
        assert main(["reindex", *again]) == 0
    after = dump(library)
    assert contents(after) == contents(before)
    assert not after.keys() >= before.keys()  # generations of their own


def contents(points):
    """What was found, without which generation it belongs to."""
    return sorted(
        (p["kind"], p.get("channel", ""), p.get("start_us", -1), p.get("end_us", -1), p.get("text"))
        for p, _ in points.values()
        if p["kind"] in ("evidence", "segment", "passage")
    )


class _Killed(BaseException):
    pass


def moving(seconds, seed, still):
    """10 pictures a second of a scene that swings, but in `still` spans of seconds."""
    scene, at = noise_picture(seed, 240, 120), 0
    for tick in range(10 * seconds):
        if not any(start <= tick / 10 < end for start, end in still):
            at += 1
        left = round(40 + 40 * np.sin(at / 6))
        yield scene[30:90, left : left + 80]


@pytest.mark.parametrize("detector", ["adaptive", "content", "threshold"])
def test_long_shots_are_cut_where_it_is_calm_also_after_a_kill(detector, tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    black = [np.zeros((60, 80, 3), np.uint8)] * 11
    pictures = [*moving(20, 1, [(4, 7), (10, 13)]), *black, *moving(5, 2, [])]
    write_clip(path, pictures, rate=10, key_frame_every=15)
    options = (
        *("--channels", "fingerprint", "--set", f"ingest.shots.detector={detector}"),
        *("--set", "ingest.segments.max_seconds=8", "--set", "ingest.commit_seconds=0"),
    )
    pushes, killed_at = [], set()
    maybe_commit = PicturePass._maybe_commit

    def dying(self):
        pushes.append(None)
        if len(pushes) % 5 == 0:
            maybe_commit(self)
        if len(pushes) in killed_at:
            raise _Killed

    monkeypatch.setattr(PicturePass, "_maybe_commit", dying)
    assert index(path, tmp_path / "whole", *options) == 0
    whole = dump(tmp_path / "whole")
    starts = sorted(p["start_seconds"] for p, _ in whole.values() if p["kind"] == "segment")
    assert 5 <= starts[1] <= 6 and 11 <= starts[2] <= 12
    assert any(20 <= start <= 21.2 for start in starts)

    for kill in (21, 31, 22):
        pushes.clear()
        killed_at = {kill}
        with pytest.raises(_Killed):
            index(path, tmp_path / "library", *options)
    killed_at = set()
    assert index(path, tmp_path / "library", *options) == 0
    assert dump(tmp_path / "library") == whole


GROWING = """
from ingest.estimate import peak_bytes
from ingest.work import Spent
spent = Spent(peak_bytes)
with spent.growing("frame"):
    loaded = b"x" * (64 << 20)
with spent.on("frame"):
    pass
with spent.on("object"):
    also = b"x" * (32 << 20)
print(*(spent.grown_bytes[stage] >> 20 for stage in ("frame", "object")), peak_bytes() >> 20)
"""


def test_memory_counts_for_the_stage_that_took_it():
    done = subprocess.run(
        [sys.executable, "-c", GROWING], cwd=ROOT, capture_output=True, text=True, check=True
    )
    frame, object, peak = map(int, done.stdout.split())
    assert 60 <= frame <= 70 and 30 <= object <= 38
    assert peak >= frame + object


def test_what_a_file_costs_once_is_not_estimated_for_each_second_of_it(film, tmp_path, monkeypatch):
    """An excerpt of five seconds has the opening and the last commits of a whole film."""
    tried = []
    seconds = ingest.estimate._seconds
    monkeypatch.setattr(
        ingest.estimate, "_seconds", lambda all, *of: tried.extend(all) or seconds(all, *of)
    )
    arguments = ("estimate", str(film), "--library", str(tmp_path / "library"), *NO_RESERVE)
    # However slow the machine is, no commit but the last ones falls into the excerpt.
    assert (
        main([*arguments, "--channels", "fingerprint", "--set", "ingest.commit_seconds=600"]) == 0
    )
    (one,) = tried
    assert one.first_seconds["commits"] == one.seconds["commits"] > 0
    assert 0 < one.first_seconds["pictures"] < one.seconds["pictures"]
