"""Queries for sounds, without torch: CLAP's text tower as `longtake models prepare` has exported it
(ingest.models.clap_export), run by onnxruntime, words cut up by tokenizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.encoders import space_name
from ingest.models.files import ModelFiles

NETWORK = "clap_text.onnx"
TOKENIZER = "clap_tokenizer.json"
FACTS = "clap_text.json"
"""The three files of the export, in ModelFiles.prepared. FACTS holds `digest` (of the weights),
`code`, `size`, `max_tokens`, `pad_id`, `pad_token`, `int8` and `cosine` (the lowest with torch)."""

CODE_VERSION = 1
"""Raised when exports of older versions can no longer be read."""

_THREADS = 4
_BATCH = 64


class OnnxClapText:
    """CLAP's text tower. Implements ingest.models.encoders.TextEncoder.

    Raises ModelMissingError where nothing is prepared, or from other weights than these.
    """

    def __init__(self, files: ModelFiles):
        facts = prepared_facts(files)
        if facts is None:
            raise ModelMissingError(
                f"{files.name} is not prepared for queries: {files.prepare_command()}"
            )
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ModelMissingError(
                f"{error.name or error} is not installed: install Longtake's requirements again"
            ) from error
        self.space = space_name("sound", files.name, files.digest)
        self.size: int = facts["size"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.log_severity_level = 3
        try:
            self._tokenizer = Tokenizer.from_file(str(files.prepared / TOKENIZER))
            self._network = onnxruntime.InferenceSession(
                str(files.prepared / NETWORK), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # whatever the two make of files that are cut short
            raise ModelMissingError(
                f"what was prepared of {files.name} does not load ({error}): "
                f"{files.prepare_command()} makes it anew"
            ) from error
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


def prepared_facts(files: ModelFiles) -> dict[str, Any] | None:
    """What FACTS says; None where nothing is prepared, or from other weights, or by other code."""
    try:
        facts = json.loads((files.prepared / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    current = facts.get("digest") == files.digest and facts.get("code") == CODE_VERSION
    return facts if current else None
