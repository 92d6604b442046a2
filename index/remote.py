"""The client's side of a shared library: a Store that works through whoever owns it."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from index import rendezvous, wire
from index.errors import LibraryBusyError, StoreError
from index.store import ATOMIC_POINTS, Filter, Hit, Point, Store, StoreInfo, Vector, VectorSpace

POINTS_A_MESSAGE = 500
"""A larger upsert travels in several messages, so that it holds the owner up only piecemeal."""

PATIENCE_SECONDS = 30.0

QUIET_SECONDS = 2.0
"""A wait longer than this is told: a warning of this module's logger, once for each store."""

_LOG = logging.getLogger(__name__)

_GREETING_SECONDS = 5.0
"""An owner that is alive answers a greeting within it, however busy its store is."""


class _OwnerGoneError(Exception):
    """The connection broke, or nobody listens."""


class _OwnerSilentError(Exception):
    """The owner is there and says nothing."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One connection to an owner."""

    connection: Connection
    pid: int

    def ask(
        self,
        request: bytes,
        alive: Callable[[], bool],
        arrives: Callable[[Connection, float], bool],
        patience_seconds: float,
    ) -> wire.Reply:
        """Sends and waits for the reply for as long as the owner shows that it is alive."""
        try:
            self.connection.send_bytes(request)
            while not arrives(self.connection, patience_seconds):
                if not alive():
                    raise _OwnerSilentError
            return wire.decode_reply(self.connection.recv_bytes(2 * wire.MAX_MESSAGE_BYTES))
        except BlockingIOError as error:
            raise _OwnerSilentError from error
        except (EOFError, OSError) as error:
            raise _OwnerGoneError from error
        except ValueError as error:
            raise StoreError(f"Process {self.pid} sent an answer that makes no sense.") from error


class SocketStore:
    """An embedded library that another process owns (implements index.store.Store).

    library: the library's folder.
    take_over: opens the library as its owner, or raises LibraryBusyError where somebody else
        holds it. Called when the owner has gone; from then on this object works on what it
        returned. None: this object never owns.
    patience_seconds: how long a call waits for an owner that is not to be reached.

    Every operation of a Store is idempotent, so a call whose owner dies is simply repeated with
    the next one; what a call has returned for is as safe as the Store contract says. A connection
    serves one call at a time; several threads use several.

    Raises LibraryBusyError where the library is held by a process that does not answer, by a
    Longtake of another protocol, or by another user.
    """

    def __init__(
        self,
        library: Path | str,
        *,
        take_over: Callable[[], Store] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ):
        self._library = Path(library)
        self._take_over = take_over
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._searching = threading.Lock()
        self._idle: list[_Line] = []
        self._owned: Store | None = None
        self._last_pid: int | None = None
        self._unflushed = False
        self._closed = False
        self._told = False
        first = self._reach(time.monotonic() + patience_seconds)
        if isinstance(first, _Line):
            self._idle.append(first)

    @property
    def owner_pid(self) -> int | None:
        """The process that owns the library, as last seen."""
        return os.getpid() if self._owned is not None else self._last_pid

    def ensure_spaces(self, spaces: Sequence[VectorSpace]) -> None:
        self._call(wire.EnsureSpaces(list(spaces)))

    def upsert(self, points: Sequence[Point]) -> None:
        packed = [wire.PackedPoint.pack(point) for point in points]
        self._unflushed = True
        for start in range(0, len(packed), POINTS_A_MESSAGE):
            self._upsert(packed[start : start + POINTS_A_MESSAGE])

    def _upsert(self, packed: list[wire.PackedPoint]) -> None:
        try:
            self._call(wire.Upsert(packed))
        except wire.MessageTooLargeError:
            if len(packed) <= ATOMIC_POINTS:
                raise
            middle = len(packed) // 2
            self._upsert(packed[:middle])
            self._upsert(packed[middle:])

    def delete(self, where: Filter) -> None:
        self._unflushed = True
        self._call(wire.Delete(wire.PackedFilter.pack(where)))

    def retrieve(
        self, ids: Sequence[str], *, with_vectors: bool = False, with_payload: bool = True
    ) -> list[Point]:
        ids = list(ids)
        try:
            return self._call(wire.Retrieve(ids, with_vectors, with_payload))
        except wire.MessageTooLargeError:
            if len(ids) < 2:
                raise
            middle = len(ids) // 2
            halves = ids[:middle], ids[middle:]
            how = {"with_vectors": with_vectors, "with_payload": with_payload}
            return [point for half in halves for point in self.retrieve(half, **how)]

    def query(
        self,
        space: str,
        vector: Vector,
        *,
        where: Filter,
        limit: int,
        exact: bool = False,
        with_payload: bool = True,
    ) -> list[Hit]:
        packed, passing = wire.pack_vector(vector), wire.PackedFilter.pack(where)
        return self._call(wire.Query(space, packed, passing, limit, exact, with_payload))

    def scores(self, space: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        return self._call(wire.Scores(space, wire.pack_vector(vector), list(ids)))

    def scroll_page(
        self, where: Filter, *, after: str | None, limit: int, with_vectors: bool = False
    ) -> list[Point]:
        try:
            return self._call(
                wire.ScrollPage(wire.PackedFilter.pack(where), after, limit, with_vectors)
            )
        except wire.MessageTooLargeError:
            if limit < 2:
                raise
            half = limit // 2
            points = self.scroll_page(where, after=after, limit=half, with_vectors=with_vectors)
            if len(points) == half:
                points += self.scroll_page(
                    where, after=points[-1].id, limit=limit - half, with_vectors=with_vectors
                )
            return points

    def count(self, where: Filter) -> int:
        return self._call(wire.Count(wire.PackedFilter.pack(where)))

    def flush(self) -> None:
        # Cleared first: a write of another thread meanwhile is not covered by this flush.
        self._unflushed = False
        try:
            self._call(wire.Flush())
        except BaseException:
            self._unflushed = True
            raise

    def info(self) -> StoreInfo:
        """As the owner's; detail says which process that is."""
        info = self._call(wire.Info())
        return replace(info, detail={**info.detail, "owner_pid": self.owner_pid})

    def close(self) -> None:
        """Flushes what this client wrote and hangs up; where it has come to own the library,
        closes that too."""
        if self._closed:
            return
        try:
            if self._unflushed and self._owned is None:
                self.flush()
        finally:
            with self._searching:
                self._closed = True
                owned = self._owned
            self._hang_up()
            if owned is not None:
                owned.close()

    def __enter__(self) -> SocketStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _call(self, request: wire.Request) -> Any:
        """Puts the request to the owner of the moment, whoever that is, until one answers."""
        encoded: bytes | None = None
        deadline: float | None = None
        while True:
            owner = self._idle_line() or self._reach(
                time.monotonic() + self._patience_seconds if deadline is None else deadline
            )
            if not isinstance(owner, _Line):
                return request.apply(owner).value()
            encoded = encoded or wire.encode(request)
            try:
                reply = owner.ask(encoded, self._owner_alive, self._arrives, self._patience_seconds)
            except _OwnerGoneError:
                owner.connection.close()
                self._hang_up()  # the other lines lead to the same owner
                if deadline is None:
                    deadline = time.monotonic() + self._patience_seconds
                continue
            except BaseException as error:
                owner.connection.close()  # in the middle of a message: of no more use
                if isinstance(error, _OwnerSilentError):
                    raise self._busy() from error
                raise
            with self._lock:
                kept = not self._closed
                if kept:
                    self._idle.append(owner)
            if not kept:
                owner.connection.close()
            return reply.value()

    def _idle_line(self) -> _Line | None:
        with self._lock:
            if self._closed:
                raise StoreError("The library is closed.")
            return self._idle.pop() if self._idle else None

    def _hang_up(self) -> None:
        with self._lock:
            lines, self._idle = self._idle, []
        for line in lines:
            line.connection.close()

    def _reach(self, deadline: float) -> _Line | Store:
        """Finds the owner, or becomes it. One thread at a time."""
        with self._searching:
            pause_seconds = 0.002
            quiet_until = time.monotonic() + QUIET_SECONDS
            while True:
                if self._closed:
                    raise StoreError("The library is closed.")
                if self._owned is not None:
                    return self._owned
                refusal: LibraryBusyError | None = None
                try:
                    return self._dial(deadline)
                except _OwnerGoneError:
                    pass
                except _OwnerSilentError:
                    refusal = self._busy()
                except LibraryBusyError as error:
                    refusal = error
                if self._take_over is not None:
                    # Even where somebody refused: what listens there need not hold the library.
                    try:
                        self._owned = self._take_over()
                        continue
                    except LibraryBusyError:
                        pass  # Somebody else was quicker, or the owner has yet to listen.
                if refusal is not None:
                    raise refusal
                if time.monotonic() > deadline:
                    raise self._busy()
                if time.monotonic() > quiet_until:
                    self._tell()
                # Jitter, so that clients that lost the same owner do not move in step.
                time.sleep(pause_seconds * random.uniform(0.5, 1.5))
                pause_seconds = min(2 * pause_seconds, 0.1)

    def _dial(self, deadline: float) -> _Line:
        """Raises _OwnerGoneError where nobody listens, _OwnerSilentError, and LibraryBusyError
        where somebody listens who is no use to us."""
        record = rendezvous.read_record(self._library)
        try:
            derived = rendezvous.socket_addresses(self._library)
            addresses = ([record.address] if record else []) + list(derived)
        except OSError as error:
            raise StoreError(f"There is no library at {self._library}: {error.strerror}") from error
        for address in dict.fromkeys(addresses):
            remaining = max(0.05, deadline - time.monotonic())
            try:
                connected = rendezvous.dial(address, remaining)
            except PermissionError as error:
                raise self._busy("which belongs to another user") from error
            except OSError:
                continue  # Nobody there; or so many before us that there is no room to wait.
            with connected:
                return self._greet(connected, remaining)
        raise _OwnerGoneError

    def _greet(self, connected: socket.socket, timeout_seconds: float) -> _Line:
        uid = rendezvous.peer_uid(connected)
        if uid not in (None, 0, os.geteuid(), os.stat(self._library).st_uid):
            raise self._busy(f"which belongs to user {uid}")
        ours = wire.Greeting(wire.PROTOCOL_VERSION, wire.longtake_version(), os.getpid())
        connection = rendezvous.frame(connected, max(0.05, self._patience_seconds))
        try:
            connection.send_bytes(wire.encode(ours))
            if not self._arrives(connection, timeout_seconds):
                raise _OwnerSilentError
            theirs = wire.decode_greeting(connection.recv_bytes(wire.MAX_MESSAGE_BYTES))
        except BaseException as error:
            connection.close()
            if isinstance(error, BlockingIOError):
                raise _OwnerSilentError from error
            if isinstance(error, (EOFError, OSError)):
                raise _OwnerGoneError from error
            if isinstance(error, ValueError):
                raise self._busy("which does not speak as Longtake does") from error
            raise
        self._last_pid = theirs.pid
        if theirs.protocol != wire.PROTOCOL_VERSION:
            connection.close()
            raise LibraryBusyError(
                f"The library {self._library} is in use by process {theirs.pid}, Longtake "
                f"{theirs.version}, which shares it by protocol {theirs.protocol}; this is "
                f"Longtake {ours.version} with protocol {ours.protocol}. Stop process "
                f"{theirs.pid}, or run this command with Longtake {theirs.version}."
            )
        return _Line(connection, theirs.pid)

    def _arrives(self, connection: Connection, patience_seconds: float) -> bool:
        """Whether something comes within that time."""
        quiet_seconds = min(patience_seconds, QUIET_SECONDS)
        if connection.poll(quiet_seconds):
            return True
        if patience_seconds <= quiet_seconds:
            return False
        self._tell()
        return connection.poll(patience_seconds - quiet_seconds)

    def _tell(self) -> None:
        """That the caller is not hung but waits, and for whom."""
        if not self._told:
            self._told = True
            holder = rendezvous.describe(*self._holder())
            _LOG.warning("Waiting for %s, which has the library open.", holder)

    def _owner_alive(self) -> bool:
        """Whether the owner answers a greeting, as it does however long a call of its store takes;
        a process that is stopped does not."""
        try:
            self._dial(time.monotonic() + _GREETING_SECONDS).connection.close()
        except (_OwnerSilentError, LibraryBusyError, StoreError):
            return False
        except _OwnerGoneError:
            pass  # Closing, or dead: then our own connection ends, and says so.
        return True

    def _busy(self, why: str = "which does not answer") -> LibraryBusyError:
        return LibraryBusyError(
            f"The library {self._library} is in use by {rendezvous.describe(*self._holder())}, "
            f"{why}. Wait until it has finished, or stop it and try again."
        )

    def _holder(self) -> tuple[int | None, float | None]:
        """The process that says it owns the library, and since when it does."""
        record = rendezvous.read_record(self._library)
        return (record.pid, record.written_at) if record else (self._last_pid, None)
