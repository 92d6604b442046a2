"""Questions, in the layouts that benchmarks are published in."""

from __future__ import annotations

import json

import pytest
from clips import DATA

from index.errors import UsageError
from rag.evaluate.datasets import Question, read_questions, seconds_of


def read(tmp_path, text: object, name: str = "questions.json") -> list[Question]:
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return read_questions(path)


@pytest.mark.parametrize(
    ("name", "questions", "spanned", "answered", "videos"),
    [
        ("benchmarks/qvhighlights/highlight_val_release.jsonl", 1550, 1550, 0, 1519),
        ("benchmarks/qvhighlights/highlight_test_with_gt.jsonl", 1542, 1542, 0, 1529),
        ("benchmarks/charades_sta/charades_test_release.jsonl", 3720, 3720, 0, 1334),
        ("benchmarks/activitynet/activitynet_val_release.jsonl", 17505, 17505, 0, 4917),
        ("benchmarks/tvr/tvr_val_release.jsonl", 10895, 10895, 0, 2179),
        # 1,468 with options; 82 of REC and 48 of CRR, and 145 steps in SSR
        ("benchmarks/ovo_bench/ovo_bench_new.json", 1743, 275, 1468, 644),
        ("benchmarks/streamingbench/questions_proactive.json", 250, 250, 0, 50),
        ("benchmarks/streamingbench/questions_proactive_50.json", 51, 51, 0, 50),
        ("benchmarks/streamingbench/questions_sqa.json", 250, 0, 250, 50),
        ("transcripts/tutorialvqa/dev.jsonl", 1238, 1238, 0, 76),
        ("transcripts/3b1b/chapters_dev.jsonl", 121, 121, 0, 19),
    ],
)
def test_published_files_are_read_whole(name, questions, spanned, answered, videos):
    if not (DATA / name).exists():
        pytest.skip(f"no {DATA / name} here")
    got = read_questions(DATA / name)
    assert len(got) == len({one.id for one in got}) == questions
    assert sum(bool(one.windows) for one in got) == spanned
    assert sum(one.answer is not None for one in got) == answered
    assert len({one.video for one in got}) == videos
    assert all(one.text and one.text == one.text.strip() for one in got)
    assert all(0 <= start < end for one in got for start, end in one.windows)
    assert all(one.answer is None or 0 <= one.answer < len(one.options) for one in got)


def test_charades_sta_as_text(tmp_path):
    text = "3MSZA 24.3 30.4##person turn a light on.\nAO8RW 6.9 0.0##a person is putting a book.\n"
    one, other = read(tmp_path, text, "charades_sta_test.txt")
    assert one == Question("1", "person turn a light on.", "3MSZA", ((24.3, 30.4),))
    assert other.windows == ((0.0, 6.9),)  # the published file has some the wrong way round
    with pytest.raises(UsageError, match="question 1: not VIDEO START END##SENTENCE"):
        read(tmp_path, "3MSZA 24.3 person", "other.txt")


def test_activitynet_captions_as_json(tmp_path):
    video = {"duration": 82.73, "timestamps": [[0.83, 19.86], [17.37, 60.81]],
             "sentences": ["A young woman is seen.", " The girl dances. "]}  # fmt: skip
    one, other = read(tmp_path, {"v_QOlSCBRmfWY": video})
    assert one.video == other.video == "v_QOlSCBRmfWY"
    assert (one.id, other.id) == ("v_QOlSCBRmfWY.1", "v_QOlSCBRmfWY.2")
    assert other.text == "The girl dances." and other.windows == ((17.37, 60.81),)


def test_longvideobench(tmp_path):
    """Its layout is that of lvb_val.json as those who evaluate on it read it."""
    record = {
        "video_id": "86CxyhFV9MI", "id": "86CxyhFV9MI_0", "video_path": "86CxyhFV9MI.mp4",
        "question": "Which subtitles appear with the man?", "candidates": ["a", "b", "c", "d"],
        "correct_choice": 1, "position": [133], "question_category": "TOS", "duration": 190.2,
    }  # fmt: skip
    (one,) = read(tmp_path, [record])
    assert (one.video, one.options[one.answer], one.category) == ("86CxyhFV9MI.mp4", "b", "TOS")
    assert one.windows == ()  # what `position` counts is documented nowhere
    del record["correct_choice"]  # as in the test set
    assert read(tmp_path, [record])[0].answer is None


def test_ovo_bench_has_questions_of_three_shapes(tmp_path):
    common = {"id": 5, "video": "COIN/x.mp4"}
    choice = {"task": "EPM", "question": "Where?", "options": ["a", "b"], "gt": 1, "realtime": 21}
    later = {"task": "CRR", "question": "What then?", "ask_time": 297, "clue_time": 308}
    steps = {"task": "SSR", "all_steps": ["cut", "glue"], "start_time": [1, 5], "end_time": [4, 9]}
    again = {"task": "REC", "activity": "jump", "start_times": [3, 9], "end_times": [5, 9]}
    got = read(tmp_path, [common | one for one in (choice, later, steps, again)])
    assert [one.id for one in got] == ["5", "5", "5.1", "5.2", "5"]
    assert got[0].options[got[0].answer] == "b" and got[0].asked_seconds == 21.0
    assert got[1].windows == ((308.0, 310.0),) and got[1].asked_seconds == 297.0
    assert got[3].text == "glue" and got[3].windows == ((5.0, 9.0),)
    assert got[4].windows == ((3.0, 5.0), (9.0, 11.0))  # an instant


def test_streamingbench_says_when_to_speak(tmp_path):
    asked = {"task_type": "Proactive Output", "question": "When it shows 3, say so.",
             "time_stamp": "00:00:20", "ground_truth_time_stamp": "00:01:29"}  # fmt: skip
    (one,) = read(tmp_path, [{"video_path": "./videos/s.mp4", "questions": [asked]}])
    assert one.windows == ((89.0, 91.0),) and one.video == "videos/s.mp4"
    assert one.asked_seconds == 20.0 and one.options == ()


def test_labels_of_ones_own_need_no_id_and_may_have_clock_times(tmp_path):
    record = {"query": "the dog", "vid": "film.mp4", "relevant_windows": [["1:05", "1:20.5"]]}
    (one,) = read(tmp_path, record)  # a file of one line is also one JSON object
    assert (one.id, one.windows) == ("1", ((65.0, 80.5),))
    (marked,) = read(tmp_path, "\ufeff" + json.dumps(record))  # as Windows' editors save it
    assert marked == one


@pytest.mark.parametrize(
    ("time", "seconds"), [(3, 3.0), ("3.5", 3.5), ("1:02", 62.0), ("1:00:01.5", 3601.5)]
)
def test_times_are_read_as_people_write_them(time, seconds):
    assert seconds_of(time) == seconds


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[]", "holds no questions"),
        ("3", "holds no questions"),
        ('[{"prompt": "x"}]', "no layout that is known"),
        ('{"v": {"duration": 3}}', "'timestamps' is missing"),
        ('{"query": "q", "vid": "v", "relevant_windows": [["one", 2]]}', "question 1"),
        ('{"query": "q", "vid": "v", "relevant_windows": [[NaN, 2]]}', "nan is no time"),
        ('{"query": "q", "vid": "v", "relevant_windows": [[1, "inf"]]}', "inf is no time"),
        ('{"query": " ", "vid": "v", "options": ["a", "b"], "answer": "A"}', "query is empty"),
        ('{"query": "q", "vid": "v", "options": ["a", "b"], "answer": "C"}', "no option 2"),
        ('{"query": "q", "vid": "v", "options": ["a", "b"]}', "'answer' is missing"),
        ('[{"task": "EPM", "id": 1, "video": "v"}]', "'question' is missing"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, named):
    with pytest.raises(UsageError, match=named) as told:
        read(tmp_path, text)
    assert str(tmp_path) in str(told.value)
