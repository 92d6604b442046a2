"""Sentences that stand for whole videos, for questions about the whole that no model answers."""

from __future__ import annotations

from collections.abc import Sequence

from index.library import Library
from index.schema import Moment, Video
from rag.overview import extract, material
from rag.scope import Scope


def central_moments(
    library: Library, videos: Sequence[Video], scope: Scope | None = None
) -> list[Moment]:
    """Of one video the most central sentence of each of its longest chapters, of each of several
    the first of these; as they were said, captioned or written there, in the order of time. scope:
    the time that they must lie in."""
    found: list[Moment] = []
    for video in videos:
        told = material(library, video)
        said = [
            Moment(
                video.id,
                0,
                video.title,
                video.files[0].path if video.files else None,
                one.start_seconds,
                one.end_seconds,
                0.0,
                told.channel,
                text=one.text,
                text_start_seconds=one.start_seconds,
                text_end_seconds=one.end_seconds,
            )
            for one in extract(video, told).summary
        ]
        found += said if len(videos) == 1 else said[:1]
    return found if scope is None else scope.clipped(found)
