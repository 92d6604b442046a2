"""A relevance curve, drawn in one line of characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cli.render import speaks_unicode

LONGEST = 120
"""Columns."""

LEAST_TOP = 0.25
"""What the highest block stands for, at least: hardly anything must not look like a mountain."""


def bars(values: np.ndarray, columns: int, top: float | None = None) -> str:
    """The highest value in each column as a block; a column has at least one value, so there may
    be fewer of them. values: >= 0, of shape (n,). top: what the highest block stands for; None:
    the highest value."""
    blocks, low = ("▂▃▄▅▆▇█", "▁") if speaks_unicode() else ("-=*#", "_")
    columns = max(1, min(columns, LONGEST, len(values)))
    top = float(np.max(values, initial=0.0)) if top is None else top
    edges = np.linspace(0, len(values), columns + 1).round().astype(int)
    row = ""
    for a, b in pairwise(edges):
        share = float(values[a:b].max(initial=0.0)) / top if top > 0 else 0.0
        level = min(int(share * (len(blocks) + 1)), len(blocks))
        row += blocks[level - 1] if level else low
    return row


def bracketed(row: str, spans: Sequence[tuple[float, float]], length: float) -> str:
    """The row with brackets around the columns of the spans. spans: starts and ends as parts of
    `length`, which the row stands for; they do not overlap."""
    marks: list[tuple[int, int, str]] = []
    for start, end in spans:
        first = min(max(int(start / length * len(row)), 0), len(row) - 1)
        last = min(max(round(end / length * len(row)), first + 1), len(row))
        marks += [(first, 1, "["), (last, 0, "]")]
    for at, _, mark in sorted(marks, reverse=True):
        row = row[:at] + mark + row[at:]
    return row


def numbered(spans: Sequence[tuple[float, float]], length: float, columns: int) -> str:
    """A row that shows where spans lie under another of that many columns, the first ones with
    their number."""
    line = "─" if speaks_unicode() else "-"
    row = [" "] * columns
    for number, (start, end) in reversed(list(enumerate(spans, 1))):
        first = min(max(int(start / length * columns), 0), columns - 1)
        last = min(max(round(end / length * columns), first + 1), columns)
        text = f"{number:{line}<{last - first}}"
        row[first : first + len(text)] = text
    return "".join(row[:columns]).rstrip()
