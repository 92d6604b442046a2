"""What is done beside watching: a thread that works off what it is given, one after another."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from index.errors import LongtakeError
from ingest.live.stopping import Stop

logger = logging.getLogger(__name__)


Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """work: does one item, in that thread, which must not keep the process. failed: told what went
    wrong with one; the next ones are worked on all the same."""

    def __init__(
        self,
        name: str,
        work: Callable[[Item], None],
        failed: Callable[[str], None],
    ):
        self._name, self._work, self._failed = name, work, failed
        self._items: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def given_up(self) -> bool:
        """Whether the item in work should be left as it is."""
        return self._given_up.is_set()

    @property
    def waiting(self) -> bool:
        """Whether anything waits behind the item in work."""
        return not self._items.empty()

    def put(self, item: Item) -> None:
        self._items.put((item,))

    def finish(self, stop: Stop, grace_seconds: float) -> None:
        """Waits until all is done; where the user stops, so much longer at most."""
        self._items.put(None)
        while self._thread.is_alive() and not stop.is_set():
            self._thread.join(0.2)
        self._thread.join(stop.left(grace_seconds))
        self._given_up.set()

    def give_up(self) -> None:
        """It ends behind what was put, of which `work` is to do no more than it must."""
        self._given_up.set()
        self._items.put(None)

    def complain(self, error: Exception) -> None:
        """Tells what went wrong."""
        if isinstance(error, LongtakeError):
            self._failed(str(error))
            return
        logger.error("%s failed", self._name, exc_info=error)
        self._failed(f"{self._name} failed ({type(error).__name__}: {error}).")

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                self._work(*item)
            except Exception as error:
                self.complain(error)
