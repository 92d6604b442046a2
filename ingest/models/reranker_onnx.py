"""Cross-encoders on ONNX Runtime: neither torch nor transformers is imported. What it reads was
made by `ingest.models.reranker_export.prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.models import prepared
from ingest.models.files import ModelFiles
from ingest.models.pairs import Pair, score_by_length
from ingest.models.text_batches import clean
from ingest.models.text_onnx import GRAPH, load_tokenizer

FORMAT = 1
"""Of the prepared folder. Raise it where an older one could be misread."""

RECORD = "reranker.json"

MOST_TOKENS_AT_ONCE = 2048
"""Tokens of a batch: more gain nothing on a CPU and take memory."""


class OnnxReranker:
    """A `TextReranker` in float32 (int8 where it was prepared so), of `files.prepared`. Safe to
    share between threads.

    threads: 0 is as many as this process may run on. max_tokens: of a query and a text together.

    Raises ModelMissingError where nothing was prepared, or something else was.
    """

    def __init__(self, files: ModelFiles, *, threads: int = 0, max_tokens: int | None = None):
        record = read_record(files)
        self.name = files.name
        self.max_tokens = min(max_tokens or record["max_tokens"], record["max_tokens"])
        self._typed, self._pad = bool(record["typed"]), int(record["pad"])
        self._session = prepared.open_session(files, files.prepared / GRAPH, threads)
        self._tokenizer = load_tokenizer(files, self.max_tokens)

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        asked = clean(query)
        found = self._tokenizer.encode_batch([(asked, clean(text)) for text in texts])
        pairs = [Pair(one.ids, one.type_ids) for one in found]
        return score_by_length(pairs, self._forward, pad=self._pad, most_tokens=MOST_TOKENS_AT_ONCE)

    def _forward(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._typed:
            inputs["token_type_ids"] = types
        return self._session.run(None, inputs)[0]


def read_record(files: ModelFiles) -> dict[str, Any]:
    """What `prepare` wrote down. Raises ModelMissingError where there is nothing that fits."""
    return prepared.read_record(files, RECORD, FORMAT)
