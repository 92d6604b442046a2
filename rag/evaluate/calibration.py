"""Does a score tell whether the answer is there? Questions that the library cannot answer, asked in
the same way as those that it can.

Three kinds of them: those about another collection; those whose video is hidden from the search;
those of which only the true span is hidden. The last two leave behind what is nearly an answer, as
other videos and other minutes on the same subject are, so that no score can tell all of them apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from index.library import Library
from index.store import Condition, Filter, Match, scroll, where
from rag.evaluate.datasets import Question
from rag.evaluate.metrics import overlaps, roc_area
from rag.evaluate.run import search
from rag.retrieve import Retriever, SearchResult


class Hiding(Library):
    """A library, part of which its searches do not see. hidden: what that part holds."""

    def __init__(self, library: Library, hidden: Iterable[Condition]):
        super().__init__(library.store)
        self._hidden = tuple(hidden)

    def visible(self, wanted: Filter, hidden: Iterable[str]) -> Filter:
        return super().visible(wanted, hidden).but_not(*self._hidden)


def without_video(library: Library, question: Question, videos: Mapping[str, str]) -> Library:
    """The library without the question's video. videos: its name -> its id."""
    return Hiding(library, [Match("video_id", (videos[question.video],))])


def without_span(library: Library, question: Question, videos: Mapping[str, str]) -> Library:
    """The library without the passages that overlap a true span of the question, and without
    their vectors."""
    video_id = videos[question.video]
    inside = {
        one.id
        for one in library.evidence(video_id)
        if any(overlaps((one.start_seconds, one.end_seconds), span) for span in question.windows)
    }
    passages = scroll(library.store, where(kind="passage", video_id=video_id))
    touched = [point.id for point in passages if inside.intersection(point.payload["evidence"])]
    hidden = [Match("evidence", tuple(sorted(inside))), Match("passage", tuple(touched))]
    return Hiding(library, [condition for condition in hidden if condition.any_of])


REMOVALS: Mapping[str, Callable[[Library, Question, Mapping[str, str]], Library]] = {
    "video": without_video,
    "span": without_span,
}
"""What can be hidden of the answer -> what makes the library without it."""


def top_score(result: SearchResult) -> float:
    """What tells whether it is there: the score of what lies nearest (`rag.presence`) where that
    was asked, else that of the first moment; where nothing is shown, of the nearest miss; 0 where
    there is none.

    result: of a search that was asked to explain."""
    finds = [find for one in result.explanations for find in one.finds]
    finds += [dropped.find for dropped in result.dropped]
    nearest = [find.nearest for find in finds if find.nearest is not None]
    if nearest:
        return max(nearest)
    if result.moments:
        return result.moments[0].score
    return max((dropped.find.score for dropped in result.dropped), default=0.0)


def calibration(
    retriever: Retriever,
    questions: Sequence[Question],
    videos: Mapping[str, str],
    *,
    other: Sequence[Question] = (),
    removals: Sequence[str] = (),
    done: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """How well top scores tell `questions` from such as have no answer, and what the floor lets
    through.

    videos: their names -> the library's ids. other: questions of another collection. removals: of
    REMOVALS; `questions` are asked again with that part of their answer hidden. done: called after
    each search.

    Returns `answerable` (how many, `misses`: the share for which nothing is shown) and for each set
    of unanswerable ones their number, `roc_area` of the top score against the answerable ones, and
    `false_alarms`: the share for which anything is shown.
    """

    def scores(asked: Iterable[tuple[Question, Library]]) -> list[tuple[float, bool]]:
        """Of each question, its top score and whether anything is shown."""
        found = []
        for question, seen in asked:
            view = copy.copy(retriever)
            view.library = seen
            result = search(view, question.text, explain=True)
            found.append((top_score(result), bool(result.moments)))
            done()
        return found

    library = retriever.library
    answerable = scores((question, library) for question in questions)
    report: dict[str, Any] = {
        "answerable": {
            "queries": len(answerable),
            "misses": sum(not shown for _, shown in answerable) / len(answerable),
        }
    }
    sets = {"other": scores((question, library) for question in other)}
    for name in removals:
        with_answer = [one for one in questions if one.video in videos]
        if name == "span":
            with_answer = [one for one in with_answer if one.windows]
        views = ((one, REMOVALS[name](library, one, videos)) for one in with_answer)
        sets[name] = scores(views)
    for name, found in sets.items():
        if not found:
            continue
        report[name] = {
            "queries": len(found),
            "roc_area": roc_area([s for s, _ in answerable], [s for s, _ in found]),
            "false_alarms": sum(shown for _, shown in found) / len(found),
        }
    return report
