"""`longtake export`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Force
from cli.options import Common, with_common_options


@with_common_options
def export(
    common: Common,
    video: Annotated[
        str | None,
        typer.Argument(
            metavar="VIDEO", help="Its id, path, file name or title; without it, see below."
        ),
    ] = None,
    spans: Annotated[
        list[str] | None,
        typer.Option(
            "--span", metavar="A-B", help="From when to when, as in 1:02-1:20.5; repeatable."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, whose ending says what is written, or a folder for clips.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="clips, srt, vtt, edl, otio, ffmetadata, csv, jsonl or html."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Clips exact to the frame, encoded anew; else from the key frame before.",
        ),
    ] = False,
    force: Force = False,
) -> int:
    """Take moments away: clips, subtitles, edit lists, chapters, tables, a page of them.

    Without VIDEO, the moments are read from standard input, as `longtake search --json` prints
    them. Without -o, clips go to this folder and everything else to standard output.
    """
    from cli.export import run_export

    return run_export(
        common.settings(),
        video,
        spans or [],
        output=output,
        format=format,
        exact=exact,
        force=force,
        as_json=common.as_json,
    )
