"""Texts of like length together, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Forward = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(input ids, attention mask), both int64 of shape (texts, tokens), to float32 (texts, size)."""


def clean(text: str) -> str:
    """What a tokenizer takes: bytes that were no text come as lone surrogates, which none does."""
    return text.encode(errors="replace").decode()


def encode_by_length(
    ids: Sequence[Sequence[int]], forward: Forward, *, size: int, pad: int, most_tokens: int
) -> np.ndarray:
    """The texts' vectors, float32 of shape (len(ids), size), unit length, in the order of `ids`.

    ids: tokens of each text. most_tokens: of a batch, padding included; a longer text is a batch
    of its own. Padding goes behind the text.
    """
    vectors = np.zeros((len(ids), size), np.float32)
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]), reverse=True)
    start = 0
    while start < len(order):
        longest = max(len(ids[order[start]]), 1)
        batch = order[start : start + max(most_tokens // longest, 1)]
        tokens = np.full((len(batch), longest), pad, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, at in enumerate(batch):
            tokens[row, : len(ids[at])] = ids[at]
            mask[row, : len(ids[at])] = 1
        vectors[batch] = forward(tokens, mask)
        start += len(batch)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
