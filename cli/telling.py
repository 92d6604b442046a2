"""How `longtake watch` tells about its sources: a line that is kept up to date, events, remarks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from cli.render import data_line, print_json, safe, say, say_error
from index.alerts import Alert, AlertEvent
from index.schema import Video
from ingest.live.state import SourceState
from rag.narrate import Remark
from rag.timestamp import time_of_day, timestamp

_LINE_SECONDS = 60.0
"""How often a line tells how a source is doing, where there is no terminal."""


class Told:
    """Says how the sources are doing: on stderr, and as JSON lines on stdout where asked for.

    On a terminal one line is kept up to date; else, and for changes of state, lines are written.
    Where nobody takes them any more, that is `lost`, nothing more is said, and `stop` is set.
    """

    def __init__(self, as_json: bool, stop: threading.Event):
        self._as_json = as_json
        self._stop = stop
        self.lost: OSError | None = None
        self._lock = threading.Lock()
        self._states: dict[str, SourceState] = {}
        self._told_at: dict[str, float] = {}
        self._terminal = sys.stderr.isatty()
        self._finished = False

    def __call__(self, state: SourceState) -> None:
        with self._telling():
            if self._finished:  # one that was not waited for, and finds the library closed
                return
            before = self._states.get(state.source)
            self._states[state.source] = state
            changed = before is None or (before.state, before.message) != (
                state.state,
                state.message,
            )
            due = time.monotonic() - self._told_at.get(state.source, 0.0) >= _LINE_SECONDS
            if changed or due:
                self._told_at[state.source] = time.monotonic()
                self._clear()
                self._line(state)
                if self._as_json:
                    print_json(state)
                    sys.stdout.flush()
            self._status()

    def event(self, alert: Alert, event: AlertEvent, video: Video) -> None:
        """A standing question has found something."""
        from rag.alerts.delivery import notification, reason

        with self._telling():
            self._clear()
            place = timestamp(event.start_seconds)
            if event.wall_clock_start is not None:
                place += f" ({time_of_day(event.wall_clock_start)})"
            say(
                (f"{safe(alert.name)}: ", "bold"),
                f"{safe(video.title)}  {place}  {safe(reason(event))}",
            )
            if self._as_json:
                print_json({"event": notification(alert, event, video)})
                sys.stdout.flush()
            self._status()

    def remark(self, source: str, remark: Remark) -> None:
        """What happens in a source: this is data."""
        with self._telling():
            self._clear()
            state = self._states.get(source)
            wall = None
            if state is not None and state.wall_clock is not None:
                wall = state.wall_clock + remark.at_seconds - state.at_seconds
            if self._as_json:
                told = {"source": source, "text": remark.text, "at_seconds": remark.at_seconds}
                print_json({"remark": told | {"wall_clock": wall}})
            else:
                place = timestamp(round(remark.at_seconds))
                place += "" if wall is None else f" ({time_of_day(wall)})"
                data_line((safe(source), "bold"), "  ", (place, "cyan"), f"  {safe(remark.text)}")
            sys.stdout.flush()
            self._status()

    def _line(self, state: SourceState) -> None:
        if state.state == "failed":
            say_error(state.message)
            return
        text = state.message or progress_text(state)
        say((f"{safe(state.source)}: ", "bold"), f"{state.state}{', ' if text else ''}{safe(text)}")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """One at a time. From any thread, none of which must die of it."""
        with self._lock:
            try:
                yield
            except OSError as error:
                if self.lost is None:
                    self.lost = error
                self._stop.set()

    def _status(self) -> None:
        if not self._terminal:
            return
        parts = [
            f"{safe(state.source)} {progress_text(state)}"
            for state in self._states.values()
            if state.state == "live" and state.at_seconds is not None
        ]
        if parts:
            sys.stderr.write("\r\x1b[K" + " | ".join(parts))
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")

    def finish(self) -> None:
        """How a source is doing is told no more."""
        with self._telling():
            self._finished = True
            self._clear()


def progress_text(state: SourceState) -> str:
    """`1:02:03 (14:31:07), 0.8 s behind, 12 dropped, 340 found`; "" where nothing came yet."""
    if state.at_seconds is None or state.wall_clock is None:
        return ""
    at = datetime.fromtimestamp(state.wall_clock, UTC).astimezone()
    parts = [f"{timestamp(round(state.at_seconds))} ({at:%H:%M:%S})"]
    if state.lag_seconds is not None:
        parts.append(f"{max(state.lag_seconds, 0.0):.1f} s behind")
    if state.dropped:
        parts.append(f"{state.dropped} dropped")
    parts.append(f"{state.found} found")
    return ", ".join(parts)
