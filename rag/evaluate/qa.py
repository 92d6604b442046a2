"""Multiple choice: a model is shown what `ask` would show it, and chooses.

What counts as found is told apart from what is answered: where the true span is known, whether any
of what was shown lies in it. A question that is asked of a stream at some time is shown nothing of
what comes later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from index.errors import UsageError, VideoNotFoundError
from index.schema import Moment
from ingest.models.videollm import (
    ContextOverflowError,
    Prompt,
    VideoLLM,
    VideoLLMError,
    VideoLLMRefusedError,
    VideoLLMUnreachableError,
)
from rag.answer_settings import AskSettings
from rag.contexts import Evidence, evidence_for
from rag.evaluate.choices import ASK, choice_of, lettered
from rag.evaluate.datasets import Question
from rag.evaluate.metrics import intervals, overlaps
from rag.generate import SHRINK
from rag.material import Gatherer
from rag.prompt import Built, PromptBuilder
from rag.retrieve import Retriever
from rag.unseen import without_thoughts

LENGTHS = ((120.0, "up to 2 min"), (900.0, "2 to 15 min"), (3600.0, "15 to 60 min"))
"""Groups of videos whose dataset tells seconds, or nothing; longer ones are "over an hour"."""


_NOTHING = Built(Prompt(()), (), {}, 0, 0)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one question got in one context.

    choice: index of the option; None where the answer names none. spans: of what was shown, those
    of the right video, best first. tokens: of the prompt; answer_tokens: of the answer, as the
    model counts them, thoughts included, or, where it does not say, as its text is counted for the
    budget.
    shown_seconds: until the prompt stood; model_seconds: until the answer was there. error: why
    there is no answer.
    """

    question: Question
    context: str
    choice: int | None
    answer: str
    spans: tuple[tuple[float, float], ...]
    tokens: int
    answer_tokens: int
    pictures: int
    shown_seconds: float
    model_seconds: float
    length: str
    error: str = ""

    @property
    def right(self) -> bool:
        return self.choice is not None and self.choice == self.question.answer

    @property
    def found(self) -> bool | None:
        """Whether something shown overlaps a true span; None where none is known, or nothing was
        looked for."""
        if not self.question.windows or self.context != "retrieved":
            return None
        return any(
            overlaps(span, window) for span in self.spans for window in self.question.windows
        )


class Examiner:
    """Asks questions in one context. builder: with the instructions for choices."""

    def __init__(
        self, retriever: Retriever, model: VideoLLM, builder: PromptBuilder, settings: AskSettings
    ):
        self._retriever = retriever
        self._model = model
        self._builder = builder
        self._settings = settings

    def ask(self, question: Question) -> Chosen:
        """question: about a video of the library, by its id.

        Raises VideoLLMRefusedError and VideoLLMUnreachableError, after which no question would be
        answered; whatever else goes wrong is in the result.
        """
        started = time.perf_counter()
        evidence = self._evidence(question)
        moments = _until(evidence, question.asked_seconds)
        context = self._settings.context
        video = self._retriever.library.video(question.video)
        length = length_of(question, video.duration_seconds if video else None)
        built, answer, spent, error = _NOTHING, "", 0, ""
        ready = None
        try:
            built = self._built(question, evidence, moments, self._settings.budget_tokens)
            ready = time.perf_counter()
            try:
                answer, spent = self._answer(built.prompt)
            except ContextOverflowError:
                budget = int(built.tokens * SHRINK) + self._settings.answer_tokens
                built = self._built(question, evidence, moments, budget)
                answer, spent = self._answer(built.prompt)
        except (VideoLLMRefusedError, VideoLLMUnreachableError):
            raise
        except (VideoLLMError, UsageError) as failed:  # UsageError: not even the question fits
            error = str(failed)
        done = time.perf_counter()
        ready = ready or done
        return Chosen(
            question,
            context,
            choice_of(answer, question.options),
            answer,
            tuple((m.start_seconds, m.end_seconds) for m in moments),
            built.tokens,
            spent,
            built.frames,
            ready - started,
            done - ready,
            length,
            error,
        )

    def _evidence(self, question: Question) -> Evidence:
        """As `ask` finds it. A question in which a colon makes a filter that means nothing is asked
        without colons."""
        for text in (question.text, question.text.replace(":", " ").replace('"', " ")):
            try:
                return evidence_for(text, self._retriever, self._settings, [question.video])
            except (UsageError, VideoNotFoundError):
                continue
        return Evidence((), "local")

    def _built(
        self, question: Question, evidence: Evidence, moments: Sequence[Moment], budget: int
    ) -> Built:
        text = lettered(question.text, question.options)
        settings = self._settings
        if settings.context == "none":
            return self._builder.plain(f"{text}\n\n{ASK}", budget=budget)
        gatherer = Gatherer(
            self._retriever.library,
            context_seconds=0.0 if evidence.covers else settings.context_seconds,
            side=settings.picture_side,
            words=evidence.words,
            pictures=evidence.pictures and settings.frames > 0,
            spread=evidence.covers,
        )
        scenes = gatherer.scenes(moments)
        until = question.asked_seconds
        if until is not None:  # what is shown around a moment reaches beyond it
            scenes = [
                replace(
                    scene,
                    lines=tuple(line for line in scene.lines if line.start_seconds < until),
                    looks=tuple(look for look in scene.looks if look.time_seconds < until),
                )
                for scene in scenes
            ]
            scenes = [scene for scene in scenes if scene.lines or scene.looks]
        return self._builder.build(text, scenes, budget=budget)

    def _answer(self, prompt: Prompt) -> tuple[str, int]:
        settings = self._settings
        pieces = without_thoughts(
            self._model.generate(
                prompt, max_tokens=settings.answer_tokens, temperature=settings.temperature
            )
        )
        text, spent = "", None
        for piece in pieces:
            text += piece.text
            spent = piece.spent if piece.spent is not None else spent
        return text, self._builder.text_tokens(text) if spent is None else spent


def _until(evidence: Evidence, asked_seconds: float | None) -> tuple[Moment, ...]:
    """The first batch of what is shown, as far as it lies before the question."""
    moments = evidence.batches[0] if evidence.batches else ()
    if asked_seconds is None:
        return moments
    return tuple(
        replace(one, end_seconds=min(one.end_seconds, asked_seconds))
        for one in moments
        if one.start_seconds < asked_seconds
    )


def length_of(question: Question, seconds: float | None) -> str:
    """The group of the question's video: as the dataset calls it, else by its length."""
    told = question.duration
    if isinstance(told, str) and told:
        return told
    seconds = float(told) if told else seconds
    if seconds is None:
        return "unknown"
    return next((name for most, name in LENGTHS if seconds <= most), "over an hour")


def figures(chosen: Sequence[Chosen]) -> dict[str, Any]:
    """Of one context. accuracy: a question without a choice is wrong; chance: of guessing.

    recall: share of the questions with a true span for which something shown lies in it, and the
    accuracy of these and of the others; absent where no true span is known.
    """
    right = np.array([one.right for one in chosen], float)
    seconds = [one.shown_seconds + one.model_seconds for one in chosen]
    result = {
        "questions": len(chosen),
        "accuracy": float(right.mean()),
        "interval": intervals({"accuracy": right})["accuracy"],
        "chance": float(np.mean([1 / len(one.question.options) for one in chosen])),
        "without_choice": sum(one.choice is None for one in chosen),
        "errors": sum(bool(one.error) for one in chosen),
        "prompt_tokens": float(np.mean([one.tokens for one in chosen])),
        "answer_tokens": float(np.mean([one.answer_tokens for one in chosen])),
        "pictures": float(np.mean([one.pictures for one in chosen])),
        "seconds": {
            "mean": float(np.mean(seconds)),
            "shown": float(np.mean([one.shown_seconds for one in chosen])),
            "model": float(np.mean([one.model_seconds for one in chosen])),
        },
        "categories": _by(chosen, lambda one: one.question.category),
        "durations": _by(chosen, lambda one: one.length),
    }
    told = [one for one in chosen if one.found is not None]
    if told:
        found = [one for one in told if one.found]
        missed = [one for one in told if not one.found]
        result["recall"] = {
            "questions": len(told),
            "found": len(found) / len(told),
            "accuracy_where_found": _accuracy(found),
            "accuracy_where_not": _accuracy(missed),
        }
    return result


def _by(chosen: Iterable[Chosen], key: Callable[[Chosen], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Chosen]] = {}
    for one in chosen:
        groups.setdefault(key(one), []).append(one)
    return {
        name: {"questions": len(own), "accuracy": _accuracy(own)}
        for name, own in sorted(groups.items())
    }


def _accuracy(chosen: Sequence[Chosen]) -> float | None:
    return sum(one.right for one in chosen) / len(chosen) if chosen else None


def compare(ours: Sequence[Chosen], theirs: Sequence[Chosen]) -> dict[str, Any]:
    """How much more accurate `ours` is on the same questions, with the 95% interval of the
    difference, resampling questions. better: whether all of the interval is above 0."""
    others = {one.question.id: one for one in theirs}
    pairs = [(one, others[one.question.id]) for one in ours if one.question.id in others]
    difference = np.array([float(a.right) - float(b.right) for a, b in pairs])
    low, high = intervals({"difference": difference})["difference"]
    return {
        "questions": len(pairs),
        "difference": float(difference.mean()),
        "interval": (low, high),
        "better": low > 0,
    }


def as_record(one: Chosen) -> Mapping[str, Any]:
    """What is kept of one question in the file of results."""
    return {
        "qid": one.question.id,
        "vid": one.question.video,
        "context": one.context,
        "category": one.question.category,
        "duration": one.length,
        "choice": one.choice,
        "answer": one.question.answer,
        "right": one.right,
        "said": one.answer,
        "spans": [list(span) for span in one.spans],
        "found": one.found,
        "tokens": one.tokens,
        "answer_tokens": one.answer_tokens,
        "pictures": one.pictures,
        "shown_seconds": round(one.shown_seconds, 4),
        "model_seconds": round(one.model_seconds, 4),
        "error": one.error,
    }
