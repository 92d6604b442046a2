"""`longtake models ...`: what each command is called and takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Common, with_common_options

models = typer.Typer(
    help="The models that channels use: list, pull, prepare, verify and remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="As `models ls` lists them, or owner/name[@revision]."),
]
KindOption = Annotated[
    str | None,
    typer.Option(metavar="KIND", help="What a model that the catalogue does not know is."),
]


@models.command("ls")
@with_common_options
def list_models(
    common: Common,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
) -> int:
    """List the models: which are here, and which channel wants them."""
    from cli.models import run_ls

    return run_ls(common.settings(), every=every, as_json=common.as_json)


@models.command("pull")
@with_common_options
def pull_models(common: Common, names: ModelsArgument = None, kind: KindOption = None) -> int:
    """Fetch models; without a NAME, all that the enabled channels want. Goes on where it broke
    off."""
    from cli.models import run_pull

    return run_pull(common.settings(), names or [], kind=kind, as_json=common.as_json)


@models.command("prepare")
@with_common_options
def prepare_models(
    common: Common,
    names: ModelsArgument = None,
    kind: KindOption = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights of 8 bits: smaller and faster, less exact.")
    ] = False,
) -> int:
    """Make copies that answer queries, and index on the CPU, without torch."""
    from cli.models import run_prepare

    return run_prepare(common.settings(), names or [], kind=kind, int8=int8, as_json=common.as_json)


@models.command("verify")
@with_common_options
def verify_models(common: Common, names: ModelsArgument = None, kind: KindOption = None) -> int:
    """Hash every file again; without a NAME, of all models that are here."""
    from cli.models import run_verify

    return run_verify(common.settings(), names or [], kind=kind, as_json=common.as_json)


@models.command("rm")
@with_common_options
def remove_models(
    common: Common,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As `models ls` does.")],
    kind: KindOption = None,
) -> int:
    """Remove models from models.dir."""
    from cli.models import run_rm

    return run_rm(common.settings(), names, kind=kind, as_json=common.as_json)
