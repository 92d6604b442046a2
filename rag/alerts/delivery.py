"""The outbox at work: what a standing question has reported is sent until it has arrived.

Each receiver has a thread of its own, so a dead one holds up nobody else. What is on its way lies
in the library (`index.alerts`) and is sent again after a kill, under the same id: a receiver may
get an event twice, and knows it by that id.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import tenacity

from index.alerts import Alert, AlertBook, AlertEvent, Delivery
from index.errors import LongtakeError
from index.schema import Video
from rag.alerts.settings import AlertSettings

log = logging.getLogger(__name__)

_ERROR_CHARACTERS = 300
_LAST_WORDS_SECONDS = 0.5
_LOOK_SECONDS = 0.25
_END_SECONDS = 1.0


class NotDelivered(LongtakeError):
    """A receiver did not take an event. The message says why."""


class Refused(NotDelivered):
    """It never will: to try again is no use."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Where an event was recorded: a file, and a span by that file's clock."""

    path: str
    start_seconds: float
    end_seconds: float


ClipOf = Callable[[AlertEvent], Clip | None]


def notification(
    alert: Alert, event: AlertEvent, video: Video | None, clip: Clip | None = None
) -> dict[str, Any]:
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
        "clip": None if clip is None else msgspec.to_builtins(clip),
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
        self._given_up.set()  # programs that run yet would be left behind
        until = time.monotonic() + _END_SECONDS
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
            self._queues[receiver].put((alert, event, video, delivery))

    def _work(self, queue: SimpleQueue) -> None:
        while (item := queue.get()) is not None and not self._closing.is_set():
            try:
                self._deliver(*item)
            except LongtakeError as error:  # the library is gone; the delivery stays pending
                log.warning("an alert's delivery cannot be recorded: %s", error)
            except Exception:  # the next ones go on; this one stays pending
                log.exception("An alert's delivery failed")

    def _deliver(
        self, alert: Alert, event: AlertEvent, video: Video | None, delivery: Delivery
    ) -> None:
        settings = self._settings
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
                    if delivery.way == "webhook":
                        post(alert.webhook, payload, settings.timeout_seconds)
                    else:
                        run_command(
                            alert.command, payload, settings.timeout_seconds, self._given_up.is_set
                        )
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

    headers = {"Content-Type": "application/json", "Idempotency-Key": payload["id"]}
    try:
        # The status is all that is wanted of the answer: its body may have no end.
        with httpx.stream(
            "POST", url, content=encoded(payload), headers=headers, timeout=timeout_seconds
        ) as answer:
            status, taken = answer.status_code, answer.is_success
    except httpx.HTTPError as error:
        raise NotDelivered(f"{shown(url)}: {error or type(error).__name__}") from error
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(f"{shown(url)}: {error}") from error
    if taken:
        return
    later = status in (408, 425, 429) or status >= 500
    raise (NotDelivered if later else Refused)(f"{shown(url)} answered {status}")


def run_command(
    command: Sequence[str],
    payload: dict[str, Any],
    timeout_seconds: float,
    given_up: Callable[[], bool] = lambda: False,
) -> None:
    """The program gets the payload on standard input, never through a shell. What it has started
    and left running is not waited for; what it says is only kept in part. Raises NotDelivered where
    it fails, takes too long or is given up, which ends it with all that it has started, and Refused
    where there is no such program."""
    with tempfile.TemporaryFile() as given:  # a pipe might be full before it reads
        given.write(encoded(payload) + b"\n")
        given.seek(0)
        try:
            program = subprocess.Popen(
                list(command),
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "LONGTAKE_EVENT_ID": payload["id"]},
                start_new_session=True,  # Ctrl-C is for us
            )
        except (FileNotFoundError, PermissionError) as error:
            raise Refused(f"{command[0]}: {error.strerror}") from error
        except OSError as error:
            raise NotDelivered(f"{command[0]}: {error.strerror}") from error
        except ValueError as error:  # a null byte in an argument
            raise Refused(f"{command[0]}: {error}") from error
    said = _Said(program.stderr)
    until = time.monotonic() + timeout_seconds
    while (status := _ended(program, min(_LOOK_SECONDS, until - time.monotonic()))) is None:
        late = time.monotonic() >= until
        if late or given_up():
            _end(program)
            why = f"took more than {timeout_seconds:g} s" if late else "was broken off"
            raise NotDelivered(f"{command[0]}: {why}")
    if status:
        words = said.text()
        raise NotDelivered(f"{command[0]}: exit status {status}{words and f': {words}'}")


def encoded(payload: dict[str, Any]) -> bytes:
    """As JSON. Text that is valid in no encoding loses what is not."""
    try:
        return msgspec.json.encode(payload)
    except UnicodeEncodeError:
        sound = {
            name: value.encode(errors="replace").decode() if isinstance(value, str) else value
            for name, value in payload.items()
        }
        return msgspec.json.encode(sound)


def shown(url: str) -> str:
    """The address without a password in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host))


def _ended(program: subprocess.Popen, within_seconds: float) -> int | None:
    try:
        return program.wait(max(within_seconds, 0.0))
    except subprocess.TimeoutExpired:
        return None


def _end(program: subprocess.Popen) -> None:
    """With what it has started, where that can be told."""
    try:
        if os.name == "posix":
            os.killpg(program.pid, signal.SIGKILL)  # it leads a session of its own
        else:
            program.kill()
    except ProcessLookupError:
        pass
    program.wait()


class _Said:
    """The end of what a program writes to a pipe, which is read in a thread of its own until nobody
    holds it any more: that may be long after the program."""

    def __init__(self, pipe: IO[bytes]):
        self._pipe = pipe
        self._end = b""
        self._thread = threading.Thread(target=self._read, name="outbox stderr", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            while some := os.read(self._pipe.fileno(), 65_536):
                self._end = (self._end + some)[-4 * _ERROR_CHARACTERS :]

    def text(self) -> str:
        self._thread.join(_LAST_WORDS_SECONDS)
        return self._end.decode(errors="replace").strip()[-_ERROR_CHARACTERS:]
