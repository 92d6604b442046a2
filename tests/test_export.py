"""Moments taken away: every format says the same frames to those who read it."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import opentimelineio as otio
import pysubs2
import pytest
import talks
from clips import noise_picture, write_clip
from otio_cmx3600_adapter import cmx_3600

from cli.export_input import parse_span, read_moments
from index.errors import UsageError
from index.schema import ChannelHit, FileStat, Moment
from ingest.chapters import ffmetadata
from ingest.media import iter_subtitle_packets, probe
from rag.export.cuts import Cut, Footage, counting_rate, cuts_of
from rag.export.page import html_page, pieces
from rag.export.pictures import pictures_of
from rag.export.subtitles import subtitles
from rag.export.table import csv_table, json_lines
from rag.export.timeline import edl, edl_rate, otio_json, timeline_notes

NTSC = Fraction(30_000, 1001)
EVIL = (
    '</p><script>alert("x")</script>\n\n00:00:01,000 --> 00:00:02,000\n{\\i1}C:\\new & <b>\n'
    "FROM CLIP NAME: other\n[CHAPTER]\nSTART=0;#=\\"
)


def moment(video_id: str, start: float, end: float, text: str = "Some words.", **fields) -> Moment:
    fields = {"title": video_id, "path": None, "channel": "speech", "score": 0.5, **fields}
    return Moment(video_id, 0, start_seconds=start, end_seconds=end, text=text, **fields)


def add_film(library, path: Path, frame_rate: Fraction, frames: int, **options):
    """A film of that frame rate, in the library."""
    times = [float(n / frame_rate) for n in range(frames)]
    write_clip(path, [noise_picture(n // 10) for n in range(frames)], times=times, **options)
    video = talks.make_video(path.stem, frames / float(frame_rate))
    video = replace(video, files=(FileStat(str(path), 1, 1, 1),))
    library.put_video(video)
    return video


@pytest.fixture
def films(tmp_path, library):
    """(library, film of 29.97, film of 25 with sound)"""
    one = add_film(library, tmp_path / "one.mp4", NTSC, 300, rate=30, b_frames=2)
    two = add_film(library, tmp_path / "two.mkv", Fraction(25), 200, audio_seconds=8)
    return library, one, two


def of(video, start: float, end: float, text: str = "Some words.", **fields) -> Moment:
    path = video.files[0].path
    return moment(video.id, start, end, text, title=video.title, path=path, **fields)


SPANS = [(0.0, 0.5), (1.23, 2.34), (3.333, 3.334), (4.004, 7.9), (5.55, 9.0), (9.5, 12.0)]


def as_frames(spans, rate: Fraction) -> list[tuple[int, int]]:
    return [(round(start * float(rate)), round(end * float(rate))) for start, end in spans]


def test_every_format_says_the_same_frames_to_its_own_reader(films, tmp_path):
    library, one, _ = films
    cuts, wrong = cuts_of([of(one, *span) for span in SPANS], library)
    assert not wrong
    wanted = [cut.frames for cut in cuts]
    assert wanted[:4] == [(0, 15), (36, 71), (99, 100), (120, 237)] and wanted[-1] == (284, 300)

    for name in ("srt", "vtt"):
        text = subtitles(cuts, name)
        read = pysubs2.SSAFile.from_string(text, format_=name)
        assert as_frames([(e.start / 1000, e.end / 1000) for e in read], NTSC) == wanted
        (tmp_path / f"s.{name}").write_text(text, encoding="utf-8")
        packets = iter_subtitle_packets(tmp_path / f"s.{name}")
        assert as_frames([(p.start_seconds, p.end_seconds) for p in packets], NTSC) == wanted

    listed = cmx_3600.read_from_string(edl(cuts, "All"), rate=float(NTSC))
    assert listed.name == "All"
    assert clip_frames(listed) == wanted

    timeline = otio.adapters.read_from_string(otio_json(cuts, "All"), "otio_json")
    assert clip_frames(timeline) == wanted
    assert {clip.source_range.start_time.rate for clip in timeline.find_clips()} == {float(NTSC)}

    rows = list(csv.DictReader(io.StringIO(csv_table(cuts), newline="")))
    assert [(int(r["start_frame"]), int(r["end_frame"])) for r in rows] == wanted
    times = [(float(row["start_seconds"]), float(row["end_seconds"])) for row in rows]
    assert as_frames(times, NTSC) == wanted

    again = read_moments(json_lines(cuts).encode().splitlines())
    assert again == [cut.moment for cut in cuts]
    assert [cut.frames for cut in cuts_of(again, library)[0]] == wanted

    chapters = [talks_chapter(cut) for cut in cuts]
    (tmp_path / "c.ffmeta").write_bytes(ffmetadata(chapters))
    with av.open(str(tmp_path / "c.ffmeta")) as file:
        read = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in file.chapters()]
    assert as_frames([(float(a), float(b)) for a, b in read], NTSC) == wanted

    page = Page(html_page(cuts, "All", [None] * len(cuts)))
    assert as_frames([page.span(link) for link in page.titles], NTSC) == wanted


def talks_chapter(cut: Cut):
    from index.schema import Chapter

    return Chapter(cut.start_seconds, cut.end_seconds, cut.text)


def clip_frames(timeline: otio.schema.Timeline) -> list[tuple[int, int]]:
    """Of the pictures' track."""
    found = []
    for clip in timeline.video_tracks()[0]:
        span = clip.source_range
        found.append((span.start_time.to_frames(), span.end_time_exclusive().to_frames()))
    return found


class Page(HTMLParser):
    """What a browser makes of a page. titles: where their links lead."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.titles: list[str] = []
        self.pictures: list[str] = []
        self.marked: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self._inside.append(tag)
        if tag == "a" and "class" not in given:
            self.titles.append(given["href"])
        if tag == "img":
            self.pictures.append(given["src"])

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        self.text += data
        if self._inside and self._inside[-1] == "mark":
            self.marked.append(data)

    @staticmethod
    def span(link: str) -> tuple[float, float]:
        start, end = urlsplit(link).fragment.removeprefix("t=").split(",")
        return float(start), float(end)


def test_spans_keep_their_order_and_come_once(films):
    library, one, two = films
    given = [of(two, 3, 4), of(one, 0.99, 2), of(two, 3.001, 3.999), of(one, 0, 1)]
    cuts, wrong = cuts_of(given, library)
    assert not wrong
    assert [(cut.moment.title, cut.frames[0]) for cut in cuts] == [
        ("two", 75),
        ("one", 29),
        ("one", 0),
    ]


def test_a_moment_needs_no_more_than_its_video_and_its_span(films):
    library, one, _ = films
    line = json.dumps({"video_id": one.id, "start_seconds": 1.02, "end_seconds": 2})
    (made,), wrong = cuts_of(read_moments([line.encode()]), library)
    assert not wrong and made.moment.title == "one" and made.frames == (30, 60)
    assert made.footage.path == Path(one.files[0].path) and made.footage.there


def test_texts_of_strangers_stay_texts(films, tmp_path):
    library, one, _ = films
    marked = ((EVIL.index("alert"), EVIL.index("alert") + 5),)
    given = [of(one, 1, 2, EVIL, highlights=marked), of(one, 3, 4, "The next one.")]
    given = [replace(m, title=EVIL) for m in given]
    cuts, _ = cuts_of(given, library)

    page = Page(html_page(cuts, EVIL, [b"jpeg", None]))
    assert "script" not in page.tags and "b" not in page.tags
    assert page.text.count('alert("x")') == 5  # head, heading, two titles, a text
    assert page.marked == ["alert"]

    for name in ("srt", "vtt"):
        (tmp_path / f"s.{name}").write_text(subtitles(cuts, name), encoding="utf-8")
        read = list(iter_subtitle_packets(tmp_path / f"s.{name}"))
        assert [round(p.start_seconds) for p in read] == [1, 3]
        shown = read[0].data.decode()
        assert "C:\\\u2060new" in shown
        assert ("<b>" in shown) == (name == "srt") and ("&lt;b&gt;" in shown) == (name == "vtt")

    listed = cmx_3600.read_from_string(edl(cuts, EVIL), rate=float(NTSC))
    clips = list(listed.find_clips())
    assert [clip.name for clip in clips] == ["one.mp4", "one.mp4"]
    assert clips[0].metadata["cmx_3600"]["comments"][0].startswith("COMMENT: </p>")

    (tmp_path / "c.ffmeta").write_bytes(ffmetadata([talks_chapter(cut) for cut in cuts]))
    with av.open(str(tmp_path / "c.ffmeta")) as file:
        titles = [c["metadata"]["title"] for c in file.chapters()]
    assert titles == [f"{cuts[0].text} ", "The next one."]

    rows = list(csv.DictReader(io.StringIO(csv_table(cuts), newline="")))
    assert [row["text"] for row in rows] == [EVIL, "The next one."]


def test_chapters_go_into_a_video(films, tmp_path):
    library, one, _ = films
    cuts, _ = cuts_of([of(one, 1, 2, "First; #=1"), of(one, 3, 4, "Ünd")], library)
    with (
        av.open(io.BytesIO(ffmetadata([talks_chapter(cut) for cut in cuts]))) as chapters,
        av.open(one.files[0].path) as source,
        av.open(str(tmp_path / "with.mkv"), "w") as made,
    ):
        stream = made.add_stream_from_template(source.streams.video[0], opaque=True)
        made.set_chapters(chapters.chapters())
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    found = probe(tmp_path / "with.mkv").chapters
    assert [chapter.title for chapter in found] == ["First; #=1", "Ünd"]
    assert [round(c.start_seconds * float(NTSC)) for c in found] == [cut.frames[0] for cut in cuts]


def footage(rate, timecode=None, name="film.mov", **fields) -> Footage:
    return Footage(name, Path("/films") / name, False, Fraction(rate), timecode=timecode, **fields)


def cut(start_frame: int, end_frame: int, of_footage: Footage, video_id: str = "v") -> Cut:
    rate = of_footage.frame_rate
    span = float(start_frame / rate), float(end_frame / rate)
    return Cut(moment(video_id, *span), of_footage)


def times(text: str) -> list[list[str]]:
    return [line.split()[-4:] for line in text.splitlines() if line[:1].isdigit()]


def test_drop_frame_timecode_counts_as_it_should():
    """SMPTE 12M: of every minute but each tenth, the numbers 00 and 01 are left out."""
    film = footage(NTSC)
    text = edl([cut(1799, 1801, film), cut(17_981, 17_983, film), cut(107_892, 107_893, film)], "t")
    assert text.splitlines()[:2] == ["TITLE: t", "FCM: DROP FRAME"]
    assert [t[:2] for t in times(text)] == [
        ["00:00:59;29", "00:01:00;03"],
        ["00:09:59;29", "00:10:00;01"],
        ["01:00:00;00", "01:00:00;01"],
    ]
    fast = edl([cut(3599, 3601, footage(Fraction(60_000, 1001)))], "t")
    assert times(fast)[0][:2] == ["00:00:59;59", "00:01:00;05"]


def test_the_footage_s_own_timecode_goes_on():
    dropped = edl([cut(30, 60, footage(NTSC, "01:00:59;02"))], "t")
    assert times(dropped)[0][:2] == ["01:01:00;04", "01:01:01;04"]
    counted = edl([cut(30, 60, footage(NTSC, "01:00:59:02"))], "t")
    assert times(counted)[0][:2] == ["01:01:00:02", "01:01:01:02"]
    assert "FCM: NON-DROP FRAME" in counted
    pal = edl([cut(5, 30, footage(25, "10:00:00:00"))], "t")
    assert times(pal) == [["10:00:00:05", "10:00:01:05", "00:00:00:00", "00:00:01:00"]]
    timeline = otio.adapters.read_from_string(
        otio_json([cut(5, 30, footage(25, "10:00:00:00", duration_seconds=4.0))], "t"), "otio_json"
    )
    clip = timeline.video_tracks()[0][0]
    assert clip.source_range.start_time.to_timecode() == "10:00:00:05"
    whole = clip.media_reference.available_range
    assert whole.start_time.to_timecode() == "10:00:00:00" and whole.duration.to_frames() == 100


def test_timecode_is_read_from_the_file(tmp_path, library):
    path = tmp_path / "tape.mov"
    with av.open(str(path), "w") as made:
        made.metadata["timecode"] = "01:00:00;00"
        stream = made.add_stream("libx264", rate=NTSC)
        stream.width, stream.height = 64, 48
        for n in range(30):
            frame = av.VideoFrame.from_ndarray(noise_picture(n), format="rgb24")
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    (made_cut,), _ = cuts_of([moment("v", 0.48, 1, path=str(path))], library)
    assert made_cut.footage.timecode == "01:00:00;00"
    assert times(edl([made_cut], "t"))[0][0] == "01:00:00;14"


def test_a_list_has_one_frame_rate_and_says_so(films):
    library, one, two = films
    cuts, _ = cuts_of([of(one, 1, 2), of(two, 1, 2), of(one, 3, 4)], library)
    assert edl_rate(cuts) == (NTSC, True)
    (note,) = timeline_notes(cuts, "edl")
    assert "29.97" in note and not timeline_notes(cuts, "otio")
    listed = times(edl(cuts, "t"))
    assert listed[1][:2] == ["00:00:01;00", "00:00:02;00"]
    records = [record for line in listed for record in line[2:]]
    assert records[1:-1:2] == records[2::2]  # each begins where the one before it ends
    timeline = otio.adapters.read_from_string(otio_json(cuts, "t"), "otio_json")
    pictures, sound = timeline.tracks
    assert [clip.source_range.start_time.rate for clip in pictures] == [
        pytest.approx(29.97003),
        25.0,
        pytest.approx(29.97003),
    ]
    assert [type(item).__name__ for item in sound] == ["Gap", "Clip", "Gap"]
    assert pictures.duration() == sound.duration()


def test_which_rate_frames_are_counted_by():
    assert counting_rate(Fraction(286_300, 11_929)) == 24
    assert counting_rate(Fraction(2997, 100)) == NTSC
    assert counting_rate(Fraction(24_000, 1001)) == Fraction(24_000, 1001)
    assert counting_rate(Fraction(25, 2)) == Fraction(25, 2)
    assert counting_rate(Fraction(1125, 56), constant=False) == Fraction(24_000, 1001)
    assert edl_rate([cut(0, 9, footage(Fraction(25, 2)))]) == (25, False)
    assert edl_rate([cut(0, 9, footage(10))]) == (30, False)
    assert edl_rate([cut(0, 9, footage(Fraction(15_000, 1001)))]) == (NTSC, True)
    varying = footage(30, name="phone.mp4", constant=False)
    assert "phone.mp4" in timeline_notes([cut(0, 9, varying)], "otio")[0]


def test_reels_are_told_apart_and_channels_are_the_footage_s():
    silent = footage(25, name="interview with anna.mp4", has_sound=False)
    spoken = footage(25, name="interview with bert.mp4")
    heard = footage(25, name="ö.mp3", has_pictures=False)
    cuts = [cut(0, 9, silent, "a"), cut(0, 9, spoken, "b"), cut(0, 9, heard, "c")]
    lines = [line.split() for line in edl(cuts, "t").splitlines() if line[:1].isdigit()]
    assert [line[1:3] for line in lines] == [
        ["INTERVIE", "V"],
        ["INTERVI2", "AA/V"],
        ["REEL", "AA"],
    ]
    listed = cmx_3600.read_from_string(edl(cuts, "t"), rate=25)
    assert sorted(track.name for track in listed.tracks) == ["A1", "A2", "V"]


def test_what_has_moved_is_found_by_another_path_or_said(films, tmp_path):
    library, one, two = films
    moved = Path(one.files[0].path)
    elsewhere = moved.rename(tmp_path / "moved.mp4")
    files = (*one.files, FileStat(str(elsewhere), 1, 1, 1))
    library.put_video(replace(one, files=files))
    Path(two.files[0].path).unlink()
    cuts, wrong = cuts_of([of(one, 1.23, 2.34), of(two, 1.23, 2.34), of(one, 50, 60)], library)
    assert [cut.footage.path for cut in cuts] == [elsewhere, Path(two.files[0].path)]
    assert [cut.footage.there for cut in cuts] == [True, False]
    assert cuts[1].frames == (30, 56)  # of 24 a second, which the library remembers
    assert len(wrong) == 2
    assert "nothing begins" in wrong[0] and "two.mkv: is not there" in wrong[1]
    page = Page(html_page(cuts, "t", [None, None]))
    assert len(page.titles) == 1 and "not there any more" in page.text


def test_pictures_are_of_the_moment_or_those_that_were_kept(films):
    import cv2
    import numpy as np

    library, one, two = films
    sound_only = footage(25, has_pictures=False)
    cuts, _ = cuts_of([of(two, 1, 1.2), of(one, 5, 5.2)], library)
    Path(two.files[0].path).unlink()
    gone, _ = cuts_of([of(two, 1, 1.2)], library)
    silent = replace(gone[0], footage=sound_only)
    found = pictures_of([cuts[1], *gone, silent], lambda m: b"kept" if m.title == "two" else None)
    assert found[1:] == [b"kept", b"kept"]
    image = cv2.imdecode(np.frombuffer(found[0], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(image.astype(int) - noise_picture(15)).mean() < 20


def test_the_page_needs_nothing_else(films):
    library, one, _ = films
    hits = (ChannelHit("speech", 1, 1.0, 1, 2), ChannelHit("screen_text", 1, 1.0, 1, 2))
    cuts, _ = cuts_of([of(one, 1, 2, hits=hits), of(one, 3, 4, channel="")], library)
    text = html_page(cuts, "two words", [b"\xff\xd8", None])
    page = Page(text)
    assert page.pictures == ["data:image/jpeg;base64,/9g="]
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    assert unquote(urlsplit(page.titles[0]).path) == one.files[0].path
    assert "speech, screen_text" in page.text and page.text.count("0.50") == 1
    assert "2 moments in 1 video\n" in page.text


def test_pieces_of_a_text():
    assert list(pieces("abcdef", [(1, 3)])) == [("a", False), ("bc", True), ("def", False)]
    assert list(pieces("abc", [(0, 9), (1, 2)])) == [("abc", True)]
    assert list(pieces("", [(0, 1)])) == []


@pytest.mark.parametrize(
    "text, span",
    [
        ("1:02-1:20", (62.0, 80.0)),
        ("0:55.9–1:00.8", (55.9, 60.8)),  # as searches print it
        ("62-80,5", (62.0, 80.5)),
        ("1:02:03 - 1:02:04.25", (3723.0, 3724.25)),
    ],
)
def test_spans_as_people_write_them(text, span):
    assert parse_span(text) == pytest.approx(span)


@pytest.mark.parametrize(
    "text", ["", "1:02", "-5", "5-", "a-b", "5-5", "9-1", "1:2:3:4-9", "-1-2", f"0-{'9' * 400}"]
)
def test_what_is_no_span(text):
    with pytest.raises(UsageError, match="span"):
        parse_span(text)


def test_moments_are_read_from_what_our_commands_print():
    one = {"video_id": "v", "start_seconds": 1, "end_seconds": 2.5}
    lines = [
        json.dumps(one | {"explanation": {"finds": []}, "hits": []}),
        "",
        json.dumps({"query": {"terms": []}}),
        json.dumps({"video_id": "v", "events": 2, "moments": [one, one]}),
        json.dumps({"event": "sources", "sources": [{"number": 1, "moment": one}]}),
        json.dumps({"event": "token", "text": "x"}),
    ]
    found = read_moments(line.encode() for line in lines)
    assert len(found) == 4 and {(m.video_id, m.end_seconds) for m in found} == {("v", 2.5)}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "7",
        "{}",
        '{"start_seconds": "a"}',
        '{"start_seconds": 1}',
        '{"video_id": "v", "start_seconds": 3, "end_seconds": 2}',
        '{"video_id": "v", "start_seconds": 3, "end_seconds": Infinity}',
        '{"moments": [7]}',
        '{"sources": [{}]}',
        "\xff",
    ],
)
def test_what_is_no_moment_is_said_with_its_line(line):
    good = b'{"video_id": "v", "start_seconds": 1, "end_seconds": 2}'
    with pytest.raises(UsageError, match="Line 2 of standard input"):
        read_moments([good, line.encode("latin-1")])


def test_subtitles_of_strangers_words_steer_no_terminal_and_end_no_cue(films):
    library, one, _ = films
    odd = of(one, 0.0, 0.5, "red\x1b[31m\n\n\x07words\x9b2J")
    untitled = replace(of(one, 1.0, 2.0, ""), title="a\n\n\x1b[1mtitle")
    cuts, _ = cuts_of([odd, untitled], library)
    for name in ("srt", "vtt"):
        text = subtitles(cuts, name)
        assert not any(unicodedata.category(c) == "Cc" for c in text if c != "\n")
        read = pysubs2.SSAFile.from_string(text, format_=name)
        assert [e.plaintext for e in read] == ["red[31m\nwords2J", "a\n[1mtitle"]
