"""Text encoders on ONNX Runtime, for queries and for indexing on a CPU: neither torch nor
transformers is imported. What it reads was made by `ingest.models.text_export.prepare`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.models import prepared
from ingest.models.encoders import space_name
from ingest.models.files import ModelFiles
from ingest.models.text_batches import clean, encode_by_length
from ingest.models.text_recipe import MOST_TOKENS, recipe_from, with_overrides
from ingest.models.text_tokens import SKELETON, PieceTokenizer

FORMAT = 2
"""Of the prepared folder. Raise it where an older one could be misread."""

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
RECORD = "encoder.json"

MOST_TOKENS_AT_ONCE = 2048
"""Tokens of a batch: more gain nothing on a CPU and take memory."""


class OnnxTextEncoder:
    """A `PassageEncoder` in float32 (int8 where it was prepared so), of `files.prepared`.

    threads: 0 is as many as this process may run on. once: opens sooner and runs slower, for a
    process that asks one query. The other arguments: see `read_recipe`.
    unrelated_cosine: what it makes of a query and a passage that have nothing to do with each
    other, on average. Safe to share between threads.

    Raises ModelMissingError where nothing was prepared, or something else was.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        max_tokens: int = MOST_TOKENS,
        threads: int = 0,
        once: bool = False,
    ):
        record = read_record(files)
        self.recipe = with_overrides(
            recipe_from(record["recipe"]), query_prefix, passage_prefix, max_tokens
        )
        self.size = self.recipe.size
        self.space = space_name("text", files.name, files.digest)
        self._files = files
        self.unrelated_cosine = float(record["unrelated_cosine"])
        self._pad = int(record["pad"])
        self._session = prepared.open_session(files, files.prepared / GRAPH, threads, once)
        self._pieces: PieceTokenizer | None = None
        if (files.prepared / SKELETON).exists():
            self._pieces = PieceTokenizer(files.prepared)
        self._whole: Any = None
        self._lock = threading.Lock()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        prefixed = self._texts(texts, self.recipe.query_prefix)
        return self._run([self._short(text) for text in prefixed])

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._run(self._long(self._texts(texts, self.recipe.passage_prefix)))

    def _texts(self, texts: Sequence[str], prefix: str) -> list[str]:
        prefixed = [prefix + clean(text) for text in texts]
        return [text.lower() for text in prefixed] if self.recipe.lower_case else prefixed

    def _short(self, text: str) -> list[int]:
        with self._lock:
            found = self._pieces and self._pieces.encode(text, self.recipe.max_tokens)
        return found if found else self._long([text])[0]

    def _long(self, texts: Sequence[str]) -> list[list[int]]:
        with self._lock:
            if self._whole is None:
                self._whole = load_tokenizer(self._files, self.recipe.max_tokens)
        return [found.ids for found in self._whole.encode_batch(list(texts))]

    def _run(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        return encode_by_length(
            ids, self._forward, size=self.size, pad=self._pad, most_tokens=MOST_TOKENS_AT_ONCE
        )

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def read_record(files: ModelFiles) -> dict[str, Any]:
    """What `prepare` wrote down. Raises ModelMissingError where there is nothing that fits."""
    return prepared.read_record(files, RECORD, FORMAT)


def load_tokenizer(files: ModelFiles, max_tokens: int):
    """The whole tokenizer. Raises ModelMissingError."""
    tokenizer = prepared.open_tokenizer(files, files.prepared / TOKENIZER)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
