"""The part of `longtake doctor` that asks the servers whose language models the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.finding import Finding

if TYPE_CHECKING:
    from cli.settings import Settings

PATIENCE_SECONDS = 5.0
"""How long a server may be silent before it is reported."""


def served_models(settings: Settings) -> Iterator[Finding]:
    """Whether each server answers, takes the key, and has the model. Asks for nothing else."""
    from index.errors import LongtakeError
    from ingest.models.videollm.openai import OpenAIVideoLLM

    for group, given in _groups(settings):
        detail = {"settings": group, "model": given.model, "base_url": given.base_url}
        if given.model is None:
            text = f"{group}.backend asks for a server's model, and {group}.model names none."
            yield Finding("models", "broken", text, f"Set {group}.model.", detail)
            continue
        model = None
        try:
            model = OpenAIVideoLLM(
                given.model,
                base_url=given.base_url,
                key_variable=given.key_variable,
                retries=0,
                timeout_seconds=PATIENCE_SECONDS,
            )
            names = model.served()
        except LongtakeError as error:
            remedy = f"{group}.base_url names the server, {group}.model the model."
            yield Finding("models", "broken", f"{group}: {error}", remedy, detail)
            continue
        finally:
            if model is not None:
                model.close()
        where = f"{given.model} at {model.where}"
        if names and given.model not in names:
            text = f"{group}: {where} is not among what the server lists: {', '.join(names[:8])}."
            remedy = f"Set {group}.model to one of these, if the server goes by them."
            yield Finding("models", "warning", text, remedy, detail)
        else:
            lists = "the server has it" if names else "the server answers and lists no models"
            yield Finding("models", "ok", f"{group}: {where}: {lists}.", detail=detail)


def _groups(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Those groups of settings that name a server's model, by their dotted names."""
    caption, ask = settings.channels.caption, settings.ask
    if caption.backend == "openai" and "caption" in settings.channels.enabled:
        yield "channels.caption", caption
    if ask.backend == "openai" and ask.model is not None:
        yield "ask", ask
    others = {
        "retrieve.planner": settings.retrieve.planner,
        "retrieve.look": settings.retrieve.look,
        "alert.check": settings.alert.check,
    }
    yield from ((name, given) for name, given in others.items() if given.model is not None)
