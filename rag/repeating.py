"""Ends an answer that says the same over and over, as small models do until no token is left."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.models.videollm import Piece

TIMES = 4
"""The same in a row, word for word, before it is called a loop."""

SHORTEST_LOOP = 160
"""Characters of all these together: a refrain, or a row of citations, is none."""

LONGEST_ROUND = 1000
"""Characters of what is said over and over."""

_TAIL = 24
REPEATED = "repeated"
"""The `finish` of an answer that was ended so."""


def until_it_repeats(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """`pieces` until they go round in a circle: then a last one, whose finish is REPEATED, and the
    model is stopped."""
    said = ""
    try:
        for piece in pieces:
            yield piece
            if not piece.text:
                continue
            said = (said + piece.text)[-TIMES * LONGEST_ROUND - len(piece.text) :]
            if repeats(said):
                yield Piece("", (), REPEATED)
                return
    finally:
        pieces.close()


def repeats(said: str) -> bool:
    """Whether a text ends in the same words TIMES in a row."""
    if len(said) < SHORTEST_LOOP:
        return False
    before = said.rfind(said[-_TAIL:], 0, len(said) - 1)
    if before < 0:
        return False
    size = len(said) - _TAIL - before
    # A short round must come so often that a loop's length is reached.
    length = max(TIMES * size, SHORTEST_LOOP)
    if size > LONGEST_ROUND or length > len(said):
        return False
    looped = said[-length:]
    if not any(map(str.isalnum, looped[-size:])):
        return False  # a rule across a table
    return looped[size:] == looped[:-size]
