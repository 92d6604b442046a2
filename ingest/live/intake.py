"""Between the thread that reads a source and the one that looks: what waits, within bounds.

Pictures that come faster than they can be looked at are dropped, the oldest first, and counted; all
else is kept. Where the source itself can wait, it waits instead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from ingest.channel import Sample
from ingest.live.settings import LiveSettings

_MOST_ITEMS = 20_000
"""Items other than pictures are small; so many of them mean that nobody looks any more."""


@dataclass(slots=True)
class _Waiting:
    item: Any
    since: float


class Intake:
    """A queue of items, some of them `Sample`s. dropped: how many of those were left out."""

    def __init__(self, settings: LiveSettings, *, waits: bool, stop: threading.Event):
        self._settings = settings
        self._waits = waits
        self._stop = stop
        self._items: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: Any) -> bool:
        """Returns False, without it, where the user stops while there is no room."""
        with self._changed:
            while not self._make_room(item):
                if self._stop.is_set():
                    return False
                self._changed.wait(0.1)
            self._items.append(_Waiting(item, time.monotonic()))
            self._bytes += _size(item)
            self._changed.notify_all()
        return True

    def _make_room(self, item: Any) -> bool:
        if len(self._items) >= _MOST_ITEMS:
            return False
        if not isinstance(item, Sample):
            return True
        room = self._bytes + _size(item) <= self._settings.waiting_bytes or not self._bytes
        if self._waits:
            return room
        if not room:
            self._drop_oldest()
            return self._make_room(item)
        return True

    def _drop_oldest(self) -> None:
        for at, waiting in enumerate(self._items):
            if isinstance(waiting.item, Sample):
                del self._items[at]
                self._bytes -= _size(waiting.item)
                self.dropped += 1
                return

    def get(self, timeout_seconds: float) -> Any | None:
        """The next item that has not waited too long; None where none comes in time."""
        until = time.monotonic() + timeout_seconds
        with self._changed:
            while True:
                while self._items:
                    waiting = self._items.popleft()
                    self._bytes -= _size(waiting.item)
                    self._changed.notify_all()
                    if not self._is_late(waiting):
                        return waiting.item
                    self.dropped += 1
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def _is_late(self, waiting: _Waiting) -> bool:
        """A picture; the last one that waits is looked at, however late it is."""
        if self._waits or not isinstance(waiting.item, Sample):
            return False
        late = time.monotonic() - waiting.since > self._settings.drop_after_seconds
        return late and any(isinstance(one.item, Sample) for one in self._items)


def _size(item: Any) -> int:
    return item.image.nbytes if isinstance(item, Sample) else 0
