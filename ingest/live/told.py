"""How far those who are told of what is found in a live source have been told.

Whoever is told (standing questions, say) hears of a commit behind it, so a kill in between leaves
evidence that nobody has looked at. Each commit therefore writes with its generation up to where all
was told before it, and behind the last one that is written once more. It goes by generation because
what is said may be recognised hours behind the pictures. Who watches next tells of what is left
(`known.tell_untold`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from index.library import Library
from index.records import generation_from, generation_point
from index.schema import Generation

TOLD = "told_seconds"
"""In the detail of a generation: of evidence that starts before it, all was told."""


def with_told(generation: Generation) -> Generation:
    """Of which all that was committed has been told."""
    detail = {**generation.detail, TOLD: generation.watermark_seconds}
    return dataclasses.replace(generation, detail=detail)


def untold(generations: Iterable[Generation]) -> list[tuple[Generation, float]]:
    """Those of which something may not have been told, and from when on."""
    found = []
    for one in generations:
        # Of an earlier Longtake: all of what a kill has left.
        told = one.detail.get(TOLD, one.watermark_seconds if one.complete else 0.0)
        if told < one.watermark_seconds or not one.complete:
            found.append((one, told))
    return found


def mark_told(library: Library, generation_id: str) -> None:
    """All that was committed of it has been told. Does not flush: what is told twice does no harm.
    Nobody may take its place meanwhile (`Beside.lock`)."""
    for point in library.store.retrieve([generation_id]):
        library.store.upsert([generation_point(with_told(generation_from(point.payload)))])
