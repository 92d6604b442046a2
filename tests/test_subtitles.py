"""Subtitles are found, read and mended, whatever state they come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import SubtitleError
from ingest.cues import Cue, plain, tidy
from ingest.sidecars import Sidecar, find_sidecars, sidecars
from ingest.subtitles import Track, decode, read_sidecar

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "video"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def beside(folder: Path, video: str = "film.mp4") -> list[str]:
    return [str(path.relative_to(folder)) for path in find_sidecars(folder / video)]


def read(path: Path, text: str | bytes, duration: float | None = None) -> tuple[Track, list[str]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    (sidecar,) = [s for s in sidecars(path.parent / "film.mp4") if s.path == path]
    return read_sidecar(sidecar, duration)


def said(track: Track) -> list[tuple[float, float, str]]:
    return [(cue.start_seconds, cue.end_seconds, cue.text) for cue in track.cues]


# --- Which files ------------------------------------------------------------------------------


def test_sidecars_are_found_by_the_rules_that_players_share(tmp_path):
    names = [
        "film.srt",
        "film.en.srt",
        "film.en-US.forced.vtt",
        "film.English.SRT",
        "FILM.de.ass",
        "film.mp4.fr.srt",
        "Subs/film.es.srt",
        "Subs/film/2_Italian.srt",
        "subtitles/film.ssa",
    ]
    touch(tmp_path, "film.mp4", *names)
    touch(
        tmp_path, "film2.srt", "other.srt", "film.txt", ".film.srt", "Subs/other.srt", "film-x.srt"
    )
    assert sorted(beside(tmp_path)) == sorted(names)


def test_a_sidecar_belongs_to_the_longest_name_that_fits(tmp_path):
    touch(tmp_path, "film.mp4", "film.part2.mp4", "film.srt", "film.part2.srt", "film.part2.en.srt")
    assert beside(tmp_path) == ["film.srt"]
    assert beside(tmp_path, "film.part2.mp4") == ["film.part2.en.srt", "film.part2.srt"]


@pytest.mark.parametrize(
    ("name", "language", "forced", "for_the_deaf"),
    [
        ("film.srt", None, False, False),
        ("film.en.srt", "en", False, False),
        ("film.eng.sdh.srt", "en", False, True),
        ("film.pt-BR.forced.srt", "pt", True, False),
        ("film.Deutsch.srt", "de", False, False),
        ("film.hi.srt", "hi", False, False),
        ("film.en.hi.srt", "en", False, True),
        ("film.default.Commentary.srt", None, False, False),
    ],
)
def test_names_say_the_language_and_the_kind(tmp_path, name, language, forced, for_the_deaf):
    touch(tmp_path, "film.mp4", name)
    (found,) = sidecars(tmp_path / "film.mp4")
    assert found == Sidecar(tmp_path / name, language, forced, for_the_deaf)


def test_a_sidecar_added_a_moment_later_is_found(tmp_path):
    touch(tmp_path, "film.mp4")
    assert beside(tmp_path) == []
    touch(tmp_path, "film.srt")
    assert beside(tmp_path) == ["film.srt"]


def test_a_folder_that_is_not_there_has_no_sidecars(tmp_path):
    assert find_sidecars(tmp_path / "gone" / "film.mp4") == ()


# --- Formats ----------------------------------------------------------------------------------

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello there\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
CUES = [(1.0, 2.5, "Hello there"), (3.0, 4.0, "Bye")]


def test_subrip(tmp_path):
    track, notes = read(tmp_path / "film.en.srt", SRT)
    assert said(track) == CUES
    assert (track.language, track.source, notes) == ("en", "film.en.srt", [])


def test_subrip_with_numbers_in_the_text_blank_lines_and_no_final_newline(tmp_path):
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nfrom 00:00:05,000\r\n\r\nto 00:00:06,000\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\n42\r\n\r\n"
        "3\r\n00:00:05,000 --> 00:00:06,000\r\n7"
    )
    track, _ = read(tmp_path / "film.en.srt", text)
    assert [cue.text for cue in track.cues] == ["from 00:00:05,000 to 00:00:06,000", "42", "7"]


def test_webvtt_with_names_comments_styles_and_short_times(tmp_path):
    text = """WEBVTT - a title

STYLE
::cue { color: lime }

NOTE 00:00 is the start,
not a cue

first cue
00:01.000 --> 00:02.500 line:80% align:start
<v Roger Bingham>Hello <b>there</b>

2
00:00:03.000 --> 00:00:04.000
<c.yellow>Bye</c>
"""
    track, notes = read(tmp_path / "film.vtt", text)
    assert said(track) == CUES
    assert [cue.speaker for cue in track.cues] == ["Roger Bingham", None]
    assert notes == []


def test_substation_alpha_with_names_drawings_and_comments(tmp_path):
    text = r"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,Anna,0,0,0,,{\an8\i1}Hello\Nthere{\i0}
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100{\p0}
Comment: 0,0:00:02.00,0:00:02.50,Default,,0,0,0,,not shown
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,Bye
Dialogue: 1,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\blur3}Bye
"""
    track, _ = read(tmp_path / "film.ass", text)
    assert said(track) == CUES
    assert [cue.speaker for cue in track.cues] == ["Anna", None]


def test_real_captions_read_as_written():
    if not DATA.exists():
        pytest.skip("the shared data is not here")
    (sidecar,) = sidecars(DATA / "mdn" / "friday.mp4")
    track, notes = read_sidecar(sidecar, 6.166)
    assert said(track)[:2] == [(0.0, 0.999, "Hildy!"), (1.0, 1.499, "How are you?")]
    assert len(track.cues) == 5
    assert (track.language, notes) == ("en", [])


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (r"{\an8}<i>Up</i> &amp; <font color=\"red\">down</font>", "Up & down"),
        ("I <3 you & 2 < 3 > 1", "I <3 you & 2 < 3 > 1"),
        ("<00:00:01.000><c> word</c>", "word"),
        ("- Hi.\n- Hello.", "- Hi.\n- Hello."),
        ("  two \n\n lines\u200b ", "two\nlines"),
        ("♪ ♪", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_markup_goes_and_text_stays(markup, text):
    assert plain(markup) == (text, None)


# --- Encodings --------------------------------------------------------------------------------

RUSSIAN = SRT.replace("Hello there", "Привет, как дела?").replace("Bye", "До свидания, друзья")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_unicode_is_read_without_guessing(tmp_path, encoding):
    data = RUSSIAN.encode(encoding)
    track, notes = read(tmp_path / "film.ru.srt", data)
    assert track.cues[0].text == "Привет, как дела?"
    assert len(notes) == (encoding == "utf-16-be")  # no mark: it had to be assumed


@pytest.mark.parametrize(
    ("language", "encoding", "text"),
    [
        ("ru", "cp1251", "Привет, как дела?"),
        ("pl", "cp1250", "Zażółć gęślą jaźń"),
        ("el", "cp1253", "Καλημέρα σας"),
        ("ja", "cp932", "お元気ですか"),
        ("fr", "cp1252", "Où êtes-vous allés ?"),
    ],
)
def test_an_old_code_page_follows_from_the_language_and_is_told(tmp_path, language, encoding, text):
    data = SRT.replace("Hello there", text).encode(encoding)
    track, notes = read(tmp_path / f"film.{language}.srt", data)
    assert track.cues[0].text == text
    assert len(notes) == 1
    assert encoding in notes[0]
    assert "UTF-8" in notes[0]


def test_an_unknown_code_page_is_guessed_and_told(tmp_path):
    lines = ["Привет, как дела?", "Сегодня мы поговорим о погоде", "До свидания, друзья мои"]
    text = "".join(
        f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{line}\n\n" for n, line in enumerate(lines, 1)
    )
    track, notes = read(tmp_path / "film.srt", text.encode("cp1251"))
    assert [cue.text for cue in track.cues] == lines
    assert track.language == "ru"
    assert len(notes) == 1


@pytest.mark.parametrize("data", [bytes(range(256)) * 20, b"\x00\x01\x02\x03" * 100])
def test_what_cannot_be_decoded_is_told_with_the_way_out(data):
    with pytest.raises(SubtitleError, match=r"film\.srt.*save it as UTF-8"):
        decode(data, Path("film.srt"))


def test_a_file_that_holds_no_subtitles_is_told(tmp_path):
    with pytest.raises(SubtitleError, match=r"film\.srt.*no subtitles"):
        read(tmp_path / "film.srt", "just a text\nwith lines\n")
    with pytest.raises(SubtitleError, match=r"film\.ass.*damaged"):
        read(
            tmp_path / "film.ass",
            "[Script Info]\n[V4+ Styles]\n[Events]\nDialogue: 0,never,0:00:01.00,D,,0,0,0,,x\n",
        )


def test_an_empty_file_is_a_track_without_cues(tmp_path):
    for text in ("", "WEBVTT\n"):
        track, notes = read(tmp_path / "film.vtt", text)
        assert (track.cues, notes) == ((), [])


# --- Broken times -----------------------------------------------------------------------------


def test_unreadable_times_are_dropped_with_their_text_and_counted(tmp_path):
    text = SRT + "\n3\n00:0x:05,000 --> 00:00:06,000\nlost\n\n4\n00:00:07,000 -->\nlost too\n"
    track, notes = read(tmp_path / "film.en.srt", text)
    assert said(track) == CUES
    assert notes == [
        "film.en.srt: 2 cues with unreadable times left out; correct them in a text editor to "
        "have all"
    ]
    assert track.damaged


def test_negative_inverted_unsorted_and_late_times_are_mended_and_told():
    cues, notes = tidy(
        [
            Cue(10.0, 12.0, "second"),
            Cue(-2.0, 1.0, "first"),
            Cue(-5.0, -3.0, "before everything"),
            Cue(20.0, 18.0, "backwards"),
            Cue(30.0, 36_030.0, "wrong hour"),
            Cue(33.0, 34.0, "next"),
            Cue(99.0, 120.0, "overhanging"),
            Cue(100.0, 101.0, "too late"),
        ],
        100.0,
    )
    assert [(cue.start_seconds, cue.end_seconds, cue.text) for cue in cues] == [
        (0.0, 1.0, "first"),
        (10.0, 12.0, "second"),
        (20.0, 20.6, "backwards"),
        (30.0, 33.0, "wrong hour"),
        (33.0, 34.0, "next"),
        (99.0, 100.0, "overhanging"),
    ]
    told = "; ".join(notes)
    for word in (
        "sorted",
        "2 cues began before",
        "1 cue ended before",
        "never ended",
        "1 cue of 8",
    ):
        assert word in told


def test_subtitles_of_another_video_are_suspected():
    cues, notes = tidy([Cue(500.0, 501.0, "far"), Cue(600.0, 601.0, "away")], 10.0)
    assert cues == []
    assert "another video" in notes[-1]


times = st.floats(-50.0, 5000.0, allow_nan=False)
texts = st.sampled_from(["a b", "a b c", "a b\nnext line", "next line", "next line\nlast", "", "x"])


@given(st.lists(st.builds(Cue, times, times, texts), max_size=30), st.none() | st.just(1000.0))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_in_times_come_out_sound_and_in_order(given_cues, duration):
    cues, _ = tidy(given_cues, duration)
    starts = [cue.start_seconds for cue in cues]
    assert starts == sorted(starts)
    for cue in cues:
        assert 0.0 <= cue.start_seconds < cue.end_seconds
        assert duration is None or cue.end_seconds <= duration
        assert cue.text
        assert "\n" not in cue.text


# --- Repeats ----------------------------------------------------------------------------------


def test_rolling_captions_say_each_line_once(tmp_path):
    text = """WEBVTT
Kind: captions
Language: en

00:00:00.000 --> 00:00:02.000 align:start position:0%
 
so<00:00:00.400><c> today</c><00:00:00.800><c> we</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
so today we
 

00:00:02.010 --> 00:00:04.000 align:start position:0%
so today we
look<00:00:02.500><c> at</c><00:00:03.000><c> birds</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
look at birds
 

00:00:04.010 --> 00:00:06.000 align:start position:0%
look at birds
and<00:00:04.500><c> bees</c>
"""
    track, _ = read(tmp_path / "film.en.vtt", text)
    assert [cue.text for cue in track.cues] == ["so today we", "look at birds", "and bees"]
    assert [cue.start_seconds for cue in track.cues] == [0.0, 2.01, 4.01]


def test_captions_that_grow_word_by_word_become_the_whole_line():
    words = ["these", "captions", "grow", "as", "they", "are", "typed"]
    grown = [Cue(n, n + 1.0, " ".join(words[: n + 1])) for n in range(len(words))]
    cues, _ = tidy(grown)
    assert cues == [Cue(0.0, 7.0, " ".join(words))]


def test_a_line_said_twice_in_a_dialogue_stays_twice():
    spoken = [
        Cue(0.0, 1.0, "No!"),
        Cue(2.0, 3.0, "No!"),
        Cue(3.0, 4.0, "Yes.\nNo!"),
        Cue(4.0, 5.0, "No!\nWhy?"),
        *(Cue(n, n + 1.0, f"line {n}") for n in range(5, 20)),
    ]
    cues, _ = tidy(spoken)
    assert [cue.text for cue in cues][:4] == ["No!", "No!", "Yes. No!", "No! Why?"]


def test_frame_by_frame_typesetting_is_one_cue():
    cues, _ = tidy([Cue(n * 0.04, n * 0.04 + 0.04, "A sign") for n in range(50)])
    assert [(cue.start_seconds, round(cue.end_seconds, 2)) for cue in cues] == [(0.0, 2.0)]
