"""The command line: what each command is called and takes.

Only typer and the standard library are imported here, so that `longtake --help` is quick; each
command imports its body when it runs. Data goes to stdout, everything else to stderr. Exit status:
0 done, 1 something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.alert_app import alert
from cli.arguments import (
    Jobs,
    Misses,
    Paths,
    RunChannels,
    SearchedChannels,
    Video,
    Videos,
    run_channels,
    searched_channels,
)
from cli.ask_app import ask
from cli.chat_app import chat
from cli.evaluate_app import evaluate
from cli.export_app import export
from cli.highlights_app import highlights
from cli.models_app import models
from cli.options import Common, with_common_options
from cli.pin_app import pin
from cli.summarize_app import summarize
from cli.watch_app import watch

app = typer.Typer(
    name="longtake",
    help="Index hours of video, search them and ask them, with answers that cite the second.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help would take as long again as everything before it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"longtake {version('longtake')}")
        raise typer.Exit


@app.callback()
@with_common_options
def before_command(
    common: Common,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command()
@with_common_options
def index(
    common: Common,
    paths: Paths,
    channels: RunChannels = None,
    force: Annotated[
        bool, typer.Option("--force", help="Index again what is indexed already.")
    ] = False,
    jobs: Jobs = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash whole files, to find changes that hide.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and write nothing.")
    ] = False,
) -> int:
    """Index videos. What is indexed already costs nothing."""
    from cli.index import run_index
    from cli.render import messages

    return run_index(
        messages(),
        common.settings(),
        paths,
        channels=run_channels(channels),
        force=force,
        jobs=jobs,
        verify=verify,
        dry_run=dry_run,
        as_json=common.as_json,
    )


@app.command()
@with_common_options
def estimate(
    common: Common,
    paths: Paths,
    channels: RunChannels = None,
) -> int:
    """Say what indexing would take, from trying a minute of it."""
    from cli.estimate import run_estimate

    return run_estimate(
        common.settings(),
        paths,
        channels=run_channels(channels),
        as_json=common.as_json,
    )


@app.command()
@with_common_options
def reindex(
    common: Common,
    channel: Annotated[str, typer.Option(metavar="C", help="The channel, as in frame.")],
    model: Annotated[
        str | None, typer.Option(metavar="M", help="With this model; see `longtake models ls`.")
    ] = None,
    videos: Videos = None,
    jobs: Jobs = None,
) -> int:
    """Run one channel again over what is indexed. Searches see the old results until then."""
    from cli.reindex import run_reindex
    from cli.render import messages

    return run_reindex(
        messages(),
        common.settings(),
        channel,
        model=model,
        videos=videos or [],
        jobs=jobs,
        as_json=common.as_json,
    )


@app.command()
@with_common_options
def search(
    common: Common,
    words: Annotated[list[str] | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Find the same or nearly the same picture (of a video file: its first picture).",
        ),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="VIDEO[@START-END]",
            help="Find where else this footage occurs, as in film.mp4@1:02-1:20.",
        ),
    ] = None,
    videos: Videos = None,
    channels: SearchedChannels = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most this many results (1000 at most)."),
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="video", help="Rank videos, each with its moments.")
    ] = None,
    exports: Annotated[
        list[str] | None,
        typer.Option(
            "--export",
            metavar="PATH",
            help="Write what is found to a file, or as clips to a folder/; repeatable. "
            "`longtake export` says more.",
        ),
    ] = None,
    misses: Misses = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each result is there, and what was dropped.")
    ] = False,
) -> int:
    """Find moments by words, by a picture, by footage, or by several of these."""
    from cli.search import run_search
    from index.errors import UsageError

    if image is not None and not image.strip():
        raise UsageError("--image needs the path of a picture file.")
    return run_search(
        common.settings(),
        words or (),
        image=None if image is None else Path(image),
        clip=clip,
        videos=videos or [],
        channels=searched_channels(channels),
        limit=limit,
        group_by=group_by,
        exports=exports or (),
        misses=misses,
        explain=explain,
        as_json=common.as_json,
    )


app.command()(watch)
app.command()(pin)
app.command()(highlights)
app.command()(summarize)
app.command()(ask)
app.command()(chat)
app.command()(export)


@app.command("ls")
@with_common_options
def list_videos(common: Common) -> int:
    """List the videos, and how far each is indexed."""
    from cli.browse import run_ls

    return run_ls(common.settings(), as_json=common.as_json)


@app.command()
@with_common_options
def show(common: Common, video: Video) -> int:
    """Show one video: streams, segments, coverage, evidence and a timeline."""
    from cli.browse import run_show

    return run_show(common.settings(), video, as_json=common.as_json)


@app.command("rm")
@with_common_options
def remove(
    common: Common,
    video: Video,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Remove a video from the library. The file itself stays."""
    from cli.browse import run_rm

    return run_rm(common.settings(), video, yes=yes, as_json=common.as_json)


app.add_typer(alert, name="alert")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="eval")


@app.command()
@with_common_options
def doctor(common: Common) -> int:
    """Check what is installed and whether the library is healthy."""
    from cli.doctor import run_doctor

    return run_doctor(common.settings(), common.as_json)


@app.command()
@with_common_options
def config(common: Common) -> int:
    """Show the settings in effect and where each value comes from."""
    from cli.config import run_config

    settings, origins = common.settings_and_origins()
    return run_config(settings, origins, common.as_json)


@app.command()
@functools.partial(with_common_options, without=("as_json",))
def demo(common: Common) -> int:
    """Make a sample film, index it, search it and ask it."""
    from cli.demo import run_demo
    from index.errors import UsageError

    if common.as_json:
        raise UsageError("demo is for reading and knows no --json; the commands it shows do.")
    settings = common.settings()  # wrong ones are better told before anything is made
    return run_demo(
        library=None if common.library is None else settings.library, options=common.passed_on()
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status. No traceback reaches the user unless --verbose
    asks for it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever called, as in `longtake ls >&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    # A broken picture gets our own message; OpenCV would put its warnings before it.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name need not be valid in any encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments, prog_name="longtake")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 1
    except Exception as error:
        if isinstance(error, OSError) and came_from_printing(error):
            return output_lost(error)
        status = report(error, arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        return max(status, output_lost(error))
    return status


def report(error: Exception, arguments: list[str]) -> int:
    """Says on stderr what happened; returns the exit status."""
    from cli.logs import log_unexpected
    from cli.render import say_error
    from index.errors import LongtakeError

    if "--verbose" in arguments:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, LongtakeError):
        say_error(str(error) or type(error).__name__)
        return error.exit_status
    path = log_unexpected(error, arguments)
    more = f"The traceback is in {path}." if path else "--verbose shows the traceback."
    say_error(f"Something unexpected happened ({type(error).__name__}: {error}). {more}")
    return 1


def came_from_printing(error: OSError) -> bool:
    """Whether stdout refused what a command printed. Nothing else that can fail so is written by
    the command line itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return raised_in.startswith("cli.") and error.filename is None


def output_lost(error: OSError) -> int:
    """The exit status where stdout takes no more. A reader that went away (`longtake ls | head
    -1`) is no reason for a message; a full disk is."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        from cli.render import say_error

        say_error(f"cannot write the output: {error.strerror}")
    return 1


if __name__ == "__main__":
    from cli.process import end

    end(main())
