"""The one way to open an embedded library: as its owner, or through whoever owns it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import LibraryBusyError
from index.owner import OwningStore
from index.remote import PATIENCE_SECONDS, SocketStore
from index.store import Store

if TYPE_CHECKING:
    from index.settings import StoreSettings


def open_store(
    path: Path | str,
    *,
    settings: StoreSettings | None = None,
    create: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
    open_edge: Callable[[Path], Store] | None = None,
) -> Store:
    """Opens the library in the folder `path` for reading and writing.

    The first process to come owns it and serves the others for as long as it has it open; the
    others work through that one, and take its place when it goes. What is returned works the same
    either way, and is to be closed.

    settings: EdgeStore's, for as long as this process owns the library.
    create: makes the library where there is none.
    patience_seconds: how long to wait for an owner that does not answer.
    open_edge: opens the folder as its owner, or raises LibraryBusyError; by default EdgeStore.

    Raises LibraryBusyError where the owner does not answer or speaks another protocol, and what
    EdgeStore raises.
    """
    library = Path(path)

    def own() -> OwningStore:
        if open_edge is not None:
            store = open_edge(library)
        else:
            from index.edge import EdgeStore  # the engine loads only where it is opened

            store = EdgeStore(library, settings=settings, create=create)
        try:
            return OwningStore(store, library)
        except BaseException:
            store.close()
            raise

    try:
        return own()
    except LibraryBusyError:
        return SocketStore(library, take_over=own, patience_seconds=patience_seconds)
