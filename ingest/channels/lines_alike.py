"""Whether two readings, of pictures that follow each other, are of one line of text.

They are where
* they are in one place and read alike (recognition flickers),
* they are in one place and one begins with the other (somebody types), or differs from it only by
  what was put in before its end (somebody types in the middle),
* they are in one row and the one's end is the other's beginning (a ticker runs by),
* they read the same at the same left edge elsewhere (a page or a terminal scrolls).
Across a cut only the first holds, more strictly: a logo or a subtitle goes on, a new page does not;
and the second for letters of one size at one left edge, because a terminal that suddenly fills with
output passes for a cut.

A prompt that recognition now sees and now misses is left out of all comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from ingest.models.ocr import Box, Line

ALIKE = 0.75
"""Least normalised edit similarity of two readings of a line in one place."""
ALIKE_ACROSS_CUT = 0.9
ALIKE_ELSEWHERE = 0.85
BEGINS_ALIKE = 0.8
"""Least similarity of the shorter text with as many characters of the longer one."""
GROWTH = 2
"""Characters more (or fewer) that are typing; a single one may be a cursor misread."""
LEFT_EDGE = 0.02
"""In widths of the picture: how far the left edges of one line may lie apart."""
SAME_HEIGHT = 0.85
"""Least ratio of the heights of a line across a cut, where it has grown."""
SAME_LETTERS = 0.7
"""The same for the width of a letter; the shorter text's box may have a cursor in it."""
SHORTEST_SCROLLED = 4
"""Characters; shorter texts recur too often to be recognised elsewhere."""
SHORTEST_GROWN_ACROSS_CUT = 3
SHORTEST_AROUND_INSERTION = 4
"""Characters that stay as they were before and after what is put in."""
SHORTEST_RUN_ON = 8
"""Characters that two readings of a ticker share."""
CUT_LETTERS = 2
"""At each end of a ticker letters may be half hidden."""

_PROMPT = re.compile(r"[>❯›»$%#λ➜]\s+(?=\S)")


def code_constants() -> dict[str, float]:
    """The constants above, for a channel's `describe`."""
    return {
        "alike": ALIKE,
        "alike_across_cut": ALIKE_ACROSS_CUT,
        "alike_elsewhere": ALIKE_ELSEWHERE,
        "begins_alike": BEGINS_ALIKE,
        "growth": GROWTH,
        "left_edge": LEFT_EDGE,
        "same_height": SAME_HEIGHT,
        "same_letters": SAME_LETTERS,
        "shortest_scrolled": SHORTEST_SCROLLED,
        "shortest_grown_across_cut": SHORTEST_GROWN_ACROSS_CUT,
        "shortest_around_insertion": SHORTEST_AROUND_INSERTION,
        "shortest_run_on": SHORTEST_RUN_ON,
        "cut_letters": CUT_LETTERS,
        "alike_code": 1,
    }


def affinity(texts: Iterable[str], last: Line, reading: Line, *, cut: bool) -> float:
    """How surely `reading` is of the line that was last read as `last`; 0 where it is of another.

    texts: what the line has been read as. cut: whether a cut lies between the two pictures.
    """
    old, new = last.box, reading.box
    aligned = abs(_left(last) - _left(reading)) <= LEFT_EDGE
    in_place = (
        overlap(old[1], old[3], new[1], new[3]) >= 0.5
        and overlap(old[0], old[2], new[0], new[2]) >= 0.5
    )
    if not in_place and (cut or not aligned or not _same_height(old, new)):
        return 0.0
    known = {bare(text) for text in texts}
    text = bare(reading.text)
    alike = max(similarity(one, text) for one in known)
    if in_place:
        if cut:
            if alike >= ALIKE_ACROSS_CUT and any(_digits(one) == _digits(text) for one in known):
                return alike + 0.1
            return 0.5 if any(_grown(last, one, reading, text) for one in known) else 0.0
        if alike >= ALIKE:
            return alike + 0.1
        if aligned and len(text) >= max(map(len, known)) / 2:
            begins = max(begins_alike(one, text) for one in known)
            if begins >= BEGINS_ALIKE:
                return begins - 0.1
            if any(inserted(one, text) for one in known):
                return 0.6
        return 0.5 if _same_height(old, new) and run_on(bare(last.text), text) else 0.0
    if len(text) < SHORTEST_SCROLLED or alike < ALIKE_ELSEWHERE:
        return 0.0
    # Just below the same text in place: a table scrolled by a row matches by its words.
    return alike - 0.01 * abs(new[1] - old[1])


def bare(text: str) -> str:
    """Without the prompt that it begins with."""
    return _PROMPT.sub("", text, count=1) if _PROMPT.match(text) else text


def similarity(a: str, b: str) -> float:
    if a == b:
        return 1.0
    from rapidfuzz.distance import Levenshtein  # not above: see cli.index

    return Levenshtein.normalized_similarity(a, b)


def begins_alike(a: str, b: str) -> float:
    shorter = min(len(a), len(b))
    return similarity(a[:shorter], b[:shorter])


def inserted(old: str, new: str) -> bool:
    """Whether `new` is `old` with something put in; its end may have left the row."""
    same = _shared_beginning(old, new)
    rest, added = old[same:], new[same:]
    if same < SHORTEST_AROUND_INSERTION:
        return False
    return any(
        added.endswith(rest[:length])
        for length in range(SHORTEST_AROUND_INSERTION, min(len(rest), len(added) - GROWTH) + 1)
    )


def run_on(old: str, new: str) -> str | None:
    """What `new` adds to `old` at its end, where both are of a ticker; else None."""
    if min(len(old), len(new)) < SHORTEST_RUN_ON:
        return None
    same = SequenceMatcher(None, old, new, autojunk=False).find_longest_match()
    if (
        same.size < max(SHORTEST_RUN_ON, len(new) / 2 - CUT_LETTERS)
        or same.a + same.size < len(old) - CUT_LETTERS
        or same.b > CUT_LETTERS
        or same.a <= same.b + 1
    ):
        return None
    return old[: same.a + same.size] + new[same.b + same.size :]


def overlap(a0: float, a1: float, b0: float, b1: float) -> float:
    """What two intervals share, as a fraction of the shorter."""
    shorter = min(a1 - a0, b1 - b0)
    return max(0.0, min(a1, b1) - max(a0, b0)) / shorter if shorter > 0 else 0.0


def _shared_beginning(a: str, b: str) -> int:
    shorter = min(len(a), len(b))
    return next((n for n in range(shorter) if a[n] != b[n]), shorter)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _letter_width(line: Line) -> float:
    return (line.box[2] - line.box[0]) / max(1, len(line.text))


def _left(line: Line) -> float:
    """Where the line begins without its prompt, in widths of the picture."""
    return line.box[0] + _letter_width(line) * (len(line.text) - len(bare(line.text)))


def _same_height(a: Box, b: Box) -> bool:
    heights = sorted((a[3] - a[1], b[3] - b[1]))
    return heights[0] >= 0.6 * heights[1]


def _grown(last: Line, known: str, reading: Line, text: str) -> bool:
    """Whether letters of the same size were added to the same line."""
    heights = sorted(line.box[3] - line.box[1] for line in (last, reading))
    widths = sorted(_letter_width(line) for line in (last, reading))
    return (
        len(known) >= SHORTEST_GROWN_ACROSS_CUT
        and len(text) > len(known)
        and text.startswith(known)
        and abs(_left(last) - _left(reading)) <= LEFT_EDGE / 2
        and heights[0] >= SAME_HEIGHT * heights[1]
        and widths[0] >= SAME_LETTERS * widths[1]
    )
