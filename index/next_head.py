"""The shard that will be the next head, made ahead of the time when it is wanted: to make one takes
the engine a hundred synchronous writes, while whoever writes points would wait."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from index.builder import Builder, BuildError, Target
from index.errors import LongtakeError
from index.shard import Shard
from index.store import VectorSpace

_log = logging.getLogger(__name__)


class NextHead:
    """One shard in the making at a time, by a thread with a child. The caller holds a lock."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._thread: threading.Thread | None = None
        self._shard: Shard | None = None

    @property
    def begun(self) -> bool:
        """Is there one, or has it been tried since the last was taken?"""
        return self._thread is not None

    @property
    def ended(self) -> bool:
        """Is the making of it over?"""
        return self._thread is not None and not self._thread.is_alive()

    def begin(self, path: Path, spaces: Sequence[VectorSpace]) -> None:
        """Has it made, in that folder."""
        self._thread = threading.Thread(
            target=self._make, args=(path, spaces), name="next-head", daemon=True
        )
        self._thread.start()

    def _make(self, path: Path, spaces: Sequence[VectorSpace]) -> None:
        try:
            target = Target(path, {space.name: space for space in spaces})
            self._builder.build([(target, ())], head=True)
            self._shard = Shard.load(path.name, path, [space.name for space in spaces])
        except (BuildError, LongtakeError, OSError) as error:
            shutil.rmtree(path, ignore_errors=True)
            _log.debug("no head was made ahead: %s", error)

    def join(self) -> None:
        """Waits for it, if there is one in the making. Called without the lock."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def take(self) -> Shard | None:
        """The shard, which is the caller's from here on, if it is ready."""
        if self._thread is None or self._thread.is_alive():
            return None
        shard, self._shard, self._thread = self._shard, None, None
        return shard

    def stop(self) -> None:
        """Removes what nobody took. Nothing can be begun later."""
        self._builder.stop()
        if self._thread is not None:
            self._thread.join()
        if shard := self.take():
            shutil.rmtree(shard.path, ignore_errors=True)  # first: see Shards.discard
            shard.close()
