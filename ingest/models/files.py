"""Where a model's weights lie, once they are on this machine."""

from __future__ import annotations

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
