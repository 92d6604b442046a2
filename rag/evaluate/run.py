"""Questions through the ordinary search, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from index.errors import UsageError, VideoNotFoundError
from index.schema import Moment
from rag.evaluate.datasets import Question, read_json_lines
from rag.evaluate.metrics import RANKS, Judged, Result
from rag.retrieve import Retriever, SearchResult


def ask(
    retriever: Retriever,
    questions: Iterable[Question],
    names: Mapping[str, str],
    *,
    misses: bool = False,
    done: Callable[[], None] = lambda: None,
) -> list[Judged]:
    """Searches the whole library for each question. misses: what lies below the floors counts.

    names: the library's video id -> what the questions call it; others keep their id. done: called
    after each.
    """
    judged = []
    for question in questions:
        started = time.perf_counter()
        found = search(retriever, question.text, misses=misses)
        latency_seconds = time.perf_counter() - started
        results = tuple(_result(moment, names) for moment in found.moments)
        judged.append(
            Judged(question.id, question.video, question.windows, results, latency_seconds)
        )
        done()
    return judged


def search(
    retriever: Retriever, text: str, *, explain: bool = False, misses: bool = False
) -> SearchResult:
    """As deep as recall is measured; nothing for text without a word to search for, or in which a
    colon makes a filter that means nothing here."""
    try:
        return retriever.search(text, limit=max(RANKS), explain=explain, misses=misses)
    except (UsageError, VideoNotFoundError):
        return SearchResult(())


def _result(moment: Moment, names: Mapping[str, str]) -> Result:
    name = names.get(moment.video_id, moment.video_id)
    return Result(name, moment.start_seconds, moment.end_seconds, moment.score)


def as_record(judged: Judged, text: str) -> dict[str, Any]:
    """What is kept of one question in the file of results."""
    return {
        "qid": judged.id,
        "query": text,
        "vid": judged.video,
        "relevant_windows": [list(window) for window in judged.windows],
        "results": [
            {"vid": r.video, "start_seconds": r.start_seconds, "end_seconds": r.end_seconds,
             "score": r.score}
            for r in judged.results
        ],
        "rank": judged.rank,
        "first_iou": judged.first_iou,
        "latency_seconds": judged.latency_seconds,
    }  # fmt: skip


def read_records(path: Path) -> list[Judged]:
    """The questions in a file of results. Raises UsageError."""
    judged = []
    for number, record in enumerate(read_json_lines(path), 1):
        try:
            results = tuple(
                Result(r["vid"], r["start_seconds"], r["end_seconds"], r["score"])
                for r in record["results"]
            )
            windows = tuple((float(s), float(e)) for s, e in record["relevant_windows"])
            judged.append(Judged(record["qid"], record["vid"], windows, results))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}, line {number}: not what --per-query writes ({error})."
            ) from error
    return judged
