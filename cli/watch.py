"""`longtake watch`: streams in, until they end or the user stops."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from cli.compose import build_alert_watcher, build_claims, build_thumbnails, open_library
from cli.index import ONE_SIGNAL_SECONDS, while_its_folder_is_there
from cli.narration import Narration
from cli.render import safe, say
from cli.senses import Senses, chosen_channels
from cli.settings import Settings
from cli.telling import Told
from index.errors import ConfigError
from index.library import Library
from index.pieces import RECORDINGS
from ingest.channel import Sample
from ingest.claims import Claims
from ingest.live.epoch_pass import LiveNews
from ingest.live.source import LiveSource, parse_sources
from ingest.live.state import SourceState
from ingest.live.stopping import RECEIVERS_BY_SECONDS, Stop
from ingest.live.watcher import Watcher
from ingest.plan import Channels

Made = TypeVar("Made")

_MADE_WITHIN_SECONDS = 1.0
"""So long what is being made ready when the user stops may still be."""

_TURN_SECONDS = 0.0002
"""So long a thread keeps the interpreter while another one wants it. A search by another process is
some thirty short calls, each of which gives it up and wants it back several times; with Python's
own 5 ms it waited for those who look at pictures most of its time."""

_COMMENT_SECONDS = 20.0
"""So long a commentator has for what waits, where all sources have come to their end."""


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
    said = {"record": record, "keep_seconds": keep_seconds, "keep_bytes": keep_bytes}
    settings = for_streams(settings, channels, said)
    senses = Senses(settings)
    senses.check_models()
    stop = Stop()
    told = Told(as_json, stop)
    sys.setswitchinterval(_TURN_SECONDS)
    with (
        stopping(stop) as caught,
        while_its_folder_is_there(settings) as opened,
        open_library(settings, must_exist=False) as library,
    ):
        opened.set()
        states = _watch_all(settings, senses, library, sources, told, stop, narrate)
    if told.lost is not None:
        raise told.lost
    # One without a state hangs yet, and was not waited for.
    failed = any(state.state == "failed" for state in states if state is not None)
    if signal.SIGINT in caught:
        return 130
    return 1 if failed else 0


def _watch_all(
    settings: Settings,
    senses: Senses,
    library: Library,
    sources: Sequence[LiveSource],
    told: Told,
    stop: Stop,
    narrate: bool,
) -> list[SourceState | None]:
    """The last state of each source, once all have ended."""

    def perceive() -> Channels:
        senses.prepare_models(lambda text: say(safe(text)))
        return senses.channels()

    channels = unless_stopped(stop, perceive)
    if settings.server is not None:
        settings.library.mkdir(parents=True, exist_ok=True)
    states: list[SourceState | None] = []
    with _Listeners(settings, library, told, stop) as listeners:
        library, claims = build_claims(settings, library)
        listeners.start(claims, narrate)
        if channels is not None and not stop.is_set():
            watchers = [
                Watcher(
                    library,
                    channels,
                    settings.ingest,
                    settings.live,
                    build_thumbnails(settings),
                    claims,
                    source,
                    stop,
                    listeners.on_state,
                    listeners.hear,
                    onlooker=listeners.look,
                    recordings=settings.library / RECORDINGS,
                    reserve_bytes=settings.index.reserve_bytes + settings.live.spare_bytes,
                )
                for source in sources
            ]
            states = _run_all(sources, watchers, stop)
        told.finish()
    return states


class _Listeners:
    """Who hears what the sources show: the standing questions, and a commentator where one is
    wanted. Closing waits for what is under way, a while."""

    def __init__(self, settings: Settings, library: Library, told: Told, stop: Stop):
        self._settings = settings
        self._told = told
        self._stop = stop
        self._alerts = build_alert_watcher(settings, library, told.event)
        self._narration: Narration | None = None

    def start(self, claims: Claims, narrate: bool) -> None:
        unless_stopped(
            self._stop, lambda: self._alerts.start(lambda video_id: is_free(claims, video_id))
        )
        for note in self._alerts.notes:
            _warn(note)
        if narrate:
            self._narration = unless_stopped(
                self._stop, lambda: Narration(self._settings, self._told.remark, _warn)
            )

    def hear(self, news: LiveNews) -> None:
        epoch = news.epoch
        zero = epoch.wall_clock_start - epoch.start_seconds
        self._alerts.see(news.video, epoch.number, zero, news.evidence)
        if self._narration is not None and not news.again:
            self._narration.hear(news)

    def look(self, source: str, sample: Sample) -> None:
        if self._narration is not None:
            self._narration.look(source, sample)

    def on_state(self, state: SourceState) -> None:
        self._told(state)
        if self._narration is not None:
            self._narration.on_state(state)

    def __enter__(self) -> _Listeners:
        return self

    def __exit__(self, *_exc: object) -> None:
        within = partial(self._stop.left, by_seconds=RECEIVERS_BY_SECONDS)
        try:
            if self._narration is not None:
                stopped = self._stop.is_set()
                wait = within(1.0 if stopped else _COMMENT_SECONDS)
                self._narration.close(wait, after_all=not stopped)
        finally:
            self._alerts.close(within)


def _warn(text: str) -> None:
    say((safe(text), "yellow"))


def for_streams(
    settings: Settings, named: Sequence[str] | None, said: Mapping[str, Any]
) -> Settings:
    """With the channels that look at streams, and what was said of `live` and is not None. Raises
    ConfigError for unknown channels, and where none is left."""
    chosen = chosen_channels(settings, named)
    if chosen == ("text",):
        raise ConfigError("Of a live source `text` is made of what other channels find: name them.")
    read = settings.channels.screen_text
    if not read.threads:  # a core is left to those who search
        from ingest.models.device import usable_cores

        read = read.model_copy(update={"threads": max(min(4, usable_cores() - 1), 1)})
    channels = settings.channels.model_copy(update={"enabled": chosen, "screen_text": read})
    changes = {name: value for name, value in said.items() if value is not None}
    live = settings.live.model_copy(update=changes)
    return settings.model_copy(update={"channels": channels, "live": live})


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
        elif now - first_at > ONE_SIGNAL_SECONDS:
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
