"""`longtake eval qa`: multiple choice by a model, in several contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.compose import build_prompt_builder, build_retriever, build_video_llm, open_library
from cli.evaluate import about_what_is_here, progress, write_lines
from cli.render import data_line, print_json, safe, say
from cli.settings import Settings
from index.errors import ConfigError, UsageError
from rag.answer_settings import CONTEXTS
from rag.evaluate.datasets import Question, read_questions
from rag.evaluate.qa import Chosen, Examiner, as_record, compare, figures

DEFAULT = ("retrieved", "subtitles")
_WIDTH = 34


def run_qa(
    settings: Settings,
    path: Path,
    contexts: Sequence[str],
    *,
    limit: int | None,
    per_question: Path | None,
    as_json: bool,
) -> int:
    """Prints the figures of each context; returns the exit status."""
    contexts = tuple(dict.fromkeys(contexts)) or DEFAULT
    for name in contexts:
        if name not in CONTEXTS:
            raise UsageError(f"No context “{name}”. Known: {', '.join(CONTEXTS)}.")
    if settings.ask.model is None:
        raise ConfigError(
            "Which model is to answer? Set ask.model and ask.base_url; docs/answers.md says how."
        )
    if per_question is not None and not per_question.parent.is_dir():
        raise UsageError(f"There is no folder {per_question.parent} to write results to.")
    questions = _with_options(read_questions(path), path)
    with open_library(settings) as library:
        questions = _some(about_what_is_here(library, questions), limit)
        retriever = build_retriever(settings, library)
        model = build_video_llm(settings)
        chosen: dict[str, list[Chosen]] = {}
        for name in contexts:
            own = settings.model_copy(
                update={"ask": settings.ask.model_copy(update={"context": name})}
            )
            builder = build_prompt_builder(own, library, "choice", model)
            examiner = Examiner(retriever, model, builder, own.ask)
            with progress(f"asking ({name})", len(questions)) as step:
                for question in questions:
                    chosen.setdefault(name, []).append(examiner.ask(question))
                    step()
    report: dict[str, Any] = {
        "model": settings.ask.model,
        "questions": len(questions),
        "contexts": {name: figures(own) for name, own in chosen.items()},
    }
    if "retrieved" in chosen:
        report["against"] = {
            name: compare(chosen["retrieved"], own)
            for name, own in chosen.items()
            if name != "retrieved"
        }
    if as_json:
        print_json(report)
    else:
        print_qa(report)
    if per_question is not None:  # last, since it may be that it cannot be written
        write_lines(per_question, (as_record(one) for own in chosen.values() for one in own))
    return 0


def _with_options(questions: Sequence[Question], path: Path) -> tuple[Question, ...]:
    """Those that can be rated. Raises UsageError where there are none."""
    kept = tuple(one for one in questions if one.options and one.answer is not None)
    if not kept:
        raise UsageError(
            f"{path} has no question with options and a known answer. Questions of your own are "
            'JSON lines like {"query": "…", "vid": "film.mp4", "relevant_windows": [["1:05", '
            '"1:20"]], "options": ["…", "…"], "answer": "B"}.'
        )
    if len(kept) < len(questions):
        say(f"Left out {len(questions) - len(kept)} questions without options or known answer.")
    return kept


def _some(questions: Sequence[Question], limit: int | None) -> Sequence[Question]:
    """At most so many, spread evenly over the file."""
    if limit is None or limit >= len(questions):
        return questions
    return [questions[at * len(questions) // limit] for at in range(limit)]


def print_qa(report: Mapping[str, Any]) -> None:
    """A block a context, then what retrieval is worth."""
    for name, own in report["contexts"].items():
        data_line((name, "bold"))
        low, high = own["interval"]
        _line("accuracy", f"{own['accuracy']:.3f} [{low:.3f}, {high:.3f}]")
        _line("by guessing", f"{own['chance']:.3f}")
        _line(
            "questions", f"{own['questions']}, {own['without_choice']} without a choice"
            + (f", {own['errors']} with an error" if own["errors"] else ""),
        )  # fmt: skip
        if "recall" in own:
            told = own["recall"]
            _line("the true span was shown", f"{told['found']:.3f} of {told['questions']}")
            _line("accuracy where it was", _share(told["accuracy_where_found"]))
            _line("accuracy where it was not", _share(told["accuracy_where_not"]))
        _line(
            "tokens a question",
            f"{own['prompt_tokens']:.0f} + {own['answer_tokens']:.0f}, "
            f"{own['pictures']:.1f} pictures",
        )
        seconds = own["seconds"]
        _line(
            "seconds a question", f"{seconds['mean']:.2f} (before the model {seconds['shown']:.2f})"
        )
        for group in ("durations", "categories"):
            if len(own[group]) > 1:
                for called, one in own[group].items():
                    text = f"{_share(one['accuracy'])} ({one['questions']})"
                    _line(f"  {safe(called) or 'no category'}", text)
        data_line()
    for name, one in report.get("against", {}).items():
        low, high = one["interval"]
        data_line(f"{verdict(name, one)} ({one['difference']:+.3f} [{low:+.3f}, {high:+.3f}])")


def verdict(name: str, compared: Mapping[str, Any]) -> str:
    """What a comparison says, in a sentence."""
    low, high = compared["interval"]
    called = {"subtitles": "plain subtitles", "none": "no context"}.get(name, f"{name} pictures")
    if low > 0:
        return f"Retrieval beats {called} here."
    if high < 0:
        return f"Retrieval is worse than {called} here."
    return f"Retrieval does not beat {called} here: the difference may be chance."


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(called: str, text: str) -> None:
    data_line(f"{called:<{_WIDTH}}  {text}", indent=2)
