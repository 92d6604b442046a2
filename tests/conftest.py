"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import talks

from cli.main import main
from index.library import Library

MIB = 2**20


def pytest_configure():
    """Of several processes that share the tests each keeps to cores of its own: libraries take a
    thread for each core they see, and threads that wait by spinning take the time of others."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        every = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        own = sorted(os.sched_getaffinity(0))[int(worker.removeprefix("gw")) :: every]
        if own:
            os.sched_setaffinity(0, own)


@pytest.fixture(scope="session", autouse=True)
def needs_no_download():
    """What tests run, in this process and in children, uses the profile that works everywhere."""
    os.environ["LONGTAKE_PROFILE"] = "packaged"


@pytest.fixture(scope="session", autouse=True)
def hears_ctrl_c():
    """A shell makes what it runs in the background deaf to Ctrl-C, and children inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def library(tmp_path):
    library = talks.open_library_at(tmp_path / "library")
    yield library
    library.store.close()


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Library:
    """For tests that write nothing."""
    library = talks.films_at(tmp_path_factory.mktemp("films") / "library")
    yield library
    library.store.close()


@pytest.fixture
def writable(tmp_path) -> Library:
    library = talks.films_at(tmp_path / "library")
    yield library
    library.store.close()


@pytest.fixture
def own_places(tmp_path, monkeypatch):
    """No settings and no log of the user's reach the test."""
    for name in list(os.environ):
        if name.startswith("LONGTAKE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LONGTAKE_CONFIG", os.devnull)
    monkeypatch.setenv("LONGTAKE_PROFILE", "packaged")
    monkeypatch.setenv("LONGTAKE_LOG", str(tmp_path / "longtake.log"))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real file system of 160 MiB, in a file. (A tmpfs is no disk: there reading a hole of a
    file takes space.)"""
    mounted, image = tmp_path / "disk", tmp_path / "image"
    mounted.mkdir()
    image.touch()
    os.truncate(image, 160 * MIB)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot make and mount a file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.fixture
def run_json(capsys, tmp_path, own_places):
    """run_json(*arguments) -> (exit status, what --json printed, stderr), of a command in this
    process over `tmp_path / "library"`."""

    def command(*arguments: str) -> tuple[int, list[dict], str]:
        status = main([*arguments, "--json", "--library", str(tmp_path / "library")])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return command


@pytest.fixture(scope="module")
def videollms(tmp_path_factory):
    """videollms(family) -> a tiny one on this machine, made once a module."""
    import tiny_videollm

    from ingest.models.videollm.transformers import TransformersVideoLLM

    made = {}

    def get(family: str) -> TransformersVideoLLM:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = TransformersVideoLLM(tiny_videollm.build(family, folder), device="cpu")
        return made[family]

    return get
