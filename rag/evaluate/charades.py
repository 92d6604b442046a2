"""The metrics of Charades-STA (Gao et al. 2017, arXiv 1705.02101) and ActivityNet Captions: recall
of the first one and the first five predicted spans at IoUs of .3, .5 and .7, and the mean IoU of
the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag.evaluate.datasets import Question
from rag.evaluate.metrics import IOUS
from rag.evaluate.qvhighlights import by_id, check_same, ious, percent

RANKS = (1, 5)


def evaluate(
    predictions: Sequence[Mapping[str, Any]], questions: Sequence[Question]
) -> dict[str, float]:
    """In per cent, rounded to two decimals. A query without a predicted span has an IoU of 0.

    predictions: `{qid, pred_relevant_windows: [[start, end, ...]]}`, best first. Raises UsageError
    where they are not for these questions.
    """
    predicted = {
        str(qid): record for qid, record in by_id("prediction", predictions, "qid").items()
    }
    check_same(predicted.keys(), {question.id for question in questions})
    best = np.zeros((len(questions), len(RANKS)))
    for at, question in enumerate(questions):
        given = predicted[question.id]["pred_relevant_windows"][: max(RANKS)]
        if len(given):
            spans = np.array([window[:2] for window in given], float)
            fits = ious(spans, np.array(question.windows, float)).max(axis=1)
            best[at] = [fits[:k].max() for k in RANKS]
    recalls = {
        f"R{k}@{least}": percent((best[:, column] >= least).mean())
        for column, k in enumerate(RANKS)
        for least in IOUS
    }
    return recalls | {"mIoU": percent(best[:, 0].mean())}
