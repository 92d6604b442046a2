"""A file on its way through the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import Interrupted, LongtakeError
from index.library import Library
from index.schema import Generation, Video

Listener = Callable[[str, float], None]
"""Told the stage and how many seconds of the video it has seen."""


class RemovedMeanwhile(LongtakeError):
    """The video was taken out of the library while it was being indexed."""


@dataclass
class Work:
    """One file on its way. pending: channels still to be run; notes: for the user, kept with the
    video; damaged: part of the file could not be decoded."""

    path: Path
    video: Video
    pending: dict[str, Generation]
    notes: list[str] = field(default_factory=list)
    damaged: bool = False


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
