"""How a live source is doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source is doing.

    state: "connecting", "live", "lost" (it is tried again), "ended", "stopped" or "failed".
    message: what is wrong, or why it ended. at_seconds: how far it is findable, on the stream's
    clock; wall_clock: the same as Unix time. lag_seconds: how far that is behind the time of day
    (of what does not come in real time it says nothing). dropped: pictures left out because
    looking could not keep up, in this run. found: pieces of evidence, in this run. epoch: its
    number.
    """

    source: str
    video_id: str
    state: Literal["connecting", "live", "lost", "ended", "stopped", "failed"]
    message: str = ""
    at_seconds: float | None = None
    wall_clock: float | None = None
    lag_seconds: float | None = None
    dropped: int = 0
    found: int = 0
    epoch: int | None = None


OnState = Callable[[SourceState], None]
