"""Questions with their videos, true spans and answers, in the layouts that benchmarks are published
in:

* JSON Lines `{qid, query, vid, relevant_windows}`: QVHighlights (Lei et al. 2021), and Charades-STA
  and ActivityNet Captions as they are handed on with it.
* Charades-STA (Gao et al. 2017), as text: `VIDEO START END##SENTENCE`.
* ActivityNet Captions (Krishna et al. 2017), as JSON: `{VIDEO: {duration, timestamps, sentences}}`.
* TVR (Lei et al. 2020), as JSON Lines: `{vid_name, ts, desc, type, desc_id}`.
* OVO-Bench (Li et al. 2025), StreamingBench (Lin et al. 2024), LongVideoBench (Wu et al. 2024),
  Video-MME (Fu et al. 2024) and MLVU (Zhou et al. 2024), as JSON or JSON Lines. Most of their
  questions have options to choose from and no span.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from index.errors import UsageError
from rag.evaluate.metrics import Span

ANSWER_SECONDS = 2.0
"""Where a benchmark names the instant at which the answer can be seen, the true span is this long:
so far off may an answer be that StreamingBench's proactive task counts."""

_OPTION = re.compile(r"^\s*\(?[A-Z][.):]\s+")
_CHARADES = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.*)")


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a collection of videos.

    video: as the dataset calls it. windows: its true spans, in seconds; () where only the video is
    known. generic: so general ("Introduction") that any video answers it. translations: language
    -> the same question in it. category: as the dataset calls its kind of questions. options: to
    choose from, of which `answer` is the index of the right one. asked_seconds: of the video, when
    the question is asked of a stream. duration: of the video, as the dataset groups it, or in
    seconds; None where it does not say.
    """

    id: str
    text: str
    video: str
    windows: tuple[Span, ...] = ()
    generic: bool = False
    translations: Mapping[str, str] = field(default_factory=dict)
    category: str = ""
    options: tuple[str, ...] = ()
    answer: int | None = None
    asked_seconds: float | None = None
    duration: str | float | None = None


def read_questions(path: Path) -> list[Question]:
    """The questions of a file in any of the layouts, in its order. Raises UsageError that names
    what is wrong."""
    if path.suffix == ".txt":
        return _each(path, read_text(path).splitlines(), _charades)
    records = _read_json(path)
    if isinstance(records, dict):
        return _each(path, list(records.items()), _activitynet)
    first = records[0]
    while isinstance(first, list) and first:
        first = first[0]
    for key, read in (
        ("relevant_windows", _spans),
        ("desc_id", _tvr),
        ("task", _ovo_bench),
        ("sub_category", _video_mme),
        ("questions", _streamingbench),
        ("question_type", _mlvu),
        ("candidates", _longvideobench),
        ("vid", _spans),
    ):
        if isinstance(first, dict) and key in first:
            return _each(path, records, read)
    raise UsageError(
        f"{path} is in no layout that is known. Questions of your own are JSON lines like "
        '{"query": "…", "vid": "film.mp4", "relevant_windows": [["1:05", "1:20"]]}.'
    )


def read_text(path: Path) -> str:
    """Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8.") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON Lines file; blank lines are passed over. Raises UsageError that names
    the line that is wrong."""
    records = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: no valid JSON ({error}).") from error
        if not isinstance(record, dict):
            raise UsageError(f"{path}, line {number}: not a JSON object.")
        records.append(record)
    if not records:
        raise UsageError(f"{path} is empty.")
    return records


def _read_json(path: Path) -> dict[str, Any] | list[Any]:
    """A JSON file's object or list; the objects of JSON Lines as a list."""
    try:
        whole = json.loads(read_text(path))
    except ValueError:
        return read_json_lines(path)
    if isinstance(whole, dict) and not all(isinstance(value, dict) for value in whole.values()):
        return [whole]  # JSON Lines of one line
    if not whole or not isinstance(whole, (dict, list)):
        raise UsageError(f"{path} holds no questions.")
    return whole


def _each(
    path: Path, records: Sequence[Any], read: Callable[[Any, int], Iterator[Question]]
) -> list[Question]:
    questions = []
    for number, record in enumerate(records, 1):
        try:
            found = read(record, number)
            questions += [replace(one, text=one.text.strip()) for one in found]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{path}, question {number}: {what}.") from error
    if not questions:
        raise UsageError(f"{path} holds no questions.")
    return questions


def seconds_of(time: float | str) -> float:
    """Seconds, from a number of them or as in "1:02:03.5". Raises ValueError."""
    seconds = 0.0
    for part in time.split(":") if isinstance(time, str) else [time]:
        seconds = 60 * seconds + float(part)
    if not math.isfinite(seconds):
        raise ValueError(f"{time} is no time")
    return seconds


def _span(start: float | str, end: float | str) -> Span:
    """What ends before it begins, as some in Charades-STA do, is turned round; an instant becomes
    `ANSWER_SECONDS` long. Raises ValueError."""
    one, other = sorted((seconds_of(start), seconds_of(end)))
    return one, other if other > one else one + ANSWER_SECONDS


def _spans(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    """What has options need not have a span. Collected questions may be empty: that is for whoever
    asks them to tell; a choice without a question is none."""
    text = str(record["query"])
    options = record.get("options")
    if options and not text.strip():
        raise ValueError("its query is empty")
    windows = record.get("relevant_windows", ()) if options else record["relevant_windows"]
    yield Question(
        str(record.get("qid", number)),
        text,
        str(record["vid"]),
        tuple(_span(start, end) for start, end in windows),
        bool(record.get("generic", False)),
        record.get("translations") or {},
        category=str(record.get("category", "")),
        options=tuple(map(str, options or ())),
        answer=_right(record["answer"], options) if options else None,
    )


def _right(answer: str | int, options: Sequence[str]) -> int:
    """The index of the right option, which is told as one, as a letter, or in its own words. Raises
    ValueError."""
    if isinstance(answer, str):
        told = answer.strip()
        if told in options:
            return list(options).index(told)
        letter = told.rstrip(".)").upper()
        if len(letter) != 1 or not letter.isalpha():
            raise ValueError(f"the answer “{answer}” is none of the options")
        answer = ord(letter) - ord("A")
    if not 0 <= answer < len(options):
        raise ValueError(f"there is no option {answer}")
    return int(answer)


def _charades(line: str, number: int) -> Iterator[Question]:
    if not line.strip():
        return
    found = _CHARADES.fullmatch(line.strip())
    if not found:
        raise ValueError("not VIDEO START END##SENTENCE")
    yield Question(str(number), found[4], found[1], (_span(found[2], found[3]),))


def _activitynet(item: tuple[str, Mapping[str, Any]], number: int) -> Iterator[Question]:
    video, record = item
    pairs = zip(record["timestamps"], record["sentences"], strict=True)
    for at, ((start, end), sentence) in enumerate(pairs, 1):
        yield Question(f"{video}.{at}", sentence, video, (_span(start, end),))


def _tvr(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    start, end = record["ts"]
    yield Question(
        str(record["desc_id"]),
        str(record["desc"]),
        str(record["vid_name"]),
        (_span(start, end),),
        category=str(record.get("type", "")),
    )


def _ovo_bench(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    """`REC` asks how often something happens, `SSR` whether a step is on, `CRR` what can only be
    answered later: each of these has times, the others have options."""
    name, video, task = str(record["id"]), str(record["video"]), str(record["task"])
    if task == "REC":
        spans = zip(record["start_times"], record["end_times"], strict=True)
        windows = tuple(_span(start, end) for start, end in spans)
        yield Question(name, record["activity"], video, windows, category=task)
    elif task == "SSR":
        steps = zip(record["all_steps"], record["start_time"], record["end_time"], strict=True)
        for at, (step, start, end) in enumerate(steps, 1):
            yield Question(f"{name}.{at}", step, video, (_span(start, end),), category=task)
    elif task == "CRR":
        clue = record["clue_time"]
        yield Question(
            name,
            record["question"],
            video,
            (_span(clue, clue),),
            category=task,
            asked_seconds=seconds_of(record["ask_time"]),
        )
    else:
        yield Question(
            name,
            record["question"],
            video,
            category=task,
            options=tuple(record["options"]),
            answer=int(record["gt"]),
            asked_seconds=seconds_of(record["realtime"]),
        )


def _streamingbench(record: Any, number: int) -> Iterator[Question]:
    """`time`, a stretch of the video, is left aside: of the published sequences' 250 questions only
    53 are asked within it."""
    clips = record if isinstance(record, list) else [record]
    for clip, one in enumerate(clips, 1):
        video = str(one["video_path"]).removeprefix("./")
        for at, asked in enumerate(one["questions"], 1):
            options = tuple(asked.get("options", ()))
            windows: tuple[Span, ...] = ()
            if "ground_truth_time_stamp" in asked:
                seen = asked["ground_truth_time_stamp"]
                windows = (_span(seen, seen),)
            yield Question(
                f"{number}.{clip}.{at}",
                asked["question"],
                video,
                windows,
                category=asked["task_type"],
                options=options,
                answer=ord(asked["answer"]) - ord("A") if options else None,
                asked_seconds=seconds_of(asked["time_stamp"]),
            )


def _longvideobench(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    """`position` is left aside: what it counts is documented nowhere. The test set keeps its
    answers to itself."""
    right = record.get("correct_choice")
    yield Question(
        str(record["id"]),
        record["question"],
        str(record.get("video_path") or record["video_id"]),
        category=str(record.get("question_category", "")),
        options=tuple(record["candidates"]),
        answer=None if right is None else int(right),
        duration=record.get("duration_group") or record.get("duration"),
    )


def _video_mme(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    """A row a question, as it is published, or a video with its questions, as its own evaluation
    takes it. Videos are called by their YouTube id where that is there, as the files are."""
    for asked in record.get("questions", [record]):
        options = tuple(_OPTION.sub("", one) for one in asked["options"])
        yield Question(
            str(asked["question_id"]),
            asked["question"],
            str(record.get("videoID") or record["video_id"]),
            category=str(asked["task_type"]),
            options=options,
            answer=_right(asked["answer"], options) if asked.get("answer") else None,
            duration=record.get("duration"),
        )


def _mlvu(record: Mapping[str, Any], number: int) -> Iterator[Question]:
    """Of its tasks those with candidates; the others are told freely."""
    if "candidates" not in record:
        return
    options = tuple(map(str, record["candidates"]))
    yield Question(
        str(record.get("question_id") or number),
        record["question"],
        str(record["video"]),
        category=str(record["question_type"]),
        options=options,
        answer=_right(record["answer"], options) if record.get("answer") else None,
        duration=record.get("duration"),
    )
