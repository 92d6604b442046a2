"""How a standing question stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from index.alerts import AlertEvent
from rag.alerts.settings import AlertSettings

GOING_ON_SECONDS = 8.0
"""What was seen this lately is taken to go on: what only lasts is written every five seconds
(`ingest.live.writer`), a commit and a look later."""

State = Literal["pending", "armed", "fired", "cooling down"]


def state_of(
    events: Sequence[AlertEvent], *, watched: bool, now: float, settings: AlertSettings
) -> State:
    """pending: no source that it is for is watched. fired: what it asks for is there now. cooling
    down: it was a moment ago, and would be the same event. now: seconds since 1970."""
    ended = max((_ended(event) for event in events), default=0.0)
    if now - ended <= GOING_ON_SECONDS:
        return "fired"
    if now - ended <= GOING_ON_SECONDS + settings.refractory_seconds:
        return "cooling down"
    return "armed" if watched else "pending"


def _ended(event: AlertEvent) -> float:
    if event.wall_clock_start is None:
        return event.noticed_at
    return event.wall_clock_start + event.end_seconds - event.start_seconds
