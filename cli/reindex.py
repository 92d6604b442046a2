"""`longtake reindex`: one channel anew; the old one serves until the new one is whole."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from cli.compose import open_library
from cli.index import run_index
from cli.models import MODEL_OF
from cli.render import print_json, safe
from cli.senses import chosen_channels
from cli.settings import Settings
from index.errors import UsageError
from ingest.models.depot import Depot


def run_reindex(
    console: Console,
    settings: Settings,
    channel: str,
    *,
    model: str | None = None,
    videos: Sequence[str] = (),
    jobs: int | None = None,
    as_json: bool = False,
) -> int:
    """Runs the channel again over the videos (all of them where empty), with another model where
    one is named. Returns the exit status: 1 where a file failed or is not there any more.

    Raises UsageError for a channel without a model to be swapped, ConfigError for an unknown one.
    """
    (channel,) = chosen_channels(settings, [channel])
    if model is not None:
        if not model.strip():
            raise UsageError("--model needs the name of a model; `longtake models ls` lists them.")
        settings = with_model(settings, channel, model)
    with open_library(settings) as library:
        chosen = [library.find(name) for name in videos] if videos else library.videos()
    paths, lost = [], 0
    for video in chosen:
        there = next((file.path for file in video.files if os.path.exists(file.path)), None)
        if there is None:
            lost += 1
            if as_json:
                print_json({"path": None, "status": "failed", "video_id": video.id})
            console.print(
                f"[red]✗[/] {escape(safe(video.title))}: none of its files is there; what is "
                "indexed of it stays.",
                highlight=False,
                soft_wrap=True,
            )
        else:
            paths.append(there)
    status = 0
    if paths:
        status = run_index(
            console,
            settings,
            paths,
            channels=[channel],
            force=model is None,
            jobs=jobs,
            as_json=as_json,
        )
    if model is not None and paths and status == 0:
        lines = [f"[channels.{_group(channel)}]", f'model = "{safe(model)}"']
        if channel == "caption":
            lines.insert(1, f'backend = "{settings.channels.caption.backend}"')
        console.print(
            "To keep that model (the next `longtake index` of these files goes back to that of the "
            "settings), put into config.toml:",
            highlight=False,
            soft_wrap=True,
        )
        for line in lines:
            console.print(escape(line), highlight=False, soft_wrap=True)
    return 1 if lost else status


def with_model(settings: Settings, channel: str, model: str) -> Settings:
    """The settings, with that model for the channel. Captions by a server are by the server's
    model of that name, all others by a Video-LLM on this machine. Raises UsageError where the
    channel has no model, or the model is of another kind."""
    changed = {"model": model}
    if channel == "caption" and settings.channels.caption.backend is None:
        kinds = {
            place.kind
            for place in Depot(settings.models.dir, settings.models.packages).places(model)
        }
        if kinds and "videollm" not in kinds:
            raise UsageError(
                f"{model} ({', '.join(sorted(kinds))}) is no Video-LLM. Where none writes the "
                "captions they are tags, and those go by the model of the frames: "
                f"`longtake reindex --channel frame --model {model}`, then `longtake reindex "
                "--channel caption`."
            )
        changed["backend"] = "transformers"
    elif channel not in (*MODEL_OF, "caption"):
        raise UsageError(
            f"The channel {channel} has no model that --model could name. Those that have: "
            f"{', '.join((*MODEL_OF, 'caption'))}."
        )
    group = _group(channel)
    own = getattr(settings.channels, group).model_copy(update=changed)
    channels = settings.channels.model_copy(update={group: own})
    return settings.model_copy(update={"channels": channels})


def _group(channel: str) -> str:
    """The group of settings under `channels` that names the channel's model."""
    return MODEL_OF[channel][1] if channel in MODEL_OF else channel
