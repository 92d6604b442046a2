"""The official metrics of TVR (Lei et al. 2020, arXiv 2001.09099), written anew.

Recall of the first 1, 5, 10 and 100 predictions, in the order of the list, at IoUs of .5 and .7:
VCMR over moments of the whole corpus, SVMR over those predictions that are in the right video, VR
over videos. Each also by what a query leans on: the pictures (v), the text of the subtitles (t), or
both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from index.errors import UsageError
from rag.evaluate.qvhighlights import by_id, check_same, ious, percent

TASKS = ("VCMR", "SVMR", "VR")
RANKS = (1, 5, 10, 100)
IOUS = (0.5, 0.7)
TYPES = ("v", "t", "vt")

Record = Mapping[str, Any]


def evaluate(submission: Record, annotations: Sequence[Record]) -> dict[str, Any]:
    """All figures in per cent, by the official names, rounded to two decimals.

    submission: `{video2idx: {name: index}, VCMR: [{desc_id, predictions: [[video index, start, end,
    ...]]}], ...}` with any of the three tasks. annotations: as released. Raises UsageError where
    the queries of the two differ, or there is no task.
    """
    tasks = [task for task in TASKS if task in submission]
    if not tasks or "video2idx" not in submission:
        raise UsageError(f"Predictions for TVR hold video2idx and one of {', '.join(TASKS)}.")
    true = by_id("annotation", annotations, "desc_id")
    types = np.array([record["type"] for record in true.values()])
    figures, by_type = {}, {}
    for task in tasks:
        predicted = by_id("prediction", submission[task], "desc_id")
        check_same(predicted.keys(), true.keys())
        found = _found(task, predicted, true, submission["video2idx"])
        figures[task] = {name: percent(hits.mean()) for name, hits in found.items()}
        own = {
            f"{kind}-{name}": percent(hits[types == kind].mean()) if (types == kind).any() else 0.0
            for kind in TYPES
            for name, hits in found.items()
        }
        shares = " ".join(f"{kind} {percent((types == kind).mean())}" for kind in TYPES)
        by_type[f"{task}_by_type"] = own | {"desc_type_ratio": shares}
    return figures | by_type


def _found(
    task: str,
    predicted: Mapping[Any, Record],
    true: Mapping[Any, Record],
    numbers: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Name of a figure -> whether each query is found by it, bool of shape (queries,)."""
    names = [f"r{k}" for k in RANKS]
    if task != "VR":
        names = [f"{least}-{name}" for least in IOUS for name in names]
    rows = []
    for name, record in true.items():
        given = [row[:3] for row in predicted[name]["predictions"][: max(RANKS)]]
        table = np.array(given, np.float32).reshape(-1, 3)  # as the official code reads them
        right = table[:, 0] == numbers[record["vid_name"]]
        if task == "VR":
            rows.append([right[:k].any() for k in RANKS])
            continue
        if task == "SVMR":
            table, right = table[right], right[right]
        fits = ious(table[:, 1:], np.array([record["ts"]], np.float32))[:, 0] * right
        rows.append([(fits[:k] >= least).any() for least in IOUS for k in RANKS])
    return dict(zip(names, np.array(rows, bool).T, strict=True))
