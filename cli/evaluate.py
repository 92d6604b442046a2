"""`longtake eval transcripts` and `longtake eval library`: figures for searches."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from cli.compose import build_retriever, build_thumbnails, open_library
from cli.evaluate_report import print_report
from cli.render import messages, print_json, safe, say
from cli.senses import Senses
from cli.settings import Settings
from index.errors import LongtakeError, UsageError, VideoNotFoundError
from index.library import Library
from ingest.cues import count
from rag.evaluate.calibration import REMOVALS, calibration
from rag.evaluate.datasets import Question, read_questions
from rag.evaluate.metrics import Judged, compare, report
from rag.evaluate.run import as_record, ask, read_records
from rag.evaluate.transcripts import (
    Transcript,
    Unsynced,
    index_transcripts,
    read_transcripts,
)
from rag.retrieve import Retriever
from rag.timestamp import timestamp

_OTHER = "other:"

_AT_FLOOR = ("moment_recall", "video_recall", "mrr", "miou", "queries_without_results")
"""Of what a search shows, that is told beside the figures of the ranking."""


@dataclass(frozen=True, slots=True)
class Options:
    """What every evaluation of searches takes: see `longtake eval transcripts --help`."""

    per_query: Path | None = None
    against: Path | None = None
    translations: bool = False
    unanswerable: tuple[str, ...] = ()
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be asked. before: results to compare with. other, removals: see `calibration`."""

    questions: tuple[Question, ...]
    before: tuple[Judged, ...] | None
    other: tuple[Question, ...]
    removals: tuple[str, ...]

    @classmethod
    def of(cls, queries: Path, options: Options) -> _Task:
        """Reads all that is to be read before anything takes long. Raises UsageError."""
        other: tuple[Question, ...] = ()
        removals = []
        for name in options.unanswerable:
            if name.startswith(_OTHER) and not other:
                other = _counted(read_questions(Path(name.removeprefix(_OTHER))))
            elif name in REMOVALS:
                removals.append(name)
            else:
                known = ", ".join([f"{_OTHER}FILE (once)", *REMOVALS])
                raise UsageError(f"--unanswerable takes {known}, not “{name}”.")
        if options.per_query is not None and not options.per_query.parent.is_dir():
            raise UsageError(f"There is no folder {options.per_query.parent} to write results to.")
        before = None if options.against is None else tuple(read_records(options.against))
        questions = _counted(read_questions(queries))
        wordless = sum(not any(map(str.isalnum, question.text)) for question in questions)
        if wordless:
            say(f"{queries} holds {count(wordless, 'question')} without a word, not to be found.")
        return cls(questions, before, other, tuple(dict.fromkeys(removals)))


def _counted(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Those that count, each with an id of its own. Raises UsageError where there are none."""
    kept = []
    times: Counter[str] = Counter()
    for question in questions:
        if question.generic:
            continue
        times[question.id] += 1
        if (number := times[question.id]) > 1:
            question = replace(question, id=f"{question.id} ({number})")
        kept.append(question)
    if not kept:
        raise UsageError("No question to ask: the file holds only generic ones.")
    return tuple(kept)


def run_transcripts(
    settings: Settings, transcripts: Path, queries: Path, options: Options, *, keep: bool
) -> int:
    """Prints the figures; returns the exit status. keep: whether the index stays where the
    settings say; else it is thrown away."""
    task = _Task.of(queries, options)
    said = read_transcripts(transcripts)
    videos = {one.name: one.video_id for one in said}
    missing = sorted({one.video for one in task.questions} - videos.keys())
    if missing:
        lacking = (
            f"{transcripts} holds no transcript of {count(len(missing), 'video')} that questions "
            f"are about, such as “{missing[0]}”"
        )
        if len(missing) == len({one.video for one in task.questions}):
            raise UsageError(f"{lacking}.")
        say(safe(f"{lacking}; they count as not found."))
    with nullcontext() if keep else tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        settings = _of_words(settings, None if folder is None else Path(folder) / "library")
        with open_library(settings, must_exist=False) as library:
            if folder is not None:
                library = Library(Unsynced(library.store))
            _index(settings, library, transcripts, said)
            return _measure(build_retriever(settings, library), task, videos, options)


def run_library(settings: Settings, queries: Path, options: Options) -> int:
    """Prints the figures; returns the exit status. Questions about videos that the library does
    not hold are left out, and counted."""
    task = _Task.of(queries, options)
    with open_library(settings) as library:
        if "span" in task.removals and any(s.channel != "text" for s in library.spaces()):
            raise UsageError(
                "--unanswerable span hides words alone, and this library also finds pictures and "
                "sounds: `longtake eval transcripts` has it."
            )
        task = replace(task, questions=about_what_is_here(library, task.questions))
        _say_beyond(library, task.questions)
        videos = {one.video: one.video for one in task.questions}
        return _measure(build_retriever(settings, library), task, videos, options)


def _say_beyond(library: Library, questions: Sequence[Question]) -> None:
    """Labels may be of another cut of the film. A live source has no end."""
    ends = {video.id: video.duration_seconds for video in library.videos() if not video.source}
    beyond = [
        one
        for one in questions
        if one.windows and min(one.windows)[0] >= (ends.get(one.video) or math.inf)
    ]
    if beyond:
        first = f"“{beyond[0].text}” at {timestamp(beyond[0].windows[0][0])}"
        say(
            safe(
                f"The true spans of {count(len(beyond), 'question')} begin after the end of the "
                f"video, as of {first}; they count as not found."
            )
        )


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
    with progress("indexing", len(transcripts)) as step:
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


def about_what_is_here(library: Library, questions: Sequence[Question]) -> tuple[Question, ...]:
    """Those about videos in the library, which are then called by their ids. A video is found by
    its id, path, file name or title; one that a benchmark calls by a path also by the last part of
    it, without its extension. Raises UsageError where none is there."""
    known = library.videos()
    found: dict[str, str | None] = {}
    why = ""
    for name in dict.fromkeys(question.video for question in questions):
        found[name] = None
        for way in dict.fromkeys((name, Path(name).stem)):
            try:
                found[name] = library.find(way, exact=True, among=known).id
                break
            except VideoNotFoundError as error:
                why = why or str(error)
    kept = tuple(replace(q, video=found[q.video]) for q in questions if found[q.video])
    if not kept:
        about = count(len(found), "video")
        raise UsageError(f"All questions are about {about} that the library does not hold. {why}")
    if len(kept) < len(questions):
        left_out = count(len(questions) - len(kept), "question")
        missing = count(sum(id is None for id in found.values()), "video")
        say(f"Left out {left_out} about {missing} that the library does not hold.")
    return kept


def _measure(retriever: Retriever, task: _Task, videos: Mapping[str, str], options: Options) -> int:
    """videos: what questions call them -> the library's ids."""
    questions = task.questions
    names = {id: name for name, id in videos.items()}
    with progress("searching", 2 * len(questions)) as step:
        judged = ask(retriever, questions, names, misses=True, done=step)
        shown = ask(retriever, questions, names, done=step)
    figures = report(judged)
    at_floor = report(shown)
    figures["latency_ms"] = at_floor["latency_ms"]
    figures["at_floor"] = _shown(at_floor)
    categories = sorted({question.category for question in questions})
    if len(categories) > 1:
        pairs = list(zip(questions, judged, strict=True))
        figures["categories"] = {
            name: report([one for question, one in pairs if question.category == name])
            for name in categories
        }
    if task.before is not None:
        figures["against"] = compare(judged, task.before)
    if options.translations:
        figures["translations"] = _translated(retriever, questions, names)
    if task.other or task.removals:
        steps = len(questions) * (1 + len(task.removals)) + len(task.other)
        with progress("asking what has no answer", steps) as step:
            figures["unanswerable"] = calibration(
                retriever, questions, videos, other=task.other, removals=task.removals, done=step
            )
    if options.as_json:
        print_json(figures)
    else:
        print_report(figures)
    if options.per_query is not None:  # last, since it may be that it cannot be written
        texts = (question.text for question in questions)
        write_lines(options.per_query, map(as_record, judged, texts))
    return 0


def _translated(
    retriever: Retriever, questions: Sequence[Question], names: Mapping[str, str]
) -> dict[str, Any]:
    """Language -> its figures, with those of what a search shows as `at_floor`."""
    languages = sorted({language for one in questions for language in one.translations})
    found = {}
    for language in languages:
        asked = [
            replace(one, text=one.translations[language])
            for one in questions
            if language in one.translations
        ]
        with progress(f"searching in {language}", 2 * len(asked)) as step:
            found[language] = report(ask(retriever, asked, names, misses=True, done=step))
            shown = report(ask(retriever, asked, names, done=step))
        found[language]["at_floor"] = _shown(shown)
    return found


def _shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in _AT_FLOOR if name in figures}


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    try:
        with path.open("wb") as file:
            for record in records:
                file.write(msgspec.json.encode(record) + b"\n")
    except OSError as error:
        raise LongtakeError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr; nothing in a pipe."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = messages()
    columns = (TextColumn(safe(what)), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)
