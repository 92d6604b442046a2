"""What is done behind a live source, in a thread of its own, so that nobody waits for it: what is
made out of other channels' evidence is made, and when an epoch has ended, still stretches are
joined."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from index.library import Library
from index.schema import Epoch, Generation, Video
from ingest.live.backlog import Backlog
from ingest.live.consolidation import Consolidation, is_joined
from ingest.live.following import Following
from ingest.live.stopping import Stop
from ingest.plan import Channels

MEANINGS = "text:"
"""What the derived channels that work on words alone are called by."""
DERIVED = ("segment", "caption")
"""The others."""

_RETRY_SECONDS = 60.0

How = Literal["going on", "ended", "left"]
"""What an epoch is: the last, of which there is more; one of this run that has ended; one that an
earlier run has left."""


def is_derived(generation: Generation) -> bool:
    """Whether it is made here: then it is gone on with, as of a file."""
    return generation.channel.startswith(MEANINGS) or generation.channel in DERIVED


def left_epochs(library: Library, channels: Channels, video: Video) -> list[Epoch]:
    """Those of which not everything was made that is made of epochs, the newest first. Nobody may
    be watching."""
    by_epoch: dict[int, list[Generation]] = {}
    for one in library.generations(video.id):
        if one.state == "active":
            by_epoch.setdefault(one.epoch, []).append(one)
    numbers = {number for number, there in by_epoch.items() if _is_left(channels, there)}
    return [epoch for epoch in reversed(video.epochs) if epoch.number in numbers]


def _is_left(channels: Channels, there: Sequence[Generation]) -> bool:
    made = {one.channel: one.fingerprint for one in there if one.complete}
    due = channels.derived_fingerprints(there, unfinished=True)
    return not is_joined(there) or any(made.get(name) != mark for name, mark in due.items())


class Tidying:
    """name: of what it does, for people. following: makes what drives the derived channels; it is
    given functions that say whether to leave everything as it is, and whether something else waits.
    lock: held while still stretches are joined; retention takes it, too. failed: told what went
    wrong, in that thread; the next one is tried again. then: told of each epoch that was gone on
    with, and what it is, for those who build on that.
    """

    def __init__(
        self,
        name: str,
        library: Library,
        following: Callable[[Callable[[], bool], Callable[[], bool]], Following],
        lock: threading.Lock,
        failed: Callable[[str], None],
        *,
        consolidation: Consolidation | None = None,
        then: Callable[[Video, Epoch, How], None] = lambda video, epoch, how: None,
    ):
        self._library = library
        self._lock = lock
        self._consolidation = consolidation
        self._then = then
        self._waiting = threading.Event()  # for a step that has not begun
        self._leaving = threading.Lock()  # for the next three
        self._left: deque[tuple[Video, Epoch]] = deque()
        self._taken_up = self._finishing = False
        self._not_before = 0.0
        self._work: Backlog[tuple[Video, Epoch, How]] = Backlog(name, self._do, failed)
        self.following = following(lambda: self._work.given_up, lambda: False)
        self._making_up = following(lambda: self._work.given_up, lambda: self._gives_way)

    def take_up(self, video: Video, epochs: Iterable[Epoch]) -> None:
        """Epochs that an earlier run has left, however many: one after the other, each of which is
        broken off where there is something to do for what comes."""
        with self._leaving:
            known = {epoch.number for _, epoch in self._left}
            self._left.extend((video, epoch) for epoch in epochs if epoch.number not in known)
        self._take_next()

    def follow(self, video: Video, epoch: Epoch) -> None:
        """There is more of an epoch. Costs nothing where the last such step has not begun."""
        if not self._waiting.is_set():
            self._waiting.set()
            self._work.put((video, epoch, "going on"))

    def put(self, video: Video, epoch: Epoch) -> None:
        """An epoch that has ended. Several times where more of it is complete."""
        self._work.put((video, epoch, "ended"))

    def finish(self, stop: Stop, grace_seconds: float) -> None:
        """As `Backlog.finish`. The next run goes on with the last epoch."""
        with self._leaving:
            self._finishing = True
            while self._left:
                self._work.put((*self._left.popleft(), "left"))
        self._work.finish(stop, grace_seconds)

    def give_up(self) -> None:
        """Nothing new is begun."""
        with self._leaving:
            self._left.clear()
        self._work.give_up()

    @property
    def _gives_way(self) -> bool:
        """Whether what was left has to wait."""
        return self._work.waiting and not self._finishing

    def _take_next(self) -> None:
        with self._leaving:
            due = time.monotonic() >= self._not_before and not self._finishing
            if due and self._left and not self._taken_up:
                self._taken_up = True
                self._work.put((*self._left.popleft(), "left"))

    def _do(self, item: tuple[Video, Epoch, How]) -> None:
        video, epoch, how = item
        if how == "going on":
            self._waiting.clear()
        elif how == "left":
            self._taken_up = False
        if self._is_over(video):
            return
        following = self._making_up if how == "left" else self.following
        joins = self._consolidation is not None and self._is_to_join(video, epoch, how)
        following.step(video, epoch, but_records=joins)
        if joins and not self._is_over(video):
            with self._lock:
                self._consolidation.run(video, epoch.number)
            following.step(video, epoch)
        if how == "left" and following.has_left(epoch) and self._leaves(video, epoch):
            return
        self._then(video, epoch, how)
        self._take_next()

    def _is_to_join(self, video: Video, epoch: Epoch, how: How) -> bool:
        """What was left is taken up over and over, and is joined but once."""
        if how != "left":
            return how == "ended"
        return not is_joined(self._library.generations(video.id, epoch.number))

    def _leaves(self, video: Video, epoch: Epoch) -> bool:
        """Puts what was left once more behind what is to be done: at once where it was broken off,
        else, since something went wrong, a while later. Returns whether it was broken off."""
        self._making_up.forget(epoch)
        broken_off = self._gives_way
        with self._leaving:
            if broken_off:
                self._left.appendleft((video, epoch))
            else:
                self._left.append((video, epoch))
                self._not_before = time.monotonic() + _RETRY_SECONDS
        self._take_next()
        return broken_off

    def _is_over(self, video: Video) -> bool:
        return self._work.given_up or self._library.video(video.id) is None
