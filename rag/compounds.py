"""Words that one writes apart and another together: who asks for an "art board" means "artboard",
too."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice, pairwise

from index.text import Analyzer
from rag.wording import is_word, words

MOST = 32
"""Of a query: each costs a look-up in the library."""

BETWEEN = " -\u00a0\u2010\u2011"
"""What may stand between the parts."""


def together(typed: str) -> str:
    """As one word what was typed as several."""
    return "".join(word.text for word in words(typed))


def compounds(text: str, model: Analyzer, ids: Collection[int]) -> dict[int, tuple[str, set[int]]]:
    """Neighbours in the text, taken as one word: its term id, how the two were typed, and the ids
    of both. Only such whose parts are among `ids`, the terms of the query, and itself is not."""
    asked = set(ids)
    found: dict[int, tuple[str, set[int]]] = {}
    neighbours: dict[tuple[str, str], str] = {}
    for one, other in pairwise(words(text)):
        if not (is_word(one.text) and is_word(other.text)):
            continue
        if one.end < other.start and not text[one.end : other.start].strip(BETWEEN):
            neighbours.setdefault((one.text, other.text), text[one.start : other.end])
    for (one, other), typed in islice(neighbours.items(), 4 * MOST):
        parts = {*model.query(one), *model.query(other)}
        whole = model.query(one + other)
        if len(parts) == 2 and parts <= asked and len(whole) == 1 and whole[0] not in asked:
            found.setdefault(whole[0], (typed, parts))
    return dict(islice(found.items(), MOST))
