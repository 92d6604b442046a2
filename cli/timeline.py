"""A video's evidence over time, drawn in characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.render import speaks_unicode
from rag.timestamp import timestamp

LONGEST_ROW = 160


def timeline(
    end_seconds: float,
    spans: Mapping[str, Sequence[tuple[float, float]]],
    looked_at: Mapping[str, float],
    cuts: Sequence[float],
    width: int,
) -> list[str]:
    """Lines of at most `width` characters: a scale, the cuts, and a row for each channel.

    end_seconds: > 0, what the row's end stands for. spans: (start, end) by channel. looked_at:
    seconds analysed so far, by channel; what lies beyond stays blank. The higher a block, the
    more of its stretch of time holds evidence; a dot is a stretch without any.
    """
    label = max((len(name) for name in (*spans, "cuts")), default=4)
    columns = max(min(width - label - 4, LONGEST_ROW), 10)
    blocks, dot, mark = ("▁▂▃▄▅▆▇█", "·", "|") if speaks_unicode() else ("_-=#", ".", "|")
    step = end_seconds / columns

    last = timestamp(round(end_seconds) if end_seconds >= 10 else end_seconds)
    rows = [("", "0:00" + last.rjust(columns - 4))]
    if cuts:
        marked = {min(int(cut / step), columns - 1) for cut in cuts}
        rows.append(("cuts", "".join(mark if at in marked else " " for at in range(columns))))
    for name, found in spans.items():
        filled = _filled(found, step, columns)
        row = ""
        for at, share in enumerate(filled):
            if share > 0:
                row += blocks[min(int(share * len(blocks)), len(blocks) - 1)]
            else:
                row += dot if at * step < looked_at.get(name, 0.0) else " "
        rows.append((name, row))
    return [f"  {name:<{label}}  {row}".rstrip() for name, row in rows]


def _filled(spans: Sequence[tuple[float, float]], step: float, columns: int) -> list[float]:
    """The share of each column's time that some span covers, 0..1; a moment counts a little."""
    filled = [0.0] * columns
    covered_to = 0.0
    for start, end in sorted(spans):
        first = min(max(int(start / step), 0), columns - 1)
        filled[first] = max(filled[first], 1e-6)
        start = max(start, covered_to)
        covered_to = max(covered_to, end)
        for at in range(min(int(start / step), columns - 1), columns):
            left = at * step
            if left >= end:
                break
            filled[at] += max(min(end, left + step) - max(start, left), 0.0) / step
    return [min(share, 1.0) for share in filled]
