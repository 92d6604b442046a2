"""The user stops: all that is closed then shares one time, however many there are of it."""

from __future__ import annotations

import threading
import time

SOURCES_BY_SECONDS = 1.8
RECEIVERS_BY_SECONDS = 2.2
"""After the user has stopped: when the sources are done, and who is told of them. The rest of five
seconds is the library's."""


class Stop(threading.Event):
    """Set where the user stops."""

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None

    def set(self) -> None:
        """May be called again."""
        if self._since is None:
            self._since = time.monotonic()
        super().set()

    def left(self, at_most_seconds: float, by_seconds: float = SOURCES_BY_SECONDS) -> float:
        """So long may be waited for something: at most that, and where the user has stopped, no
        longer than until so many seconds after it."""
        if self._since is None:
            return at_most_seconds
        return max(min(at_most_seconds, self._since + by_seconds - time.monotonic()), 0.0)
