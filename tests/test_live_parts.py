"""The parts of watching a stream, each by itself: what a source is, what time it is, what is
dropped, and what is written of what is still open."""

from __future__ import annotations

import threading
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from index.errors import UsageError
from index.schema import Epoch, Evidence, Generation, Segment, Video
from index.store import scroll, where
from ingest.channel import Sample
from ingest.claims import WholeVideo
from ingest.live.clock import WRAP_SECONDS, StreamClock
from ingest.live.consolidation import (
    Consolidation,
    join,
    join_segments,
    join_windows,
    same_line,
    same_view,
)
from ingest.live.epochs import thinned
from ingest.live.intake import Intake
from ingest.live.known import known_video
from ingest.live.recorded import Recordings
from ingest.live.settings import LiveSettings
from ingest.live.source import parse_source, parse_sources
from ingest.live.writer import OPEN, LiveWriter, commit_live, settle
from ingest.picture_events import Progress
from ingest.thumbnails import Thumbnails
from rag.retrieve import Retriever

NOW = 1_800_000_000.0
FRAME = 0.04


# --- sources ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "shown"),
    [
        ("rtsp://user:secret@cam.local:554/one", "cam.local:554/one", "rtsp://cam.local:554/one"),
        ("https://host/live.m3u8?token=secret", "host/live.m3u8", "https://host/live.m3u8"),
        ("tcp://[::1]:9000", "[::1]:9000", "tcp://[::1]:9000"),
        ("udp://239.1.1.1:5000", "239.1.1.1:5000", "udp://239.1.1.1:5000"),
        ("-", "stdin", "standard input"),
        ("avfoundation:0", "0", "avfoundation:0"),
        ("/dev/video7", "video7", "/dev/video7"),
    ],
)
def test_a_source_has_a_name_and_shows_no_password(given, name, shown):
    source = parse_source(given)
    assert (source.name, source.shown) == (name, shown)
    assert source.video_id == parse_source("-", name).video_id


def test_rtmp_waits_for_a_sender_where_its_address_says_so():
    source = parse_source("rtmp://0.0.0.0:1935/live/key?listen=1")
    assert source.listens
    assert source.options["listen"] == "1"
    assert source.location == "rtmp://0.0.0.0:1935/live/key"


def test_a_capture_device_takes_options():
    source = parse_source("/dev/video0?framerate=30&video_size=1280x720")
    assert (source.kind, source.format, source.location) == ("device", "v4l2", "/dev/video0")
    assert source.options == {"framerate": "30", "video_size": "1280x720"}
    source = parse_source("dshow:video=Front Door:audio=Front Door")
    assert (source.format, source.location) == ("dshow", "video=Front Door:audio=Front Door")


@pytest.mark.parametrize("given", [["a.ts", "b/a.ts"], ["http://h/x", "http://h/x?y=1"]])
def test_two_sources_of_one_name_are_refused(given):
    with pytest.raises(UsageError, match="Two sources"):
        parse_sources(given)
    assert len(parse_sources(given, ["one", "two"])) == 2


def test_a_name_that_is_valid_in_no_encoding_is_kept_readable():
    (source,) = parse_sources(["n\udcff.ts"])
    assert source.name == "n?" and source.shown.endswith("n?.ts")
    assert source.location.endswith("n\udcff.ts") and source.video_id


# --- time -------------------------------------------------------------------------------------


def clock(epochs=(), *, waits=False, **more) -> StreamClock:
    return StreamClock(epochs, waits=waits, gap_seconds=5.0, **more)


def test_stream_time_follows_the_source_and_knows_the_time_of_day():
    here = clock()
    times = [here.place(100.0 + n * FRAME, FRAME, NOW + n * FRAME) for n in range(100)]
    assert times == pytest.approx([n * FRAME for n in range(100)])
    assert here.epoch.wall_clock_start == pytest.approx(NOW)
    assert here.end_seconds == pytest.approx(100 * FRAME)


def test_what_lay_in_a_buffer_was_shown_before_it_came():
    """Four seconds come at once, a second after they began to be sent; the next are in time."""
    here = clock()
    for n in range(100):
        here.place(n * FRAME, FRAME, NOW + 0.001 * n)
    assert here.epoch.wall_clock_start == pytest.approx(NOW + 0.099 - 99 * FRAME)


@pytest.mark.parametrize(
    ("to", "after_seconds", "why"),
    [
        (0.5, 1.0, "timestamps wrapped"),
        (50_000.0, 1.0, "timestamps went back"),
        (WRAP_SECONDS + 300.0, 1.0, "a gap of 301"),
        (WRAP_SECONDS + 20.0, 21.0, "a gap of 21"),
    ],
)
def test_another_clock_begins_an_epoch_where_the_time_of_day_is(to, after_seconds, why):
    here = clock()
    here.place(WRAP_SECONDS - 1.0, FRAME, NOW)
    first = here.epoch
    placed = here.place(to, FRAME, NOW + after_seconds)
    assert here.epoch.number == first.number + 1
    assert why in here.epoch.began
    assert placed == here.epoch.start_seconds == pytest.approx(after_seconds)
    assert here.epoch.wall_clock_start == NOW + after_seconds


def test_stream_time_never_goes_back():
    """The time of day does: somebody set the clock."""
    here = clock()
    here.place(0.0, FRAME, NOW)
    here.break_off("reconnected")
    assert here.place(7.0, FRAME, NOW - 3600) == pytest.approx(FRAME)


def test_times_that_stand_still_or_are_missing_go_on():
    here = clock()
    given = [0.0, FRAME, FRAME, None, 3 * FRAME]
    times = [here.place(raw, FRAME, NOW) for raw in given]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert here.epoch.number == 0


# --- what waits -------------------------------------------------------------------------------


def sample(at: float, side: int = 600) -> Sample:
    return Sample(at, 0.0, np.zeros((side, side, 3), np.uint8))  # about a megabyte


def intake(*, waits=False, **settings) -> Intake:
    return Intake(LiveSettings(**settings), waits=waits, stop=threading.Event())


def test_of_pictures_that_find_no_room_the_oldest_are_dropped_and_counted():
    here = intake(waiting_bytes=3 * 2**20)
    for at in range(6):
        here.put(sample(at))
        here.put(Progress(at, 0.0))
    kept = [here.get(0.0) for _ in range(8)]
    assert [item.time_seconds for item in kept if isinstance(item, Sample)] == [4, 5]
    assert sum(isinstance(item, Progress) for item in kept) == 6, "only pictures are dropped"
    assert here.dropped == 4
    assert here.get(0.0) is None


def test_pictures_that_have_waited_too_long_are_dropped_but_the_last():
    here = intake(drop_after_seconds=0.05)
    for at in range(3):
        here.put(sample(at, 8))
    threading.Event().wait(0.06)
    assert here.get(0.0).time_seconds == 2
    assert here.dropped == 2


def test_a_source_that_can_wait_is_made_to():
    here = intake(waits=True, waiting_bytes=2 * 2**20)
    sent = []

    def send():
        for at in range(6):
            here.put(sample(at))
            sent.append(at)

    thread = threading.Thread(target=send)
    thread.start()
    got = [here.get(5.0).time_seconds for _ in range(6)]
    thread.join()
    assert got == list(range(6))
    assert here.dropped == 0


# --- what is written --------------------------------------------------------------------------


@pytest.fixture
def writer(library) -> LiveWriter:
    library.put_video(Video("camera", "camera", source="tcp://camera", duration_seconds=None))
    generation = library.begin(Generation("camera", 0, "screen_text", "1"))
    return LiveWriter(library, generation)


def text(writer: LiveWriter, start: float, end: float, words: str, language="en") -> Evidence:
    generation = writer.generation
    return Evidence(
        "camera", 0, "screen_text", generation.id, start, end, words,
        {"language": language, "boxes": [[0.1, 0.1, 0.5, 0.2]]}, key=f"line at {start}",
    )  # fmt: skip


def of_kind(library, kind: str) -> list:
    return [point.payload for point in scroll(library.store, where(kind=kind))]


def test_an_open_line_is_found_bettered_and_sealed_under_one_id(library, writer):
    early = writer.take_live(0.0, 2.0, [text(writer, 1.0, 2.0, "exit bloc")])
    commit_live(library, [early])
    assert Retriever(library).search("exit").moments
    again = writer.take_live(0.0, 3.0, [text(writer, 1.0, 3.0, "exit bloc")])
    assert again.empty, "a second longer is no news"
    better = writer.take_live(0.0, 4.0, [text(writer, 1.0, 4.0, "Ausgang blockiert", "de")])
    commit_live(library, [better])
    assert not Retriever(library).search("exit").moments
    assert Retriever(library).search("blockiert").moments
    assert {payload["language"] for payload in of_kind(library, "passage")} == {"de"}

    writer.add([text(writer, 1.0, 5.0, "Ausgang blockiert", "de")])
    commit_live(library, [writer.take_live(6.0, 6.0)])
    (final,) = library.evidence("camera")
    assert final.id == early.evidence[0].id
    assert final.end_seconds == 5.0
    for kind in ("evidence", "passage", "text_stats"):
        kept = of_kind(library, kind)
        assert kept and all(OPEN not in payload for payload in kept), kind


def test_words_of_open_lines_count_once_for_how_rare_they_are(library, writer):
    from index.text import TextStatistics, analyzer

    def known() -> float:
        (term,) = analyzer("english").query("ferry")
        return TextStatistics(library.store).document_frequencies("english", [term])[1][term]

    commit_live(library, [writer.take_live(0.0, 2.0, [text(writer, 1.0, 2.0, "next ferry")])])
    assert known() == 1
    writer.add([text(writer, 1.0, 3.0, "next ferry")])
    commit_live(library, [writer.take_live(4.0, 4.0)])
    assert known() == 1


def test_what_a_kill_left_open_is_settled_as_it_stands(library, writer):
    writer.add([text(writer, 1.0, 2.0, "mind the gap")])
    lines = [text(writer, 6.0, 8.0, "next ferry"), text(writer, 7.0, 8.0, "pier closed")]
    commit_live(library, [writer.take_live(5.0, 8.0, lines)])
    before = {one.id for one in library.evidence("camera")}
    (left,) = library.generations("camera")
    settle(library, left)
    assert {one.id for one in library.evidence("camera")} == before
    (done,) = library.generations("camera")
    assert done.complete
    assert done.analysed_seconds == 8.0
    for kind in ("evidence", "passage", "text_stats"):
        kept = of_kind(library, kind)
        assert kept and all(OPEN not in payload for payload in kept), kind
    for words in ("gap", "ferry", "pier"):
        assert len(Retriever(library).search(words).moments) == 1


def test_what_was_waiting_to_be_heard_counts_as_not_covered(library, writer):
    """Of all epochs together."""
    commit_live(library, [writer.take_live(5.0, 8.0)])
    (left,) = library.generations("camera")
    settle(library, left, 18.0)
    second = library.begin(replace(left, epoch=1, watermark_seconds=20.0))
    library.finish([(replace(second, analysed_seconds=40.0), [], [])])
    third = library.begin(replace(left, epoch=2, watermark_seconds=40.0))
    library.commit_all([(replace(third, analysed_seconds=45.0), [], [])])
    epochs = tuple(Epoch(at, 20.0 * at, 0.0, end_seconds=20.0 * (at + 1)) for at in range(3))
    video = Video("camera", "camera", duration_seconds=60.0, epochs=epochs)
    covered = library.coverage(video, library.generations("camera"))
    assert covered == {left.channel: pytest.approx(1 - (10 + 15) / 60)}


def test_a_killed_epoch_ends_where_its_pictures_do(library, tmp_path):
    """Who goes on with a file begins there: nothing is passed over, and nothing seen twice."""
    source = parse_source("tcp://camera", "camera")
    given = Video(source.video_id, "camera", source="tcp://camera", epochs=(Epoch(0, 0.0, 0.0),))
    library.put_video(given)
    for channel, reached in (("sound", 12.0), ("shot", 10.0), ("speech", 4.0)):
        begun = library.begin(Generation(given.id, 0, channel, "1"))
        library.commit_all([(replace(begun, analysed_seconds=reached), [], [])])
    joins = Consolidation(library, Thumbnails(tmp_path / "thumbnails"))
    video = known_video(library, source, Recordings(library, None, given.id), joins, WholeVideo())
    assert [epoch.end_seconds for epoch in video.epochs] == [10.0]
    video = replace(video, duration_seconds=10.0)
    covered = library.coverage(video, library.generations(video.id))
    assert covered == {"sound": 1.0, "shot": 1.0, "speech": pytest.approx(0.4)}


# --- what is joined ---------------------------------------------------------------------------


def test_only_neighbours_that_say_the_same_in_the_same_place_are_joined(writer):
    elsewhere = {"boxes": [[0.6, 0.6, 0.9, 0.7]], "language": "en"}
    lines = [
        text(writer, 0.0, 60.0, "no smoking"),
        text(writer, 0.0, 60.0, "gate 3"),
        text(writer, 60.0, 120.0, "no smoking"),
        replace(text(writer, 60.0, 120.0, "gate 3"), attributes=elsewhere),
        text(writer, 120.0, 180.0, "no parking"),
        text(writer, 185.0, 190.0, "no parking"),
    ]
    spans = [(one.start_seconds, one.end_seconds, one.text) for one in join(lines, same_line)]
    assert spans == [
        (0.0, 120.0, "no smoking"),
        (0.0, 60.0, "gate 3"),
        (60.0, 120.0, "gate 3"),
        (120.0, 180.0, "no parking"),
        (185.0, 190.0, "no parking"),
    ]


def test_windows_of_sound_are_joined_with_those_before_them():
    hum, bang = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)

    def heard(start: float, end: float, vector: np.ndarray) -> Evidence:
        return Evidence("camera", 0, "sound", "1", start, end, vectors={"sound.ear.0": vector})

    windows = [
        heard(0.0, 70.0, hum),
        heard(65.0, 135.0, hum),
        heard(130.0, 140.0, bang),
        heard(135.0, 200.0, hum),
        heard(210.0, 270.0, hum),  # behind silence
        heard(270.0, 280.0, hum),
    ]
    spans = [(one.start_seconds, one.end_seconds) for one in join_windows(windows, same_view)]
    assert spans == [(0.0, 135.0), (130.0, 140.0), (135.0, 200.0), (210.0, 280.0)]


@pytest.mark.parametrize("cut_at", [30.0, 60.0, 90.0])
def test_segments_are_joined_within_a_shot_and_a_still(cut_at):
    generation = Generation("camera", 0, "shot", "1")

    def shown(channel: str, start: float, end: float) -> Evidence:
        return Evidence("camera", 0, channel, generation.id, start, end)

    segments = [
        Segment("camera", 0, generation.id, at, at + 30.0) for at in (0.0, 30.0, 60.0, 90.0)
    ]
    shots = [shown("shot", 0.0, cut_at), shown("shot", cut_at, 120.0)]
    stills = [shown("fingerprint", 0.2, 120.0)]
    joined = join_segments(segments, shots, stills)
    assert [(s.start_seconds, s.end_seconds) for s in joined] == [(0.0, cut_at), (cut_at, 120.0)]
    assert join_segments(segments, shots, []) == segments


@hypothesis.given(
    stretches=st.lists(st.tuples(st.floats(0.1, 3600), st.floats(0, 600)), min_size=1, max_size=60),
    most=st.integers(4, 20),
)
def test_a_source_that_is_lost_over_and_over_has_few_epochs(stretches, most):
    """What lies in an epoch that has become part of another keeps its time of day, as far as the
    two clocks agree; nothing is left without one."""
    whole: list[Epoch] = []
    kept: tuple[Epoch, ...] = ()
    at = 0.0
    for number, (length, gap) in enumerate(stretches):
        whole.append(Epoch(number, at, 1e9 + at, at + length, dropped=1))
        kept = thinned((*kept, whole[-1]), most)
        at += length + gap
    assert len(kept) <= most and kept[-1] == whole[-1] and kept[0].start_seconds == 0.0
    assert sum(epoch.dropped for epoch in kept) == len(whole)
    video = Video("camera", "camera", epochs=kept)
    for epoch in whole:
        there = video.epoch_of(epoch.number)
        assert there.start_seconds <= epoch.start_seconds and epoch.end_seconds <= there.end_seconds
        assert video.wall_clock(epoch.number, epoch.start_seconds) == pytest.approx(
            epoch.wall_clock_start
        )


def test_short_epochs_become_part_of_others_first():
    lengths = [3600.0, 10.0, 10.0, 3600.0, 3600.0, 3600.0]
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    epochs = [
        Epoch(at, start, start, start + length)
        for at, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    assert [epoch.number for epoch in thinned(epochs, 5)] == [0, 1, 3, 4, 5]
