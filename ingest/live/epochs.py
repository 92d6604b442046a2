"""The list of a source's epochs stays short, however often it was lost and found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from index.schema import Epoch

MOST = 1000
"""So many are kept; an epoch is an hour at most."""

_NEWEST = 100
"""So many, the newest, stay as they are."""


def thinned(epochs: Sequence[Epoch], most: int = MOST) -> tuple[Epoch, ...]:
    """Where there are more, neighbours become one, the shortest first: from the start of the first
    to the end of the second, by the first one's clock, which is off by what the two part by in so
    little time. Evidence keeps its epoch's number: `Video.epoch_of` finds what it has become."""
    kept = list(epochs)
    while len(kept) > most:
        old = range(max(len(kept) - min(_NEWEST, most // 2) - 1, 1))
        at = min(old, key=lambda at: _end(kept[at + 1]) - kept[at].start_seconds)
        first, second = kept[at], kept[at + 1]
        kept[at : at + 2] = [
            replace(first, end_seconds=_end(second), dropped=first.dropped + second.dropped)
        ]
    return tuple(kept)


def _end(epoch: Epoch) -> float:
    return epoch.start_seconds if epoch.end_seconds is None else epoch.end_seconds
