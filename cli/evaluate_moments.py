"""`longtake eval moments`: predictions, by whomever, against a benchmark's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cli.render import data_line, print_json
from index.errors import UsageError
from rag.evaluate import charades, qvhighlights, tvr
from rag.evaluate.datasets import read_json_lines, read_questions, read_text


def _qvhighlights(annotations: Path, predictions: Path) -> dict[str, Any]:
    return qvhighlights.evaluate(read_json_lines(predictions), read_json_lines(annotations))


def _charades(annotations: Path, predictions: Path) -> dict[str, Any]:
    return charades.evaluate(read_json_lines(predictions), read_questions(annotations))


def _tvr(annotations: Path, predictions: Path) -> dict[str, Any]:
    try:
        submission = json.loads(read_text(predictions))
    except ValueError as error:
        raise UsageError(f"{predictions} is no valid JSON ({error}).") from error
    return tvr.evaluate(submission, read_json_lines(annotations))


METRICS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = {
    "qvhighlights": _qvhighlights,
    "charades": _charades,
    "tvr": _tvr,
}


def run_moments(annotations: Path, predictions: Path, metric: str, *, as_json: bool) -> int:
    """Prints the figures by their official names; returns the exit status."""
    if metric not in METRICS:
        raise UsageError(f"No metric “{metric}”. Known: {', '.join(METRICS)}.")
    try:
        figures = METRICS[metric](annotations, predictions)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{predictions} or {annotations} is not in the layout of {metric}: {what}. "
            "docs/evaluation.md has it."
        ) from error
    if as_json:
        print_json(figures)
    else:
        for name, value in _flat(figures):
            data_line(f"{name:<32}{value}")
    return 0


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield prefix + name, value
