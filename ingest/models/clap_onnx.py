"""Queries for sounds, without torch: CLAP's text tower as `longtake models prepare` has exported it
(ingest.models.clap_export), run by onnxruntime, words cut up by tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.models import prepared
from ingest.models.encoders import space_name
from ingest.models.files import ModelFiles

NETWORK = "clap_text.onnx"
TOKENIZER = "clap_tokenizer.json"
FACTS = "clap_text.json"
"""The three files of the export, in ModelFiles.prepared. FACTS holds `format`, `digest` (of
the weights), `size`, `max_tokens`, `pad_id`, `pad_token`, `int8`, `cosine` (lowest with torch)."""

FORMAT = 1
"""Of the prepared folder. Raise it where an older one could be misread."""

_THREADS = 4
_BATCH = 64


class OnnxClapText:
    """CLAP's text tower. Implements ingest.models.encoders.TextEncoder.

    Raises ModelMissingError where nothing is prepared, or from other weights than these.
    """

    def __init__(self, files: ModelFiles):
        facts = read_record(files)
        self.space = space_name("sound", files.name, files.digest)
        self.size: int = facts["size"]
        self._tokenizer = prepared.open_tokenizer(files, files.prepared / TOKENIZER)
        self._network = prepared.open_session(
            files, files.prepared / NETWORK, _THREADS, optimised=False
        )
        self._tokenizer.enable_truncation(facts["max_tokens"])
        self._tokenizer.enable_padding(pad_id=facts["pad_id"], pad_token=facts["pad_token"])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        vectors = [np.zeros((0, self.size), np.float32)]
        for at in range(0, len(texts), _BATCH):
            encoded = self._tokenizer.encode_batch(list(texts[at : at + _BATCH]))
            inputs = {
                "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
                "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
            }
            vectors.append(self._network.run(None, inputs)[0])
        return np.concatenate(vectors)


def read_record(files: ModelFiles) -> dict[str, Any]:
    """What FACTS says. Raises ModelMissingError where there is nothing that fits."""
    return prepared.read_record(files, FACTS, FORMAT)
