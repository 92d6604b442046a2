"""The command in processes of its own that have the heavy libraries loaded already.

Each is forked from a server that did nothing but import them: a run that looks with every model
spends longer on imports than on anything else. What a command imports is for tests that start it
anew.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HEAVY = [
    "open_clip",
    "faster_whisper",
    "onnxruntime",
    "transformers.models.clap.modeling_clap",
    "transformers.models.owlv2.modeling_owlv2",
]


def longtake(
    arguments: list[str], environment: Mapping[str, str], cwd: Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run(capture_output=True): a negative status is the signal that ended it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with tempfile.TemporaryDirectory() as folder:
        streams = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(
            target=_command, args=(arguments, dict(environment), str(cwd), streams)
        )
        process.start()
        process.join(timeout_seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout_seconds)
        out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _command(
    arguments: list[str], environment: dict[str, str], cwd: str, streams: list[str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    from cli.main import main  # after the environment, which it reads

    sys.exit(main(arguments))
