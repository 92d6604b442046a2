"""`longtake pin`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Common, with_common_options


@with_common_options
def pin(
    common: Common,
    video: Annotated[str, typer.Argument(metavar="SOURCE", help="A live source: its name or id.")],
    spans: Annotated[
        list[str] | None,
        typer.Option(
            "--span", metavar="START-END", help="Keep this, as in 1:02:00-1:05:00; repeatable."
        ),
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reads it.")] = "",
    remove: Annotated[
        bool, typer.Option("--remove", help="Let these spans go again; without any, all.")
    ] = False,
) -> int:
    """Keep spans of a live source, however old they become; without any, list those kept."""
    from cli.pin import run_pin

    return run_pin(
        common.settings(),
        video,
        spans or (),
        note=note,
        remove=remove,
        as_json=common.as_json,
    )
