"""Where a model's weights lie, once they are on this machine."""

from __future__ import annotations

import importlib.util
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INSTALL_MODELS = "`pip install '.[models]'` in Longtake's folder"
"""What brings the packages that run models. Never by Longtake's name: where it is not installed,
that would be looked for in an index that anybody may put something into."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Weights in a local folder, in the format of the library that loads them.

    name: as the settings call it. digest: hexadecimal, of everything that shapes the model's
    outputs; known without reading the weights. prepared: where what `longtake models prepare` has
    made of them lies (it may not be there). kind: of a folder that is not in models.dir, which the
    commands have to be told; None of the others, which they know by name. pullable: whether there
    is somewhere to pull it from.
    """

    name: str
    folder: Path
    digest: str
    prepared: Path
    kind: str | None = None
    pullable: bool = True

    def prepare_command(self, *, int8: bool = False) -> str:
        """What to type to prepare this model."""
        options = " --int8" if int8 else ""
        if self.kind is None:
            return f"`longtake models prepare {shlex.quote(self.name)}{options}`"
        folder = shlex.quote(str(self.folder.resolve()))
        return f"`longtake models prepare {folder} --kind {self.kind}{options}`"

    @property
    def fetching(self) -> str:
        """How its files are had anew, as the end of a sentence or a sentence of its own."""
        if self.kind is None and self.pullable:
            name = shlex.quote(self.name)
            # Files that are here, and what they were, are here for `pull`, too.
            return f"`longtake models rm {name}`, then `longtake models pull {name}` fetches it"
        return f"copy the model to {self.folder} anew"


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
