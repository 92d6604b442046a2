"""`longtake chat --watch`: the model sees the video before the first question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.compose import build_watching_model, media_of
from cli.render import messages, safe, say
from cli.settings import Settings
from index.errors import MediaError
from index.library import Library
from rag.timestamp import timestamp

if TYPE_CHECKING:
    from ingest.models.videollm.watching import WatchingModel


@contextmanager
def watched(settings: Settings, library: Library, name: str) -> Iterator[WatchingModel]:
    """The model, with what it has seen of the video: all of it, or as much as there was until
    Ctrl-C. Raises ConfigError, VideoNotFoundError, ModelMissingError, and MediaError where the
    video has no pictures that can be read."""
    video = library.find(name)
    media = media_of(settings, library)(video.id)
    if media is None:
        raise MediaError(f"“{video.title}” was not recorded: there is nothing to watch.")
    model = build_watching_model(settings)
    try:
        model.load()
        length = video.duration_seconds or max(
            (one.end_seconds for one in library.evidence(video.id)), default=0.0
        )
        step = settings.ask.watch_seconds
        times = [at * step for at in range(max(1, int(length / step)))]
        with messages().status(f"Watching {safe(video.title)} …") as status:

            def seen(seconds: float) -> None:
                status.update(f"Watching {safe(video.title)} … {timestamp(round(seconds))}")

            try:
                model.watch(media, times, settings.ask.picture_side, seen=seen)
            except KeyboardInterrupt:
                pass
        if not model.watched:
            raise MediaError(f"“{video.title}” has no pictures that can be read.")
        count = len(model.watched)
        say((f"{count} pictures, up to {timestamp(round(model.watched[-1]))}, are kept.", "dim"))
        yield model
    finally:
        model.close()
