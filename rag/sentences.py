"""Where sentences begin and end, in any script."""

from __future__ import annotations

import re

_END = re.compile(
    r"[.!?…؟।]+[\"'”’»)\]]*(?=\s)"  # needs a space behind it: 3.5 and example.com go on
    r"|[。！？｡]+[」』”’）]*"  # scripts that put no space between sentences
    r"|\n+"
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Half-open character ranges of the sentences of `text`, without the space around them."""
    found: list[tuple[int, int]] = []
    start = 0
    for stop in [*(match.end() for match in _END.finditer(text)), len(text)]:
        piece = text[start:stop]
        if piece.strip():
            left = len(piece) - len(piece.lstrip())
            found.append((start + left, start + len(piece.rstrip())))
        start = stop
    return found


def sentences_around(
    text: str, ranges: tuple[tuple[int, int], ...], longest: int | None = None
) -> tuple[int, int]:
    """The half-open range of whole sentences from the first to the last that hold one of
    `ranges`; all of `text` without ranges.

    longest: where that is more characters, only the run of whole sentences with the most ranges
    that fits; where one sentence is longer, whole words around its first range.
    """
    found = sentences(text)
    holding = [i for i, (start, end) in enumerate(found) if _count(ranges, start, end)]
    if not holding:
        if longest is None or len(text) <= longest or not found:
            return 0, len(text)
        holding = [0]
    start, end = found[holding[0]][0], found[holding[-1]][1]
    if longest is None or end - start <= longest:
        return start, end
    best: tuple[int, int, int, int] | None = None
    for i in holding:
        for j in holding:
            start, end = found[i][0], found[j][1]
            if j >= i and end - start <= longest:
                rated = (_count(ranges, start, end), -(end - start), start, end)
                best = rated if best is None or rated > best else best
    if best is not None:
        return best[2], best[3]
    return _words_around(text, found[holding[0]], ranges, longest)


def _count(ranges: tuple[tuple[int, int], ...], start: int, end: int) -> int:
    return sum(start <= r[0] < end for r in ranges)


def _words_around(
    text: str, sentence: tuple[int, int], ranges: tuple[tuple[int, int], ...], longest: int
) -> tuple[int, int]:
    inside = [r for r in ranges if sentence[0] <= r[0] < sentence[1]]
    anchor = inside[0][0] if inside else sentence[0]
    start = max(sentence[0], anchor - longest // 3)
    end = min(sentence[1], start + longest)
    if start > sentence[0]:
        space = text.find(" ", start, anchor)
        start = space + 1 if space >= 0 else start
    if end < sentence[1]:
        space = text.rfind(" ", anchor, end)
        end = space if space > anchor else end
    return start, end
