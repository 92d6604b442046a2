"""The composition root: objects are put together here from the settings, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.settings import Settings
from index.errors import ConfigError, LibraryError
from index.library import Library
from index.schema import CHANNELS
from index.store import Store, VectorSpace
from index.text import SPACES as TEXT_SPACES
from index.text import detect_language

if TYPE_CHECKING:
    from ingest.plan import Channels
    from ingest.thumbnails import Thumbnails
    from rag.answer import Answerer
    from rag.retrieve import Retriever

SPACES = (*TEXT_SPACES, VectorSpace("fingerprint", 256))
KNOWN_CHANNELS = ("speech", "screen_text", "fingerprint")
"""Channels that exist today, cheapest first; see `build_channels`."""


@contextmanager
def open_library(settings: Settings, *, must_exist: bool = True) -> Iterator[Library]:
    """The library, opened here or through the process that has it open.

    Raises LibraryError where there is none and `must_exist`.
    """
    store = open_store(settings, must_exist=must_exist)
    try:
        store.ensure_spaces(SPACES)
        yield Library(store)
    finally:
        store.close()


def open_store(settings: Settings, *, must_exist: bool = True) -> Store:
    if settings.server is not None:
        from index.server import ServerStore

        return ServerStore(settings.server)
    from index.access import open_store as open_shared
    from index.edge import EdgeStore

    if must_exist and not (settings.library / "manifest.json").exists():
        raise LibraryError(
            f"There is no library at {settings.library}. `longtake index FOLDER` makes one; "
            "--library PATH or LONGTAKE_LIBRARY names another."
        )
    return open_shared(
        settings.library, open_edge=lambda folder: EdgeStore(folder, settings=settings.index)
    )


def chosen_channels(settings: Settings, names: Sequence[str] | None) -> tuple[str, ...]:
    """The channels to run, cheapest first. Raises ConfigError for a name that is unknown."""
    wanted = settings.channels.enabled if names is None else tuple(names)
    for name in wanted:
        if name not in KNOWN_CHANNELS:
            later = " (planned, not there yet)" if name in CHANNELS and name != "shot" else ""
            raise ConfigError(f"No channel “{name}”{later}. Known: {', '.join(KNOWN_CHANNELS)}.")
    if not wanted:
        raise ConfigError(f"No channels chosen. Known: {', '.join(KNOWN_CHANNELS)}.")
    return tuple(name for name in KNOWN_CHANNELS if name in wanted)


def build_channels(settings: Settings, names: Sequence[str] | None = None) -> Channels:
    """The senses that `index` uses. A new channel is one line here."""
    from ingest.plan import Channels, describe_analysis

    chosen = chosen_channels(settings, names)
    files, pictures = [], []
    if "speech" in chosen:
        from ingest.channels.speech import SpeechChannel

        files.append(SpeechChannel())
    if "screen_text" in chosen:
        from ingest.channels.screen_text import ScreenTextChannel

        pictures.append(
            ScreenTextChannel(settings.channels.screen_text, detect_language=detect_language)
        )
    if "fingerprint" in chosen:
        from ingest.channels.fingerprint import FingerprintChannel

        pictures.append(FingerprintChannel(settings.channels.fingerprint))
    if not pictures and names is not None:
        return Channels(tuple(files), (), None, None)
    return Channels(
        tuple(files),
        tuple(pictures),
        describe_analysis(settings.ingest),
        settings.ingest.segments.model_dump(mode="json"),
    )


def build_thumbnails(settings: Settings) -> Thumbnails:
    from ingest.thumbnails import Thumbnails

    return Thumbnails(settings.library / "thumbnails")


def build_retriever(settings: Settings, library: Library) -> Retriever:
    from rag.retrieve import Retriever

    return Retriever(library, settings.retrieve)


def build_answerer(settings: Settings, library: Library) -> Answerer:
    """Without a language model: quotes of the best evidence."""
    from rag.answer import ExtractiveAnswerer

    return ExtractiveAnswerer(build_retriever(settings, library), settings.answer)
