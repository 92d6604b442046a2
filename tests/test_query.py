"""What a person types: what is taken for a phrase or a filter, and what stays words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import UsageError
from rag.query import parse, typed


def test_everything_at_once():
    query = parse(
        'who wound the "clockwork of the lamp" -demo video:Lighthouse lang:en after:12:30'
        ' channel:speech,screen_text before:1:02:03.5 -"the end"'
    )
    assert query.text == "who wound the clockwork of the lamp"
    assert query.quoted == 'who wound the "clockwork of the lamp"'
    assert query.phrases == ("clockwork of the lamp",)
    assert query.excluded == ("demo", "the end")
    assert query.videos == ("Lighthouse",)
    assert query.channels == ("speech", "screen_text")
    assert query.languages == ("en",)
    assert [bound.video_seconds for bound in query.after] == [750.0]
    assert [bound.video_seconds for bound in query.before] == [3723.5]


@pytest.mark.parametrize(
    "text",
    [
        "12:30",
        "what happens at 12:30",
        "note: this",
        "before: sunrise",
        "Video: how to",
        "ratio 3:4",
        "https://example.com/video:x?a=b",
        "video://stream",
        "speaker:alice",
        "std::vector<int>",
        "x:=1",
        "state-of-the-art",
        "- one",
        "how did i make free -form selections?",
        "has been re -positioned?",
        "find . -name foo",
        "git commit -m",
        "-5 degrees",
        "git commit --amend",
        'a 12" record',
        'a 5" and a 7" record',
        'he said "hello',
        '"" nothing',
        "don't say 'well done'",
        "f(x) = x^n",
        "(see below)",
    ],
)
def test_what_is_only_words(text):
    query = parse(text)
    assert query.text == text
    assert not query.phrases and not query.excluded and not query.videos
    assert not query.channels and not query.languages and not query.after and not query.before


def test_what_to_leave_out_stands_at_the_end():
    query = parse('masks "in red" -layer video:x -"clipping mask"')
    assert (query.text, query.excluded) == ("masks in red", ("layer", "clipping mask"))
    assert parse("-layer masks").excluded == ()
    for alone in ("-layer", 'video:x -layer -"clipping mask"'):
        query = parse(alone)
        assert query.text == "" and query.excluded[0] == "layer"


@pytest.mark.parametrize(
    "text",
    [
        '"layer mask"',
        "“layer mask”",
        "„layer mask“",
        "«layer mask»",
        '("layer mask")',
        '" layer mask "',
    ],
)
def test_any_keyboards_quotation_marks(text):
    assert parse(f"what is {text}, then?").phrases == ("layer mask",)
    assert parse(f"what is {text}, then?").text.startswith("what is layer mask")


@pytest.mark.parametrize("text", ['video:"my film"', "video:“my film”"])
def test_a_value_in_quotation_marks(text):
    assert parse(f"{text} lens").videos == ("my film",)
    assert parse(f"{text} lens").text == "lens"


def test_a_shell_takes_the_quotation_marks_off():
    assert parse(typed(["lens", "video:my film"])).videos == ("my film",)
    assert parse(typed(["lens", 'video:"my film"'])).videos == ("my film",)
    assert parse(typed(["video:film lens"])) == parse("video:film lens")
    assert typed(["two words", "more"]) == "two words more"
    assert typed([]) == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0:05", 5), ("12:30", 750), ("90:00", 5400), ("1:02:03", 3723), ("1:02.5", 62.5),
     ("90s", 90), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("1h2m3s", 3723), ("2m30s", 150)],
)  # fmt: skip
def test_times_in_a_video(value, seconds):
    assert parse(f"x after:{value}").after[0].video_seconds == seconds
    assert parse(f"x before:{value}, y").before[0].video_seconds == seconds


def test_times_by_the_calendar():
    bound = parse("x after:2026-03-01T12:30+00:00").after[0]
    assert bound.wall_seconds == datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp()
    assert parse('x before:"2026-03-01 12:30"').before[0].wall_seconds is not None
    assert parse("x before:2026-03-01").before[0].written == "2026-03-01"


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("x before:sunrise", "before:12:30.*before: sunrise"),
        ("x after:1:75", "after:90s"),
        ("x after:1:60:00", "after:90s"),
        ("x after:90", "after:90s"),
        ("x after:2026-13-01", "after:2026-03-01"),
        ("x lang:klingon", "lang:german.*lang: klingon"),
        ("x channel:speach", "speech, screen_text"),
        ("x channel:,", "speech, screen_text"),
        ("x channel:speech,sounds", "No channel “sounds”"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_the_way_out(text, way_out):
    with pytest.raises(UsageError, match=way_out):
        parse(text)


def test_languages_by_any_of_their_names():
    assert parse("x lang:de lang:german lang:deu lang:pt-BR").languages == ("de", "pt")


def test_enough_is_enough():
    assert len(parse('"a b" ' * 20 + "c").phrases) == 1
    with pytest.raises(UsageError, match="at most, not 21"):
        parse('"a b" ' * 21)
    assert parse('"' + "a " * 1000 + '"').phrases == ()
    parse("“ " * 20_000)


@given(st.text())
def test_whatever_is_typed_is_taken_apart_or_refused(text):
    try:
        query = parse(text)
    except UsageError:
        return
    for word in query.text.split():
        assert word in text


@given(st.lists(st.from_regex(r"[a-z]{1,8}[.,?]?", fullmatch=True), min_size=1))
def test_plain_words_stay_as_they_are(words):
    assert parse(" ".join(words)).text == " ".join(words)
