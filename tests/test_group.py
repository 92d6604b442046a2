"""Videos ranked by their moments, and questions about the collection."""

from __future__ import annotations

from itertools import pairwise

import pytest
from talks import put_channel, put_video

from index.library import Library
from index.schema import Done, Moment, Sources, Token
from rag.answer import ExtractiveAnswerer
from rag.corpus import corpus_question
from rag.group import VideoHits, group_by_video
from rag.retrieve import Retriever
from rag.settings import GroupSettings


def moment(video: str, start: float, end: float, score: float, epoch: int = 0) -> Moment:
    return Moment(video, epoch, video, None, start, end, score, "speech")


def by_video(*moments: Moment, **settings) -> dict[str, VideoHits]:
    return {hits.video_id: hits for hits in group_by_video(moments, GroupSettings(**settings))}


def test_the_video_with_the_best_moment_comes_first():
    hits = group_by_video([moment("a", 0, 5, 0.4), moment("b", 0, 5, 0.6)])
    assert [(one.video_id, one.score) for one in hits] == [("b", pytest.approx(0.6)),
                                                           ("a", pytest.approx(0.4))]  # fmt: skip


def test_three_events_tell_more_than_one_long_one():
    found = by_video(
        *(moment("three", at, at + 10, 0.5) for at in (0, 300, 900)),
        moment("long", 0, 60, 0.5),
        moment("long", 60, 120, 0.5),
        moment("long", 121, 180, 0.5),
    )
    assert (found["three"].events, found["long"].events) == (3, 1)
    assert found["three"].score > found["long"].score == pytest.approx(0.5)


def test_moments_that_overlap_are_one_event():
    found = by_video(moment("a", 0, 30, 0.5), moment("a", 10, 12, 0.3), moment("a", 20, 40, 0.4))
    assert found["a"].events == 1 and found["a"].score == pytest.approx(0.5)
    assert [m.score for m in found["a"].moments] == [0.5, 0.4, 0.3]
    apart = by_video(moment("a", 0, 30, 0.5), moment("a", 10, 12, 0.3, epoch=1))
    assert apart["a"].events == 2


def test_many_weak_events_do_not_outweigh_a_sure_one():
    weak = [moment("weak", at, at + 5, 0.3) for at in range(0, 3000, 100)]
    hits = group_by_video([*weak, moment("sure", 0, 5, 0.6)])
    assert [one.video_id for one in hits] == ["sure", "weak"]
    assert all(0 <= one.score <= 1 for one in hits)


def test_one_more_event_never_makes_it_less():
    scores = [0.9, 0.05, 0.4, 0.4, 1.0]
    grown = [
        by_video(*(moment("a", 100 * i, 100 * i + 5, s) for i, s in enumerate(scores[:n])))["a"]
        for n in range(1, len(scores) + 1)
    ]
    assert all(one.score <= other.score for one, other in pairwise(grown))


# Questions


@pytest.mark.parametrize(
    ("question", "about", "mention"),
    [
        ("Which videos talk about layer masks?", "layer masks", False),
        ("what lectures are about linear algebra", "linear algebra", False),
        ("which of the films show a car chase?", "a car chase", False),
        ("How many videos mention the moon?", "the moon", True),
        ("how many of my recordings contain “budget cuts”?", "“budget cuts”", True),
        ("how many talks are there about tides", "tides", False),
        ("list all videos about tides", "tides", False),
        ("show me all the clips that mention tides", "tides", True),
        ("In which videos is the Fourier transform explained?", "the Fourier transform", False),
        ("in how many videos are tides mentioned", "tides", True),
        ("In which video does he explain backpropagation?", "backpropagation", False),
        ("which films have a lighthouse?", "a lighthouse", False),
    ],
)
def test_questions_about_the_collection(question, about, mention):
    found = corpus_question(question)
    assert found is not None
    assert (found.about, found.mention) == (about, mention)


@pytest.mark.parametrize(
    "question",
    [
        "Who invented the lens?",
        "how many flashes does it give?",
        "What does he say about videos?",
        "which video card does he recommend",
        "how many videos did he make",
        "which tutorials has he made?",
        "what is this video about?",
        "which layer shows the mask",
        "videos about tides",
    ],
)
def test_other_questions(question):
    assert corpus_question(question) is None


def ask(library: Library, question: str) -> tuple[str, Sources, Done]:
    events = list(ExtractiveAnswerer(Retriever(library)).ask(question))
    text = "".join(event.text for event in events if isinstance(event, Token))
    return text, events[0], events[-1]


def test_which_videos(films):
    text, sources, done = ask(films, "Which videos talk about the moon?")
    assert text.splitlines()[0] == "“the moon” is in one video:"
    assert [source.moment.title for source in sources.sources] == ["Tides"]
    assert done.found and done.detail["videos"] == 1


def test_how_many_videos(writable):
    for n in range(3):
        put_channel(writable, put_video(writable, f"M{n}"), "speech", [(5, 9, "A full moon.")])
    text, sources, _ = ask(writable, "how many videos mention the moon?")
    assert text.startswith("“the moon” is in 4 videos:")
    assert "Tides (2 times, first at 0:03.5)" in text and "M0 (at 0:05)" in text
    assert len(sources.sources) == 4
    # All of the words, where they are to be mentioned.
    assert ask(writable, "how many videos mention the moon and the ocean?")[2].detail["videos"] == 1
    assert ask(writable, 'which videos mention "full moon"?')[2].detail["videos"] == 4
    text, _, done = ask(writable, "which videos talk about the moon video:Tides")
    assert text.startswith("“the moon” is in one video:") and done.detail["videos"] == 1


def test_half_of_what_is_asked_for_is_not_enough(films):
    assert ask(films, "which videos talk about helicopters and lenses?")[2].detail["videos"] == 0


def test_no_video(films):
    text, sources, done = ask(films, "Which videos mention helicopters?")
    assert text == "No video has “helicopters” in it."
    assert not sources.sources and not done.found
