"""Requests to a server, several on their way at once, answers in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class _Errand(threading.Thread):
    """A daemon: one that waits for a silent server must not keep the process from ending."""

    def __init__(self, work: Callable[[], Out]):
        super().__init__(name="request", daemon=True)
        self._work = work
        self._result: Out | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def done(self, timeout_seconds: float) -> bool:
        self.join(timeout_seconds)
        return not self.is_alive()

    def outcome(self) -> Out:
        self.join()
        if self._error is not None:
            raise self._error
        return self._result


HEARTBEAT_SECONDS = 0.5


def in_order(work: Callable[[In], Out], items: Iterator[In], limit: int) -> Iterator[Out | None]:
    """`work` of each item, at most `limit` at once, in the items' order. No more than `limit` items
    are held: the next is taken when the oldest is done. Where `work` raises, so does this, after
    what came before. None comes every `HEARTBEAT_SECONDS` in which nothing else does. Closing it
    leaves what is on its way to itself, and closes `items`.
    """
    underway: deque[_Errand] = deque()
    try:
        for item in items:
            underway.append(_Errand(lambda item=item: work(item)))
            if len(underway) == limit:
                yield from _next(underway)
        while underway:
            yield from _next(underway)
    finally:
        items.close()


def _next(underway: deque[_Errand]) -> Iterator[Out | None]:
    while not underway[0].done(HEARTBEAT_SECONDS):
        yield None
    yield underway.popleft().outcome()
