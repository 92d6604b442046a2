"""Channel `fingerprint`: what each picture looks like, so that it can be found by itself.

Evidence: no text; vector `fingerprint` of 256 times -1 or +1 (see ingest.models.pdq); attributes
`fingerprint` (the bits in hexadecimal) and `quality` (0..100). Following pictures that hardly
differ from the first are one evidence. Pictures with too few features (black, blank) have
`blank: true` and no vector: they would all match each other.

How a run resumes: nothing is remembered but the picture that the open evidence began with, and an
evidence lasts at most `seal_seconds`, so the watermark is where the open evidence starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from index.schema import Evidence, Generation, Video
from index.store import VectorSpace
from ingest.channel import PictureChannel, Sample, evidence_of
from ingest.channels.settings import FingerprintSettings
from ingest.models import pdq
from ingest.models.pdq import Fingerprint

_CODE_VERSION = 1
"""Raised when a change here or in ingest.models.pdq changes what the evidence is."""


class FingerprintChannel(PictureChannel):
    """See the module.

    fingerprint: image, uint8 of shape (height, width, 3), RGB -> Fingerprint.
    """

    name = "fingerprint"
    spaces = (VectorSpace("fingerprint", pdq.BITS, "cosine"),)

    def __init__(
        self,
        settings: FingerprintSettings | None = None,
        *,
        fingerprint: Callable[[np.ndarray], Fingerprint] = pdq.fingerprint,
    ):
        self._settings = settings or FingerprintSettings()
        self._fingerprint = fingerprint

    def describe(self) -> Mapping[str, Any]:
        return {
            "hash": "pdq",
            "side": pdq.SIDE,
            "settings": self._settings.model_dump(mode="json"),
            "code": _CODE_VERSION,
        }

    def open(self, video: Video, generation: Generation, from_seconds: float) -> FingerprintRun:
        return FingerprintRun(generation, from_seconds, self._settings, self._fingerprint)


class FingerprintRun:
    """One pass over one video. Implements ingest.channel.PictureRun."""

    def __init__(
        self,
        generation: Generation,
        from_seconds: float,
        settings: FingerprintSettings,
        fingerprint: Callable[[np.ndarray], Fingerprint],
    ):
        self._generation = generation
        self._settings = settings
        self._fingerprint = fingerprint
        self._first: Fingerprint | None = None
        self._watermark_seconds = from_seconds
        self._last_seconds = from_seconds

    @property
    def watermark_seconds(self) -> float:
        return self._watermark_seconds

    def push(self, sample: Sample) -> list[Evidence]:
        now, seen = sample.time_seconds, self._fingerprint(sample.image)
        previous_seconds, self._last_seconds = self._last_seconds, now
        alike = self._first is not None and self._alike(self._first, seen)
        if alike and now - self._watermark_seconds < self._settings.seal_seconds:
            return []
        cut = sample.shot_start_seconds
        ended = self._close(cut if not alike and cut > previous_seconds else now)
        self._first = seen
        self._watermark_seconds = now
        return ended

    def close(self) -> None:
        pass

    def still_open(self, at_seconds: float) -> list[Evidence]:
        return self._close(at_seconds)

    def finish(self, end_seconds: float) -> list[Evidence]:
        end_seconds = max(end_seconds, self._last_seconds)
        ended = self._close(end_seconds)
        self._first = None
        self._watermark_seconds = end_seconds
        return ended

    def _alike(self, first: Fingerprint, seen: Fingerprint) -> bool:
        blank = self._blank(first)
        if blank or self._blank(seen):
            return blank and self._blank(seen)
        return pdq.hamming(first.bits, seen.bits) <= self._settings.still_distance

    def _blank(self, seen: Fingerprint) -> bool:
        return seen.quality < self._settings.minimum_quality

    def _close(self, end_seconds: float) -> list[Evidence]:
        first, generation = self._first, self._generation
        if first is None:
            return []
        attributes: dict[str, Any] = {"fingerprint": first.hex, "quality": first.quality}
        vectors = {}
        if self._blank(first):
            attributes["blank"] = True
        else:
            vectors[FingerprintChannel.spaces[0].name] = pdq.to_vector(first.bits)
        return [
            evidence_of(
                generation,
                self._watermark_seconds,
                end_seconds,
                attributes=attributes,
                vectors=vectors,
                key=first.hex,
            )
        ]
