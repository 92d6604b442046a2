"""`longtake eval ...`: what each command is called and takes.

Like cli/main.py, this imports only typer and the standard library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Common, with_common_options

evaluate = typer.Typer(
    help="Measure searches against questions whose answers are known.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

QueriesOption = Annotated[
    Path, typer.Option(metavar="FILE", help="Questions with their videos and true spans.")
]
PerQueryOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write what each question got there, as JSON lines."),
]
AgainstOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Compare with what --per-query wrote another time."),
]
TranslationsOption = Annotated[
    bool, typer.Option("--translations", help="Ask in every language that the file has, too.")
]


@evaluate.command("transcripts")
@with_common_options
def evaluate_transcripts(
    common: Common,
    transcripts: Annotated[
        Path,
        typer.Option(metavar="FILE", help="JSON lines of {video_id, title, duration, sentences}."),
    ],
    queries: QueriesOption,
    per_query: PerQueryOption = None,
    against: AgainstOption = None,
    translations: TranslationsOption = False,
) -> int:
    """Index transcripts as speech, and search them. Keeps the index where --library says."""
    from cli.evaluate import Options, run_transcripts

    return run_transcripts(
        common.settings(),
        transcripts,
        queries,
        Options(per_query, against, translations, common.as_json),
        keep=common.library is not None,
    )
