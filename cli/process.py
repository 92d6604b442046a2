"""The command line as a process: its end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import NoReturn


def run() -> NoReturn:
    """What the installed program calls."""
    from cli.main import main  # not above: that module may be the one that is run

    end(main())


def end(status: int) -> NoReturn:
    """Ends the process with that exit status.

    Python ends threads that still run (somebody stopped while a model was at work) in the middle of
    whatever they do, and libraries in C++ abort the process then. So where there are any, it is
    ended without Python.
    """
    if not any(thread.daemon for thread in threading.enumerate()):
        sys.exit(status)
    if (logs := sys.modules.get("logging")) is not None:
        logs.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
