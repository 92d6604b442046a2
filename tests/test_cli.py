"""The commands as a user meets them: what is printed where, exit statuses, and odd names."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import talks
from clips import noise_picture, write_clip
from talks import LIGHTHOUSE, TIDES, put_channel, put_video

from cli.main import main
from cli.timeline import timeline
from index.schema import FileStat, Segment

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).resolve().parents[1]
ODD = "tides [red]of\x1b[31m\nthe 潮汐"


def longtake(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def fill(path: Path) -> None:
    library = talks.open_library_at(path)
    video = put_video(library, "Lighthouse", notes=("One stream is damaged.",))
    put_channel(library, video, "speech", LIGHTHOUSE)
    put_channel(library, video, "screen_text", [(13, 16, "CLOCKWORK")], language=None)
    put_channel(library, video, "fingerprint", [], language=None)
    segments = [Segment(video.id, 0, "", 0, 41, "Intro"), Segment(video.id, 0, "", 41, 60)]
    cuts = [(0, 20, ""), (20, 41, ""), (41, 60, "")]
    put_channel(library, video, "shot", cuts, language=None, segments=segments)
    put_channel(library, put_video(library, ODD), "speech", TIDES, analysed_seconds=30.0)
    library.store.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """A library that no test writes to."""
    path = tmp_path_factory.mktemp("filled") / "library"
    fill(path)
    return path


@pytest.fixture
def run(filled, capfd):
    """run(*arguments) -> (exit status, stdout lines, stderr), over the filled library."""

    def run_(*arguments: str, library: Path = filled) -> tuple[int, list[str], str]:
        status = main([*arguments, "--library", str(library)])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err

    return run_


def test_search_prints_where_and_what(run):
    status, lines, err = run("search", "lens")
    assert (status, err) == (0, "")
    assert lines[0].startswith("Lighthouse  0:30–0:34  ") and lines[0].endswith("[speech]")
    assert lines[1] == "  Fresnel invented the lens that made the light reach so far."


def test_search_json_is_one_moment_a_line_and_nothing_else(run):
    status, lines, _ = run("search", "water", "--json")
    moments = [json.loads(line) for line in lines]
    assert status == 0 and {m["title"] for m in moments} == {"Lighthouse", ODD}
    for m in moments:
        assert m["start_seconds"] < m["end_seconds"] and 0 < m["score"] <= 1
        assert m["coverage"] and m["hits"][0]["rank"] >= 1
        start, end = m["highlights"][0]
        assert m["text"][start:end] == "water"


def test_nothing_found_is_said_on_stderr_and_no_failure(run):
    assert run("search", "helicopter") == (0, [], "Nothing found.\n")
    assert run("search", "helicopter", "--json") == (0, [], "Nothing found.\n")


def test_words_need_no_quotes_and_filters_apply(run):
    status, lines, _ = run("search", "light", "lens", "--video", "Lighthouse", "--limit", "1")
    assert status == 0 and lines[0].startswith("Lighthouse  0:30")
    assert run("search", "clockwork", "--channel", "screen_text")[1][1] == "  CLOCKWORK"
    assert run("search", "lens", "--video", ODD)[1] == []


def test_explain_shows_words_ranks_and_scores(run):
    text = "\n".join(run("search", "clockwork", "--explain")[1])
    assert "clockwork: idf" in text
    assert "speech #1" in text and "screen_text #" in text and "BM25" in text
    record = json.loads(run("search", "clockwork", "--explain", "--json")[1][0])
    assert record["explanation"]["finds"][0]["terms"][0]["word"] == "clockwork"


def test_search_groups_by_video(run):
    status, lines, _ = run("search", "--group-by", "video", "stone")
    assert status == 0
    assert lines[0].startswith("Lighthouse  0.") and lines[0].endswith("  1 event")
    assert lines[1].startswith("  0:04.5–0:08") and lines[2] == (
        "    Every stone was carried across the water."
    )
    status, lines, err = run("search", "--group-by", "video", "water", "--json", "--limit", "1")
    (record,) = map(json.loads, lines)
    assert record["title"] == ODD and record["events"] == 1
    assert record["moments"][0]["text"] == "The moon pulls at the water of the ocean."
    assert "1 more" in err
    status, lines, _ = run("search", "--group-by", "video", "water", "--json", "--explain")
    records = [json.loads(line) for line in lines]
    assert records[0]["moments"][0]["explanation"]["finds"] and "terms" in records[-1]["query"]
    status, _, err = run("search", "--group-by", "title", "water")
    assert status == 2 and "--group-by takes video" in err


def test_ask_quotes_with_numbered_sources(run):
    status, lines, _ = run("ask", "Who invented the lens?", "--video", "Lighthouse")
    text = "Fresnel invented the lens that made the light reach so far."
    assert status == 0
    assert lines[0] == f"Lighthouse, 0:30–0:34: “{text}” [1]"
    assert lines[-1] == "[1] Lighthouse  0:30–0:34  [speech]  /films/Lighthouse.mp4"


def test_ask_json_is_the_event_stream(run):
    _, lines, _ = run("ask", "Who invented the lens?", "--json")
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["sources", "token", "token", "citation", "done"]
    assert events[0]["sources"][0]["moment"]["start_seconds"] == 30.0
    assert events[-1]["found"] is True


def test_ask_without_an_answer_says_so_and_admits_what_is_not_indexed_yet(run):
    status, lines, err = run("ask", "What is the capital of France?")
    assert (status, lines) == (0, ["Nothing in these videos answers that."])
    assert "only partly indexed" in err


def test_ls_shows_every_video_on_one_line(run):
    status, lines, err = run("ls")
    assert status == 0 and len(lines) == 2
    assert "1:00  complete" in lines[0] and "Lighthouse  (1 note)" in lines[0]
    assert "speech 50%, screen_text, fingerprint 0%" in lines[1]
    assert "2 videos, 2:00 in all" in err
    records = [json.loads(line) for line in run("ls", "--json")[1]]
    assert [record["title"] for record in records] == ["Lighthouse", ODD]
    assert records[1]["coverage"] == {"speech": 0.5, "screen_text": 0.0, "fingerprint": 0.0}


def test_channels_that_were_never_begun_are_told(run, monkeypatch):
    """They are what the settings in effect enable; sound alone has no pictures to be looked at."""
    monkeypatch.setenv("LONGTAKE_CHANNELS__ENABLED", '["speech", "sound", "caption", "object"]')
    lines = run("ls")[1]
    assert "speech, screen_text, fingerprint 100%, caption, sound 0%" in lines[0]
    assert "speech 50%, caption, sound 0%" in lines[1]
    _, lines, err = run("search", "moon")
    assert lines[0].endswith("(so far: speech 50%, caption, sound 0%)")
    _, lines, err = run("search", "lens")
    assert lines[0].endswith("[speech]")
    assert err == "Not indexed in some of these videos: caption, sound.\n"
    assert run("search", "lens", "--channel", "speech")[2] == ""
    (moment,) = map(json.loads, run("search", "lens", "--json")[1])
    assert moment["coverage"]["caption"] == 0.0 and moment["coverage"]["speech"] == 1.0
    text = "\n".join(run("show", "Lighthouse")[1])
    assert "caption      ░░░░░░░░░░░░░░░░░░░░    0%  0 evidence" in text
    record = json.loads(run("show", "Lighthouse", "--json")[1][0])
    assert record["channels"]["sound"] == {
        "coverage": 0.0, "evidence": 0, "complete": False, "detail": {}
    }  # fmt: skip


def test_videos_of_one_title_are_told_apart_by_their_files(tmp_path, run):
    library = talks.open_library_at(tmp_path / "library")
    for name in ("a/talk.mp4", "b/talk.mp4", "talk.webm"):
        video = replace(
            talks.make_video(name), title="talk", files=(FileStat(f"/films/{name}", 1, 1, 1),)
        )
        library.put_video(video)
        put_channel(library, video, "speech", [(1.0, 2.0, f"Hello from {name}.")])
    library.store.close()
    for command in (("ls",), ("search", "hello")):
        text = "\n".join(run(*command, library=tmp_path / "library")[1])
        for end in ("a/talk.mp4", "b/talk.mp4", "talk.webm"):
            assert f"talk ({end})" in text
    status, _, err = run("show", "talk", library=tmp_path / "library")
    assert status == 2 and "means 3 videos" in err and "(/films/b/talk.mp4)" in err


def test_show_has_streams_coverage_counts_segments_and_a_timeline(run):
    status, lines, _ = run("show", "lighthouse")
    text = "\n".join(lines)
    assert status == 0
    for part in ("#0 video h264 640×360 24 fps", "/films/Lighthouse.mp4", "One stream is damaged."):
        assert part in text
    assert "speech       ████████████████████  100%  6 evidence" in text
    assert "0:00–0:41  Intro" in text
    assert lines[-5].split()[-1] == "1:00"
    cuts, speech, screen, pictures = lines[-4:]
    assert pictures.split()[0] == "fingerprint" and "█" not in pictures
    assert cuts.split()[0] == "cuts" and cuts.count("|") == 3
    assert "█" in speech and "·" in speech
    written = next(at for at, character in enumerate(screen[15:]) if character not in " ·")
    assert written == int(13 / 60 * len(speech[15:]))
    record = json.loads(run("show", "lighthouse", "--json")[1][0])
    assert record["channels"]["speech"] == {
        "coverage": 1.0, "evidence": 6, "complete": True, "detail": {}
    }  # fmt: skip
    assert [segment["title"] for segment in record["segments"]] == ["Intro", None]


def test_the_timeline_shows_where_and_how_far():
    rows = timeline(
        100.0, {"speech": [(0, 10), (50, 55)], "frame": []}, {"speech": 60.0}, [0, 40], 30
    )
    assert rows == [
        "          0:00            1:40",
        "  cuts    |       |",
        "  speech  ██········█·",
        "  frame",
    ]


def test_rm_asks_where_it_can_and_needs_yes_where_it_cannot(tmp_path, run):
    path = tmp_path / "library"
    fill(path)
    status, _, err = run("rm", "Lighthouse", library=path)
    assert status == 2 and "--yes" in err
    assert len(run("ls", library=path)[1]) == 2
    thumbnail = path / "thumbnails" / talks.make_video("Lighthouse").id / "0.jpg"
    thumbnail.parent.mkdir(parents=True)
    thumbnail.write_bytes(b"jpeg")
    status, lines, _ = run("rm", "Lighthouse", "--yes", "--json", library=path)
    assert status == 0 and json.loads(lines[0])["title"] == "Lighthouse"
    assert len(run("ls", library=path)[1]) == 1
    assert run("search", "lens", library=path)[1] == []
    assert not thumbnail.parent.exists()
    assert run("rm", "Lighthouse", "--yes", library=path)[0] == 1


@pytest.mark.parametrize("name", ["", "  ", "Light", "house", "il", "mp4"])
def test_rm_takes_no_part_of_a_title_and_no_empty_name(name, tmp_path, run):
    path = tmp_path / "library"
    library = talks.open_library_at(path)
    video = put_video(library, "Lighthouse film")
    library.store.close()
    assert run("rm", name, "--yes", library=path)[0] in (1, 2)
    assert len(run("ls", library=path)[1]) == 1
    assert run("rm", video.id[:3], "--yes", library=path)[0] == 1
    assert run("show", "Light", library=path)[0] == 0
    assert run("rm", video.id[:4], "--yes", library=path)[0] == 0


def test_rm_says_which_file_it_would_be(run):
    status, _, err = run("rm", "Lighthouse")
    assert status == 2 and "/films/Lighthouse.mp4" in err


def test_a_path_is_taken_from_the_current_folder(tmp_path, run, monkeypatch):
    folders = [tmp_path / name for name in ("here", "there")]
    library = talks.open_library_at(tmp_path / "library")
    for folder in folders:
        folder.mkdir()
        (folder / "talk.mp4").write_bytes(b"film")
        file = FileStat(str(folder / "talk.mp4"), 4, 1, 1)
        library.put_video(replace(talks.make_video(folder.name), files=(file,)))
    library.store.close()

    def title(name: str) -> str | None:
        status, lines, _ = run("show", name, "--json", library=tmp_path / "library")
        return json.loads(lines[0])["video"]["title"] if status == 0 else None

    monkeypatch.chdir(folders[1])
    assert title("talk.mp4") == title("./talk.mp4") == "there"
    assert title("../here/talk.mp4") == "here"
    (tmp_path / "link.mp4").symlink_to(folders[0] / "talk.mp4")
    assert title("../link.mp4") == "here"
    monkeypatch.chdir(tmp_path)
    assert title("talk.mp4") is None  # two of them, elsewhere
    assert title("here/talk.mp4") == "here"


def test_a_file_that_is_not_indexed_is_not_taken_for_another_of_its_name(
    tmp_path, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("show", "Lighthouse.mp4")[0] == 0
    (tmp_path / "Lighthouse.mp4").write_bytes(b"another film")
    status, _, err = run("show", "Lighthouse.mp4")
    assert status == 1 and f"{tmp_path}/Lighthouse.mp4 is not in the library" in err
    assert "longtake index" in err


def test_notes_of_a_channel_are_counted_and_shown(tmp_path, run):
    library = talks.open_library_at(tmp_path / "library")
    video = put_video(library, "Tides")
    generation = put_channel(library, video, "speech", TIDES)
    library.commit_all(
        [(replace(generation, detail={"notes": ["no subtitles", "late start"]}), [], [])]
    )
    library.store.close()
    assert "Tides  (2 notes)" in run("ls", library=tmp_path / "library")[1][0]
    (line,) = run("ls", "--json", library=tmp_path / "library")[1]
    assert json.loads(line)["notes"] == ["no subtitles", "late start"]
    assert "no subtitles" in "\n".join(run("show", "Tides", library=tmp_path / "library")[1])
    assert "notes with Tides" in "".join(run("doctor", library=tmp_path / "library")[1])


def test_no_line_ends_in_blanks(run):
    for arguments in (("show", "Lighthouse"), ("ls",), ("search", "lens"), ("config",)):
        assert [line for line in run(*arguments)[1] if line != line.rstrip()] == []


# Errors


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_trouble(stream, filled, tmp_path):
    command = shlex.join(
        [sys.executable, "-m", "cli.main", "search", "lens", "--library", str(filled)]
    )
    done = subprocess.run(
        f"{command} {stream}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in stream.replace("2>&-", ""))


@pytest.mark.parametrize("arguments", [("ls",), ("show", "Lighthouse")])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
def test_output_that_finds_no_room_is_told(arguments, unbuffered, filled):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *unbuffered, "-m", "cli.main", *arguments, "--library", str(filled)],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("longtake: cannot write the output: ")
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr


def test_bytes_that_are_no_text_are_no_bug(filled):
    for words in ((b"lens", b"\xff"), (b"\xff",)):
        for command in ("search", "ask"):
            done = subprocess.run(
                [sys.executable, "-m", "cli.main", command, *words, "--library", str(filled)],
                cwd=ROOT, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == (0 if len(words) == 2 else 2), done.stderr
            assert "unexpected" not in done.stderr


def test_an_option_that_is_given_nothing_is_told(run, tmp_path):
    for arguments, word in (
        (("index", str(tmp_path), "--channels", ""), "--channels"),
        (("index", str(tmp_path), "--channels", " , "), "--channels"),
        (("search", "lens", "--channel", ""), "--channel"),
        (("search", "--image", ""), "--image"),
        (("search", "lens", "--limit", "99999999999999999999"), "at most 1000"),
    ):
        status, lines, err = run(*arguments)
        assert (status, lines) == (2, []) and word in err


def test_a_broken_picture_gets_one_message(filled, tmp_path):
    import cv2
    import numpy as np

    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    (tmp_path / "broken.png").write_bytes(data[:60] + b"?" * 500)
    (tmp_path / "no picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"?" * 500)
    for name in ("broken.png", "no picture.png"):
        done = longtake("search", "--image", str(tmp_path / name), "--library", str(filled))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("longtake: ") and name in line


def test_errors_name_the_way_out_without_a_traceback(run, tmp_path):
    status, lines, err = run("show", "nothing")
    assert (status, lines) == (1, [])
    assert "longtake ls" in err and "Traceback" not in err
    status, _, err = run("search", "lens", library=tmp_path / "nowhere")
    assert status == 1 and "no library" in err and "longtake index" in err
    assert not (tmp_path / "nowhere").exists()
    status, _, err = run("search", "--image", str(tmp_path / "missing.png"))
    assert status == 1 and "missing.png" in err and "Traceback" not in err


def test_wrong_usage_exits_with_2(run):
    assert run("search", "...")[0] == 2
    assert run("search", "lens", "--channel", "speach")[0] == 2
    assert run("ls", "--set", "retrieve.limits=5")[0] == 2
    assert run("ls", "--set", "nonsense")[0] == 2
    assert run("frobnicate")[0] == 2
    assert run("search", "lens", "--limit", "0")[0] == 2


def test_what_nobody_expected_is_one_line_and_a_log_file(run, monkeypatch, tmp_path):
    import cli.browse

    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli.browse, "run_ls", broken)
    status, _, err = run("ls")
    assert status == 1 and "a bug" in err and str(tmp_path / "longtake.log") in err
    assert "Traceback" not in err and len(err.splitlines()) == 1
    assert "Traceback" in (tmp_path / "longtake.log").read_text()
    assert "Traceback" in run("ls", "--verbose")[2]


def test_an_interrupt_exits_with_130(run, monkeypatch):
    import cli.browse

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.browse, "run_ls", interrupted)
    status, _, err = run("ls")
    assert status == 130 and "Traceback" not in err


def test_a_reader_that_goes_away_is_no_trouble(filled):
    show = [sys.executable, "-m", "cli.main", "show", "Lighthouse", "--library", str(filled)]
    command = f"{shlex.join(show)} | true"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


# Options


def test_common_options_go_before_or_after_the_command(filled, capfd):
    for arguments in (
        ["--library", str(filled), "--json", "ls"],
        ["ls", "--json", "--library", str(filled)],
        ["--library", "/nowhere", "ls", "--library", str(filled), "--json"],
    ):
        assert main(arguments) == 0
        out = capfd.readouterr().out
        assert [json.loads(line)["title"] for line in out.splitlines()] == ["Lighthouse", ODD]


def test_the_library_can_come_from_the_environment(filled, capfd, monkeypatch):
    monkeypatch.setenv("LONGTAKE_LIBRARY", str(filled))
    assert main(["ls"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_any_setting_can_come_from_the_command_line(run):
    assert len(run("search", "water")[1]) == 4
    assert len(run("search", "water", "--set", "retrieve.limit=1")[1]) == 2


def test_every_command_is_in_the_help_and_explains_itself(capfd):
    commands = ("index", "search", "ask", "ls", "show", "rm", "doctor", "config", "demo")
    assert main(["--help"]) == 0
    listed = capfd.readouterr().out
    for command in commands:
        assert f"\n  {command} " in listed
        assert main([command, "--help"]) == 0
        assert "--library PATH" in capfd.readouterr().out


def test_version(capfd):
    assert main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("longtake ")


# Odd names and narrow places


def test_titles_cannot_command_the_terminal(run):
    for arguments in (("ls",), ("search", "moon"), ("show", "tides"), ("ask", "moon tide")):
        status, lines, err = run(*arguments)
        assert status == 0
        text = "\n".join(lines) + err
        assert "\x1b" not in text
        assert r"tides [red]of\x1b[31m\nthe 潮汐" in text


def test_a_pipe_gets_each_line_whole(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    lines = run("search", "lens")[1]
    assert lines[1] == "  Fresnel invented the lens that made the light reach so far."


def on_terminal(*arguments: str, columns: int = 80) -> str:
    """What the command shows on a terminal of that width."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ |= {"COLUMNS": str(columns), "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-m", "cli.main", *arguments])
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
        if shown.endswith(b"[y/N] "):
            os.write(terminal, b"n\n")
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode()


def test_a_terminal_gets_colour_and_lines_that_fit(filled):
    shown = on_terminal("search", "lens", "--library", str(filled), columns=40)
    assert "\x1b[1;33mlens\x1b[0m" in shown
    for line in shown.splitlines():
        plain = line
        for code in ("\x1b[1;33m", "\x1b[0m", "\x1b[1m", "\x1b[36m", "\x1b[32m"):
            plain = plain.replace(code, "")
        assert len(plain) <= 40
    odd = on_terminal("search", "moon", "--library", str(filled))
    assert r"[red]of\x1b[31m\nthe" in odd


def test_rm_on_a_terminal_asks_and_takes_no_for_an_answer(filled):
    shown = on_terminal("rm", "Lighthouse", "--library", str(filled))
    assert "[y/N]" in shown and "Nothing was removed" in shown


# Cold starts and company


def loaded_by(*arguments: str) -> set[str]:
    """Top-level names of the modules that a command loads."""
    code = (
        "import sys; from cli.main import main; main(sys.argv[1:]);"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_loads_none_of_what_the_commands_need():
    heavy = {"numpy", "cv2", "av", "torch", "pydantic", "qdrant_edge", "qdrant_client", "rich"}
    assert not heavy & loaded_by("--help")


def test_a_search_loads_no_decoder_and_no_model(filled):
    heavy = {"cv2", "av", "torch", "qdrant_client", "scenedetect", "onnxruntime", "rapidocr"}
    assert not heavy & loaded_by("search", "lens", "--library", str(filled))


def test_indexing_what_is_indexed_loads_no_decoder_and_no_model(tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, [noise_picture(1)] * 5, rate=5)
    path.with_suffix(".srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nA lighthouse.\n")
    command = ("--set", "index.reserve_bytes=0", "index", str(path))
    command += ("--profile", "packaged", "--library", str(tmp_path / "library"))
    heavy = {"cv2", "av", "scenedetect", "onnxruntime", "rapidocr", "rapidfuzz"}
    assert heavy & loaded_by(*command) == heavy - {"rapidfuzz"}
    assert not (heavy | {"torch", "psutil", "pysubs2"}) & loaded_by(*command)


OWNER = """
import sys
sys.path.insert(0, "tests")
from index.access import open_store
store = open_store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
store.close()
"""


def test_everything_works_while_another_process_owns_the_library(tmp_path, run):
    path = tmp_path / "library"
    fill(path)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert owner.stdout.readline() == "open\n"
        assert len(run("ls", library=path)[1]) == 2
        assert run("search", "lens", library=path)[1][0].startswith("Lighthouse  0:30")
        assert run("ask", "Who invented the lens?", library=path)[1][0].endswith("[1]")
        assert run("rm", "Lighthouse", "--yes", library=path)[0] == 0
        assert len(run("ls", library=path)[1]) == 1
        os.kill(owner.pid, signal.SIGSTOP)
        waiting = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "ls", "--library", str(path)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert f"Waiting for process {owner.pid} (stopped)" in waiting.stderr.readline()
        os.kill(owner.pid, signal.SIGCONT)
        assert len(waiting.communicate(timeout=60)[0].splitlines()) == 1
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        assert len(run("ls", library=path)[1]) == 1
    finally:
        owner.kill()
        owner.wait()
