"""`longtake estimate`: what indexing will take, before it begins."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.progress import Progress

from cli.compose import SPACES, open_library
from cli.index import find_files, no_videos, stopped_by_signals
from cli.render import data_line, messages, print_json, safe, say
from cli.senses import Senses
from cli.settings import Settings
from index.disk import human_bytes
from index.edge import EdgeStore
from index.errors import LongtakeError
from index.library import Library
from ingest.estimate import Estimate, Estimator
from ingest.media import measure_duration, probe
from ingest.pipeline import Indexer
from ingest.plan import Planner
from ingest.thumbnails import Thumbnails
from rag.timestamp import timestamp

NAMES = {"pictures": "decoding, shots", "load": "loading models"}
"""What stages are called where their own name would not tell."""


def run_estimate(
    settings: Settings, paths: Sequence[str], *, channels: Sequence[str] | None, as_json: bool
) -> int:
    """Returns the exit status: 1 where something cannot be read. Raises Interrupted."""
    with stopped_by_signals(threading.Event()):  # so that the excerpts are removed
        return _run(settings, paths, channels=channels, as_json=as_json)


def _run(
    settings: Settings, paths: Sequence[str], *, channels: Sequence[str] | None, as_json: bool
) -> int:
    console = messages()
    senses = Senses(settings, channels)
    senses.check_models()
    found, roots, problems = find_files(paths)
    for problem in problems:
        say((str(problem), "red"))
    if not found:
        say((no_videos(paths), "red"))
        return 1
    senses.prepare_models(lambda text: say(text))
    perceived = senses.channels()

    unborn = settings.server is None and not (settings.library / "manifest.json").exists()
    with nullcontext() if unborn else open_library(settings) as library:
        plan = Planner(library, perceived, force=False, verify=False).plan(found, roots)
    failures = [str(error) for _, error in plan.failures]
    files: list[tuple[Path, float]] = []
    for task in plan.tasks:
        try:
            duration = probe(task.path).duration_seconds
            files.append((task.path, duration or measure_duration(task.path)))
        except LongtakeError as error:
            failures.append(str(error))
    for failure in failures:
        say((safe(failure), "red"))
    if not files:
        say(f"Nothing to do: {len(plan.unchanged)} up to date.")
        return 1 if problems or failures else 0

    with tempfile.TemporaryDirectory(prefix="longtake-estimate-") as folder:
        place = Path(folder)
        with EdgeStore(place / "library", settings=settings.index) as store:
            store.ensure_spaces(SPACES)
            scratch = Library(store)
            thumbnails = Thumbnails(place / "library" / "thumbnails")
            indexer = Indexer(scratch, perceived, settings.ingest, thumbnails)
            estimator = Estimator(scratch, indexer, thumbnails, place)
            with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
                shown = bar.add_task("Trying a minute of it")
                estimate = estimator.estimate(
                    files, listener=lambda done, of: bar.update(shown, completed=done, total=of)
                )
    if as_json:
        print_json(as_record(estimate))
    else:
        print_estimate(estimate)
    for note in estimate.notes:
        say((safe(note), "yellow"))
    return 1 if problems or failures else 0


def _columns(estimate: Estimate) -> tuple[Mapping[str, float], ...]:
    return estimate.seconds, estimate.bytes, estimate.memory


def as_record(estimate: Estimate) -> dict:
    return {
        "files": estimate.files,
        "media_seconds": round(estimate.media_seconds, 3),
        "seconds": {stage: round(value, 3) for stage, value in estimate.seconds.items()},
        "total_seconds": round(estimate.total_seconds, 3),
        "margin": round(estimate.margin, 3),
        "bytes": {channel: round(value) for channel, value in estimate.bytes.items()},
        "total_bytes": round(estimate.total_bytes),
        "memory": dict(estimate.memory),
        "memory_bytes": estimate.memory_bytes,
        "tried_seconds": round(estimate.tried_seconds, 3),
        "notes": list(estimate.notes),
    }


def print_estimate(estimate: Estimate) -> None:
    """A line a stage, with its time, disk and memory; then the totals."""
    stages = dict.fromkeys((*estimate.seconds, *estimate.bytes, *estimate.memory))
    rows = [
        (NAMES.get(stage, stage), *(of.get(stage, 0) for of in _columns(estimate)))
        for stage in sorted(stages, key=lambda stage: -estimate.seconds.get(stage, 0.0))
    ]
    totals = ("in all", estimate.total_seconds, estimate.total_bytes, estimate.memory_bytes)
    width = max(len(name) for name, *_ in rows)
    data_line((f"{'':<{width}}       time        disk      memory", "dim"), indent=2)
    for name, seconds, size, memory in (*rows, totals):
        data_line(
            (f"{name:<{width}}", "bold" if name == "in all" else ""),
            f"  {timestamp(round(seconds)):>9}  {human_bytes(size):>10}  {human_bytes(memory):>10}",
            indent=2,
        )
    speed = estimate.media_seconds / max(estimate.total_seconds, 1e-3)
    say(
        f"{estimate.files} file{'s' * (estimate.files != 1)}, "
        f"{timestamp(round(estimate.media_seconds))} of video: about "
        f"{timestamp(round(estimate.total_seconds))} (±{estimate.margin:.0%}; {speed:.1f}× real "
        f"time), {human_bytes(estimate.total_bytes)} on disk, "
        f"{human_bytes(estimate.memory_bytes)} of memory. "
        f"Tried on {timestamp(round(estimate.tried_seconds))} of it."
    )
