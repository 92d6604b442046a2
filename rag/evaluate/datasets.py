"""Questions with their true spans, in the layouts that benchmarks are published in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index.errors import UsageError
from rag.evaluate.metrics import Span


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a collection of videos.

    video: as the dataset calls it. windows: its true spans, in seconds; () where only the video is
    known. generic: so general ("Introduction") that any video answers it. translations: language
    -> the same question in it.
    """

    id: str
    text: str
    video: str
    windows: tuple[Span, ...] = ()
    generic: bool = False
    translations: Mapping[str, str] = field(default_factory=dict)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON Lines file; blank lines are passed over. Raises UsageError that names
    the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8.") from error
    records = []
    for number, line in enumerate(text.split("\n"), 1):
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


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, in its order. Raises UsageError that names what is wrong."""
    records = read_json_lines(path)
    questions = []
    for number, record in enumerate(records, 1):
        try:
            questions.append(_question(record))
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{path}, question {number}: {what}.") from error
    return questions


def _question(record: Mapping[str, Any]) -> Question:
    return Question(
        str(record["qid"]),
        str(record["query"]),
        str(record["vid"]),
        tuple((float(start), float(end)) for start, end in record["relevant_windows"]),
        bool(record.get("generic", False)),
        record.get("translations") or {},
    )
