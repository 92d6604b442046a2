"""What a query holds besides words: a picture, a clip, or both."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from index.library import Library
from index.schema import Space
from index.store import Filter
from ingest.models.encoders import ImageEncoder
from rag.clips import Clip
from rag.footage import find_footage
from rag.fuse import Dropped, Find
from rag.images import LOW_QUALITY, find_pictures, fingerprint_of
from rag.settings import RetrieveSettings
from rag.vectors import SpaceQuery, picture_in
from rag.views import View, fingerprint_views, frame_view


class Pictured:
    """Reads the picture in the file `image` and the footage of `clip` (see `rag.clips`), as far as
    they are given.

    Raises MediaError for what cannot be read, and the errors of `Clip.named`.
    """

    def __init__(self, library: Library, image: Path | None = None, clip: str | None = None):
        self._library = library
        self._image = image
        self._notes: list[str] = []
        self._fingerprint: np.ndarray | None = None
        if image is not None:
            self._fingerprint, quality = fingerprint_of(image)
            if quality < LOW_QUALITY:
                self._notes.append(
                    f"{image} shows so little (a plain surface?) that it may match by chance."
                )
        self._clip = None if clip is None else Clip.named(clip, library)
        self._views = [] if self._clip is None else fingerprint_views(self._clip, library)

    @property
    def parts(self) -> int:
        """How many of the two were given."""
        return (self._image is not None) + (self._clip is not None)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""
        return [*self._notes, *(self._clip.notes if self._clip else ())]

    def in_space(
        self, space: Space, eye: ImageEncoder, settings: RetrieveSettings
    ) -> tuple[list[SpaceQuery], list[View]]:
        """The picture and the clip in a space of frames."""
        pictures: list[SpaceQuery] = []
        views: list[View] = []
        if self._image is not None:
            from ingest.media import decode_image

            pictures.append(picture_in(space, eye, decode_image(self._image), settings))
        if self._clip is not None:
            scale = settings.scale_of("picture")
            views.append(frame_view(self._clip, self._library, space, eye, scale))
        return pictures, views

    def find_image(self, wanted: Filter, limit: int) -> tuple[list[Find], list[Dropped]]:
        """By the picture's fingerprint; nothing where there is none. wanted: passes the evidence to
        look in."""
        if self._fingerprint is None:
            return [], []
        return find_pictures(self._fingerprint, self._library, wanted, limit)

    def find_clip(self, views: Iterable[View], wanted: Filter) -> tuple[list[Find], list[Dropped]]:
        """By the clip's fingerprints and by those other views of it."""
        finds: list[Find] = []
        dropped: list[Dropped] = []
        for view in (*self._views, *views):
            found, left_out = find_footage(view, self._library, wanted)
            finds.extend(found)
            dropped.extend(left_out)
        return finds, dropped
