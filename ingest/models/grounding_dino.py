"""How Grounding DINO is asked. The weights are loaded by ingest.models.detector.

The model reads one caption, "person. red car.", and scores each box against each of its tokens. The
library hands back the text of all tokens above a threshold, which may be parts of two classes, or
none. Here a box has the class of its best token within a class, and that token's score (the
library's own score, where its best token is in a class and not a full stop). Classes that do not
fit into one caption are asked for in several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch


class GroundingDino:
    """processor, model: transformers' GroundingDinoProcessor and its ForObjectDetection."""

    threshold = 0.25

    def __init__(self, processor: Any, model: Any):
        self._processor, self._model = processor, model
        self._most_tokens = min(
            model.config.max_text_len, model.config.text_config.max_position_embeddings
        )

    def raw(
        self, images: Sequence[np.ndarray], classes: Sequence[str]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        device = self._model.device
        with torch.inference_mode():
            pixels = self._processor.image_processor(
                list(images), return_tensors="pt", input_data_format="channels_last"
            ).to(device)
        found: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in images]
        # A score is of the picture and its caption, so each caption's boxes stand for themselves.
        for first, some in self._captions(classes):
            for i, (scores, labels, boxes) in enumerate(self._ask(pixels, len(images), some)):
                found[i].append((scores, labels + first, boxes))
        return [tuple(map(np.concatenate, zip(*each, strict=True))) for each in found]

    def _ask(
        self, pixels: Any, pictures: int, classes: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        tokens = self._tokens(classes)
        spans = tokens.pop("offset_mapping")[0].tolist()
        batch = {
            name: each.expand(pictures, -1).to(self._model.device) for name, each in tokens.items()
        }
        with torch.inference_mode():
            outputs = self._model(**pixels, **batch)
            per_token = outputs.logits.cpu()
            middles = outputs.pred_boxes.cpu().numpy()
        owner = torch.from_numpy(_owners(spans, classes))
        per_class = torch.full((*per_token.shape[:2], len(classes)), -torch.inf)
        for n in range(len(classes)):
            if (owner == n).any():
                tokens_of = per_token[:, :, : len(owner)][:, :, owner == n]
                per_class[:, :, n] = tokens_of.max(dim=-1).values
        best, labels = per_class.max(dim=-1)
        scores = torch.sigmoid(best).numpy()
        at, half = middles[..., :2], middles[..., 2:] / 2
        boxes = np.concatenate([at - half, at + half], axis=-1)
        for i in range(pictures):
            yield scores[i], labels[i].numpy(), boxes[i]

    def _captions(self, classes: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """(index of the first, classes that fit into one caption)"""
        first, some = 0, []
        for n, name in enumerate(map(_spoken, classes)):
            if some and self._length([*some, name]) > self._most_tokens:
                yield first, some
                first, some = n, []
            some.append(name)
        yield first, some

    def _length(self, classes: Sequence[str]) -> int:
        return len(self._processor.tokenizer(_caption(classes))["input_ids"])

    def _tokens(self, classes: Sequence[str]) -> Any:
        return self._processor.tokenizer(
            _caption(classes),
            truncation=True,  # a single name of hundreds of words
            max_length=self._most_tokens,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            return_tensors="pt",
        )


def _spoken(name: str) -> str:
    """Lower case, as in training; a full stop would end the class."""
    return " ".join(name.lower().replace(".", " ").replace("?", " ").split()) or "object"


def _caption(classes: Sequence[str]) -> str:
    return ". ".join(classes) + "."


def _owners(spans: Sequence[Sequence[int]], classes: Sequence[str]) -> np.ndarray:
    """For each token, given where in the caption it lies, the index of its class, or -1."""
    owners = np.full(len(spans), -1)
    begin = 0
    for n, name in enumerate(classes):
        end = begin + len(name)
        for i, (start, stop) in enumerate(spans):
            if begin <= start < stop <= end:
                owners[i] = n
        begin = end + len(". ")
    return owners
