"""What to say where models or their packages are not here: which, how large, and the ways out."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index.disk import human_bytes
from ingest.models.catalogue import KINDS
from ingest.models.files import INSTALL_MODELS


@dataclass(frozen=True, slots=True)
class Missing:
    """A model that cannot be used.

    size: bytes to download, about; None is not known. folder: where its files belong. problem: what
    is wrong where something is there. here: whether the weights are, and only packages are not.
    packages: modules that run it and cannot be found. pullable: whether a hub has it.
    """

    kind: str
    name: str
    folder: Path
    size: int | None = None
    problem: str = ""
    here: bool = False
    packages: tuple[str, ...] = ()
    pullable: bool = True


def lacking_packages(kind: str) -> tuple[str, ...]:
    """Modules that run models of that kind and cannot be found. Imports nothing."""
    return tuple(name for name in KINDS[kind].packages if importlib.util.find_spec(name) is None)


def size_text(size: int | None) -> str:
    return "of unknown size" if size is None else f"about {human_bytes(size)}"


def explain(missing: Sequence[Missing]) -> str:
    """One message about all of them."""
    absent = [one for one in missing if not one.here]
    lines = [
        f"The {one.kind} model {one.name} cannot be used: {one.problem}."
        if one.problem
        else f"The {one.kind} model {one.name} is not here ({size_text(one.size)})."
        for one in absent
    ]
    if len(absent) > 1 and all(one.size for one in absent):
        lines.append(f"Together {size_text(sum(one.size or 0 for one in absent))}.")
    if pulled := [one.name for one in absent if one.pullable]:
        lines.append(
            f"`longtake models pull {' '.join(dict.fromkeys(pulled))}` fetches what lacks."
        )
        folders = " and ".join(str(one.folder) for one in absent if one.pullable)
        lines.append(
            f"On a machine without a network, copy the files of the model there: {folders} (the "
            "setting models.dir chooses another place)."
        )
    if unknown := [one.name for one in absent if not one.pullable and not one.problem]:
        names = " and ".join(dict.fromkeys(unknown))
        lines.append(
            f"Nor is {names} known: `longtake models ls --all` lists those that are; OWNER/NAME "
            "means one of the Hugging Face hub, and ./FOLDER one that lies there."
        )
    if any(one.problem and not one.pullable for one in absent):
        lines.append("Copy its files there anew.")
    if packages := sorted({name for one in missing for name in one.packages}):
        lines.append(f"Not installed: {', '.join(packages)}; {INSTALL_MODELS} brings them.")
    return " ".join(lines)
