"""What `longtake export` is given: spans by hand, or moments as JSON lines on standard input."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from index.errors import UsageError
from index.schema import Moment

_TIME = re.compile(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,6}(?:[.,]\d{1,9})?)")
_UNTOLD = {"epoch": 0, "title": "", "path": None, "score": 0.0, "channel": ""}
"""What a moment need not say."""


def parse_span(text: str) -> tuple[float, float]:
    """`1:02-1:20.5`, also with an en dash, as seconds. Raises UsageError."""
    start, dash, end = text.replace("–", "-").partition("-")
    times = [_TIME.fullmatch(part.strip()) for part in (start, end)]
    if not dash or None in times:
        raise UsageError(f"--span takes two times, as in 1:02-1:20.5 or 62-80.5, not “{text}”.")
    first, last = (
        int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3].replace(",", "."))
        for found in times
    )
    if last <= first:
        raise UsageError(f"--span {text} ends before it begins.")
    return first, last


def standard_input() -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise UsageError(
            "Export what? Name a VIDEO and its --span, or pipe moments in, as in "
            "`longtake search --json WORDS | longtake export -o hits.html`."
        )
    return iter(sys.stdin.buffer)


def read_moments(lines: Iterator[bytes]) -> list[Moment]:
    """The moments in JSON lines of ours: those of `search`, by video too, of `highlights`, and the
    sources of `ask`.
    Raises UsageError for what is no such line."""
    moments: list[Moment] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _records(json.loads(line))
            moments += [_checked(msgspec.convert(_UNTOLD | each, Moment)) for each in found]
        except (ValueError, TypeError, LookupError, msgspec.ValidationError) as error:
            raise UsageError(
                f"Line {number} of standard input is no moment ({error}); "
                "`longtake search --json` prints them."
            ) from error
    return moments


def _checked(moment: Moment) -> Moment:
    start, end = moment.start_seconds, moment.end_seconds
    if not (math.isfinite(start) and math.isfinite(end) and end >= max(start, 0.0)):
        raise ValueError(f"it lasts from {start} to {end}")
    return moment


def _records(record: Any) -> list[dict[str, Any]]:
    """The moments in one line; those that tell something else have none."""
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if "start_seconds" in record:
        return [record]
    if "moments" in record:
        return record["moments"]
    if "sources" in record:
        return [source["moment"] for source in record["sources"]]
    if "highlights" in record:
        video = {"video_id": record["vid"], "title": record["title"]}
        return [
            video | each | {"channel": "+".join(each["channels"])} for each in record["highlights"]
        ]
    if "query" in record or "event" in record:
        return []
    raise ValueError("it has no start_seconds")
