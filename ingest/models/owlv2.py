"""How OWLv2 is asked. The weights are loaded by ingest.models.detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

_PROMPT = "a photo of a {}"
"""As in the model's card."""
_REMEMBERED = 16


class Owlv2:
    """processor, model: transformers' Owlv2Processor and Owlv2ForObjectDetection.

    A list of classes is read once: the model's own `forward` runs the text tower anew for every
    picture, and for every class in it.
    """

    threshold = 0.1

    def __init__(self, processor: Any, model: Any):
        self._processor, self._model = processor, model
        self._texts: dict[tuple[str, ...], torch.Tensor] = {}

    def raw(
        self, images: Sequence[np.ndarray], classes: Sequence[str]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        model = self._model
        with torch.inference_mode():
            pixels = self._processor.image_processor(
                list(images), return_tensors="pt", input_data_format="channels_last"
            )
            seen, _ = model.image_embedder(pixels["pixel_values"].to(model.device))
            patches = seen.flatten(1, 2)
            texts = self._embedded(tuple(classes)).expand(len(images), -1, -1)
            logits, _ = model.class_predictor(patches, texts)
            # Sigmoids of sure ones are all 1: the class comes first.
            best, labels = logits.max(dim=-1)
            scores = torch.sigmoid(best)
            middles = model.box_predictor(patches, seen)
        scores, labels = scores.cpu().numpy(), labels.cpu().numpy()
        corners = _corners(middles.cpu().numpy())
        # The picture was made square with a margin to its right or below.
        sides = [np.array(image.shape[1::-1], np.float32) for image in images]
        scales = [side.max() / np.tile(side, 2) for side in sides]
        return [
            (scores[i], labels[i], corners[i] * scales[i].astype(np.float32))
            for i in range(len(images))
        ]

    def _embedded(self, classes: tuple[str, ...]) -> torch.Tensor:
        """(classes, size)"""
        if classes not in self._texts:
            model = self._model
            tokens = self._processor.tokenizer(
                [_PROMPT.format(name) for name in classes],
                padding="max_length",
                truncation=True,
                max_length=model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            ).to(model.device)
            features = model.owlv2.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            while len(self._texts) >= _REMEMBERED:
                self._texts.pop(next(iter(self._texts)))
            self._texts[classes] = getattr(features, "pooler_output", features)
        return self._texts[classes]


def _corners(middles: np.ndarray) -> np.ndarray:
    """(…, 4): x and y of the middle, width, height; to x0, y0, x1, y1."""
    at, half = middles[..., :2], middles[..., 2:] / 2
    return np.concatenate([at - half, at + half], axis=-1)
