"""How a time in a video is written for people."""

from __future__ import annotations


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


def time_span(start_seconds: float, end_seconds: float) -> str:
    """`0:12–0:15`, or one time where both read the same."""
    start, end = timestamp(start_seconds), timestamp(end_seconds)
    return start if start == end else f"{start}–{end}"
