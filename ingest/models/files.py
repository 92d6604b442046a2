"""Where a model's weights lie, once they are on this machine."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Weights in a local folder, in the format of the library that loads them.

    name: as the settings call it. digest: hexadecimal, of everything that shapes the model's
    outputs; known without reading the weights. prepared: where what `longtake models prepare` has
    made of them lies (it may not be there).
    """

    name: str
    folder: Path
    digest: str
    prepared: Path


def inside_package(where: str) -> Path | None:
    """The folder PACKAGE/FOLDER of an installed Python package, which is not imported; None where
    there is none."""
    package, _, folder = where.partition("/")
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(package)
        for root in (spec and spec.submodule_search_locations) or ():
            if (found := Path(root, folder)).is_dir():
                return found
    return None
