"""`longtake highlights`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Common, with_common_options


@with_common_options
def highlights(
    common: Common,
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", help="Its id, path, file name or title.")
    ],
    words: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="What to look for, as for search.")
    ],
    channels: Annotated[
        list[str] | None,
        typer.Option("--channel", metavar="C", help="Only this channel, as in speech; repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most this many spans.")
    ] = None,
    misses: Annotated[
        bool, typer.Option("--misses", help="Show the nearest misses, too: no floor for words.")
    ] = False,
) -> int:
    """Show what stands out in one video: its best spans, and the saliency of all of it."""
    from cli.highlights import run_highlights

    return run_highlights(
        common.settings(),
        video,
        words,
        channels=[name.strip() for given in channels or () for name in given.split(",")],
        limit=limit,
        misses=misses,
        as_json=common.as_json,
    )
