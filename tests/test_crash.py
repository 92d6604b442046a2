"""An index that was killed at any point, and run again, is the index of an undisturbed run.

Every case runs the real command in a real process, kills it with SIGKILL, runs the same command
again, and compares every point of the two libraries: ids, texts, spans, vectors.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clips import GRAY, noise_picture, solid, text_picture, write_clip
from dump import dump

REPO = Path(__file__).resolve().parents[1]
KILLED = -signal.SIGKILL

FAST = ("--set", "ingest.commit_seconds=0", "--set", "index.reserve_bytes=0")
SMALL_SHARDS = ("--set", "index.head_points=64", "--set", "index.compact_delay_seconds=0")

COMMIT_POINTS = [
    "before-evidence",
    "after-evidence",
    "after-evidence-flush",
    "after-watermark",
    "after-watermark-flush",
]
FLIP_POINTS = ["before-flip", "after-flip", "before-generation-record-goes"]

FIRST_SUBTITLES = ["The lamp is lit at dusk.", "Ships steer by its beam.", "Fog hides the rocks."]
NEW_SUBTITLES = ["The lamp is electric now.", "Nobody climbs the stairs.", "Gulls nest there."]


def write_film(path: Path) -> None:
    """12 s at 10 frames a second: words, a picture, words to which a line is added, nothing."""
    timetable = "TIDE TABLE"
    scenes = [
        *[text_picture("HARBOUR LIGHTS")] * 30,
        *[noise_picture(7, 320, 180)] * 30,
        *[text_picture(timetable)] * 15,
        *[text_picture([timetable, "HIGH WATER 9:40"])] * 15,
        *[solid(GRAY, 320, 180)] * 30,
    ]
    write_clip(path, scenes, rate=10, key_frame_every=25)


def write_subtitles(path: Path, lines: list[str]) -> None:
    cues = [
        f"{n + 1}\n00:00:{3 * n + 1:02},000 --> 00:00:{3 * n + 3:02},000\n{line}\n"
        for n, line in enumerate(lines)
    ]
    path.write_text("\n".join(cues), encoding="utf-8")


def longtake(*arguments: str, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=REPO,
        env={**os.environ, **({"LONGTAKE_FAULT": fault} if fault else {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def index(library: Path, folder: Path, *more: str, fault: str | None = None) -> int:
    done = longtake("index", str(folder), "--library", str(library), *FAST, *more, fault=fault)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 12 s with cuts, drawn words, and a still stretch, and its subtitles."""
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "harbour.mp4")
    write_subtitles(folder / "harbour.en.srt", FIRST_SUBTITLES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    library = tmp_path_factory.mktemp("undisturbed") / "library"
    assert index(library, folder) == 0
    content = dump(library)
    kinds = {payload["kind"] for payload, _ in content.values()}
    assert kinds == {
        "video", "generation", "evidence", "passage", "segment", "text_stats", "outline"
    }  # fmt: skip
    return content


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_killed_between_two_writes(
    point: str, nth: int, folder: Path, undisturbed: dict, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    assert index(library, folder, fault=f"{point}:{nth}") == KILLED
    assert index(library, folder) == 0
    assert dump(library) == undisturbed


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_times(seed: int, folder: Path, undisturbed: dict, tmp_path: Path) -> None:
    """Three kills in a row, wherever they fall, and then a run that is left alone."""
    library = tmp_path / "library"
    chance = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cli.main",
                "index",
                str(folder),
                "--library",
                str(library),
                *list(FAST),
            ],
            cwd=REPO,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (library / "manifest.json").exists() and time.monotonic() < deadline:
            if process.poll() is not None:
                break
        try:
            process.wait(timeout=chance.uniform(0.0, 2.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert index(library, folder) == 0
    assert dump(library) == undisturbed


@pytest.mark.parametrize("point", FLIP_POINTS)
def test_killed_while_new_subtitles_replace_old_ones(
    point: str, folder: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    shutil.copytree(folder, films)
    library = tmp_path / "library"
    assert index(library, films, "--channels", "speech") == 0
    write_subtitles(films / "harbour.en.srt", NEW_SUBTITLES)
    assert index(library, films, "--channels", "speech", fault=point) == KILLED
    assert index(library, films, "--channels", "speech") == 0

    spoken = {
        payload["text"]
        for payload, _ in dump(library).values()
        if payload["kind"] == "evidence" and payload["channel"] == "speech"
    }
    assert spoken == set(NEW_SUBTITLES)

    fresh = tmp_path / "fresh"
    assert index(fresh, films, "--channels", "speech") == 0
    assert dump(library) == dump(fresh)


@pytest.fixture(scope="module")
def talkative(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The film with so many subtitles that small shards fill, and its undisturbed content."""
    films = tmp_path_factory.mktemp("talkative")
    shutil.copy(folder / "harbour.mp4", films)
    cues = [
        f"{n + 1}\n00:00:{n // 25:02},{n % 25 * 40:03} --> 00:00:{n // 25:02},{n % 25 * 40 + 39:03}"
        f"\nSignal number {n} is seen from the pier.\n"
        for n in range(250)
    ]
    (films / "harbour.en.srt").write_text("\n".join(cues), encoding="utf-8")
    library = tmp_path_factory.mktemp("undisturbed-talkative") / "library"
    assert index(library, films, *SMALL_SHARDS) == 0
    return films, dump(library)


@pytest.mark.parametrize(
    "point",
    [
        "rotate:2",
        "manifest:3",
        "manifest-renamed:3",
        "between-copies:1",
        "between-syncs:1",
        "compaction-sent:1",
        "compaction-before-swap:1",
        "compaction-swap:1",
        "compaction-swapped:1",
        "compaction-inputs-removed:1",
    ],
)
def test_killed_while_shards_turn_over(point: str, talkative: tuple, tmp_path: Path) -> None:
    """Shards so small that even this film fills several."""
    films, undisturbed = talkative
    library = tmp_path / "library"
    if index(library, films, *SMALL_SHARDS, fault=point) != KILLED:
        # It was done before a compaction got so far. One goes on while the library is open.
        chat = [sys.executable, "-m", "cli.main", "chat", "--library", str(library), *SMALL_SHARDS]
        env = {**os.environ, "LONGTAKE_FAULT": point}
        with subprocess.Popen(chat, cwd=REPO, env=env, stdin=subprocess.PIPE) as held:
            assert held.wait(timeout=60) == KILLED
    assert index(library, films, *SMALL_SHARDS) == 0
    assert dump(library) == undisturbed
