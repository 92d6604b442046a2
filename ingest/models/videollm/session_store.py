"""Where blocks of a stream go that leave the device: into the host's memory, from there to disk,
from there nowhere. The oldest go first. Importing it loads torch."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch

from ingest.models.videollm.session_ring import Ring
from ingest.models.videollm.session_slab import KeyValues

_LOG = logging.getLogger(__name__)

_READ_BYTES = 16 << 20
"""Of blocks from disk that are in memory at once, beside where they go."""


class BlockStore:
    """Blocks by number, written once, each number greater than the one before.

    host_bytes, disk_bytes: the most that is kept there. Beyond both a block is forgotten. folder:
    where the file on disk is, once one is needed (None: where temporary files go).
    """

    def __init__(self, host_bytes: int, disk_bytes: int, folder: Path | None = None):
        self._host_limit = host_bytes
        self._host: OrderedDict[int, KeyValues] = OrderedDict()
        self._disk = Ring(disk_bytes, folder)
        self._shapes: dict[int, tuple[torch.Size, torch.dtype]] = {}
        self.host_bytes = 0
        self._warned = False

    @property
    def disk_bytes(self) -> int:
        """That the file takes, also where what it held was forgotten."""
        return self._disk.nbytes

    def __contains__(self, number: int) -> bool:
        return number in self._host or number in self._disk

    def put(self, number: int, kept: KeyValues) -> list[int]:
        """kept: may be a view of memory on the device; it is copied. Returns the numbers of the
        blocks that were forgotten for it, always the oldest of all. A disk that takes no more is
        as good as a lower `disk_bytes`."""
        own = KeyValues(_on_host(kept.keys), _on_host(kept.values))
        self._host[number] = own
        self.host_bytes += own.nbytes
        forgotten: list[int] = []
        while self.host_bytes > self._host_limit:
            oldest, block = self._host.popitem(last=False)
            self.host_bytes -= block.nbytes
            while not (written := self._written(oldest, block)) and self._disk:
                forgotten.append(self._disk.pop())
                del self._shapes[forgotten[-1]]
            if not written:
                forgotten.append(oldest)
        return forgotten

    def _written(self, number: int, block: KeyValues) -> bool:
        try:
            if not self._disk.push(number, [_bytes(block.keys), _bytes(block.values)]):
                return False
        except OSError as error:
            if not self._warned:
                _LOG.warning("Of a stream less is kept than it could be: %s", error)
            self._warned = True
            return False
        self._shapes[number] = block.keys.shape, block.keys.dtype
        return True

    def get(self, number: int) -> KeyValues:
        """Raises KeyError for one that was forgotten, OSError where it cannot be read."""
        return next(self.each([number]))

    def each(self, numbers: Sequence[int]) -> Iterator[KeyValues]:
        """Each of them, in this order. Raises as `get`."""
        waiting: list[int] = []
        size = 0
        for number in numbers:
            here = self._host.get(number)
            if here is None:
                start, end = self._disk.place(number)
                waiting.append(number)
                size += end - start
            if waiting and (here is not None or size >= _READ_BYTES):
                yield from self._read(waiting, size)
                waiting, size = [], 0
            if here is not None:
                yield here
        if waiting:
            yield from self._read(waiting, size)

    def _read(self, numbers: Sequence[int], size: int) -> Iterator[KeyValues]:
        """From disk, those that lie side by side at once."""
        whole = torch.empty(size, dtype=torch.uint8)
        room = _bytes(whole)
        at, start, end = 0, 0, 0
        for number in numbers:
            place = self._disk.place(number)
            if place[0] != end:
                self._disk.read(start, room[at : at + end - start])
                at, start = at + end - start, place[0]
            end = place[1]
        self._disk.read(start, room[at:])
        at = 0
        for (shape, dtype), group in groupby(numbers, key=self._shapes.__getitem__):
            count = len(list(group))
            end = at + count * 2 * shape.numel() * dtype.itemsize
            blocks = whole[at:end].view(dtype).view(count, 2, *shape)
            yield from map(KeyValues, blocks[:, 0].unbind(), blocks[:, 1].unbind())
            at = end

    def close(self) -> None:
        self._host.clear()
        self._shapes.clear()
        self._disk.close()
        self.host_bytes = 0


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of its own in the host's memory, also where the device is the host."""
    return tensor.to("cpu", copy=True).contiguous()


def _bytes(tensor: torch.Tensor) -> memoryview:
    """Its memory, byte by byte."""
    return memoryview(tensor.detach().view(-1).view(torch.uint8).numpy())
