"""`longtake highlights`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Misses, SearchedChannels, Video, searched_channels
from cli.options import Common, with_common_options


@with_common_options
def highlights(
    common: Common,
    video: Video,
    words: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="What to look for, as for search.")
    ],
    channels: SearchedChannels = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most this many spans.")
    ] = None,
    misses: Misses = False,
) -> int:
    """Show what stands out in one video: its best spans, and the saliency of all of it."""
    from cli.highlights import run_highlights

    return run_highlights(
        common.settings(),
        video,
        words,
        channels=searched_channels(channels),
        limit=limit,
        misses=misses,
        as_json=common.as_json,
    )
