"""Receivers of standing questions that behave badly, and checks that break."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_alerts import (
    LIVE,
    SETTINGS,
    Onlooker,
    Receiver,
    live,
    seen,
    settled,
    sight,
    told,
    tracker,
    wait_for,
)

from index.alerts import Alert, AlertBook
from index.store import scroll, where
from rag.alerts.delivery import NotDelivered, deliveries_of, post, run_command
from rag.alerts.outbox import Outbox
from rag.alerts.watcher import AlertWatcher

assert live  # a fixture

PAYLOAD = {"id": "an event", "text": "EXIT"}

LEAVES_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(float(sys.argv[2]))
"""


def is_running(process_id: int) -> bool:
    """Zombies are not."""
    asked = ["ps", "-o", "stat=", "-p", str(process_id)]
    state = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path):
    """It holds the program's stderr open; the event has arrived all the same."""
    left = tmp_path / "pid"
    run_command([sys.executable, "-c", LEAVES_A_CHILD, str(left), "0"], PAYLOAD, 60.0)
    child = int(left.read_text())
    assert is_running(child)
    os.kill(child, signal.SIGKILL)


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(tmp_path):
    left = tmp_path / "pid"
    with pytest.raises(NotDelivered, match="took more than 3 s"):
        run_command([sys.executable, "-c", LEAVES_A_CHILD, str(left), "600"], PAYLOAD, 3.0)
    child = int(left.read_text())
    wait_for(lambda: not is_running(child))


def test_a_program_that_runs_on_when_watching_ends_is_ended_and_run_again(live, tmp_path):
    left, book = tmp_path / "pid", AlertBook(live.store)
    command = (sys.executable, "-c", LEAVES_A_CHILD, str(left), "600")
    book.put(Alert("exit", 0.0, command=command))
    watcher = AlertWatcher(live, SETTINGS)
    told(watcher, seen("EXIT"))
    child = int(wait_for(lambda: left.exists() and left.read_text()))
    watcher.close()
    wait_for(lambda: not is_running(child))
    assert [one.state for one in book.deliveries()] == ["pending"]


def test_what_a_program_says_without_end_is_not_kept():
    loud = "import os\nfor _ in range(4000): os.write(2, b'x' * 65536)\nexit('the end')"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotDelivered, match=r"exit status 1: x*\s*the end$"):
        run_command([sys.executable, "-c", loud], PAYLOAD, 60.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # of 260 MB


def test_a_program_that_reads_nothing_takes_any_event():
    run_command(["true"], PAYLOAD | {"text": "\udc80" + "EXIT" * 100_000}, 20.0)


def test_an_answer_without_end_is_not_read_and_no_password_is_told():
    class Endless(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(503)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65_536)
            except OSError:
                let_go.set()

        def log_message(self, *arguments):
            pass

    let_go = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(NotDelivered) as caught:
            post(f"http://me:secret@127.0.0.1:{server.server_port}/hook", PAYLOAD, 20.0)
        assert let_go.wait(20)
        server.shutdown()
    assert str(caught.value) == f"http://127.0.0.1:{server.server_port}/hook answered 503"


def test_a_check_that_breaks_holds_up_no_event(live):
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(Alert("exit", 0.0, webhook=receiver.url))
        onlooker = Onlooker(odd=RuntimeError("of the model's library"), real=0.9)
        watcher = AlertWatcher(live, SETTINGS, onlooker=onlooker)
        told(watcher, seen("EXIT odd", 10, 12))
        told(watcher, seen("EXIT real", 110, 112))
        receiver.wait(2)
        watcher.close()
    assert [payload["checked"] for payload, _ in receiver.got] == [None, 0.9]


def test_what_was_held_back_is_not_told_after_a_kill(live):
    """Killed between what the check said and the note that nothing is to be sent."""
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(alert := Alert("exit", 0.0, webhook=receiver.url))
        (event,) = tracker(alert).see([sight(10, 12)], 5.0).begun
        book.put_events(
            [dataclasses.replace(event, checked=0.1)],
            deliveries_of(alert, event, "checking"),
        )
        watcher = AlertWatcher(live, SETTINGS, onlooker=Onlooker())
        watcher.start()
        assert [one.state for one in wait_for(lambda: settled(book))] == ["withheld"]
        watcher.close()
    assert receiver.got == []


def test_a_question_that_cannot_be_asked_is_said_once(live, monkeypatch):
    """As one that a newer version wrote."""
    book = AlertBook(live.store)
    book.put(Alert("after:2020 exit", 0.0))
    book.put(Alert("exit", 0.0))
    watcher = AlertWatcher(live, SETTINGS)
    monkeypatch.setattr("rag.alerts.watcher.REFRESH_SECONDS", 0.0)
    for at in range(3):
        told(watcher, seen("nothing", 10 + at, 11 + at))
    assert len(watcher.notes) == 1 and "passed over" in watcher.notes[0]
    assert len(told(watcher, seen("EXIT", 20, 22))) == 1
    watcher.close()


def test_headers_that_come_byte_by_byte_are_not_waited_for():
    """Each read gets something in time; all of them together do not."""
    closing = threading.Event()

    def drip(server: socket.socket) -> None:
        caller, _ = server.accept()
        with caller:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
                    caller.sendall(bytes([byte]))
                    if closing.wait(0.05):
                        return
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,), daemon=True)
        dripping.start()
        with pytest.raises(NotDelivered, match="took more than 1 s"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/hook", PAYLOAD, 1.0)
        dripping.join(20)  # it was hung up on
        assert not dripping.is_alive()
        closing.set()


def test_what_waits_for_a_dead_receiver_lies_in_the_library(live, monkeypatch):
    """Three in memory, however many there are; each arrives once, oldest first, when it is back."""
    monkeypatch.setattr("rag.alerts.outbox.AHEAD", 3)
    book = AlertBook(live.store)
    with Receiver() as receiver:
        held = threading.Lock()
        receiver.before = held
        book.put(Alert("exit", 0.0, webhook=receiver.url))
        noticed = iter(range(1, 100))
        watcher = AlertWatcher(live, SETTINGS, clock=lambda: float(next(noticed)))
        with held:
            begun = [
                event
                for at in range(20)
                for event in told(watcher, seen(f"EXIT {at}", 100.0 * at, 100.0 * at + 1))
            ]
            (line,) = watcher._outbox._lines.values()
            assert len(line.waiting) <= 3 and line.more
            assert len(list(book.deliveries("pending"))) == 20
        receiver.wait(20)
        wait_for(lambda: settled(book))
        watcher.close()
    assert [payload["id"] for payload, _ in receiver.got] == [event.id for event in begun]


def test_events_that_a_slow_model_has_no_time_for_are_told_unchecked(live, monkeypatch):
    monkeypatch.setattr("rag.alerts.checking.MOST_WAITING", 2)
    book, busy, free = AlertBook(live.store), threading.Event(), threading.Event()

    class Slow:
        name, depth = "slow", 1

        def scores(self, query, candidates):
            busy.set()
            assert free.wait(20)
            return [0.9]

    with Receiver() as receiver:
        book.put(Alert("exit", 0.0, webhook=receiver.url))
        watcher = AlertWatcher(live, SETTINGS, onlooker=Slow())
        told(watcher, seen("EXIT 0", 0, 1))
        assert busy.wait(20)
        for at in range(1, 6):
            told(watcher, seen(f"EXIT {at}", 100.0 * at, 100.0 * at + 1))
        receiver.wait(3)
        assert [payload["checked"] for payload, _ in receiver.got] == [None] * 3
        free.set()
        receiver.wait(6)
        wait_for(lambda: settled(book))
        watcher.close()
    assert [payload["checked"] for payload, _ in receiver.got[3:]] == [0.9] * 3


def test_of_a_history_the_newest_events_are_kept_and_what_is_on_its_way(live):
    book = AlertBook(live.store)
    book.put(alert := Alert("exit", 0.0, webhook="http://127.0.0.1:9/"))
    events = [
        event
        for at in range(10)
        for event in tracker(alert).see([sight(100.0 * at, 100.0 * at + 1)], float(at + 1)).begun
    ]
    for event in events:
        state = "pending" if event.noticed_at == 4.0 else "delivered"
        book.put_events([event], deliveries_of(alert, event, state))
    book.trim(alert.id, keep=20)
    assert len(book.events()) == 10
    book.trim(alert.id, keep=3)
    assert [event.noticed_at for event in book.events()] == [4, 5, 6, 7, 8, 9, 10]
    (waiting,) = book.deliveries("pending")
    book.put_delivery(dataclasses.replace(waiting, state="failed"))
    settings = SETTINGS.model_copy(update={"history_events": 3})
    watcher = AlertWatcher(live, settings)
    watcher.start()
    watcher.close()
    assert [event.noticed_at for event in book.events()] == [8, 9, 10]
    assert sorted(one.noticed_at for one in book.deliveries()) == [8, 9, 10]
    settings = SETTINGS.model_copy(update={"history_seconds": 60.0})
    watcher = AlertWatcher(live, settings, clock=lambda: 69.5)
    watcher.start()
    watcher.close()
    assert [event.noticed_at for event in book.events()] == [10]


def test_what_is_found_in_the_library_as_it_is_put_arrives_once(live):
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(alert := Alert("exit", 0.0, webhook=receiver.url))
        outbox = Outbox(book, SETTINGS)
        (event,) = tracker(alert).see([sight(10, 12)], 5.0).begun
        book.put_events([event], deliveries_of(alert, event))
        outbox.resume([alert], [LIVE])
        receiver.wait(1)
        outbox.put(alert, event, LIVE)
        (later,) = tracker(alert).see([sight(100, 102)], 6.0).begun
        book.put_events([later], deliveries_of(alert, later))
        outbox.put(alert, later, LIVE)
        receiver.wait(2)
        wait_for(lambda: settled(book))
        outbox.close()
    assert [payload["id"] for payload, _ in receiver.got] == [event.id, later.id]


def test_what_waited_for_a_receiver_goes_to_the_one_that_takes_its_place(live, monkeypatch):
    monkeypatch.setattr("rag.alerts.watcher.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("rag.alerts.outbox.AHEAD", 2)
    book = AlertBook(live.store)
    with Receiver() as dead, Receiver() as mended:
        dead.before = held = threading.Lock()
        asked = Alert("exit", 0.0, webhook=dead.url)
        book.put(asked)
        watcher = AlertWatcher(live, SETTINGS)
        with held:
            begun = [
                event
                for at in range(6)
                for event in told(watcher, seen(f"EXIT {at}", 100.0 * at, 100.0 * at + 1))
            ]
            book.put(dataclasses.replace(asked, webhook=mended.url))
            told(watcher, seen("a field", 700, 701))
            mended.wait(6)
        wait_for(lambda: settled(book))
        watcher.close()
    assert [payload["id"] for payload, _ in mended.got] == [event.id for event in begun]
    assert {one.state for one in book.deliveries()} == {"delivered"}


def test_what_waits_for_a_receiver_that_was_taken_away_keeps_no_history(live):
    book = AlertBook(live.store)
    alert = Alert("exit", 0.0, webhook="http://127.0.0.1:9/")
    for at in range(10):
        seen_at = [sight(100.0 * at, 100.0 * at + 1)]
        (event,) = tracker(alert).see(seen_at, float(at + 1)).begun
        book.put_events([event], deliveries_of(alert, event))
    book.put(dataclasses.replace(alert, webhook=None))
    settings = SETTINGS.model_copy(update={"history_events": 3})
    watcher = AlertWatcher(live, settings)
    watcher.start()
    watcher.close()
    assert [event.noticed_at for event in book.events()] == [8, 9, 10]


def test_a_history_that_an_earlier_longtake_wrote_is_read_and_trimmed(live):
    """It had no time of noticing in its deliveries, nor where filters see it."""
    book = AlertBook(live.store)
    book.put(alert := Alert("exit", 0.0, webhook="http://127.0.0.1:9/"))
    for at in range(6):
        seen_at = [sight(100.0 * at, 100.0 * at + 1)]
        (event,) = tracker(alert).see(seen_at, float(at + 1)).begun
        book.put_events([event], deliveries_of(alert, event, "failed"))
    old = []
    for kind in ("alert_event", "delivery"):
        for point in scroll(live.store, where(kind=kind)):
            payload = {k: v for k, v in point.payload.items() if k != "noticed_at"}
            if kind == "delivery":
                payload["record"] = {
                    k: v for k, v in payload["record"].items() if k != "noticed_at"
                }
            old.append(dataclasses.replace(point, payload=payload))
    live.store.upsert(old)
    assert [event.noticed_at for event in book.events()] == [1, 2, 3, 4, 5, 6]
    assert {one.state for one in book.deliveries()} == {"failed"}
    book.trim(alert.id, keep=4)
    assert [event.noticed_at for event in book.events()] == [3, 4, 5, 6]
    assert sorted(one.noticed_at for one in book.deliveries()) == [3, 4, 5, 6]
