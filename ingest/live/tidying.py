"""What is done behind a live source, in a thread of its own, so that nobody waits for it: what is
made out of other channels' evidence is made, and when an epoch has ended, still stretches are
joined."""

from __future__ import annotations

import threading
from collections.abc import Callable

from index.library import Library
from index.schema import Epoch, Generation, Video
from ingest.live.backlog import Backlog
from ingest.live.consolidation import Consolidation
from ingest.live.following import Following
from ingest.live.stopping import Stop

WORDED = "text:"
"""What the derived channels that work on words alone are called by."""
DERIVED = ("segment", "caption")
"""The others."""


def is_derived(generation: Generation) -> bool:
    """Whether it is made here: then it is gone on with, as of a file."""
    return generation.channel.startswith(WORDED) or generation.channel in DERIVED


class Tidying:
    """name: of what it does, for people. following: makes what drives the derived channels; it is
    given a function that says whether to leave everything as it is. lock: held while still
    stretches are joined; retention takes it, too. failed: told what went wrong, in that thread; the
    next one is tried again. then: told of each epoch that was gone on with, and whether it has
    ended, for those who build on that.
    """

    def __init__(
        self,
        name: str,
        library: Library,
        following: Callable[[Callable[[], bool]], Following],
        lock: threading.Lock,
        failed: Callable[[str], None],
        *,
        consolidation: Consolidation | None = None,
        then: Callable[[Video, Epoch, bool], None] = lambda video, epoch, ended: None,
    ):
        self._library = library
        self._lock = lock
        self._consolidation = consolidation
        self._then = then
        self._waiting = threading.Event()  # for a step that has not begun
        self._work: Backlog[tuple[Video, Epoch, bool]] = Backlog(name, self._do, failed)
        self.following = following(lambda: self._work.given_up)

    def follow(self, video: Video, epoch: Epoch) -> None:
        """There is more of an epoch. Costs nothing where the last such step has not begun."""
        if not self._waiting.is_set():
            self._waiting.set()
            self._work.put((video, epoch, False))

    def put(self, video: Video, epoch: Epoch) -> None:
        """An epoch that has ended. Several times where more of it is complete."""
        self._work.put((video, epoch, True))

    def finish(self, stop: Stop, grace_seconds: float) -> None:
        """As `Backlog.finish`. The next run goes on with the last epoch."""
        self._work.finish(stop, grace_seconds)

    def give_up(self) -> None:
        """Nothing new is begun."""
        self._work.give_up()

    def _do(self, item: tuple[Video, Epoch, bool]) -> None:
        video, epoch, ended = item
        if not ended:
            self._waiting.clear()
        if self._is_over(video):
            return
        joins = ended and self._consolidation is not None
        self.following.step(video, epoch, but_records=joins)
        if joins and not self._is_over(video):
            with self._lock:
                self._consolidation.run(video, epoch.number)
            self.following.step(video, epoch)
        self._then(video, epoch, ended)

    def _is_over(self, video: Video) -> bool:
        return self._work.given_up or self._library.video(video.id) is None
