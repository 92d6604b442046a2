"""The open shards of a library and the manifest that names them: how they come and go, and how they
become durable.

An id lives in one shard. Writing one that a sealed shard holds puts it into the head and then
deletes it there. What a kill or a power cut between the two can do is settled by two rules:

* The copy that replaces an older one is on disk before the older one is deleted (`supersede`).
* A shard whose deletions from older shards may not be on disk yet is not `settled` in the manifest;
  the head never is. On opening after a kill the ids of unsettled shards are deleted from all older
  ones, so the newest copy wins before anybody reads.

Durable is what is in a shard's log and synced. Its other files follow when it is closed.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from index import fanout
from index.disk import holding_files, sync_directory
from index.faults import fault_point
from index.folder import LibraryFolder
from index.health import probe
from index.manifest import Manifest, ShardEntry, Space
from index.next_head import NextHead
from index.shard import Shard
from index.store import Filter, VectorSpace


class Shards:
    """All methods but `flush` and `await_next_head` are called with the lock held.

    Opening loads every shard and puts right what a kill left; it raises LibraryDamagedError.
    """

    def __init__(
        self,
        folder: LibraryFolder,
        manifest: Manifest,
        lock: threading.RLock,
        spaces: Sequence[VectorSpace] = (),
    ):
        """spaces: that a library without shards begins with."""
        self.manifest = manifest
        self._folder = folder
        self._lock = lock
        self._open: dict[str, Shard] = {}  # in the manifest's order
        self._next = NextHead()
        before = folder.marker()
        folder.mark("opening")
        try:
            folder.sweep(manifest)
            for entry in manifest.shards:
                path = folder.shards / entry.name
                if before == "opening":
                    probe(path)  # it may be what killed that process: let a child try it first
                self._open[entry.name] = Shard.load(entry.name, path, entry.spaces, entry.kinds)
        except Exception:
            folder.mark(before)  # nothing was changed: the next one finds what we found
            self._close_all()
            raise
        if before is not None:
            for shard in self.all():
                shard.flush()  # or its log would be applied at every opening, and grow
            fanout.settle(self.all(), [e.name for e in manifest.shards if not e.settled])
        folder.mark("open")
        if not manifest.shards:
            self.begin_head(spaces, adding=spaces)

    # --- which there are -------------------------------------------------------------------

    @property
    def head(self) -> Shard:
        return self._open[self.manifest.shards[-1].name]

    def all(self) -> list[Shard]:
        """Oldest first, the head last."""
        return list(self._open.values())

    def holding(self, where: Filter) -> list[Shard]:
        """Those that may hold points that pass, oldest first."""
        return [shard for shard in self._open.values() if shard.may_hold(where)]

    def sealed(self) -> list[Shard]:
        return self.all()[:-1]

    def get(self, name: str) -> Shard | None:
        return self._open.get(name)

    # --- how they come and go --------------------------------------------------------------

    def reserve(self) -> Path:
        """A folder for a shard that the manifest does not name yet; nobody else gets it."""
        number = self.manifest.next_shard
        self.manifest = self.manifest.replace(next_shard=number + 1)
        path = self._folder.shards / f"{number:06d}"
        shutil.rmtree(path, ignore_errors=True)  # of an attempt that failed
        return path

    def begin_head(
        self, spaces: Iterable[VectorSpace], *, adding: Sequence[VectorSpace] = ()
    ) -> None:
        """Seals the head, if there is one, and adds an empty one. adding: those of the spaces that
        the library did not have."""
        spaces = list(spaces)
        entries = list(self.manifest.shards)
        shard = self._next.take() or self._new_head(spaces)
        for space in spaces:
            if space.name not in shard.spaces:  # it was made before the space was
                shard.add_space(space)
        if shard.dirty:
            shard.flush()
        fault_point("rotate")
        if entries:
            entries[-1] = msgspec.structs.replace(
                entries[-1],
                state="sealed",
                points=self.head.count(),
                settled=not any(older.dirty for older in self.sealed()),
            )
        entries.append(
            ShardEntry(
                name=shard.name,
                state="head",
                created_seconds=time.time(),
                spaces=tuple(sorted(space.name for space in spaces)),
            )
        )
        known = [Space(one.name, one.size, one.distance) for one in adding]
        stored = (*self.manifest.spaces, *known)
        self._write(self.manifest.replace(spaces=stored, shards=tuple(entries)))
        self._open[shard.name] = shard

    def _new_head(self, spaces: Iterable[VectorSpace]) -> Shard:
        path = self.reserve()
        with self._folder.files("making a new shard"):
            shard = Shard.create(path.name, path, spaces, head=True)
            shard.flush()
            sync_directory(path.parent)
        return shard

    def expect_rotation(self, spaces: Iterable[VectorSpace]) -> bool:
        """Has the next head made in the background. True when that is done, or was tried."""
        if not self._next.begun:
            self._next.begin(self.reserve(), list(spaces))
        return self._next.ended

    def await_next_head(self) -> None:
        """Returns when the one in the making, if any, is there. Called without the lock."""
        self._next.join()

    def add_spaces(
        self, known: Mapping[str, VectorSpace], adding: Mapping[str, VectorSpace]
    ) -> dict[str, VectorSpace]:
        """A head that has them too takes the place of this one, which is sealed, or removed where
        it is empty: the engine cannot open a shard that was killed while it got a space. Both by
        name, as is what it returns: all there are now."""
        spaces = {**known, **adding}
        empty = self.head.count() == 0
        if empty:
            for shard in self.sealed():  # what it held for a while must not come back from there
                if shard.dirty:
                    shard.sync()
        before = self.head.name
        self.begin_head(spaces.values(), adding=tuple(adding.values()))
        if empty:
            left = tuple(one for one in self.manifest.shards if one.name != before)
            self._write(self.manifest.replace(shards=left))
            self.discard([self._open.pop(before)])
        return spaces

    def replace(
        self, names: Sequence[str], outputs: Sequence[Shard], sorts: Mapping[str, str]
    ) -> list[Shard]:
        """Puts durable shards, or nothing, into the place of the newest of some sealed ones, and
        returns those, to be `discard`ed without the lock. sorts: output's name -> its sort.

        Since an id lives in one shard, what lies between the others may stay where it is. But what
        one of them replaced in an older shard must be known to be gone from there: `settled`."""
        entries = self.manifest.shards
        inputs = [entry for entry in entries if entry.name in names]
        at = entries.index(inputs[-1])
        before = [entry for entry in entries[:at] if entry not in inputs]
        settled = all(entry.settled for entry in inputs) or not any(
            self._open[entry.name].dirty for entry in before
        )
        new = [
            ShardEntry(
                name=output.name,
                state="sealed",
                optimised=True,
                sort=sorts[output.name],
                kinds=None if output.kinds is None else tuple(sorted(output.kinds)),
                settled=settled,
                created_seconds=max(entry.created_seconds for entry in inputs),
                points=output.count(),
                spaces=tuple(sorted(output.spaces)),
            )
            for output in outputs
        ]
        kept = (*before, *new, *entries[at + 1 :])
        fault_point("compaction-before-swap")
        self._write(self.manifest.replace(shards=kept))
        fault_point("compaction-swap")
        gone = [self._open.pop(name) for name in names]
        self._open.update((output.name, output) for output in outputs)
        self._open = {entry.name: self._open[entry.name] for entry in kept}
        fault_point("compaction-swapped")
        return gone

    @staticmethod
    def discard(shards: Iterable[Shard]) -> None:
        """Removes the files of shards that were replaced, and closes those: in this order, since to
        close one the engine brings its files up to date first, where there are any, in some
        hundred synchronous writes under the interpreter's lock. To give them back to the disk takes
        longest (70 ms for 20,000 points), so that is left to do without that lock."""
        for shard in shards:
            with holding_files(shard.path):
                shutil.rmtree(shard.path, ignore_errors=True)
                shard.close()

    def record_version(self, schema_version: int) -> None:
        self._write(self.manifest.replace(schema_version=schema_version))

    def _write(self, manifest: Manifest) -> None:
        self._folder.write_manifest(manifest)
        self.manifest = manifest

    # --- how they become durable -----------------------------------------------------------

    def supersede(self, shard: Shard, ids: list[Any]) -> None:
        """Deletes from a sealed shard what the head has a newer copy of."""
        if self.head.dirty:
            self.head.sync()
        shard.remove(ids)

    def flush(self) -> None:
        """Makes everything durable that was written before. Called without the lock, and holds it
        only to write the manifest."""
        with self._lock:
            sealed = {shard.name for shard in self.sealed()}
            due = [shard for shard in self.all() if shard.dirty]
        for shard in due:
            try:
                shard.sync()
            except BaseException:
                if self.get(shard.name) is shard:
                    raise
                continue  # a durable shard has taken its place meanwhile
            fault_point("between-syncs")
        # A head that was sealed meanwhile may have replaced points since.
        with self._lock:
            entries = tuple(
                msgspec.structs.replace(entry, settled=True) if entry.name in sealed else entry
                for entry in self.manifest.shards
            )
            if entries != self.manifest.shards:
                self._write(self.manifest.replace(shards=entries))

    def close(self) -> None:
        """Brings all files up to date, closes them, and says in the folder that all is well."""
        try:
            self.flush()
            for shard in self.all():
                if shard.logged:
                    shard.flush()
        finally:
            self._close_all()
        self._folder.mark(None)

    def _close_all(self) -> None:
        self._next.stop()
        for shard in self._open.values():
            shard.close()
        self._open.clear()
