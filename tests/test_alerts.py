"""Standing questions: what the gate sees, which events come of it, and that each is told once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import talks
from clips import noise_picture, write_clip
from hypothesis import given
from hypothesis import strategies as st
from talks import LIGHTHOUSE, make_video, put_channel, put_video

from index.alerts import UNSENT, Alert, AlertBook, Delivery
from index.errors import StoreError, UsageError
from index.pieces import Piece, PieceBook
from index.schema import Evidence, Space
from ingest.live.told import TOLD
from rag.alerts.backtest import backtest
from rag.alerts.clips import clip_finder
from rag.alerts.delivery import deliveries_of
from rag.alerts.events import EventTracker
from rag.alerts.gate import Gate, Sighting
from rag.alerts.settings import AlertSettings
from rag.alerts.states import state_of
from rag.alerts.watcher import LATE_SECONDS, AlertWatcher
from rag.settings import CosineScale, RetrieveSettings
from rag.vectors import QueryEncoders

SETTINGS = AlertSettings(first_wait_seconds=0.01, longest_wait_seconds=0.02, attempts=3)
LIVE = make_video("Gate 3", None, source="tcp://gate")
ASKED_AT = 1000.0


def seen(text: str, start=10.0, end=12.0, channel="screen_text", epoch=0, **fields) -> Evidence:
    attributes = {"language": "en"} | fields.pop("attributes", {})
    return Evidence(LIVE.id, epoch, channel, "g", start, end, text, attributes, **fields)


def share(question: str, text: str, **attributes) -> float:
    gate = Gate(Alert(question, ASKED_AT), SETTINGS)
    (sighting,) = gate.look(seen(text, attributes=attributes))
    return sighting.score


# The gate


@pytest.mark.parametrize(
    ("question", "text", "score"),
    [
        ("exit sign blocked", "The exit sign is blocked again.", 1.0),
        ("the exit sign is blocked", "EXIT SIGN BLOCKED", 1.0),
        ("exit sign blocked", "Signs at the exits are blocking the way", 1.0),  # stems
        ("exit sign blocked", "the exit sign is clear", 2 / 3),
        ("exit sign blocked", "exit sign unblocked", 2 / 3),
        ("exit sign blocked", "EXITSIGN BLOCKED", 1.0),  # as screens are read
        ("exit sign blocked", "EXITSIGNISBLOCKED", 1.0),
        ("exit sign blocked", "EXITSIGN UNBLOCKED", 2 / 3),
        ("exit sign blocked", "nothing of the kind", 0.0),
        ('"exit sign" blocked', "the sign at the exit is blocked", 0.0),
        ('"exit sign" blocked', "Blocked: exit sign", 1.0),
        ("exit sign -test", "This is a test of the exit sign", 0.0),
        ("exit sign -test", "the exit sign", 1.0),
        ("tor 3", "Tor 3 ist offen", 1.0),
        ("tor 3", "Tor 4 ist offen", 0.5),
        ("to be or not to be", "To be, or not to be", 1.0),  # nothing but common words
    ],
)
def test_words_are_held_against_the_question(question, text, score):
    assert share(question, text) == pytest.approx(score)


def test_words_are_seen_as_their_language_sees_them():
    assert share("Züge verspätet", "Der Zug ist verspätet", language="de") == 1.0
    assert share("門 開", "門が開いた", language="ja") > 0.0
    assert share("lang:de exit", "exit here", language="en") == 0.0


def test_a_channel_that_is_not_asked_tells_nothing():
    gate = Gate(Alert("channel:speech exit", ASKED_AT), SETTINGS)
    assert gate.look(seen("exit")) == []
    assert gate.look(seen("exit", channel="speech"))[0].score == 1.0
    assert gate.look(seen("", channel="shot")) == []


@pytest.mark.parametrize("question", ["video:x exit", "exit after:1:00", "..."])
def test_what_cannot_be_asked_is_refused(question):
    with pytest.raises(UsageError):
        Gate(Alert(question, ASKED_AT), SETTINGS)


class Compass:
    def encode_queries(self, texts):
        return np.array([(1.0, 0.0) for _ in texts], np.float32)


FRAMES = Space("frame.compass.0", "frame", "compass", 2)


def looking(question: str, **fields) -> Gate:
    return Gate(
        Alert(question, ASKED_AT, **fields),
        SETTINGS,
        retrieve=RetrieveSettings(frame=CosineScale(zero=0.0, full=1.0, floor=0.5)),
        encoders=QueryEncoders(lambda space: Compass()),
        spaces=[FRAMES],
    )


def picture(cosine: float, start: float, end: float) -> Evidence:
    vector = np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)
    return seen("", start, end, channel="frame", vectors={FRAMES.name: vector})


def test_pictures_are_judged_by_their_vectors():
    (sighting,) = looking("a blocked exit").look(picture(0.7, 10, 11))
    assert (sighting.kind, sighting.score) == ("frame", pytest.approx(0.7))
    assert looking('"a blocked exit"').look(picture(0.7, 10, 11)) == []


def test_where_the_model_is_missing_it_is_said():
    encoders = QueryEncoders(lambda space: None)
    gate = Gate(Alert("exit", ASKED_AT), SETTINGS, encoders=encoders, spaces=[FRAMES])
    assert len(gate.notes) == 1 and "compass" in gate.notes[0]


def test_a_picture_is_found_by_its_fingerprint():
    from ingest.models.pdq import Fingerprint, to_vector

    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, 256).astype(bool)
    near, far = bits.copy(), rng.integers(0, 2, 256).astype(bool)
    near[:20] ^= True
    gate = Gate(Alert("", ASKED_AT, picture=Fingerprint(bits, 100).hex), SETTINGS)
    scores = []
    for own, quality in ((bits, 100), (near, 100), (far, 100), (bits, 10)):
        one = seen("", channel="fingerprint", vectors={"fingerprint": to_vector(own)},
                   attributes={"quality": quality})  # fmt: skip
        scores += [sighting.score for sighting in gate.look(one)]
    assert scores[:2] == [1.0, pytest.approx(1 - 20 / 256)]
    assert len(scores) == 3 and scores[2] < SETTINGS.picture


# Events


def tracker(alert=Alert("exit", 0.0), known=(), settings=SETTINGS) -> EventTracker:
    return EventTracker(alert, LIVE, settings, settings.threshold, known=known)


def sight(start, end, score=1.0, kind="words", evidence="") -> Sighting:
    return Sighting(kind, start, end, score, "screen_text", "EXIT", evidence or f"{start}")


def test_a_stretch_is_one_event_however_often_it_is_seen():
    events = tracker()
    (begun,) = events.see([sight(10, 11)], 5.0).begun
    assert (begun.start_seconds, begun.noticed_at) == (10.0, 5.0)
    assert events.see([sight(10, 11)], 6.0) == type(events.see([], 6.0))()
    grown = events.see([sight(10, 14), sight(18, 20)], 7.0)  # back within the refractory time
    assert grown.begun == () and [e.id for e in grown.grown] == [begun.id]
    assert events.events[begun.id].end_seconds == 20.0
    (another,) = events.see([sight(26, 27)], 8.0).begun
    assert another.id != begun.id


def test_what_begins_earlier_than_was_known_belongs_to_the_event_all_the_same():
    """Sealing moves starts, over the border of a bucket too."""
    events = tracker()
    (begun,) = events.see([sight(10.2, 12)], 0.0).begun
    assert events.see([sight(9.8, 12)], 0.0).begun == ()
    assert events.events[begun.id].start_seconds == 9.8
    assert tracker(known=events.events.values()).see([sight(9.6, 12)], 0.0).begun == ()


def test_what_goes_on_needs_less_than_what_begins():
    events = tracker()
    assert events.see([sight(10, 12, 0.45, "frame")], 0.0).begun == ()
    (begun,) = events.see([sight(12, 14, 0.5, "frame")], 0.0).begun
    assert events.see([sight(14, 15, 0.41, "frame")], 0.0).grown[0].end_seconds == 15.0
    assert events.see([sight(16, 17, 0.39, "frame")], 0.0).grown == ()
    assert begun.score == 0.5


def test_most_of_the_words_is_another_text_and_keeps_nothing_going():
    events = tracker()
    (begun,) = events.see([sight(10, 11, 1.0)], 0.0).begun
    for at in range(12, 30, 2):
        assert events.see([sight(at, at + 1, 0.67)], 0.0).grown == ()
    (another,) = events.see([sight(30, 31, 1.0)], 0.0).begun
    assert another.id != begun.id


def test_one_look_at_a_picture_may_be_an_accident():
    events = tracker()
    assert events.see([sight(10, 11, 0.9, "frame")], 0.0).begun == ()
    assert events.see([sight(11, 12, 0.1, "frame")], 0.0).begun == ()
    assert events.see([sight(12, 13, 0.9, "frame")], 0.0).begun == ()
    (begun,) = events.see([sight(13, 14, 0.8, "frame")], 0.0).begun
    assert (begun.start_seconds, begun.end_seconds, begun.score) == (12.0, 14.0, 0.9)


def test_a_picture_that_stays_is_looked_at_again():
    events = tracker()
    assert events.see([sight(10, 11, 0.9, "frame", "a")], 0.0).begun == ()
    (begun,) = events.see([sight(10, 12, 0.9, "frame", "a")], 0.0).begun
    assert (begun.start_seconds, begun.evidence) == (10.0, ("a",))


def test_nothing_is_told_of_what_was_before_it_was_asked():
    events = tracker(Alert("exit", 1010.0))
    assert events.see([sight(3, 10)], 0.0, wall_clock_zero=1000.0).begun == ()
    # it was there when it was asked
    (begun,) = events.see([sight(4, 12)], 0.0, wall_clock_zero=1000.0).begun
    assert (begun.start_seconds, begun.wall_clock_start) == (10.0, 1010.0)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=6),
    st.randoms(),
)
def test_killed_anywhere_no_event_is_lost_or_told_twice(starts, kills, random):
    """Evidence comes commit by commit, in an order of its own within the last seconds; a kill loses
    what was not written, and what was committed is seen again."""
    sightings = [sight(start / 4, start / 4 + 0.5) for start in sorted(starts)]
    undisturbed = tracker()
    told: list = []
    for one in sightings:
        undisturbed.see([one], 0.0)
    written: dict = {}
    events = tracker()
    for at, one in enumerate(sightings):
        if at in kills:
            events = tracker(known=written.values())
            again = sightings[:at]
            random.shuffle(again)
            assert events.see(again, 0.0).begun == ()
        change = events.see([one], 0.0)
        told += [event.id for event in change.begun]
        written |= {event.id: event for event in change.begun}  # growth is not written at once
    assert len(told) == len(set(told))
    assert set(told) == set(undisturbed.events)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), min_size=1, max_size=20))
def test_two_events_never_share_an_id(spans):
    events = tracker()
    told = []
    for start, length in spans:  # in any order: what is late, too
        told += events.see([sight(start / 4, (start + length) / 4)], 0.0).begun
    assert len({event.id for event in told}) == len(told)


def test_what_goes_on_is_one_event_where_the_time_of_day_is_known_better_later():
    """A file that is read faster than it was written: the asking moves on its clock."""
    events = tracker(Alert("exit", 1000.0))
    assert len(events.see([sight(0, 1)], 1001.0, wall_clock_zero=1000.0).begun) == 1
    change = events.see([sight(0, 12)], 1002.0, wall_clock_zero=992.0)
    assert change.begun == () and [event.end_seconds for event in change.grown] == [12]


def test_what_a_reconnection_interrupts_for_a_moment_is_one_event():
    events = tracker()
    (begun,) = events.see([sight(10, 12)], 0.0).begun
    assert events.see([sight(15, 16)], 0.0, epoch=1).begun == ()
    (another,) = events.see([sight(30, 31)], 0.0, epoch=1).begun
    assert (begun.epoch, another.epoch) == (0, 1)


def test_how_a_question_stands():
    event = dataclasses.replace(
        tracker().see([sight(10, 12)], 0.0, wall_clock_zero=1000.0).begun[0], noticed_at=1011.0
    )

    def state(now, watched=True):
        return state_of([event], watched=watched, now=now, settings=SETTINGS)

    assert [state(now) for now in (1012.0, 1019.9, 1021.0, 1026.0)] == [
        "fired", "fired", "cooling down", "armed"]  # fmt: skip
    assert state_of([], watched=False, now=50.0, settings=SETTINGS) == "pending"


# Over a library


@pytest.fixture
def live(library):
    library.put_video(LIVE)
    return library


def told(watcher, *evidence, epoch=0, wall=0.0):
    return watcher.see(LIVE, epoch, wall, evidence)


def test_a_question_speaks_up_once_and_is_written_down(live):
    book = AlertBook(live.store)
    book.put(alert := Alert("exit blocked", 0.0))
    heard = []
    watcher = AlertWatcher(live, SETTINGS, tell=lambda *told: heard.append(told))
    assert told(watcher, seen("a field"), seen("exit free")) == []
    (event,) = told(watcher, seen("EXIT BLOCKED", 20, 21), seen("EXIT BLOCKED", 22, 23))
    assert told(watcher, seen("EXIT BLOCKED", 20, 26)) == []
    watcher.close()
    (kept,) = book.events()
    assert kept.id == event.id and kept.end_seconds in (23.0, 26.0)
    assert [(a, e.id, v) for a, e, v in heard] == [(alert, event.id, LIVE)]


@pytest.mark.parametrize("later", [LATE_SECONDS + 30.0, 7200.0])
def test_what_is_said_of_an_event_hours_later_tells_nobody_again(later, live):
    """A recogniser that is slower than the world."""
    book = AlertBook(live.store)
    book.put(Alert("exit blocked", 0.0))
    heard = []
    watcher = AlertWatcher(live, SETTINGS, tell=lambda *told: heard.append(told))
    (event,) = told(watcher, seen("EXIT BLOCKED", 20, 25))
    told(watcher, seen("a field", later, later + 1))
    told(watcher, seen("a field", later + 20, later + 21))
    assert told(watcher, seen("The exit is blocked.", 21, 27, channel="speech")) == []
    (other,) = told(watcher, seen("The exit is blocked.", 200, 203, channel="speech"))
    watcher.close()
    assert {one.id for one in book.events()} == {event.id, other.id}
    assert len(heard) == 2


def test_questions_come_and_go_while_it_watches(live):
    book = AlertBook(live.store)
    watcher = AlertWatcher(live, SETTINGS)
    assert told(watcher, seen("EXIT")) == []
    book.put(alert := Alert("exit", 0.0))
    watcher._refreshed = -10.0  # two seconds later
    assert len(told(watcher, seen("EXIT"))) == 1
    book.remove(alert.id)
    watcher._refreshed = -10.0
    assert told(watcher, seen("EXIT", 50, 51)) == []
    assert book.events() == [] and book.alerts() == []


def test_a_question_for_one_source_hears_no_other(live):
    book = AlertBook(live.store)
    book.put(Alert("exit", 0.0, source="gate 3"))
    book.put(Alert("exit", 0.0, source="somewhere else"))
    (event,) = told(AlertWatcher(live, SETTINGS), seen("EXIT"))
    assert book.find(event.alert_id[:8]).source == "gate 3"


def test_what_was_committed_and_not_looked_at_is_seen_at_the_next_start(live):
    """As after a kill between the evidence and the question's look at it, however far behind the
    pictures what is said is recognised."""
    book = AlertBook(live.store)
    book.put(Alert("exit", 0.0))
    lines = [(10000.0, 10001.0, "EXIT"), (10030.0, 10031.0, "EXIT")]
    put_channel(live, LIVE, "screen_text", lines, analysed_seconds=10040.0)
    speech = put_channel(
        live,
        LIVE,
        "speech",
        [(100.0, 102.0, "Long told: exit."), (900.0, 902.0, "The exit is there.")],
        analysed_seconds=910.0,
    )
    far = dataclasses.replace(speech, watermark_seconds=910.0, detail={TOLD: 900.0})
    live.commit_all([(far, [], [])])
    AlertWatcher(live, SETTINGS).start()
    assert sorted(event.start_seconds for event in book.events()) == [900.0, 10000.0, 10030.0]
    watcher = AlertWatcher(live, SETTINGS)
    watcher.start()
    told(watcher, seen("The exit is there.", 900, 902, channel="speech"))
    assert len(book.events()) == 3


def test_a_removed_video_takes_its_events_along(live):
    book = AlertBook(live.store)
    book.put(Alert("exit", 0.0, webhook="http://127.0.0.1:9/"))
    watcher = AlertWatcher(live, SETTINGS)
    told(watcher, seen("EXIT"))
    watcher.close()
    live.remove_video(LIVE.id)
    assert book.events() == [] and list(book.deliveries()) == []
    assert len(book.alerts()) == 1


# Deliveries


class Receiver:
    """A web server that answers with these statuses, one after the other, then 200."""

    def __init__(self, *statuses: int):
        self.got: list[tuple[dict, dict]] = []
        self.arrived = threading.Condition()
        self.before = contextlib.nullcontext()  # what it waits for before it takes anything
        waiting = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.before, receiver.arrived:
                    receiver.got.append((json.loads(body), dict(self.headers)))
                    status = waiting.pop(0) if waiting else 200
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    receiver.arrived.notify_all()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, 20)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def wait_for(what, seconds: float = 20.0):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def settled(book: AlertBook) -> list[Delivery]:
    deliveries = list(book.deliveries())
    return deliveries if all(one.state not in UNSENT for one in deliveries) else []


def test_a_webhook_gets_the_event_with_its_id(live):
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(alert := Alert("exit", 0.0, webhook=receiver.url))
        watcher = AlertWatcher(live, SETTINGS)
        (event,) = told(watcher, seen("The EXIT is near", 10, 12), wall=1000.0)
        receiver.wait(1)
        (delivery,) = wait_for(lambda: settled(book))
        watcher.close()
    ((payload, headers),) = receiver.got
    assert headers["Idempotency-Key"] == payload["id"] == event.id
    assert payload["alert"] == alert.text and payload["source"] == "Gate 3"
    assert (payload["start_seconds"], payload["started_at"]) == (
        10.0,
        "1970-01-01T00:16:50.000+00:00",
    )
    assert "The EXIT is near" in payload["reason"]
    assert (delivery.state, delivery.attempts) == ("delivered", 1)


def test_an_event_comes_with_the_place_where_it_was_recorded(live, tmp_path):
    book, pieces = AlertBook(live.store), PieceBook(live.store)
    for name, start, end in (("1", 0.0, 60.0), ("2", 60.0, 120.0), ("3", 120.0, None)):
        pieces.put_piece(Piece(LIVE.id, 0, f"{name}.mkv", start, end))
    clip_of = clip_finder(pieces, tmp_path)
    with Receiver() as receiver:
        book.put(Alert("exit", 0.0, webhook=receiver.url))
        watcher = AlertWatcher(live, SETTINGS, clip_of=clip_of)
        for start in (1.0, 59.0, 300.0, 1000.0):
            told(watcher, seen("EXIT", start, start + 2))
        receiver.wait(4)
        wait_for(lambda: settled(book))
        watcher.close()
    found = [payload["clip"] for payload, _ in receiver.got]
    names = [None if one is None else Path(one["path"]).name for one in found]
    assert names == ["1.mkv", "1.mkv", "3.mkv", None]  # so long no piece is written
    spans = [(one["start_seconds"], one["end_seconds"]) for one in found[:3]]
    assert spans == [(0.0, 5.0), (57.0, 60.0), (178.0, 184.0)]
    assert Path(found[0]["path"]).parent == tmp_path / "recordings" / LIVE.id


def test_a_receiver_that_stumbles_is_asked_again_and_one_that_refuses_is_not(live):
    book = AlertBook(live.store)
    with Receiver(503, 429) as stumbling, Receiver(410) as refusing:
        book.put(Alert("exit", 0.0, webhook=stumbling.url))
        book.put(Alert("exit", 0.0, source="Gate 3", webhook=refusing.url))
        watcher = AlertWatcher(live, SETTINGS)
        told(watcher, seen("EXIT"))
        stumbling.wait(3)
        found = {one.alert_id: one for one in wait_for(lambda: settled(book))}
        watcher.close()
    assert len({payload["id"] for payload, _ in stumbling.got}) == 1
    states = {(one.state, one.attempts) for one in found.values()}
    assert states == {("delivered", 3), ("failed", 1)}
    assert any("410" in one.error for one in found.values())


def test_a_dead_webhook_holds_up_nothing(live):
    """Nobody takes its connection, which hangs until its time is over."""
    import socket

    book = AlertBook(live.store)
    settings = AlertSettings(timeout_seconds=60.0)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent, Receiver() as receiver:
        book.put(Alert("exit", 0.0, webhook=f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        book.put(Alert("exit blocked", 0.0, webhook=receiver.url))
        watcher = AlertWatcher(live, settings)
        for at in range(3):
            assert len(told(watcher, seen("EXIT BLOCKED", 100.0 * at, 100.0 * at + 1))) == 2
        receiver.wait(3)
        delivered = wait_for(
            lambda: [one for one in book.deliveries() if one.state == "delivered"][2:] and True
        )
        watcher._outbox.close(0.1)
    assert delivered and len([one for one in book.deliveries() if one.state == "pending"]) == 3


def test_what_was_on_its_way_is_sent_by_the_next_process_with_the_same_id(live):
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(alert := Alert("exit", 0.0, webhook=receiver.url))
        event = tracker(alert).see([sight(10, 12)], 5.0).begun[0]
        book.put_events([event], deliveries_of(alert, event))  # and here the power went
        AlertWatcher(live, SETTINGS).start()
        receiver.wait(1)
        wait_for(lambda: settled(book))
        assert list(book.deliveries("pending")) == []
    assert [payload["id"] for payload, _ in receiver.got] == [event.id]


def test_a_program_gets_the_event_on_standard_input_and_no_shell_sees_it(live, tmp_path):
    book = AlertBook(live.store)
    script = tmp_path / "take.py"
    script.write_text(
        "import os, sys\nopen(sys.argv[1], 'a').write(sys.stdin.read() + os.environ"
        "['LONGTAKE_EVENT_ID'] + '|' + sys.argv[2])\n"
    )
    odd = f"$(touch {tmp_path}/owned); `id`"
    out = tmp_path / "got it"
    command = (sys.executable, str(script), str(out), odd)
    book.put(Alert("exit", 0.0, command=command))
    book.put(Alert("exit", 0.0, source="Gate 3", command=(sys.executable, "-c", "exit('broken')")))
    watcher = AlertWatcher(live, SETTINGS)
    told(watcher, seen(f"EXIT {odd}"))
    found = {one.state: one for one in wait_for(lambda: settled(book))}
    watcher.close()
    payload, _, rest = out.read_text().partition("\n")
    assert rest == f"{json.loads(payload)['id']}|{odd}" and odd in json.loads(payload)["text"]
    assert not (tmp_path / "owned").exists()
    assert found["failed"].attempts == 3 and "broken" in found["failed"].error


# A check before anybody is told


class Onlooker:
    """Judges by the text of the event; a stand-in for a Video-LLM, whose own tests are those of
    `rag.look`."""

    name, depth = "onlooker", 1

    def __init__(self, **judgements):
        self.judgements = judgements
        self.asked: list = []

    def scores(self, query, candidates):
        (one,) = candidates
        self.asked.append((query, one))
        judged = self.judgements[one.text.split()[-1]]
        if isinstance(judged, list):
            judged = judged.pop(0) if len(judged) > 1 else judged[0]
        if isinstance(judged, Exception):
            raise judged
        return [judged]


def test_what_a_model_does_not_see_is_not_told(live):
    book, heard = AlertBook(live.store), []
    with Receiver() as receiver:
        book.put(Alert("exit", 0.0, webhook=receiver.url))
        onlooker = Onlooker(real=0.9, painted=0.2, dark=None, late=[None, 0.8],
                            broken=StoreError("no answer"))  # fmt: skip
        watcher = AlertWatcher(
            live,
            SETTINGS.model_copy(update={"check_wait_seconds": 0.3}),
            onlooker=onlooker,
            tell=lambda alert, event, video: heard.append(event.text.split()[-1]),
        )
        words = ("real", "painted", "dark", "late", "broken")
        for at, word in enumerate(words):
            assert len(told(watcher, seen(f"EXIT {word}", 100.0 * at + 10, 100.0 * at + 12))) == 1
        receiver.wait(4)
        deliveries = wait_for(lambda: settled(book))
        watcher.close()
    assert heard == ["real", "dark", "late", "broken"]  # not seen, not sure: told unchecked
    assert [payload["checked"] for payload, _ in receiver.got] == [0.9, None, 0.8, None]
    checked = {event.text.split()[-1]: event.checked for event in book.events()}
    assert checked == {"real": 0.9, "painted": 0.2, "dark": None, "late": 0.8, "broken": None}
    withheld = [one for one in deliveries if one.state == "withheld"]
    assert [book.event(one.event_id).text for one in withheld] == ["EXIT painted"]
    query, candidate = onlooker.asked[0]
    assert query == "exit" and (candidate.start_seconds, candidate.end_seconds) == (9.0, 13.0)


def test_a_check_that_a_kill_cut_short_is_made_up_for(live):
    book = AlertBook(live.store)
    with Receiver() as receiver:
        book.put(alert := Alert("exit", 0.0, webhook=receiver.url))
        for at, word in ((10, "real"), (100, "painted")):
            found = dataclasses.replace(sight(at, at + 2), text=f"EXIT {word}")
            event = tracker(alert).see([found], 5.0).begun[0]
            book.put_events([event], deliveries_of(alert, event, "checking"))
        watcher = AlertWatcher(live, SETTINGS, onlooker=Onlooker(real=0.9, painted=0.1))
        watcher.start()
        wait_for(lambda: settled(book))
        watcher.close()
    assert [payload["text"] for payload, _ in receiver.got] == ["EXIT real"]


def test_what_goes_on_keeps_what_a_check_said(live):
    book = AlertBook(live.store)
    book.put(Alert("exit", 0.0))
    watcher = AlertWatcher(live, SETTINGS, onlooker=Onlooker(real=0.9))
    told(watcher, seen("EXIT real", 10, 12))
    wait_for(lambda: book.events()[0].checked)
    told(watcher, seen("EXIT real", 10, 60))
    watcher.close()
    (event,) = book.events()
    assert (event.end_seconds, event.checked) == (60.0, 0.9)


# What it would have been


def test_a_back_test_finds_what_is_there_and_suggests_where_to_draw_the_line(library):
    video = put_video(library, "Gate", 600.0)
    texts = ("exit sign blocked", "an exit", "no sign", "the exit sign is blocked")
    lines = [(20.0 * at, 20.0 * at + 2, text) for at, text in enumerate(texts)]
    put_channel(library, video, "screen_text", lines)
    hidden = put_channel(library, video, "screen_text", lines, fingerprint="2", state="building")
    assert hidden.state == "building"
    alert = Alert("exit sign blocked", time.time())
    found = backtest(alert, Gate(alert, SETTINGS), library, library.videos(), SETTINGS)
    assert [event.start_seconds for _, event in found.events] == [0.0, 60.0]
    (words,) = found.kinds
    assert (words.counts[0.3], words.counts[0.6], words.counts[1.0]) == (4, 2, 2)
    assert words.suggested == pytest.approx((1 / 3 + 1) / 2, abs=0.01)


# The commands


def test_the_commands_keep_list_and_take_away(run_json, tmp_path):
    status, (added,), _ = run_json("alert", "add", "exit", "blocked", "--exec", "true -x 'a b'",
                              "--threshold", "frame=0.7")  # fmt: skip
    assert (
        status == 0 and added["exec"][1:] == ["-x", "a b"] and Path(added["exec"][0]).is_absolute()
    )
    assert added["thresholds"] == {"frame": 0.7}
    status, again, err = run_json(
        "alert", "add", "exit blocked", "--webhook", "http://127.0.0.1:9/x"
    )
    assert again[0]["alert_id"] == added["alert_id"] and "already" in err
    _, (listed,), _ = run_json("alert", "ls")
    assert listed["webhook"] == "http://127.0.0.1:9/x" and listed["exec"] == []
    assert (listed["state"], listed["events"]) == ("pending", 0)
    assert run_json("alert", "rm", added["alert_id"][:8])[0] == 0
    assert run_json("alert", "ls")[1] == []
    status, _, err = run_json("alert", "rm", "exit blocked")
    assert status == 2 and "alert ls" in err


def test_a_picture_is_asked_for_by_file(run_json, tmp_path):
    from PIL import Image

    flat, told = tmp_path / "flat.png", tmp_path / "told.png"
    Image.new("RGB", (64, 64), "gray").save(flat)
    noise = np.random.default_rng(3).integers(0, 256, (9, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((320, 180), Image.Resampling.BICUBIC).save(told)
    status, _, err = run_json("alert", "add", "--image", str(flat))
    assert status == 2 and "too little" in err
    status, (added,), _ = run_json("alert", "add", "--image", str(told))
    assert status == 0 and added["picture"] == str(told)
    assert run_json("alert", "rm", f"the picture {told}")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "What to look for"),
        (("...",), "holds no word"),
        (("exit", "--webhook", "ftp://x"), "https://host/path"),
        (("exit", "--exec", "no-such-program-here"), "no-such-program-here"),
        (("exit", "--exec", "'"), "taken apart"),
        (("exit", "--threshold", "2"), "up to 1"),
        (("exit", "--threshold", "smell=0.5"), "smell"),
        (("exit", "--source", "Lighthouse"), "no live source"),
        (("video:x exit",), "--source"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_kept(run_json, tmp_path, arguments, said):
    talks.films_at(tmp_path / "library").store.close()
    status, out, err = run_json("alert", "add", *arguments)
    assert status == 2 and said in err and out == []
    assert run_json("alert", "ls")[1] == []


def test_bytes_that_are_no_text_do_no_harm(run_json):
    status, (added,), _ = run_json("alert", "add", "caf\udce9 open", "--source", "h\udcff")
    assert status == 0 and (added["text"], added["source"]) == ("caf? open", "h?")
    assert Gate(Alert(added["text"], 0.0), SETTINGS).look(seen("cafe open"))
    for way in ("--exec", "--webhook"):
        given = "true \udcff" if way == "--exec" else "http://h/\udcff"
        status, _, err = run_json("alert", "add", "exit", way, given)
        assert status == 2 and way in err


def test_a_source_may_be_named_before_it_is_there(run_json):
    status, (added,), err = run_json("alert", "add", "exit", "--source", "lobby")
    assert status == 0 and added["source"] == "lobby" and "waits" in err


def test_a_question_is_one_whether_its_source_was_there_or_not(run_json, tmp_path):
    (before,) = run_json(
        "alert", "add", "exit", "--source", "Gate 3", "--webhook", "http://me:pw@h/x"
    )[1]
    library = talks.open_library_at(tmp_path / "library")
    library.put_video(LIVE)
    library.store.close()
    for name in ("gate 3", LIVE.id[:8]):
        status, (again,), err = run_json("alert", "add", "exit", "--source", name)
        assert status == 0 and again["alert_id"] == before["alert_id"] and "there already" in err
    (listed,) = run_json("alert", "ls")[1]
    assert listed["source"] == "Gate 3"


def test_history_tells_what_was_reported_and_whether_it_arrived(run_json, tmp_path):
    library = talks.open_library_at(tmp_path / "library")
    library.put_video(LIVE)
    AlertBook(library.store).put(Alert("exit", 0.0, command=("/bin/false",)))
    watcher = AlertWatcher(library, SETTINGS)
    (event,) = told(watcher, seen("EXIT"))
    wait_for(lambda: settled(AlertBook(library.store)))
    watcher.close()
    library.store.close()
    _, (line,), _ = run_json("alert", "history")
    assert line["event"]["id"] == event.id and line["source"] == "Gate 3"
    assert [(one["state"], one["attempts"]) for one in line["deliveries"]] == [("failed", 3)]
    assert run_json("alert", "history", "exit")[1] == [line]
    assert run_json("alert", "history", "nothing")[0] == 2


def test_the_back_test_is_over_another_library(run_json, tmp_path):
    library = talks.open_library_at(tmp_path / "other")
    put_channel(library, put_video(library, "Lighthouse"), "speech", LIGHTHOUSE)
    library.store.close()
    status, (event, summary), _ = run_json(
        "alert", "test", "Fresnel lens", "--on", str(tmp_path / "other")
    )
    assert status == 0 and (event["title"], event["start_seconds"]) == ("Lighthouse", 30.0)
    assert summary["events"] == 1 and summary["hours"] == pytest.approx(60 / 3600, abs=1e-4)
    assert run_json("alert", "test", "lens", "--on", str(tmp_path / "none"))[0] == 1


def test_a_picture_is_back_tested_on_a_film_that_shows_it(tmp_path, run_json):
    """Through the whole program: index, then ask with a picture of it."""
    film = tmp_path / "film.mp4"
    write_clip(film, [noise_picture(at // 50, 320, 180) for at in range(100)])
    environment = {**os.environ, "LONGTAKE_LIBRARY": str(tmp_path / "library")}
    subprocess.run(
        [sys.executable, "-m", "cli.main", "index", str(film)],
        cwd=Path(__file__).resolve().parents[1], env=environment, check=True, capture_output=True,
    )  # fmt: skip
    status, lines, err = run_json("alert", "test", "--image", str(film))
    assert status == 0 and lines[-1]["kinds"], err
    assert lines[0]["channel"] == "fingerprint" and lines[0]["start_seconds"] < 1.0
