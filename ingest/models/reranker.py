"""Cross-encoders through transformers: how well a text answers a query, both read at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from index.errors import ConfigError
from ingest.models.files import ModelFiles
from ingest.models.pairs import Pair, score_by_length
from ingest.models.pretrained import choose_device, load_part, load_transformers, load_weights
from ingest.models.text_batches import clean
from ingest.models.text_recipe import MOST_TOKENS, longest_text

CPU_TOKENS = 4096
GPU_TOKENS = 65536
"""Tokens of a batch."""


class TransformersReranker:
    """A `TextReranker` on torch, in float32. Weights are read from `files.folder`, safetensors
    only; code that comes with them is never run.

    device: as torch names it; None takes a GPU where there is one. max_tokens: of a query and a
    text together; longer ones are cut, the longer of the two first.

    Raises ModelMissingError where packages or weights are missing, and ConfigError for a model that
    gives more than one figure a pair.
    """

    def __init__(
        self, files: ModelFiles, *, device: str | None = None, max_tokens: int = MOST_TOKENS
    ):
        transformers = load_transformers()
        self.name = files.name
        self._device = choose_device(device)
        self.tokenizer = load_part(files, transformers.AutoTokenizer)
        self.module = load_weights(
            files, transformers.AutoModelForSequenceClassification, self._device
        )
        config = self.module.config
        if config.num_labels != 1:
            raise ConfigError(
                f"{files.name} sorts pairs into {config.num_labels} classes, and a reranker gives "
                "one score. Another model is needed: [retrieve.rerank] model = NAME."
            )
        self.max_tokens = min(max_tokens, longest_text(files, config.to_dict(), {}))
        self.typed = "token_type_ids" in self.tokenizer.model_input_names
        self.pad = int(self.tokenizer.pad_token_id or 0)
        self._most_tokens = CPU_TOKENS if self._device == "cpu" else GPU_TOKENS

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros(0, np.float32)
        encoded = self.tokenizer(
            [clean(query)] * len(texts),
            [clean(text) for text in texts],
            truncation=True,
            max_length=self.max_tokens,
            return_token_type_ids=True,
        )
        pairs = [Pair(*one) for one in zip(encoded["input_ids"], encoded["token_type_ids"],
                                           strict=True)]  # fmt: skip
        return score_by_length(pairs, self._forward, pad=self.pad, most_tokens=self._most_tokens)

    def _forward(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        import torch

        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self.typed:
            inputs["token_type_ids"] = types
        with torch.inference_mode():
            given = {name: torch.from_numpy(a).to(self._device) for name, a in inputs.items()}
            return self.module(**given).logits[:, 0].float().cpu().numpy()
