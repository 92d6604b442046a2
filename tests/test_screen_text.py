"""Text in the picture: read once, followed while it is shown, the same after a resume."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.errors import ModelMissingError
from index.schema import Evidence, Generation, Video
from ingest.channel import Sample
from ingest.channels.lines import legible_lines
from ingest.channels.lines_changed import ChangedReader
from ingest.channels.screen_text import ScreenTextChannel
from ingest.channels.settings import ScreenTextSettings
from ingest.models import ocr
from ingest.models.ocr import Line, OcrReader, reading_order
from ingest.settings import StillSettings

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
VIDEO = Video(id="v", title="a video")
GENERATION = Generation("v", 0, "screen_text", "fingerprint")
ROW = 0.06


def line(text: str, row: float = 0, x: float = 0.1, confidence: float = 0.95) -> Line:
    top = 0.05 + row * ROW
    return Line(text, (x, top, min(1.0, x + 0.015 * len(text)), top + 0.8 * ROW), confidence)


class Film:
    """Pictures with a number in a corner, and a reader that knows what is written in each."""

    def __init__(self) -> None:
        self.screens: list[list[Line]] = []
        self.samples: list[Sample] = []
        self.reads = 0
        self._shot = 0.0

    def show(self, lines: list[Line] | None, *, after: float = 1.0, cut: bool = False) -> Film:
        """The next sample; None shows the same picture as before."""
        time = self.samples[-1].time_seconds + after if self.samples else 0.2
        if cut:
            self._shot = time - 0.2
        if lines is None and self.samples:
            image = self.samples[-1].image
        else:
            self.screens.append(lines or [])
            number = len(self.screens) - 1
            noise = np.random.default_rng(number).integers(0, 256, (9, 16, 3), dtype=np.uint8)
            image = noise.repeat(10, axis=0).repeat(10, axis=1)
            image[0, 0] = number >> 8, number & 255, 0
        self.samples.append(Sample(time, self._shot, image))
        return self

    def describe(self) -> dict[str, str]:
        return {"reader": "a film that knows its text"}

    def load(self) -> None:
        pass

    def read(self, image: np.ndarray, rows: tuple[int, int] | None = None) -> list[Line]:
        self.reads += 1
        return list(self.screens[int(image[0, 0, 0]) << 8 | int(image[0, 0, 1])])

    @property
    def end_seconds(self) -> float:
        return self.samples[-1].time_seconds + 0.5

    def channel(self, **changes) -> ScreenTextChannel:
        return ScreenTextChannel(ScreenTextSettings(**changes), reader=self)

    def evidence(self, **changes) -> list[Evidence]:
        run = self.channel(**changes).open(VIDEO, GENERATION, 0.0)
        found = [piece for sample in self.samples for piece in run.push(sample)]
        return sorted(found + run.finish(self.end_seconds), key=lambda e: (e.start_seconds, e.id))


def spans(evidence: list[Evidence]) -> list[tuple[str, float, float]]:
    return [(e.text, round(e.start_seconds, 3), round(e.end_seconds, 3)) for e in evidence]


def test_a_line_lasts_from_the_first_sample_with_it_to_the_first_without() -> None:
    hello = line("Hello there")
    film = Film().show([]).show([hello]).show([hello]).show([]).show([])
    (found,) = film.evidence()
    assert spans([found]) == [("Hello there", 1.2, 3.2)]
    assert found.attributes["boxes"] == [list(hello.box)]
    assert found.attributes["confidence"] == 0.95


def test_a_line_that_is_gone_after_a_cut_ended_at_the_cut() -> None:
    film = Film().show([line("Act one")]).show([line("Quite another")], cut=True)
    assert spans(film.evidence()) == [("Act one", 0.2, 1.0), ("Quite another", 1.2, 1.7)]


def test_a_logo_goes_on_over_cuts_but_a_new_page_number_is_a_new_line() -> None:
    logo = line("LONGTAKE TV", row=14, x=0.7)
    film = Film().show([line("Chapter 1"), logo]).show([line("Chapter 2"), logo], cut=True)
    assert sorted(spans(film.evidence())) == [
        ("Chapter 1", 0.2, 1.0),
        ("Chapter 2", 1.2, 1.7),
        ("LONGTAKE TV", 0.2, 1.7),
    ]


def test_a_still_picture_is_read_once_and_its_lines_go_on() -> None:
    film = Film().show([line("Quarterly results")])
    for _ in range(20):
        film.show(None)
    assert spans(film.evidence()) == [("Quarterly results", 0.2, 20.7)]
    assert film.reads == 1


def test_one_missed_reading_is_bridged_and_two_are_not() -> None:
    word = line("flickering")
    film = Film().show([word]).show([]).show([word]).show([]).show([]).show([word])
    assert spans(film.evidence()) == [("flickering", 0.2, 3.2), ("flickering", 5.2, 5.7)]


def test_the_reading_seen_most_often_wins_and_the_id_does_not_change_with_it() -> None:
    texts = ["He1lo wor1d", "Hello world", "Hello world", "Hello wor1d"]
    film = Film()
    for text in texts:
        film.show([line(text)])
    (found,) = film.evidence()
    assert found.text == "Hello world"
    (early,) = Film().show([line(texts[0])]).evidence()
    assert early.text == "He1lo wor1d" and early.id == found.id


def test_a_line_typed_letter_by_letter_is_one_evidence() -> None:
    command = "git commit --message done"
    film = Film()
    for n in range(3, len(command) + 1, 3):
        film.show([line("$ make test", row=0), line(command[:n], row=1)])
    film.show([line("$ make test"), line(command, row=1)])
    assert spans(film.evidence()) == [
        ("$ make test", 0.2, film.end_seconds),
        (command, 0.2, film.end_seconds),
    ]


def test_deleting_a_line_does_not_lose_what_it_said() -> None:
    film = Film()
    for text in ("a long sent", "a long sentence", "a long sent", "a long s"):
        film.show([line(text)])
    assert [e.text for e in film.evidence()] == ["a long sentence"]


def test_scrolling_text_is_followed() -> None:
    words = ["one", "two", "three", "four", "five", "six"]
    text = [f"line {n} says {word}" for n, word in enumerate(words)]
    film = Film()
    for top in range(4):
        film.show([line(t, row=i) for i, t in enumerate(text[top : top + 3])])
    assert sorted(spans(film.evidence())) == [
        (text[0], 0.2, 1.2),
        (text[1], 0.2, 2.2),
        (text[2], 0.2, 3.2),
        (text[3], 1.2, 3.7),
        (text[4], 2.2, 3.7),
        (text[5], 3.2, 3.7),
    ]


def test_a_prompt_that_is_seen_only_now_and_then_makes_no_second_line() -> None:
    wide = [line("> Welcome to VHS!"), line("Welcome to VHS! A tool for", x=0.13)]
    film = Film().show(wide[:1]).show(wide[1:]).show([line("> Welcome to VHS! A tool for writing")])
    assert [e.text for e in film.evidence()] == ["> Welcome to VHS! A tool for writing"]


def test_typing_in_the_middle_of_a_line_goes_on_with_it() -> None:
    film = Film()
    for text in (
        "A tool for writing GIFs as code.",
        "A tool for writing GIFs as code.",
        "A tool for writing term GIFs as c",
        "A tool for writing terminal GIFs",
    ):
        film.show([line(text)])
    assert spans(film.evidence()) == [("A tool for writing terminal GIFs", 0.2, film.end_seconds)]


def test_a_ticker_becomes_one_line_with_all_that_ran_by() -> None:
    news = "Two ships have met in the fog outside the harbour and nobody was hurt, it says at noon"
    film = Film()
    for start in range(0, len(news) - 39, 9):
        film.show([line(news[start : start + 40], row=14)])
    (found,) = film.evidence()
    assert news.startswith(found.text) and len(found.text) > len(news) - 9
    assert (found.start_seconds, found.end_seconds) == (0.2, film.end_seconds)


def test_a_command_whose_output_passes_for_a_cut_is_one_line() -> None:
    film = Film().show([line("onefe", row=0)])
    film.show([line("onefetch", row=0), line("Project: vhs", row=2)], cut=True)
    assert sorted(spans(film.evidence())) == [
        ("Project: vhs", 1.2, 1.7),
        ("onefetch", 0.2, 1.7),
    ]
    titles = Film().show([line("Intro")])
    big = replace(line("Introduction"), box=(0.1, 0.05, 0.6, 0.15))
    titles.show([big], cut=True)
    assert len(titles.evidence()) == 2


def test_the_same_words_twice_on_a_screen_are_two_lines_with_two_ids() -> None:
    film = Film().show([line("same words", row=1), line("same words", row=5)])
    found = film.evidence()
    assert len(found) == 2 and len({e.id for e in found}) == 2


def test_unsure_and_tiny_readings_are_left_out() -> None:
    film = Film().show([line("smudge", confidence=0.3), line("A", row=2), line("ok", row=4)])
    assert [e.text for e in film.evidence()] == ["ok"]


def test_pieces_of_a_row_become_a_line_without_its_prompt() -> None:
    pieces = [
        Line("V", (0.06, 0.1, 0.08, 0.15), 0.97),
        Line("git", (0.10, 0.1, 0.14, 0.15), 0.9),
        Line("status■", (0.15, 0.1, 0.24, 0.15), 1.0),
        Line("far away", (0.60, 0.1, 0.70, 0.15), 0.9),
    ]
    joined = legible_lines(pieces, aspect=1.8, minimum_confidence=0.5, minimum_characters=2)
    assert [found.text for found in joined] == ["git status", "far away"]
    assert joined[0].box == (0.10, 0.1, 0.24, 0.15)


def test_reading_order_is_by_rows_then_from_the_left() -> None:
    right, left = Line("right", (0.6, 0.10, 0.8, 0.2), 1), Line("left", (0.1, 0.12, 0.3, 0.22), 1)
    below = Line("below", (0.1, 0.3, 0.3, 0.4), 1)
    assert [found.text for found in reading_order([below, right, left])] == [
        "left",
        "right",
        "below",
    ]


def test_the_language_is_noted_where_the_detector_is_sure() -> None:
    film = Film().show([line("Guten Morgen"), line("xyzzy", row=3)])
    known = {"Guten Morgen": "de"}
    channel = ScreenTextChannel(reader=film, detect_language=known.get)
    run = channel.open(VIDEO, GENERATION, 0.0)
    run.push(film.samples[0])
    german, unsure = run.finish(1.0)
    assert german.attributes["language"] == "de"
    assert "language" not in unsure.attributes


# Watermarks


def test_text_that_never_goes_away_does_not_hold_the_watermark_back() -> None:
    logo = line("LONGTAKE TV", row=14)
    film = Film()
    for n in range(200):
        film.show([logo, line(f"{n * 7919 % 104729} passing", row=n % 9)])
    run = film.channel(seal_seconds=20).open(VIDEO, GENERATION, 0.0)
    found = []
    for sample in film.samples:
        found += run.push(sample)
        assert sample.time_seconds - run.watermark_seconds <= 41
    found += run.finish(film.end_seconds)
    logos = sorted((e.start_seconds, e.end_seconds) for e in found if e.text == logo.text)
    assert len(logos) >= 5
    assert all(before[1] == after[0] for before, after in pairwise(logos))


def test_a_resume_repeats_no_more_than_it_must_where_nothing_is_written() -> None:
    film = Film()
    for _ in range(30):
        film.show([])
    run = film.channel().open(VIDEO, GENERATION, 0.0)
    for sample in film.samples:
        run.push(sample)
    assert run.watermark_seconds == film.samples[-1].time_seconds


@st.composite
def films(draw: st.DrawFn) -> Film:
    """Lines that appear, grow, shrink, scroll, vanish, flicker; cuts; still stretches."""
    film, screen = Film(), []
    words = ["alpha", "beta gamma", "status: ok", "status: off", "404", "delta-epsilon zeta"]
    for _ in range(draw(st.integers(1, 24))):
        action = draw(
            st.sampled_from(["still", "add", "grow", "shrink", "scroll", "drop", "clear", "keep"])
        )
        cut = draw(st.integers(0, 5)) == 0
        after = draw(st.sampled_from([0.3, 1.0, 2.5]))
        if action == "still":
            film.show(None, after=after, cut=cut)
            continue
        if action == "add":
            screen = [*screen, draw(st.sampled_from(words))]
        elif action == "grow" and screen:
            screen = [*screen[:-1], screen[-1] + draw(st.sampled_from([" more", "!", " 12"]))]
        elif action == "shrink" and screen:
            screen = [*screen[:-1], screen[-1][:-3]]
        elif action == "scroll":
            screen = screen[1:]
        elif action == "drop" and screen:
            gone = draw(st.integers(0, len(screen) - 1))
            screen = ["" if i == gone else text for i, text in enumerate(screen)]
        elif action == "clear":
            screen = []
        readings = [line(text, row=i) for i, text in enumerate(screen) if text]
        if readings and draw(st.integers(0, 3)) == 0:
            struck = draw(st.integers(0, len(readings) - 1))
            if draw(st.booleans()):
                del readings[struck]
            else:
                read = readings[struck]
                readings[struck] = replace(read, text=read.text.replace("a", "o"), confidence=0.8)
        film.show(readings, after=after, cut=cut)
    return film


def told(evidence: list[Evidence]) -> list[tuple]:
    return sorted(
        (e.start_seconds, e.id, e.end_seconds, e.text, str(e.attributes)) for e in evidence
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(film=films(), seal_seconds=st.sampled_from([3.0, 8.0, 60.0]))
def test_a_run_resumed_anywhere_ends_like_an_uninterrupted_one(
    film: Film, seal_seconds: float
) -> None:
    channel = film.channel(seal_seconds=seal_seconds)
    whole = told(film.evidence(seal_seconds=seal_seconds))
    assert len({identity for _, identity, *_ in whole}) == len(whole)
    resumed_from: dict[float, list[Evidence]] = {}
    run, emitted, watermark = channel.open(VIDEO, GENERATION, 0.0), [], 0.0
    for sample in film.samples:
        before = emitted[:]
        pushed = run.push(sample)
        starts = [e.start_seconds for e in pushed]
        assert starts == sorted(starts)
        emitted = before + pushed
        assert run.watermark_seconds >= watermark
        watermark = run.watermark_seconds
        if watermark not in resumed_from:
            again = channel.open(VIDEO, GENERATION, watermark)
            found = [e for s in film.samples if s.time_seconds >= watermark for e in again.push(s)]
            resumed_from[watermark] = found + again.finish(film.end_seconds)
        final = [e for e in emitted if e.start_seconds < watermark]
        assert told(final + resumed_from[watermark]) == whole


# Only what changed is read


class Desk(Film):
    """Pictures with a stripe for each line, and a reader that knows the stripes: it can read a
    band of rows, and it reads no more of the picture than that."""

    STRIPE = 12

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[bytes, Line] = {}
        self.rows_read: list[int] = []

    def show(self, lines: list[Line] | None, *, after: float = 1.0, cut: bool = False) -> Desk:
        time = self.samples[-1].time_seconds + after if self.samples else 0.2
        if cut:
            self._shot = time - 0.2
        if lines is None and self.samples:
            image = self.samples[-1].image
        else:
            image = np.full((16 * self.STRIPE, 320, 3), 30, np.uint8)
            for read in lines or []:
                row = round((read.box[1] - 0.05) / ROW)
                top, bottom = row / 16, (row + 1) / 16
                read = replace(read, box=(read.box[0], top, read.box[2], bottom))
                letters = np.frombuffer(read.text.encode().ljust(64, b" "), np.uint8)
                stripe = image[row * self.STRIPE : (row + 1) * self.STRIPE]
                stripe[:, :64] = np.where(letters > 32, 2 * letters.astype(int), 30)[:, None]
                stripe[:, 64:] = 200 if len(letters) > 64 else 30
                self.known[bytes([row]) + stripe[0, :64].tobytes()] = read
        self.samples.append(Sample(time, self._shot, image))
        return self

    def read(self, image: np.ndarray, rows: tuple[int, int] | None = None) -> list[Line]:
        self.reads += rows is None
        first, last = rows or (0, len(image))
        self.rows_read.append(last - first)
        found = []
        for row in range(16):
            if first <= (row + 0.5) * self.STRIPE < last:
                stripe = image[row * self.STRIPE, :64].tobytes()
                if known := self.known.get(bytes([row]) + stripe):
                    found.append(known)
        return found


@st.composite
def desks(draw: st.DrawFn) -> Desk:
    desk = Desk()
    screen: dict[int, str] = {}
    words = ["alpha", "beta gamma", "status: ok", "404", "delta-epsilon zeta"]
    for _ in range(draw(st.integers(1, 24))):
        row = draw(st.integers(0, 9))
        action = draw(st.sampled_from(["still", "put", "put", "grow", "drop", "clear"]))
        if action == "put":
            screen[row] = draw(st.sampled_from(words))
        elif action == "grow" and row in screen:
            screen[row] = (screen[row] + " more")[:60]
        elif action == "drop":
            screen.pop(row, None)
        elif action == "clear":
            screen.clear()
        shown = None if action == "still" else [line(t, row=r) for r, t in sorted(screen.items())]
        desk.show(shown, after=draw(st.sampled_from([0.3, 1.0, 4.0])))
    return desk


def test_only_the_rows_that_changed_are_read() -> None:
    desk, lines = Desk(), [line(f"a line with the number {n}", row=n) for n in range(9)]
    desk.show(lines)
    for n in range(4, 24, 4):
        desk.show([*lines, line("make everything anew"[:n], row=10)])
    found = desk.evidence()
    assert sorted(e.text for e in found) == sorted(
        [*(read.text for read in lines), "make everything anew"]
    )
    assert desk.reads == 1
    anew = desk.rows_read[1:]
    assert anew and all(rows <= 2 * Desk.STRIPE for rows in anew)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(desk=desks())
def test_reading_what_changed_finds_what_reading_all_finds(desk: Desk) -> None:
    pictures = ChangedReader(desk.read, StillSettings())
    for sample in desk.samples:
        lines, _ = pictures.update(sample.image)
        assert lines == reading_order(desk.read(sample.image))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(desk=desks(), seal_seconds=st.sampled_from([3.0, 8.0, 60.0]))
def test_a_resumed_run_ends_like_an_uninterrupted_one_where_rows_are_read(
    desk: Desk, seal_seconds: float
) -> None:
    channel = desk.channel(seal_seconds=seal_seconds)
    whole = told(desk.evidence(seal_seconds=seal_seconds))
    run, emitted = channel.open(VIDEO, GENERATION, 0.0), []
    for sample in desk.samples:
        emitted += run.push(sample)
        watermark = run.watermark_seconds
        again = channel.open(VIDEO, GENERATION, watermark)
        found = [e for s in desk.samples if s.time_seconds >= watermark for e in again.push(s)]
        found += again.finish(desk.end_seconds)
        final = [e for e in emitted if e.start_seconds < watermark]
        assert told(final + found) == whole


def test_a_watermark_is_worth_a_whole_reading_only_after_a_while() -> None:
    desk = Desk()
    for n in range(20):
        desk.show([line(f"{n * 7919 % 104729} passes", row=n % 9)]).show([]).show(None)
        desk.show([line("_", row=12)])  # too little to be a line, but a change
    run = desk.channel().open(VIDEO, GENERATION, 0.0)
    for sample in desk.samples:
        run.push(sample)
        assert sample.time_seconds - run.watermark_seconds <= 14
    assert desk.reads <= 80 / 10 + 1


# The real reader


def written(*lines: str, size: tuple[int, int] = (640, 360)) -> np.ndarray:
    image = np.full((size[1], size[0], 3), 24, dtype=np.uint8)
    for n, text in enumerate(lines):
        cv2.putText(image, text, (40, 80 + 70 * n), 0, 1.1, (235, 235, 235), 2, cv2.LINE_AA)
    return image


@pytest.fixture(scope="module")
def reader() -> OcrReader:
    return OcrReader()


def test_the_packaged_models_read_a_picture(reader: OcrReader, capfd) -> None:
    first, second = reader.read(written("Longtake reads this", "Invoice 2024-17"))
    assert (first.text, second.text) == ("Longtake reads this", "Invoice 2024-17")
    x0, y0, x1, y1 = first.box
    assert 0.03 < x0 < 0.1 and 0.1 < y0 < y1 < 0.3 and 0.5 < x1 < 1 and first.confidence > 0.9
    assert reader.read(written()) == []
    assert capfd.readouterr() == ("", "")


def test_a_band_of_rows_reads_like_the_whole_picture(reader: OcrReader) -> None:
    image = written("Longtake reads this", "Invoice 2024-17", "and a third row")
    _, second, _ = reader.read(image)
    (alone,) = reader.read(image, (115, 165))
    assert alone.text == second.text
    assert alone.box == pytest.approx(second.box, abs=0.01)
    assert reader.read(image, (270, 360)) == []


@pytest.mark.parametrize("size", [(1, 1), (4000, 3), (17, 900), (16, 16), (3000, 16)])
def test_pictures_of_odd_shapes_are_read_without_complaint(reader: OcrReader, size) -> None:
    assert reader.read(np.full((size[1], size[0], 3), 128, dtype=np.uint8)) == []


def test_reading_needs_no_network_and_describing_needs_no_model() -> None:
    code = """
    import socket, sys
    def refuse(*_, **__):
        raise AssertionError("the network was asked")
    socket.socket.connect = socket.getaddrinfo = refuse
    from ingest.channels.screen_text import ScreenTextChannel
    channel = ScreenTextChannel()
    described = channel.describe()
    assert set(described["reader"]["models"]) == {"det", "rec"}
    assert not {"rapidocr", "onnxruntime", "cv2"} & set(sys.modules)
    from ingest.models.ocr import OcrReader
    import numpy as np
    assert OcrReader().read(np.zeros((64, 64, 3), np.uint8)) == []
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_or_broken_model_is_named(tmp_path: Path) -> None:
    missing = ScreenTextSettings(recognition_model=tmp_path / "rec.onnx")
    with pytest.raises(ModelMissingError, match=r"rec\.onnx"):
        ScreenTextChannel(missing).describe()
    with pytest.raises(ModelMissingError, match=r"rec\.onnx"):
        ScreenTextChannel(missing).open(VIDEO, GENERATION, 0.0)
    (tmp_path / "rec.onnx").write_text("no model")
    with pytest.raises(ModelMissingError, match=r"rec\.onnx"):
        ScreenTextChannel(missing).open(VIDEO, GENERATION, 0.0)


def test_a_rapidocr_without_its_models_is_refused_before_it_could_fetch_them(monkeypatch) -> None:
    ocr._packaged.cache_clear()
    monkeypatch.setattr(ocr.metadata, "files", lambda name: [])
    with pytest.raises(ModelMissingError, match="lacks its packaged"):
        ScreenTextChannel().open(VIDEO, GENERATION, 0.0)


def test_what_shapes_the_evidence_is_described_and_what_does_not_is_not(tmp_path: Path) -> None:
    def described(**changes):
        return ScreenTextChannel(ScreenTextSettings(**changes)).describe()

    assert described() == described(threads=1)
    assert described() != described(minimum_confidence=0.9)
    (tmp_path / "rec.onnx").write_bytes(b"one")
    one = described(recognition_model=tmp_path / "rec.onnx")
    (tmp_path / "rec.onnx").write_bytes(b"another")
    assert one != described(recognition_model=tmp_path / "rec.onnx")


def test_a_recorded_terminal_gives_the_typed_lines(reader: OcrReader) -> None:
    clip = DATA / "video" / "vhs" / "commands__type.gif"
    if not clip.exists():
        pytest.skip("shared/data is not here")
    run = ScreenTextChannel(reader=reader).open(VIDEO, GENERATION, 0.0)
    found, due, now = [], 0.2, 0.0
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            now = float(frame.time)
            if now >= due:
                found += run.push(Sample(now, 0.0, frame.to_ndarray(format="rgb24")))
                due += 1.0
    found += run.finish(now)
    assert [e.text for e in found] == [
        "Whatever you want",
        "Slow down there, partner.",
        "/usr/bin/zsh",
    ]
