"""`longtake index`: files in, progress while it runs, a summary at the end.

Starting takes longer than finding that nothing is to be done, so until something is, nothing that
decodes, looks or listens is loaded.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from cli.compose import build_claims, build_thumbnails, open_library
from cli.render import print_json, safe
from cli.senses import Senses
from cli.settings import Settings
from index.errors import Interrupted, LibraryError, LongtakeError, StoreError
from index.library import Library
from ingest.batch import Batch, FileReport
from ingest.identity import discover
from ingest.pipeline import Indexer
from ingest.plan import Channels, Plan, Planner
from rag.timestamp import timestamp

MARKS = {
    "indexed": "[green]✓[/]",
    "damaged": "[yellow]![/]",
    "failed": "[red]✗[/]",
    "busy": "·",
    "done": "·",
}

ONE_SIGNAL_SECONDS = 1.0
"""A signal that comes again so soon is the same one, passed on twice."""


def run_index(
    console: Console,
    settings: Settings,
    paths: Sequence[str],
    *,
    channels: Sequence[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    verify: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Indexes and reports. Returns the exit status: 1 where any file failed or was damaged.

    Raises Interrupted on Ctrl-C and on SIGTERM, whenever they come.
    """
    stop = threading.Event()
    with stopped_by_signals(stop):
        return _run(
            Output(console, as_json),
            settings,
            paths,
            channels=channels,
            force=force,
            jobs=jobs,
            verify=verify,
            dry_run=dry_run,
            stop=stop,
        )


def _run(
    output: Output,
    settings: Settings,
    paths: Sequence[str],
    *,
    channels: Sequence[str] | None,
    force: bool,
    jobs: int | None,
    verify: bool,
    dry_run: bool,
    stop: threading.Event,
) -> int:
    started = time.monotonic()
    senses = Senses(settings, channels)
    senses.check_models()
    found, roots, problems = find_files(paths)
    for problem in problems:
        output.problem(str(problem))
    unborn = settings.server is None and not settings.library.exists()
    if not found and (unborn or not roots):
        if problems:
            return max(problem.exit_status for problem in problems)
        output.problem(no_videos(paths))
        return 1

    lent = nullcontext() if unborn and dry_run else open_library(settings, must_exist=False)
    with while_its_folder_is_there(settings) as opened, lent as library:
        opened.set()
        if not dry_run:
            senses.prepare_models(output.message)
        perceived = senses.channels()
        planner = Planner(library, perceived, force=force, verify=verify)
        plan = planner.plan(found, roots)
        if not found and not plan.kept:
            if not problems:
                output.problem(no_videos(paths))
            return 1
        for path, error in plan.failures:
            output.failure(path, str(error))
        if dry_run:
            output.dry_run(plan)
            output.kept(plan)
            return 1 if problems or plan.failures else 0
        _work(output, settings, library, perceived, plan, force=force, jobs=jobs, stop=stop)
    output.kept(plan)
    output.summary(plan, time.monotonic() - started)
    return int(any(output.counts[status] for status in ("failed", "damaged", "busy")))


def _work(
    output: Output,
    settings: Settings,
    library: Library,
    perceived: Channels,
    plan: Plan,
    *,
    force: bool,
    jobs: int | None,
    stop: threading.Event,
) -> None:
    """Does what the plan says, and what hangs on it: overviews made anew, spaces forgotten."""
    if settings.server is not None:  # an embedded library's folder has been made by opening it
        settings.library.mkdir(parents=True, exist_ok=True)
    library, claims = build_claims(settings, library)
    thumbnails = build_thumbnails(settings)
    indexer = Indexer(
        library, perceived, settings.ingest, thumbnails, force=force, stop=stop.is_set
    )
    batch = Batch(library, indexer, thumbnails, claims, output.stage, output.report, stop)
    batch.apply_updates(plan)
    if settings.server is None:  # the thumbnails of several servers lie in one folder
        batch.sweep_thumbnails(plan)
    with output.live(len(plan.tasks)):
        batch.run(plan, jobs or settings.jobs)
    library.forget_spaces()
    if any(generation.channel == "summary" for generation in library.generations()):
        from cli.summarize import refresh_overviews

        refresh_overviews(settings, library)


def find_files(paths: Sequence[str]) -> tuple[list[Path], list[Path], list[LongtakeError]]:
    """The video files that the arguments mean, the folders among the arguments, and what is
    wrong with the rest."""
    problems: list[LongtakeError] = []
    found = list(discover(list(paths), on_error=problems.append))
    roots = [Path(path) for path in paths if Path(path).is_dir()]
    return found, roots, problems


def no_videos(paths: Sequence[str]) -> str:
    return f"No videos in {', '.join(paths)}. Name a file to index it whatever it is."


@contextmanager
def while_its_folder_is_there(settings: Settings) -> Iterator[threading.Event]:
    """Raises LibraryError in plain words where a run fails because somebody removed the folder of
    its library, which was there when the event yielded was set."""
    opened = threading.Event()
    try:
        yield opened
    except (LibraryError, StoreError) as error:
        if settings.server is not None or not opened.is_set() or settings.library.exists():
            raise
        raise LibraryError(
            f"The folder of the library {settings.library} has gone while it was in use, and with "
            "it what was indexed. Put it back, or run the same command again to index anew."
        ) from error


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop alike: what is final is committed first. A library that is being
    imported, or a batch in a model, cannot be left in the middle, which may take a while; who asks
    again ends the process as a kill would, unless that comes at once: wrappers and shells may both
    pass one on. Raises Interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked_at: float | None = None  # stop is also set where a run fails

    def interrupt(*_: object) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is not None:
            if now - asked_at > ONE_SIGNAL_SECONDS:
                os._exit(130)
            return
        asked_at = now
        stop.set()
        with suppress(OSError):  # Ctrl-C has ended who reads it, as in `2>&1 | tee log`
            os.write(2, b"Stopping where the work can be left; again: at once.\n")
        raise KeyboardInterrupt

    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped; what was indexed is kept, and the next run goes on.") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SpeedColumn(ProgressColumn):
    """How many times faster than real time."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}×" if speed else "", style="cyan", justify="right")


class RemainingColumn(ProgressColumn):
    """The time that the rest will take at the speed of late."""

    def render(self, task: Task) -> Text:
        remaining = task.time_remaining
        known = remaining is not None and task.completed
        return Text(f"{timestamp(round(remaining))} left" if known else "")


class Output:
    """Progress and messages on stderr; JSON lines on stdout where asked for."""

    def __init__(self, console: Console, as_json: bool):
        self._console = console
        self._as_json = as_json
        self._lock = threading.Lock()
        self._tasks: dict[Path, TaskID] = {}
        self._stages: dict[Path, str] = {}
        self.counts = dict.fromkeys(MARKS, 0)
        self._media_seconds = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[stage]}"),
            SpeedColumn(),
            RemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=60,
        )

    @contextmanager
    def live(self, files: int) -> Iterator[None]:
        with self._progress:
            self._files = files
            yield

    def stage(self, path: Path, stage: str, at_seconds: float, total_seconds: float) -> None:
        with self._lock:
            if path not in self._tasks:
                self._tasks[path] = self._progress.add_task(escape(shorten(path.name)), stage="")
            task = self._tasks[path]
            if self._stages.get(path) != stage:  # each has a speed of its own
                self._stages[path] = stage
                self._progress.reset(task, stage=stage, completed=at_seconds)
            self._progress.update(task, total=total_seconds or None, completed=at_seconds)

    def report(self, report: FileReport) -> None:
        with self._lock:
            task = self._tasks.pop(report.path, None)
            self._stages.pop(report.path, None)
            if task is not None:
                self._progress.remove_task(task)
            self.counts[report.status] += 1
            if report.status in ("indexed", "damaged"):
                self._media_seconds += report.media_seconds
            if self._as_json:
                print_json(
                    {
                        "path": str(report.path),
                        "status": report.status,
                        "reason": report.reason,
                        "media_seconds": report.media_seconds,
                        "wall_seconds": round(report.wall_seconds, 3),
                        "notes": list(report.notes),
                    }
                )
            self._line(report)

    def _line(self, report: FileReport) -> None:
        name = escape(safe(report.path.name))
        if report.status in ("failed", "busy", "done"):
            # Most errors name the file in full.
            named = report.reason.startswith(f"{report.path}: ")
            reason = escape(safe(report.reason))
            text = f"{MARKS[report.status]} {reason if named else f'{name}: {reason}'}"
        else:
            speed = report.media_seconds / max(report.wall_seconds, 1e-3)
            text = (
                f"{MARKS[report.status]} {name}  {timestamp(report.media_seconds)}  "
                f"{speed:.1f}× real time  ({escape(report.reason)})"
            )
        self._console.print(text, highlight=False, soft_wrap=True)
        for note in report.notes:
            self._console.print(
                f"  [yellow]{escape(safe(note))}[/]", highlight=False, soft_wrap=True
            )

    def failure(self, path: Path, message: str) -> None:
        self.report(FileReport(path, "failed", message))

    def problem(self, message: str) -> None:
        """Says what is wrong with an argument, or with what lies under it."""
        self.counts["failed"] += 1
        self._console.print(f"[red]✗[/] {escape(safe(message))}", soft_wrap=True)

    def message(self, message: str) -> None:
        self._console.print(escape(safe(message)), highlight=False, soft_wrap=True)

    def dry_run(self, plan: Plan) -> None:
        lines = [(task.path, task.reason) for task in plan.tasks]
        lines += [(path, "moved or copied, nothing to do") for path in plan.moved]
        lines += [(Path(video.title), "gone, would be removed") for video in plan.gone]
        for path, reason in lines:
            if self._as_json:
                print_json({"path": str(path), "status": "planned", "reason": reason})
            else:
                text = f"would index {safe(str(path))} ({reason})"
                self._console.print(escape(text), highlight=False, soft_wrap=True)
        self._console.print(
            f"{len(plan.tasks)} to index, {len(plan.unchanged)} up to date.", highlight=False
        )

    def kept(self, plan: Plan) -> None:
        """Says what is missing and yet stays."""
        if plan.kept:
            folders = sorted({str(path.parent) for path in plan.kept})
            more = f" and {len(folders) - 1} folders more" if len(folders) > 1 else ""
            self._console.print(
                f"{len(plan.kept)} missing from {escape(safe(folders[0]))}{more}, but kept: the "
                "folder is empty or holds no video any more, as if its drive were not mounted. If "
                "they are gone for good, `longtake rm` removes them.",
                highlight=False,
                soft_wrap=True,
            )

    def summary(self, plan: Plan, wall_seconds: float) -> None:
        counts = self.counts
        parts = []
        indexed = counts["indexed"] + counts["damaged"]
        if indexed:
            speed = self._media_seconds / max(wall_seconds, 1e-3)
            parts.append(
                f"{indexed} indexed ({timestamp(round(self._media_seconds))} of video in "
                f"{timestamp(round(wall_seconds))}, {speed:.1f}× real time)"
            )
        if counts["damaged"]:
            parts.append(f"{counts['damaged']} of them damaged")
        if plan.unchanged:
            parts.append(f"{len(plan.unchanged)} up to date")
        if plan.moved:
            parts.append(f"{len(plan.moved)} moved or copied")
        if plan.gone:
            parts.append(f"{len(plan.gone)} gone and removed")
        if counts["busy"]:
            parts.append(f"{counts['busy']} in another process's hands")
        if counts["done"]:
            parts.append(f"{counts['done']} with nothing left to do")
        if counts["failed"]:
            parts.append(f"{counts['failed']} failed")
        if parts:
            self._console.print(", ".join(parts) + ".", highlight=False, soft_wrap=True)


def shorten(name: str, width: int = 40) -> str:
    name = safe(name)
    return name if len(name) <= width else name[: width - 1] + "…"
