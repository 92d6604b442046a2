"""Figures: counted by hand, and got by the ordinary search."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from talks import films_at, put_channel, put_video

from cli.main import main
from index.edge import EdgeStore
from index.errors import UsageError
from index.library import Library
from index.store import scroll, where
from rag.evaluate.calibration import calibration, without_span, without_video
from rag.evaluate.datasets import Question, read_questions
from rag.evaluate.metrics import (
    Judged,
    Result,
    compare,
    intervals,
    iou,
    overlap_shares,
    overlaps,
    report,
    roc_area,
)
from rag.evaluate.transcripts import read_transcripts
from rag.retrieve import Retriever

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("own_places")


def judged(id: str, *results: tuple[str, float, float], windows=((10.0, 20.0),)) -> Judged:
    """About video a. results: (video, start, end)."""
    ranked = tuple(Result(video, s, e, 1.0 - at / 10) for at, (video, s, e) in enumerate(results))
    return Judged(id, "a", tuple(windows), ranked, 0.004)


# --- Counting -------------------------------------------------------------------------------


def test_intersection_over_union():
    assert iou((0, 10), (5, 15)) == pytest.approx(5 / 15)
    assert iou((0, 10), (10, 20)) == iou((0, 10), (11, 20)) == 0.0
    assert iou((3, 4), (3, 4)) == 1.0


def test_a_shared_edge_is_no_overlap():
    assert not overlaps((0, 10), (10, 20))
    assert overlaps((0, 10.01), (10, 20))


def test_figures_of_four_questions():
    four = [
        judged("first", ("a", 10, 20)),  # exactly
        judged("third", ("b", 10, 20), ("a", 30, 40), ("a", 12, 14)),  # an IoU of .2
        judged("nowhere", ("a", 20, 30), ("b", 0, 5)),  # the edge does not count
        judged("nothing"),
    ]
    got = report(four)
    assert got["moment_recall"] == {"1": 0.25, "5": 0.5, "10": 0.5}
    assert got["iou_recall"] == {"1": 0.25, "5": 0.25, "10": 0.25}
    assert got["video_recall"] == {"1": 0.5, "5": 0.75, "10": 0.75}
    assert got["mrr"] == pytest.approx((1 + 1 / 3) / 4)
    assert got["r1_iou"] == {"0.3": 0.25, "0.5": 0.25, "0.7": 0.25}
    assert got["miou"] == 0.25
    assert got["median_span_seconds"] == 10.0
    assert got["longest_span_seconds"] == 10.0
    assert got["latency_ms"] == {"p50": pytest.approx(4.0), "p95": pytest.approx(4.0)}
    assert (got["queries"], got["queries_without_results"]) == (4, 1)


def test_of_several_true_spans_the_one_that_fits_best_counts():
    one = judged("q", ("a", 30, 36), windows=((0.0, 5.0), (30.0, 40.0)))
    assert (one.rank, one.first_iou) == (1, pytest.approx(0.6))


def test_recall_at_ten_does_not_see_the_eleventh():
    late = judged("q", *[("b", 0, 1)] * 10, ("a", 10, 20))
    assert report([late])["moment_recall"]["10"] == 0.0


def test_a_question_without_a_true_span_counts_for_its_video_alone():
    got = report([judged("q", ("a", 10, 20)), judged("v", ("b", 0, 1), windows=())])
    assert got["moment_recall"]["1"] == 1.0
    assert got["video_recall"]["1"] == 0.5
    assert got["queries_with_spans"] == 1


def test_overlap_is_measured_on_the_shorter_and_within_a_video():
    one = judged("q", ("a", 0, 100), ("a", 90, 110), ("b", 0, 100), ("a", 200, 561))
    assert overlap_shares(one.results) == [0.5, 0.0, 0.0]
    got = report([one])
    assert (got["most_overlap"], got["overlapping_pairs"]) == (0.5, 1)
    assert got["longer_than_seconds"] == {"60": 3, "300": 1}
    assert got["longest_span_seconds"] == 361.0


def test_intervals_hold_the_standard_error_and_are_the_same_every_time():
    """The README of the data: 109 titles have a standard error of .05."""
    values = np.array([1.0] * 46 + [0.0] * 63)
    low, high = intervals({"recall": values})["recall"]
    assert (low, high) == intervals({"recall": values})["recall"]
    error = np.sqrt(values.mean() * (1 - values.mean()) / len(values))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_a_paired_comparison_sees_what_two_intervals_do_not():
    before = [judged(f"q{n}", ("a" if n % 2 else "b", 10, 20)) for n in range(100)]
    after = [judged(f"q{n}", ("a" if n % 2 or n < 20 else "b", 10, 20)) for n in range(100)]
    got = compare(after, [*before, judged("another", ("a", 10, 20))])
    assert got["queries"] == 100
    assert got["difference"]["moment_recall"]["1"] == pytest.approx(0.1)
    assert got["intervals"]["moment_recall"]["1"][0] > 0
    assert compare(after, []) == {"queries": 0}


def test_roc_area_is_the_chance_of_ranking_a_pair_rightly():
    assert roc_area([0.9, 0.8], [0.1]) == 1.0
    assert roc_area([0.1], [0.9, 0.8]) == 0.0
    assert roc_area([0.5, 0.9], [0.5, 0.1]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


# --- Reading --------------------------------------------------------------------------------

TALKS = [
    {
        "video_id": "tides",
        "title": "Tides",
        "duration": 40.0,
        "chapters": [["Zyzzyva", 10, 20]],
        "sentences": [
            [0.0, 4.0, "The tide rises and falls twice a day."],
            [10.0, 14.0, "The moon pulls at the water of the ocean."],
            [30.0, 34.0, "A spring tide comes with the full moon."],
        ],
    },
    {
        "video_id": "lamp",
        "title": "Lighthouse",
        "duration": 30.0,
        "sentences": [
            [0.0, 5.0, "A keeper wound the clockwork of the lamp every evening."],
            [20.0, 25.0, "Fresnel invented the lens that made the light reach so far."],
        ],
    },
]
QUESTIONS = [
    {"qid": "1", "vid": "lamp", "query": "Fresnel lens", "relevant_windows": [[18, 26]],
     "translations": {"german": "Linse von Fresnel"}},
    {"qid": "2", "vid": "tides", "query": "what pulls at the ocean", "relevant_windows": [[9, 15]]},
    {"qid": "3", "vid": "tides", "query": "Introduction", "relevant_windows": [[0, 40]],
     "generic": True},
]  # fmt: skip


def lines(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def talks(tmp_path) -> Path:
    return lines(tmp_path / "transcripts.jsonl", TALKS)


@pytest.fixture
def questions(tmp_path) -> Path:
    return lines(tmp_path / "queries.jsonl", QUESTIONS)


def test_sentences_become_cues_with_sound_times(tmp_path):
    sentences = [[5, 5, "No length."], [1, 2, "<i>First</i>."], [3, 4, " "]]
    broken = {"video_id": "v", "title": "V", "duration": 9.0, "sentences": sentences}
    (one,) = read_transcripts(lines(tmp_path / "t.jsonl", [broken]))
    assert [cue.text for cue in one.cues] == ["First.", "No length."]
    assert all(cue.start_seconds < cue.end_seconds for cue in one.cues)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"video_id": "a"}', "'sentences' is missing"),
        ('{"video_id": "a", "sentences": [[1, "x"]]}', "transcript 1"),
        ('{"video_id": "a", "sentences": [[NaN, 2, "x"]]}', "nan is no time"),
        ('{"video_id": "a", "duration": -4, "sentences": [[1, 2, "x"]]}', "a duration of -4 s"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, named):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=named) as told:
        read_transcripts(path)
    assert str(path) in str(told.value)


def test_a_question_without_a_span_is_named(tmp_path):
    path = lines(tmp_path / "q.jsonl", [{"qid": "1", "vid": "a", "query": "what"}])
    with pytest.raises(UsageError, match="question 1: 'relevant_windows' is missing"):
        read_questions(path)
    path = lines(tmp_path / "q.jsonl", [{"qid": "1", "video": "a", "query": "what"}])
    with pytest.raises(UsageError, match="no layout that is known"):
        read_questions(path)


# --- The command ----------------------------------------------------------------------------


def run(capsys, *arguments: object) -> tuple[int, list[dict], str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, [json.loads(line) for line in captured.out.splitlines()], captured.err


def evaluate(capsys, talks: Path, questions: Path, *more: object):
    return run(
        capsys, "eval", "transcripts", "--transcripts", talks, "--queries", questions, "--json",
        *more,
    )  # fmt: skip


def test_the_last_line_has_the_layout_that_is_promised(capsys, talks, questions):
    status, printed, _ = evaluate(capsys, talks, questions)
    assert status == 0
    got = printed[-1]
    for group, keys in (
        ("moment_recall", {"1", "5", "10"}),
        ("video_recall", {"1", "5", "10"}),
        ("r1_iou", {"0.3", "0.5", "0.7"}),
        ("latency_ms", {"p50", "p95"}),
    ):
        assert set(got[group]) == keys
        assert all(isinstance(value, float) for value in got[group].values())
    assert {"mrr", "miou", "median_span_seconds"} <= set(got)
    assert got["moment_recall"]["1"] == 1.0
    assert got["queries"] == 2  # the generic one does not count


def test_files_go_by_relative_paths_too(capsys, talks, questions, monkeypatch):
    monkeypatch.chdir(talks.parent)
    status, printed, err = evaluate(capsys, Path(talks.name), questions)
    assert status == 0, err
    assert printed[-1]["moment_recall"]["1"] == 1.0


def test_nothing_of_the_questions_enters_the_index(capsys, tmp_path, talks, questions):
    kept = tmp_path / "kept"
    assert evaluate(capsys, talks, questions, "--library", kept)[0] == 0
    with opened(kept) as library:
        points = list(scroll(library.store, where(kind=("evidence", "passage"))))
        texts = " ".join(point.payload["text"] for point in points)
        assert "Fresnel invented" in texts
        assert "Zyzzyva" not in str([point.payload for point in scroll_all(library)])


@contextmanager
def opened(folder: Path):
    store = EdgeStore(folder, create=False)
    try:
        yield Library(store)
    finally:
        store.close()


def scroll_all(library: Library):
    kinds = ("video", "generation", "evidence", "passage", "text_stats", "segment", "embedding")
    for kind in kinds:
        yield from scroll(library.store, where(kind=kind))


def test_a_kept_library_is_used_again_and_follows_the_transcripts(
    capsys, tmp_path, talks, questions
):
    kept = tmp_path / "kept"

    def made() -> dict[str, str]:
        with opened(kept) as library:
            return {g.video_id: g.fingerprint for g in library.generations()}

    first = evaluate(capsys, talks, questions, "--library", kept)[1][-1]
    before = made()
    again = evaluate(capsys, talks, questions, "--library", kept)[1][-1]
    assert made() == before
    assert again["moment_recall"] == first["moment_recall"]

    changed = json.loads(json.dumps(TALKS))
    changed[1]["sentences"][1][2] = "Nobody knows who made it."
    lines(talks, changed)
    worse = evaluate(capsys, talks, questions, "--library", kept)[1][-1]
    assert len(made().items() - before.items()) == 1
    assert worse["moment_recall"]["1"] == 0.5


def test_a_library_with_other_videos_is_refused(capsys, tmp_path, talks, questions):
    kept = tmp_path / "kept"
    evaluate(capsys, talks, questions, "--library", kept)
    fewer = lines(tmp_path / "fewer.jsonl", TALKS[1:])
    one = lines(tmp_path / "one.jsonl", QUESTIONS[:1])
    status, _, told = evaluate(capsys, fewer, one, "--library", kept)
    assert status == 2 and "1 other video" in told


def test_what_each_question_got_can_be_compared_with_later(capsys, tmp_path, talks, questions):
    file = tmp_path / "results.jsonl"
    evaluate(capsys, talks, questions, "--per-query", file)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["qid"] for record in records] == ["1", "2"]
    assert records[0]["results"][0]["vid"] == "lamp" and records[0]["rank"] == 1
    got = evaluate(capsys, talks, questions, "--against", file)[1][-1]["against"]
    assert got["queries"] == 2 and got["difference"]["mrr"] == 0.0


def test_translations_are_asked_too(capsys, talks, questions):
    got = evaluate(capsys, talks, questions, "--translations")[1][-1]
    german = got["translations"]["german"]
    assert german["moment_recall"]["1"] == 1.0  # the name is found
    assert german["at_floor"]["queries_without_results"] in (0, 1)


def test_what_a_floor_hides_is_told_of_every_language(capsys, talks, questions):
    german = evaluate(capsys, talks, questions, "--translations", "--set", "retrieve.floor=1.0")[1][
        -1
    ]["translations"]["german"]
    assert german["moment_recall"]["1"] == 1.0
    assert german["at_floor"]["moment_recall"]["1"] == 0.0
    assert german["at_floor"]["queries_without_results"] == 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"vid": "another"}, "no transcript of 1 video that questions are about, such as"),
        ({"relevant_windows": [[1]]}, "question 1"),
        ({"generic": True}, "generic"),
    ],
)
def test_wrong_questions_are_told_plainly(capsys, tmp_path, talks, wrong, named):
    queries = lines(tmp_path / "q.jsonl", [QUESTIONS[0] | wrong])
    status, printed, told = evaluate(capsys, talks, queries)
    assert (status, printed) == (2, []) and named in told and "Traceback" not in told


def test_a_question_about_a_video_without_a_transcript_counts_as_not_found(capsys, tmp_path, talks):
    queries = lines(tmp_path / "q.jsonl", [QUESTIONS[0], QUESTIONS[1] | {"vid": "another"}])
    status, printed, told = evaluate(capsys, talks, queries, "--unanswerable", "video")
    assert status == 0 and "“another”; they count as not found" in told
    assert printed[-1]["moment_recall"]["10"] == printed[-1]["video_recall"]["10"] == 0.5
    assert printed[-1]["unanswerable"]["video"]["queries"] == 1


def test_an_empty_question_counts_as_not_found(capsys, tmp_path, talks):
    queries = lines(tmp_path / "q.jsonl", [QUESTIONS[0], QUESTIONS[1] | {"query": " "}])
    status, printed, told = evaluate(capsys, talks, queries)
    assert status == 0 and "1 question without a word" in told
    assert printed[-1]["moment_recall"]["10"] == 0.5 and printed[-1]["queries"] == 2


def test_a_question_that_reads_like_a_filter_counts_as_not_found(capsys, tmp_path, talks):
    odd = QUESTIONS[1] | {"query": "what does video:nosuch mean"}
    status, printed, _ = evaluate(capsys, talks, lines(tmp_path / "q.jsonl", [QUESTIONS[0], odd]))
    assert status == 0 and printed[-1]["moment_recall"]["10"] == 0.5


def test_results_that_cannot_be_written_cost_no_figures(capsys, talks, questions):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    status, printed, err = evaluate(capsys, talks, questions, "--per-query", "/dev/full")
    assert status == 1 and "/dev/full cannot be written" in err
    assert printed[-1]["moment_recall"]["1"] == 1.0


def test_two_questions_of_one_id_are_two_questions(capsys, tmp_path, talks):
    queries = lines(tmp_path / "q.jsonl", [QUESTIONS[0], QUESTIONS[1] | {"qid": "1"}])
    results = tmp_path / "r.jsonl"
    evaluate(capsys, talks, queries, "--per-query", results)
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    assert [one["qid"] for one in kept] == ["1", "1 (2)"]
    got = evaluate(capsys, talks, queries, "--against", results)[1][-1]
    assert got["against"]["queries"] == 2


# --- What has no answer ---------------------------------------------------------------------


def test_a_hidden_video_and_a_hidden_span_are_not_found(films):
    moon = Question("1", "the moon", "Tides", ((19.0, 27.0),))
    ids = {video.title: video.id for video in films.videos()}

    def found(view: Library) -> list[tuple[str, float, float]]:
        moments = Retriever(view).search("moon water lighthouse").moments
        return [(m.title, m.start_seconds, m.end_seconds) for m in moments]

    everything = found(films)
    assert {title for title, _, _ in everything} == {"Tides", "Lighthouse"}
    assert any(title == "Tides" and overlaps((s, e), (19, 27)) for title, s, e in everything)
    left = found(without_video(films, moon, ids))
    assert {title for title, _, _ in left} == {"Lighthouse"}
    # Tides has one passage, which overlaps the span; another video's at those times stays.
    assert found(without_span(films, moon, ids)) == left


def test_a_hidden_span_leaves_the_rest_of_its_video(library):
    lines = [(at, at + 4.0, f"The moon and stone {at}.") for at in range(0, 400, 40)]
    video = put_video(library, "Stones", 400.0)
    put_channel(library, video, "speech", lines)
    asked = Question("1", "moon stone", video.id, ((80.0, 84.0), (200.0, 204.0)))
    view = without_span(library, asked, {video.id: video.id})
    found = Retriever(view).search("moon stone").moments
    hidden = [(m.start_seconds, m.end_seconds) for m in found]
    assert len(found) == 8 and not any(overlaps(s, w) for s in hidden for w in asked.windows)


def test_calibration_counts_what_the_floor_lets_through(films):
    questions = [
        Question("1", "who wound the clockwork", "Lighthouse", ((12.0, 15.0),)),
        Question("2", "xylophone", "Tides", ((0.0, 3.0),)),
    ]
    other = [Question("3", "gradient descent", ""), Question("4", "moon landing", "")]
    ids = {video.title: video.id for video in films.videos()}
    asked = []
    got = calibration(
        Retriever(films), questions, ids, other=other, removals=("video", "span"),
        done=lambda: asked.append(1),
    )  # fmt: skip
    assert len(asked) == 2 + 2 + 2 + 2
    assert got["answerable"] == {"queries": 2, "misses": 0.5}
    assert got["other"]["false_alarms"] == 0.5  # the moon is in it
    assert got["video"]["false_alarms"] == got["span"]["false_alarms"] == 0.0
    assert got["video"]["roc_area"] == 0.75  # .5 for the pairs of two that found nothing


def test_unanswerable_questions_are_reported(capsys, tmp_path, talks, questions):
    other = lines(tmp_path / "other.jsonl", [QUESTIONS[0] | {"query": "gradient descent"}])
    got = evaluate(
        capsys, talks, questions, "--unanswerable", f"other:{other}", "--unanswerable", "video"
    )[1][-1]["unanswerable"]
    assert set(got) == {"answerable", "other", "video"}
    assert got["other"] == {"queries": 1, "roc_area": 1.0, "false_alarms": 0.0}
    status, _, told = evaluate(capsys, talks, questions, "--unanswerable", "nothing")
    assert status == 2 and "other:FILE (once), video, span" in told


# --- A library of one's own -----------------------------------------------------------------


@pytest.fixture
def own(tmp_path) -> Path:
    library = films_at(tmp_path / "library")
    library.store.close()
    return tmp_path / "library"


def evaluate_own(capsys, own: Path, queries: Path, *more: object):
    return run(capsys, "eval", "library", "--library", own, "--queries", queries, "--json", *more)


def test_a_video_is_found_by_whatever_it_is_called(capsys, tmp_path, own):
    with opened(own) as library:
        id = library.find("Lighthouse").id
    names = [id, "/films/Lighthouse.mp4", "Lighthouse.mp4", "lighthouse", "clips/a/Lighthouse.mkv"]
    records = [
        {"query": "who wound the clockwork", "vid": name, "relevant_windows": [["0:12", "0:15"]]}
        for name in names
    ]
    status, printed, told = evaluate_own(capsys, own, lines(tmp_path / "q.jsonl", records))
    assert (status, told) == (0, "")
    assert printed[-1]["moment_recall"]["1"] == 1.0 and printed[-1]["queries"] == len(names)


def test_what_is_not_in_the_library_is_left_out_and_counted(capsys, tmp_path, own):
    here = {"query": "clockwork", "vid": "Lighthouse", "relevant_windows": [[12, 15]]}
    records = [here, here | {"vid": "Light"}]  # part of a title is no name
    status, printed, told = evaluate_own(capsys, own, lines(tmp_path / "q.jsonl", records))
    assert status == 0 and printed[-1]["queries"] == 1
    assert "Left out 1 question about 1 video" in told
    status, printed, told = evaluate_own(capsys, own, lines(tmp_path / "q.jsonl", records[1:]))
    assert (status, printed) == (2, []) and "about 1 video that the library does not hold" in told


def test_spans_after_the_end_of_the_video_are_told(capsys, tmp_path, own):
    here = {"query": "clockwork", "vid": "Lighthouse", "relevant_windows": [[12, 15]]}
    records = [here, here | {"query": "the moon", "relevant_windows": [["2:00:00", "2:00:10"]]}]
    status, _, told = evaluate_own(capsys, own, lines(tmp_path / "q.jsonl", records))
    assert status == 0 and "of 1 question begin after the end" in told
    assert "“the moon” at 2:00:00" in told


def test_categories_of_a_benchmark_are_reported_apart(capsys, tmp_path, own):
    choice = {"id": 1, "task": "EPM", "video": "COIN/Tides.mp4", "question": "What pulls at the"
              " water?", "options": ["moon", "sun"], "gt": 0, "realtime": 21}  # fmt: skip
    step = {"id": 2, "task": "SSR", "video": "COIN/Tides.mp4", "all_steps": ["the tide rises"],
            "start_time": [0], "end_time": [3]}  # fmt: skip
    queries = tmp_path / "ovo.json"
    queries.write_text(json.dumps([choice, step]))
    got = evaluate_own(capsys, own, queries)[1][-1]
    assert got["categories"]["SSR"]["moment_recall"]["1"] == 1.0
    assert "moment_recall" not in got["categories"]["EPM"]  # its span is not known
    assert got["categories"]["EPM"]["video_recall"]["1"] == 1.0


def test_the_table_for_people_says_the_same(capsys, tmp_path, talks, questions):
    results = tmp_path / "r.jsonl"
    assert evaluate(capsys, talks, questions, "--per-query", results)[0] == 0
    arguments = ["eval", "transcripts", "--transcripts", str(talks), "--queries", str(questions)]
    arguments += ["--against", str(results), "--translations", "--unanswerable", "span"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "moment recall @1 @5 @10             1.000 [1.000, 1.000]" in shown
    for part in (
        "on the 2 questions of both",
        "in german (1)",
        "0 show nothing",
        "span hidden (2)",
        "misses (2",
    ):
        assert part in shown


def test_the_scored_profile_goes_by_meaning(tmp_path, talks, questions):
    """As it is typed, from the weights in the development package."""
    import minilm

    minilm.minilm_files(tmp_path / "prepared")  # skips where the package is not installed
    lines(questions, [QUESTIONS[1] | {"query": "gravity of a celestial body moves the sea"}])
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "eval", "transcripts", "--transcripts", talks,
         "--queries", questions, "--profile", "eval-minilm", "--json",
         "--set", f"models.dir={tmp_path / 'models'}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["moment_recall"]["1"] == 1.0
    assert "Preparing all-MiniLM-L6-v2" in done.stderr
