"""A file on its way through the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import Interrupted, LongtakeError, MediaError
from index.library import Library
from index.schema import FileStat, Generation, Video
from ingest.claims import Claim, WholeVideo
from ingest.identity import same, stat_of

Listener = Callable[[str, float], None]
"""Told the stage and how many seconds of the video it has seen."""


class RemovedMeanwhile(LongtakeError):
    """The video was taken out of the library while it was being indexed."""


class Spent:
    """Wall-clock seconds by stage. A stage's first stretch is also kept apart: it loads what the
    stage needs, and sees all that is new in the first picture.

    peak_bytes: the most memory that the process has held so far; grown_bytes: by stage, by how much
    that has grown meanwhile. Of what several stages share, all counts for the first.
    """

    def __init__(self, peak_bytes: Callable[[], int] = lambda: 0) -> None:
        self._peak_bytes = peak_bytes
        self.seconds: dict[str, float] = {}
        self.first_seconds: dict[str, float] = {}
        self.grown_bytes: dict[str, int] = {}

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with self.growing(stage):
                yield
        finally:
            took = time.perf_counter() - started
            self.first_seconds.setdefault(stage, took)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + took

    @contextmanager
    def growing(self, stage: str) -> Iterator[None]:
        """Only its memory counts, as where it is made ready and does nothing yet."""
        before = self._peak_bytes()
        try:
            yield
        finally:
            grown = self._peak_bytes() - before
            self.grown_bytes[stage] = self.grown_bytes.get(stage, 0) + grown


@dataclass
class Work:
    """One file on its way.

    file: as it was when its content was identified. pending: channels still to be run; claim: under
    which the present step works; busy: channels that another process has in hand; notes: for the
    user, kept with the video; damaged: part of the file could not be decoded; overtaken: nothing
    was left to do when its turn came; derived: derived channels that were begun; spent: what took
    how long.
    """

    path: Path
    file: FileStat
    video: Video
    pending: dict[str, Generation]
    claim: Claim = field(default_factory=WholeVideo)
    busy: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    damaged: bool = False
    overtaken: bool = False
    derived: set[str] = field(default_factory=set)
    spent: Spent = field(default_factory=lambda: Spent())

    def ours(self, channel: str) -> Generation | None:
        """What is pending of a channel that nobody else has in hand."""
        return None if channel in self.busy else self.pending.get(channel)

    def check_unchanged(self) -> None:
        """Asked before every commit, so that nothing is kept but what was read from the content
        that was identified. Raises MediaError."""
        check_unchanged(self.file)


def check_unchanged(file: FileStat) -> None:
    """What was read is what was identified. A file that has moved meanwhile is: it was open.

    Raises MediaError where somebody wrote to it.
    """
    try:
        unchanged = same(file, stat_of(Path(file.path)))
    except MediaError:
        return
    if not unchanged:
        raise MediaError(
            f"{file.path}: changed while it was being indexed; run again when it is complete."
        )


@dataclass(frozen=True)
class Checks:
    """What a running channel asks between its steps. stop: whether the user wants to stop."""

    library: Library
    stop: Callable[[], bool]

    def stopped(self) -> None:
        """Raises Interrupted."""
        if self.stop():
            raise Interrupted("Stopped; what was indexed is kept, and the next run goes on.")

    def removed(self, video: Video) -> Video:
        """The catalogue's entry as it is now. Raises RemovedMeanwhile."""
        current = self.library.video(video.id)
        if current is None:
            raise RemovedMeanwhile(
                f"{video.title} was removed from the library while it was being indexed; "
                "nothing of it is kept."
            )
        return current
