"""A small picture for each cut, out of its footage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from index.errors import MediaError
from index.schema import Moment
from ingest.segment_frames import frames_of
from ingest.thumbnails import encode
from rag.export.cuts import Cut, by_video

_SIDE = 480


def pictures_of(cuts: Sequence[Cut], kept: Callable[[Moment], bytes | None]) -> list[bytes | None]:
    """A JPEG for each cut, from its middle; None where its footage has no pictures.

    kept: a picture that was kept of about that moment, for footage that is gone or damaged there.
    """
    found: dict[int, bytes] = {}
    at = {id(cut): number for number, cut in enumerate(cuts)}
    for own in by_video(cuts).values():
        footage = own[0].footage
        if not footage.there or not footage.has_pictures:
            continue
        spans = [(cut.start_seconds, cut.end_seconds) for cut in own]
        try:
            for index, frames in frames_of(footage.path, spans, 1, _SIDE):
                if frames:
                    found[at[id(own[index])]] = encode(frames[0][1], _SIDE)
        except MediaError:
            continue
    return [found.get(number) or kept(cut.moment) for number, cut in enumerate(cuts)]
