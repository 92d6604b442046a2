"""`longtake watch`: its arguments."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Common, with_common_options


@with_common_options
def watch(
    common: Common,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A stream's address (rtsp, rtmp, http with HLS or MPEG-TS, tcp, udp), a file that "
            "is still being written, a capture device, or - for standard input.",
        ),
    ],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What the source is called in the library; repeatable, in the sources' order.",
        ),
    ] = None,
    record: Annotated[
        bool | None,
        typer.Option(
            "--record/--no-record", help="Keep the stream itself, too, as it comes (live.record)."
        ),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these channels, as in screen_text.")
    ] = None,
) -> int:
    """Index streams while they run, until Ctrl-C. What was shown is found seconds later."""
    from cli.main import comma_separated
    from cli.watch import run_watch

    return run_watch(
        common.settings(),
        sources,
        names=names or (),
        record=record,
        channels=None if channels is None else comma_separated([channels], "--channels"),
        as_json=common.as_json,
    )
