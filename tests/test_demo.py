"""`longtake demo`: what a stranger sees first works, twice, and fails where Longtake does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from cli.film import LIGHTHOUSE, PICTURE, TIDES, make_sample_film

ROOT = Path(__file__).resolve().parents[1]


def longtake(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")
    }
    environment |= {
        "PYTHONPATH": str(ROOT),
        "LONGTAKE_LOG": str(cwd / "longtake.log"),
        "LONGTAKE_CONFIG": os.devnull,
        "LONGTAKE_LIBRARY": str(cwd / "the user's own library"),
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    make_sample_film(folder)
    return folder


@pytest.fixture(scope="module")
def workplace(films, tmp_path_factory) -> Path:
    """A folder, with a space in its name, that the demo has been run in once."""
    folder = tmp_path_factory.mktemp("a stranger's")
    demo = folder / "demo"
    demo.mkdir()
    for file in films.iterdir():  # making them anew is what the fixture above has tested
        (demo / file.name).hardlink_to(file)
    ran = longtake("demo", cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder / "first.txt").write_text(ran.stdout, encoding="utf-8")
    return folder


def test_the_lighthouse_film_has_sound_chapters_and_subtitles_beside_it(films):
    with av.open(str(films / LIGHTHOUSE)) as container:
        assert {stream.type for stream in container.streams} >= {"video", "audio"}
        assert container.duration / av.time_base == pytest.approx(70, abs=0.2)
        titles = [chapter["metadata"]["title"] for chapter in container.chapters()]
    assert titles == ["A light at sea", "The lens", "The rhythm", "By day", "Keepers"]
    captions = (films / LIGHTHOUSE).with_suffix(".en.srt").read_text(encoding="utf-8")
    assert "wound the clockwork" in captions


def test_the_german_film_carries_its_subtitles_inside(films):
    with av.open(str(films / TIDES)) as container:
        (stream,) = container.streams.subtitles
        texts = [bytes(packet).decode() for packet in container.demux(stream) if packet.size]
    assert stream.language in ("ger", "deu")
    assert len(texts) == 5
    assert texts[-1].endswith("dann läuft es wieder ab.")


def test_films_that_are_there_are_not_made_again(films):
    before = {file.name: file.stat().st_mtime_ns for file in films.iterdir()}
    make_sample_film(films)
    assert {file.name: file.stat().st_mtime_ns for file in films.iterdir()} == before
    assert set(before) >= {LIGHTHOUSE, TIDES, PICTURE}


def test_an_interrupted_making_leaves_no_half_film(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.film._sea", fails)
    with pytest.raises(KeyboardInterrupt):
        make_sample_film(tmp_path)
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob("*.mkv"))


def test_the_demo_shows_each_command_and_finds_what_it_searches(workplace):
    output = (workplace / "first.txt").read_text(encoding="utf-8")
    for command in ("index demo", "ls", "search", "search --image", "ask"):
        # The program's path may be quoted.
        assert re.search(rf"longtake'? {re.escape(command)}", output)
    assert "Bishop Rock" in output
    assert "Augustin Fresnel" in output
    assert "Everything worked" in output


def test_the_demo_runs_again_with_nothing_left_to_do(workplace):
    library = workplace / "demo" / "library"
    before = longtake("ls", "--library", str(library), "--json", cwd=workplace).stdout
    again = longtake("demo", cwd=workplace)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "already" in again.stdout
    after = longtake("ls", "--library", str(library), "--json", cwd=workplace).stdout
    assert len(before.splitlines()) == 2
    assert [json.loads(line) for line in after.splitlines()] == [
        json.loads(line) for line in before.splitlines()
    ]


def test_the_demo_leaves_the_users_own_library_alone(workplace):
    assert not (workplace / "the user's own library").exists()


def test_german_words_find_the_german_film(workplace):
    found = longtake(
        "search", "Wasserberg des Mondes", "--library", "demo/library", "--json", cwd=workplace
    )
    assert Path(json.loads(found.stdout.splitlines()[0])["path"]).name == TIDES


def test_the_demo_fails_where_indexing_does(tmp_path):
    (tmp_path / "demo").mkdir()
    for name in (LIGHTHOUSE, TIDES):
        (tmp_path / "demo" / name).write_text("this is no film")
    ran = longtake("demo", cwd=tmp_path)
    assert ran.returncode == 1
    assert "did not work" in ran.stderr
    assert "Everything worked" not in ran.stdout


def test_the_demo_takes_the_options_that_it_can_honour_and_no_others(workplace, tmp_path):
    ran = longtake("demo", "--set", "retrieve.limit=1", "--verbose", cwd=workplace)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in ran.stdout.splitlines():
        if line.startswith("$ "):
            assert line.endswith("--set retrieve.limit=1 --verbose")
    assert "--json" not in longtake("demo", "--help", cwd=tmp_path).stdout
    for arguments in (("--json", "demo"), ("demo", "--set", "retrieve.limits=1")):
        ran = longtake(*arguments, cwd=tmp_path)
        assert ran.returncode == 2 and not (tmp_path / "demo").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "demo").write_text("a file is in the way")
    ran = longtake("demo", cwd=tmp_path)
    assert ran.returncode == 2
    assert str(tmp_path / "demo") in ran.stderr
    assert "Traceback" not in ran.stderr
