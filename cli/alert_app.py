"""`longtake alert ...`: what its commands take.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Videos
from cli.options import Common, with_common_options

alert = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Standing questions, which speak up when a live source shows what they ask for.",
)

Text = Annotated[
    list[str] | None, typer.Argument(metavar="QUESTION", help="What to look for, as for search.")
]
Source = Annotated[
    str | None, typer.Option("--source", metavar="S", help="Only this live source: name or id.")
]
Image = Annotated[
    str | None, typer.Option(metavar="FILE", help="Look for this picture, or nearly the same.")
]
Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="[KIND=]SCORE",
        help="The score, 0 to 1, from which it counts; of words, frame, sound or picture, as in "
        "frame=0.6, or of all. Repeatable.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or the start of it, or text.")]


@alert.command()
@with_common_options
def add(
    common: Common,
    text: Text = None,
    source: Source = None,
    image: Image = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Post each event there, as JSON.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run this program for each event, which it gets as JSON on standard input. No "
            "shell is involved.",
        ),
    ] = None,
    thresholds: Thresholds = None,
) -> int:
    """Ask a standing question. Whoever watches the source hears of it within seconds."""
    from cli.alert import run_add

    return run_add(
        common.settings(),
        text or (),
        source=source,
        image=image,
        webhook=webhook,
        command=command,
        thresholds=thresholds or (),
        as_json=common.as_json,
    )


@alert.command("ls")
@with_common_options
def list_alerts(common: Common) -> int:
    """List the standing questions, and how each stands."""
    from cli.alert import run_ls

    return run_ls(common.settings(), as_json=common.as_json)


@alert.command("rm")
@with_common_options
def remove(common: Common, name: Name) -> int:
    """Take a standing question away, with its history."""
    from cli.alert import run_rm

    return run_rm(common.settings(), name, as_json=common.as_json)


@alert.command()
@with_common_options
def history(
    common: Common,
    name: Annotated[
        str | None, typer.Argument(metavar="ALERT", help="Only of this one: id or text.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="At most this many, the latest.")
    ] = 50,
) -> int:
    """Show what was reported, when, and whether it arrived."""
    from cli.alert import run_history

    return run_history(common.settings(), name, limit=limit, as_json=common.as_json)


@alert.command()
@with_common_options
def test(
    common: Common,
    text: Text = None,
    image: Image = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="LIBRARY", help="The library to try it on; by default the usual one."),
    ] = None,
    videos: Videos = None,
    thresholds: Thresholds = None,
) -> int:
    """Say how often a question would have spoken up over what is indexed, and suggest a threshold.
    Nothing is kept and nobody is told."""
    from cli.alert import run_test

    return run_test(
        common.settings(),
        text or (),
        image=image,
        on=on,
        videos=videos or (),
        thresholds=thresholds or (),
        as_json=common.as_json,
    )
