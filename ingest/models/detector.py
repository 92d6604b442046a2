"""Finds things in pictures by their names: OWLv2 or Grounding DINO, with transformers.

"Scaling Open-Vocabulary Object Detection" (Minderer et al. 2023, arXiv 2306.09683) and "Grounding
DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection" (Liu et al. 2023,
arXiv 2303.05499). One call serves ingest.channels.object, for the classes that the settings name,
and questions, for the things that a question names, on the frames that were found for it; what to
make of the boxes then is in ingest.models.places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from index.errors import ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.pretrained import (
    choose_device,
    load_part,
    load_transformers,
    load_weights,
    read_json,
)

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in 0..1 of the upright picture's width and height."""

FAMILIES = ("owlv2", "grounding-dino")
"""`model_type` of config.json."""

DEFAULT_OVERLAP = 0.6
"""Two boxes of one class with a larger intersection over union are one thing found twice."""

CODE_VERSION = 1
"""Raised when a change here changes what is found."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in one picture. label: the class as it was asked for. confidence: 0..1."""

    label: str
    box: Box
    confidence: float


class _Family(Protocol):
    """A model and how it is asked. threshold: what its authors' examples take."""

    threshold: float

    def raw(
        self, images: Sequence[np.ndarray], classes: Sequence[str]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each picture, of each box that the model proposes: the score of its likeliest class,
        float32 of shape (n,); that class's index, int64 of shape (n,); the box, float32 of shape
        (n, 4), in 0..1 of the picture's width and height, possibly reaching out of it."""
        ...


def describe_detector(files: ModelFiles) -> Mapping[str, Any]:
    """What the detector will be, from its settings alone: `model`, `family`, `digest`, `code`.

    Raises ModelMissingError where the folder holds neither an OWLv2 nor a Grounding DINO.
    """
    family = read_json(files, "config.json").get("model_type")
    if family not in FAMILIES:
        raise ModelMissingError(
            f"{files.name} is {family!r}: things can be found with {' or '.join(FAMILIES)}. Choose "
            "another for channels.object.model, for example google/owlv2-base-patch16-ensemble"
        )
    return {
        "model": files.name,
        "family": family,
        "digest": files.digest,
        "code": CODE_VERSION,
    }


class OpenVocabularyDetector:
    """OWLv2 or Grounding DINO, whichever the folder holds, by transformers.

    device: as torch calls it; None takes CUDA where it is there. The arithmetic is float32.
    overlap: see DEFAULT_OVERLAP; 1 keeps all boxes.

    Raises ModelMissingError.
    """

    def __init__(
        self, files: ModelFiles, *, device: str | None = None, overlap: float = DEFAULT_OVERLAP
    ):
        described = describe_detector(files)
        transformers = load_transformers()
        device = choose_device(device)
        self._overlap = overlap
        self._family: _Family
        if described["family"] == "owlv2":
            from ingest.models.owlv2 import Owlv2

            self._family = Owlv2(
                load_part(files, transformers.Owlv2Processor),
                load_weights(files, transformers.Owlv2ForObjectDetection, device),
            )
        else:
            from ingest.models.grounding_dino import GroundingDino

            self._family = GroundingDino(
                load_part(files, transformers.GroundingDinoProcessor),
                load_weights(files, transformers.GroundingDinoForObjectDetection, device),
            )
        self.threshold = self._family.threshold

    def detect(
        self,
        images: Sequence[np.ndarray],
        classes: Sequence[str],
        *,
        threshold: float | None = None,
    ) -> list[list[Detection]]:
        """What of `classes` each picture shows, the surest first.

        images: uint8 of shape (height, width, 3), RGB, of any sizes. classes: names of things, as
        one would say them ("person", "red car"). threshold: least confidence; None takes
        `self.threshold`, what the model's authors do.
        """
        names = list(dict.fromkeys(name.strip() for name in classes if name.strip()))
        if not len(images) or not names:
            return [[] for _ in images]
        least = self.threshold if threshold is None else threshold
        found = []
        for scores, labels, boxes in self._family.raw(images, names):
            boxes = np.clip(boxes, 0.0, 1.0)
            # OWLv2 also looks at the margin that made the picture square.
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            kept = np.flatnonzero((scores > least) & inside)
            kept = kept[np.lexsort((kept, -scores[kept]))]
            kept = suppress(boxes, labels, kept, self._overlap)
            found.append(
                [
                    Detection(names[labels[i]], tuple(map(float, boxes[i])), float(scores[i]))
                    for i in kept
                ]
            )
        return found


def suppress(
    boxes: np.ndarray, labels: np.ndarray, order: np.ndarray, overlap: float
) -> np.ndarray:
    """Of the indices `order`, best first, those that no better one of their class covers.

    boxes: float of shape (n, 4). labels: int of shape (n,). overlap: of intersection over union.
    """
    kept: list[int] = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in order:
        rivals = [j for j in kept if labels[j] == labels[i]]
        if rivals:
            low = np.maximum(boxes[rivals, :2], boxes[i, :2])
            high = np.minimum(boxes[rivals, 2:], boxes[i, 2:])
            shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
            if (shared > overlap * (areas[rivals] + areas[i] - shared)).any():
                continue
        kept.append(int(i))
    return np.array(kept, dtype=np.int64)
