"""Recording: packets of a stream in piece files, and pictures out of them."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from clips import noise_picture, write_clip

from index.pieces import Piece, PieceBook, Pin
from ingest.live.recording import Recorder, mended
from ingest.segment_frames import Recording, frame_reader, frames_of

RATE = 10
START = 1000.0
"""Of the stream's clock, where the source's says 0."""


@pytest.fixture
def clip(tmp_path) -> Path:
    """Twelve seconds, another picture each second, a key frame every two, with sound."""
    pictures = [noise_picture(at // RATE, 160, 90) for at in range(12 * RATE)]
    return write_clip(
        tmp_path / "source.ts", pictures, rate=RATE, key_frame_every=2 * RATE, b_frames=2,
        audio_seconds=12.0, start_seconds=50.0,
    )  # fmt: skip


class Recorded:
    """What comes of recording a file as if it were a stream."""

    def __init__(self, folder: Path, **options):
        self.told: list[Piece] = []
        self.said: list[str] = []
        given = {"piece_seconds": 4.0, "gap_seconds": 5.0, "reserve_bytes": 0} | options
        self.folder = folder
        self.recorder = Recorder(folder, "v", tell=self.told.append, say=self.said.append, **given)

    def run(self, path: Path, *, epoch: int = 0, start: float = START, change=lambda packet: None):
        with av.open(str(path)) as source:
            video = source.streams.video[0]
            self.recorder.connect(source, video)
            origin = None
            for packet in source.demux(self.recorder.wanted()):
                change(packet)
                self.recorder.take(packet)
                if packet.stream is video:
                    for frame in packet.decode():
                        raw = float(frame.pts * frame.time_base)
                        origin = raw if origin is None else origin
                        self.recorder.placed(epoch, raw, start + raw - origin)
        return self

    @property
    def pieces(self) -> list[Piece]:
        """Whole ones, in time order."""
        whole = [piece for piece in self.told if piece.end_seconds is not None]
        return sorted(whole, key=lambda piece: piece.start_seconds)

    def parts(self) -> Recording:
        return Recording(
            tuple((self.folder / p.name, p.start_seconds, p.end_seconds) for p in self.pieces)
        )


def test_pieces_begin_with_key_frames_and_follow_each_other_without_a_gap(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces").run(clip)
    recorded.recorder.cut()
    starts = [piece.start_seconds for piece in recorded.pieces]
    assert starts == pytest.approx([START, START + 4, START + 8], abs=1e-3)
    ends = [piece.end_seconds for piece in recorded.pieces]
    assert ends == pytest.approx([START + 4, START + 8, START + 12], abs=1e-3)
    for piece in recorded.pieces:
        assert piece.size == (tmp_path / "pieces" / piece.name).stat().st_size
        assert next(p.end_seconds for p in recorded.told if p.id == piece.id) is None
    assert recorded.said == []


def test_nothing_is_encoded_again_and_nothing_missing(clip, tmp_path):
    """Every picture of the source is there, bit for bit once decoded; and the sound."""
    recorded = Recorded(tmp_path / "pieces").run(clip)
    recorded.recorder.cut()

    def decoded(path: Path) -> list[bytes]:
        with av.open(str(path)) as source:
            return [frame.to_ndarray().tobytes() for frame in source.decode(video=0)]

    kept = [
        picture
        for piece in recorded.pieces
        for picture in decoded(tmp_path / "pieces" / piece.name)
    ]
    assert kept == decoded(clip)
    heard = 0.0
    for piece in recorded.pieces:
        with av.open(str(tmp_path / "pieces" / piece.name)) as source:
            frames = list(source.decode(audio=0))
            heard += sum(frame.samples for frame in frames) / frames[0].sample_rate
    assert heard == pytest.approx(12.0, abs=0.4)


def test_pictures_come_out_at_the_times_of_the_stream(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces").run(clip)
    recorded.recorder.cut()
    with frame_reader(recorded.parts()) as reader:
        wanted = [START + at + 0.5 for at in range(12)]
        frames = reader.read(wanted, START, START + 12, snap=False)
    assert [time for time, _ in frames] == pytest.approx(wanted, abs=0.06)
    for at, (_, image) in enumerate(frames):
        distance = [
            float(np.abs(image.astype(int) - noise_picture(n, 160, 90)).mean()) for n in range(12)
        ]
        assert int(np.argmin(distance)) == at
    found = dict(frames_of(recorded.parts(), [(START + 3, START + 5), (START + 90, START + 91)], 2))
    assert len(found[0]) == 2 and found[1] == []


def test_where_pieces_overlap_each_picture_is_read_once(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces", piece_seconds=100.0).run(clip)
    recorded.recorder.cut()
    (piece,) = recorded.pieces
    path = tmp_path / "pieces" / piece.name
    twice = Recording(((path, START, START + 8), (path, START, START + 12)))
    with frame_reader(twice) as reader:
        frames = reader.read([START + 6.5, START + 9.5], START, START + 12, snap=False)
    assert [round(time - START, 1) for time, _ in frames] == [6.5, 9.5]


def test_a_new_clock_is_a_new_piece(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces", piece_seconds=100.0)
    recorded.run(clip).run(clip, epoch=1, start=2000.0)
    recorded.recorder.cut()
    assert [(piece.epoch, piece.start_seconds) for piece in recorded.pieces] == [
        (0, pytest.approx(START)), (1, pytest.approx(2000.0))]  # fmt: skip


def test_a_jump_of_the_timestamps_ends_a_piece(clip, tmp_path):
    def jump(packet):
        if packet.pts is not None and packet.pts * packet.time_base > 56:
            packet.pts += round(100 / packet.time_base)
            packet.dts += round(100 / packet.time_base)

    recorded = Recorded(tmp_path / "pieces", piece_seconds=100.0).run(clip, change=jump)
    recorded.recorder.cut()
    lengths = [piece.end_seconds - piece.start_seconds for piece in recorded.pieces]
    assert len(lengths) == 2 and sum(lengths) == pytest.approx(12.0, abs=2.1)
    assert recorded.pieces[1].start_seconds - recorded.pieces[0].start_seconds > 100


def test_a_kill_costs_the_last_second(clip, tmp_path):
    """What lies on the disk when a piece is cut short is still read, and tells its length."""
    recorded = Recorded(tmp_path / "pieces", piece_seconds=100.0).run(clip)
    (piece,) = recorded.told
    shutil.copy(tmp_path / "pieces" / piece.name, tmp_path / "as left behind")
    recorded.recorder.cut()
    shutil.copy(tmp_path / "as left behind", tmp_path / "pieces" / piece.name)
    found = mended(piece, tmp_path / "pieces")
    assert START + 10.9 <= found.end_seconds <= START + 12.01
    with frame_reader(
        Recording(((tmp_path / "pieces" / piece.name, START, found.end_seconds),))
    ) as reader:
        assert len(reader.read([START + 5.5], START, START + 10, snap=False)) == 1
    assert mended(Piece("v", 0, "gone.mkv", 0.0), tmp_path / "pieces") is None


def test_a_piece_that_nothing_was_seen_of_is_not_kept(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces")
    with av.open(str(clip)) as source:
        recorded.recorder.connect(source, source.streams.video[0])
        for packet in source.demux(recorded.recorder.wanted()):
            recorded.recorder.take(packet)
    recorded.recorder.cut()
    assert recorded.told == [] and list((tmp_path / "pieces").iterdir()) == []


def test_on_a_full_disk_nothing_is_recorded_and_it_is_said_once(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces", reserve_bytes=2**62).run(clip)
    recorded.recorder.cut()
    assert recorded.told == [] and len(recorded.said) == 1 and "nearly full" in recorded.said[0]


def test_what_matroska_does_not_take_is_said(tmp_path):
    source = write_clip(
        tmp_path / "odd.flv", [noise_picture(1, 64, 48)] * 20, rate=RATE, codec="flv"
    )
    recorded = Recorded(tmp_path / "pieces").run(source)
    recorded.recorder.cut()
    assert recorded.told == [] and len(recorded.said) == 1
    assert not list((tmp_path / "pieces").iterdir())


def test_the_book_keeps_pieces_and_pins_until_their_video_goes(library):
    book = PieceBook(library.store)
    later, first = Piece("v", 0, "2.mkv", 60.0), Piece("v", 0, "1.mkv", 0.0, 60.0, 99)
    book.put_piece(later)
    book.put_piece(first)
    book.put_piece(Piece("other", 0, "1.mkv", 0.0))
    book.put_pin(pin := Pin("v", 10.0, 20.0, "evidence"))
    assert book.pieces("v") == [first, later] and book.pins("v") == [pin]
    book.remove_piece(later)
    book.remove_pin(pin)
    assert book.pieces("v") == [first] and book.pins("v") == []
    book.put_pin(pin)
    library.remove_video("v")
    assert book.pieces("v") == [] and book.pins("v") == [] and len(book.pieces("other")) == 1


def test_a_recording_without_an_end_is_still_being_written(clip, tmp_path):
    recorded = Recorded(tmp_path / "pieces", piece_seconds=100.0).run(clip)
    (piece,) = recorded.told
    parts = Recording(((tmp_path / "pieces" / piece.name, piece.start_seconds, None),))
    with frame_reader(parts) as reader:
        frames = reader.read([START + 3.5], START, math.inf, snap=False)
    assert [round(time - START, 1) for time, _ in frames] == [3.5]
    recorded.recorder.cut()
