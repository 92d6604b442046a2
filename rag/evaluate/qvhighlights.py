"""The official metrics of QVHighlights (Lei et al. 2021, arXiv 2107.09609), written anew.

Moment retrieval: R1 of the first window (in the order of the list) against the true window that it
fits best; average precision over the first ten windows, by their scores, at IoUs from .5 to .95.
Both are also given for queries with true windows that are short (up to 10 s), middle (up to 30 s)
and long, counting those windows alone. Highlights: whether the clip with the highest predicted
saliency is good for any of three annotators (Hit1), and average precision over the clips, averaged
over the annotators. A clip is two seconds.

Where a query has no predicted window it counts as missed; the official code leaves it out of the
average precision, and fails on it elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from index.errors import UsageError

IOUS = np.round(np.linspace(0.5, 0.95, 10), 2)
MOST_WINDOWS = 10
CLIP_SECONDS = 2
LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": None}
"""Name -> seconds: more than the first, at most the second."""

SALIENCIES = {"Fair": 2, "Good": 3, "VeryGood": 4}

Record = Mapping[str, Any]


def evaluate(predictions: Sequence[Record], annotations: Sequence[Record]) -> dict[str, Any]:
    """All figures in per cent, by the official names, rounded to two decimals.

    predictions: `{qid, pred_relevant_windows: [[start, end, score]], pred_saliency_scores}`, of
    which either may be missing everywhere. annotations: as released. Raises UsageError where the
    queries of the two differ.
    """
    predicted = by_id("prediction", predictions, "qid")
    true = by_id("annotation", annotations, "qid")
    check_same(predicted.keys(), true.keys())
    given = {key for record in predictions for key in record}
    found: dict[str, Any] = {}
    brief: dict[str, float] = {}
    if "pred_relevant_windows" in given:
        for name, lengths in LENGTHS.items():
            found[name] = _moments(predicted, true, lengths)
        brief |= _brief_moments(found)
    if "pred_saliency_scores" in given:
        for name, least in SALIENCIES.items():
            here = found[f"HL-min-{name}"] = _highlights(predicted, true, least)
            brief |= {f"HL-min-{name}-{key[3:]}": value for key, value in here.items()}
    return {"brief": brief, **dict(sorted(found.items()))}


def by_id(what: str, records: Sequence[Record], key: str) -> dict[Any, Record]:
    """Raises UsageError where one of them, each a `what`, has no id, or the id of another."""
    found = {}
    for number, record in enumerate(records, 1):
        if key not in record:
            raise UsageError(f"The {what} number {number} has no {key}.")
        if record[key] in found:
            raise UsageError(f"Two of the {what}s have the {key} {record[key]}.")
        found[record[key]] = record
    return found


def check_same(predicted: Any, true: Any) -> None:
    """Raises UsageError where the ids of predictions and annotations differ."""
    if missing := true - predicted:
        raise UsageError(
            f"{len(missing)} of {len(true)} queries have no prediction (as {min(missing)}): a "
            "figure over the others could not be compared."
        )
    if unknown := predicted - true:
        raise UsageError(
            f"{len(unknown)} predictions are for queries that are not annotated (as "
            f"{min(unknown)})."
        )


def percent(share: float) -> float:
    return round(100 * float(share), 2)


def ious(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of each with each: float64 of shapes (n, 2) and (m, 2) to (n, m)."""
    starts = np.maximum(one[:, None, 0], other[None, :, 0])
    ends = np.minimum(one[:, None, 1], other[None, :, 1])
    shared = np.clip(ends - starts, 0, None)
    lengths = (one[:, 1] - one[:, 0])[:, None] + (other[:, 1] - other[:, 0])[None, :]
    union = lengths - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _moments(
    predicted: Mapping[Any, Record], true: Mapping[Any, Record], lengths: tuple[int, int] | None
) -> dict[str, dict[str, float]]:
    precisions, firsts = [], []
    for qid, record in true.items():
        windows = np.array(record["relevant_windows"], float).reshape(-1, 2)
        if lengths is not None:
            seconds = windows[:, 1] - windows[:, 0]
            windows = windows[(seconds > lengths[0]) & (seconds <= lengths[1])]
            if not len(windows):
                continue
        given = predicted[qid]["pred_relevant_windows"][:MOST_WINDOWS]
        if not given:
            precisions.append(np.zeros(len(IOUS)))
            firsts.append(0.0)
            continue
        given = np.array(given, float)
        fits = ious(given[:, :2], windows)
        firsts.append(fits[0].max())
        order = np.argsort(-given[:, 2], kind="stable")
        precisions.append([_average_precision(fits[order], least) for least in IOUS])
    at = [str(float(least)) for least in IOUS]
    mean = np.mean(precisions, axis=0) if precisions else np.zeros(len(IOUS))
    reached = [np.mean(np.array(firsts) >= least) if firsts else 0.0 for least in IOUS]
    return {
        "MR-mAP": dict(zip(at, map(percent, mean), strict=True))
        | {"average": percent(mean.mean())},
        "MR-R1": dict(zip(at, map(percent, reached), strict=True)),
    }


def _average_precision(fits: np.ndarray, least: float) -> float:
    """Interpolated, as ActivityNet's detection challenge has it. fits: IoU of each prediction, best
    first, with each true window; each of these is found once, by the first that fits it."""
    free = np.ones(fits.shape[1], bool)
    hits = np.zeros(len(fits), bool)
    for at, row in enumerate(fits):
        candidates = np.flatnonzero(free & (row >= least))
        if len(candidates):
            free[candidates[np.argmax(row[candidates])]] = False
            hits[at] = True
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(fits) + 1)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest_from_here[hits].sum() / fits.shape[1])


def _brief_moments(found: Mapping[str, Any]) -> dict[str, float]:
    full = found["full"]
    brief = {f"MR-full-R1@{least}": full["MR-R1"][least] for least in ("0.5", "0.7")}
    brief["MR-full-mAP"] = full["MR-mAP"]["average"]
    brief |= {f"MR-full-mAP@{least}": full["MR-mAP"][least] for least in ("0.5", "0.75")}
    return brief | {
        f"MR-{name}-mAP": found[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")
    }


def _highlights(
    predicted: Mapping[Any, Record], true: Mapping[Any, Record], least: int
) -> dict[str, float]:
    precisions, hits = [], []
    for qid, record in true.items():
        good = _saliency(record) >= least
        scores = np.array(predicted[qid]["pred_saliency_scores"], float)
        best = int(np.argmax(scores)) if len(scores) else len(good)
        hits.append(best < len(good) and bool(good[best].any()))
        scores = np.pad(scores[: len(good)], (0, max(0, len(good) - len(scores))))
        precisions += [_clip_precision(good[:, who], scores) for who in range(good.shape[1])]
    return {"HL-mAP": percent(np.mean(precisions)), "HL-Hit1": percent(np.mean(hits))}


def _saliency(record: Record) -> np.ndarray:
    """int64 of shape (clips, annotators), 0..4; 0 for clips that are not relevant."""
    given = np.array(record["saliency_scores"]).reshape(-1, 3)
    saliency = np.zeros((int(record["duration"] / CLIP_SECONDS), 3), int)
    saliency[np.array(record["relevant_clip_ids"], int)] = given
    return saliency


def _clip_precision(good: np.ndarray, scores: np.ndarray) -> float:
    """Mean interpolated precision over the recalls that are reached. good: bool of shape (clips,);
    scores: as many. Clips of one score stand or fall together."""
    if good.all() or not good.any():
        return float(good.all())
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(good[order])[last_of_score]
    precision = found / (last_of_score + 1)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    new = np.diff(found, prepend=0) > 0
    return float(highest_from_here[new].mean())
