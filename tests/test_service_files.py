"""The files in docs/live.md that run `watch` as a service: their format and their commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.main import app

DOCS = Path(__file__).resolve().parents[1] / "docs" / "live.md"


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    return found[1]


def unit_command() -> list[str]:
    return shlex.split(re.search(r"^ExecStart=(.*)$", block("ini"), re.MULTILINE)[1])


def container_command() -> list[str]:
    return json.loads(re.search(r"^ *command: (.*)$", block("yaml"), re.MULTILINE)[1])


@pytest.mark.parametrize("words", [unit_command(), container_command()])
def test_the_commands_are_understood(words):
    program, name, *arguments = words
    assert Path(program).name == "longtake"
    command = typer.main.get_command(app)
    watch = command.get_command(None, name)
    context = watch.make_context(name, arguments)
    assert context.params["sources"] and context.params["names"] == ["hall"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "longtake-watch.service"
    unit.write_text(block("ini").replace(unit_command()[0], f'"{sys.executable}"'))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    own = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, own) == (0, [])
