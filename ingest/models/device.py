"""What computes: asked of the driver, because asking torch takes seconds."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

from index.errors import ConfigError


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def likely_device(wanted: str = "auto") -> Literal["cpu", "cuda", "mps"]:
    """The device that models will run on. wanted: the setting models.device; "auto" is a GPU where
    the driver shows one and torch is installed."""
    if wanted in ("cpu", "cuda", "mps"):
        return wanted  # type: ignore[return-value]
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if nvidia_gpus() else "cpu"


def check_device(wanted: str) -> None:
    """Raises ConfigError where the setting models.device asks for a GPU that is not there."""
    if wanted == "mps":
        there = sys.platform == "darwin"
    else:
        there = wanted != "cuda" or bool(nvidia_gpus()) or _torch_has_cuda()
    if not there:
        raise ConfigError(
            f"models.device asks for {wanted}, and no such GPU is found. Set it to auto or cpu."
        )


def _torch_has_cuda() -> bool:
    """Of AMD's GPUs only torch knows that they go by that name."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@lru_cache(maxsize=1)
def nvidia_gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that the driver sees."""
    if command := shutil.which("nvidia-smi"):
        try:
            answer = subprocess.run(
                [command, "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=10,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            pass
        else:
            if answer.returncode == 0:
                return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())
    names = []
    for file in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        try:
            found = re.search(r"Model:\s*(.+)", file.read_text())
        except OSError:
            continue
        names.append(found[1].strip() if found else "NVIDIA GPU")
    return tuple(names)
