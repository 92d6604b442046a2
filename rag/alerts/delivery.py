"""What a receiver of a standing question gets, and how: as JSON, by a webhook or by a program."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from index.alerts import Alert, AlertEvent, Delivery
from index.errors import LongtakeError
from index.schema import Video

ERROR_CHARACTERS = 300
"""So much is kept of what a receiver says."""

_LAST_WORDS_SECONDS = 0.5
_LOOK_SECONDS = 0.25

Receiver = str | tuple[str, ...]
"""An address, or a program with its arguments."""


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


def deliveries_of(alert: Alert, event: AlertEvent, state: str = "pending") -> list[Delivery]:
    """What is to be sent of an event."""
    return [
        Delivery(event.id, alert.id, event.video_id, way, state, noticed_at=event.noticed_at)
        for way, _ in receivers_of(alert)
    ]


def receivers_of(alert: Alert) -> list[tuple[str, Receiver]]:
    """Ways, each with the address or the program."""
    ways = [("webhook", alert.webhook), ("exec", alert.command)]
    return [(way, receiver) for way, receiver in ways if receiver]


def post(url: str, payload: dict[str, Any], timeout_seconds: float) -> None:
    """timeout_seconds: for all of it. Raises NotDelivered, and Refused where the receiver will
    never take it."""
    import httpx

    headers = {"Content-Type": "application/json", "Idempotency-Key": payload["id"]}
    late = NotDelivered(f"{shown(url)}: took more than {timeout_seconds:g} s")
    limit = _Limit(timeout_seconds)
    try:
        # The status is all that is wanted of the answer: its body may have no end.
        with (
            limit,
            httpx.Client(timeout=timeout_seconds) as client,
            client.stream(
                "POST",
                url,
                content=encoded(payload),
                headers=headers,
                extensions={"trace": limit.trace},
            ) as answer,
        ):
            status, taken = answer.status_code, answer.is_success
    except httpx.HTTPError as error:
        if limit.passed or isinstance(error, httpx.TimeoutException):
            raise late from error
        raise NotDelivered(f"{shown(url)}: {error or type(error).__name__}") from error
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(f"{shown(url)}: {error}") from error
    if taken:
        return
    later = status in (408, 425, 429) or status >= 500
    raise (NotDelivered if later else Refused)(f"{shown(url)} answered {status}")


class _Limit:
    """One limit for all of a request: httpx's own are for each read, and headers may come byte by
    byte. When it has passed, the connection is cut."""

    def __init__(self, seconds: float):
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.passed = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def trace(self, event: str, told: dict[str, Any]) -> None:
        """httpx's extension: what the request has come to."""
        if event.endswith("connect_tcp.complete"):
            with self._lock:
                # A copy: TLS takes the original's place.
                self._connection = told["return_value"].get_extra_info("socket").dup()

    def _pass(self) -> None:
        self.passed = True
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)


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
                self._end = (self._end + some)[-4 * ERROR_CHARACTERS :]

    def text(self) -> str:
        self._thread.join(_LAST_WORDS_SECONDS)
        return self._end.decode(errors="replace").strip()[-ERROR_CHARACTERS:]
