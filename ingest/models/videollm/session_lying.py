"""Blocks of a stream, wherever they lie. Importing it loads torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        for block in blocks:
            start = self._starts.get(block.number)
            if start is None:
                yield self._store.get(block.number)
            else:
                yield self._slab.read(start, start + block.tokens)

    def in_pieces(self, blocks: Sequence[Block]) -> Iterator[KeyValues]:
        """The same, with neighbours in the slab as one."""
        run: list[Block] = []
        for block in blocks:
            here = block.number in self._starts
            if run and not (here and block.number == run[-1].number + 1):
                yield self._run(run)
                run = []
            if here:
                run.append(block)
            else:
                yield self._store.get(block.number)
        if run:
            yield self._run(run)

    def _run(self, run: Sequence[Block]) -> KeyValues:
        start = self._starts[run[0].number]
        return self._slab.read(start, start + sum(block.tokens for block in run))
