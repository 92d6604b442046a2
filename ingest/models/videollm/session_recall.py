"""Which frames of a stream a question looks back at (ReKV: Di et al. 2025, "Streaming Video
Question-Answering with In-context Video KV-Cache Retrieval"). Importing it loads torch.

Unlike there, one choice is made for all layers, and queries come from reading the question once
before, with the latest frames in view.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

RECENT_SHARE = 0.25
"""Of what a question looks back at, for the latest frames."""


@dataclass(slots=True)
class Block:
    """A frame that was read. start: the place of its first token, where its keys were turned to;
    width: places that it takes."""

    number: int
    time_seconds: float
    tokens: int
    start: int
    width: int


class Summaries:
    """The mean key of each block, by number, in memory of the host: of blocks that are kept, which
    are always the latest ones."""

    def __init__(self):
        self._rows = torch.zeros(0, 0)
        self._first = 0
        self._kept = 0
        self._end = 0

    def add(self, means: torch.Tensor) -> None:
        """means: float32 of shape (layers, heads, head_size), of the next block."""
        row = torch.nn.functional.normalize(means, dim=-1).flatten().cpu()
        used = self._end - self._first
        if used == len(self._rows):
            grown = torch.zeros(max(256, 2 * used), len(row))
            if used:
                grown[:used] = self._rows
            self._rows = grown
        self._rows[used] = row
        self._end += 1

    def forget(self, first_kept: int) -> None:
        self._kept = first_kept
        gone, used = first_kept - self._first, self._end - self._first
        if gone < used // 4:  # not for every one
            return
        self._rows = self._rows[gone:used].clone()
        self._first = first_kept

    def nearness(self, queries: Sequence[torch.Tensor]) -> torch.Tensor:
        """The mean cosine, over layers and heads, of each block that is kept to a question: float32
        of shape (blocks,), the oldest first. queries: a layer each, of shape (tokens, query heads,
        head_size); those that share a head are averaged."""
        layers = len(queries)
        size = queries[0].shape[-1]
        heads = self._rows.shape[1] // (layers * size)
        asked = torch.stack([each.mean(dim=0).reshape(heads, -1, size).mean(1) for each in queries])
        asked = torch.nn.functional.normalize(asked, dim=-1).flatten().cpu()
        kept = self._rows[self._kept - self._first : self._end - self._first]
        return kept @ asked / (layers * heads)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes


def in_spans(blocks: Sequence[Block], spans: Sequence[tuple[float, float]]) -> list[Block]:
    """Those that are on show in one of the spans: each is until the next one comes."""
    chosen: set[int] = set()
    for start, end in spans:
        first = bisect_right(blocks, start, key=_time) - 1
        chosen.update(range(max(first, 0), bisect_left(blocks, end, key=_time)))
    return [blocks[at] for at in sorted(chosen)]


def _time(block: Block) -> float:
    return block.time_seconds


def latest(blocks: Sequence[Block], room: int) -> list[Block]:
    """As many of the last ones as fit, none left out between them."""
    chosen: list[Block] = []
    for block in reversed(blocks):
        room -= block.tokens
        if room < 0:
            break
        chosen.append(block)
    return chosen[::-1]


def spread(blocks: Sequence[Block], room: int) -> list[Block]:
    """All where they fit, else evenly spread ones."""
    count = len(blocks)
    while count:
        step = len(blocks) / count
        chosen = [blocks[int((at + 0.5) * step)] for at in range(count)]
        total = sum(block.tokens for block in chosen)
        if total <= room:
            return chosen
        count = min(count - 1, max(1, int(count * room / total)) if room > 0 else 0)
    return []


def fill(chosen: dict[int, Block], ranked: Iterable[Block], room: int, least: int = 1) -> int:
    """Adds those that are not there yet, in their order, where they fit; returns the room left.
    least: tokens that none is below."""
    for block in ranked:
        if room < least:
            break
        if block.number not in chosen and block.tokens <= room:
            chosen[block.number] = block
            room -= block.tokens
    return room
