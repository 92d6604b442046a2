"""The outbox at work: what a standing question has reported is sent until it has arrived.

Each receiver has a thread of its own, so a dead one holds up nobody else. What is on its way lies
in the library (`index.alerts`); of it a receiver's thread has the next few in memory, however many
wait for one that is dead. After a kill it is sent again, under the same id: a receiver may get an
event twice, and knows it by that id.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import tenacity

from index.alerts import Alert, AlertBook, AlertEvent, Delivery
from index.errors import LongtakeError
from index.schema import Video
from rag.alerts.delivery import (
    ERROR_CHARACTERS,
    ClipOf,
    NotDelivered,
    Receiver,
    Refused,
    deliveries_of,
    notification,
    post,
    receivers_of,
    run_command,
)
from rag.alerts.settings import AlertSettings

log = logging.getLogger(__name__)

AHEAD = 100
"""So many deliveries to one receiver are in memory."""

_END_SECONDS = 0.5


@dataclass
class _Line:
    """What waits for one receiver, oldest first. more: some of it lies in the library alone, as may
    be from the beginning, where the question told somebody else before. reading: it is being read
    from there. odd: deliveries that failed in a way that trying again does not mend; the next
    process tries."""

    way: str
    receiver: Receiver
    waiting: deque[Delivery] = field(default_factory=deque)
    more: bool = True
    reading: bool = False
    odd: set[str] = field(default_factory=set)


class Outbox:
    """Sends deliveries. `put` returns at once; `close` waits a moment for what is being sent right
    now, and ends programs that run on. clip_of: where an event was recorded; asked when it is
    sent."""

    def __init__(
        self, book: AlertBook, settings: AlertSettings, clip_of: ClipOf = lambda event: None
    ):
        self._book = book
        self._clip_of = clip_of
        self._settings = settings
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._alerts: dict[str, Alert] = {}
        self._videos: dict[str, Video] = {}
        self._lines: dict[tuple[str, Receiver], _Line] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def put(self, alert: Alert, event: AlertEvent, video: Video) -> None:
        """Sends an event that lies in the library with its deliveries."""
        with self._changed:
            self._alerts[alert.id], self._videos[video.id] = alert, video
            for delivery in deliveries_of(alert, event):
                line = self._line_of(alert, delivery)
                if line.more or line.reading or len(line.waiting) >= AHEAD:
                    line.more = True
                else:
                    line.waiting.append(delivery)
            self._changed.notify_all()

    def resume(self, alerts: Iterable[Alert], videos: Iterable[Video] = ()) -> None:
        """Sends what lies in the library: what an earlier process did not get rid of, or what waits
        for the receiver that a question had before. Of those videos, and of those known."""
        with self._changed:
            self._videos |= {video.id: video for video in videos}
            for alert in alerts:
                self._alerts[alert.id] = alert
                for way, _ in receivers_of(alert):
                    self._line_of(alert, Delivery("", alert.id, "", way)).more = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more is begun."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """What has not arrived stays pending, for the next process."""
        self.stop()
        self._join(timeout_seconds)
        self._given_up.set()  # programs that run yet would be left behind
        self._join(_END_SECONDS)

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def _line_of(self, alert: Alert, delivery: Delivery) -> _Line:
        key = delivery.way, dict(receivers_of(alert))[delivery.way]
        if key not in self._lines:
            self._lines[key] = line = _Line(*key)
            if not self._closing.is_set():
                thread = threading.Thread(
                    target=self._work, args=(line,), name="outbox", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        return self._lines[key]

    def _work(self, line: _Line) -> None:
        while (delivery := self._next(line)) is not None:
            try:
                self._deliver(line, delivery)
                continue
            except LongtakeError as error:  # the library is gone; the delivery stays pending
                log.warning("an alert's delivery cannot be recorded: %s", error)
            except Exception:  # the next ones go on; this one stays pending
                log.exception("An alert's delivery failed")
            line.odd.add(delivery.id)

    def _next(self, line: _Line) -> Delivery | None:
        """None when it is to end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: line.waiting or line.more or self._closing.is_set())
                if self._closing.is_set():
                    return None
                if line.waiting:
                    return line.waiting.popleft()
                line.more, line.reading = False, True
                alerts, videos = dict(self._alerts), set(self._videos)
            found, failed = [], False
            try:
                found = self._lying(line, alerts, videos)
            except LongtakeError as error:
                log.warning("what waits for a receiver cannot be read: %s", error)
                failed = True
                self._closing.wait(self._settings.longest_wait_seconds)
            with self._changed:
                line.waiting.extend(found)
                line.reading = False
                line.more |= failed or len(found) == AHEAD

    def _lying(self, line: _Line, alerts: dict[str, Alert], videos: set[str]) -> list[Delivery]:
        """The oldest of what lies in the library for that receiver."""
        own = {
            id for id, alert in alerts.items() if (line.way, line.receiver) in receivers_of(alert)
        }
        wanted = (
            one
            for one in self._book.deliveries("pending")
            if one.way == line.way
            and one.alert_id in own
            and one.video_id in videos
            and one.id not in line.odd
        )
        return heapq.nsmallest(AHEAD, wanted, key=lambda one: (one.noticed_at, one.id))

    def _deliver(self, line: _Line, delivery: Delivery) -> None:
        settings, event = self._settings, self._book.event(delivery.event_id)
        # Its question may have been taken away; and what was found in the library as it was put is
        # here twice.
        if event is None or not self._is_waiting(delivery):
            return
        with self._changed:
            alert, video = self._alerts[delivery.alert_id], self._videos[delivery.video_id]
        if (line.way, line.receiver) not in receivers_of(alert):  # somebody else is told by now
            return
        payload = notification(alert, event, video, self._clip_of(event))
        tries = tenacity.Retrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(settings.attempts),
                tenacity.stop_when_event_set(self._closing),
            ),
            wait=tenacity.wait_random_exponential(
                multiplier=settings.first_wait_seconds, max=settings.longest_wait_seconds
            ),
            sleep=tenacity.sleep_using_event(self._closing),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, NotDelivered) and not isinstance(error, Refused)
            ),
            reraise=True,
        )
        made = delivery.attempts
        state, problem = "delivered", ""
        try:
            for attempt in tries:
                with attempt:
                    made += 1
                    if line.way == "webhook":
                        post(line.receiver, payload, settings.timeout_seconds)
                    else:
                        run_command(
                            line.receiver,
                            payload,
                            settings.timeout_seconds,
                            self._given_up.is_set,
                        )
        except NotDelivered as error:
            cut_short = self._closing.is_set() and not isinstance(error, Refused)
            state, problem = "pending" if cut_short else "failed", str(error)[:ERROR_CHARACTERS]
            log.warning("alert %s: %s", payload["id"], error)
            if not self._is_waiting(delivery):  # it has arrived at another one meanwhile
                return
        told = replace(delivery, state=state, attempts=made, error=problem)
        self._book.put_delivery(replace(told, noticed_at=event.noticed_at))

    def _is_waiting(self, delivery: Delivery) -> bool:
        lying = self._book.delivery(delivery.id)
        return lying is not None and lying.state == "pending"
