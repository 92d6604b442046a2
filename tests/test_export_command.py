"""`longtake export`, and `--export` of searches, as a user meets them."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import talks
from clips import corrupted, noise_picture, write_clip

from cli.main import main
from index.pieces import Piece, PieceBook, recordings_folder
from index.schema import Epoch, FileStat, Moment, Segment, Video
from ingest.segment_frames import Recording
from ingest.thumbnails import Thumbnails
from rag.export.cuts import _recorded

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).resolve().parents[1]
WORDS = ((1.0, 3.0, "The keeper wound the clockwork."), (5.0, 7.0, "The lamp burns steadily."))


def put_film(library, path: Path, words=WORDS, **options) -> None:
    write_clip(path, [noise_picture(n // 25) for n in range(200)], key_frame_every=50, **options)
    video = talks.make_video(path.stem, 8.0)
    video = replace(video, files=(FileStat(str(path), 1, 1, 1),))
    library.put_video(video)
    talks.put_channel(library, video, "speech", words)


@pytest.fixture
def films(tmp_path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    library = talks.open_library_at(tmp_path / "library")
    put_film(library, folder / "lighthouse.mp4", audio_seconds=8)
    put_film(library, folder / "tides.mkv", ((2.0, 4.0, "The lamp of the harbour."),))
    library.store.close()
    return folder


def test_a_moment_of_no_video_is_named(run):
    status, _, err = run(
        "export", "-o", "x/", stdin='{"video_id": "nosuch", "start_seconds": 1, "end_seconds": 2}'
    )
    assert status == 1 and "No video “nosuch”" in err


def test_names_differ_in_more_than_case(films, run, tmp_path):
    """Some file systems know no case."""
    library = talks.open_library_at(tmp_path / "library")
    (films / "more").mkdir()
    put_film(library, films / "more" / "Tides.mkv", ((2.0, 4.0, "The lamp at sea."),))
    library.store.close()
    _, found, _ = run("search", "lamp", "--json")
    assert run("export", "--format", "srt", "-o", "hits/", stdin=found)[0] == 0
    names = {path.name.casefold() for path in Path("hits").iterdir()}
    assert len(names) == 3


@pytest.fixture
def run(films, tmp_path, capfd, monkeypatch):
    """run(*arguments, stdin="") -> (exit status, stdout, stderr), in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run_(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        status = main([*arguments, "--library", str(tmp_path / "library")])
        return status, *capfd.readouterr()

    return run_


def test_a_span_becomes_a_clip_in_this_folder(run):
    status, out, err = run("export", "lighthouse", "--span", "0:03-0:04.6")
    name = "lighthouse-00.00.03.000-00.00.04.600.mp4"
    assert (status, err) == (0, "")
    assert out == f"{name}  0:02–0:04.6  copied\n"  # from the key frame before
    assert os.listdir() == [name]


def test_json_tells_what_is_in_a_clip_and_what_was_asked_for(run):
    status, out, _ = run("export", "tides", "--span", "3-4.6", "-o", "new/clips/", "--json")
    record = json.loads(out)
    assert status == 0 and Path(record["path"]).parent == Path("new/clips")
    assert (record["start_seconds"], record["end_seconds"]) == (2.0, 4.6)
    assert (record["asked_start_seconds"], record["asked_end_seconds"]) == (3.0, 4.6)
    assert record["encoded"] == [] and record["notes"] == []
    status, out, _ = run(
        *("export", "tides", "--span", "3-4.6", "-o", "new/clips", "--json", "--exact", "--force")
    )
    record = json.loads(out)
    assert status == 0 and record["start_seconds"] == 3.0 and record["encoded"] == ["h264 to h264"]


def test_a_clip_may_have_a_name(run):
    assert run("export", "tides", "--span", "3-4", "-o", "my.mp4")[0] == 0
    status, _, err = run("export", "tides", "--span", "3-4", "-o", "my.webm")
    assert status == 1 and "becomes .mp4, not .webm" in err
    status, _, err = run("export", "tides", "--span", "3-4", "--span", "5-6", "-o", "two.mp4")
    assert status == 2 and "is one clip, not 2" in err
    assert os.listdir() == ["my.mp4"]


def test_what_a_search_finds_is_piped_in(run):
    _, moments, _ = run("search", "lamp", "--json")
    status, out, err = run("export", "--format", "csv", stdin=moments)
    assert (status, err) == (0, "")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["tides", "lighthouse"]
    status, out, _ = run("export", "--format", "jsonl", stdin=moments)
    assert [json.loads(line)["text"] for line in out.splitlines()] == [
        "The lamp of the harbour.",
        "The lamp burns steadily.",
    ]
    assert run("export", "--format", "jsonl", stdin=out)[1] == out
    _, grouped, _ = run("search", "lamp", "--json", "--group-by", "video")
    assert run("export", "--format", "jsonl", stdin=grouped)[1] == out


def test_a_search_exports_and_still_prints(run):
    exports = ["hits.html", "hits.edl", "hits.otio", "clips/"]
    status, out, err = run("search", "lamp", *(part for e in exports for part in ("--export", e)))
    assert status == 0 and out == run("search", "lamp")[1]
    assert "hits.html: 2 moments" in err
    assert sorted(os.listdir()) == ["clips", "hits.edl", "hits.html", "hits.otio"]
    assert len(os.listdir("clips")) == 2
    page = Path("hits.html").read_text(encoding="utf-8")
    assert "<title>lamp</title>" in page and "<mark>lamp</mark>" in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert Path("hits.edl").read_text().startswith("TITLE: lamp\nFCM: NON-DROP FRAME\n")
    status, out, err = run("search", "lamp", "--export", "hits.edl")
    assert (status, out) == (1, "") and "is there already" in err
    assert run("search", "helicopter", "--export", "none.csv")[0] == 0
    assert not Path("none.csv").exists()


def test_formats_of_one_video_make_a_file_each(run):
    _, moments, _ = run("search", "lamp", "--json")
    status, _, err = run("export", "-o", "hits.srt", stdin=moments)
    assert status == 2 and "of 2 videos" in err and "-o hits/" in err
    status, _, err = run("export", "--format", "ffmetadata", "-o", "hits/", stdin=moments)
    assert status == 0
    assert sorted(os.listdir("hits")) == ["lighthouse.ffmetadata", "tides.ffmetadata"]
    assert "title=The lamp of the harbour." in Path("hits/tides.ffmetadata").read_text()
    Path("hits/tides.ffmetadata").unlink()
    status, _, err = run("export", "--format", "ffmetadata", "-o", "hits/", stdin=moments)
    assert status == 1 and "lighthouse.ffmetadata is there already" in err
    assert Path("hits/tides.ffmetadata").exists()  # the others are written
    _, of_one, _ = run("search", "lamp", "--json", "--video", "tides")
    status, out, _ = run("export", "--format", "vtt", stdin=of_one)
    assert out == "WEBVTT\n\n1\n00:00:02.000 --> 00:00:04.000\nThe lamp of the harbour.\n\n"


def test_one_bad_moment_is_said_and_the_rest_goes_on(run, films):
    _, moments, _ = run("search", "lamp", "--json")
    (films / "tides.mkv").unlink()
    status, out, err = run("export", "-o", "clips/", stdin=moments)
    assert status == 1 and err.count("\n") == 1 and "tides.mkv: is not there" in err
    assert out.startswith("clips/lighthouse-")
    status, out, err = run("export", "--format", "csv", stdin=moments)
    assert status == 1 and len(out.splitlines()) == 3  # what is known is written
    status, _, err = run("export", "lighthouse", "--span", "1-2", "--span", "9-10")
    assert status == 1 and "8.000 s long" in err and len(os.listdir()) == 2


def test_a_page_has_kept_pictures_or_says_that_it_has_none(run, films, tmp_path):
    _, moments, _ = run("search", "lamp", "--json")
    for film in films.iterdir():
        whole = film.rename(film.with_name("whole"))
        corrupted(whole, film, 0.05, 1.0)
        whole.unlink()
    status, _, err = run("export", "-o", "none.html", stdin=moments)
    assert status == 1
    assert "lighthouse.mp4: begins like a MP4" in err
    assert "tides.mkv: no picture can be decoded at 0:02–0:04." in err
    page = Path("none.html").read_text(encoding="utf-8")
    assert page.count(">no picture<") == 2
    video = talks.make_video("lighthouse")
    (tmp_path / "library" / "thumbnails").mkdir(exist_ok=True)
    thumbnails = Thumbnails(tmp_path / "library" / "thumbnails")
    thumbnails.write(Segment(video.id, 0, "", 0.0, 8.0), b"kept")
    run("export", "-o", "kept.html", stdin=moments)
    assert "data:image/jpeg;base64,a2VwdA==" in Path("kept.html").read_text(encoding="utf-8")


def test_a_video_is_never_overwritten(run, films):
    before = (films / "lighthouse.mp4").read_bytes()
    arguments = ("export", "lighthouse", "--span", "2-4", "--force", "-o")
    for more in ((), ("--format", "csv"), ("--exact",)):
        status, _, err = run(*arguments, str(films / "lighthouse.mp4"), *more)
        assert status == 1 and "a video of the library" in err
        status, _, err = run(
            "export", "tides", *arguments[2:], str(films / "lighthouse.mp4"), *more
        )
        assert status == 1 and "a video of the library" in err
    assert (films / "lighthouse.mp4").read_bytes() == before


def test_highlights_are_moments_too(run):
    status, line, _ = run("highlights", "lighthouse", "clockwork", "--json")
    (found,) = json.loads(line)["highlights"]
    status, out, err = run("export", "--format", "jsonl", stdin=line)
    assert (status, err) == (0, "")
    (moment,) = [json.loads(each) for each in out.splitlines()]
    assert moment["title"] == "lighthouse" and moment["text"] == found["text"]
    assert moment["channel"] == "speech" and moment["path"].endswith("lighthouse.mp4")
    assert moment["start_seconds"] == pytest.approx(found["start_seconds"], abs=0.04)


def test_a_moment_before_the_beginning_is_none(run):
    line = {"video_id": "x", "start_seconds": -5, "end_seconds": -2}
    status, out, err = run("export", "--format", "csv", stdin=json.dumps(line))
    assert (status, out) == (2, "") and "it lasts from -5.0 to -2.0" in err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("tides",), "--span"),
        (("--span", "1-2"), "needs the video"),
        (("tides", "--span", "2-1"), "ends before"),
        (("tides", "--span", "1-2", "-o", "x.doc"), ".srt"),
        (("tides", "--span", "1-2", "--format", "doc"), "Known: clips"),
        (("tides", "--span", "1-2", "-o", ""), "-o needs"),
        (("tides", "--span", "1-2", "-o", "-"), "--format"),
        (("tides", "--span", "1-2", "-o", "-", "--format", "clips"), "standard output"),
        (("tides", "--span", "1-2", "-o", ".", "--format", "csv"), "is a folder"),
        (("tides", "--span", "1-2", "--exact", "--format", "csv"), "--exact is for clips"),
        (("tides", "--span", "1-2", "--json", "--format", "csv"), "name a file"),
    ],
)
def test_wrong_usage_is_said_and_nothing_is_written(run, arguments, said):
    status, out, err = run("export", *arguments)
    assert (status, out) == (2, "") and said in err and err.count("\n") == 1
    assert os.listdir() == []


def test_nothing_to_export_is_no_failure(run):
    assert run("export", "-o", "x.csv") == (0, "", "Nothing to export.\n")
    status, _, err = run("export", "-o", "x.csv", stdin="what?\n")
    assert status == 2 and "Line 1 of standard input" in err
    assert run("export", "nosuch", "--span", "1-2")[0] == 1
    assert os.listdir() == []


def test_names_of_files_are_such_as_every_system_takes(run, tmp_path):
    library = talks.open_library_at(tmp_path / "library")
    odd = tmp_path / "films" / ('-a "b" <c>?*|:\\' + "ü" * 80 + ".mp4")
    put_film(library, odd)
    other = tmp_path / "films" / "other"
    other.mkdir()
    put_film(library, other / "tides.mp4")
    again = talks.make_video("again", 8.0)
    library.put_video(replace(again, files=(FileStat(str(other / "tides.mp4"), 1, 1, 1),)))
    library.store.close()
    assert run("export", str(odd), "--span", "1-2")[0] == 0
    (name,) = os.listdir()
    assert name.startswith("a _b_ _c______ü") and len(name.encode()) < 170
    lines = [
        json.dumps({"video_id": talks.make_video(title).id, "start_seconds": 1, "end_seconds": 2})
        for title in ("tides", "again")
    ]
    status, _, _ = run("export", "-o", "same/", stdin="\n".join(lines))
    assert status == 0 and len(os.listdir("same")) == 2


@pytest.mark.parametrize("indexed", [True, False])
def test_subtitles_of_a_video_are_never_replaced(run, films, tmp_path, indexed):
    """Those that were read, and such as were put beside it since."""
    place = films / ("tides.en.srt" if not indexed else "lent.srt")
    place.write_text("1\n00:00:01,000 --> 00:00:02,000\nMine.\n")
    if indexed:
        library = talks.open_library_at(tmp_path / "library")
        video = library.find("tides")
        library.put_video(replace(video, sidecars=(FileStat(str(place), 1, 1, 1),)))
        library.store.close()
    before = place.read_bytes()
    status, _, err = run("export", "lighthouse", "--span", "1-2", "--force", "-o", str(place))
    assert status == 1 and "has the subtitles of “tides”" in err
    assert place.read_bytes() == before
    other = films / "hits.srt"
    other.write_text("old")
    assert run("export", "tides", "--span", "1-2", "--force", "-o", str(other))[0] == 0
    assert "-->" in other.read_text()


def test_what_was_recorded_of_a_live_source_is_never_replaced(run, tmp_path):
    folder = recordings_folder(tmp_path / "library", "pier")
    folder.mkdir(parents=True)
    place = folder / "000000.mkv"
    place.write_bytes(b"recorded")
    for where in (place, folder / "000000.srt"):
        where.write_bytes(b"recorded")
        status, _, err = run("export", "lighthouse", "--span", "1-2", "--force", "-o", str(where))
        assert status == 1 and "recordings" in err and where.read_bytes() == b"recorded"


def test_a_reader_that_goes_away_is_no_matter(films, tmp_path):
    command = [sys.executable, "-m", "cli.main", "export", "tides", "--span", "1-2"]
    command += ["--format", "html", "--library", str(tmp_path / "library")]
    done = subprocess.run(
        f"{shlex.join(command)} | head -c 10",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("<!doctype") and done.stderr == ""


def test_what_was_recorded_of_a_live_source_is_cut_out_of_its_pieces(run, tmp_path):
    """With the times of each piece, which is the file that players and editors have."""
    library = talks.open_library_at(tmp_path / "library")
    video = Video("camera", "Camera", source="tcp://x", duration_seconds=None)
    video = replace(video, epochs=(Epoch(0, 0.0, 1_000_000.0),))
    library.put_video(video)
    talks.put_channel(library, video, "speech", ((105.0, 109.0, "The gate is opened again."),))
    book = PieceBook(library.store)
    folder = recordings_folder(tmp_path / "library", video.id)
    folder.mkdir(parents=True)
    for name, start in (("1", 100.0), ("2", 108.0)):
        pictures = [noise_picture(at // 25) for at in range(200)]
        write_clip(folder / f"{name}.mkv", pictures, key_frame_every=25)
        book.put_piece(Piece(video.id, 0, f"{name}.mkv", start, start + 8.0))
    library.put_video(Video("silent", "Silent", source="tcp://y"))
    library.store.close()

    status, out, err = run("export", "Camera", "--span", "1:47-1:49", "-o", "clips/", "--json")
    assert (status, err) == (0, "")
    cut = [json.loads(line) for line in out.splitlines()]
    asked = [(one["asked_start_seconds"], one["asked_end_seconds"]) for one in cut]
    assert asked == [(7.0, 8.0), (0.0, 1.0)]
    overlapping = Recording(((Path("a"), 0.0, 10.0), (Path("b"), 4.0, 20.0)))
    moment = Moment("m", 0, "", None, 6.0, 12.0, 1.0, "speech")
    parts = [(one.path, one.start_seconds, one.end_seconds)
             for one in _recorded(moment, lambda _: overlapping)]  # fmt: skip
    assert parts == [("a", 6.0, 10.0), ("b", 6.0, 8.0)]
    names = [Path(one["path"]).name for one in cut]
    assert names[0].startswith("Camera-1-00.00.07") and names[1].startswith("Camera-2-00.00.00")
    status, out, err = run("search", "gate", "--export", "hits.csv")
    assert status == 0, err
    rows = Path("hits.csv").read_text().splitlines()
    assert len(rows) == 3 and "1.mkv" in rows[1] and "2.mkv" in rows[2]
    status, out, err = run("export", "Camera", "--span", "1:47-1:48", "-o", "one.srt")
    assert status == 0 and "00:00:07,000 --> 00:00:08,000" in Path("one.srt").read_text()
    status, _, err = run("export", "Silent", "--span", "1-2", "-o", "none/")
    assert status == 1 and "was not recorded" in err
    status, _, err = run("export", "Camera", "--span", "1-2", "-o", "none/")  # before the first
    assert status == 1 and "was not recorded" in err
