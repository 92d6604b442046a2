"""A stream is indexed while it runs, from real peers on loopback, and comes out of whatever
happens to it: a lost connection, a clock that jumps, a kill."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path

import live_peers
import numpy as np
import pytest
from clips import DATA, noise_picture, text_picture, write_clip
from live_peers import TcpSender, UdpSender, eventually
from recognisers import SCRIPTED_FILES, Loudness, Scripted

from index.library import Library
from index.pieces import PieceBook
from index.schema import Evidence, Video
from ingest.channels.fingerprint import FingerprintChannel
from ingest.channels.screen_text import ScreenTextChannel
from ingest.channels.speech import SpeechChannel
from ingest.claims import FileClaims
from ingest.live.clock import WRAP_SECONDS
from ingest.live.reader import Lost
from ingest.live.settings import LiveSettings
from ingest.live.source import parse_source
from ingest.live.state import SourceState
from ingest.live.stopping import Stop
from ingest.live.watcher import Watcher
from ingest.plan import Channels, describe_analysis, describe_segments
from ingest.recognition import Recognition
from ingest.segment_frames import Recording, RecordingReader
from ingest.settings import IngestSettings
from ingest.thumbnails import Thumbnails
from rag.retrieve import Retriever

INGEST = IngestSettings()
QUICK = {
    "commit_seconds": 0.1,
    "retry_seconds": 0.05,
    "retry_most_seconds": 0.2,
    "open_timeout_seconds": 20.0,
}


@pytest.fixture(scope="module")
def channels() -> Channels:
    return Channels(
        (SpeechChannel(),),
        (ScreenTextChannel(), FingerprintChannel()),
        describe_analysis(INGEST),
        describe_segments(INGEST),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


def stream(folder: Path, text: str, *, start_seconds: float = 0.0, name: str = "") -> bytes:
    """MPEG-TS of 3 s: a picture with that text, then one without."""
    path = folder / f"{name or text.replace(' ', '-')}-{start_seconds:g}.ts"
    if not path.exists():
        pictures = [*[text_picture(text)] * 20, *[noise_picture(len(text), 320, 180)] * 10]
        write_clip(path, pictures, rate=10, start_seconds=start_seconds, key_frame_every=10)
    return path.read_bytes()


class Watch:
    """A source being watched, in a thread of its own."""

    def __init__(
        self,
        library: Library,
        channels: Channels,
        given: str,
        home: Path,
        listener: Callable = lambda news: None,
        **settings,
    ):
        self.stop = Stop()
        self.states: list[SourceState] = []
        self.news: list = []
        self.source = parse_source(given, "camera")
        self._library, self._listener = library, listener
        self._watcher = Watcher(
            library,
            channels,
            INGEST,
            LiveSettings(**QUICK | settings),
            Thumbnails(home / "thumbnails"),
            FileClaims(home / "claims"),
            self.source,
            self.stop,
            self.states.append,
            self._heard,
            recordings=home / "recordings",
        )
        self._thread = threading.Thread(target=self._watcher.run)
        self._thread.start()

    @property
    def joining(self) -> threading.Lock:
        """Held while still stretches are joined."""
        return self._watcher._behind.lock

    def _heard(self, news) -> None:
        self._listener(news)
        self.news.append(news)

    @property
    def video(self) -> Video | None:
        return self._library.video(self.source.video_id)

    @property
    def waiting_ends(self) -> bool:
        """Whether the reader has read its first connection to the end, whoever looks."""
        return any(isinstance(one.item, Lost) for one in list(self._watcher._intake._items))

    def texts(self, channel: str = "screen_text") -> list[str]:
        return [one.text for one in self.evidence(channel)]

    def evidence(self, channel: str = "screen_text") -> list[Evidence]:
        return self._library.evidence(self.source.video_id, channel=channel)

    def found(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.texts()

    def ended(self) -> SourceState:
        """Its last state, once it has come to its end by itself."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.states[-1]

    def end(self) -> SourceState:
        self.stop.set()
        return self.ended()


@pytest.fixture
def watch(library, channels, tmp_path):
    watches: list[Watch] = []

    def begin(given: str, *, channels: Channels = channels, **settings) -> Watch:
        watches.append(Watch(library, channels, given, tmp_path / "library", **settings))
        return watches[-1]

    yield begin
    for one in watches:
        one.end()


@contextmanager
def closing_all(*peers):
    with ExitStack() as stack:
        for peer in peers:
            stack.callback(peer.close)
        yield


def test_what_is_shown_is_found_while_the_stream_goes_on(watch, library, folder):
    sender = TcpSender([stream(folder, "HARBOUR LIGHTS")], hold=True)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("HARBOUR LIGHTS"))
        assert one.video.duration_seconds is None
        result = Retriever(library).search("harbour")
        moment = result.moments[0]
        assert moment.text == "HARBOUR LIGHTS"
        assert moment.coverage["screen_text"] == 1.0
        epoch = one.video.epochs[0]
        assert moment.wall_clock_start == epoch.wall_clock_start + (
            moment.start_seconds - epoch.start_seconds
        )
        state = one.end()
    assert state.state == "stopped"
    assert (
        one.video.duration_seconds == one.video.epochs[0].end_seconds == pytest.approx(3, abs=0.3)
    )
    assert all(generation.complete for generation in library.generations(one.video.id))


def test_what_is_still_shown_is_provisional_and_takes_its_own_place(watch, library, folder):
    """The text stays to the end of the stream, which stays open."""
    path = folder / "still.ts"
    write_clip(path, [text_picture("NO SMOKING")] * 30, rate=10)
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("NO SMOKING"))
        (early,) = one.evidence()
        assert early.attributes["provisional"]
        assert Retriever(library).search("smoking").moments
        one.end()
    (final,) = one.evidence()
    assert final.id == early.id
    assert "provisional" not in final.attributes
    assert final.end_seconds == pytest.approx(3, abs=0.3)
    kinds = ("evidence", "passage", "text_stats")
    left = [p for kind in kinds for p in points(library, kind) if "provisional" in p.payload]
    assert not left


def points(library: Library, kind: str):
    from index.store import scroll, where

    return list(scroll(library.store, where(kind=kind)))


def test_a_live_run_finds_what_indexing_the_file_finds(watch, library, folder, tmp_path):
    """Sent as a stream, a recording gives the evidence that it gives as a file."""
    from dump import dump

    from cli.main import main

    path = tmp_path / "film.ts"
    path.write_bytes(stream(folder, "TIDE TABLE"))
    indexed = tmp_path / "indexed"
    assert main(["index", str(path), "--library", str(indexed)]) == 0
    expected = {
        (payload["channel"], payload["start_seconds"], payload["end_seconds"], payload["text"])
        for payload, _ in dump(indexed).values()
        if payload["kind"] == "evidence"
    }
    with path.open("rb") as recording:
        sender = TcpSender([recording.read()])
    with closing_all(sender):
        one = watch(sender.url)
        eventually(lambda: any(state.state == "lost" for state in one.states))
        one.end()
    found = {
        (one.channel, round(one.start_seconds, 6), round(one.end_seconds, 6), one.text)
        for one in library.evidence(one.video.id)
    }
    assert found == expected


def test_a_sender_that_dies_and_comes_back_begins_an_epoch(watch, library, folder):
    sender = TcpSender([stream(folder, "FIRST WATCH"), stream(folder, "SECOND WATCH")], hold=False)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("SECOND WATCH"))
        eventually(lambda: len(one.video.epochs) == 2 and one.video.epochs[1].end_seconds)
        one.end()
    first, second = one.video.epochs
    assert first.end_seconds <= second.start_seconds
    assert second.began == "reconnected"
    assert second.wall_clock_start > first.wall_clock_start
    by_text = {found.text: found for found in one.evidence()}
    assert (by_text["FIRST WATCH"].epoch, by_text["SECOND WATCH"].epoch) == (0, 1)
    assert by_text["SECOND WATCH"].start_seconds >= second.start_seconds


def test_a_full_epoch_is_followed_by_another_and_old_ones_are_let_go_of(watch, library, folder):
    """In one connection; what is still on the screen then is found in both."""
    path = folder / "long.ts"
    pictures = [*[text_picture("MIND THE GAP")] * 35, *[noise_picture(4, 320, 180)] * 10]
    write_clip(path, pictures, rate=10, key_frame_every=10)
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing_all(sender):
        one = watch(sender.url, epoch_seconds=2.0, record=True, piece_seconds=1.0)
        eventually(lambda: one.video is not None and len(one.video.epochs) == 3)
        state = one.end()
    first, second, third = one.video.epochs
    assert first.end_seconds == pytest.approx(second.start_seconds, abs=1e-6) == 2.0
    assert second.end_seconds == pytest.approx(third.start_seconds, abs=1e-6)
    found = one.evidence()
    assert [(each.text, each.epoch) for each in found] == [("MIND THE GAP", 0), ("MIND THE GAP", 1)]
    assert found[1].start_seconds == pytest.approx(2.0, abs=0.3)
    assert all(generation.complete for generation in library.generations(one.video.id))
    assert state.state == "stopped"


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (WRAP_SECONDS - 4, 0.0, "timestamps wrapped"),
        (1000.0, 10.0, "timestamps went back"),
        (10.0, 100.0, "a gap of"),
    ],
)
def test_timestamps_that_jump_begin_an_epoch(first, then, why, watch, folder):
    """In one connection."""
    sender = TcpSender(
        [
            stream(folder, "BEFORE IT", start_seconds=first)
            + stream(folder, "AFTER IT", start_seconds=then)
        ],
        hold=True,
    )
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("AFTER IT"))
        one.end()
    before, after = one.video.epochs
    assert why in after.began
    assert before.end_seconds <= after.start_seconds
    times = [(found.start_seconds, found.text) for found in one.evidence()]
    assert times == sorted(times)
    assert [text for _, text in times] == ["BEFORE IT", "AFTER IT"]


def test_mpeg_ts_over_udp(watch, folder):
    port = live_peers.free_port(socket.SOCK_DGRAM)
    one = watch(f"udp://127.0.0.1:{port}", read_timeout_seconds=3.0)
    data = b"".join(
        stream(folder, "OVER THE AIR", start_seconds=start) for start in (1.0, 4.0, 7.0, 10.0)
    )
    sender = UdpSender(port, data)
    try:
        eventually(one.found("OVER THE AIR"))
    finally:
        sender.close()
        one.end()


def test_an_hls_playlist_that_grows_while_it_is_read(watch, library, tmp_path):
    tree = DATA / "video" / "sol-levante-hls" / "video" / "avc1" / "1"
    if not tree.exists():
        pytest.skip("the HLS tree of ../shared/data is not here")
    origin = tmp_path / "origin"
    origin.mkdir()
    shutil.copy(tree / "init.mp4", origin)
    pieces = [(f"seg-{n}.m4s", 3.0) for n in range(1, 6)]
    for name, _ in pieces[:2]:
        shutil.copy(tree / name, origin)
    live_peers.write_playlist(origin / "live.m3u8", pieces[:2], ended=False)
    with live_peers.http_origin(origin) as address:
        one = watch(f"{address}/live.m3u8")
        eventually(lambda: one.video and one.evidence("fingerprint"))
        assert one.video.duration_seconds is None
        for count in range(3, 6):
            shutil.copy(tree / pieces[count - 1][0], origin)
            live_peers.write_playlist(origin / "live.m3u8", pieces[:count], ended=count == 5)
        assert one.ended().state == "ended"
    assert len(one.video.epochs) == 1
    assert one.video.duration_seconds == pytest.approx(15.0, abs=0.3)
    assert len(library.segments(one.video.id)) >= 3


def test_a_file_that_grows(watch, folder, tmp_path):
    data = stream(folder, "KEEP CLEAR") + stream(folder, "WET PAINT", start_seconds=3.0)
    path = tmp_path / "recording.ts"
    half = len(data) // 2 // 188 * 188
    path.write_bytes(data[:half])
    one = watch(str(path))
    eventually(one.found("KEEP CLEAR"))
    assert "WET PAINT" not in one.texts()
    with path.open("ab") as more:
        more.write(data[half:])
    eventually(one.found("WET PAINT"))
    one.end()
    assert len(one.video.epochs) == 1


def test_stopping_does_not_wait_for_what_is_being_joined(watch, folder, tmp_path):
    path = tmp_path / "recording.ts"
    path.write_bytes(stream(folder, "KEEP CLEAR"))
    one = watch(str(path))
    eventually(one.found("KEEP CLEAR"))
    with one.joining:
        assert one.end().state == "stopped"
    assert one.video.epochs[0].end_seconds and one.video.duration_seconds


def test_a_path_that_leads_nowhere_is_told(watch, tmp_path):
    one = watch(str(tmp_path / "hall.ts"))
    eventually(lambda: any("is not there (yet)" in state.message for state in one.states))
    one.end()


def test_a_file_that_holds_no_stream_is_told(watch, tmp_path):
    """It may become one."""
    path = tmp_path / "notes.txt"
    path.write_text("Nothing to see, nothing to hear.\n")
    one = watch(str(path), open_timeout_seconds=0.2)
    eventually(lambda: any("nothing so far" in state.message for state in one.states))
    assert one.end().state == "stopped"


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_that_is_begun_anew(longer, watch, folder, tmp_path):
    """By a recorder that opens it once more; it may be longer again before anybody looks."""
    path = tmp_path / "recording.ts"
    path.write_bytes(stream(folder, "FIRST PART"))
    one = watch(str(path))
    eventually(one.found("FIRST PART"))
    more = stream(folder, "THIRD PART", start_seconds=3.0) if longer else b""
    path.write_bytes(stream(folder, "SECOND PART") + more)  # the same file: it is cut and filled
    eventually(one.found("THIRD PART" if longer else "SECOND PART"))
    one.end()
    assert one.texts() == ["FIRST PART", "SECOND PART", *(["THIRD PART"] if longer else [])]
    assert len(one.video.epochs) == 2


def test_a_file_is_gone_on_with_where_it_was_left(watch, folder, tmp_path):
    data = stream(folder, "KEEP CLEAR") + stream(folder, "WET PAINT", start_seconds=3.0)
    path = tmp_path / "recording.ts"
    path.write_bytes(data[: len(data) // 2 // 188 * 188])
    one = watch(str(path))
    eventually(one.found("KEEP CLEAR"))
    one.end()
    path.write_bytes(data)
    again = watch(str(path))
    eventually(again.found("WET PAINT"))
    again.end()
    assert again.texts().count("KEEP CLEAR") == 1
    assert [epoch.number for epoch in again.video.epochs] == [0, 1]
    first, second = again.video.epochs
    assert second.start_seconds == first.end_seconds
    assert second.source_start_seconds == pytest.approx(
        first.source_start_seconds + first.end_seconds, abs=0.2
    )


def test_subtitles_in_the_stream_are_said(watch, tmp_path):
    path = tmp_path / "film.mkv"
    pictures = [noise_picture(3, 320, 180)] * 60
    lines = [(1.0, 2.0, "The lamp is lit."), (3.0, 4.5, "Fog hides the rocks.")]
    write_clip(path, pictures, rate=10, subtitles=lines)
    one = watch(str(path))
    eventually(lambda: len(one.evidence("speech")) == 2)
    one.end()
    said = [(s.start_seconds, s.end_seconds, s.text) for s in one.evidence("speech")]
    assert said == [(pytest.approx(a), pytest.approx(b), text) for a, b, text in lines]
    assert {s.attributes["source"] for s in one.evidence("speech")} == {"stream 1"}


def test_each_commit_is_told_with_the_time_of_day(watch, folder):
    sender = TcpSender([stream(folder, "MIND THE GAP")], hold=True)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("MIND THE GAP"))
        one.end()
    told = [(news, found) for news in one.news for found in news.evidence if found.text]
    assert {found.text for _, found in told} == {"MIND THE GAP"}
    assert len({found.id for _, found in told}) == 1
    assert "provisional" not in told[-1][1].attributes
    assert all(news.video.title == "camera" and news.epoch.wall_clock_start for news, _ in told)


def test_what_ffmpeg_cannot_read_is_refused_at_once(watch):
    state = watch("srt://127.0.0.1:9").ended()
    assert state.state == "failed"
    assert "srt" in state.message


def test_a_capture_device(watch, library, tmp_path):
    """The one that every build has: FFmpeg makes the pictures, in real time. It is recorded too,
    though its packets are no packets of a file."""
    live = watch("lavfi:smptebars=size=320x180:rate=10,realtime", record=True)
    eventually(lambda: live.evidence("fingerprint"))
    (epoch,) = live.video.epochs
    assert abs(epoch.wall_clock_start - time.time()) < 60
    assert live.end().state == "stopped"


@pytest.mark.parametrize(
    ("given", "why"),
    [("gdigrab:desktop", "has no gdigrab, only .*v4l2"), ("v4l2:/dev/null", "no capture device")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="what a build has depends on the system")
def test_a_device_that_cannot_be_read_is_refused_at_once(given, why, watch):
    state = watch(given).ended()
    assert state.state == "failed" and re.search(why, state.message)


def test_a_video_removed_while_it_is_watched_stays_removed(watch, library, folder):
    sender = TcpSender([stream(folder, "OUT OF ORDER")], hold=True)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("OUT OF ORDER"))
        library.remove_video(one.source.video_id)
        state = one.ended()
    assert state.state == "failed"
    assert "removed" in state.message
    assert one.video is None
    assert not points(library, "evidence")


def test_two_processes_do_not_watch_one_source(watch, folder):
    sender = TcpSender([stream(folder, "ONE AT A TIME")] * 2, hold=True)
    with closing_all(sender):
        one = watch(sender.url)
        eventually(one.found("ONE AT A TIME"))
        assert watch(sender.url).ended().state == "failed"
        assert one.end().state == "stopped"


def test_what_is_recorded_shows_the_pictures_that_were_found(watch, library, folder, tmp_path):
    """Two connections: two epochs, and pieces of each, on the stream's clock."""
    data = stream(folder, "FIRST WATCH"), stream(folder, "SECOND WATCH")
    sender = TcpSender(data)
    with closing_all(sender):
        one = watch(sender.url, record=True)
        eventually(one.found("SECOND WATCH"))
        eventually(lambda: len(one.video.epochs) == 2 and one.video.epochs[1].end_seconds)
        one.end()
    pieces = PieceBook(library.store).pieces(one.video.id)
    assert [piece.epoch for piece in pieces] == [0, 1]
    for piece, epoch in zip(pieces, one.video.epochs, strict=True):
        assert piece.start_seconds == pytest.approx(epoch.start_seconds, abs=0.05)
        assert piece.end_seconds == pytest.approx(epoch.end_seconds, abs=0.2)
    home = tmp_path / "library" / "recordings" / one.video.id
    media = Recording(
        tuple((home / piece.name, piece.start_seconds, piece.end_seconds) for piece in pieces)
    )
    found = {text.text: text for text in one.evidence()}
    for text, shown in (("FIRST WATCH", 0), ("SECOND WATCH", 1)):
        at = found[text].start_seconds
        with RecordingReader(media) as reader:
            ((time, picture),) = reader.read([at + 0.5], at, at + 1.0, snap=False)
        assert time == pytest.approx(at + 0.5, abs=0.2)
        expected = text_picture(text)
        assert np.abs(picture.astype(int) - expected).mean() < 10, shown


def test_pieces_that_a_kill_left_open_get_their_length_and_strays_go(
    watch, library, folder, tmp_path
):
    sender = TcpSender([stream(folder, "KEPT ON FILM")] * 2)
    with closing_all(sender):
        one = watch(sender.url, record=True)
        eventually(lambda: one.video and one.video.epochs[-1].end_seconds)
        one.end()
        book = PieceBook(library.store)
        (piece, *_) = book.pieces(one.video.id)
        book.put_piece(dataclasses.replace(piece, end_seconds=None, size=0))
        home = tmp_path / "library" / "recordings" / one.video.id
        (home / "1.mkv").write_bytes(b"nobody knows me")
        again = watch(sender.url)
        eventually(lambda: any(state.state == "lost" for state in again.states))
        again.end()
    (mended, *_) = book.pieces(one.video.id)
    assert mended.end_seconds == pytest.approx(piece.end_seconds, abs=0.2)
    assert not (home / "1.mkv").exists()


def test_a_camera_that_speaks_rtsp(watch, folder):
    """It hangs up, and is called again."""
    path = folder / "camera.ts"
    write_clip(
        path, [text_picture("GATE 3")] * 25 + [noise_picture(1, 320, 180)] * 15, rate=10,
        key_frame_every=10,
    )  # fmt: skip
    camera = live_peers.RtspCamera(path)
    with closing_all(camera):
        one = watch(camera.url, read_timeout_seconds=10.0)
        eventually(one.found("GATE 3"))
        assert camera.methods == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
        camera.let_go()
        eventually(lambda: one.texts() == ["GATE 3"] * 2)
        one.end()
    first, second = one.video.epochs[:2]
    assert second.began == "reconnected" and first.end_seconds <= second.start_seconds
    (pictures,) = one.video.streams
    assert (pictures.codec, pictures.width, pictures.height) == ("h264", 320, 180)


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_a_sender_that_calls(scheme, watch, folder):
    """We listen, as a server does that an encoder publishes to."""
    path = folder / "studio.flv"
    write_clip(path, [*[text_picture("ON AIR")] * 20, *[noise_picture(1, 320, 180)] * 20], rate=10)
    port = live_peers.free_port()
    one = watch(f"{scheme}://127.0.0.1:{port}/live/studio?listen=1", read_timeout_seconds=3.0)
    with live_peers.published(path, f"{scheme}://127.0.0.1:{port}/live/studio") as sender:
        eventually(one.found("ON AIR"))
        eventually(lambda: one.video.epochs[-1].end_seconds)
        assert sender.wait(20) == 0
    one.end()


def drop(folder: Path, name: str, data: bytes, ended_at: float) -> None:
    """As a recorder does: whole at once, under its name."""
    folder.mkdir(exist_ok=True)
    hidden = folder / f".{name}"
    hidden.write_bytes(data)
    os.utime(hidden, (ended_at, ended_at))
    hidden.rename(folder / name)


def test_a_folder_that_a_recorder_drops_pieces_into(watch, folder, tmp_path):
    """Two pieces of one clock, then one whose clock begins anew, an hour later; after a stop the
    next one."""
    pieces, hour = tmp_path / "pieces", 1_800_000_000.0
    drop(pieces, "part9.ts", stream(folder, "FIRST PART"), hour)
    drop(pieces, "part10.ts", stream(folder, "SECOND PART", start_seconds=3.0), hour + 3)
    (pieces / "notes.txt").write_text("nothing to see")
    one = watch(str(pieces), settle_seconds=0.2)
    eventually(one.found("SECOND PART"))
    drop(pieces, "part11.ts", stream(folder, "AN HOUR LATER"), hour + 3600)
    eventually(one.found("AN HOUR LATER"))
    one.end()
    first, later = one.video.epochs
    assert first.end_seconds == pytest.approx(6.0, abs=0.3)
    assert first.wall_clock_start == pytest.approx(hour - 3, abs=0.3)
    assert later.start_seconds == pytest.approx(3600, abs=0.3)
    assert later.wall_clock_start == pytest.approx(hour + 3597, abs=0.3)

    again = watch(str(pieces), settle_seconds=0.2)
    drop(pieces, "part12.ts", stream(folder, "LAST PART"), hour + 3610)
    eventually(again.found("LAST PART"))
    again.end()
    texts = [text.text for text in again.evidence()]
    assert texts == ["FIRST PART", "SECOND PART", "AN HOUR LATER", "LAST PART"]


def test_a_piece_that_is_touched_or_renamed_is_read_once(watch, folder, tmp_path):
    """And one that another takes the place of is another."""
    pieces, hour = tmp_path / "pieces", 1_800_000_000.0
    drop(pieces, "a.ts", stream(folder, "FIRST PART"), hour)
    drop(pieces, "b.ts", stream(folder, "SECOND PART"), hour + 3)
    one = watch(str(pieces), settle_seconds=0.2)
    eventually(one.found("SECOND PART"))
    os.utime(pieces / "a.ts", (hour + 100, hour + 100))
    (pieces / "b.ts").rename(pieces / "later.ts")
    os.utime(pieces / "later.ts", (hour + 101, hour + 101))
    drop(pieces, "c.ts", stream(folder, "THIRD PART"), hour + 200)
    eventually(one.found("THIRD PART"))
    drop(pieces, "c.ts", stream(folder, "FOURTH PART"), hour + 300)
    eventually(one.found("FOURTH PART"))
    one.end()
    assert one.texts() == ["FIRST PART", "SECOND PART", "THIRD PART", "FOURTH PART"]


def test_a_piece_that_cannot_be_read_is_passed_over(watch, folder, tmp_path):
    pieces, hour = tmp_path / "pieces", 1_800_000_000.0
    drop(pieces, "part1.mp4", b"\0" * 1000, hour)
    drop(pieces, "part2.ts", stream(folder, "SECOND PART"), hour + 3)
    one = watch(str(pieces), settle_seconds=0.2)
    eventually(one.found("SECOND PART"))
    one.end()
    assert any("part1.mp4" in note for note in one.video.notes)


def talk(folder: Path, *, start_seconds: float = 0.0) -> bytes:
    """MPEG-TS of 20 s with somebody who hums all the time."""
    path = folder / f"talk-{start_seconds:g}.ts"
    if not path.exists():
        pictures = [noise_picture(4, 160, 90)] * 40
        write_clip(path, pictures, rate=2, start_seconds=start_seconds, audio_seconds=20.0)
    return path.read_bytes()


def hears(recognizer) -> Channels:
    """recognizer: what makes words of chunks."""
    heard = Recognition(SCRIPTED_FILES, load=lambda files: recognizer, voice=Loudness())
    return Channels(
        (SpeechChannel(recognizer=heard),),
        (FingerprintChannel(),),
        describe_analysis(INGEST),
        describe_segments(INGEST),
    )


def seconds_said(evidence: list[Evidence], start: float) -> list[int]:
    """Of which seconds of an epoch the scripted recogniser spoke, from where they lie."""
    words = [word for one in evidence for word in one.attributes["words"]]
    return [round(begins - start - 0.1) for begins, _, _ in words]


def test_what_is_said_is_recognised_behind_the_pictures(watch, folder):
    """Two connections: two epochs, each with its own clock and all of its sound."""
    sender = TcpSender([talk(folder), talk(folder, start_seconds=500.0)])
    with closing_all(sender):
        one = watch(sender.url, channels=hears(Scripted()))
        eventually(lambda: len({said.epoch for said in one.evidence("speech")}) == 2)
        eventually(lambda: len(one.video.epochs) == 2 and one.video.epochs[1].end_seconds)
        eventually(lambda: len(seconds_said(one.evidence("speech"), 0.0)) >= 38)
        one.end()
    for epoch in one.video.epochs:
        said = [found for found in one.evidence("speech") if found.epoch == epoch.number]
        assert set(range(1, 19)) <= set(seconds_said(said, epoch.start_seconds)) <= set(range(21))
        assert said[0].attributes["source"] == "recognized by scripted"
    told = [one for news in one.news for one in news.evidence if one.channel == "speech"]
    assert len({found.id for found in told}) == len(one.evidence("speech"))


def test_no_sound_is_dropped_where_the_recogniser_is_slow(watch, folder):
    """It begins only when everything has been sent."""
    gate = threading.Event()

    class Slow(Scripted):
        def transcribe(self, chunks):
            gate.wait(30)
            return super().transcribe(chunks)

    sender = TcpSender([talk(folder)], hold=True)
    with closing_all(sender):
        one = watch(sender.url, channels=hears(Slow()))
        eventually(lambda: one.evidence("fingerprint"))
        sender.let_go()
        eventually(lambda: one.video.epochs[0].end_seconds)
        assert not one.evidence("speech")
        gate.set()
        eventually(lambda: len(seconds_said(one.evidence("speech"), 0.0)) >= 19)
        one.end()


def test_stopping_does_not_wait_for_all_that_was_said(watch, library, folder):
    gate = threading.Event()

    class Stuck(Scripted):
        def transcribe(self, chunks):
            gate.wait(60)
            return super().transcribe(chunks)

    sender = TcpSender([talk(folder)], hold=True)
    with closing_all(sender):
        one = watch(sender.url, channels=hears(Stuck()))
        eventually(lambda: one.evidence("fingerprint"))
        began = time.monotonic()
        assert one.end().state == "stopped"
        assert time.monotonic() - began < 5
    gate.set()
    (speech,) = [g for g in library.generations(one.video.id) if g.channel == "speech"]
    assert not speech.complete


def still(folder: Path, text: str, *, start_seconds: float = 0.0) -> bytes:
    """MPEG-TS of five minutes in which nothing moves, a picture each second."""
    path = folder / f"still-{text}-{start_seconds:g}.ts"
    if not path.exists():
        pictures = [text_picture(text)] * 300
        times = [float(at) for at in range(300)]
        write_clip(path, pictures, rate=25, times=times, start_seconds=start_seconds)
    return path.read_bytes()


def test_a_camera_that_sees_nothing_costs_little(watch, library, folder, tmp_path):
    """Once an epoch has ended, what stayed is one piece of evidence, found as before."""
    path = tmp_path / "gate.ts"
    path.write_bytes(still(folder, "GATE CLOSED") + stream(folder, "GATE OPEN", start_seconds=900))
    one = watch(str(path))
    eventually(one.found("GATE OPEN"), 60)
    one.end()
    first = one.video.epochs[0]
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0, 300), abs=1)
    for channel in ("screen_text", "fingerprint"):
        (found,) = [e for e in one.evidence(channel) if e.epoch == 0]
        assert (found.start_seconds, found.end_seconds) == pytest.approx((0, 300), abs=1.5)
    (segment,) = [s for s in library.segments(one.video.id) if s.epoch == 0]
    assert (segment.start_seconds, segment.end_seconds) == pytest.approx((0, 300), abs=1)
    pictures = list((tmp_path / "library" / "thumbnails" / one.video.id).glob("*.jpg"))
    assert len(pictures) == len(library.segments(one.video.id))
    moment = Retriever(library).search("gate closed").moments[0]
    assert moment.text == "GATE CLOSED"
    assert {g.state for g in library.generations(one.video.id)} == {"active"}
    assert all(g.complete for g in library.generations(one.video.id))


def test_what_cannot_be_looked_at_in_time_is_dropped_and_counted(watch, folder):
    """Nobody looks until all has come. Cuts are found all the same."""
    gate = threading.Event()

    class Slow(FingerprintChannel):
        def open(self, *given):
            run = super().open(*given)
            push = run.push

            def waiting(sample):
                gate.wait(30)
                return push(sample)

            run.push = waiting
            return run

    path = folder / "shots.ts"
    pictures = [noise_picture(at // 50, 320, 180) for at in range(300)]  # a cut every 5 s
    write_clip(path, pictures, rate=10, key_frame_every=10)
    slow = Channels((), (Slow(),), describe_analysis(INGEST), describe_segments(INGEST))
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing_all(sender):
        one = watch(sender.url, channels=slow, waiting_bytes=2**20, drop_after_seconds=60.0)
        eventually(lambda: sender.served)
        sender.let_go()
        eventually(lambda: one.waiting_ends)
        gate.set()
        eventually(lambda: one.video.epochs[0].end_seconds)
        one.end()
    dropped = one.video.epochs[0].dropped
    assert 20 <= dropped <= 26, "of thirty pictures six find room"
    assert one.states[-1].dropped == dropped
    assert len(one.evidence("shot")) == 6
    assert one.evidence("fingerprint")[-1].end_seconds == pytest.approx(30, abs=0.5)
