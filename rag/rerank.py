"""A second look at the best results, by a model that reads the question and a text together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from index.errors import LongtakeError
from ingest.models.encoders import TextReranker
from rag.fuse import Fused


@dataclass(frozen=True, slots=True)
class Candidate:
    """A result to be judged: what is said or written in it; where it lies, for those who look."""

    text: str
    video_id: str
    start_seconds: float
    end_seconds: float


class Reranker(Protocol):
    """Judges results. name: of its model, for people. depth: results that it judges, at most."""

    name: str
    depth: int

    def scores(self, query: str, candidates: Sequence[Candidate]) -> Sequence[float | None]:
        """How well each answers the query, 0..1; None where it cannot tell. Raises LongtakeError
        where it cannot tell of any."""
        ...


class CrossEncoder:
    """A `Reranker` that reads. make: loads the model, when it is first asked."""

    def __init__(self, name: str, make: Callable[[], TextReranker], depth: int):
        self.name = name
        self.depth = depth
        self._make = make
        self._model: TextReranker | None = None

    def scores(self, query: str, candidates: Sequence[Candidate]) -> Sequence[float | None]:
        if self._model is None:
            self._model = self._make()
        readable = [one.text for one in candidates if one.text]
        found = iter(self._model.scores(query, readable).tolist())
        return [next(found) if one.text else None for one in candidates]


def rerank(
    groups: Sequence[Fused], query: str, reranker: Reranker
) -> tuple[list[Fused], str | None]:
    """The groups, best first: the first `reranker.depth` by what the reranker makes of them (by
    what they had where it cannot tell), the others behind them, no better than the last of those.
    And a note where it could not be asked, and nothing was done.
    """
    first, others = list(groups[: reranker.depth]), list(groups[reranker.depth :])
    candidates = [
        Candidate(group.worded.text, group.best.video_id, group.start_seconds, group.end_seconds)
        for group in first
    ]
    try:
        scores = reranker.scores(query, candidates)
    except LongtakeError as error:
        return list(groups), f"The results were not judged by {reranker.name}. {error}"
    for group, score in zip(first, scores, strict=True):
        group.judged = group.score if score is None else score
        if score is not None:
            group.judges.append(f"{reranker.name}: {score:.3f}")
    first.sort(key=lambda group: -group.score)
    for group in others:
        group.judged = min(group.score, first[-1].score)
    return [*first, *others], None
