"""Questions that ask for what comes after or before something, and those that only look so."""

from __future__ import annotations

import json

import pytest
from clips import DATA
from talks import put_channel, put_video

from index.library import Library
from rag.order import Order, split_order
from rag.retrieve import Retriever, SearchResult

TRANSCRIPTS = DATA / "transcripts"


@pytest.mark.parametrize(
    ("question", "target", "relation", "anchor"),
    [
        ("after the demo of layers, what does he say about masks",
         "what does he say about masks", "after", "the demo of layers"),
        ("After the demo of layers what does he say about masks?",
         "what does he say about masks", "after", "the demo of layers"),
        ("right before the credits, who is on the stage", "who is on the stage", "before",
         "the credits"),
        ("What does he say about masks after the demo of layers?",
         "What does he say about masks", "after", "the demo of layers"),
        ("does she mention masks before the demo", "does she mention masks", "before", "the demo"),
        ("who speaks after finishing the proof", "who speaks", "after", "finishing the proof"),
        ("what happens after the goal?", "", "after", "the goal"),
        ("what happens after his house", "", "after", "his house"),
        ("what comes right after the title card", "", "after", "the title card"),
        ("what comes after the title card", "", "after", "the title card"),
        ("what else comes after the title card", "", "after", "the title card"),
        ("what’s said after the goal", "", "after", "the goal"),
        ('what does she say right after "thank you, my friends"', "", "after",
         '"thank you, my friends"'),
        ('who says "the day after" after the “ask me” song', 'who says "the day after"', "after",
         "the “ask me” song"),
        ("what did he do just before the crash", "", "before", "the crash"),
        ("What does the teacher say next after the joke?", "", "after", "the joke"),
        ("after the goal, what happens?", "", "after", "the goal"),
        ("the handshake right after the interview", "the handshake", "after", "the interview"),
        ("a red car, then a crash", "a crash", "then", "a red car"),
        ("red car then crash", "crash", "then", "red car"),
        ("he opens the door and then sits down", "sits down", "then", "he opens the door"),
        ("a goal followed by a celebration", "a celebration", "then", "a goal"),
        ("After turning left, a car heads down a road.", "a car heads down a road", "after",
         "turning left"),
    ],
)  # fmt: skip
def test_what_is_asked_in_order(question, target, relation, anchor):
    assert split_order(question) == Order(target, relation, anchor)


@pytest.mark.parametrize(
    "question",
    [
        "after all",
        "it works after all, what a surprise",
        "the day after tomorrow",
        "a before-and-after picture",
        "before and after",
        "what is the difference before and after the filter",
        "adobe after effects tutorial",
        "what is After Effects, then",
        "who looks after the dog",
        "what kind of man comes after her",
        'who says "he left after the war"',
        'the "right after it" joke',
        "whom is the comet named after",
        "one after the other",
        "as before, what is shown",
        "life after the war",
        "how do I close the window after saving the image",
        "after I save the image, how do I close the window?",
        "before selecting them, are you able to see their size?",
        "what should I do before going into post production?",
        "how to remove filters before saving",
        "is it possible to preview filters before applying them?",
        "if he opens it, then what",
        "what makes this tool different then the others?",
        "the woman then sits down",
        "two men are then seen on a pit",
        "now and then",
        "after that, what does he say",
        "after 12:30, what does he say",
        "after 5 minutes, what does he say",
        "what happens after 1h",
        "after the demo, what " + "about masks and " * 50,
        "after, before, then",
        "then",
        "masks",
    ],
)
def test_what_only_looks_like_it(question):
    assert split_order(question) is None


def test_no_real_question_without_an_order_is_taken_apart():
    if not TRANSCRIPTS.is_dir():
        pytest.skip(f"there is no {TRANSCRIPTS}")
    names = ("tutorialvqa/train.jsonl", "tutorialvqa/dev.jsonl", "3b1b/chapters_dev.jsonl")
    lines = [line for name in names for line in (TRANSCRIPTS / name).open(encoding="utf-8")]
    assert len(lines) > 5000
    assert not [q for line in lines if split_order(q := json.loads(line)["query"])]


# Answered


@pytest.fixture
def lesson(library) -> Library:
    """Masks are told of twice, the demo of layers lies between, and a video with a better match."""
    lines = [
        (0, 4, "Masks will come later."),
        (100, 104, "Here is a demo of layers."),
        (110, 114, "Press the button."),
        (200, 204, "Masks hide a part of a layer."),
        (900, 904, "Masks can be painted."),
    ]
    put_channel(library, put_video(library, "Lesson", 1000.0), "speech", lines)
    put_channel(library, put_video(library, "Other", 100.0), "speech", [(5, 9, "Masks, masks!")])
    return library


def search(library: Library, text: str, **options) -> SearchResult:
    return Retriever(library).search(text, **options)


def found(library: Library, text: str, **options) -> list[tuple[str, float]]:
    return [(m.title, m.start_seconds) for m in search(library, text, **options).moments]


def test_what_lies_after_comes_first_and_the_nearest_of_it(lesson):
    assert found(lesson, "masks")[0] == ("Other", 5.0)
    results = found(lesson, "after the demo of layers, what does he say about masks?")
    assert results[:2] == [("Lesson", 200.0), ("Lesson", 900.0)]
    assert {title for title, _ in results} == {"Lesson"}
    scores = [m.score for m in search(lesson, "after the demo, what are masks").moments]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)


def test_what_lies_before(lesson):
    assert found(lesson, "before the demo of layers, what are masks")[0] == ("Lesson", 0.0)
    assert found(lesson, "what are masks before the painted ones", limit=1) == [("Lesson", 200.0)]


def test_the_answer_says_which_anchor_was_used(lesson):
    result = search(lesson, "after the demo of layers, what are masks?", explain=True)
    assert result.notes[-1] == (
        "The best match lies after “the demo of layers”, found in “Lesson” at 1:40–1:44."
    )
    assert result.explanations[0].order == "after “the demo of layers” at 1:40–1:44"
    last = [m.start_seconds for m in result.moments].index(0.0)
    assert result.explanations[last].order == "not after “the demo of layers”"


def test_what_happens_right_after_or_before(lesson):
    result = search(lesson, "what happens after the demo of layers?", explain=True)
    assert [(m.start_seconds, m.end_seconds, m.text) for m in result.moments] == [
        (110.0, 114.0, "Press the button.")
    ]
    assert result.explanations[0].order.startswith("after “the demo")
    moments = search(lesson, "what does he say right before pressing the button").moments
    assert [m.text for m in moments] == ["Here is a demo of layers."]
    assert found(lesson, "what happens after masks can be painted") == found(
        lesson, "what happens, masks can be painted"
    )  # nothing comes after it


def test_one_then_the_other_is_one_moment_of_both(lesson):
    moments = search(lesson, "demo of layers, then a button").moments
    assert [(m.start_seconds, m.end_seconds) for m in moments[:1]] == [(100.0, 114.0)]
    far = search(lesson, "demo of layers, then paint").moments[0]
    assert far.start_seconds == 900.0  # too far for one moment


def test_without_the_anchor_the_question_is_searched_as_it_stands(lesson):
    question = "after the zeppelin, what does he say about masks"
    assert found(lesson, question) == found(lesson, question.replace("after", "behind"))
    assert found(lesson, "after masks can be painted, who gives a demo")[0] == ("Lesson", 900.0)


def test_filters_and_phrases_go_with_an_order(lesson):
    question = "after the demo of layers, what are masks"
    assert found(lesson, f"{question} after:5:00")[0] == ("Lesson", 900.0)
    assert {title for title, _ in found(lesson, f"{question} video:Other")} <= {"Other"}
    assert found(lesson, 'after "a demo of layers", what are "masks can"') == [("Lesson", 900.0)]
    assert ("Lesson", 900.0) not in found(lesson, f"{question} -painted")
    # The anchor is looked for in every channel, though the results are from one.
    video = lesson.find("Lesson")
    put_channel(lesson, video, "screen_text", [(800, 804, "Chapter Two")], language=None)
    assert found(lesson, "after chapter two, what are masks channel:speech")[0][1] == 900.0
