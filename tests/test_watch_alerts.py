"""Standing questions over a stream that is being watched, in processes of their own."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import sys
import threading
from pathlib import Path

import cv2
import pytest
import talks
from clips import noise_picture, text_picture, write_clip
from live_peers import TcpSender, eventually
from test_watch import KILLED, finds, longtake, recording, watch

from index.alerts import Alert, AlertBook

assert recording and watch  # fixtures

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def told(tmp_path):
    """A program that writes down what it is told, and what it has been told so far."""
    script, heard = tmp_path / "hear.py", tmp_path / "heard.jsonl"
    script.write_text(
        f"import sys\nwith open({str(heard)!r}, 'a') as out:\n    out.write(sys.stdin.read())\n"
    )

    def events() -> list[dict]:
        lines = heard.read_text().splitlines() if heard.exists() else []
        return [json.loads(line) for line in lines]

    events.command = shlex.join([sys.executable, str(script)])
    return events


def add(library: Path, *arguments: str) -> dict:
    (added,) = longtake(library, "alert", "add", *arguments)
    return added


def test_a_question_speaks_up_while_the_stream_runs(watch, recording, told, tmp_path):
    library = tmp_path / "library"
    add(library, "ferry 9:40", "--exec", told.command)
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier", "--json")
    (event,) = eventually(told)
    assert (event["source"], event["text"]) == ("pier", "NEXT FERRY 9:40")
    assert event["start_seconds"] == pytest.approx(2.5, abs=0.3)
    (listed,) = longtake(library, "alert", "ls")
    assert listed["state"] in ("fired", "cooling down", "armed") and listed["events"] == 1
    # Asked while it runs, of what is still on the screen.
    add(library, "next ferry", "--exec", told.command, "--source", "pier")
    add(library, "pier closed", "--exec", told.command)  # which was, and is no more
    eventually(lambda: finds(library, "ferry")())
    assert command.stop(signal.SIGTERM) == 0
    sender.close()
    assert {one["alert"] for one in told()} <= {"ferry 9:40", "next ferry"}
    history = longtake(library, "alert", "history", "ferry 9:40")
    assert [one["event"]["id"] for one in history] == [event["id"]]
    assert [one["state"] for one in history[0]["deliveries"]] == ["delivered"]
    lines = [json.loads(line) for line in command.stdout.splitlines()]
    assert [one["event"]["id"] for one in lines if "event" in one][:1] == [event["id"]]


def test_across_a_kill_and_a_reconnection_each_event_is_told_under_one_id(watch, told, tmp_path):
    """Three texts; the first is on the screen when the process dies, and again behind the new
    connection."""
    library = tmp_path / "library"

    def stream(name: str, *texts: str) -> bytes:
        pictures = []
        for text in texts:
            pictures += [text_picture(text)] * 15 + [noise_picture(len(pictures), 320, 180)] * 10
        path = write_clip(tmp_path / name, pictures, rate=10, key_frame_every=5)
        return path.read_bytes()

    add(library, "gate open", "--exec", told.command)
    add(library, "train late", "--exec", told.command)
    sender = TcpSender([stream("a.ts", "GATE OPEN"), stream("b.ts", "TRAIN LATE")], hold=True)
    command = watch(sender.url, "--name", "hall")
    eventually(lambda: longtake(library, "alert", "history"))
    command.process.kill()
    assert command.wait() == KILLED
    sender.let_go()
    again = watch(sender.url, "--name", "hall")
    eventually(lambda: {one["alert"] for one in told()} == {"gate open", "train late"})
    assert again.stop(signal.SIGTERM) == 0
    sender.close()
    history = longtake(library, "alert", "history")
    assert sorted(one["event"]["question"] for one in history) == ["gate open", "train late"]
    assert {one["id"] for one in told()} == {one["event"]["id"] for one in history}
    assert all(one["state"] == "delivered" for line in history for one in line["deliveries"])


@pytest.mark.parametrize("point", ["before-event", "after-event"])
def test_a_kill_before_an_event_is_told_loses_nothing(point, watch, recording, told, tmp_path):
    """Killed between the evidence and the event, and between the event and its delivery."""
    library = tmp_path / "library"
    # Long ago: of a file that is there already, all but the end is of the past.
    opened = talks.open_library_at(library)
    AlertBook(opened.store).put(Alert("pier closed", 0.0, command=tuple(shlex.split(told.command))))
    opened.store.close()
    path = tmp_path / "pier.ts"
    path.write_bytes(recording)
    assert watch(str(path), fault=point).wait() == KILLED
    assert told() == []
    again = watch(str(path))
    eventually(lambda: [one["alert"] for one in told()] == ["pier closed"])
    eventually(finds(library, "ferry"))
    assert again.stop(signal.SIGTERM) == 0
    assert len(told()) == 1


def test_what_one_process_has_on_its_way_another_does_not_send(watch, recording, told, tmp_path):
    """Two watch one library; what the first tells is under way when the second begins."""
    library, gate = tmp_path / "library", tmp_path / "gate"
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "given = sys.stdin.read()\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)\n"
        f"subprocess.run({shlex.split(told.command)!r}, input=given, text=True, check=True)\n"
    )
    add(library, "ferry 9:40", "--exec", shlex.join([sys.executable, str(script)]))
    first, second = TcpSender([recording], hold=True), TcpSender([recording], hold=True)
    one = watch(first.url, "--name", "pier", "--set", "alert.timeout_seconds=120")
    eventually(lambda: longtake(library, "alert", "history"))
    other = watch(second.url, "--name", "quay", "--set", "alert.timeout_seconds=120")
    eventually(lambda: len(longtake(library, "alert", "history")) == 2)
    gate.touch()
    eventually(lambda: len(told()) >= 2)
    assert (one.stop(signal.SIGTERM), other.stop(signal.SIGTERM)) == (0, 0)
    first.close()
    second.close()
    assert sorted(event["source"] for event in told()) == ["pier", "quay"]


def test_it_stops_in_time_whatever_hangs(watch, recording, tmp_path):
    """A source that says nothing more, a receiver, a model that checks and one that comments."""
    library, picture = tmp_path / "library", tmp_path / "picture.png"
    cv2.imwrite(str(picture), noise_picture(5, 320, 180)[..., ::-1])
    sender = TcpSender([recording], hold=True)
    with Silent() as receiver, Silent() as checker, Silent() as commentator:
        # What is asked by a picture alone is told without a check.
        add(library, "--image", str(picture), "--webhook", f"{receiver.url}/hook")
        add(library, "pier closed")
        command = watch(
            sender.url, "--name", "pier", "--record", "--narrate",
            "--set", "live.piece_seconds=1", "--set", "live.read_timeout_seconds=600",
            "--set", "alert.timeout_seconds=600", "--set", "alert.check.model=m",
            "--set", f"alert.check.base_url={checker.url}/v1",
            "--set", "ask.model=m", "--set", f"ask.base_url={commentator.url}/v1",
        )  # fmt: skip
        for one in (receiver, checker, commentator):
            eventually(lambda one=one: one.callers, 60)
        assert command.stop(signal.SIGTERM) == 0
    sender.close()


class Silent:
    """A server that takes calls and answers none."""

    def __enter__(self) -> Silent:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.callers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()
        return self

    def _take(self) -> None:
        try:
            while True:
                self.callers.append(self._server.accept()[0])
        except OSError:
            pass

    def __exit__(self, *error) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self.callers:
            one.close()
