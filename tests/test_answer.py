"""Extractive answers: quotes that are in the videos, numbered, cited where they stand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from talks import LIGHTHOUSE, TIDES, put_channel, put_video

from index.errors import UsageError
from index.library import Library
from index.schema import Citation, Done, Sources, Token
from rag.answer import NOTHING, ExtractiveAnswerer
from rag.retrieve import Retriever
from rag.sentences import sentences, sentences_around
from rag.settings import AnswerSettings
from rag.timestamp import time_span, timestamp


def ask(library: Library, question: str, videos=(), **settings) -> list:
    answerer = ExtractiveAnswerer(Retriever(library), AnswerSettings(**settings))
    return list(answerer.ask(question, videos=videos))


def quotes(events: list) -> list[str]:
    return [source.moment.text for source in events[0].sources]


def test_sources_come_first_then_quotes_each_with_its_citation_then_done(films):
    events = ask(films, "What does the moon do?")
    assert isinstance(events[0], Sources) and isinstance(events[-1], Done)
    assert all(isinstance(event, Token | Citation) for event in events[1:-1])
    assert [source.number for source in events[0].sources] == [
        *range(1, len(events[0].sources) + 1)
    ]
    cited = 0
    for before, event in pairwise(events):
        if isinstance(event, Citation):
            cited += 1
            assert event.source.number == cited
            assert isinstance(before, Token) and event.source.moment.text in before.text
    assert cited == len(events[0].sources) == 2


def test_the_answer_quotes_the_evidence_and_says_where(films):
    events = ask(films, "Who invented the lens?")
    assert events[-1].found
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert "“Fresnel invented the lens that made the light reach so far.”" in text
    assert "Lighthouse, 0:30–0:34" in text


@pytest.mark.parametrize(
    ("question", "language", "line"),
    [
        ("Wer hat die Linse erfunden?", "de", "Fresnel hat die Linse erfunden."),
        ("Qui a inventé la lentille ?", "fr", "Fresnel a inventé la lentille."),
        ("Кто изобрёл линзу?", "ru", "Френель изобрёл линзу."),
    ],
)
def test_questions_in_other_languages(writable, question, language, line):
    other = put_video(writable, language)
    put_channel(writable, other, "speech", [(7.0, 9.0, line)], language=language)
    assert quotes(ask(writable, question))[0] == line


@pytest.mark.parametrize("question", ["What is the capital of France?", "Why?", "Who was it?"])
def test_what_the_videos_do_not_say_is_not_answered(films, question):
    events = ask(films, question)
    assert events[0] == Sources(())
    assert [event.text for event in events if isinstance(event, Token)] == [NOTHING]
    assert not events[-1].found


def test_a_question_with_one_word_in_common_is_not_answered_with_it(films):
    assert not ask(films, "Which bakery sells croissants near the lighthouse?")[-1].found


def test_a_question_without_words_is_refused(films):
    for question in ("", "  ", "???"):
        with pytest.raises(UsageError):
            ask(films, question)


def test_the_same_words_are_quoted_once(writable):
    again = put_video(writable, "Lighthouse, again")
    put_channel(writable, again, "speech", [(s + 1, e + 1, text) for s, e, text in LIGHTHOUSE])
    events = ask(writable, "Who invented the lens?")
    assert quotes(events) == ["Fresnel invented the lens that made the light reach so far."]


def test_only_the_asked_videos(films):
    assert not ask(films, "Who invented the lens?", ["Tides"])[-1].found


@pytest.mark.parametrize(
    ("question", "videos"),
    [("Summarise this video", ["Tides"]), ("What is it all about? Summarise video:Tides", ())],
)
def test_the_whole_is_told_in_its_central_sentences(films, question, videos):
    events = ask(films, question, videos)
    assert events[-1].found and {s.moment.title for s in events[0].sources} == {"Tides"}
    said = {text: (start, end) for start, end, text in TIDES}
    for source in events[0].sources:
        moment = source.moment
        assert (moment.start_seconds, moment.end_seconds) == said[moment.text]
        assert moment.channel == "speech"


def test_of_several_whole_videos_each_has_a_sentence(films):
    titles = [source.moment.title for source in ask(films, "Summarise these videos")[0].sources]
    assert len(titles) > 1 and len(set(titles)) == len(titles)
    one_at_most = ExtractiveAnswerer(Retriever(films), AnswerSettings(videos=1))
    assert not list(one_at_most.ask("Summarise these videos"))[-1].found  # too many to list


def test_of_a_part_of_a_video_the_central_sentences_lie_in_it(films):
    sources = ask(films, "Summarise this video video:Tides before:0:12")[0].sources
    assert all(source.moment.start_seconds < 12.0 for source in sources)


def test_a_long_quote_is_cut_to_whole_sentences_around_the_match(library):
    filler = "This sentence says nothing of any use to anybody at all. " * 12
    text = f"{filler}The zeppelin landed at noon. {filler}".strip()
    put_channel(library, put_video(library, "Airships"), "speech", [(0, 50, text)])
    (quote,) = quotes(ask(library, "When did the zeppelin land?", quote_characters=100))
    assert quote == "The zeppelin landed at noon."


def test_work_in_progress_is_admitted(writable):
    partial = put_video(writable, "Volcano")
    lines = [(0.0, 3.0, "The volcano slept.")]
    put_channel(writable, partial, "speech", lines, analysed_seconds=15.0)
    assert "“Volcano” is only partly indexed" in ask(writable, "Why?")[-1].detail["coverage_note"]
    assert "coverage_note" not in ask(writable, "Who invented the lens?", ["Tides"])[-1].detail
    for question in ("Who invented the lens? video:Tides", "which videos mention it video:Tides"):
        assert "coverage_note" not in ask(writable, question)[-1].detail


def test_sentences_in_any_script():
    def pieces(text: str) -> list[str]:
        return [text[start:end] for start, end in sentences(text)]

    assert pieces("It is 3.5 m. Really? Yes!") == ["It is 3.5 m.", "Really?", "Yes!"]
    assert pieces("He said “stop.” Then left") == ["He said “stop.”", "Then left"]
    assert pieces("月が出た。海が静か！") == ["月が出た。", "海が静か！"]
    assert pieces("one line\nanother") == ["one line", "another"]
    assert pieces("") == []


def test_a_sentence_longer_than_allowed_is_cut_at_words():
    text = "word " * 100 + "needle " + "word " * 100
    at = text.index("needle")
    start, end = sentences_around(text, ((at, at + 6),), 60)
    assert end - start <= 60 + 20 and "needle" in text[start:end]
    assert set(text[start:end].split()) == {"word", "needle"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (12, "0:12"),
        (12.34, "0:12.3"),
        (59.96, "1:00"),
        (3599.99, "1:00:00"),
        (3723.45, "1:02:03.4"),
        (360000, "100:00:00"),
        (-0.01, "0:00"),
    ],
)
def test_times_round_before_they_split(seconds, text):
    assert timestamp(seconds) == text


def test_a_span_too_short_to_see_is_one_time():
    assert time_span(12.0, 15.0) == "0:12–0:15"
    assert time_span(12.0, 12.01) == "0:12"
