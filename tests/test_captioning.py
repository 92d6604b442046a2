"""Captions by a server, through the whole program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny_videollm
import warm
from clips import noise_picture, write_clip
from dump import dump
from test_crash import KILLED, REPO
from test_videollm_openai import Server, says

from cli.main import main
from index.access import open_store
from index.library import Library

CAPTION = ("--set", "channels.caption.backend=openai", "--set", "channels.caption.model=good")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(8):
        write_clip(folder / f"{number}.mp4", [noise_picture(number, 160, 96)] * 10, rate=10)
    return folder


def arguments(films: Path, library: Path, base_url: str) -> list[str]:
    return [
        "index", str(films), "--library", str(library), "--channels", "fingerprint,caption",
        *CAPTION, "--set", f"channels.caption.base_url={base_url}",
        "--set", "channels.caption.retries=0", "--set", "index.reserve_bytes=0",
    ]  # fmt: skip


def captions(library: Path) -> list[str]:
    store = open_store(library)
    try:
        opened = Library(store)
        videos = opened.videos()
        return [e.text for v in videos for e in opened.evidence(v.id, channel="caption")]
    finally:
        store.close()


def test_every_file_gets_its_caption_however_fast_the_server_is(films, tmp_path):
    """The waiting begins where the work on the pictures has let go of the file."""
    server = Server(says("A wall ", "of noise."))
    try:
        assert main(arguments(films, tmp_path / "library", server.url)) == 0
    finally:
        server.close()
    assert captions(tmp_path / "library") == ["A wall of noise."] * 8


def test_captions_alone_can_be_asked_for(films, tmp_path):
    server = Server(says("A wall ", "of noise."))
    given = arguments(films, tmp_path / "library", server.url)
    given[given.index("fingerprint,caption")] = "caption"
    try:
        assert main(given) == 0
    finally:
        server.close()
    assert captions(tmp_path / "library") == ["A wall of noise."] * 8


def test_captions_are_swapped_for_those_of_another_model(films, tmp_path, capsys):
    """The server answers with the name of the model that it was asked for."""

    def answer(handler, body, number):
        says(f"By {body['model']}.")(handler, body, number)

    server, library = Server(answer), tmp_path / "library"
    served = [
        "--set", "channels.caption.backend=openai", "--set", "channels.caption.model=first",
        "--set", f"channels.caption.base_url={server.url}", "--library", str(library),
        "--set", "index.reserve_bytes=0",
    ]  # fmt: skip
    try:
        assert main(["index", str(films / "0.mp4"), "--channels", "caption", *served]) == 0
        assert captions(library) == ["By first."]
        assert main(["reindex", "--channel", "caption", "--model", "other", *served]) == 0
    finally:
        server.close()
    assert captions(library) == ["By other."]
    kept = '[channels.caption] backend = "openai" model = "other"'
    assert kept in " ".join(capsys.readouterr().err.split())


def test_without_a_server_the_captioners_model_is_one_on_this_machine(films, tmp_path, capsys):
    library = tmp_path / "library"
    main(["index", str(films / "0.mp4"), "--library", str(library), "--profile", "packaged"])
    capsys.readouterr()

    def reindex(model: str) -> tuple[int, str]:
        given = ["--library", str(library), "--set", f"models.dir={tmp_path / 'models'}"]
        status = main(["reindex", "--channel", "caption", "--model", model, *given])
        return status, " ".join(capsys.readouterr().err.split())

    status, told = reindex("acme/talker")
    assert status == 1 and "The videollm model acme/talker is not here" in told
    status, told = reindex("ViT-B-32-SigLIP2-256")
    assert status == 2 and "no Video-LLM" in told


@pytest.mark.parametrize("nth", [1, 3])
def test_captions_by_a_model_of_this_machine_resume_after_a_kill(nth, tmp_path):
    """One segment a batch, so that a kill lies between two of one file."""
    model = tiny_videollm.build("qwen3_vl", tmp_path / "talker")
    film = write_clip(
        tmp_path / "film.mp4",
        [picture for n in range(4) for picture in [noise_picture(n, 160, 96)] * 30],
        rate=10,
    )

    def index(library: Path, fault: str | None = None) -> None:
        done = warm.longtake(
            ["index", str(film), "--library", str(library), "--channels", "caption",
             "--set", "channels.caption.backend=transformers",
             "--set", f"channels.caption.model={model.folder}",
             "--set", "channels.caption.batch=1", "--set", "channels.caption.frames=2",
             "--set", "channels.caption.max_tokens=8", "--set", "models.device=cpu",
             "--set", "ingest.commit_seconds=0", "--set", "index.reserve_bytes=0"],
            {**os.environ, **({"LONGTAKE_FAULT": fault} if fault else {})}, REPO, 300,
        )  # fmt: skip
        assert done.returncode == (KILLED if fault else 0), done.stderr

    index(tmp_path / "undisturbed")
    assert len(captions(tmp_path / "undisturbed")) == 4
    index(tmp_path / "killed", f"after-evidence-of-caption:{nth}")
    index(tmp_path / "killed")
    assert dump(tmp_path / "killed") == dump(tmp_path / "undisturbed")


def test_without_its_server_the_other_channels_go_on(films, tmp_path, capsys):
    library = tmp_path / "library"
    assert main(arguments(films, library, "http://127.0.0.1:9/v1")) == 1
    assert "No server answers" in capsys.readouterr().err
    store = open_store(library)
    try:
        opened = Library(store)
        assert opened.videos() and all(
            any(g.channel == "fingerprint" and g.complete for g in opened.generations(video.id))
            for video in opened.videos()
        )
    finally:
        store.close()


def test_a_silent_server_does_not_hold_up_an_interrupt(films, tmp_path):
    asked, over = threading.Event(), threading.Event()

    def answer(_handler, _body, _number):
        asked.set()
        over.wait(60)

    server = Server(answer)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments(films, tmp_path / "library", server.url)],
        cwd=REPO,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert asked.wait(60)
        process.send_signal(signal.SIGTERM)  # what Ctrl-C does, and never ignored by a shell
        assert process.wait(timeout=20) == 130  # the server may be silent for 120 s
    finally:
        over.set()
        process.kill()
        server.close()
