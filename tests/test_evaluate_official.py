"""Official metrics: equal to the official figures, and to what can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips import DATA

from cli.main import main
from index.errors import UsageError
from rag.evaluate import charades, qvhighlights, tvr
from rag.evaluate.datasets import Question, read_json_lines

pytestmark = pytest.mark.usefixtures("own_places")


def published(name: str) -> Path:
    path = DATA / "benchmarks" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def flat(figures: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in figures.items():
        found |= (
            flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
        )
    return found


# --- QVHighlights ---------------------------------------------------------------------------


def test_every_figure_of_the_published_sample(capsys):
    """All 104 of them, to the two decimals that are published."""
    folder = published("qvhighlights")
    arguments = ["eval", "moments", "--metric", "qvhighlights", "--json"]
    arguments += ["--annotations", str(folder / "highlight_val_release.jsonl")]
    arguments += ["--predictions", str(folder / "sample_val_preds.jsonl")]
    assert main(arguments) == 0
    got = json.loads(capsys.readouterr().out)
    want = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    assert flat(got) == flat(want) and len(flat(want)) == 104


def annotated(qid: int = 1, **more) -> dict:
    return {
        "qid": qid,
        "duration": 10,
        "relevant_windows": [[0, 4], [6, 10]],
        "relevant_clip_ids": [0, 1],
        "saliency_scores": [[4, 2, 0], [2, 2, 2]],
    } | more


def predicted(windows, qid: int = 1, saliency=(0.9, 0.1, 0.0, 0.0, 0.0)) -> dict:
    return {"qid": qid, "pred_relevant_windows": windows, "pred_saliency_scores": list(saliency)}


def moments(windows, **more) -> dict:
    return qvhighlights.evaluate([predicted(windows)], [annotated(**more)])["full"]


def test_r1_takes_the_order_of_the_list_and_average_precision_the_scores():
    got = moments([[0, 1, 0.1], [0, 4, 0.9]])
    assert got["MR-R1"]["0.5"] == 0.0
    assert got["MR-mAP"]["0.5"] == 50.0  # one of two windows, by the first in order of scores


def test_a_true_window_is_found_once():
    assert moments([[0, 4, 0.9], [0, 4, 0.8], [6, 10, 0.7]])["MR-mAP"]["0.5"] == pytest.approx(
        100 * (1 + 2 / 3) / 2, abs=0.01
    )


def test_the_eleventh_window_is_not_seen():
    windows = [[4, 5, 1.0]] * 10 + [[0, 4, 2.0]]
    assert moments(windows)["MR-mAP"]["0.5"] == 0.0


def test_lengths_judge_their_own_windows_alone():
    full = qvhighlights.evaluate(
        [predicted([[20, 60, 0.9]])], [annotated(relevant_windows=[[0, 4], [20, 60]])]
    )
    assert full["long"]["MR-R1"]["0.95"] == 100.0
    assert full["short"]["MR-R1"]["0.5"] == 0.0
    assert full["middle"]["MR-R1"]["0.5"] == 0.0  # there is none


def test_a_query_without_a_window_is_missed():
    assert moments([]) == moments([[4, 5, 0.5]])


def test_a_highlight_is_good_where_any_annotator_says_so():
    got = qvhighlights.evaluate([predicted([[0, 4, 1]])], [annotated()])
    assert got["HL-min-VeryGood"]["HL-Hit1"] == 100.0
    # Of the three annotators one found a very good clip; it is ranked first.
    assert got["HL-min-VeryGood"]["HL-mAP"] == pytest.approx(100 / 3, abs=0.01)


def test_clips_of_one_score_stand_together():
    got = qvhighlights.evaluate(
        [predicted([[0, 4, 1]], saliency=(1.0, 1.0, 1.0, 1.0))], [annotated()]
    )
    # Four tied, a fifth that was not given is taken as 0; the annotators find 2, 2 and 1 fair.
    assert got["HL-min-Fair"]["HL-mAP"] == pytest.approx(100 * (2 + 2 + 1) / 4 / 3, abs=0.01)


def test_what_one_prediction_has_all_must_have():
    both, less = predicted([[0, 4, 1]]), predicted([[0, 4, 1]], 2)
    for name in ("pred_relevant_windows", "pred_saliency_scores"):
        lacking = {key: value for key, value in less.items() if key != name}
        for predictions in ([both, lacking], [lacking, both]):
            with pytest.raises(KeyError, match=name):
                qvhighlights.evaluate(predictions, [annotated(), annotated(2)])


def test_other_queries_than_those_annotated_are_refused():
    with pytest.raises(UsageError, match="1 of 2 queries have no prediction"):
        qvhighlights.evaluate([predicted([])], [annotated(), annotated(2)])
    with pytest.raises(UsageError, match="not annotated"):
        qvhighlights.evaluate([predicted([]), predicted([], 2)], [annotated()])
    with pytest.raises(UsageError, match="Two of the predictions"):
        qvhighlights.evaluate([predicted([]), predicted([])], [annotated()])


# --- Charades-STA, ActivityNet --------------------------------------------------------------


def test_recall_and_mean_iou_of_spans():
    questions = [Question(str(n), "", "v", ((0.0, 10.0),)) for n in range(4)]
    given = [[[0, 10]], [[0, 4], [0, 8]], [[20, 30]], []]
    got = charades.evaluate(
        [{"qid": n, "pred_relevant_windows": spans} for n, spans in enumerate(given)], questions
    )
    assert got["R1@0.3"] == 50.0 and got["R1@0.5"] == got["R1@0.7"] == 25.0
    assert got["R5@0.3"] == got["R5@0.5"] == got["R5@0.7"] == 50.0
    assert got["mIoU"] == pytest.approx(100 * (1 + 0.4) / 4)


def test_predicting_the_truth_scores_all_there_is(tmp_path, capsys):
    path = published("charades_sta/charades_test_release.jsonl")
    predictions = tmp_path / "p.jsonl"
    with predictions.open("w") as file:
        for record in read_json_lines(path):
            line = {"qid": record["qid"], "pred_relevant_windows": record["relevant_windows"]}
            file.write(json.dumps(line) + "\n")
    arguments = ["eval", "moments", "--metric", "charades", "--json", "--annotations", str(path)]
    assert main([*arguments, "--predictions", str(predictions)]) == 0
    assert set(json.loads(capsys.readouterr().out).values()) == {100.0}


# --- TVR ------------------------------------------------------------------------------------

VIDEOS = {"a": 7, "b": 8}
TRUE = [
    {"desc_id": 1, "vid_name": "a", "ts": [0, 10], "type": "v"},
    {"desc_id": 2, "vid_name": "b", "ts": [0, 10], "type": "vt"},
]


def submitted(*predictions) -> dict:
    listed = [{"desc_id": n, "predictions": p} for n, p in enumerate(predictions, 1)]
    return {"video2idx": VIDEOS, "VCMR": listed, "SVMR": listed, "VR": listed}


def test_moments_count_in_the_right_video_alone():
    got = tvr.evaluate(
        submitted([[8, 0, 10, 9.0], [7, 0, 6, 8.0]], [[8, 20, 30, 1.0]] * 10 + [[8, 0, 10, 0]]),
        TRUE,
    )
    assert got["VCMR"]["0.5-r1"] == 0.0  # the first is in another video
    assert got["VCMR"]["0.5-r5"] == 50.0 and got["VCMR"]["0.7-r5"] == 0.0  # an IoU of .6
    assert got["VCMR"]["0.7-r10"] == 0.0 and got["VCMR"]["0.7-r100"] == 50.0
    assert got["SVMR"]["0.5-r1"] == 50.0  # what is in other videos does not count there
    assert got["VR"] == {"r1": 50.0, "r5": 100.0, "r10": 100.0, "r100": 100.0}
    assert got["VCMR_by_type"]["v-0.5-r5"] == 100.0
    assert got["VCMR_by_type"]["vt-0.5-r5"] == 0.0
    assert got["VCMR_by_type"]["desc_type_ratio"] == "v 50.0 t 0.0 vt 50.0"


def test_the_hundred_and_first_is_not_seen():
    late = [[8, 0, 1, 0.0]] * 100 + [[7, 0, 10, 0.0]]
    assert set(tvr.evaluate(submitted(late, late), TRUE[:2])["VCMR"].values()) == {0.0}


def test_names_and_shares_are_those_of_the_published_sample():
    """Its predictions are not at hand; what can be told without them is."""
    annotations = read_json_lines(published("tvr/tvr_val_release.jsonl"))
    want = json.loads(published("tvr/sample_val_predictions_metrics_raw.json").read_text())
    numbers = json.loads(published("tvr/tvr_video2dur_idx.json").read_text())["val"]
    numbers = {name: number for name, (_, number) in numbers.items()}
    random = np.random.default_rng(0)
    indices = list(numbers.values())
    guesses = [
        {"desc_id": one["desc_id"], "predictions": [[int(random.choice(indices)), 0, 20, 1.0]]}
        for one in annotations
    ]
    got = tvr.evaluate({"video2idx": numbers, "VCMR": guesses, "VR": guesses}, annotations)
    assert flat(got).keys() == flat(want).keys()
    ratio = "VCMR_by_type desc_type_ratio"
    assert flat(got)[ratio] == flat(want)[ratio]


# --- The command ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "predictions", "named"),
    [
        ("bleu", "{}", "No metric “bleu”. Known: qvhighlights"),
        ("qvhighlights", "{}", "prediction number 1 has no qid"),
        ("qvhighlights", '{"qid": 1, "pred_relevant_windows": [[1]]}', "not in the layout"),
        ("charades", '{"qid": 1}', "'pred_relevant_windows' is missing"),
        ("tvr", "{}", "video2idx"),
        ("tvr", "[", "no valid JSON"),
    ],
)
def test_bad_input_is_told_plainly(tmp_path, capsys, metric, predictions, named):
    annotations = tmp_path / "a.jsonl"
    record = annotated(query="q", vid="v") if metric != "tvr" else TRUE[0]
    annotations.write_text(json.dumps(record))
    (tmp_path / "p.jsonl").write_text(predictions)
    arguments = ["eval", "moments", "--annotations", str(annotations), "--metric", metric]
    assert main([*arguments, "--predictions", str(tmp_path / "p.jsonl")]) == 2
    told = capsys.readouterr().err
    assert named in told and "Traceback" not in told
