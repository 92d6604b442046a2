"""The log file: what went wrong in full, for whoever looks into it."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import traceback
from pathlib import Path

KEEP_BYTES = 2_000_000
"""A log that has grown beyond this is set aside as `longtake.log.1` at the next start."""

OUR_PACKAGES = ("index", "ingest", "rag", "cli")


class _ToUser(logging.Handler):
    """Tells the user at once, as any message of a command."""

    def emit(self, record: logging.LogRecord) -> None:
        from cli.render import safe, say

        say(safe(record.getMessage()))


class _ToFile(logging.FileHandler):
    """The log file. Where it cannot be written (any more), that costs the log and nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it is opened at the first record
            pass

    def handleError(self, record: logging.LogRecord) -> None:
        """No traceback of a full disk among what the user is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # of what was written last
            pass


def log_path() -> Path:
    """`LONGTAKE_LOG`, or longtake.log in the user's state directory."""
    named = os.environ.get("LONGTAKE_LOG")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_log_path("longtake", appauthor=False) / "longtake.log"


def start_logging(*, verbose: bool) -> None:
    """Sends records to the log file, and with `verbose` our own to stderr as well. A place that
    cannot be written costs the log, not the command."""
    root, waiting = logging.getLogger(), logging.getLogger("index.remote")
    for logger in (root, waiting):
        for handler in [h for h in logger.handlers if getattr(h, "longtake", False)]:
            logger.removeHandler(handler)
            handler.close()
    if not verbose:  # else it comes with the rest
        told = _ToUser(logging.WARNING)
        told.longtake = True
        waiting.addHandler(told)
    handlers: list[logging.Handler] = []
    try:
        path = log_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > KEEP_BYTES:
            path.replace(path.with_name(path.name + ".1"))
        to_file = _ToFile(path, encoding="utf-8", errors="backslashreplace", delay=True)
        to_file.setFormatter(
            logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        )
        handlers.append(to_file)
    except OSError:
        handlers.append(logging.NullHandler())
    if verbose:
        to_stderr = logging.StreamHandler(sys.stderr)
        to_stderr.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        handlers.append(to_stderr)
    for handler in handlers:
        handler.longtake = True
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


def log_unexpected(error: BaseException, arguments: list[str]) -> Path | None:
    """Writes the traceback to the log file; returns its path, or None where it cannot be written.

    Goes past `logging`, which may not have been started when the error came.
    """
    try:
        path = log_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"{now} {os.getpid()} longtake {shlex.join(arguments)} failed\n")
            traceback.print_exception(error, file=log)
    except OSError:
        return None
    return path
