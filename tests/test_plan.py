"""What a second run does: nothing where nothing changed, and no more than needed where it did."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from clips import BLUE, GREEN, RED, film, noise_picture, solid, write_clip
from dump import dump

from cli.main import main

QUICK = ("--set", "index.reserve_bytes=0", "--set", "index.ballast_bytes=0")
TWO = ("--channels", "speech,fingerprint")
WORDS = "1\n00:00:00,200 --> 00:00:01,000\nThe lamp is lit at dusk.\n"
OTHER_WORDS = "1\n00:00:00,200 --> 00:00:01,000\nGulls nest on the gallery.\n"


@pytest.fixture(autouse=True)
def own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_LOG", str(tmp_path / "longtake.log"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Three clips of two seconds, each unlike the others."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("one", "two", "three")):
        film(
            folder / f"{name}.mp4",
            [
                (1.0, lambda _, seed=seed: noise_picture(seed)),
                (1.0, lambda _, seed=seed: noise_picture(seed + 10)),
            ],
            rate=10,
        )
    return folder


class Place:
    """A folder of videos, the library made of it, and what the last run said."""

    def __init__(self, folder: Path, library: Path, capfd: pytest.CaptureFixture[str]):
        self.folder = folder
        self.library = library
        self._capfd = capfd

    def index(self, *arguments: str | Path, status: int = 0) -> Counter:
        """How many files came out how: (status, reason) -> number. Without arguments the folder
        is indexed."""
        self._capfd.readouterr()
        paths = [a for a in arguments if isinstance(a, Path)] or [self.folder]
        options = [a for a in arguments if isinstance(a, str)]
        common = ["--library", str(self.library), "--json", *QUICK, *TWO]
        got = main(["index", *map(str, paths), *common, *options])
        out, self.said = self._capfd.readouterr()
        assert got == status, self.said
        self.records = [json.loads(line) for line in out.splitlines()]
        return Counter((record["status"], record["reason"]) for record in self.records)

    def videos(self) -> dict[str, dict]:
        """title -> the record of `ls`."""
        self._capfd.readouterr()
        assert main(["ls", "--library", str(self.library), "--json"]) == 0
        lines = self._capfd.readouterr().out.splitlines()
        return {record["title"]: record for record in map(json.loads, lines)}

    def said_in(self, title: str) -> list[str]:
        """The texts of a video's subtitles."""
        video_id = self.videos()[title]["video_id"]
        return [
            payload["text"]
            for payload, _ in dump(self.library).values()
            if payload["kind"] == "evidence"
            and payload["channel"] == "speech"
            and payload["video_id"] == video_id
        ]

    def as_new(self) -> dict:
        """The content of a library that is made of the folder as it is now."""
        fresh = self.library.with_name("fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        kept, self.library = self.library, fresh
        try:
            self.index()
        finally:
            self.library = kept
        return dump(fresh)


@pytest.fixture
def place(clips, tmp_path, capfd) -> Place:
    folder = tmp_path / "films"
    shutil.copytree(clips, folder)
    return Place(folder, tmp_path / "library", capfd)


@pytest.fixture
def indexed(place) -> Place:
    assert place.index() == {("indexed", "new"): 3}
    return place


def test_a_second_run_does_nothing(indexed):
    before = dump(indexed.library)
    assert indexed.index() == {}
    assert "3 up to date" in indexed.said
    assert dump(indexed.library) == before


def test_a_renamed_and_a_moved_file_cost_nothing(indexed):
    ids = {title: video["video_id"] for title, video in indexed.videos().items()}
    (indexed.folder / "one.mp4").rename(indexed.folder / "first.mp4")
    (indexed.folder / "deep").mkdir()
    (indexed.folder / "two.mp4").rename(indexed.folder / "deep" / "two.mp4")
    assert indexed.index() == {}
    assert "2 moved or copied" in indexed.said
    videos = indexed.videos()
    assert {title: video["video_id"] for title, video in videos.items()} == {
        "first": ids["one"],
        "two": ids["two"],
        "three": ids["three"],
    }
    assert videos["two"]["paths"] == [str(indexed.folder / "deep" / "two.mp4")]


def test_files_that_change_places_cost_nothing(indexed):
    one, two, three = (indexed.folder / f"{n}.mp4" for n in ("one", "two", "three"))
    ids = {video["paths"][0]: video["video_id"] for video in indexed.videos().values()}
    one.rename(indexed.folder / "x")
    two.rename(one)
    three.rename(two)
    (indexed.folder / "x").rename(three)
    assert indexed.index() == {}
    after = {video["paths"][0]: video["video_id"] for video in indexed.videos().values()}
    assert after == {
        str(one): ids[str(two)],
        str(two): ids[str(three)],
        str(three): ids[str(one)],
    }
    assert indexed.index() == {}
    assert "3 up to date" in indexed.said


def test_a_name_given_to_another_film_keeps_the_old_one_where_it_went(indexed):
    """one.mp4 becomes a-archive.mp4 or z-archive.mp4 (met before or after), and a new film takes
    its name."""
    for archive in ("a-archive.mp4", "z-archive.mp4"):
        one = indexed.folder / "one.mp4"
        old = next(v for v in indexed.videos().values() if v["paths"] == [str(one)])
        one.rename(indexed.folder / archive)
        write_clip(one, [solid(RED if archive[0] == "a" else BLUE)] * 10, rate=10)
        assert indexed.index() == {("indexed", "changed"): 1}
        kept = {v["video_id"]: v["paths"] for v in indexed.videos().values()}
        assert kept[old["video_id"]] == [str(indexed.folder / archive)]
        assert indexed.index() == {}


def test_a_changed_file_is_indexed_again_and_its_old_evidence_goes(indexed):
    write_clip(indexed.folder / "one.mp4", [solid(GREEN)] * 30, rate=10)
    assert indexed.index() == {("indexed", "changed"): 1}
    assert dump(indexed.library) == indexed.as_new()


def test_a_touched_file_is_read_but_not_indexed_again(indexed):
    os.utime(indexed.folder / "one.mp4")
    assert indexed.index() == {}
    assert "3 up to date" in indexed.said


def test_sidecars_added_changed_and_removed_reach_the_channel_that_reads_them(indexed):
    sidecar = indexed.folder / "one.en.srt"
    for words, expected in (
        (WORDS, ["The lamp is lit at dusk."]),
        (OTHER_WORDS, ["Gulls nest on the gallery."]),
    ):
        sidecar.write_text(words)
        assert indexed.index() == {("indexed", "subtitles changed"): 1}
        assert indexed.said_in("one") == expected
        assert dump(indexed.library) == indexed.as_new()
    sidecar.unlink()
    assert indexed.index() == {("indexed", "subtitles changed"): 1}
    assert indexed.said_in("one") == []
    assert dump(indexed.library) == indexed.as_new()
    assert indexed.index() == {}


def test_two_paths_with_one_content_are_one_video_until_the_last_goes(place):
    copy = place.folder / "zz copy.mp4"
    shutil.copy(place.folder / "one.mp4", copy)
    assert place.index() == {("indexed", "new"): 3}
    assert "1 moved or copied" in place.said
    assert place.index() == {}
    assert "4 up to date" in place.said
    assert place.videos()["one"]["paths"] == [str(place.folder / "one.mp4"), str(copy)]

    (place.folder / "one.mp4").unlink()
    assert place.index() == {}
    (video,) = [v for v in place.videos().values() if v["paths"] == [str(copy)]]
    copy.unlink()
    assert place.index() == {}
    assert "1 gone and removed" in place.said
    assert video["video_id"] not in {v["video_id"] for v in place.videos().values()}
    assert not (place.library / "thumbnails" / video["video_id"]).exists()
    assert dump(place.library) == place.as_new()


def test_of_two_paths_the_one_with_subtitles_is_read(place):
    shutil.copy(place.folder / "one.mp4", place.folder / "zz copy.mp4")
    (place.folder / "zz copy.en.srt").write_text(WORDS)
    place.index()
    (title,) = [v["title"] for v in place.videos().values() if len(v["paths"]) == 2]
    assert place.said_in(title) == ["The lamp is lit at dusk."]
    (place.folder / "zz copy.mp4").unlink()
    assert place.index() == {("indexed", "subtitles changed"): 1}
    assert place.said_in("one") == []
    assert place.index() == {}


@pytest.fixture
def copies(place) -> tuple[Path, Path]:
    """One film in two folders, with subtitles beside the first; both are indexed."""
    with_words, plain = place.folder / "X" / "film.mp4", place.folder / "Y" / "film.mp4"
    for path in (with_words, plain):
        path.parent.mkdir()
        shutil.copy(place.folder / "one.mp4", path)
    with_words.with_suffix(".srt").write_text(WORDS)
    place.index(with_words, plain)
    assert place.said_in("film") == ["The lamp is lit at dusk."]
    return with_words, plain


def without_generations(content: dict) -> Counter:
    """What is known of each video, whichever run found it out."""
    return Counter(
        (p["kind"], p["video_id"], p.get("channel"), p.get("start_us"), p.get("text"))
        for p, _ in content.values()
    )


@pytest.mark.parametrize("order", [("--force",), (), ("--force", "--force")])
def test_a_copy_that_now_holds_another_film_is_not_read_for_the_first(place, copies, order):
    """The copy that has become another film is not among the files asked for."""
    with_words, plain = copies
    old = place.videos()["film"]["video_id"]
    shutil.copy(place.folder / "two.mp4", with_words)
    for force in order or ("",):
        place.index(plain, *([force] if force else []))
    assert {v["video_id"]: v["paths"] for v in place.videos().values()} == {old: [str(plain)]}
    assert place.said_in("film") == []
    assert place.index(with_words, plain) == {("indexed", "new"): 1}
    assert place.index(with_words, plain) == {}
    after = without_generations(dump(place.library))
    place.library = place.library.with_name("anew")
    place.index(with_words, plain)
    assert after == without_generations(dump(place.library))


def test_a_copy_that_was_only_touched_still_counts(place, copies):
    with_words, plain = copies
    os.utime(with_words)
    assert place.index(plain, "--force") == {("indexed", "forced"): 1}
    assert place.said_in("film") == ["The lamp is lit at dusk."]
    assert place.index(with_words, plain) == {}
    assert "2 up to date" in place.said


def test_a_copy_that_is_lost_from_sight_is_not_read(place, copies):
    with_words, plain = copies
    with_words.write_bytes(b"")
    assert place.index(plain) == {("indexed", "subtitles changed"): 1}
    assert place.said_in("film") == []
    assert place.videos()["film"]["paths"] == [str(plain)]


@pytest.mark.parametrize("commit", ["30", "0"])
@pytest.mark.parametrize("when", ["probe", "speech", "pictures"])
def test_what_is_written_over_while_it_is_read_is_never_kept(
    place, capfd, monkeypatch, when, commit
):
    """Not even where the run commits at every step: the library says nothing of the new content
    under the old one's name."""
    import ingest.batch

    film, set_stage = place.folder / "one.mp4", ingest.batch.Batch._set_stage

    def overwrites(self, job, stage, at_seconds):
        set_stage(self, job, stage, at_seconds)
        if stage == when:
            shutil.copy(place.folder / "two.mp4", film)

    monkeypatch.setattr(ingest.batch.Batch, "_set_stage", overwrites)
    place.index(film, "--set", f"ingest.commit_seconds={commit}", status=1)
    assert "changed while it was being indexed" in place.said
    monkeypatch.undo()
    kept = [payload["kind"] for payload, _ in dump(place.library).values()]
    assert not {"evidence", "segment", "passage"} & set(kept)
    complete = {
        channel
        for video in place.videos().values()
        for channel, share in video["coverage"].items()
        if share
    }
    assert complete <= {"speech"}  # which was read, where the pictures were written over, before
    assert ("speech" in complete) == (when == "pictures")


def test_thumbnails_that_a_killed_run_left_behind_are_swept(indexed):
    left = indexed.library / "thumbnails" / "of-no-video"
    left.mkdir()
    (left / "0.jpg").write_bytes(b"jpeg")
    videos = {video["video_id"] for video in indexed.videos().values()}
    assert indexed.index() == {}
    assert {path.name for path in left.parent.iterdir()} == videos


def test_films_are_found_in_a_library_that_lies_right_among_them(place):
    place.library = place.folder
    assert place.index() == {("indexed", "new"): 3}
    assert place.index() == {}
    assert "3 up to date" in place.said


def test_a_removed_file_goes_with_all_that_is_known_of_it(indexed):
    (indexed.folder / "one.mp4").unlink()
    assert indexed.index() == {}
    assert "1 gone and removed" in indexed.said
    assert dump(indexed.library) == indexed.as_new()


def test_a_removed_folder_goes_too(place):
    (place.folder / "season").mkdir()
    (place.folder / "one.mp4").rename(place.folder / "season" / "one.mp4")
    place.index()
    shutil.rmtree(place.folder / "season")
    assert place.index() == {}
    assert set(place.videos()) == {"two", "three"}


@pytest.mark.parametrize("where", ["", "drive"])
def test_an_unmounted_drive_loses_nothing(place, where):
    """The folder of a drive that is not mounted is there and empty."""
    mount = place.folder / where
    aside = place.folder.with_name("unplugged")
    if where:
        mount.mkdir()
        for name in ("one.mp4", "two.mp4"):
            (place.folder / name).rename(mount / name)
    place.index()
    before = dump(place.library)
    mount.rename(aside)
    mount.mkdir()
    place.index()
    assert "missing" in place.said and "longtake rm" in place.said
    assert "No videos" not in place.said
    assert str(mount) in place.said
    assert dump(place.library) == before
    mount.rmdir()
    aside.rename(mount)
    assert place.index() == {}
    assert dump(place.library) == before


def test_force_makes_everything_anew(indexed):
    def without_revisions(content: dict) -> Counter:
        return Counter(
            (p["kind"], p.get("channel"), p.get("start_us"), p.get("text"))
            for p, _ in content.values()
        )

    before = dump(indexed.library)
    assert indexed.index("--force", indexed.folder / "one.mp4") == {("indexed", "forced"): 1}
    after = dump(indexed.library)
    assert without_revisions(after) == without_revisions(before)
    assert after.keys() != before.keys()
    assert indexed.index() == {}


def test_verify_finds_a_change_that_hides(place):
    """Between the blocks that are sampled, and with the old size, times and inode."""
    large = write_clip(place.folder / "large.mp4", [noise_picture(1)] * 10, rate=10)
    with large.open("ab") as file:  # a "free" box, which players pass over
        file.write((3_000_000).to_bytes(4, "big") + b"free" + bytes(3_000_000 - 8))
    place.index(large)
    assert place.index("--verify", large) == {}  # nobody has read the whole of it before
    status = large.stat()
    with large.open("r+b") as file:
        file.seek(status.st_size - 100_000)
        file.write(b"hidden")
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place.index(large) == {}
    assert place.index("--verify", large) == {("indexed", "changed inside"): 1}
    assert place.index("--verify", large) == {}


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(place):
    assert place.index("--dry-run") == {("planned", "new"): 3}
    assert not place.library.exists()
    place.index()
    before = dump(place.library)
    (place.folder / "one.mp4").unlink()
    write_clip(place.folder / "two.mp4", [solid(BLUE)] * 10, rate=10)
    (place.folder / "three.mp4").rename(place.folder / "3.mp4")
    reasons = place.index("--dry-run")
    assert reasons[("planned", "changed")] == 1
    assert reasons[("planned", "moved or copied, nothing to do")] == 1
    assert reasons[("planned", "gone, would be removed")] == 2
    assert dump(place.library) == before


def test_a_channel_can_come_later(place):
    assert place.index("--channels", "speech") == {("indexed", "new"): 3}
    assert place.index("--channels", "speech") == {}
    assert place.index() == {("indexed", "shot is missing"): 3}
    assert dump(place.library) == place.as_new()


def test_files_worked_on_at_once_give_what_one_after_the_other_does(place):
    (place.folder / "one.en.srt").write_text(WORDS)
    place.index("--jobs", "2")
    assert dump(place.library) == place.as_new()
