"""Titles out of the words themselves: what is said often in one chapter and seldom in the others.

Candidates are runs of up to three words without a stop word between them (as in RAKE: Rose et al.
2010, "Automatic Keyword Extraction from Individual Documents"); each weighs what its words weigh in
this chapter (tf-idf, a chapter being the document) and how often it is said as a whole.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from index.text import analyzer

LONGEST = 3
"""Words of a phrase."""

PHRASES = 2
"""In a title."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:\.\d+)?|[.,;:!?…()\"“”]")


def titles(chapters: Sequence[str], analyzer_name: str) -> list[str]:
    """One for each chapter's text, in its language; "" where it holds no word of its own."""
    model = analyzer(analyzer_name)
    known: dict[str, frozenset[int]] = {}

    def terms(word: str) -> frozenset[int]:
        if word not in known:
            known[word] = frozenset(model.tokens(word)) if len(word) > 1 else frozenset()
        return known[word]

    said: list[Counter[tuple[str, ...]]] = []
    words: list[Counter[frozenset[int]]] = []
    shown: list[dict[tuple[str, ...], Counter[str]]] = []
    for text in chapters:
        phrases: Counter[tuple[str, ...]] = Counter()
        single: Counter[frozenset[int]] = Counter()
        forms: dict[tuple[str, ...], Counter[str]] = {}
        for run in _runs(text, terms):
            single.update(terms(word) for word in run)
            for first in range(len(run)):
                for last in range(first + 1, min(first + LONGEST, len(run)) + 1):
                    phrase = run[first:last]
                    key = tuple(word.casefold() for word in phrase)
                    phrases[key] += 1
                    forms.setdefault(key, Counter())[" ".join(phrase)] += 1
        said.append(phrases)
        words.append(single)
        shown.append(forms)
    holding = Counter(term for single in words for term in single)
    found = []
    for phrases, single, forms in zip(said, words, shown, strict=True):
        weights = {
            term: (1 + math.log(times)) * math.log(1 + len(chapters) / holding[term])
            for term, times in single.items()
        }
        found.append(_title(phrases, weights, forms, terms))
    return found


def _runs(text: str, terms) -> list[list[str]]:
    """Words that follow each other without a stop word or a mark between them."""
    runs: list[list[str]] = [[]]
    for word in _WORD.findall(text):
        if terms(word) and any(map(str.isalpha, word)):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _title(phrases, weights, forms, terms) -> str:
    def score(phrase: tuple[str, ...]) -> float:
        own = [weights.get(terms(word), 0.0) for word in phrase]
        # A phrase that is said once may be chance; a longer one tells more, but not as its length.
        return sum(own) / math.sqrt(len(own)) * math.log(1 + phrases[phrase])

    taken: set[frozenset[int]] = set()
    best: list[str] = []
    for phrase in sorted(phrases, key=lambda one: (-score(one), one)):
        own = {terms(word) for word in phrase}
        if own & taken or len(own) < len(phrase):
            continue
        best.append(forms[phrase].most_common(1)[0][0])
        taken |= own
        if len(best) == PHRASES:
            break
    title = ", ".join(best)
    return title[:1].upper() + title[1:]
