"""The options that every command takes, before or after its name.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Common:
    """What was given of them. `sets` holds the NAME=VALUE of every --set."""

    library: str | None = None
    profile: str | None = None
    sets: tuple[str, ...] = ()
    as_json: bool = False
    verbose: bool = False

    def over(self, before: Common) -> Common:
        """These, and where nothing was given, those given before the command's name."""
        return Common(
            self.library if self.library is not None else before.library,
            self.profile if self.profile is not None else before.profile,
            before.sets + self.sets,
            self.as_json or before.as_json,
            self.verbose or before.verbose,
        )

    def passed_on(self) -> tuple[str, ...]:
        """The arguments that give another command the same settings; the library is left out."""
        profile = () if self.profile is None else ("--profile", self.profile)
        sets = tuple(argument for pair in self.sets for argument in ("--set", pair))
        return (*profile, *sets, *(("--verbose",) if self.verbose else ()))

    def settings(self) -> Settings:
        """The settings in effect. Raises ConfigError."""
        return self.settings_and_origins()[0]

    def settings_and_origins(self) -> tuple[Settings, dict[str, str]]:
        """The settings in effect and where each comes from. Asking for them is the first step of
        every command, so logging starts here too. Raises ConfigError."""
        from cli.logs import start_logging
        from cli.settings import load

        start_logging(verbose=self.verbose)
        overrides = parse_sets(self.sets)
        if self.library is not None:
            overrides["library"] = self.library
        return load(overrides, self.profile)


def common_options(
    library: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The library's folder (env LONGTAKE_LIBRARY; default: the user's data directory).",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A profile that comes with Longtake, or a TOML file (env LONGTAKE_PROFILE).",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting that `longtake config` lists; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="More messages, and tracebacks, on stderr.")
    ] = False,
) -> Common:
    """The signature that typer reads, and the record that commands get."""
    return Common(library, profile, tuple(sets or ()), as_json, verbose)


def with_common_options(
    body: Callable[..., int | None], without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """A typer command out of `body(common, ...) -> exit status`: its own parameters, then the
    common options but those named in `without`. The app's callback is one that returns None, and
    leaves what it was given for the command."""
    common = dict(inspect.signature(common_options, eval_str=True).parameters)
    for name in without:
        del common[name]
    own = inspect.signature(body, eval_str=True).parameters

    @functools.wraps(body)
    def command(context: typer.Context, **given: Any) -> None:
        chosen = common_options(**{name: given.pop(name) for name in common})
        if isinstance(context.obj, Common):
            chosen = chosen.over(context.obj)
        context.obj = chosen
        status = body(chosen, **given)
        if status is not None:
            raise typer.Exit(status)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*list(own.values())[1:], *common.values())
        ),
    ]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__
    return command


def parse_sets(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`retrieve.limit=5` as {"retrieve": {"limit": 5}}. Values are JSON where they can be, else
    text. Raises UsageError for what is no NAME=VALUE."""
    import json

    from index.errors import UsageError

    nested: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        *groups, last = name.strip().split(".")
        if not equals or not all((*groups, last)):
            raise UsageError(f"--set takes NAME=VALUE, as in retrieve.limit=5, not “{pair}”.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {name} contradicts an earlier --set.")
        inner[last] = value
    return nested
