"""`longtake watch` as a user meets it, in processes of its own: other terminals find what it has
just seen, it stops when told, and a kill costs nothing that was found before."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clips import noise_picture, text_picture, write_clip
from live_peers import TcpSender, eventually, free_port

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (
    "--set", "index.reserve_bytes=0", "--set", "index.ballast_bytes=0",
    "--set", "live.commit_seconds=0.1", "--set", "live.retry_seconds=0.1",
    "--set", "live.retry_most_seconds=0.5",
)  # fmt: skip
KILLED = -signal.SIGKILL
STOPS_WITHIN_SECONDS = 5.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> bytes:
    """MPEG-TS of 4 s: two texts, one after the other, the second to the end."""
    path = tmp_path_factory.mktemp("recording") / "pier.ts"
    pictures = [
        *[text_picture("PIER CLOSED")] * 15,
        *[noise_picture(5, 320, 180)] * 10,
        *[text_picture("NEXT FERRY 9:40")] * 15,
    ]
    write_clip(path, pictures, rate=10, key_frame_every=5)
    return path.read_bytes()


class Command:
    """`longtake watch` in a process."""

    def __init__(self, library: Path, *arguments: str, fault: str | None = None):
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "cli.main", "watch", *arguments,
                "--library", str(library), *OPTIONS,
            ],
            cwd=ROOT,
            env={
                # Senders here send all at once, and once, while a busy machine still loads what
                # reads it.
                "LONGTAKE_LIVE__DROP_AFTER_SECONDS": "600",
                "LONGTAKE_LIVE__OPEN_TIMEOUT_SECONDS": "120",
                **os.environ,
                **({"LONGTAKE_FAULT": fault} if fault else {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.stdout = self.stderr = ""

    def until(self, state: str) -> None:
        """Reads what --json tells up to that state."""
        for line in self.process.stdout:
            if json.loads(line)["state"] == state:
                return
        raise AssertionError(f"it was never {state}")

    def wait(self, seconds: float = 60.0) -> int:
        self.stdout, self.stderr = self.process.communicate(timeout=seconds)
        return self.process.returncode

    def stop(self, number: int) -> int:
        """Sends the signal; the exit status. Fails where it takes too long."""
        self.process.send_signal(number)
        began = time.monotonic()
        status = self.wait()
        assert time.monotonic() - began < STOPS_WITHIN_SECONDS
        return status


@pytest.fixture
def watch(tmp_path):
    commands = []

    def begin(*arguments: str, fault: str | None = None) -> Command:
        commands.append(Command(tmp_path / "library", *arguments, fault=fault))
        return commands[-1]

    yield begin
    for one in commands:
        status = one.process.poll()
        if status is None:
            one.process.kill()
        if not (one.stdout or one.stderr):
            one.wait()
        print(f"watch ended with {status}:", one.stderr, sep="\n")  # shown where a test fails


def longtake(library: Path, *arguments: str) -> list[dict]:
    """What a command prints as JSON lines; nothing where there is no library yet."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, "--json", "--library", str(library)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def finds(library: Path, words: str):
    return lambda: longtake(library, "search", words)


def texts(library: Path) -> list[tuple[str, int, bool]]:
    """(text, epoch, provisional) of all that is written, in time order."""
    from index.access import open_store
    from index.library import Library

    store = open_store(library)
    try:
        (video,) = Library(store).videos()
        found = Library(store).evidence(video.id, channel="screen_text")
        return [(one.text, one.epoch, "provisional" in one.attributes) for one in found]
    finally:
        store.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_is_searched_while_it_runs_and_stops_when_told(
    number, status, watch, recording, tmp_path
):
    library = tmp_path / "library"
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier")
    moment = eventually(finds(library, "ferry"))[0]
    assert moment["title"] == "pier"
    assert moment["text"] == "NEXT FERRY 9:40"
    assert moment["wall_clock_start"] == pytest.approx(time.time(), abs=60)
    (listed,) = longtake(library, "ls")
    assert listed["duration_seconds"] is None
    assert listed["source"] == sender.url
    assert command.stop(number) == status
    sender.close()
    assert "Traceback" not in command.stderr
    (listed,) = longtake(library, "ls")
    assert listed["duration_seconds"] == pytest.approx(4.0, abs=0.5)
    assert set(listed["coverage"].values()) == {1.0}
    assert [(text, open_) for text, _, open_ in texts(library)] == [
        ("PIER CLOSED", False),
        ("NEXT FERRY 9:40", False),
    ]


def test_after_a_kill_nothing_found_is_lost_and_the_next_start_goes_on(watch, recording, tmp_path):
    library = tmp_path / "library"
    sender = TcpSender([recording, recording], hold=True)
    command = watch(sender.url, "--name", "pier")
    eventually(finds(library, "ferry"))
    command.process.kill()
    assert command.wait() == KILLED
    before = texts(library)
    assert ("NEXT FERRY 9:40", 0, True) in before
    sender.let_go()

    again = watch(sender.url, "--name", "pier")
    eventually(lambda: len(longtake(library, "search", "ferry")) == 2)
    assert again.stop(signal.SIGTERM) == 0
    sender.close()
    assert texts(library) == [
        ("PIER CLOSED", 0, False),
        ("NEXT FERRY 9:40", 0, False),
        ("PIER CLOSED", 1, False),
        ("NEXT FERRY 9:40", 1, False),
    ]
    (video,) = longtake(library, "show", "pier")
    assert [epoch["began"] for epoch in video["video"]["epochs"]] == ["started", "started again"]


@pytest.mark.parametrize(
    ("point", "nth"), [("after-evidence", 1), ("after-evidence-flush", 2), ("after-watermark", 2)]
)
def test_killed_between_two_writes_of_a_commit(point, nth, watch, recording, tmp_path):
    """The file that grows is gone on with, and all of it is there in the end."""
    library, path = tmp_path / "library", tmp_path / "pier.ts"
    path.write_bytes(recording)
    assert watch(str(path), fault=f"{point}:{nth}").wait() == KILLED
    again = watch(str(path), "--json")
    again.until("live")
    eventually(finds(library, "ferry"))
    assert again.stop(signal.SIGTERM) == 0
    found = texts(library)
    assert {text for text, *_ in found} == {"PIER CLOSED", "NEXT FERRY 9:40"}
    assert not any(open_ for *_, open_ in found)
    assert longtake(library, "search", "pier closed")


def test_several_sources_fail_alone(watch, recording, tmp_path):
    library, path = tmp_path / "library", tmp_path / "pier.ts"
    path.write_bytes(recording)
    with path.open("rb") as given:
        command = watch("srt://127.0.0.1:9", str(path), "--json")
        del given
        eventually(finds(library, "ferry"))
        assert command.stop(signal.SIGTERM) == 1
    states = [json.loads(line) for line in command.stdout.splitlines()]
    assert {(one["source"], one["state"]) for one in states} >= {
        ("127.0.0.1:9", "failed"),
        ("pier", "live"),
        ("pier", "stopped"),
    }
    assert "srt" in command.stderr


def test_a_source_that_is_not_there_is_tried_again(watch, tmp_path):
    """Nothing that is said or logged of it has its password."""
    command = watch(f"rtsp://user:sesame@127.0.0.1:{free_port()}/one", "--json", "--verbose")
    command.until("lost")
    assert command.stop(signal.SIGINT) == 130
    log = tmp_path / "longtake.log"
    for told in (command.stdout, command.stderr, log.read_text() if log.exists() else ""):
        assert "sesame" not in told


def test_stopping_in_the_middle_of_a_file_is_quiet(watch, recording, tmp_path):
    path = tmp_path / "pier.ts"
    path.write_bytes(recording)
    command = watch(str(path), "--json")
    command.until("live")
    assert command.stop(signal.SIGTERM) == 0
    assert "Traceback" not in command.stderr


def test_a_pipe_that_ends_is_the_end(recording, tmp_path):
    library = tmp_path / "library"
    done = subprocess.run(
        [
            sys.executable, "-m", "cli.main", "watch", "-", "--name", "pier",
            "--library", str(library), *OPTIONS,
        ],
        cwd=ROOT,
        input=recording,
        capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [text for text, *_ in texts(library)] == ["PIER CLOSED", "NEXT FERRY 9:40"]


@pytest.mark.parametrize(
    "arguments",
    [[""], ["a.ts", "--name", ""], ["a.ts", "--name", "x", "--name", "y"], ["x/a.ts", "y/a.ts"]],
)
def test_what_is_no_source_is_wrong_usage(arguments, watch):
    command = watch(*arguments)
    assert command.wait() == 2
    assert "Traceback" not in command.stderr


def test_a_standing_question_speaks_up_once_across_a_kill(watch, recording, tmp_path):
    library, heard = tmp_path / "library", tmp_path / "heard"
    script = f"import sys; open({str(heard)!r}, 'a').write(sys.stdin.read())"
    tell = shlex.join([sys.executable, "-c", script])
    longtake(library, "alert", "add", "next ferry", "--exec", tell)
    sender = TcpSender([recording], hold=True)
    command = watch(sender.url, "--name", "pier", "--json")
    told = eventually(lambda: heard.exists() and heard.read_text().splitlines())
    assert json.loads(told[0])["text"] == "NEXT FERRY 9:40"
    command.process.kill()
    command.wait()
    sender.close()
    again = watch(sender.url, "--name", "pier", "--json")
    again.until("lost")
    assert again.stop(signal.SIGTERM) == 0
    events = longtake(library, "alert", "history")
    assert len(events) == 1
    told = [json.loads(line) for line in heard.read_text().splitlines() if line]
    assert {one["id"] for one in told} == {events[0]["event"]["id"]}


@pytest.mark.parametrize("point", ["before-flip", "after-flip"])
def test_killed_while_old_still_stretches_are_joined(point, watch, recording, tmp_path):
    """Five minutes in which nothing moves, then another epoch."""
    library, path = tmp_path / "library", tmp_path / "gate.ts"
    times = [float(at) for at in range(300)]
    write_clip(path, [text_picture("GATE CLOSED")] * 300, times=times)
    later = tmp_path / "later.ts"
    write_clip(later, [text_picture("GATE OPEN")] * 20, rate=10, start_seconds=900)
    path.write_bytes(path.read_bytes() + later.read_bytes())
    assert watch(str(path), fault=point).wait() == KILLED
    again = watch(str(path), "--json")
    again.until("live")
    eventually(finds(library, "open"))
    eventually(lambda: [text for text, *_ in texts(library)].count("GATE CLOSED") == 1)
    assert again.stop(signal.SIGTERM) == 0
    found = texts(library)
    assert found[0] == ("GATE CLOSED", 0, False)
    assert [text for text, *_ in found].count("GATE CLOSED") == 1
    assert "GATE OPEN" in [text for text, *_ in found]
    (shown,) = longtake(library, "show", "gate")
    channels = shown["channels"].values()
    assert channels and all(channel["complete"] for channel in channels)


def test_waiting_for_a_source_costs_nothing(watch):
    """Of a second that it waits, it works for less than a tenth."""
    import psutil

    command = watch(f"tcp://127.0.0.1:{free_port()}", "--json", "--set", "live.retry_seconds=30")
    command.until("lost")
    process = psutil.Process(command.process.pid)

    def used() -> float:
        return sum(process.cpu_times()[:2])

    before, began = used(), time.monotonic()
    eventually(lambda: time.monotonic() - began > 2.0)
    assert used() - before < 0.2
    assert command.stop(signal.SIGTERM) == 0
