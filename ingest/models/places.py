"""What boxes say in words: how many of each thing there are, and where in the picture.

After Video-RAG (Luo et al. 2024, arXiv 2411.13093), which asks a detector, on the frames that match
a question, for the things that the question names, and gives the language model their number, their
place and how they lie to each other. It writes boxes as coordinates; here the place is a word too,
from a grid of three by three over the picture, so that text alone can answer "who is on the left?".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.models.detector import Box, Detection

_COLUMNS, _ROWS = ("left", "center", "right"), ("top", "middle", "bottom")


@dataclass(frozen=True, slots=True)
class Found:
    """One class in one picture. count: boxes of it, at least 1. places: of each, surest first; one
    of "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom" and
    "bottom right"."""

    label: str
    count: int
    places: tuple[str, ...]


def place(box: Box) -> str:
    """The ninth of the picture that the box's middle lies in, as a word or two."""
    column = _COLUMNS[min(2, int((box[0] + box[2]) / 2 * 3))]
    row = _ROWS[min(2, int((box[1] + box[3]) / 2 * 3))]
    if row == "middle":
        return column
    return row if column == "center" else f"{row} {column}"


def number_and_place(detections: Sequence[Detection]) -> list[Found]:
    """What one picture shows, class by class in the order of the surest of each.

    detections: of one picture, surest first, as OpenVocabularyDetector.detect returns them.
    """
    by_label: dict[str, list[Detection]] = {}
    for one in detections:
        by_label.setdefault(one.label, []).append(one)
    return [
        Found(label, len(some), tuple(place(one.box) for one in some))
        for label, some in by_label.items()
    ]


def as_text(detections: Sequence[Detection]) -> str:
    """One line for a prompt: "person × 3 (left × 2, right); bottle × 1 (center)"; "" for nothing.
    However many there are of a thing, it has nine places at most."""
    return "; ".join(
        f"{found.label} × {found.count} ({_places(found)})"
        for found in number_and_place(detections)
    )


def _places(found: Found) -> str:
    counts = Counter(found.places)
    return ", ".join(f"{one} × {n}" if n > 1 else one for one, n in counts.items())
