"""`longtake demo`: the sample films, indexed, listed, searched and asked, through the commands
that everybody uses.

Each command is printed before it runs. What it must find is checked, so that the demo fails where
Longtake does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.film import LIGHTHOUSE, PICTURE, TIDES, make_sample_film

FOLDER = Path("demo")
"""Where the films are left, in the folder that the demo is run from, for the user to play."""

Command = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True)
class _Step:
    """A command, and where its first result must lie: in `film`, overlapping the span (in
    seconds). No film: only the exit status counts."""

    heading: str
    arguments: tuple[str, ...]
    film: str | None = None
    span: tuple[float, float] = (0.0, 0.0)


def run_demo(
    library: Path | None = None, folder: Path = FOLDER, options: Sequence[str] = ()
) -> int:
    """Returns the exit status: 1 where a command failed or a search missed what it must find.

    library: where None, the demo has its own (`folder`/library), whatever the settings say, so
    that trying Longtake out leaves nothing in a library that is in use. options: further
    arguments for every command. Raises UsageError where `folder` cannot be written.
    """
    from cli.main import main
    from index.errors import UsageError

    profile = () if "--profile" in options else ("--profile", "packaged")
    at = ("--library", str(library or folder / "library"), *profile, *options)
    films = [folder / name for name in (LIGHTHOUSE, TIDES)]
    if all(film.exists() for film in films):
        _say(f"The sample films are in {folder}{os.sep} already.")
    else:
        _say(f"Making two sample films in {folder}{os.sep} (a few seconds) ...")
    try:
        make_sample_film(folder)
    except OSError as error:
        raise UsageError(
            f"The sample films cannot be made in {folder.resolve()}: {error.strerror or error}. "
            "Run the demo in a folder that you can write to."
        ) from error

    failures = []
    for step in _steps(folder):
        _say(f"\n# {step.heading}\n$ {program()} {shlex.join([*step.arguments, *at])}")
        status = main([*step.arguments, *at])
        if status == 130:  # interrupted: nobody wants to hear more
            return status
        if status != 0:
            failures.append(f"“{step.heading}” ended with exit status {status}.")
        elif step.film and not _found(main, step, at):
            failures.append(f"“{step.heading}” did not find its place in {step.film}.")
        if step.arguments[0] == "index" and status != 0:
            break
    if failures:
        print("\nThe demo did not work:\n  " + "\n  ".join(failures), file=sys.stderr)
        print(f"{program()} doctor says what is broken.", file=sys.stderr)
        return 1
    _say(_farewell(folder, at))
    return 0


def program() -> str:
    """What to type to run this Longtake: its name where the shell finds it, else its path."""
    ours = Path(sys.executable).with_name("longtake")
    found = shutil.which("longtake")
    if not ours.exists() or (found and os.path.samefile(found, ours)):
        return "longtake"
    shorter = os.path.relpath(ours)
    return shlex.quote(shorter if len(shorter) < len(str(ours)) else str(ours))


def _steps(folder: Path) -> list[_Step]:
    return [
        _Step("Index a folder", ("index", str(folder))),
        _Step("What is in the library", ("ls",)),
        _Step("Search for words that are spoken", ("search", "who wound the clockwork"),
              LIGHTHOUSE, (55.9, 60.8)),
        _Step("Search for words that stand on the screen", ("search", "Bishop Rock"),
              LIGHTHOUSE, (38.0, 51.0)),
        _Step("Search with a picture", ("search", "--image", str(folder / PICTURE)),
              LIGHTHOUSE, (51.0, 61.0)),
        _Step("Ask", ("ask", "Who invented the lens?"), LIGHTHOUSE, (16.0, 29.0)),
    ]  # fmt: skip


def _found(main: Command, step: _Step, at: Sequence[str]) -> bool:
    """Runs the command again for its JSON and looks whether the best result lies where it must."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        main([*step.arguments, *at, "--json"])
    for line in output.getvalue().splitlines():
        moment = _first_moment(json.loads(line))
        if moment:
            start, end = step.span
            at = moment["start_seconds"] < end and moment["end_seconds"] > start
            return at and Path(moment["path"] or "").name == step.film
    return False


def _first_moment(record: dict) -> dict | None:
    """The moment in a line of `search --json`, or the first source in one of `ask --json`."""
    if "start_seconds" in record:
        return record
    for source in record.get("sources", []):
        return source.get("moment", source)
    return None


def _say(text: str) -> None:
    print(text, flush=True)


def _farewell(folder: Path, arguments: Sequence[str]) -> str:
    at = shlex.join(arguments)
    name = program()
    return f"""
Everything worked. The films are in {folder}{os.sep} for you to play. Some more to try:
  {name} search "Springflut" {at}
  {name} show lighthouse {at}

And with your own files (into your own library, without --library):
  export LONGTAKE_PROFILE=packaged
  {name} index ~/Videos
  {name} search "words that someone says or that stand on the screen"
  {name} ask "a question"
  {name} models ls       what it takes to find by meaning, too
  {name} --help"""
