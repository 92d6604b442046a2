"""`longtake watch` where nobody takes what it says, and where it is told to stop twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from live_peers import TcpSender, eventually
from test_watch import ROOT, finds, longtake, recording, watch

from cli.main import main
from cli.telling import Told
from index.errors import ModelMissingError
from ingest.live.state import SourceState

assert recording and watch  # fixtures

pytestmark = pytest.mark.usefixtures("own_places")


def is_closed(library) -> bool:
    """Whether the only source was left as one that has ended."""
    (listed,) = longtake(library, "ls")
    return listed["duration_seconds"] is not None


def test_it_stops_in_order_where_nobody_reads_on(watch, recording, tmp_path):
    library = tmp_path / "library"
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier", "--json")
    assert json.loads(command.process.stdout.readline())["state"] == "connecting"
    command.process.stdout.close()
    assert command.process.wait(60) == 1
    assert "Traceback" not in command.process.stderr.read()
    command.process.stderr.close()
    sender.close()
    assert is_closed(library)


def test_a_signal_that_comes_twice_at_once_is_one(watch, recording, tmp_path):
    """As where both the shell and a wrapper pass on a Ctrl-C."""
    library = tmp_path / "library"
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier")
    eventually(finds(library, "ferry"))
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.05)  # else the system makes one of two
    assert command.stop(signal.SIGINT) == 130
    sender.close()
    assert "stopped" in command.stderr and "Traceback" not in command.stderr
    assert is_closed(library)


def test_where_the_disk_is_nearly_full_recording_stops_and_watching_goes_on(
    watch, recording, tmp_path
):
    library = tmp_path / "library"
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier", "--record", "--set", f"live.spare_bytes={2**62}")
    eventually(finds(library, "ferry"))
    assert command.stop(signal.SIGTERM) == 0
    sender.close()
    assert "nothing is recorded until there is room" in command.stderr
    assert list((library / "recordings").rglob("*.mkv")) == []


def test_lost_output_ends_no_thread(monkeypatch, capsys):
    def broken(*parts):
        raise BrokenPipeError

    stop = threading.Event()
    told = Told(False, stop)
    told(SourceState("hall", "an id", "live"))
    assert not stop.is_set() and "hall" in capsys.readouterr().err
    monkeypatch.setattr("cli.telling.say", broken)
    told(SourceState("hall", "an id", "lost", "why"))
    assert stop.is_set() and isinstance(told.lost, BrokenPipeError)


STOPPED_AT_WORK = """
import threading, torch
from cli.process import end

layer, begun = torch.nn.Linear(600, 600), threading.Event()

def work():
    while True:
        layer(torch.zeros(600, 600))
        begun.set()

threading.Thread(target=work, daemon=True).start()
begun.wait(60)
print("data")
end(3)
"""


def test_a_model_at_work_does_not_abort_the_process_at_its_end():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_WORK], cwd=ROOT, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"data\n", b"")


def test_who_stops_it_while_models_are_made_ready_sees_nothing_begin(monkeypatch, capsys, tmp_path):
    def prepare(senses, say):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("cli.senses.Senses.prepare_models", prepare)
    source, library = tmp_path / "hall.ts", tmp_path / "library"
    assert main(["watch", str(source), "--library", str(library)]) == 0
    assert "hall" not in capsys.readouterr().err


def test_stopping_does_not_wait_for_models_that_are_made_ready(monkeypatch, tmp_path):
    gate = threading.Event()

    def prepare(senses, say):
        os.kill(os.getpid(), signal.SIGTERM)
        gate.wait(60)

    monkeypatch.setattr("cli.senses.Senses.prepare_models", prepare)
    try:
        assert main(["watch", str(tmp_path / "a.ts"), "--library", str(tmp_path / "library")]) == 0
        assert any(thread.name == "making ready" for thread in threading.enumerate())
    finally:
        gate.set()


def test_what_is_wrong_with_a_model_is_said(monkeypatch, capsys, tmp_path):
    def prepare(senses, say):
        raise ModelMissingError("The model is not here.")

    monkeypatch.setattr("cli.senses.Senses.prepare_models", prepare)
    assert main(["watch", str(tmp_path / "a.ts"), "--library", str(tmp_path / "library")]) == 1
    assert "The model is not here." in capsys.readouterr().err


def test_a_source_that_hangs_when_it_is_stopped_is_no_failure(monkeypatch, capsys, tmp_path):
    """Nor is what becomes of it when the library is closed under it."""
    gate = threading.Event()

    class Hanging:
        def __init__(self, *given, **more):
            self._tell = given[8]

        def run(self):
            os.kill(os.getpid(), signal.SIGTERM)
            gate.wait(60)
            self._tell(state := SourceState("hall", "an id", "failed", "The library is closed."))
            return state

    finish = Told.finish

    def finished(told):
        finish(told)
        gate.set()
        eventually(lambda: not any(one.name == "watch a" for one in threading.enumerate()))

    monkeypatch.setattr("cli.watch.Watcher", Hanging)
    monkeypatch.setattr("cli.watch.Told.finish", finished)
    assert main(["watch", str(tmp_path / "a.ts"), "--library", str(tmp_path / "library")]) == 0
    assert capsys.readouterr().err == ""
