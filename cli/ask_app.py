"""`longtake ask`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Strict, Videos
from cli.options import Common, with_common_options


@with_common_options
def ask(
    common: Common,
    question: Annotated[list[str], typer.Argument(metavar="QUESTION", help="In any language.")],
    videos: Videos = None,
    shown: Annotated[  # `context` is typer's own
        str | None,
        typer.Option(
            "--context",
            metavar="C",
            help="What a language model is shown: retrieved, uniform, subtitles or none.",
        ),
    ] = None,
    strict: Strict = False,
) -> int:
    """Answer a question from what the videos say and show, citing the second."""
    from cli.ask import run_ask

    return run_ask(
        common.settings(),
        question,
        videos=videos or [],
        context=shown,
        strict=strict,
        as_json=common.as_json,
    )
