"""The serving side of a shared library: whoever has it open serves all the others.

A daemon thread accepts, and every connection has a daemon thread of its own, so one client's long
call keeps no other waiting longer than the store itself does.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from index import rendezvous, wire
from index.store import Filter, Hit, Point, Store, StoreInfo, Vector, VectorSpace

_log = logging.getLogger(__name__)

_STALL_SECONDS = 30.0
"""A client that takes nothing for so long in the middle of a message is given up."""

_FAREWELL_SECONDS = 1.0
"""How long `close` waits for clients to take answers that are ready."""


class OwningStore:
    """A store that this process has open, served to other processes while it is.

    Implements index.store.Store by passing calls on. `store` must hold the library's lock, be
    safe to call from several threads, and is closed with this object.

    Where no socket can be made (no folder for it, say) the store works for this process alone;
    `serving` is False and the log says why.
    """

    def __init__(self, store: Store, library: Path | str):
        self._store = store
        self._library = Path(library)
        self._lock = threading.Condition()
        self._closing = False
        self._closed = threading.Event()
        self._calls = 0
        self._sessions: dict[threading.Thread, socket.socket] = {}
        self.address: str | None = None
        # Every thread that waits for input waits for this pipe too: closing its writing end
        # wakes them all.
        self._stop_reader, self._stop_writer = os.pipe()
        self._greeting = wire.Greeting(wire.PROTOCOL_VERSION, wire.longtake_version(), os.getpid())
        listener = self._listen()
        if listener is not None:
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener,), name="longtake-owner", daemon=True
            )
            self._acceptor.start()
            self._leave_record()

    def _listen(self) -> socket.socket | None:
        problem: Exception | str = "no folder that only this user can enter, with a short path"
        try:
            for address in rendezvous.socket_addresses(self._library):
                try:
                    listener = rendezvous.listen(address)
                except OSError as error:
                    problem = error
                else:
                    self.address = address
                    return listener
        except OSError as error:
            problem = error
        _log.warning("Other processes cannot reach %s meanwhile: %s", self._library, problem)
        return None

    def _leave_record(self) -> None:
        greeting = self._greeting
        owner = rendezvous.Owner(
            greeting.pid, self.address or "", greeting.protocol, greeting.version
        )
        try:
            rendezvous.write_record(self._library, owner)
        except OSError as error:
            # A full disk, say. Clients then try the address that follows from the path.
            rendezvous.remove_record(self._library)
            _log.warning("Could not write %s: %s", self._library / rendezvous.RECORD, error)

    @property
    def serving(self) -> bool:
        return self.address is not None and not self._closing

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                ready = wait([listener, self._stop_reader])
                if self._stop_reader in ready:
                    return
                try:
                    connected, _ = listener.accept()
                except OSError as error:
                    _log.warning("A connection failed: %s", error)
                    if not self._closed.wait(0.05):  # out of file descriptors: do not spin
                        continue
                    return
                uid = rendezvous.peer_uid(connected)
                if uid not in (None, 0, os.geteuid()):
                    _log.warning("Refused user %s", uid)
                    connected.close()
                    continue
                thread = threading.Thread(
                    target=self._serve, args=(connected,), name="longtake-client", daemon=True
                )
                with self._lock:
                    if self._closing:
                        connected.close()
                        return
                    self._sessions[thread] = connected
                thread.start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            with rendezvous.frame(connected, _STALL_SECONDS) as connection:
                self._converse(connection)
        except (EOFError, OSError, ValueError) as error:
            # The client went away, or is none of ours. Its calls were idempotent; nothing to undo.
            _log.debug("A connection ended: %r", error)
        finally:
            with self._lock:
                self._sessions.pop(threading.current_thread(), None)
                connected.close()

    def _converse(self, connection: Connection) -> None:
        data = self._receive(connection)
        if data is None:
            return
        greeting = wire.decode_greeting(data)
        connection.send_bytes(wire.encode(self._greeting))
        if greeting.protocol != wire.PROTOCOL_VERSION:
            return  # The client knows by now, and tells its user.
        while (data := self._receive(connection)) is not None:
            request = wire.decode_request(data)
            with self._lock:
                if self._closing:
                    return  # Not begun: the client repeats it with the next owner.
                self._calls += 1
            try:
                answer = wire.encode_reply(self._answer(request))
            finally:
                with self._lock:
                    self._calls -= 1
                    self._lock.notify_all()
            connection.send_bytes(answer)

    def _receive(self, connection: Connection) -> bytes | None:
        """The next message; None when this owner is closing."""
        if self._stop_reader in wait([connection, self._stop_reader]):
            return None
        return connection.recv_bytes(wire.MAX_MESSAGE_BYTES)

    def _answer(self, request: wire.Request) -> wire.Reply:
        try:
            return request.apply(self._store)
        except Exception as error:
            # Whatever it is, it is the client's call that failed and the client that must hear it.
            _log.debug("A client's call failed", exc_info=True)
            return wire.Failure.pack(error)

    def close(self) -> None:
        """Stops accepting, lets calls in flight finish and their answers be taken, and closes the
        store, which releases the library; clients go on with the next owner."""
        with self._lock:
            if self._closing:
                first = False
            else:
                first = self._closing = True
        if not first:
            self._closed.wait()
            return
        try:
            os.close(self._stop_writer)
            if self.address is not None:
                self._acceptor.join()
                # While the lock is still ours: the next owner's socket has the same name.
                _unlink(self.address)
                rendezvous.remove_record(self._library)
            with self._lock:
                self._lock.wait_for(lambda: self._calls == 0)
            self._dismiss()
        finally:
            os.close(self._stop_reader)
            try:
                self._store.close()
            finally:
                self._closed.set()

    def _dismiss(self) -> None:
        """Waits for the connections' threads; cuts those whose client takes no answer."""
        until = time.monotonic() + _FAREWELL_SECONDS
        with self._lock:
            threads = list(self._sessions)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            for connected in self._sessions.values():
                try:
                    connected.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # gone by itself
        for thread in threads:
            thread.join()

    def __enter__(self) -> OwningStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def ensure_spaces(self, spaces: Sequence[VectorSpace]) -> None:
        self._store.ensure_spaces(spaces)

    def upsert(self, points: Sequence[Point]) -> None:
        self._store.upsert(points)

    def delete(self, where: Filter) -> None:
        self._store.delete(where)

    def retrieve(self, ids: Sequence[str], **asked: Any) -> list[Point]:
        return self._store.retrieve(ids, **asked)

    def query(self, space: str, vector: Vector, **asked: Any) -> list[Hit]:
        return self._store.query(space, vector, **asked)

    def scores(self, space: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        return self._store.scores(space, vector, ids)

    def scroll_page(
        self, where: Filter, *, after: str | None, limit: int, with_vectors: bool = False
    ) -> list[Point]:
        return self._store.scroll_page(where, after=after, limit=limit, with_vectors=with_vectors)

    def count(self, where: Filter) -> int:
        return self._store.count(where)

    def flush(self) -> None:
        self._store.flush()

    def info(self) -> StoreInfo:
        """As the store's own; detail says whether other processes can reach it."""
        info = self._store.info()
        return replace(info, detail={**info.detail, "serving": self.serving})


def _unlink(address: str) -> None:
    try:
        os.unlink(address)
    except OSError:
        pass  # The next owner replaces it.
