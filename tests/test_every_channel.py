"""The whole program with a model for every channel: small networks in their real formats, through
the libraries that the real ones go through."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import models_dir
import numpy as np
import pytest
import warm
from clips import GRAY, noise_picture, solid, text_picture, write_clip
from dump import dump
from test_crash import FIRST_SUBTITLES, KILLED, REPO, write_subtitles

DATA = REPO.parent / "shared" / "data"
JFK = DATA / "audio" / "faster-whisper" / "jfk.flac"

CHANNELS = {"speech", "sound", "screen_text", "fingerprint", "frame", "object", "caption"}
# Speech twice: out of subtitles, and out of the sound of the other file.
IN_ORDER = (
    "speech", "text:speech", "speech", "sound",
    "screen_text", "fingerprint", "object", "frame", "shot",
    "segment", "text:screen_text", "text:object", "caption", "text:caption",
)  # fmt: skip
DERIVED = {"text:speech", "text:screen_text", "text:object", "text:caption", "segment"}

FAST = ("--set", "ingest.commit_seconds=0", "--set", "index.reserve_bytes=0")

QUIETLY = """
import json, sys
from cli.main import main
status = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(loaded)), file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_dir.fill(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with cuts, drawn words, a tone and subtitles; and speech that nobody wrote down."""
    if not JFK.exists():
        pytest.skip("../shared/data is not here")
    folder = tmp_path_factory.mktemp("films")
    shutil.copy(JFK, folder)
    scenes = [
        *[text_picture("HARBOUR LIGHTS")] * 30,
        *[noise_picture(7, 320, 180)] * 30,
        *[text_picture("TIDE TABLE")] * 15,
        *[text_picture(["TIDE TABLE", "HIGH WATER 9:40"])] * 15,
        *[solid(GRAY, 320, 180)] * 30,
    ]
    write_clip(folder / "harbour.mp4", scenes, rate=10, key_frame_every=25, audio_seconds=12)
    write_subtitles(folder / "harbour.en.srt", FIRST_SUBTITLES)
    return folder


def longtake(
    *arguments: str, profile: Path, fault: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = warm.longtake(
        [*arguments, "--profile", str(profile)],
        {**os.environ, **({"LONGTAKE_FAULT": fault} if fault else {})},
        REPO,
        timeout_seconds=300,
    )
    if check:
        assert done.returncode == (KILLED if fault else 0), done.stdout + done.stderr
    return done


def index(library: Path, films: Path, profile: Path, *more: str, fault: str | None = None) -> None:
    files = (str(films / "harbour.mp4"), str(films / "jfk.flac"))
    longtake("index", *files, "--library", str(library), *FAST, *more, profile=profile, fault=fault)


@pytest.fixture(scope="module")
def library(films: Path, profile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("every") / "library"
    index(library, films, profile)
    return library


def records(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def moments(words: str, library: Path, profile: Path, *more: str) -> list[dict]:
    done = longtake("search", words, "--library", str(library), "--json", *more, profile=profile)
    return records(done)


def same(one: dict, other: dict) -> None:
    """The same points, and vectors that differ by rounding at most (a network's last digits hang on
    what else is in the batch)."""
    assert one.keys() == other.keys()
    for id, (payload, vectors) in one.items():
        assert payload == other[id][0]
        assert vectors.keys() == other[id][1].keys()
        for name, vector in vectors.items():
            np.testing.assert_allclose(vector, other[id][1][name], atol=1e-3)


def test_every_channel_finds_something_and_covers_the_film(library: Path, profile: Path) -> None:
    shown = longtake("show", "harbour", "--library", str(library), "--json", profile=profile)
    channels = records(shown)[0]["channels"]
    assert channels.keys() == CHANNELS | DERIVED | {"shot"}
    assert all(channel["coverage"] == 1.0 for channel in channels.values())
    assert all(channel["evidence"] for channel in channels.values())


def test_speech_without_subtitles_is_recognised_with_its_words(
    library: Path, profile: Path
) -> None:
    spoken = [
        payload
        for payload, _ in dump(library).values()
        if payload["kind"] == "evidence"
        and payload["channel"] == "speech"
        and payload["attributes"]["source"].startswith("recognized by whisper")
    ]
    assert spoken
    for evidence in spoken:
        words = evidence["attributes"]["words"]
        assert words
        assert all(start <= end for start, end, _ in words)


def test_passages_are_found_by_meaning(library: Path, profile: Path) -> None:
    """No word of the question is in the film: BM25 alone finds nothing."""
    asked = "vessels navigate with the help of a beacon"
    best = moments(asked, library, profile)[0]
    assert best["title"] == "harbour"
    assert "Ships steer by its beam." in best["text"]
    assert not moments(asked, library, profile, "--set", "models.dir=/nowhere")


def test_running_again_does_nothing_and_loads_no_model(
    films: Path, library: Path, profile: Path
) -> None:
    files = [str(films / "harbour.mp4"), str(films / "jfk.flac")]
    arguments = ["index", *files, "--library", str(library), "--profile", str(profile)]
    done = subprocess.run(
        [sys.executable, "-c", QUIETLY, *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "2 up to date" in done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {"torch", "transformers", "open_clip", "faster_whisper", "onnxruntime"}


def test_a_search_in_every_space_loads_no_torch(library: Path, profile: Path) -> None:
    arguments = ["search", "ships", "--library", str(library), "--profile", str(profile)]
    done = subprocess.run(
        [sys.executable, "-c", QUIETLY, *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "transformers", "open_clip", "scipy"}


def test_a_run_that_was_killed_in_every_channel_ends_as_one_that_was_not(
    films: Path, library: Path, profile: Path, tmp_path: Path
) -> None:
    """Each time when the channel has written more than its watermark says."""
    assert set(IN_ORDER) == CHANNELS | DERIVED | {"shot"}
    killed = tmp_path / "library"
    for channel in IN_ORDER:
        index(killed, films, profile, fault=f"after-evidence-of-{channel}")
    index(killed, films, profile)
    same(dump(killed), dump(library))


def test_a_model_is_swapped_under_the_searchers_hands(
    library: Path, profile: Path, tmp_path: Path
) -> None:
    """Searches see the old model's vectors until the new one's are complete, then those; never
    both, not even where the swap is killed half-way."""
    swapped = tmp_path / "library"
    shutil.copytree(library, swapped)

    def frames() -> set[str]:
        from cli.compose import build_retriever, open_library
        from cli.settings import load

        # Cosines of a network that was never trained mean nothing: take them all.
        anything = {"frame": {"zero": -0.99, "full": 1.0, "floor": 0.0}}
        settings, _ = load({"library": str(swapped), "retrieve": anything}, str(profile))
        with open_library(settings) as opened:
            before = {g.id: g.detail["model"] for g in opened.generations() if g.channel == "frame"}
            found = build_retriever(settings, opened).search(
                "a harbour", channels=["frame"], limit=100
            )
            ids = [id for moment in found.moments for hit in moment.hits for id in hit.evidence]
            shown = {point.payload["generation"] for point in opened.store.retrieve(ids)}
            if ids and not shown:  # the flip came behind the search, and what it had found has gone
                return {"small"}
            return {before[generation] for generation in shown if generation in before}

    assert frames() == {"small"}
    arguments = ("reindex", "--channel", "frame", "--model", "wider", "--library", str(swapped))
    longtake(*arguments, *FAST, profile=profile, fault="after-watermark:2")
    assert frames() == {"small"}

    seen: list[set[str]] = []
    swapping = threading.Event()

    def search_all_the_while() -> None:
        while not swapping.wait(0.1):
            seen.append(frames())

    searcher = threading.Thread(target=search_all_the_while)
    searcher.start()
    try:
        longtake(*arguments, *FAST, profile=profile)
    finally:
        swapping.set()
        searcher.join()
    assert frames() == {"wider"}
    assert all(len(models) == 1 for models in seen)


def test_frames_are_indexed_with_weights_of_8_bits_beside_those_of_the_whole(
    library: Path, profile: Path, tmp_path: Path
) -> None:
    """Their space is another one, and what they lose is said; searches ask the one that is full."""
    rounded = tmp_path / "library"
    shutil.copytree(library, rounded)
    setting = ("--set", "channels.frame.int8=true")
    done = longtake(
        "reindex", "--channel", "frame", *setting, "--library", str(rounded), *FAST,
        profile=profile,
    )  # fmt: skip
    assert re.search(r"8-bit weights .* cosine of 0?\.9\d+", done.stderr)
    points = dump(rounded).values()
    (space,) = [p["space"] for p, _ in points if p["kind"] == "space" and p["space"][:5] == "frame"]
    assert space.endswith(".int8")
    frames = [v for p, v in points if p["kind"] == "evidence" and p["channel"] == "frame"]
    assert frames and all(vectors.keys() == {space} for vectors in frames)
    anything = ("--set", 'retrieve.frame={"zero": -0.99, "full": 1.0, "floor": 0.0}')
    found = moments("a harbour", rounded, profile, "--channel", "frame", *anything)
    assert found and all(moment["channel"] == "frame" for moment in found)
    # To the float model these frames are another model's.
    plan = ("index", "--dry-run", found[0]["path"], "--channels", "frame")
    again = longtake(*plan, "--library", str(rounded), profile=profile)
    assert "frame settings changed" in again.stderr
    again = longtake(*plan, "--library", str(rounded), *setting, profile=profile)
    assert "1 up to date" in again.stderr


def test_what_was_recognised_stays_where_nobody_can_listen(
    films: Path, library: Path, profile: Path, tmp_path: Path
) -> None:
    """A later run without the recogniser neither replaces it nor calls it out of date."""
    copied = tmp_path / "library"
    shutil.copytree(library, copied)
    before = dump(copied)
    done = longtake(
        "index", str(films / "jfk.flac"), "--library", str(copied), profile=Path("packaged")
    )
    assert "1 up to date" in done.stderr
    assert dump(copied) == before


def test_a_model_in_a_folder_is_found_from_anywhere(
    films: Path, profile: Path, tmp_path: Path
) -> None:
    models = tomllib.loads(profile.read_text())["models"]["dir"]
    library = tmp_path / "library"
    relative = os.path.relpath(Path(models) / "clip" / "small", REPO)
    named = ("--set", f"channels.frame.model=./{relative}")
    film = str(films / "harbour.mp4")
    longtake(
        "index", film, "--library", str(library), "--channels", "frame", *named, profile=profile
    )
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "search", "harbour", "--library", str(library)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be a model's name" not in done.stderr


def test_without_its_models_nothing_is_decoded(films: Path, tmp_path: Path) -> None:
    """The default profile asks for everything."""
    empty = tmp_path / "empty.toml"
    empty.write_text(f"[models]\ndir = {json.dumps(str(tmp_path / 'models'))}\n")
    library = tmp_path / "library"
    done = longtake("index", str(films), "--library", str(library), profile=empty, check=False)
    assert done.returncode == 1
    for name in ("whisper", "clip", "clap", "text", "models pull", "--profile packaged"):
        assert name in done.stderr
    assert not library.exists()


def test_a_channel_that_has_nothing_to_go_by_says_so(
    films: Path, profile: Path, tmp_path: Path
) -> None:
    index = ("index", str(films / "harbour.mp4"), "--library", str(tmp_path / "library"), *FAST)
    tags = longtake(*index, "--channels", "caption", profile=profile)
    assert "nothing was done; the note says why" in tags.stderr
    assert "caption: not run, because frame is not" in tags.stderr
    nothing = ("--set", "channels.object.classes=[]")
    for command in (index, ("reindex", "--library", str(tmp_path / "library"))):
        by = ("--channel" if command[0] == "reindex" else "--channels", "object")
        done = longtake(*command, *by, *nothing, profile=profile, check=False)
        assert done.returncode == 2 and "channels.object.classes names" in done.stderr
    longtake(*index, "--channels", "fingerprint", *nothing, profile=profile)


def test_an_estimate_names_every_stage(films: Path, profile: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    done = longtake(
        "estimate", str(films / "harbour.mp4"), "--library", str(library), "--json",
        profile=profile,
    )  # fmt: skip
    (estimate,) = records(done)
    assert estimate["seconds"].keys() >= (CHANNELS | DERIVED | {"pictures", "commits", "load"})
    assert estimate["total_seconds"] == pytest.approx(sum(estimate["seconds"].values()), abs=0.1)
    assert estimate["media_seconds"] == pytest.approx(12.0, abs=0.2)
    assert estimate["memory_bytes"] == sum(estimate["memory"].values()) > 0
    assert estimate["memory"].keys() >= CHANNELS
    assert estimate["bytes"].keys() >= CHANNELS
    assert not library.exists()
