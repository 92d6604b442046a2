"""Opens a video at a time, in whatever player this machine has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from index.errors import LongtakeError
from rag.timestamp import timestamp


class NoPlayerError(LongtakeError):
    """None is here, or it did not start."""


def player_command(path: Path, start_seconds: float) -> tuple[list[str], bool] | None:
    """The command of the first player that is here, and whether it begins at the time; None where
    there is none."""
    file, start = str(path.absolute()), f"{max(start_seconds, 0.0):.3f}"
    ways = [
        ("mpv", [f"--start={start}", file], True),
        ("vlc", [f"--start-time={start}", file], True),
        ("ffplay", ["-autoexit", "-loglevel", "error", "-ss", start, "-i", file], True),
        ("open" if sys.platform == "darwin" else "xdg-open", [file], False),
    ]
    for name, arguments, seeks in ways:
        found = shutil.which(name)
        if found is not None:
            return [found, *arguments], seeks
    return None


def play(path: Path, start_seconds: float) -> bool:
    """Starts a player and does not wait for it; returns whether it begins at the time. Raises
    NoPlayerError, which says where to look by hand."""
    place = f"{path} at {timestamp(start_seconds)}"
    if not path.is_file():
        raise NoPlayerError(f"{path} is not there any more.")
    chosen = player_command(path, start_seconds)
    if chosen is None:
        raise NoPlayerError(f"No player is here (mpv, vlc, ffplay). It is in {place}.")
    command, seeks = chosen
    try:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the chat
        )
    except OSError as error:
        raise NoPlayerError(
            f"{command[0]} does not start ({error.strerror}). It is in {place}."
        ) from error
    return seeks
