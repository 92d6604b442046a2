"""Where blocks of a stream go that leave the device: into the host's memory, from there to disk,
from there nowhere. The oldest go first. Importing it loads torch."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from ingest.models.videollm.session_slab import KeyValues

_LOG = logging.getLogger(__name__)


class BlockStore:
    """Blocks by number, written once.

    host_bytes, disk_bytes: the most that is kept there. Beyond both a block is forgotten. folder:
    a folder of its own is made in it (None: where temporary files go), once one is needed.
    """

    def __init__(self, host_bytes: int, disk_bytes: int, folder: Path | None = None):
        self._host_limit, self._disk_limit = host_bytes, disk_bytes
        self._parent = folder
        self._folder: Path | None = None
        self._host: OrderedDict[int, KeyValues] = OrderedDict()
        self._disk: OrderedDict[int, int] = OrderedDict()
        self._shapes: dict[int, tuple[torch.Size, torch.dtype]] = {}
        self.host_bytes = 0
        self.disk_bytes = 0
        self._warned = False

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
            while self.disk_bytes + block.nbytes > self._disk_limit and self._disk:
                forgotten.append(self._forget())
            while not (written := self._written(oldest, block)) and self._disk:
                forgotten.append(self._forget())
            if not written:
                forgotten.append(oldest)
        return forgotten

    def _written(self, number: int, block: KeyValues) -> bool:
        if block.nbytes > self._disk_limit:
            return False
        try:
            with self._path(number).open("wb", buffering=0) as file:
                for tensor in (block.keys, block.values):
                    rest = memoryview(_bytes(tensor))
                    while rest:  # a disk that is nearly full takes a part
                        rest = rest[file.write(rest) :]
        except OSError as error:
            self._path(number).unlink(missing_ok=True)
            if not self._warned:
                _LOG.warning("Of a stream less is kept than it could be: %s", error)
            self._warned = True
            return False
        self._disk[number] = block.nbytes
        self._shapes[number] = block.keys.shape, block.keys.dtype
        self.disk_bytes += block.nbytes
        return True

    def _forget(self) -> int:
        number, size = self._disk.popitem(last=False)
        self._path(number).unlink(missing_ok=True)
        del self._shapes[number]
        self.disk_bytes -= size
        return number

    def get(self, number: int) -> KeyValues:
        """Raises KeyError for one that was forgotten, OSError where its file cannot be read."""
        if number in self._host:
            return self._host[number]
        if number not in self._disk:
            raise KeyError(number)
        shape, dtype = self._shapes[number]
        both = torch.empty((2, *shape), dtype=dtype)
        file = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            room = memoryview(_bytes(both))
            while room:
                count = os.readv(file, [room])
                if not count:
                    raise OSError(f"{self._path(number)} is shorter than what was written.")
                room = room[count:]
        finally:
            os.close(file)
        return KeyValues(*both)

    def close(self) -> None:
        self._host.clear()
        self._disk.clear()
        self._shapes.clear()
        self.host_bytes = self.disk_bytes = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="longtake-stream-", dir=self._parent))
        return self._folder / f"{number:09}.bin"


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of its own in the host's memory, also where the device is the host."""
    return tensor.to("cpu", copy=True).contiguous()


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """Its memory, uint8 of shape (bytes,)."""
    return tensor.detach().view(-1).view(torch.uint8).numpy()
