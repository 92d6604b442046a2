"""Citations taken out of a streamed answer."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.schema import AnswerEvent, Citation, Moment, Source, Token
from rag.citations import CitationParser


def source(number: int) -> Source:
    start = 10.0 * number
    return Source(number, Moment("v", 0, "Film", None, start, start + 5, 1.0, "speech"))


SOURCES = {number: source(number) for number in (1, 2, 3, 4, 12)}


def parsed(text: str, cuts=()) -> tuple[list, int]:
    """Texts and cited numbers in order, and how many citations were invented."""
    parser = CitationParser(SOURCES)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    events: list[AnswerEvent] = []
    for start, end in pairwise(places):
        events += parser.feed(text[start:end])
    events += parser.finish()
    joined: list = []
    for event in events:
        if isinstance(event, Citation):
            assert event.source == SOURCES[event.source.number]  # with its span
            joined.append(event.source.number)
        else:
            assert isinstance(event, Token) and event.text
            if joined and isinstance(joined[-1], str):
                joined[-1] += event.text
            else:
                joined.append(event.text)
    return joined, parser.invented


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The lens [3].", ["The lens", 3, "."]),
        ("The lens [3, 4].", ["The lens", 3, 4, "."]),
        ("The lens [3,4] and [12]", ["The lens", 3, 4, " and", 12]),
        ("The lens [1][2].", ["The lens", 1, 2, "."]),
        ("The lens [1] [2].", ["The lens", 1, 2, "."]),
        ("The lens [1-3].", ["The lens", 1, 2, 3, "."]),
        ("The lens [Source 2].", ["The lens", 2, "."]),
        ("The lens 【2】.", ["The lens", 2, "."]),
        ("The lens. [2] It", ["The lens.", 2, " It"]),
        ("The lens[2].", ["The lens", 2, "."]),
        ("In 1822[2].", ["In 1822", 2, "."]),
        ("透镜是菲涅耳发明的[2]。", ["透镜是菲涅耳发明的", 2, "。"]),
        ("[2]\n[3]", [2, "\n", 3]),
    ],
)
def test_citations_become_events(text, wanted):
    assert parsed(text) == (wanted, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Write `x = [1, 2]` first.",
        "```\na = [1]\nb[2]\n```\n",
        "Take a[1], or a[1][2].",
        "Take my_list[3] and ARGV[1] of x1[2].",
        "Take items[99].",
        "[see below] and [] and [x]",
        "[1 or so]",
        "[" + "1, " * 20 + "1]",
        "an open [1",
        "spaces  stay   as they are ",
        "[4-1]",
    ],
)
def test_what_is_no_citation_stays(text):
    assert parsed(text) == ([text], 0)


def test_a_lone_backtick_opens_no_code_beyond_its_line():
    assert parsed("a ` here\nand [1]") == (["a ` here\nand", 1], 0)


def test_sources_that_do_not_exist_are_left_out_and_counted():
    assert parsed("One [9]. Two [1, 9]. Three [7, 8].") == (
        ["One. Two", 1, ". Three."],
        4,
    )


def test_nothing_is_held_back_that_cannot_be_a_citation():
    parser = CitationParser(SOURCES)
    assert parser.feed("One") == [Token("One")]
    assert parser.feed(" [") == []
    assert parser.feed("x") == [Token(" [x")]
    assert parser.feed(" [1") == []
    assert parser.feed("2") == []
    assert parser.feed("]") == [Citation(SOURCES[12])]


PIECES = ("[3]", " [3, 4]", "[12]", "a[1]", "`a[1]`", "lens", "```", "\n", " [77]", ". ", "]")


@given(
    text=st.one_of(
        st.text("[]【】123 ,;-`a\n", max_size=40),
        st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    ),
    cuts=st.lists(st.integers(0, 60)),
)
def test_any_split_gives_the_same_events(text, cuts):
    whole = parsed(text)
    assert parsed(text, cuts) == whole
    assert parsed(text, range(len(text))) == whole


@given(text=st.text("[]123 ,`ab\n", max_size=40))
def test_no_text_is_lost_but_citations_and_the_spaces_before_them(text):
    joined, _ = parsed(text)
    kept = "".join(part for part in joined if isinstance(part, str))
    rest = iter(text)
    assert all(character in rest for character in kept)
    assert sum(map(str.isalpha, kept)) == sum(map(str.isalpha, text))
