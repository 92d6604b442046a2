"""`longtake summarize`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Force, Video
from cli.options import Common, with_common_options


@with_common_options
def summarize(
    common: Common,
    video: Video,
    format: Annotated[
        str | None, typer.Option(metavar="F", help="markdown, ffmetadata or youtube.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A file: .md, .ffmeta or .txt; - for stdout."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make it anew, though nothing has changed.")
    ] = False,
    force: Force = False,
) -> int:
    """Give a video chapters with titles and a summary, kept in the library for searches."""
    from cli.summarize import run_summarize

    return run_summarize(
        common.settings(),
        video,
        format=format,
        output=output,
        again=again,
        force=force,
        as_json=common.as_json,
    )
