"""What is heard of a stream: sounds beside pictures, and sources that have no pictures at all, as
radio has none, from real peers on loopback."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import live_peers
import numpy as np
import pytest
from clips import noise_picture, write_clip
from live_peers import TcpSender, eventually
from recognisers import Scripted
from test_live import Watch, folder, hears, seconds_said, watch  # noqa: F401 (fixtures)
from test_live import closing_all as closing
from test_sound import RATE, Spectra, channel, evidence_of, told, tone

from index.library import Library
from index.records import generation_from
from index.schema import Evidence, Generation
from ingest.live.consolidation import Consolidation
from ingest.live.sound import EpochSound
from ingest.live.tidying import left_epochs
from ingest.live.told import mark_told
from ingest.media import probe
from ingest.plan import Channels
from ingest.segments import fixed_windows

PIECES = ((9.0, 300.0), (11.0, 2500.0), (8.0, 1200.0))
"""(seconds, hertz) of the tones of `played`."""

LENGTH_SECONDS = sum(seconds for seconds, _ in PIECES)


@pytest.fixture(scope="module")
def channels() -> Channels:
    return listening()


def listening(encoder=None) -> Channels:
    """Fingerprints, what a script says, and the strengths of eight bands."""
    speech = hears(Scripted())
    sounds = channel(encoder, window_seconds=4.0, step_seconds=2.0)
    return dataclasses.replace(speech, files=(*speech.files, sounds))


def played(path: Path, form: str, codec: str, *, start_seconds: float = 0.0) -> Path:
    """A recording of three tones, one after the other, and no pictures."""
    samples = np.concatenate([tone(seconds, hertz) for seconds, hertz in PIECES])
    rate = 48_000 if codec == "libopus" else 16_000
    with av.open(str(path), "w", format=form) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        given = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        given.sample_rate = RATE
        for frame in [*resampler.resample(given), *resampler.resample(None)]:
            if frame.pts is not None:
                frame.pts += round(start_seconds * rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def spans(evidence: list[Evidence], start_seconds: float = 0.0) -> list[tuple[float, float]]:
    """When it was heard, rounded to what a codec's delay leaves of it."""
    return [(round(a - start_seconds), round(b - start_seconds)) for a, b in told(evidence)]


HEARD = [(0, 8), (6, 10), (8, 12), (10, 20), (18, 22), (20, 28)]
"""Spans of windows of four seconds, a new one every two, that sound alike: those that lie over the
end of a tone sound like none of the two."""


def is_all_there(library: Library, one: Watch) -> None:
    (epoch,) = one.video.epochs
    assert epoch.end_seconds == pytest.approx(LENGTH_SECONDS, abs=0.3)
    assert set(range(1, 26)) <= set(seconds_said(one.evidence("speech"), 0.0))
    assert spans(one.evidence("sound")) == HEARD
    cut = [(s.start_seconds, s.end_seconds) for s in library.segments(one.video.id)]
    assert cut == fixed_windows(epoch.end_seconds)
    generations = library.generations(one.video.id)
    assert {g.channel for g in generations} == {"shot", "speech", "sound"}
    assert all(g.complete for g in generations)


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp3", "libmp3lame"), ("adts", "aac"), ("mpegts", "aac"), ("ogg", "libopus")],
)
def test_a_source_without_pictures_is_listened_to(form, codec, watch, library, tmp_path):  # noqa: F811
    data = played(tmp_path / "radio", form, codec).read_bytes()
    sender = TcpSender([data], hold=True)
    with closing(sender):
        one = watch(sender.url)
        eventually(lambda: len(one.evidence("sound")) > 2)
        assert one.video.duration_seconds is None
        sender.let_go()
        eventually(lambda: one.video.epochs[0].end_seconds)
        eventually(lambda: all(g.complete for g in library.generations(one.video.id)))
        one.end()
    is_all_there(library, one)
    assert [stream.kind for stream in one.video.streams] == ["audio"]


@pytest.mark.parametrize("way", ["sender", "file"])
def test_subtitles_of_a_source_without_pictures_are_said(way, watch, library, tmp_path):  # noqa: F811
    """They stand in the place of what could be recognised."""
    lines = [(1.0, 2.0, "The lamp is lit."), (3.0, 4.5, "Fog hides the rocks.")]
    path = write_clip(tmp_path / "radio.mkv", [], audio_seconds=20.0, subtitles=lines)
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing(sender):
        one = watch(sender.url if way == "sender" else str(path))
        eventually(lambda: len(one.evidence("speech")) == 2)
        eventually(lambda: len(one.evidence("sound")) >= 1)
        one.end()
    said = [(s.start_seconds, s.end_seconds, s.text) for s in one.evidence("speech")]
    assert said == [(pytest.approx(a, abs=0.1), pytest.approx(b, abs=0.1), c) for a, b, c in lines]
    assert {s.attributes["source"] for s in one.evidence("speech")} == {"stream 1"}
    assert library.segments(one.video.id)


@contextmanager
def radio(programmes: list[bytes]) -> Iterator[str]:
    """An HTTP server that never says how long it will go on: each caller gets the next programme;
    the last one hears no more behind it until the server closes."""
    over, left = threading.Event(), list(programmes)

    class Station(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.end_headers()
            if left:
                self.wfile.write(left.pop(0))
                if not left:
                    over.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Station)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_radio_over_http_that_breaks_off_and_comes_back(watch, library, tmp_path):  # noqa: F811
    data = played(tmp_path / "radio.mp3", "mp3", "libmp3lame").read_bytes()
    with radio([data, data]) as address:
        one = watch(address)
        eventually(lambda: one.video and len(one.video.epochs) == 2)
        eventually(lambda: [e for e in one.evidence("sound") if e.epoch == 1 and e.end_seconds])
        one.end()
    first, second = one.video.epochs
    heard = [found for found in one.evidence("sound") if found.epoch == 0]
    assert spans(heard) == HEARD
    assert second.start_seconds >= first.end_seconds == pytest.approx(LENGTH_SECONDS, abs=0.3)
    assert second.began == "reconnected"


def test_a_file_of_sound_that_grows_is_gone_on_with(watch, library, tmp_path):  # noqa: F811
    data = played(tmp_path / "whole.mp3", "mp3", "libmp3lame").read_bytes()
    path = tmp_path / "radio.mp3"
    half = len(data) // 2
    path.write_bytes(data[:half])
    one = watch(str(path))
    eventually(lambda: one.evidence("sound"))
    before = one.video.epochs[-1]
    with path.open("ab") as more:
        more.write(data[half:])
    eventually(lambda: [e for e in one.evidence("sound") if e.end_seconds > 23])
    one.end()
    assert len(one.video.epochs) == 1 and before.number == 0
    assert spans(one.evidence("sound")) == HEARD


def test_hls_of_sound_alone(watch, library, tmp_path):  # noqa: F811
    origin = tmp_path / "origin"
    origin.mkdir()
    source = played(tmp_path / "radio.ts", "mpegts", "aac")
    with (
        av.open(str(source)) as given,
        av.open(
            str(origin / "live.m3u8"), "w", format="hls",
            options={"hls_time": "5", "hls_list_size": "0"},
        ) as output,
    ):  # fmt: skip
        stream = output.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    with live_peers.http_origin(origin) as address:
        one = watch(f"{address}/live.m3u8")
        assert one.ended().state == "ended"
    is_all_there(library, one)


def test_sound_is_recorded_where_there_are_no_pictures(watch, library, tmp_path):  # noqa: F811
    path = played(tmp_path / "radio.ts", "mpegts", "aac")
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing(sender):
        one = watch(sender.url, record=True, piece_seconds=10.0)
        eventually(lambda: one.evidence("sound"))
        sender.let_go()
        eventually(lambda: one.video.epochs[0].end_seconds)
        one.end()
    from index.pieces import PieceBook

    pieces = PieceBook(library.store).pieces(one.video.id)
    assert len(pieces) == 3
    assert pieces[-1].end_seconds == pytest.approx(LENGTH_SECONDS, abs=0.3)
    for piece in pieces:
        whole = probe(tmp_path / "library" / "recordings" / one.video.id / piece.name)
        assert [stream.kind for stream in whole.streams] == ["audio"]
        assert whole.duration_seconds == pytest.approx(
            piece.end_seconds - piece.start_seconds, abs=0.1
        )


def test_sounds_beside_pictures_are_those_of_the_file(watch, library, tmp_path):  # noqa: F811
    path = tmp_path / "film.ts"
    pictures = [noise_picture(4, 160, 90)] * 60
    write_clip(path, pictures, rate=2, audio_seconds=30.0)
    video = dataclasses.replace(talk_video(path), duration_seconds=30.0)
    sounds = listening(Spectra()).files[1]
    expected = evidence_of(sounds.run(path, video, Generation("v", 0, "sound", "f"), 0.0))
    sender = TcpSender([path.read_bytes()])
    with closing(sender):
        one = watch(sender.url)
        eventually(lambda: one.video and one.video.epochs[-1].end_seconds)
        eventually(lambda: all(g.complete for g in library.generations(one.video.id)))
        one.end()
    found = library.evidence(one.video.id, channel="sound", with_vectors=True)
    assert spans(found) == spans(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for space, vector in theirs.vectors.items():
            np.testing.assert_allclose(ours.vectors[space], vector, atol=0.02)
    assert one.evidence("fingerprint")


def talk_video(path: Path):
    from index.schema import Video

    return Video(id="v", title="a video", streams=probe(path).streams)


def test_a_sound_that_goes_on_is_one_when_its_epoch_has_ended(watch, library, tmp_path):  # noqa: F811
    path = write_clip(tmp_path / "hum.ts", [], audio_seconds=40.0)
    short = channel(window_seconds=4.0, step_seconds=2.0, seal_seconds=6.0)
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing(sender):
        one = watch(sender.url, channels=dataclasses.replace(hears(Scripted()), files=(short,)))
        eventually(lambda: len(one.evidence("sound")) > 3)
        sender.let_go()
        eventually(lambda: one.video.epochs[0].end_seconds)
        eventually(lambda: len(one.evidence("sound")) == 1)
        nothing = Channels((), (), None, None)
        eventually(lambda: not left_epochs(library, nothing, one.video))
        one.end()
    (hum,) = one.evidence("sound")
    assert (hum.start_seconds, round(hum.end_seconds)) == (0.0, 40)


def test_what_was_joined_does_not_come_back(watch, library, tmp_path, monkeypatch):  # noqa: F811
    """Where it is joined in the very moment in which it is noted that all of it was told."""
    joined, watches = threading.Event(), []

    def join(consolidation, video, epoch):
        went = run(consolidation, video, epoch)
        if went:
            joined.set()
        return went

    class Slow:
        """A library and its store: what was read of a generation is not new when it comes."""

        def __init__(self, store):
            self.store, self._store = self, store
            self.upsert = store.upsert

        def retrieve(self, ids):
            points = self._store.retrieve(ids)
            if generation_from(points[0].payload).channel == "sound":
                one = watches[0]
                one._watcher._beside._tidying.put(one.video, one.video.epochs[0])
                joined.wait(0.5)
            return points

    run = Consolidation.run
    monkeypatch.setattr(Consolidation, "run", join)
    monkeypatch.setattr(
        "ingest.live.beside.mark_told", lambda library, id: mark_told(Slow(library.store), id)
    )
    path = write_clip(tmp_path / "hum.ts", [], audio_seconds=40.0)
    short = channel(window_seconds=4.0, step_seconds=2.0, seal_seconds=6.0)
    sender = TcpSender([path.read_bytes()])
    with closing(sender):
        only = dataclasses.replace(hears(Scripted()), files=(short,))
        watches.append(one := watch(sender.url, channels=only))
        eventually(joined.is_set)
        one.end()
    states = [(g.channel, g.state) for g in library.generations(one.video.id) if g.epoch == 0]
    assert sorted(states) == [("shot", "active"), ("sound", "active")]
    assert len(one.evidence("sound")) == 1


def test_no_sound_is_dropped_where_the_encoder_is_slow(watch, library, tmp_path):  # noqa: F811
    """It begins only when everything has been sent."""
    gate = threading.Event()

    class Slow(Spectra):
        def encode_audio(self, windows):
            gate.wait(30)
            return super().encode_audio(windows)

    data = played(tmp_path / "radio.ts", "mpegts", "aac").read_bytes()
    sender = TcpSender([data])
    with closing(sender):
        one = watch(sender.url, channels=listening(Slow()))
        eventually(lambda: one.video and one.video.epochs[0].end_seconds)
        assert not one.evidence("sound")
        gate.set()
        eventually(lambda: all(g.complete for g in library.generations(one.video.id)))
        one.end()
    assert spans(one.evidence("sound")) == HEARD


def test_what_has_neither_pictures_nor_sound_is_refused(watch):  # noqa: F811
    words = b"".join(
        b"%d\n00:00:%02d,000 --> 00:00:%02d,500\nThe lamp is lit.\n\n" % (at + 1, at, at)
        for at in range(50)
    )
    with closing(sender := TcpSender([words])):
        state = watch(sender.url).ended()
    assert state.state == "failed"
    assert "neither pictures nor sound" in state.message


def test_the_file_that_sound_waits_in_stays_short_where_it_is_listened_to():
    sound = EpochSound(RATE)
    given = (np.arange(100 * RATE) % 20_011).astype(np.int16)
    heard, blocks, longest = [], iter(sound), 0
    for start in range(0, len(given), 1024):
        frame = av.AudioFrame.from_ndarray(given[None, start : start + 1024], "s16", "mono")
        frame.sample_rate = RATE
        sound.put(start / RATE, frame)
        longest = max(longest, os.fstat(sound._file.fileno()).st_size)
        if start + 1024 - sum(map(len, heard)) >= 1.5 * RATE:
            heard.append(next(blocks).samples)
    sound.end()
    heard += [block.samples for block in blocks]
    np.testing.assert_array_equal(np.concatenate(heard) * 32768, given)
    assert longest < len(given.tobytes()) / 2


def test_who_fails_to_listen_listens_to_the_next_epoch(watch, library, tmp_path):  # noqa: F811
    class Failing(Spectra):
        failed = False

        def encode_audio(self, windows):
            if not self.failed:
                self.failed = True
                raise ValueError("out of memory")
            return super().encode_audio(windows)

    data = played(tmp_path / "radio.mp3", "mp3", "libmp3lame").read_bytes()
    with radio([data, data]) as address:
        one = watch(address, channels=listening(Failing()))
        eventually(lambda: len(one.evidence("sound")) > 2)
        one.end()
    assert any("out of memory" in state.message for state in one.states)
    assert {found.epoch for found in one.evidence("sound")} == {1}
    (first, *_) = [g for g in library.generations(one.video.id, 0) if g.channel == "sound"]
    assert first.complete


def test_what_was_let_go_of_before_it_was_heard_does_not_come_back(watch, library, tmp_path):  # noqa: F811
    gate = threading.Event()

    class Slow(Spectra):
        def encode_audio(self, windows):
            gate.wait(30)
            return super().encode_audio(windows)

    data = played(tmp_path / "radio.mp3", "mp3", "libmp3lame").read_bytes()
    with radio([data, data]) as address:
        one = watch(address, channels=listening(Slow()))
        eventually(lambda: one.video and len(one.video.epochs) == 2)
        (first,) = [g for g in library.generations(one.video.id, 0) if g.channel == "sound"]
        library.drop(first)
        gate.set()
        eventually(lambda: one.evidence("sound"))
        one.end()
    assert {found.epoch for found in one.evidence("sound")} == {1}
    assert not [g for g in library.generations(one.video.id, 0) if g.channel == "sound"]
