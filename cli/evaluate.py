"""`longtake eval`: figures for searches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from cli.compose import build_retriever, build_thumbnails, open_library
from cli.render import data_line, messages, print_json, safe, say
from cli.senses import Senses
from cli.settings import Settings
from index.errors import UsageError
from index.library import Library
from rag.evaluate.datasets import Question, read_questions
from rag.evaluate.metrics import IOUS, RANKS, Judged, compare, report
from rag.evaluate.run import as_record, ask, read_records
from rag.evaluate.transcripts import (
    Transcript,
    Unsynced,
    index_transcripts,
    read_transcripts,
)
from rag.retrieve import Retriever
from rag.timestamp import timestamp


@dataclass(frozen=True, slots=True)
class Options:
    """What every evaluation of searches takes: see `longtake eval transcripts --help`."""

    per_query: Path | None = None
    against: Path | None = None
    translations: bool = False
    as_json: bool = False


def run_transcripts(
    settings: Settings, transcripts: Path, queries: Path, options: Options, *, keep: bool
) -> int:
    """Prints the figures; returns the exit status. keep: whether the index stays where the
    settings say; else it is thrown away."""
    said = read_transcripts(transcripts)
    questions = _counted(read_questions(queries))
    _check_videos(questions, {one.name for one in said}, transcripts)
    before = None if options.against is None else read_records(options.against)

    with nullcontext() if keep else tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        settings = _of_words(settings, None if folder is None else Path(folder) / "library")
        with open_library(settings, must_exist=False) as library:
            if folder is not None:
                library = Library(Unsynced(library.store))
            _index(settings, library, transcripts, said)
            names = {one.video_id: one.name for one in said}
            retriever = build_retriever(settings, library)
            return _measure(retriever, questions, names, before, options)


def _of_words(settings: Settings, library: Path | None) -> Settings:
    """The settings, for a library of words that lies there (None: where they say), on this
    machine."""
    recognition = settings.channels.recognition.model_copy(update={"enabled": False})
    channels = settings.channels.model_copy(update={"recognition": recognition})
    changes: dict[str, Any] = {"channels": channels, "server": None}
    return settings.model_copy(update=changes | ({} if library is None else {"library": library}))


def _index(
    settings: Settings, library: Library, path: Path, transcripts: Sequence[Transcript]
) -> None:
    """By meaning too, where the settings enable the channel `text`."""
    senses = Senses(settings, ("speech",))
    senses.prepare_models(say)
    hours = timestamp(round(sum(one.duration_seconds for one in transcripts)))
    sentences = sum(len(one.cues) for one in transcripts)
    what = f"{len(transcripts)} transcripts ({hours}, {sentences} sentences)"
    started = time.monotonic()
    with _progress("indexing", len(transcripts)) as step:
        index_transcripts(
            library,
            path,
            transcripts,
            senses.channels(),
            build_thumbnails(settings),
            done=lambda transcript: step(),
        )
    library.forget_spaces()
    say(f"Indexed {what} in {time.monotonic() - started:.1f} s.")


def _measure(
    retriever: Retriever,
    questions: Sequence[Question],
    names: Mapping[str, str],
    before: Sequence[Judged] | None,
    options: Options,
) -> int:
    with _progress("searching", len(questions)) as step:
        judged = ask(retriever, questions, names, done=step)
    figures = report(judged)
    if before is not None:
        figures["against"] = compare(judged, before)
    if options.translations:
        figures["translations"] = _translated(retriever, questions, names)
    if options.per_query is not None:
        texts = {question.id: question.text for question in questions}
        _write_lines(options.per_query, (as_record(one, texts[one.id]) for one in judged))
    if options.as_json:
        print_json(figures)
    else:
        _print(figures)
    return 0


def _translated(
    retriever: Retriever, questions: Sequence[Question], names: Mapping[str, str]
) -> dict[str, Any]:
    """Language -> its figures."""
    languages = sorted({language for one in questions for language in one.translations})
    found = {}
    for language in languages:
        asked = [
            replace(one, text=one.translations[language])
            for one in questions
            if language in one.translations
        ]
        with _progress(f"searching in {language}", len(asked)) as step:
            found[language] = report(ask(retriever, asked, names, done=step))
    return found


def _counted(questions: Sequence[Question]) -> list[Question]:
    """Those that count. Raises UsageError where there are none, or two have one id."""
    kept = [question for question in questions if not question.generic]
    if not kept:
        raise UsageError("No question to ask: the file holds none, or only generic ones.")
    ids = {question.id for question in kept}
    if len(ids) < len(kept):
        raise UsageError("Two questions have the same id (qid), which results are kept under.")
    return kept


def _check_videos(questions: Sequence[Question], known: set[str], path: Path) -> None:
    missing = sorted({one.video for one in questions} - known)
    if missing:
        raise UsageError(
            f"{path} holds no transcript of {len(missing)} videos that questions are about "
            f"(“{missing[0]}”, …)."
        )


def _write_lines(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    try:
        with path.open("wb") as file:
            for record in records:
                file.write(msgspec.json.encode(record) + b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def _progress(what: str, steps: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr; nothing in a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = messages()
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)


def _print(figures: Mapping[str, Any]) -> None:
    """A table: each figure with its interval."""
    intervals = figures["intervals"]

    def line(name: str, group: str, keys: Sequence[Any]) -> None:
        if group in figures:
            cells = [
                f"{figures[group][str(key)]:.3f} "
                f"[{intervals[group][str(key)][0]:.3f}, {intervals[group][str(key)][1]:.3f}]"
                for key in keys
            ]
            data_line(f"{name:<34}", "  ".join(cells))

    line("moment recall @1 @5 @10", "moment_recall", RANKS)
    line("the same at IoU .3", "iou_recall", RANKS)
    line("video recall @1 @5 @10", "video_recall", RANKS)
    line("first result at IoU .3 .5 .7", "r1_iou", IOUS)
    for name, key in (("mean reciprocal rank", "mrr"), ("mean IoU of the first result", "miou")):
        if key in figures:
            low, high = intervals[key]
            data_line(f"{name:<34}{figures[key]:.3f} [{low:.3f}, {high:.3f}]")
    for name, key, unit in (
        ("median span", "median_span_seconds", " s"),
        ("median first span", "median_first_span_seconds", " s"),
        ("longest span", "longest_span_seconds", " s"),
    ):
        if figures[key] is not None:
            data_line(f"{name:<34}{figures[key]:.1f}{unit}")
    data_line(f"{'most overlap of two results':<34}{figures['most_overlap']:.0%} of the shorter")
    data_line(
        f"{'search, p50 and p95':<34}{figures['latency_ms']['p50']:.1f} ms, "
        f"{figures['latency_ms']['p95']:.1f} ms"
    )
    data_line(
        f"{'questions':<34}{figures['queries']}, of which {figures['queries_without_results']} "
        "found nothing"
    )
    for language, own in figures.get("translations", {}).items():
        recall = " / ".join(f"{own['moment_recall'][str(k)]:.3f}" for k in RANKS)
        data_line(f"{'in ' + safe(language):<34}{recall}")
