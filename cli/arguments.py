"""Arguments and options that several commands take, and what they were given as.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

Video = Annotated[str, typer.Argument(metavar="VIDEO", help="Its id, path, file name or title.")]
Videos = Annotated[
    list[str] | None,
    typer.Option(
        "--video", metavar="V", help="Only this video: id, path, file name or title; repeatable."
    ),
]
Paths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Files, folders (recursive) or globs.")
]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Files worked on at once.")]
RunChannels = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Only these channels, as in speech,frame; with words comes text, where it is enabled.",
    ),
]
SearchedChannels = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="C", help="Only this channel, as in speech; repeatable."),
]
Misses = Annotated[
    bool, typer.Option("--misses", help="Show the nearest misses, too: no floor for words.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Leave out sentences that no source supports.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def run_channels(given: str | None) -> list[str] | None:
    """The names in a `RunChannels`; None where it was not given. Raises UsageError."""
    return None if given is None else _names(given, "--channels")


def searched_channels(given: list[str] | None) -> list[str]:
    """The names in a `SearchedChannels`, each of which may be several. Raises UsageError."""
    return [name for text in given or () for name in _names(text, "--channel")]


def _names(text: str, option: str) -> list[str]:
    """Raises UsageError where there is none in it: nothing asked for must not come to mean
    everything."""
    from index.errors import UsageError

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} “{text}” names no channel.")
    return names
