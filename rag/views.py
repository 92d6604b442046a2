"""A clip as the channels see it: by its fingerprints, and by what its pictures mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from index.library import Library
from index.schema import Space
from ingest.models.encoders import ImageEncoder
from ingest.models.pdq import MIRRORED, cosine
from rag.align import Likeness, Track
from rag.clips import Clip
from rag.images import SPACE
from rag.settings import CosineScale

FINGERPRINTS = Likeness(neutral=cosine(96), slope=4.0, same=cosine(16))
"""Of 187,000 pairs of pictures of different films one in ten thousand is nearer than 96 bits."""

SAME_LOOK = 0.98
"""Cosine of neighbouring frames from which on they are one picture that stays."""


@dataclass(frozen=True, slots=True)
class View:
    """A clip as one channel sees it.

    space: of the vectors. likeness: what their cosines mean. own: video id, start and end in
    seconds of the clip itself where it is in the library, which is not what is looked for. model:
    that made the vectors; "" for fingerprints. mirrored: left to right.
    """

    channel: str
    space: str
    track: Track
    likeness: Likeness
    own: tuple[str, float, float] | None = None
    model: str = ""
    mirrored: bool = False


def fingerprint_views(clip: Clip, library: Library) -> list[View]:
    """As it is and mirrored; none where it shows nothing to tell it by, which a note then says.
    Raises as `Clip.fingerprints` does."""
    track = clip.fingerprints(library)
    if not len(track.times):
        clip.notes.append(
            f"{clip.name} shows nothing but dark or plain pictures, which could be from anywhere."
        )
        return []
    views = []
    for mirrored in (False, True):
        seen = replace(track, vectors=track.vectors * MIRRORED) if mirrored else track
        views.append(View("fingerprint", SPACE, seen, FINGERPRINTS, clip.own, mirrored=mirrored))
    return views


def frame_view(
    clip: Clip, library: Library, space: Space, encoder: ImageEncoder, scale: CosineScale
) -> View:
    """By what the pictures mean. scale: of cosines between pictures; its floor speaks neither for
    nor against one footage. Raises as `Clip.looks` does."""
    neutral = scale.floor_cosine
    likeness = Likeness(neutral, slope=2 / (1 - neutral), same=SAME_LOOK)
    track = clip.looks(library, space, encoder)
    return View("frame", space.name, track, likeness, clip.own, space.model)
