"""A file is its content; a command line means files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import LongtakeError, MediaError, NotMediaError, UsageError
from ingest.identity import content_id, discover, full_digest, natural_order, same, stat_of
from ingest.sidecars import find_sidecars

ROOT = Path(__file__).resolve().parents[1]


def write(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_renamed_copy_has_the_same_id_and_another_content_another(tmp_path):
    first = write(tmp_path / "a.mp4", b"x" * 5_000_000)
    copy = write(tmp_path / "b" / "other.mkv", b"x" * 5_000_000)
    longer = write(tmp_path / "c.mp4", b"x" * 5_000_001)
    assert content_id(first) == content_id(copy) != content_id(longer)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_in_a_small_file_every_byte_counts(tmp_path, size):
    data = bytearray(size)
    before = content_id(write(tmp_path / "a", data))
    data[size // 2] = 1
    assert content_id(write(tmp_path / "a", data)) != before


def test_in_a_large_file_samples_count_and_verifying_finds_the_rest(tmp_path):
    data = bytearray(5_000_000)
    path = write(tmp_path / "a", data)
    before, whole = content_id(path), full_digest(path)
    for changed in (0, len(data) - 1, 3 * (len(data) - 65536) // 15):
        data[changed] = 1
        assert content_id(write(path, data)) != before
        data[changed] = 0
    data[200_000] = 1  # between two samples
    assert content_id(write(path, data)) == before
    assert full_digest(path) != whole


def test_a_file_is_the_same_while_size_time_and_inode_are(tmp_path):
    path = write(tmp_path / "a.mp4")
    before = stat_of(path)
    assert before.path == str(path)
    assert same(before, stat_of(path))
    moved = path.rename(tmp_path / "b.mp4")
    assert same(before, stat_of(moved))
    os.utime(moved, ns=(1, 1))
    assert not same(before, stat_of(moved))


def test_an_empty_file_is_refused_by_name(tmp_path):
    with pytest.raises(NotMediaError, match=r"empty\.mp4.*empty"):
        content_id(write(tmp_path / "empty.mp4", b""))


def test_a_vanished_file_is_told_by_name(tmp_path):
    for read in (content_id, full_digest, stat_of):
        with pytest.raises(MediaError, match=r"gone\.mp4.*not there"):
            read(tmp_path / "gone.mp4")


@pytest.mark.skipif(os.name != "posix", reason="drops privileges as Unix does")
def test_an_unreadable_file_is_told_with_the_way_out(tmp_path):
    path = write(tmp_path / "secret.mp4")
    path.chmod(0)
    # Root reads everything, so a child becomes nobody first.
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from ingest.identity import content_id\n"
        "from index.errors import MediaError\n"
        "os.chdir('/')\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: content_id(Path(sys.argv[1]))\n"
        "except MediaError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "secret.mp4" in done.stdout
    assert "chmod +r" in done.stdout


def found(*arguments: object) -> list[str]:
    """Names of what is found; every problem raises."""
    return [path.name for path in discover(map(str, arguments))]


def test_a_folder_means_the_videos_in_it_and_below_in_natural_order(tmp_path):
    for name in ("10.mp4", "2.mkv", "b/1.webm", "a/3.MOV", "notes.txt", "song.mp3", "1.srt"):
        write(tmp_path / name)
    for name in (".hidden.mp4", ".trash/x.mp4", "@eaDir/y.mp4"):
        write(tmp_path / name)
    assert found(tmp_path) == ["2.mkv", "10.mp4", "3.MOV", "1.webm"]


def test_a_named_file_is_taken_whatever_it_is_called_and_once(tmp_path):
    song, plain = write(tmp_path / "song.mp3"), write(tmp_path / "noextension")
    assert found(song, plain, song, tmp_path) == ["song.mp3", "noextension"]


def test_a_librarys_own_folder_is_passed_over(tmp_path):
    write(tmp_path / "film.mp4")
    write(tmp_path / "index" / "manifest.json")
    write(tmp_path / "index" / "shards" / "x.mp4")
    assert found(tmp_path) == ["film.mp4"]


def test_a_folder_that_is_a_library_itself_still_means_its_videos(tmp_path):
    for name in ("manifest.json", "shards/x.mp4", "thumbnails/y.mp4", "film.mp4", "deep/b.mp4"):
        write(tmp_path / name)
    assert found(tmp_path) == ["film.mp4", "b.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("read", [content_id, full_digest])
def test_a_pipe_is_named_and_not_waited_for(tmp_path, read):
    for name in ("pipe.mp4", "pipe.ts"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(MediaError, match=rf"{name}: is a pipe"):
            read(tmp_path / name)
    assert found(tmp_path) == ["pipe.mp4", "pipe.ts"]
    write(tmp_path / "film.mp4")
    os.mkfifo(tmp_path / "film.srt")
    assert find_sidecars(tmp_path / "film.mp4") == ()


def test_patterns_work_where_the_shell_has_not_expanded_them(tmp_path):
    for name in ("a1.mp4", "a2.mp4", "b.mp4", "deep/er/c.mp4", "a.txt", "s.mp3"):
        write(tmp_path / name)
    assert found(tmp_path / "a*.mp4") == ["a1.mp4", "a2.mp4"]
    assert found(tmp_path / "a*") == ["a1.mp4", "a2.mp4"]
    assert found(tmp_path / "*.mp3") == ["s.mp3"]
    assert sorted(found(tmp_path / "**" / "*.mp4")) == ["a1.mp4", "a2.mp4", "b.mp4", "c.mp4"]
    odd = write(tmp_path / "what[1].mp4")
    assert found(odd) == ["what[1].mp4"]


def test_links_that_lead_back_are_followed_once(tmp_path):
    write(tmp_path / "a" / "film.mp4")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a")
    assert found(tmp_path) == ["film.mp4"]


def test_what_is_wrong_is_collected_and_the_rest_goes_on(tmp_path):
    film = write(tmp_path / "film.mp4")
    problems: list[LongtakeError] = []
    arguments = ["nowhere.mp4", "no*match.mp4", "", "https://example.org/a.mp4", str(film)]
    assert [path.name for path in discover(arguments, problems.append)] == ["film.mp4"]
    assert all(isinstance(problem, UsageError) for problem in problems)
    assert "nowhere.mp4: does not exist" in str(problems[0])
    assert len(problems) == 4
    with pytest.raises(UsageError, match="nowhere"):
        found("nowhere.mp4")


def test_odd_names_are_names(tmp_path):
    names = ["-dash.mp4", "with space.mp4", "emoji 🎬.mp4", "new\nline.mp4", "100%d.mp4", "a:b.mp4"]
    for name in names:
        assert content_id(write(tmp_path / name))
    assert sorted(found(tmp_path)) == sorted(names)
    assert found(*(tmp_path / name for name in names)) == names


def test_a_name_that_is_not_utf8_is_told_and_passed_over(tmp_path):
    try:
        write(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write(tmp_path / "good.mp4")
    problems: list[LongtakeError] = []
    assert [p.name for p in discover([str(tmp_path)], problems.append)] == ["good.mp4"]
    assert "caf\\xe9.mp4" in str(problems[0])
    assert "rename" in str(problems[0])
    str(problems[0]).encode()


def test_program_text_in_ts_files_is_no_video(tmp_path):
    write(tmp_path / "app.ts", b"export const answer = 42;\n")
    write(tmp_path / "broadcast.ts", b"\x47" + bytes(187))
    write(tmp_path / "camera.MTS", bytes(4) + b"\x47" + bytes(187))
    assert found(tmp_path) == ["broadcast.ts", "camera.MTS"]


def test_subtitles_that_the_shell_swept_up_belong_to_their_video(tmp_path):
    film = write(tmp_path / "film.mp4")
    sidecar = write(tmp_path / "film.en.srt")
    assert found(film, sidecar) == found(sidecar) == ["film.mp4"]
    with pytest.raises(UsageError, match=r"lone\.srt.*subtitle"):
        found(write(tmp_path / "lone.srt"))


@given(st.lists(st.text(max_size=8)))
def test_every_name_has_a_place_in_the_order(names):
    ordered = sorted(names, key=natural_order)
    assert sorted(reversed(ordered), key=natural_order) == ordered
