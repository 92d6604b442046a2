"""Channel `frame`: what each picture means, as a vector of an image encoder.

Evidence: no text; one vector in the encoder's space. Every sample that differs from the one before
has its own, so that a segment has several; following samples that hardly differ are one evidence,
encoded once, whose span grows.

A worker thread encodes in batches, in order, while the next pictures are decoded; what waits for
it is bounded, and a full queue holds the decoder up. How a run resumes: nothing is remembered but
the picture that the open evidence began with, and an evidence lasts at most `seal_seconds`. The
watermark is the start of the earliest evidence that was not given out, be it still open or only
waiting for its vector; how the samples fall into batches changes nothing but rounding.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.schema import Evidence, Generation, Video
from index.store import VectorSpace
from ingest.channel import PictureChannel, Sample, evidence_of
from ingest.channels.encoder_thread import EncoderThread
from ingest.channels.settings import FrameSettings
from ingest.models.encoders import ImageEncoder
from ingest.sampling import StillFilter

_CODE_VERSION = 1
"""Raised when a change here or in ingest.sampling.StillFilter changes what the evidence is."""


class FrameChannel(PictureChannel):
    """See the module.

    encoder: makes the encoder; called once, when the first run is opened (or `spaces` are asked
        for), and raises ModelMissingError where weights or packages are missing.
    describe: the encoder's model, its digest, and what else shapes its vectors (its precision),
        as JSON-like values.
    """

    name = "frame"

    def __init__(
        self,
        settings: FrameSettings | None,
        encoder: Callable[[], ImageEncoder],
        describe: Mapping[str, Any],
    ):
        self._settings = settings or FrameSettings()
        self._make = encoder
        self._describe = dict(describe)
        self._loading = threading.Lock()
        self._loaded: ImageEncoder | None = None

    @property
    def spaces(self) -> tuple[VectorSpace, ...]:
        """Loads the encoder, which alone knows the size of its vectors."""
        encoder = self._encoder()
        return (VectorSpace(encoder.space, encoder.size, "cosine"),)

    def describe(self) -> Mapping[str, Any]:
        return {
            "encoder": self._describe,
            # The model is described above, whoever chose it; the batch is only about speed.
            "settings": self._settings.model_dump(mode="json", exclude={"model", "int8", "batch"}),
            "code": _CODE_VERSION,
        }

    def open(self, video: Video, generation: Generation, from_seconds: float) -> FrameRun:
        return FrameRun(generation, from_seconds, self._settings, self._encoder())

    def _encoder(self) -> ImageEncoder:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._make()
            return self._loaded


@dataclass(slots=True)
class _Look:
    """An evidence in the making. end_seconds: None while it is open."""

    start_seconds: float
    end_seconds: float | None = None
    vector: np.ndarray | None = None


class FrameRun:
    """One pass over one video. Implements ingest.channel.PictureRun.

    `push` and `finish` raise what the encoder raised. A pass that ends early calls `close`, which
    ends the thread; a run that nobody refers to any more ends it by itself.
    """

    def __init__(
        self,
        generation: Generation,
        from_seconds: float,
        settings: FrameSettings,
        encoder: ImageEncoder,
    ):
        self._generation = generation
        self._settings = settings
        self._space = encoder.space
        self._still = StillFilter(settings.still)
        self._looks: deque[_Look] = deque()
        self._unseen: deque[_Look] = deque()  # those of `_looks` that have no vector yet
        self._watermark_seconds = from_seconds
        self._last_seconds = from_seconds
        self._worker = EncoderThread(encoder, settings.batch)
        self._abandoned = weakref.finalize(self, self._worker.stop)

    @property
    def watermark_seconds(self) -> float:
        return self._watermark_seconds

    def push(self, sample: Sample) -> list[Evidence]:
        now = sample.time_seconds
        previous_seconds, self._last_seconds = self._last_seconds, now
        changed = self._still.changed(sample.image)
        current = self._looks[-1] if self._looks else None
        if current is not None:
            if not changed and now - current.start_seconds < self._settings.seal_seconds:
                return self._ready(self._worker.take())
            cut = sample.shot_start_seconds
            current.end_seconds = cut if changed and cut > previous_seconds else now
        if not changed:
            # What follows hangs on nothing before this sample: see how a run resumes.
            self._still = StillFilter(self._settings.still)
            self._still.changed(sample.image)
        look = _Look(now)
        self._looks.append(look)
        self._unseen.append(look)
        self._worker.put(sample.image)
        return self._ready(self._worker.take())

    def still_open(self, at_seconds: float) -> list[Evidence]:
        return [
            self._evidence(look, look.end_seconds or at_seconds, look.vector)
            for look in self._looks
            if look.vector is not None
        ]

    def finish(self, end_seconds: float) -> list[Evidence]:
        end_seconds = max(end_seconds, self._last_seconds)
        if self._looks:
            self._looks[-1].end_seconds = end_seconds
        evidence = self._ready(self._worker.drain())
        self._watermark_seconds = end_seconds
        self.close()
        return evidence

    def close(self) -> None:
        """Ends the thread; what was not given out is lost, and found again by a resume."""
        self._abandoned.detach()
        self._worker.stop()
        self._worker.join()

    def _ready(self, vectors: Sequence[np.ndarray]) -> list[Evidence]:
        """Takes in what was encoded; gives out what is closed and has its vector, in order."""
        for vector in vectors:
            self._unseen.popleft().vector = vector
        ready = []
        while self._looks:
            look = self._looks[0]
            self._watermark_seconds = look.start_seconds
            if look.end_seconds is None or look.vector is None:
                break
            ready.append(self._evidence(look, look.end_seconds, look.vector))
            self._looks.popleft()
        return ready

    def _evidence(self, look: _Look, end_seconds: float, vector: np.ndarray) -> Evidence:
        generation = self._generation
        return evidence_of(
            generation,
            look.start_seconds,
            end_seconds,
            vectors={self._space: vector},
        )
