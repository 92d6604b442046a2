"""Quoted phrases are exact, and words to leave out are left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import put_channel, put_video

from index.errors import UsageError
from index.library import Library
from rag import phrases
from rag.retrieve import Retriever, SearchResult
from rag.wording import ranges, words


def search(library: Library, text: str, **options) -> SearchResult:
    return Retriever(library).search(text, **options)


def found(library: Library, text: str, **options) -> list[tuple[str, float, float]]:
    moments = search(library, text, **options).moments
    return [(m.title, m.start_seconds, m.end_seconds) for m in moments]


# What counts as written so


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("layer mask", "Add a LAYER  mask."),
        ("layer mask", "layer-mask"),
        ("layer mask", "the layer.\nMask it"),
        ("don't", "they don’t"),
        ("e.g. this", "E.G., this"),
        ("naïve", "nai\u0308ve"),
        ("straße", "STRASSE"),
        ("first file", "the ﬁrst ﬁle"),
        ("３.5", "3.5"),
        ("softhyphen", "soft\u00adhyphen"),
        ("月亮的引力", "所以月亮的引力引起潮汐"),
        ("月亮 引力", "月亮，引力"),
        ("हिन्दी", "यह हिन्दी है"),
    ],
)
def test_the_same_words_however_they_are_written(phrase, text):
    assert len(ranges(phrase, text)) == 1


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("layer mask", "layers masks"),
        ("layer mask", "mask layer"),
        ("layer mask", "layer of a mask"),
        ("mask", "masking"),
        ("cafe", "café"),
        ("月光", "月亮的光"),
        ("!?", "what!?"),
    ],
)
def test_other_words(phrase, text):
    assert ranges(phrase, text) == []


def test_where_a_phrase_stands():
    assert ranges("the beam", "The beam, and then the\nBEAM.") == [(0, 8), (19, 27)]
    assert ranges("月亮", "月亮和月亮") == [(0, 2), (3, 5)]


@given(st.text(), st.text(), st.text())
def test_a_text_holds_what_it_was_made_of(before, phrase, after):
    text = f"{before} {phrase} {after}"
    if words(phrase):
        places = ranges(phrase, text)
        assert places
        for start, end in places:
            assert [w.text for w in words(text[start:end])] == [w.text for w in words(phrase)]


# Searching


def test_only_moments_that_hold_the_phrase(films):
    assert found(films, '"full moon"') == [("Tides", 20.0, 26.0)]
    assert {title for title, *_ in found(films, "full moon")} == {"Tides"}
    assert len(found(films, "full moon")) == 2  # the moon also pulls


def test_the_phrase_is_what_is_highlighted_and_explained(films):
    result = search(films, 'tide "spring tide comes"', explain=True)
    moment = result.moments[0]
    assert [moment.text[a:b] for a, b in moment.highlights] == ["spring tide comes"]
    assert "holds “spring tide comes”" in result.explanations[0].finds[0].reason()
    assert any("does not hold “spring" in one.reason for one in result.dropped)


def test_words_in_another_order_or_form_are_not_the_phrase(films):
    result = search(films, '"moon full"')
    assert result.moments == ()
    assert "Without quotes" in result.notes[0] and "“moon full”" in result.notes[0]
    assert found(films, '"full moons"') == []


def test_a_phrase_across_two_sentences(films):
    assert found(films, '"by hand every stone"') == [("Lighthouse", 0.0, 8.0)]
    assert found(films, '"by hand. Every stone"') == [("Lighthouse", 0.0, 8.0)]


def test_a_phrase_of_stop_words_alone(library):
    lines = [(0, 4, "That is the question."), (10, 14, "To be, or not to be."), (20, 24, "Be to.")]
    put_channel(library, put_video(library, "Hamlet"), "speech", lines)
    result = search(library, '"to be or not to be"')
    assert [(m.start_seconds, m.end_seconds) for m in result.moments] == [(10.0, 14.0)]
    assert result.notes == ()


def test_other_words_rank_what_holds_the_phrase(library):
    video = put_video(library, "Long", 3000.0)
    lines = [(t, t + 5, f"Number {t}: a layer mask here.") for t in range(0, 3000, 50)]
    lines[33] = (1650, 1655, "Number 1650: a layer mask for the zeppelin.")
    lines.append((2990, 2995, "A zeppelin, a mask and a layer."))
    put_channel(library, video, "speech", lines)
    moments = search(library, 'zeppelin "layer mask"', limit=100).moments
    assert moments[0].start_seconds == 1650
    assert len(moments) == 60 and all("layer mask" in m.text for m in moments)


def test_a_moment_holds_every_phrase(films, writable):
    assert found(films, '"the moon pulls" "of the ocean"') == [("Tides", 3.5, 8.0)]
    assert found(films, '"rises and falls" "of the ocean"') == [("Tides", 0.0, 8.0)]
    result = search(films, '"full moon" "bishop rock"')
    assert result.moments == () and "in one video" in result.notes[0]
    # Said and shown at once.
    tides = writable.find("Tides")
    put_channel(writable, tides, "screen_text", [(21, 24, "Spring tides")], language=None)
    assert found(writable, '"full moon" "spring tides"') == [("Tides", 20.0, 26.0)]


def test_filters_hold_for_phrases_too(writable):
    put_channel(
        writable, writable.find("Lighthouse"), "screen_text", [(40, 44, "FULL MOON")], language=None
    )
    assert len(found(writable, '"full moon"')) == 2
    assert found(writable, '"full moon" video:Tides') == [("Tides", 20.0, 26.0)]
    assert found(writable, '"full moon" channel:screen_text') == [("Lighthouse", 40.0, 44.0)]
    assert found(writable, '"full moon" before:0:20') == []
    assert found(writable, '"full moon" lang:en') == [("Tides", 20.0, 26.0)]


def test_scripts_without_spaces(library):
    lines = [(5, 9, "月亮的引力引起海水的潮汐。"), (20, 24, "月亮很圆。")]
    put_channel(library, put_video(library, "潮汐"), "speech", lines, language="zh")
    for phrase in ("引力引起", "的引", "力引起海", "潮汐"):  # wherever it is cut into words
        assert found(library, f'"{phrase}"') == [("潮汐", 5.0, 9.0)]
    assert found(library, '"月亮很圆"') == [("潮汐", 20.0, 24.0)]
    assert found(library, '"月圆"') == []


def test_more_passages_than_are_read_is_said(films, monkeypatch):
    monkeypatch.setattr(phrases, "MOST_PASSAGES", 1)
    assert "not all" in search(films, '"the lamp"').notes[0]
    monkeypatch.setattr(phrases, "MOST_SCANNED", 1)
    assert "not all" in search(films, '"of the"').notes[0]


def test_words_to_leave_out(films):
    assert len(found(films, "moon")) == 2
    assert found(films, "moon -tide") == [("Tides", 3.5, 8.0)]
    assert found(films, "moon -tides") == [("Tides", 3.5, 8.0)]  # in another form
    assert found(films, 'moon -"full moon"') == [("Tides", 3.5, 8.0)]
    assert len(found(films, 'moon -"moon full" -the')) < 2  # stop words can be left out, too
    result = search(films, "moon -tide", explain=True)
    assert any(one.reason == "holds “tide”" for one in result.dropped)


def test_what_to_leave_out_alone_is_nothing_to_look_for(films):
    for typed in ("-keeper", 'lang:en -"the keeper"'):
        with pytest.raises(UsageError, match="only says what to leave out"):
            Retriever(films).search(typed)
