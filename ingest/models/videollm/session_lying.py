"""Blocks of a stream, wherever they lie. Importing it loads torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ingest.models.videollm.session_recall import Block
from ingest.models.videollm.session_slab import KeyValues, Slab
from ingest.models.videollm.session_store import BlockStore


class Lying:
    """recent: the blocks in the slab, in its order, the first one behind `head` tokens; all others
    are in the store."""

    def __init__(self, slab: Slab, head: int, recent: Sequence[Block], store: BlockStore):
        self._slab, self._store = slab, store
        self._starts: dict[int, int] = {}
        for block in recent:
            self._starts[block.number] = head
            head += block.tokens

    def one_by_one(self, blocks: Sequence[Block]) -> Iterator[KeyValues]:
        """Of the slab views, not copies."""
        for here, group in self._grouped(blocks):
            if not here:
                yield from self._store.each([block.number for block in group])
                continue
            for block in group:
                start = self._starts[block.number]
                yield self._slab.read(start, start + block.tokens)

    def in_pieces(self, blocks: Sequence[Block]) -> Iterator[KeyValues]:
        """The same, with neighbours in the slab as one."""
        for here, group in self._grouped(blocks):
            if not here:
                yield from self._store.each([block.number for block in group])
                continue
            start = end = self._starts[group[0].number]
            for block in group:
                if self._starts[block.number] != end:
                    yield self._slab.read(start, end)
                    start = self._starts[block.number]
                end = self._starts[block.number] + block.tokens
            yield self._slab.read(start, end)

    def _grouped(self, blocks: Sequence[Block]) -> Iterator[tuple[bool, list[Block]]]:
        """Whether they are in the slab, and those that follow each other there, or elsewhere."""
        for here, group in groupby(blocks, key=lambda block: block.number in self._starts):
            yield here, list(group)
