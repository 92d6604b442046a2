"""How a time in a video is written for people."""

from __future__ import annotations

from datetime import datetime

from index.schema import Moment


def timestamp(seconds: float) -> str:
    """`m:ss` below an hour, else `h:mm:ss`; tenths where there are any: 0:12, 1:02:03.4.

    Rounds to the tenth before it splits, so that no 0:60 comes out.
    """
    tenths = round(abs(seconds) * 10)
    whole, tenth = divmod(tenths, 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{sign}{text}.{tenth}" if tenth else f"{sign}{text}"


def time_of_day(unix_seconds: float) -> str:
    """`2026-11-28 14:31:07`, where this machine is."""
    return datetime.fromtimestamp(unix_seconds).isoformat(" ", "seconds")


def place_in_time(moment: Moment) -> str:
    """The span of a moment; of a live source with the time of day when it began."""
    span = time_span(moment.start_seconds, moment.end_seconds)
    if moment.wall_clock_start is None:
        return span
    return f"{span} ({time_of_day(moment.wall_clock_start)})"


def time_span(start_seconds: float, end_seconds: float) -> str:
    """`0:12–0:15`, or one time where both read the same."""
    start, end = timestamp(start_seconds), timestamp(end_seconds)
    return start if start == end else f"{start}–{end}"
