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
UnanswerableOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="other:FILE|video|span",
        help="Ask also what has no answer: another collection's questions, or these with the "
        "video or the true span hidden; repeatable.",
    ),
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
    unanswerable: UnanswerableOption = None,
) -> int:
    """Index transcripts as speech, and search them. Keeps the index where --library says."""
    from cli.evaluate import Options, run_transcripts

    return run_transcripts(
        common.settings(),
        transcripts,
        queries,
        Options(per_query, against, translations, tuple(unanswerable or ()), common.as_json),
        keep=common.library is not None,
    )


@evaluate.command("library")
@with_common_options
def evaluate_library(
    common: Common,
    queries: QueriesOption,
    per_query: PerQueryOption = None,
    against: AgainstOption = None,
    translations: TranslationsOption = False,
    unanswerable: UnanswerableOption = None,
) -> int:
    """Search your own videos for moments that you have labelled, or a benchmark's."""
    from cli.evaluate import Options, run_library

    return run_library(
        common.settings(),
        queries,
        Options(per_query, against, translations, tuple(unanswerable or ()), common.as_json),
    )


@evaluate.command("qa")
@with_common_options
def evaluate_qa(
    common: Common,
    questions: Annotated[
        Path, typer.Option(metavar="FILE", help="Questions with options, as they were published.")
    ],
    contexts: Annotated[
        list[str] | None,
        typer.Option(
            "--context",
            metavar="C",
            help="What the model is shown: retrieved, uniform, subtitles or none; repeatable "
            "(default: retrieved and subtitles).",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most this many questions, spread evenly."),
    ] = None,
    per_question: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what each got there, as JSON lines."),
    ] = None,
) -> int:
    """Have the language model of the settings choose answers about your own videos."""
    from cli.evaluate_qa import run_qa

    return run_qa(
        common.settings(),
        questions,
        contexts or (),
        limit=limit,
        per_question=per_question,
        as_json=common.as_json,
    )


@evaluate.command("moments")
@with_common_options
def evaluate_moments(
    common: Common,
    annotations: Annotated[
        Path, typer.Option(metavar="FILE", help="The benchmark's, as it was published.")
    ],
    predictions: Annotated[
        Path, typer.Option(metavar="FILE", help="In the layout that the benchmark asks for.")
    ],
    metric: Annotated[
        str, typer.Option(metavar="M", help="qvhighlights, charades (ActivityNet too) or tvr.")
    ],
) -> int:
    """Rate predictions by a benchmark's official metrics."""
    from cli.evaluate_moments import run_moments

    common.settings()  # wrong ones are told here as everywhere
    return run_moments(annotations, predictions, metric, as_json=common.as_json)
