"""`longtake chat`: what it takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import Strict
from cli.options import Common, with_common_options


@with_common_options
def chat(
    common: Common,
    video: Annotated[
        str | None,
        typer.Option(
            "--video", metavar="V", help="Begin with this video: id, path, file name or title."
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Let a model on this machine watch the video first, so that its pictures are read "
            "once and kept for all questions.",
        ),
    ] = False,
    strict: Strict = False,
) -> int:
    """Ask one question after another; each may lean on those before it."""
    from cli.chat import run_chat
    from index.errors import UsageError

    if common.as_json:
        raise UsageError("chat is for reading and knows no --json; ask has it.")
    return run_chat(common.settings(), video=video, watch=watch, strict=strict)
