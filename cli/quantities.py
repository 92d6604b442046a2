"""Lengths of time and amounts of data as people type them."""

from __future__ import annotations

import re

from index.errors import UsageError

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_TIME = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def length_of_time(text: str, option: str) -> float:
    """`7d`, `36h`, `1h30m`: seconds, above 0. Raises UsageError."""
    given = text.strip().lower()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(given))
    if not _TIME.fullmatch(given) or seconds <= 0:
        raise UsageError(f"{option} takes a length of time, as in 7d, 36h or 90m, not “{text}”.")
    return seconds


def number_of_bytes(text: str, option: str) -> int:
    """`50GB` (powers of 1000), `500MiB` (of 1024). Raises UsageError."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(text.strip()))
    except ValidationError as error:
        raise UsageError(f"{option} takes a size, as in 50GB or 500MiB, not “{text}”.") from error
