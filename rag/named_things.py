"""The things that a question wants seen, by rules: "bottle" of "how many bottles are there?".

What an object detector is asked for where no planner has said. English, which is what detectors
read; a question of another form, or in another language, names nothing.
"""

from __future__ import annotations

import re

from rag.query import parse

MOST_WORDS = 4
"""Of a thing's name."""

_SHAPES = re.compile(
    r"\b(?P<many>how many|(?:count|number of)(?: (?:all|every))?(?: of)?)"
    r"|\bwhere(?:['’]s| (?:is|are|was|were)) (?=(?:the|an?|my|his|her|our|your|their|its|\")\b)"
    r"|\b(?:is|are|was|were) there\b"
    r"|\bwhat colou?rs? (?:is|are|was|were)\b"
    r"|\b(?:see|spot|show|shows|shown|hold|holds|holding|carry|carries|carrying|wear|wears|wearing|"
    r"ride|rides|riding)\b(?: me)?"
    r"|\b(?:(?:left|right|front|top) of|next to|beside|behind|under|above|below)\b",
    re.IGNORECASE,
)
_SOMEBODY = re.compile(
    r"\bwho\b.*\b(?:left|right|top|bottom|middle|cent(?:er|re)|foreground|background|front|behind|"
    r"next to)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\s*([^\W\d_][\w'’-]*|\d+)")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BEFORE = _set(
    "the a an any some of all every each these those this that my his her our your their its other "
    "different more only just exactly at least most than one two three four five six seven eight "
    "nine ten several few many"
)
_BEHIND = _set(
    "is are was were be been do does did can could will would has have had may might must should "
    "in on at of to with by from near behind under over next left right beside between during "
    "after before when while where that which who whose what and or as for into onto across around "
    "along inside outside above below through up down out off there here now then again "
    "he she it they we you i appear appears come comes go goes get gets look looks stand stands "
    "sit sits lie lies parked sitting standing lying hanging hidden kept placed located going "
    "moving shown seen visible called named"
)
_NO_THINGS = _set(
    "time second minute hour day week month year way step point question percent video chapter "
    "word part kind type sort reason example thing number line side anything something nothing "
    "everything difference chance evidence problem answer idea mention"
)
_SINGULAR = {
    "people": "person", "persons": "person", "anybody": "person", "anyone": "person",
    "somebody": "person", "someone": "person", "men": "man", "women": "woman",
    "children": "child", "feet": "foot", "teeth": "tooth", "geese": "goose", "mice": "mouse",
    "knives": "knife", "leaves": "leaf", "shelves": "shelf", "loaves": "loaf", "wolves": "wolf",
    "sheep": "sheep", "fish": "fish", "deer": "deer", "buses": "bus", "shoes": "shoe",
    "horses": "horse", "houses": "house", "vases": "vase", "noses": "nose", "axes": "axe",
    "movies": "movie", "cookies": "cookie", "pies": "pie", "ties": "tie",
}  # fmt: skip


def things_in(question: str) -> tuple[str, ...]:
    """In the order in which it names them, in the singular; each once. Raises UsageError where
    `rag.query.parse` does."""
    text = parse(question).quoted
    found = [_thing(text, shape) for shape in _SHAPES.finditer(text)]
    if _SOMEBODY.search(text):
        found.append("person")
    return tuple(dict.fromkeys(name for name in found if name))


def _thing(text: str, shape: re.Match[str]) -> str:
    """What stands behind the words of that shape; "" for nothing that can be seen."""
    words: list[str] = []
    at = shape.end()
    while match := _WORD.match(text, at):
        word, at = match[1].casefold(), match.end()
        if not words and (word in _BEFORE or word.isdigit()):
            continue
        if word in _BEHIND or len(words) == MOST_WORDS:
            break
        words.append(word)
        if shape["many"] and singular(word) != word:  # "bottles fall": a verb may follow
            break
    quoted = re.match(r'\s*"([^"]+)"', text[at:])
    if not words and quoted:
        words = quoted[1].casefold().split()[:MOST_WORDS]
    if not words:
        return ""
    *first, last = words
    return "" if singular(last) in _NO_THINGS else " ".join([*first, singular(last)])


def singular(word: str) -> str:
    """Of an English noun, by its ending."""
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"),
                            ("shes", "sh"), ("s", "")):  # fmt: skip
        if word.endswith(ending):
            return word[: -len(ending)] + instead
    return word
