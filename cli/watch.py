"""`longtake watch`: streams in, until they end or the user stops."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from cli.compose import build_alert_watcher, build_claims, build_thumbnails, open_library
from cli.index import while_its_folder_is_there
from cli.narration import Narration
from cli.render import data_line, print_json, safe, say, say_error
from cli.senses import Senses, chosen_channels
from cli.settings import Settings
from index.alerts import Alert, AlertEvent
from index.errors import ConfigError
from index.pieces import RECORDINGS
from index.schema import Video
from ingest.claims import Claims
from ingest.live.epoch_pass import LiveNews
from ingest.live.source import LiveSource, parse_sources
from ingest.live.state import SourceState
from ingest.live.stopping import RECEIVERS_BY_SECONDS, Stop
from ingest.live.watcher import Watcher
from ingest.plan import Channels
from rag.alerts.watcher import AlertWatcher
from rag.narrate import Remark
from rag.timestamp import time_of_day, timestamp

Made = TypeVar("Made")

_ONE_SIGNAL_SECONDS = 1.0

_MADE_WITHIN_SECONDS = 1.0
"""So long what is being made ready when the user stops may still be."""

_TURN_SECONDS = 0.0002
"""So long a thread keeps the interpreter while another one wants it. A search by another process is
some thirty short calls, each of which gives it up and wants it back several times; with Python's
own 5 ms it waited for those who look at pictures most of its time."""

_COMMENT_SECONDS = 20.0
"""So long a commentator has for what waits, where all sources have come to their end."""

_LINE_SECONDS = 60.0
"""How often a line tells how a source is doing, where there is no terminal."""


def run_watch(
    settings: Settings,
    given: Sequence[str],
    *,
    names: Sequence[str] = (),
    record: bool | None = None,
    keep_seconds: float | None = None,
    keep_bytes: int | None = None,
    narrate: bool = False,
    channels: Sequence[str] | None = None,
    as_json: bool = False,
) -> int:
    """Watches until all sources have ended or the user stops. Returns the exit status: 1 where a
    source failed, 130 after Ctrl-C, 0 after SIGTERM. record, keep_seconds, keep_bytes: None does as
    the settings say.

    Raises UsageError for what is no source.
    """
    sources = parse_sources(given, names)
    settings = for_streams(settings, channels)
    said = {"record": record, "keep_seconds": keep_seconds, "keep_bytes": keep_bytes}
    changes = {name: value for name, value in said.items() if value is not None}
    live = settings.live.model_copy(update=changes)
    settings = settings.model_copy(update={"live": live})
    senses = Senses(settings)
    senses.check_models()
    stop = Stop()
    told_by = partial(stop.left, by_seconds=RECEIVERS_BY_SECONDS)
    sys.setswitchinterval(_TURN_SECONDS)
    with (
        stopping(stop) as caught,
        while_its_folder_is_there(settings) as opened,
        open_library(settings, must_exist=False) as library,
        ExitStack() as closing,
    ):
        opened.set()

        def perceive() -> Channels:
            senses.prepare_models(lambda text: say(safe(text)))
            return senses.channels()

        perceived = unless_stopped(stop, perceive)
        if settings.server is not None:
            settings.library.mkdir(parents=True, exist_ok=True)
        told = Told(as_json, stop)
        alerts = build_alert_watcher(settings, library, told.event)
        closing.callback(lambda: alerts.close(told_by))
        library, claims = build_claims(settings, library)
        unless_stopped(stop, lambda: alerts.start(lambda video_id: is_free(claims, video_id)))
        for note in alerts.notes:
            say((safe(note), "yellow"))
        narration = None
        if narrate:
            narration = unless_stopped(
                stop,
                lambda: Narration(settings, told.remark, lambda text: say((safe(text), "yellow"))),
            )
        if narration is not None:
            closing.callback(
                lambda: narration.close(
                    told_by(1.0 if stop.is_set() else _COMMENT_SECONDS), after_all=not stop.is_set()
                )
            )

        def heard(news: LiveNews) -> None:
            look(alerts, news)
            if narration is not None and not news.again:
                narration.hear(news)

        def on_state(state: SourceState) -> None:
            told(state)
            if narration is not None:
                narration.on_state(state)

        def watched(source: LiveSource) -> Watcher:
            assert perceived is not None
            return Watcher(
                library,
                perceived,
                settings.ingest,
                settings.live,
                build_thumbnails(settings),
                claims,
                source,
                stop,
                on_state,
                heard,
                onlooker=(lambda *_: None) if narration is None else narration.look,
                recordings=settings.library / RECORDINGS,
                reserve_bytes=settings.index.reserve_bytes + settings.live.spare_bytes,
            )

        states = [] if stop.is_set() else _run_all(sources, [watched(one) for one in sources], stop)
        told.finish()
    if told.lost is not None:
        raise told.lost
    # One without a state hangs yet, and was not waited for.
    failed = any(state.state == "failed" for state in states if state is not None)
    if signal.SIGINT in caught:
        return 130
    return 1 if failed else 0


def for_streams(settings: Settings, named: Sequence[str] | None) -> Settings:
    """With the channels that look at streams. Raises ConfigError for unknown ones, and where none
    is left."""
    chosen = chosen_channels(settings, named)
    if chosen == ("text",):
        raise ConfigError("Of a live source `text` is made of what other channels find: name them.")
    read = settings.channels.screen_text
    if not read.threads:  # a core is left to those who search
        from ingest.models.device import usable_cores

        read = read.model_copy(update={"threads": max(min(4, usable_cores() - 1), 1)})
    channels = settings.channels.model_copy(update={"enabled": chosen, "screen_text": read})
    return settings.model_copy(update={"channels": channels})


def _run_all(
    sources: Sequence[LiveSource], watchers: Sequence[Watcher], stop: Stop
) -> list[SourceState | None]:
    """Each in a thread of its own; the last states. One that hangs when the user stops is left to
    the end of the process: what it has committed is there."""
    states: list[SourceState | None] = [None] * len(watchers)

    def run(at: int) -> None:
        states[at] = watchers[at].run()

    threads = [
        threading.Thread(target=run, args=(at,), name=f"watch {source.name}", daemon=True)
        for at, source in enumerate(sources)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.2)  # in short waits, so that signals are seen
    finally:
        if any(thread.is_alive() for thread in threads):
            stop.set()
        for thread in threads:
            thread.join(stop.left(RECEIVERS_BY_SECONDS, RECEIVERS_BY_SECONDS))
    return list(states)  # as they are now: to those that hang, the library will be closed


def unless_stopped(stop: Stop, make: Callable[[], Made]) -> Made | None:
    """What it makes, in a thread of its own; None where the user stopped first. Models may be long
    in coming; one that is then is left to the end of the process."""
    made: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(make())
        except BaseException as error:
            failed.append(error)

    if stop.is_set():
        return None
    thread = threading.Thread(target=run, name="making ready", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(0.2)  # in short waits, so that signals are seen
    thread.join(stop.left(_MADE_WITHIN_SECONDS))
    if failed and not stop.is_set():
        raise failed[0]
    return made[0] if made else None


def is_free(claims: Claims, video_id: str) -> bool:
    """Whether no other process of this machine works on the video now."""
    with claims.holding(video_id) as claim:
        return claim is not None


def look(alerts: AlertWatcher, news: LiveNews) -> None:
    """Holds what is new against the standing questions."""
    epoch = news.epoch
    zero = epoch.wall_clock_start - epoch.start_seconds
    alerts.see(news.video, epoch.number, zero, news.evidence)


@contextmanager
def stopping(stop: threading.Event) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM set the event, so that what is open is closed and written; another one
    breaks off, as a kill does, unless it comes at once: wrappers and shells may both pass one on.
    Yields the signals that came."""
    caught: list[int] = []
    first_at = 0.0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal first_at
        now = time.monotonic()
        if not caught:
            first_at = now
        elif now - first_at > _ONE_SIGNAL_SECONDS:
            # No exception: Python 3.11 takes a thread for ended whose join was interrupted.
            os._exit(128 + number)
        caught.append(number)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {one: signal.signal(one, on_signal) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


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
