"""Retention: media, thumbnails, evidence and records of a live source go together, and what is
pinned stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import talks
from hypothesis import given
from hypothesis import strategies as st

from cli.quantities import length_of_time, number_of_bytes
from index.errors import UsageError
from index.pieces import Piece, PieceBook, Pin
from index.records import segment_point
from index.schema import Epoch, Evidence, Generation, Segment, Video, make_id
from index.store import Point, scroll, where
from ingest.live.clock import StreamClock
from ingest.live.epochs import thinned
from ingest.live.retention import Retention, _blocks, _without
from ingest.thumbnails import Thumbnails
from ingest.writer import ChannelWriter
from rag.retrieve import Retriever

HOUR = 3600.0
EVERY = 30.0
SIZE = 1000
WORDS = ("red", "blue")


class Source:
    """A live source of so many hours: a line on the screen every half minute, an epoch an hour, a
    piece each five minutes of 1,000 bytes, a segment and its picture a minute."""

    def __init__(self, library, home: Path, hours: int):
        self.library = library
        self.folder = home / "recordings" / "camera"
        self.folder.mkdir(parents=True)
        self.thumbnails = Thumbnails(home / "thumbnails")
        self.book = PieceBook(library.store)
        epochs = []
        for at in range(hours):
            start = at * HOUR
            last = at == hours - 1
            end = None if last else start + HOUR
            epochs.append(Epoch(at, start, 1e9 + start, end))
            lines = [start + n * EVERY for n in range(int(HOUR / EVERY))]
            for channel in ("screen_text", "speech"):
                self._write(channel, at, lines, complete=not last)
            self._segments(at, [start + n * 60.0 for n in range(60)], complete=not last)
        self.end = hours * HOUR
        for at in range(int(self.end / 300)):
            piece = Piece(
                "camera", int(at * 300 // HOUR), f"{at}.mkv", at * 300.0, (at + 1) * 300.0, SIZE
            )
            (self.folder / piece.name).write_bytes(b"x" * SIZE)
            self.book.put_piece(piece)
        self.video = Video("camera", "Camera", source="tcp://x", epochs=tuple(epochs))
        library.put_video(self.video)

    def _write(self, channel, epoch, starts, *, complete):
        generation = self.library.begin(
            Generation("camera", epoch, channel, "1", watermark_seconds=starts[0])
        )
        writer = ChannelWriter(self.library, generation)
        writer.add([
            Evidence("camera", epoch, channel, generation.id, start, start + 5.0,
                     f"Platform {int(start // EVERY)}.", {"language": "en"})
            for start in starts
        ])  # fmt: skip
        commit = writer.take(starts[-1] + EVERY, starts[-1] + EVERY, last=complete)
        (self.library.finish if complete else self.library.commit_all)([commit])

    def _segments(self, epoch, starts, *, complete):
        generation = self.library.begin(Generation("camera", epoch, "shot", "1"))
        segments = [Segment("camera", epoch, generation.id, s, s + 60.0) for s in starts]
        for segment in segments:
            self.thumbnails.write(segment, b"jpeg")
        commit = (generation, [], [segment_point(segment) for segment in segments])
        (self.library.finish if complete else self.library.commit_all)([commit])

    def prune(self, **kept):
        given = {"keep_seconds": None, "keep_bytes": None} | kept
        retention = Retention(self.library, self.thumbnails, self.folder, **given)
        self.video, pruned = retention.prune(self.video, self.end)
        self.library.put_video(self.video)
        return pruned

    def starts(self, kind: str) -> list[float]:
        points = scroll(self.library.store, where(kind=kind, video_id="camera"))
        return sorted(point.payload["start_us"] / 1e6 for point in points)

    def files(self) -> list[float]:
        return sorted(int(path.stem) * 300.0 for path in self.folder.iterdir())

    def pictures(self) -> list[float]:
        return sorted(int(p.stem) / 1e6 for p in (self.thumbnails.folder / "camera").iterdir())

    def finds(self, words: str) -> list[float]:
        found = Retriever(self.library).search(words).moments
        return [moment.start_seconds for moment in found]


@pytest.fixture
def camera(library, tmp_path) -> Source:
    return Source(library, tmp_path, hours=3)


KINDS = ("evidence", "passage", "segment", "outline")


def test_what_is_too_old_goes_with_all_that_belongs_to_it(camera):
    assert camera.prune(keep_seconds=4 * HOUR) is None
    pruned = camera.prune(keep_seconds=1.25 * HOUR)
    before = 1.75 * HOUR
    assert (pruned.kept_from_seconds, pruned.pieces, pruned.bytes) == (before, 21, 21 * SIZE)
    for kind in KINDS:
        assert min(camera.starts(kind)) == before, kind
    assert min(camera.files()) == min(camera.pictures()) == before
    assert [piece.start_seconds for piece in camera.book.pieces("camera")] == camera.files()
    assert camera.video.kept_from_seconds == before
    # The first hour has gone wholly: its clock, and what was counted of it.
    assert [epoch.number for epoch in camera.video.epochs] == [1, 2]
    assert {g.epoch for g in camera.library.generations("camera")} == {1, 2}
    assert camera.library.store.count(where(kind="text_stats", epoch=0)) == 0
    assert camera.prune(keep_seconds=1.25 * HOUR) is None


def test_an_epoch_that_has_become_part_of_another_goes_with_it(camera):
    camera.video = replace(camera.video, epochs=thinned(camera.video.epochs, 2))
    assert [epoch.number for epoch in camera.video.epochs] == [0, 2]
    camera.prune(keep_seconds=0.75 * HOUR)
    assert [epoch.number for epoch in camera.video.epochs] == [2]
    assert {g.epoch for g in camera.library.generations("camera")} == {2}


def test_what_has_gone_is_not_found_and_what_stays_is(camera):
    early, late = int(900 / EVERY), int(2.5 * HOUR / EVERY)
    assert camera.finds(f'"platform {early}"') and camera.finds(f'"platform {late}"')
    camera.prune(keep_seconds=1.0 * HOUR)
    assert camera.finds(f'"platform {early}"') == []
    (found,) = camera.finds(f'"platform {late}"')
    assert found == 2.5 * HOUR


def test_too_much_media_goes_with_its_evidence(camera):
    pruned = camera.prune(keep_bytes=10 * SIZE)
    assert sum(path.stat().st_size for path in camera.folder.iterdir()) <= 10 * SIZE
    assert pruned.kept_from_seconds == camera.end - 10 * 300.0
    assert min(camera.starts("evidence")) == min(camera.files()) == pruned.kept_from_seconds
    assert camera.prune(keep_bytes=0).kept_from_seconds == camera.end - 300.0  # the newest piece


def test_what_is_pinned_stays(camera):
    camera.book.put_pin(Pin("camera", 1000.0, 1300.0, "the accident"))
    camera.prune(keep_seconds=0.5 * HOUR)
    kept = [900.0, 1200.0]  # the blocks of five minutes that it touches
    assert camera.files() == [*kept, *[2.5 * HOUR + n * 300 for n in range(6)]]
    spoken = [one for one in camera.starts("evidence") if one < 2.5 * HOUR]
    assert min(spoken) == 900.0 and max(spoken) == 1470.0
    assert camera.finds('"platform 40"') == [1200.0]
    assert 0 in [epoch.number for epoch in camera.video.epochs]
    # Let go of, it goes with what becomes too old next.
    camera.book.remove_pin(Pin("camera", 1000.0, 1300.0))
    camera.prune(keep_seconds=0.25 * HOUR)
    assert min(camera.files()) == min(camera.starts("evidence")) == 2.75 * HOUR


def test_what_lasts_into_what_is_kept_stays(camera):
    """As of a camera that saw the same for long: joined, it begins long before."""
    library = camera.library
    for at, (start, end) in enumerate([(600.0, 3540.0), (4200.0, 7140.0)]):
        generation = library.begin(Generation("camera", at, "screen_text", "joined"))
        writer = ChannelWriter(library, generation)
        writer.add([
            Evidence("camera", at, "screen_text", generation.id, start, end,
                     f"Still {WORDS[at]}.", {"language": "en"})
        ])  # fmt: skip
        library.finish([writer.take(end, end, last=True)])
        generation = library.begin(Generation("camera", at, "shot", "joined"))
        segment = Segment("camera", at, generation.id, start, end)
        library.finish([(generation, [], [segment_point(segment)])])
    for point in list(scroll(library.store, where(kind="passage", video_id="camera"))):
        payload = {**point.payload, "kind": "embedding", "passage": point.id}
        library.store.upsert([Point(make_id("embedding", point.id), payload)])
    assert len(camera.starts("embedding")) == len(camera.starts("passage")) > 100
    camera.book.put_pin(Pin("camera", 6000.0, 6100.0))
    camera.prune(keep_seconds=2.25 * HOUR)  # 0:45 is inside of the first
    assert camera.finds('"still red"') == [600.0] and camera.finds('"still blue"') == [4200.0]
    assert {600.0, 4200.0} < set(camera.starts("segment")) & set(camera.pictures())
    assert 660.0 not in camera.pictures()
    assert camera.starts("embedding") == camera.starts("passage")
    camera.prune(keep_seconds=0.5 * HOUR)  # all of both, but for what is pinned
    assert camera.finds('"still red"') == [] and camera.finds('"still blue"') == [4200.0]
    assert 4200.0 in camera.pictures() and 600.0 not in camera.pictures()
    camera.book.remove_pin(Pin("camera", 6000.0, 6100.0))
    camera.prune(keep_seconds=0.25 * HOUR)
    assert camera.finds('"still blue"') == [] and 4200.0 not in camera.pictures()


def test_a_pin_is_beside_what_may_be_kept(camera):
    camera.book.put_pin(Pin("camera", 0.0, 1200.0))
    camera.prune(keep_bytes=4 * SIZE)
    assert len([one for one in camera.files() if one < 1200.0]) == 4
    assert len([one for one in camera.files() if one >= 1200.0]) == 4


def test_a_kill_in_the_middle_is_made_up_for(camera, monkeypatch):
    """Evidence has gone, media not yet: the next turn ends it."""
    before = camera.video
    monkeypatch.setattr(
        Retention, "_remove", lambda self, piece: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        camera.prune(keep_seconds=1.0 * HOUR)
    monkeypatch.undo()
    camera.video = before  # as the catalogue has it
    camera.prune(keep_seconds=1.0 * HOUR)
    assert min(camera.files()) == min(camera.starts("evidence")) == 2 * HOUR


def test_without_recordings_evidence_goes_all_the_same(camera):
    for piece in camera.book.pieces("camera"):
        camera.book.remove_piece(piece)
    retention = Retention(camera.library, camera.thumbnails, None, keep_seconds=HOUR, keep_bytes=1)
    _, pruned = retention.prune(camera.video, camera.end)
    assert pruned.pieces == 0 and "recorded" not in pruned.text and "2:00:00" in pruned.text
    assert min(camera.starts("evidence")) == 2 * HOUR


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=5), st.integers(0, 60))
def test_what_goes_and_what_is_kept_are_all_there_is(kept, end):
    spans = [(float(start), float(start + length)) for start, length in kept]
    left = _without((0.0, float(end)), spans)
    for second in range(end):
        inside = any(a <= second < b for a, b in spans)
        assert inside != any(a <= second < b for a, b in left)
    assert all(a < b <= end for a, b in left)


def test_blocks_are_whole():
    assert _blocks((1000.0, 1300.0)) == (900.0, 1500.0)
    assert _blocks((0.0, 300.0)) == (0.0, 300.0) and _blocks((299.0, 299.0)) == (0.0, 300.0)


def test_an_epoch_that_is_full_is_followed_by_another_without_a_gap():
    clock = StreamClock((), waits=False, gap_seconds=5.0, longest_seconds=10.0)
    seen = []
    for at in range(250):
        seconds = clock.place(500.0 + at / 10, 0.1, 1000.0 + at / 10)
        seen.append((clock.epoch.number, seconds, clock.epoch.wall_clock_start))
    assert [number for number, *_ in seen] == [0] * 100 + [1] * 100 + [2] * 50
    times = [seconds for _, seconds, _ in seen]
    assert times == pytest.approx([at / 10 for at in range(250)])
    assert sorted({round(wall, 3) for _, _, wall in seen}) == [1000.0, 1010.0, 1020.0]


def test_a_source_whose_clock_is_slow_stays_tied_to_the_time_of_day():
    """By one in a hundred, and pictures come by up to 0.3 s late."""
    clock = StreamClock((), waits=False, gap_seconds=5.0, longest_seconds=60.0)
    for at in range(6000):
        now = 1000.0 + at * 0.101 + 0.1 * (at % 4)
        seconds = clock.place(500.0 + at * 0.1, 0.1, now)
        shown = clock.epoch.wall_clock_start + seconds - clock.epoch.start_seconds
        assert abs(shown - (1000.0 + at * 0.101)) < 1.0


# What people type


def test_lengths_and_sizes():
    assert length_of_time("7d", "--keep") == 7 * 86_400
    assert length_of_time("1h30m", "--keep") == 5400
    assert length_of_time("0.5d", "--keep") == 43_200
    assert number_of_bytes("50GB", "--keep-size") == 50 * 10**9
    assert number_of_bytes("500MiB", "--keep-size") == 500 * 2**20
    for wrong in ("", "7", "d", "7w", "-1h", "0h", "1h x"):
        with pytest.raises(UsageError, match="--keep"):
            length_of_time(wrong, "--keep")
    for wrong in ("", "much", "-5GB"):
        with pytest.raises(UsageError, match="--keep-size"):
            number_of_bytes(wrong, "--keep-size")


def test_pins_by_hand(run_json, tmp_path):
    library = talks.films_at(tmp_path / "library")
    library.put_video(replace(Video("camera", "Camera", source="tcp://x"), kept_from_seconds=100.0))
    library.store.close()
    status, pins, err = run_json("pin", "Camera", "--span", "1:00-2:00", "--note", "look")
    assert status == 0 and pins[0]["note"] == "look" and "already" in err
    _, pins, _ = run_json("pin", "Camera", "--span", "3:00-4:00")
    assert [pin["start_seconds"] for pin in pins] == [60.0, 180.0]
    status, _, err = run_json("pin", "Camera", "--span", "5:00-6:00", "--remove")
    assert status == 2 and "not pinned" in err
    assert [
        pin["start_seconds"]
        for pin in run_json("pin", "Camera", "--span", "1:00-2:00", "--remove")[1]
    ] == [180.0]
    assert run_json("pin", "Camera", "--remove")[1] == []
    assert run_json("pin", "Camera", "--note", "x")[0] == 2
    status, _, err = run_json("pin", "Lighthouse", "--span", "1-2")
    assert status == 2 and "no live source" in err


def test_rm_takes_what_was_recorded_or_says_that_it_could_not(run_json, tmp_path):
    library = talks.films_at(tmp_path / "library")
    library.put_video(Video("camera", "Camera", source="tcp://x"))
    library.store.close()
    folder, elsewhere = tmp_path / "library" / "recordings" / "camera", tmp_path / "elsewhere"
    folder.parent.mkdir()
    elsewhere.mkdir()
    (elsewhere / "1.mkv").write_bytes(b"x")
    folder.symlink_to(elsewhere)
    status, _, err = run_json("rm", "Camera", "--yes")
    assert status != 0 and "removing what was recorded" in err
    assert (elsewhere / "1.mkv").exists() and "Camera" in [v["title"] for v in run_json("ls")[1]]
    folder.unlink()
    folder.mkdir()
    (folder / "1.mkv").write_bytes(b"x")
    assert run_json("rm", "Camera", "--yes")[0] == 0 and not folder.exists()
