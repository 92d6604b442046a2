"""Where blocks of a stream go that leave the device: into the host's memory, from there to disk,
from there nowhere. The oldest go first. Importing it loads torch."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
            save_file({"keys": block.keys, "values": block.values}, self._path(number))
        except (OSError, SafetensorError) as error:
            if not self._warned:
                _LOG.warning("Of a stream less is kept than it could be: %s", error)
            self._warned = True
            return False
        self._disk[number] = block.nbytes
        self.disk_bytes += block.nbytes
        return True

    def _forget(self) -> int:
        number, size = self._disk.popitem(last=False)
        self._path(number).unlink(missing_ok=True)
        self.disk_bytes -= size
        return number

    def get(self, number: int) -> KeyValues:
        """Raises KeyError for one that was forgotten, OSError where its file cannot be read."""
        if number in self._host:
            return self._host[number]
        if number not in self._disk:
            raise KeyError(number)
        try:
            read = load_file(self._path(number))
        except SafetensorError as error:
            raise OSError(f"{self._path(number)} is damaged: {error}") from error
        return KeyValues(read["keys"], read["values"])

    def close(self) -> None:
        self._host.clear()
        self._disk.clear()
        self.host_bytes = self.disk_bytes = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="longtake-stream-", dir=self._parent))
        return self._folder / f"{number:09}.safetensors"


def _on_host(tensor):
    """A copy of its own in the host's memory, also where the device is the host."""
    return tensor.to("cpu", copy=True).contiguous()
