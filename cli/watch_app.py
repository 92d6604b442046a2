"""`longtake watch`: its arguments."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.arguments import RunChannels, run_channels
from cli.options import Common, with_common_options


@with_common_options
def watch(
    common: Common,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A stream's address (rtsp, rtmp, http with HLS or MPEG-TS, tcp, udp), a file that "
            "is still being written, a folder of pieces, a capture device, or - for a pipe.",
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
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Let go of what is older, as in 36h or 7d: of media, evidence and all "
            "(live.keep_seconds).",
        ),
    ] = None,
    keep_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Keep this much of recorded media a source, as in 50GB (live.keep_bytes).",
        ),
    ] = None,
    narrate: Annotated[
        bool, typer.Option("--narrate", help="Say what happens, where something new does.")
    ] = False,
    channels: RunChannels = None,
) -> int:
    """Index streams while they run, until Ctrl-C. What was shown is found seconds later."""
    from cli.quantities import length_of_time, number_of_bytes
    from cli.watch import run_watch

    return run_watch(
        common.settings(),
        sources,
        names=names or (),
        record=record,
        keep_seconds=None if keep is None else length_of_time(keep, "--keep"),
        keep_bytes=None if keep_size is None else number_of_bytes(keep_size, "--keep-size"),
        narrate=narrate,
        channels=run_channels(channels),
        as_json=common.as_json,
    )
