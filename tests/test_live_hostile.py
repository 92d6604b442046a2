"""What comes through a pipe, or is in a file that grows, reaches nothing else on the machine."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest
from clips import noise_picture, text_picture, write_clip

from index.errors import SourceError
from ingest.live.connection import Connection
from ingest.live.settings import LiveSettings
from ingest.live.source import parse_source


@pytest.fixture
def piped(monkeypatch):
    """Opens a connection to a pipe that holds these bytes and has ended."""

    def open_(data: bytes) -> Connection:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(fileno=lambda: reading))
        return Connection(parse_source("-"), LiveSettings(), threading.Event())

    return open_


def test_a_playlist_in_a_pipe_or_a_growing_file_opens_no_other_file(piped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "secret.ts", [text_picture("SECRET")] * 10)
    assert len(list(piped(clip.read_bytes()))) == 10
    playlist = b"ffconcat version 1.0\nfile secret.ts\n"
    with pytest.raises(SourceError):
        piped(playlist)
    (tmp_path / "growing.ts").write_bytes(playlist)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(SourceError):
        list(Connection(parse_source("growing.ts"), LiveSettings(), stop))


@pytest.mark.parametrize("data", [b"", b"\n", b"404 not found" * 1000])
def test_a_pipe_that_ends_without_a_picture_is_not_tried_again(piped, data):
    with pytest.raises(SourceError) as caught:
        piped(data)
    assert caught.value.lasting


def test_a_file_that_is_no_media_holds_no_descriptor(tmp_path):
    """It is tried again for as long as anybody watches."""
    path = tmp_path / "archive"
    path.write_bytes(b"404 not found\n" * 200_000)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(SourceError):
            Connection(parse_source(str(path)), LiveSettings(), threading.Event())
    assert len(os.listdir("/dev/fd")) == before


def test_of_mp4_whose_index_is_at_its_end_the_way_out_is_said(tmp_path):
    """Trying again would be no use."""
    film = write_clip(tmp_path / "film.mp4", [noise_picture(n, 320, 180) for n in range(20)])
    assert film.stat().st_size > 100_000, "more than FFmpeg keeps to go back in"
    connection = Connection(parse_source(str(film)), LiveSettings(), threading.Event())
    with pytest.raises(SourceError, match="longtake index") as caught:
        list(connection)
    assert caught.value.lasting
    connection.close()
