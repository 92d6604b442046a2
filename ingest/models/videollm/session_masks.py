"""What each token of a stream looks at. Importing it loads torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ingest.models.videollm.session_recall import Block


def causal(before: int, tokens: int, device: torch.device) -> torch.Tensor:
    """bool of shape (tokens, before + tokens): each looks at all before it, and itself."""
    whole = torch.ones(tokens, before + tokens, dtype=torch.bool, device=device)
    return whole.tril(before)


def windowed(blocks: Sequence[Block], new: int, head: int, window: int) -> torch.Tensor:
    """bool of shape (tokens of the last `new` blocks, head and all blocks): each block looks at the
    beginning, at as many blocks before it as `window` tokens hold, and, causally, at itself."""
    ends = np.cumsum([block.tokens for block in blocks])
    starts = ends - [block.tokens for block in blocks]
    first = int(starts[len(blocks) - new])
    mask = causal(head + first, int(ends[-1]) - first, torch.device("cpu"))
    for at in range(len(blocks) - new, len(blocks)):
        oldest = at
        while oldest and starts[at] - starts[oldest - 1] <= window:
            oldest -= 1
        rows = slice(int(starts[at]) - first, int(ends[at]) - first)
        mask[rows, head : head + int(starts[oldest])] = False
    return mask
