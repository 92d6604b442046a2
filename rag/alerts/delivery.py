"""The outbox at work: what a standing question has reported is sent until it has arrived.

Each receiver has a thread of its own, so a dead one holds up nobody else. What is on its way lies
in the library (`index.alerts`) and is sent again after a kill, under the same id: a receiver may
get an event twice, and knows it by that id.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import msgspec
import tenacity

from index.alerts import Alert, AlertBook, AlertEvent, Delivery
from index.errors import LongtakeError
from index.schema import Video
from rag.alerts.settings import AlertSettings

log = logging.getLogger(__name__)

_ERROR_CHARACTERS = 300


class NotDelivered(LongtakeError):
    """A receiver did not take an event. The message says why."""


class Refused(NotDelivered):
    """It never will: to try again is no use."""


def notification(alert: Alert, event: AlertEvent, video: Video | None) -> dict[str, Any]:
    """What receivers get, as JSON. `id` is that of the event: the same for each attempt."""
    wall = event.wall_clock_start
    return {
        "id": event.id,
        "alert_id": event.alert_id,
        "alert": event.question,
        "video_id": event.video_id,
        "source": video.title if video else event.video_id,
        "epoch": event.epoch,
        "start_seconds": event.start_seconds,
        "end_seconds": event.end_seconds,
        "started_at": None if wall is None else _iso(wall),
        "noticed_at": _iso(event.noticed_at),
        "score": round(event.score, 4),
        "checked": event.checked,
        "channel": event.channel,
        "text": event.text,
        "reason": reason(event),
    }


def reason(event: AlertEvent) -> str:
    """Why, in words."""
    ways = {"speech": "heard", "screen_text": "on screen", "fingerprint": "the picture was shown"}
    way = ways.get(event.channel, f"in {event.channel}")
    said = f": “{' '.join(event.text.split())}”" if event.text else ""
    return f"{way}{said} ({event.score:.2f})"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Outbox:
    """Sends deliveries. `put` returns at once; `close` waits for what is being sent right now."""

    def __init__(self, book: AlertBook, settings: AlertSettings):
        self._book = book
        self._settings = settings
        self._closing = threading.Event()
        self._queues: dict[tuple, SimpleQueue] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def put(self, alert: Alert, event: AlertEvent, video: Video | None) -> None:
        """Sends an event whose deliveries lie in the library."""
        for delivery in deliveries_of(alert, event):
            self.send(alert, event, video, delivery)

    def close(self, timeout_seconds: float = 2.0) -> None:
        """What has not arrived stays pending, for the next process."""
        self._closing.set()
        with self._lock:
            queues, threads = list(self._queues.values()), list(self._threads)
        for queue in queues:
            queue.put(None)
        until = time.monotonic() + timeout_seconds
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def send(
        self, alert: Alert, event: AlertEvent, video: Video | None, delivery: Delivery
    ) -> None:
        """Sends one of them."""
        receiver = (delivery.way, alert.webhook if delivery.way == "webhook" else alert.command)
        with self._lock:
            if self._closing.is_set():
                return
            if receiver not in self._queues:
                self._queues[receiver] = SimpleQueue()
                thread = threading.Thread(
                    target=self._work, args=(self._queues[receiver],), name="outbox", daemon=True
                )
                self._threads.append(thread)
                thread.start()
            self._queues[receiver].put((alert, notification(alert, event, video), delivery))

    def _work(self, queue: SimpleQueue) -> None:
        while (item := queue.get()) is not None and not self._closing.is_set():
            try:
                self._deliver(*item)
            except LongtakeError as error:  # the library is gone; the delivery stays pending
                log.warning("an alert's delivery cannot be recorded: %s", error)

    def _deliver(self, alert: Alert, payload: dict[str, Any], delivery: Delivery) -> None:
        settings = self._settings
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
                    if delivery.way == "webhook":
                        post(alert.webhook, payload, settings.timeout_seconds)
                    else:
                        run_command(alert.command, payload, settings.timeout_seconds)
        except NotDelivered as error:
            cut_short = self._closing.is_set() and not isinstance(error, Refused)
            state, problem = "pending" if cut_short else "failed", str(error)[:_ERROR_CHARACTERS]
            log.warning("alert %s: %s", payload["id"], error)
        self._book.put_delivery(replace(delivery, state=state, attempts=made, error=problem))


def deliveries_of(alert: Alert, event: AlertEvent) -> list[Delivery]:
    """What is to be sent of an event."""
    ways = (["webhook"] if alert.webhook else []) + (["exec"] if alert.command else [])
    return [Delivery(event.id, alert.id, event.video_id, way) for way in ways]


def post(url: str, payload: dict[str, Any], timeout_seconds: float) -> None:
    """Raises NotDelivered, and Refused where the receiver will never take it."""
    import httpx

    try:
        answer = httpx.post(
            url,
            content=msgspec.json.encode(payload),
            headers={"Content-Type": "application/json", "Idempotency-Key": payload["id"]},
            timeout=timeout_seconds,
        )
    except httpx.HTTPError as error:
        raise NotDelivered(f"{url}: {error or type(error).__name__}") from error
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(f"{url}: {error}") from error
    if answer.is_success:
        return
    later = answer.status_code in (408, 425, 429) or answer.status_code >= 500
    raise (NotDelivered if later else Refused)(f"{url} answered {answer.status_code}")


def run_command(command: Sequence[str], payload: dict[str, Any], timeout_seconds: float) -> None:
    """The program gets the payload on standard input, never through a shell. Raises NotDelivered
    where it fails or takes too long, and Refused where there is no such program."""
    try:
        done = subprocess.run(
            list(command),
            input=msgspec.json.encode(payload) + b"\n",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_seconds,
            env={**os.environ, "LONGTAKE_EVENT_ID": payload["id"]},
            start_new_session=True,  # Ctrl-C is for us
        )
    except subprocess.TimeoutExpired as error:
        raise NotDelivered(f"{command[0]}: took more than {timeout_seconds:g} s") from error
    except (FileNotFoundError, PermissionError) as error:
        raise Refused(f"{command[0]}: {error.strerror}") from error
    except OSError as error:
        raise NotDelivered(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-_ERROR_CHARACTERS:]
        raise NotDelivered(f"{command[0]}: exit status {done.returncode}{said and f': {said}'}")
