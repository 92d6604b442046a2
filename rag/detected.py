"""What an object detector finds on the pictures of a prompt, of the things that a question names.

The object detection of Video-RAG (Luo et al. 2024, arXiv 2411.13093): a language model that counts
badly is told numbers and places beside the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ingest.models.places import as_text
from rag.show_frames import Shown

if TYPE_CHECKING:
    from ingest.channels.object import Detector


class Finder:
    """make: the detector; called once, when something is first looked for. Raises
    ModelMissingError. threshold: least confidence; None takes what the model's authors do. batch:
    pictures looked at at once."""

    def __init__(
        self, make: Callable[[], Detector], *, threshold: float | None = None, batch: int = 4
    ):
        self._make = make
        self._threshold = threshold
        self._batch = batch

    @cached_property
    def _detector(self) -> Detector:
        return self._make()

    def load(self) -> None:
        """What `look` would do first."""
        _ = self._detector

    def look(self, shown: Sequence[Shown], things: Sequence[str]) -> list[Shown]:
        """The same, with what each of them shows of the things."""
        told: list[Shown] = []
        for at in range(0, len(shown), self._batch):
            some = shown[at : at + self._batch]
            images = [one.frame.image for one in some]
            found = self._detector.detect(images, things, threshold=self._threshold)
            told += [
                replace(one, detected=as_text(detections))
                for one, detections in zip(some, found, strict=True)
            ]
        return told


def usual(things: Sequence[str]) -> str:
    """About what a prompt says of a picture that shows each of them twice."""
    seen = "; ".join(f"{thing} × 2 (bottom left, right)" for thing in things)
    return f"1:23:45.6 detected in picture 10: {seen}"
