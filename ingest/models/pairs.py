"""A query and a text at once, as cross-encoders read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Pair:
    """ids: the query's tokens and the text's, special ones included. types: which of the two each
    belongs to, 0 or 1."""

    ids: Sequence[int]
    types: Sequence[int]


Forward = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(input ids, attention mask, types), all int64 of shape (pairs, tokens), to float32 (pairs,)."""


def score_by_length(
    pairs: Sequence[Pair], forward: Forward, *, pad: int, most_tokens: int
) -> np.ndarray:
    """float32 of shape (len(pairs),), 0..1: the sigmoid of what `forward` makes of each.

    Pairs of like length share a batch of at most `most_tokens` tokens, padding included.
    """
    logits = np.zeros(len(pairs), np.float32)
    order = sorted(range(len(pairs)), key=lambda at: len(pairs[at].ids), reverse=True)
    start = 0
    while start < len(order):
        longest = len(pairs[order[start]].ids)
        batch = order[start : start + max(most_tokens // longest, 1)]
        ids = np.full((len(batch), longest), pad, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        types = np.zeros((len(batch), longest), np.int64)
        for row, at in enumerate(batch):
            length = len(pairs[at].ids)
            ids[row, :length] = pairs[at].ids
            mask[row, :length] = 1
            types[row, :length] = pairs[at].types
        logits[batch] = forward(ids, mask, types)
        start += len(batch)
    return 1.0 / (1.0 + np.exp(-logits))
