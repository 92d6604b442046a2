"""Words that one writes apart and another together."""

from __future__ import annotations

import pytest
from talks import put_channel, put_video

from index.store import Filter
from index.text import analyzer
from rag.compounds import MOST, compounds
from rag.retrieve import Retriever
from rag.words import WordQuery


def joined(text: str, name: str = "english") -> set[str]:
    model = analyzer(name)
    return {typed for typed, _ in compounds(text, model, model.query(text)).values()}


def test_neighbours_are_one_word_where_nothing_parts_them():
    assert joined("an art board, key-frames") == {"art board", "key-frames"}
    assert joined("move the art, board by board") == set()  # "by" is a stop word
    assert joined("art") == joined("") == joined("art art") == joined("plot x y") == set()


def test_stop_words_and_scripts_without_spaces_join_nothing():
    assert joined("a way is the part") == set()
    assert joined("木星の夜の空", "japanese") == set()


def test_a_long_query_joins_the_first_few():
    names = [f"{a}{b}x" for a in "bcdfgk" for b in "aeiou"]
    text = " ".join(names + names[::-1])
    model = analyzer("plain")
    assert len(compounds(text, model, model.query(text))) == MOST


@pytest.fixture
def lessons(library):
    lines = [
        (0.0, 4.0, "Draw a new artboard beside it."),
        (10.0, 14.0, "Modern art hangs on the wall."),
        (20.0, 24.0, "The board of the company met."),
        (30.0, 34.0, "Nothing of it is said here."),
    ]
    put_channel(library, put_video(library, "Lesson", 40.0), "speech", lines)
    return library


def test_what_is_typed_apart_is_found_where_it_is_written_together(lessons):
    moments = Retriever(lessons).search("art board").moments
    assert "artboard" in moments[0].text
    assert [moments[0].text[a:b] for a, b in moments[0].highlights] == ["artboard"]


def test_the_word_counts_as_much_as_its_parts(lessons):
    query = WordQuery.of("art board", lessons, Filter())
    known = {term.word: term for term in query.terms["english"].values()}
    assert set(known) == {"art", "board", "art board"}
    both = known["art"].idf + known["board"].idf
    assert known["art board"].idf == pytest.approx(both)
    assert query.mass["english"] == pytest.approx(both)
    assert query.share(query.held("Draw a new artboard.", "english"), "english") == 1.0


def test_a_word_that_the_library_does_not_write_is_none(lessons):
    query = WordQuery.of("company wall", lessons, Filter())
    assert {term.word for term in query.terms["english"].values()} == {"company", "wall"}
