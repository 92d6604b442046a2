"""A stream gets what a file gets, from every channel: the whole command with a small model for
each, in its real format."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import models_dir
import numpy as np
import pytest
from clips import noise_picture, text_picture, write_clip
from dump import dump
from live_peers import TcpSender, eventually
from test_watch import OPTIONS, ROOT, Command

pytestmark = pytest.mark.usefixtures("own_places")

WORDED = ("speech", "screen_text", "object", "caption")
DERIVED = {"segment", "caption", *(f"text:{name}" for name in WORDED)}
CHANNELS = {"shot", "sound", "screen_text", "fingerprint", "frame", "object", "speech"}


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_dir.fill(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds with cuts, drawn words and a tone."""
    path = tmp_path_factory.mktemp("film") / "harbour.mkv"
    scenes = [
        *[text_picture("HARBOUR LIGHTS")] * 25,
        *[noise_picture(7, 320, 180)] * 25,
        *[text_picture("TIDE TABLE")] * 25,
        *[noise_picture(8, 320, 180)] * 25,
    ]
    write_clip(path, scenes, rate=10, key_frame_every=10, audio_seconds=10)
    return path


def run(command: str, library: Path, profile: Path, *given: str, **more) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "cli.main", command, *given, "--library", str(library),
            "--profile", str(profile), *OPTIONS,
        ],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        timeout=300,
        **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def found(library: Path, kind: str) -> dict[tuple, dict]:
    """(channel, start, end, text) -> vectors of all that is there of that kind."""
    points = [(payload, vectors) for payload, vectors in dump(library).values()]
    channels = {p["generation"]: p["channel"] for p, _ in points if p["kind"] == "generation"}
    return {
        (
            channels[p["generation"]],
            p.get("channel"),
            round(p["start_seconds"], 3),
            round(p["end_seconds"], 3),
            p.get("text", ""),
        ): vectors
        for p, vectors in points
        if p["kind"] == kind
    }


def channels_of(library: Path) -> dict[str, bool]:
    """channel -> whether it is complete"""
    return {
        payload["channel"]: payload["complete"]
        for payload, _ in dump(library).values()
        if payload["kind"] == "generation"
    }


def test_a_stream_gets_what_a_file_gets(film: Path, profile: Path, tmp_path: Path) -> None:
    streamed, indexed = tmp_path / "streamed", tmp_path / "indexed"
    run("index", indexed, profile, str(film))
    run("watch", streamed, profile, "-", "--name", "harbour", input=film.read_bytes())
    assert channels_of(streamed) == dict.fromkeys(CHANNELS | DERIVED, True)
    for kind in ("evidence", "segment", "passage", "embedding"):
        # The windows of sound end by a codec's delay otherwise: test_live_sound compares them.
        ours, theirs = (
            {key: one for key, one in found(library, kind).items() if key[0] != "sound"}
            for library in (streamed, indexed)
        )
        assert ours.keys() == theirs.keys()
        for key, vectors in ours.items():
            for name, vector in vectors.items():
                np.testing.assert_allclose(vector, theirs[key][name], atol=2e-3)
    assert {key[0] for key in found(streamed, "evidence")} >= {"sound", "caption", "object"}


def test_all_of_it_is_there_while_the_stream_goes_on(profile: Path, tmp_path: Path) -> None:
    """Also what comes behind the pictures: nothing waits for the end of an epoch."""
    library, path = tmp_path / "library", tmp_path / "hall.ts"
    pictures = []
    for at in range(10):
        pictures += [text_picture(f"PLATFORM {at + 10}")] * 20 + [noise_picture(at, 320, 180)] * 20
    write_clip(path, pictures, rate=5, key_frame_every=10, audio_seconds=80)
    sender = TcpSender([path.read_bytes()], hold=True)
    command = Command(
        library, sender.url, "--name", "hall", "--profile", str(profile),
        "--set", "live.follow_seconds=0.2", "--set", "live.read_timeout_seconds=300",
    )  # fmt: skip
    wanted = {
        "evidence": {"sound", "object", "caption", "screen_text", "frame"},
        "embedding": {"text:screen_text", "text:object", "text:caption"},
        "segment": {"segment"},
    }

    def is_there() -> bool:
        return library.exists() and all(
            channels <= {key[0] for key in found(library, kind)}
            for kind, channels in wanted.items()
        )

    try:
        eventually(is_there, 120)
        going_on = channels_of(library)
        assert not going_on["screen_text"] and not going_on["caption"]
        command.process.send_signal(signal.SIGTERM)
        assert command.wait() == 0
    finally:
        sender.close()
        if command.process.poll() is None:
            command.process.kill()
            command.wait()
