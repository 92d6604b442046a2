"""Whatever is wrong with a file: it is named, with the way out, and the rest of the batch goes on.

Each case runs the whole program. Most share one run over one folder of bad and odd files.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import (
    BLUE,
    DATA,
    RED,
    corrupted,
    film,
    noise_picture,
    solid,
    text_picture,
    truncated,
    write_clip,
)
from dump import dump

import cli.index
from cli.main import main
from index.access import open_store
from index.errors import Interrupted
from index.library import Library
from index.schema import Evidence, Video

REPO = Path(__file__).resolve().parents[1]
QUICK = ("--set", "index.reserve_bytes=0", "--set", "index.ballast_bytes=0")
TWO = ("--channels", "speech,fingerprint")

ODD_NAMES = ("-dash.mp4", "two words.mp4", "🎬 film.mp4", "new\nline.mp4", "[red]*?.mp4")
CUES = [(1.0, 2.0, "The lamp is lit at dusk."), (3.0, 3.8, "Ships steer by its beam.")]


@pytest.fixture(autouse=True)
def own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_LOG", str(tmp_path / "longtake.log"))


@dataclass
class Run:
    """What `longtake index --json` said, and what the library holds after it."""

    status: int
    records: dict[str, dict[str, Any]]
    said: str
    videos: dict[str, Video] = field(default_factory=dict)
    evidence: dict[str, list[Evidence]] = field(default_factory=dict)

    def spans(self, name: str, channel: str) -> list[tuple[float, float]]:
        """Where the evidence of one channel lies in a file, in seconds."""
        found = [e for e in self.evidence[name] if e.channel == channel]
        return [(e.start_seconds, e.end_seconds) for e in found]

    def texts(self, name: str, channel: str = "speech") -> list[str]:
        return [e.text for e in self.evidence[name] if e.channel == channel]

    def told(self, name: str) -> str:
        """All that was said about a file."""
        record = self.records[name]
        return "\n".join([record["reason"], *record["notes"]])


def index(capsys, *arguments: str | Path, library: Path) -> Run:
    """Runs the command in this process and reads the library."""
    capsys.readouterr()
    status = main(["index", *map(str, arguments), "--library", str(library), "--json", *QUICK])
    out, err = capsys.readouterr()
    return with_content(Run(status, records_of(out), err), library)


def records_of(out: str) -> dict[str, dict[str, Any]]:
    return {Path(r["path"]).name: r for r in map(json.loads, out.splitlines())}


def with_content(run: Run, library: Path) -> Run:
    opened = Library(open_store(library))
    try:
        for video in opened.videos():
            (file,) = video.files
            name = Path(file.path).name
            run.videos[name] = video
            run.evidence[name] = opened.evidence(video.id)
    finally:
        opened.store.close()
    return run


def scenes(count: int = 4, length: float = 1.0) -> list:
    return [(length, lambda _, seed=seed: noise_picture(seed)) for seed in range(count)]


def srt(*cues: tuple[str, str, str]) -> str:
    return "\n".join(f"{n}\n{a} --> {b}\n{text}\n" for n, (a, b, text) in enumerate(cues, 1))


def write_folder(folder: Path) -> None:
    """One file for each thing that can be wrong, or only odd."""
    good = film(folder / "good.mp4", scenes(), rate=10, audio_seconds=4.0)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no film.\n" * 100)
    (folder / "noise.mkv").write_bytes(np.random.default_rng(1).bytes(20_000))
    truncated(good, folder / "index-last.mp4", 0.6)
    first = film(
        folder / "first.mp4",
        scenes(),
        rate=10,
        container_options={"movflags": "faststart"},
    )
    truncated(first, folder / "index-first.mp4", 0.6)
    first.unlink()
    for name, sound in (("seen.mkv", {}), ("heard.mkv", {"audio_seconds": 4.0})):
        truncated(film(folder / "whole.mkv", scenes(), rate=10, **sound), folder / name, 0.6)
    (folder / "whole.mkv").unlink()
    long = film(folder / "long.mp4", scenes(8), rate=10, key_frame_every=5)
    corrupted(long, folder / "corrupted.mp4", 0.45, 0.55)
    long.unlink()

    write_clip(folder / "sound.m4v", [], audio_seconds=4.0)
    (folder / "sound.en.srt").write_text(
        srt(("00:00:01,000", "00:00:02,000", CUES[0][2]), ("00:00:03,000", "00:00:03,800", "Ship"))
    )
    film(
        folder / "no-duration.webm",
        scenes(2),
        rate=10,
        codec="libvpx",
        container_options={"live": "1"},
    )
    write_clip(folder / "zero.mp4", [])
    write_clip(folder / "zero.mkv", [])
    write_clip(folder / "one-frame.mp4", [noise_picture(5)])
    write_clip(
        folder / "variable.mp4",
        [noise_picture(n // 10) for n in range(40)],
        times=[n * 0.05 for n in range(20)] + [1.0 + n * 0.2 for n in range(20)],
    )
    film(folder / "rotated.mp4", scenes(2), rate=10, rotation=90)
    film(folder / "late.mkv", scenes(2), rate=10, start_seconds=7.0, subtitles=CUES[:1])
    film(
        folder / "late-sound.mkv",
        scenes(),
        rate=10,
        audio_seconds=2.0,
        audio_start_seconds=2.0,
        subtitles=CUES,
    )
    film(folder / "broadcast.ts", scenes(), rate=10, start_seconds=80_000.0, audio_seconds=4.0)
    (folder / "broadcast.srt").write_text(srt(("00:00:01,000", "00:00:02,000", CUES[0][2])))

    for number, name in enumerate(("cyrillic", "undecodable", "broken-times", "no-times")):
        write_clip(folder / f"{name}.mp4", [noise_picture(30 + number)] * 10, rate=10)
    (folder / "cyrillic.ru.srt").write_bytes(
        srt(("00:00:00,100", "00:00:00,900", "Маяк стоит на скале.")).encode("cp1251")
    )
    (folder / "undecodable.srt").write_bytes(bytes(range(256)) * 20)
    (folder / "broken-times.en.srt").write_text(
        srt(
            ("00:00:00,100", "00:00:00,400", "This one is fine."),
            ("00:0x:00,200", "00:00:00,900", "This one is lost."),
            ("00:00:00,700", "00:00:00,600", "This one is mended."),
        )
    )
    (folder / "no-times.en.srt").write_text("These are words and nothing else.\n")
    for number, name in enumerate(ODD_NAMES):
        write_clip(folder / name, [noise_picture(20 + number)] * 5, rate=10)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Run:
    """One run over all of them."""
    place = tmp_path_factory.mktemp("bad")
    folder = place / "films"
    folder.mkdir()
    write_folder(folder)
    done = longtake("index", str(folder), "--library", str(place / "library"), "--json", *TWO)
    return with_content(
        Run(done.returncode, records_of(done.stdout), done.stderr), place / "library"
    )


def longtake(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, *QUICK],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )


# --- What is no video, or only part of one -----------------------------------------------------


REFUSED = {
    "empty.mp4": ("is empty", "copy it again"),
    "text.mp4": ("no media file", "copy it again"),
    "noise.mkv": ("no media file", "copy it again"),
    "index-last.mp4": ("cut short", "Copy it again"),
    "zero.mp4": ("neither pictures nor sound", "export it again"),
    "zero.mkv": ("begins like a Matroska or WebM file", "Copy it again"),
}
DAMAGED = {
    "index-first.mp4": ("break off at 2.", "Copy the file again"),
    "seen.mkv": ("break off at 2.", "Copy the file again"),
    "heard.mkv": ("break off at 2.", "Copy the file again"),
    "corrupted.mp4": ("damaged from 3.", "Copy the file again"),
    "undecodable.mp4": ("undecodable.srt", "save it as UTF-8"),
    "broken-times.mp4": ("broken-times.en.srt: 1 cue with unreadable times", "correct them"),
    "no-times.mp4": ("no-times.en.srt", "save it as SubRip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named_with_the_way_out(shared, name):
    assert shared.records[name]["status"] == "failed"
    for part in (name, *REFUSED[name]):
        assert part in shared.told(name)
    assert name not in shared.videos


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_named_and_the_rest_of_it_is_indexed(shared, name):
    assert shared.records[name]["status"] == "damaged"
    for part in DAMAGED[name]:
        assert part in shared.told(name)
    assert shared.spans(name, "fingerprint")


def test_everything_else_is_indexed_and_the_exit_status_tells_of_the_bad_ones(shared):
    fine = shared.records.keys() - REFUSED.keys() - DAMAGED.keys()
    assert {shared.records[name]["status"] for name in fine} == {"indexed"}
    assert "good.mp4" in fine
    assert shared.status == 1
    assert f"{len(REFUSED)} failed" in shared.said
    assert f"{len(DAMAGED)} of them damaged" in shared.said
    for name in fine:
        assert shared.videos[name].duration_seconds > 0


def test_of_a_file_cut_short_the_part_that_is_there_is_indexed(shared):
    shots = shared.spans("index-first.mp4", "shot")
    assert [start for start, _ in shots] == pytest.approx([0.0, 1.0, 2.0], abs=0.01)
    assert shots[-1][1] < 3.0


def test_after_the_corrupt_part_indexing_goes_on(shared):
    shots = shared.spans("corrupted.mp4", "shot")
    assert shots[0][0] == 0.0
    assert shots[-1] == pytest.approx((7.0, 8.0), abs=0.3)


def test_without_pictures_subtitles_are_still_indexed(shared):
    assert shared.texts("sound.m4v") == [CUES[0][2], "Ship"]
    assert shared.spans("sound.m4v", "fingerprint") == []
    assert shared.videos["sound.m4v"].duration_seconds == pytest.approx(4.0, abs=0.2)


# --- What is only odd --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cuts", "duration"),
    [
        ("good.mp4", [0.0, 1.0, 2.0, 3.0], 4.0),
        ("no-duration.webm", [0.0, 1.0], 2.0),
        ("one-frame.mp4", [0.0], 0.04),
        ("variable.mp4", [0.0, 0.5, 1.0, 3.0], 5.0),
        ("rotated.mp4", [0.0, 1.0], 2.0),
        ("late.mkv", [0.0, 1.0], 2.0),
        ("late-sound.mkv", [0.0, 1.0, 2.0, 3.0], 4.0),
        ("broadcast.ts", [0.0, 1.0, 2.0, 3.0], 4.0),
    ],
)
def test_times_are_the_videos_own(shared, name, cuts, duration):
    shots = shared.spans(name, "shot")
    if name == "variable.mp4":  # shorter than the shortest shot
        cuts = [cut for cut in cuts if cut != 0.5]
    # A transport stream begins with its sound, here with the 64 ms that an encoder puts before it.
    assert [start for start, _ in shots] == pytest.approx(cuts, abs=0.07)
    assert shots[-1][1] == pytest.approx(duration, abs=0.25)
    assert shared.videos[name].duration_seconds == pytest.approx(duration, abs=0.25)
    assert shared.spans(name, "fingerprint")[0][0] < 0.5


def test_sound_and_words_that_begin_later_stay_later(shared):
    assert shared.spans("late-sound.mkv", "speech") == [(a, b) for a, b, _ in CUES]
    assert shared.spans("late.mkv", "speech") == [CUES[0][:2]]
    assert shared.spans("broadcast.ts", "speech") == [(1.0, 2.0)]


def test_the_rotation_is_kept_with_the_stream(shared):
    (stream,) = shared.videos["rotated.mp4"].streams
    assert stream.rotation == 90


def test_subtitles_in_an_old_encoding_are_read_and_the_guess_is_told(shared):
    assert shared.texts("cyrillic.mp4") == ["Маяк стоит на скале."]
    assert "cyrillic.ru.srt: not in UTF-8; assumed to be in cp1251" in shared.told("cyrillic.mp4")


def test_of_subtitles_with_broken_times_the_good_ones_are_indexed(shared):
    assert shared.texts("broken-times.mp4") == ["This one is fine.", "This one is mended."]
    assert "1 cue ended before it began" in shared.told("broken-times.mp4")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_only_a_name(shared, name):
    assert shared.records[name]["status"] == "indexed"
    assert shared.videos[name].title == name.removesuffix(".mp4")
    assert "new\nline" not in shared.said


def test_a_name_that_begins_with_a_dash_can_be_given_to_every_command(
    tmp_path, capsys, monkeypatch
):
    write_clip(tmp_path / "-dash.mp4", [solid(RED)] * 5, rate=10)
    monkeypatch.chdir(tmp_path)
    common = ["--library", "library", "--channels", "speech", *QUICK]
    assert main(["index", *common, "--", "-dash.mp4"]) == 0
    assert main(["index", *common, "./-dash.mp4"]) == 0
    assert "1 up to date" in capsys.readouterr().err
    assert main(["show", "--library", "library", "--", "-dash.mp4"]) == 0
    assert main(["rm", "--library", "library", "--yes", "--", "-dash.mp4"]) == 0


def test_with_every_channel_words_in_a_damaged_picture_stream_are_read(tmp_path, capsys):
    whole = write_clip(
        tmp_path / "whole.mp4",
        [text_picture("HARBOUR LIGHTS")] * 30 + [noise_picture(3, 320, 180)] * 30,
        rate=10,
        container_options={"movflags": "faststart"},
    )
    truncated(whole, tmp_path / "cut.mp4", 0.8)
    run = index(capsys, tmp_path / "cut.mp4", library=tmp_path / "library")
    assert (run.status, run.records["cut.mp4"]["status"]) == (1, "damaged")
    assert run.texts("cut.mp4", "screen_text") == ["HARBOUR LIGHTS"]

    # It is not read again, and what is wrong with it can be looked up.
    assert main(["index", str(tmp_path / "cut.mp4"), "--library", str(tmp_path / "library")]) == 0
    assert "1 up to date" in capsys.readouterr().err
    assert main(["show", "cut.mp4", "--library", str(tmp_path / "library")]) == 0
    assert "its pictures break off at" in capsys.readouterr().out


# --- Real files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    """What a real file is expected to give. speech: cues."""

    name: str
    duration: float
    streams: str
    shots: int = 1
    fingerprints: bool = True
    speech: int = 0
    status: str = "indexed"
    told: str = ""


NO_WORDS = "no subtitles"
REAL = (
    Real("odd/-video-with-dash-.mp4", 5.0, "video:h264"),
    Real("odd/audio_only.mp4", 52.22, "audio:mp3", shots=0, fingerprints=False, told=NO_WORDS),
    Real("odd/big_buck_bunny_432_433.webm", 1.0, "video:vp8 audio:vorbis", told=NO_WORDS),
    Real("odd/clip1024.flv", 17.4, "video:vp6f"),
    Real("odd/corrupted.mp4", 5.0, "video:h264", status="damaged", told="damaged from 2.7 s on"),
    Real("odd/flipping_a_pancake.mkv", 10.38, "video:h264 audio:opus", told=NO_WORDS),
    Real("odd/no_duration.webm", 4.94, "video:vp9 audio:opus", told=NO_WORDS),
    Real("odd/sintel_5s.mp4", 5.02, "video:h264 audio:mp3", told=NO_WORDS),
    Real("odd/smpte-2997.mp4", 10.05, "video:h264 audio:aac", told=NO_WORDS),
    Real("odd/transparent.webm", 5.0, "video:vp9 audio:vorbis", told=NO_WORDS),
    # Its sound cannot be decoded; nothing here listens yet.
    Real("odd/video_with_failing_audio.mp4", 11.23, "video:h264 audio:mp3", told=NO_WORDS),
    Real("torchcodec/av1_video.mkv", 5.0, "video:av1"),
    Real("torchcodec/bt709_full_range.mp4", 1.0, "video:h264"),
    Real("torchcodec/dog_eating_854132.mp4", 13.8, "video:h264"),
    Real("torchcodec/h264_10bits.mp4", 1.0, "video:h264"),
    Real("torchcodec/h265_10bits.mp4", 1.0, "video:hevc"),
    Real("torchcodec/h265_video.mp4", 1.0, "video:hevc"),
    Real(
        "torchcodec/nasa_13013.mp4",
        13.06,
        "video:h264 audio:aac subtitle:mov_text video:h264 audio:aac subtitle:mov_text",
        shots=2,
        speech=4,
        told="passed over for better ones in the same language: stream 5",
    ),
    Real("torchcodec/var_fps_video.mp4", 14.97, "video:h264"),
)
FOLDERS = [DATA / "video" / name for name in ("odd", "torchcodec")]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Run:
    if not all(folder.is_dir() for folder in FOLDERS):
        pytest.skip("the real material is not here")
    library = tmp_path_factory.mktemp("real") / "library"
    folders = map(str, FOLDERS)
    done = longtake("index", *folders, "--library", str(library), "--json", *TWO)
    return with_content(Run(done.returncode, records_of(done.stdout), done.stderr), library)


def test_every_real_file_is_in_the_table(real):
    assert set(real.records) == {Path(expected.name).name for expected in REAL}
    assert real.status == 1
    assert "1 of them damaged" in real.said


@pytest.mark.parametrize("expected", REAL, ids=lambda expected: expected.name)
def test_real_files_give_what_the_table_says(real, expected):
    name = Path(expected.name).name
    video = real.videos[name]
    assert video.duration_seconds == pytest.approx(expected.duration, abs=0.02)
    streams = [f"{stream.kind}:{stream.codec}" for stream in video.streams]
    assert " ".join(streams) == expected.streams
    assert real.records[name]["status"] == expected.status
    assert expected.told in real.told(name)
    if not expected.told:
        assert real.records[name]["notes"] == []
    assert len(real.spans(name, "shot")) == expected.shots
    assert bool(real.spans(name, "fingerprint")) == expected.fingerprints
    assert len(real.spans(name, "speech")) == expected.speech
    for channel in ("shot", "fingerprint", "speech"):
        for start, end in real.spans(name, channel):
            assert 0 <= start < end <= expected.duration + 0.1


# --- What may not be read or written -----------------------------------------------------------


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


AS_NOBODY = """
import os, sys
from cli.main import main
place, *rest = sys.argv[1:]
common = [*rest, "--channels", "speech,fingerprint"]
# First as ourselves, so that every module is loaded: nobody may not be able to read them.
assert main(["index", place + "/warm/", "--library", place + "/warm-library", *common]) == 0
os.setgid(65534)
os.setuid(65534)
print("---", file=sys.stderr)
print(main(["index", place + "/films", "--library", place + "/library", *common]))
print(main(["index", place + "/films", "--library", place + "/root's", *common]))
print(main(["index", place + "/films", "--library", place + "/warm-library", *common]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to drop root: root reads everything")
def test_what_may_not_be_read_or_written_is_named(open_place):
    (open_place / "warm").mkdir()
    write_clip(open_place / "warm" / "warm.mp4", [solid(RED)] * 5, rate=10)
    folder = open_place / "films"
    (folder / "secret").mkdir(parents=True)
    for number, name in enumerate(("closed.mp4", "open.mp4", "secret/inside.mp4", "mute.mp4")):
        write_clip(folder / name, [noise_picture(number)] * 5, rate=10)
    (folder / "mute.srt").write_text(srt(("00:00:00,100", "00:00:00,400", "Hush.")))
    (folder / "closed.mp4").chmod(0)
    (folder / "mute.srt").chmod(0)
    (folder / "secret").chmod(0)
    (open_place / "library").mkdir()
    os.chown(open_place / "library", 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(open_place), *QUICK],
        cwd=REPO,
        env={
            **os.environ,
            "LONGTAKE_LOG": str(open_place / "log"),
            "LONGTAKE_CONFIG": os.devnull,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stderr.partition("---")[2]
    assert done.stdout.split() == ["1", "1", "1"], done.stderr
    assert f"{folder}/closed.mp4: may not be read (permission); `chmod +r` it" in said
    assert f"{folder}/secret: may not be read (permission); `chmod +rx` it" in said
    assert "2 indexed (" in said and "), 1 of them damaged, 2 failed." in said
    assert f"{folder}/mute.srt: cannot be read (Permission denied); check its permissions" in said
    assert "✓ open.mp4" in said and "! mute.mp4" in said
    assert f"The library {open_place}/root's cannot be written" in said
    assert f"The library {open_place}/warm-library cannot be written, which searches need" in said
    assert said.count("choose another one with --library") == 2
    assert "Traceback" not in done.stderr


# --- What changes while it is being indexed ----------------------------------------------------


@pytest.fixture
def films(tmp_path) -> Path:
    """Three clips with subtitles."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate("abc"):
        shots = [(1.0, lambda _, s=s: noise_picture(s)) for s in range(3 * number, 3 * number + 3)]
        film(folder / f"{name}.mp4", shots, rate=10, subtitles=CUES[:1])
    return folder


def after_report(monkeypatch, number: int, action) -> None:
    """Does something as the program reports on the n-th file."""
    report, seen = cli.index.Output.report, []

    def watched(self, reported):
        report(self, reported)
        seen.append(reported)
        if len(seen) == number:
            action()

    monkeypatch.setattr(cli.index.Output, "report", watched)


def test_a_folder_that_vanishes_during_the_run(films, tmp_path, capsys, monkeypatch):
    library, away = tmp_path / "library", tmp_path / "away"
    after_report(monkeypatch, 1, lambda: films.rename(away))
    run = index(capsys, films, *TWO, library=library)
    assert run.status == 1
    assert [run.records[n]["status"] for n in ("a.mp4", "b.mp4", "c.mp4")] == [
        "indexed",
        "failed",
        "failed",
    ]
    assert f"{films}/b.mp4: is not there (any more)" in run.told("b.mp4")
    assert "run again" in run.told("b.mp4")
    assert run.texts("b.mp4") == [CUES[0][2]]  # what was read before it went

    away.rename(films)
    run = index(capsys, films, *TWO, library=library)
    assert run.status == 0
    assert {r["reason"] for r in run.records.values()} == {"unfinished"}
    assert dump(library) == undisturbed(capsys, films, tmp_path)


def undisturbed(capsys, films: Path, tmp_path: Path) -> dict:
    index(capsys, films, *TWO, library=tmp_path / "fresh")
    return dump(tmp_path / "fresh")


def test_a_file_that_is_still_being_written(films, tmp_path, capsys, monkeypatch):
    library = tmp_path / "library"
    after_report(monkeypatch, 1, lambda: write_clip(films / "b.mp4", [solid(BLUE)] * 9, rate=10))
    run = index(capsys, films, *TWO, library=library)
    assert (run.status, run.records["b.mp4"]["status"]) == (1, "failed")
    assert "b.mp4: changed while it was being indexed; run again" in run.told("b.mp4")
    assert run.records["c.mp4"]["status"] == "indexed"
    assert index(capsys, films, *TWO, library=library).status == 0
    assert dump(library) == undisturbed(capsys, films, tmp_path)


def test_a_video_that_is_removed_while_it_is_indexed_leaves_nothing(
    films, tmp_path, capsys, monkeypatch
):
    library = tmp_path / "library"

    def remove():
        assert longtake("rm", "b.mp4", "--yes", "--library", str(library)).returncode == 0

    after_report(monkeypatch, 1, remove)
    run = index(capsys, films, *TWO, library=library)
    assert run.status == 1
    assert "b was removed from the library while" in run.told("b.mp4")
    assert set(run.videos) == {"a.mp4", "c.mp4"}
    video_ids = {video.id for video in run.videos.values()}
    left = {payload.get("video_id") for payload, _ in dump(library).values()}
    assert left - {None} == video_ids
    assert {path.name for path in (library / "thumbnails").iterdir()} == video_ids
    assert index(capsys, films, *TWO, library=library).status == 0
    assert dump(library) == undisturbed(capsys, films, tmp_path)


def test_what_nobody_expected_costs_one_file_only(films, tmp_path, capsys, monkeypatch):
    from ingest.media import probe

    def breaks(path):
        if path.name == "b.mp4":
            raise RuntimeError("the moon is full")
        return probe(path)

    monkeypatch.setattr("ingest.media.probe", breaks)
    run = index(capsys, films, *TWO, library=tmp_path / "library")
    assert run.status == 1
    assert "b.mp4: something unexpected happened (RuntimeError: the moon is full)" in run.told(
        "b.mp4"
    )
    assert "Traceback" in (tmp_path / "longtake.log").read_text()
    assert run.records["c.mp4"]["status"] == "indexed"


# --- Stopped, and two at once ------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Enough short clips that a run is not over before a signal arrives."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(16):
        pictures = [noise_picture(number)] * 10 + [noise_picture(100 + number)] * 10
        write_clip(
            folder / f"{number}.mkv", pictures, rate=10, subtitles=[(0.1, 0.9, f"N{number}")]
        )
    return folder


@pytest.fixture(scope="module")
def many_undisturbed(many, tmp_path_factory) -> dict:
    library = tmp_path_factory.mktemp("many-library") / "library"
    assert longtake("index", str(many), "--library", str(library), *TWO).returncode == 0
    return dump(library)


def start(folder: Path, library: Path) -> subprocess.Popen[str]:
    """The command in another process, whose first reported file can be waited for."""
    arguments = ["index", str(folder), "--library", str(library), "--json", *TWO, *QUICK]
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so_and_the_next_goes_on(number, many, many_undisturbed, tmp_path):
    process = start(many, tmp_path / "library")
    process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "longtake: Stopped; what was indexed is kept, and the next run goes on."
    )
    assert "Traceback" not in err
    assert "Stopping where the work can be left; again: at once." in err
    assert len(out.splitlines()) < 15
    again = longtake("index", str(many), "--library", str(tmp_path / "library"), *TWO)
    assert again.returncode == 0 and "up to date" in again.stderr
    assert dump(tmp_path / "library") == many_undisturbed


def test_who_asks_again_does_not_wait_for_what_cannot_be_left(monkeypatch):
    """Importing torch, say."""
    ended = []
    monkeypatch.setattr("os._exit", lambda status: ended.append(status))
    before = signal.getsignal(signal.SIGINT)
    stop = threading.Event()
    with pytest.raises(Interrupted), cli.index.stopped_by_signals(stop):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            assert stop.is_set()
            signal.raise_signal(signal.SIGINT)
            assert not ended, "a wrapper passed it on, too"
            monkeypatch.setattr(cli.index, "ONE_SIGNAL_SECONDS", 0.0)
            signal.raise_signal(signal.SIGTERM)
            assert ended == [130]
            raise
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_stops_where_nobody_reads_any_more_what_it_says():
    """As in `2>&1 | tee log`, where Ctrl-C ends tee first."""
    reads, writes = os.pipe()
    os.close(reads)
    kept = os.dup(2)
    os.dup2(writes, 2)
    try:
        with pytest.raises(Interrupted), cli.index.stopped_by_signals(threading.Event()):
            signal.raise_signal(signal.SIGINT)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writes)


def test_two_runs_at_once_share_the_work(many, many_undisturbed, tmp_path):
    processes = [start(many, tmp_path / "library") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in processes]
    for process, (out, err) in zip(processes, said, strict=True):
        statuses = {r["status"] for r in records_of(out).values()}
        assert statuses <= {"indexed", "busy", "done"}, err
        assert process.returncode == int("busy" in statuses)
    assert dump(tmp_path / "library") == many_undisturbed


def test_what_another_process_has_done_meanwhile_is_not_counted_as_this_runs(
    films, tmp_path, capsys, monkeypatch
):
    library = tmp_path / "library"

    def other_run():
        done = longtake("index", str(films), *TWO, "--library", str(library))
        assert done.returncode == 0, done.stderr

    after_report(monkeypatch, 1, other_run)
    run = index(capsys, films, *TWO, library=library)
    assert run.status == 0
    assert [run.records[n]["status"] for n in ("a.mp4", "b.mp4", "c.mp4")] == [
        "indexed",
        "done",
        "done",
    ]
    assert "1 indexed (0:03 of video" in run.said
    assert "2 with nothing left to do" in run.said
    monkeypatch.undo()
    assert dump(library) == undisturbed(capsys, films, tmp_path)


# --- The library ---------------------------------------------------------------------------------


MIB = 2**20


def test_a_disk_that_fills_up_stops_the_run_and_a_later_one_resumes(
    small_disk, films, tmp_path, capsys, monkeypatch
):
    library, ballast = small_disk / "library", small_disk / "something else"
    common = [str(films), "--library", str(library), "--json", *TWO]
    common += ["--set", f"index.reserve_bytes={48 * MIB}", "--set", "index.ballast_bytes=1048576"]

    def fill_up():
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - 40 * MIB)

    after_report(monkeypatch, 1, fill_up)
    assert main(["index", *common]) == 1
    out, err = capsys.readouterr()
    assert [(name, r["status"]) for name, r in records_of(out).items()] == [("a.mp4", "indexed")]
    assert f"The disk of the library {library} has" in err
    assert "Nothing that was committed is lost" in err and "Free some space" in err
    assert "Traceback" not in err

    # As long as it is full: searching goes on, indexing says the same.
    assert main(["search", "lamp", "--library", str(library)]) == 0
    assert "The lamp is lit" in capsys.readouterr().out
    assert main(["index", *common]) == 1
    assert "Free some space" in capsys.readouterr().err

    ballast.unlink()
    assert main(["index", *common]) == 0
    assert dump(library) == undisturbed(capsys, films, tmp_path)


@pytest.fixture
def small_library(films, tmp_path, capsys) -> Path:
    index(capsys, films, *TWO, library=tmp_path / "library")
    return tmp_path / "library"


@pytest.mark.parametrize("command", [("index", "films"), ("search", "lamp"), ("ls",)])
def test_a_damaged_shard_is_named(small_library, tmp_path, capsys, monkeypatch, command):
    (file, *_) = small_library.glob("shards/*/segments/*/segment.json")
    file.write_text("{")
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--library", str(small_library)]) == 1
    err = capsys.readouterr().err
    assert file.parents[2].name in err and str(small_library) in err
    assert "backup" in err and "index again" in err
    assert "Traceback" not in err and "panicked" not in err


@pytest.mark.parametrize("command", [("index", "films"), ("search", "lamp"), ("ls",)])
def test_a_newer_library_is_refused(small_library, tmp_path, capsys, monkeypatch, command):
    path = small_library / "manifest.json"
    newer = json.dumps({**json.loads(path.read_text()), "schema_version": 99})
    path.write_text(newer)
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--library", str(small_library)]) == 1
    err = capsys.readouterr().err
    assert str(small_library) in err and "Upgrade" in err
    assert path.read_text() == newer


def test_a_library_that_is_deleted_during_the_run_is_told_and_stays_away(films, tmp_path):
    library = tmp_path / "library"
    code = (
        "import shutil, sys, cli.index\n"
        "from cli.main import main\n"
        "report = cli.index.Output.report\n"
        "def watched(self, reported):\n"
        "    report(self, reported)\n"
        "    shutil.rmtree(sys.argv[3])\n"
        "cli.index.Output.report = watched\n"
        "sys.exit(main(['index', sys.argv[1], '--library', sys.argv[3], *sys.argv[4:]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(films), "--library", str(library), *TWO, *QUICK],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"The folder of the library {library} has gone" in done.stderr
    assert not library.exists()


def test_a_folder_without_videos_and_a_path_that_is_not_there(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    library = tmp_path / "l"
    for meant in ("nothing", "noth*"):
        assert main(["index", str(tmp_path / meant), "--library", str(library)]) == 1
        said = capsys.readouterr().err
        assert "No videos in" in said and "Nothing to do" not in said
        assert not library.exists()
    assert main(["index", str(tmp_path / "absent.mp4"), "--library", str(tmp_path / "l")]) == 2
    assert "absent.mp4: does not exist" in capsys.readouterr().err
