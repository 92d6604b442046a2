"""The second stage of a standing question: a Video-LLM looks at the pictures of an event, once,
before anybody is told (perception, decision and reaction apart, as in Dispider: Qian et al. 2025).

It is asked in a thread of its own, so that a slow model holds up no evidence. Where there are no
pictures, or it fails, or answers neither yes nor no, the event is told unchecked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from queue import Full, Queue

from index.alerts import Alert, AlertEvent
from index.errors import LongtakeError
from index.schema import Video
from rag.alerts.settings import AlertSettings
from rag.rerank import Candidate, Reranker

log = logging.getLogger(__name__)

AROUND_SECONDS = 1.0
"""Looked at before and behind what is known of an event."""

MOST_WAITING = 200
"""So many events wait for a model that cannot keep up; the next ones are told unchecked."""

_AGAIN_SECONDS = 0.25


class Checker:
    """onlooker: judges one candidate, 0..1. done: is called, in the checker's thread, with each
    event, `checked` filled in where there was a judgement."""

    def __init__(
        self,
        onlooker: Reranker,
        settings: AlertSettings,
        done: Callable[[Alert, AlertEvent, Video], None],
    ):
        self._onlooker = onlooker
        self._settings = settings
        self._done = done
        self._closing = threading.Event()
        self._queue: Queue = Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="check alerts", daemon=True)
        self._thread.start()

    def put(self, alert: Alert, event: AlertEvent, video: Video) -> bool:
        """Returns False, without it, where too many wait."""
        try:
            self._queue.put_nowait((alert, event, video))
        except Full:
            return False
        return True

    def close(self, timeout_seconds: float) -> None:
        """What was not looked at stays unchecked and untold, for the next process."""
        self._closing.set()
        with suppress(Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and not self._closing.is_set():
            alert, event, video = item
            checked = self._judged(alert, event)
            if self._closing.is_set() and checked is None:
                return
            try:
                self._done(alert, replace(event, checked=checked), video)
            except LongtakeError as error:  # the library is gone; the next process goes on
                log.warning("the check of the event %s cannot be kept: %s", event.id, error)
            except Exception:  # the next ones go on; this one stays pending
                log.exception("The check of the event %s cannot be told", event.id)

    def _judged(self, alert: Alert, event: AlertEvent) -> float | None:
        start = max(event.start_seconds - AROUND_SECONDS, 0.0)
        end = max(event.end_seconds, event.start_seconds + AROUND_SECONDS) + AROUND_SECONDS
        candidate = Candidate(event.text, event.video_id, start, end)
        until = time.monotonic() + self._settings.check_wait_seconds
        while True:
            try:
                (judged,) = self._onlooker.scores(alert.text, [candidate])
            except LongtakeError as error:
                log.warning("the event %s cannot be checked: %s", event.id, error)
                return None
            except Exception:  # whatever the model's library does, the event is told
                log.exception("The event %s cannot be checked", event.id)
                return None
            if judged is not None or time.monotonic() >= until:
                return judged
            if self._closing.wait(_AGAIN_SECONDS):
                return None
