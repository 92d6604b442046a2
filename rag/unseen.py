"""Whether a model says that what it was shown holds no answer, and how sure it was of its words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from ingest.models.videollm import Piece

MARKER = "NOT IN THESE VIDEOS"
"""What the instructions tell a model to say then."""

_LETTERS = re.compile(r"[^A-Z]+")
_SAYS_SO = re.compile(
    r"\b(?:not|n['’]t|no) (?:[a-z]+ ){0,3}(?:mentioned|shown|specified|stated|provided|included|"
    r"described|discussed|covered|given|visible|in these videos|in the (?:sources|videos?))\b"
    r"|\b(?:do|does|did) ?n[o'’]t (?:[a-z]+ )?(?:contain|mention|say|show|provide|specify|state|"
    r"include|answer|describe|discuss|cover|see|find)\b"
    r"|\b(?:can ?not|can['’]t|could ?n[o'’]t) (?:[a-z]+ )?(?:see|find|tell|determine|answer|be "
    r"(?:determined|answered|found|seen))\b",
    re.IGNORECASE,
)
_SHORT = 240
"""Characters of an answer that does nothing but say so."""


def may_become_marker(text: str) -> bool:
    """Whether an answer that begins so may yet be nothing but the marker."""
    letters = _LETTERS.sub("", text.upper())
    wanted = _LETTERS.sub("", MARKER)
    return wanted.startswith(letters)


def is_marker(text: str) -> bool:
    """Whether an answer begins with the marker."""
    return _LETTERS.sub("", text.upper()).startswith(_LETTERS.sub("", MARKER))


def says_unseen(text: str, *, cites: bool) -> bool:
    """Whether a whole answer does nothing but say that the answer is not there: the marker, or in
    English words of its own, briefly and without a citation."""
    if is_marker(text):
        return True
    return not cites and len(text) <= _SHORT and _SAYS_SO.search(text) is not None


def lowest_probability(pieces: Iterable[Piece]) -> float | None:
    """Of the tokens of the answer that hold a letter or digit; None where the model told none."""
    told: list[float] = []
    waiting: list[float] = []  # of tokens whose text is yet to come
    for piece in pieces:
        waiting += piece.logprobs
        if piece.text:
            if any(map(str.isalnum, piece.text)):
                told += waiting
            waiting = []
    return math.exp(min(*told, 0.0)) if told else None


def without_thoughts(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """An answer without the <think>...</think> that some models begin with."""
    opened, closed = "<think>", "</think>"
    held, logprobs = "", ()
    state = "start"  # then "thoughts" and "space" behind them, or at once "answer"
    try:
        for piece in pieces:
            if state == "answer":
                yield piece
                continue
            held += piece.text
            logprobs += piece.logprobs
            begin = held.lstrip()
            if state == "start" and begin.startswith(opened):
                state = "thoughts"
            elif state == "start" and not opened.startswith(begin):
                state = "answer"
            if state == "thoughts" and closed in held:
                held = held.partition(closed)[2]
                logprobs = piece.logprobs
                state = "space"
            if state == "space":
                held = held.lstrip()
                state = "answer" if held else state
            if state == "answer":
                yield Piece(held, logprobs, piece.finish, piece.spent)
                held = ""
            elif piece.finish is not None:
                started = state == "start"
                text, known = (held, logprobs) if started else ("", ())
                yield Piece(text, known, piece.finish, piece.spent)
                held = ""
        if held and state == "start":  # it broke off
            yield Piece(held)
    finally:
        pieces.close()
