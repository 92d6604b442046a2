"""Questions that ask for an order in time: after the demo of layers, what does he say about masks?

Rules take such a question apart into what is looked for and an anchor that it lies after or before.
They know English, and leave alone what only looks like it: "after all", "before-and-after
pictures", "how do I close the window after saving".
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Literal

Relation = Literal["after", "before", "then"]


@dataclass(frozen=True, slots=True)
class Order:
    """target: what is looked for; "" for whatever happens there. It lies after or before the
    anchor; "then": after it, and both together are what is looked for."""

    target: str
    relation: Relation
    anchor: str


_NO_ORDER = re.compile(
    r"\b(?:after all|before long|(?:the )?(?:day|morning|night|week|year) after|ever after|"
    r"day before yesterday|before[\s/-]*(?:and|or|&|/|vs\.?)?[\s/-]*after|"
    r"after[\s/-]*(?:and|or|&|/|vs\.?)?[\s/-]*before|after effects?|(?:look|named?|take|go|"
    r"(?<!what )(?<!what else )come|sought|ask|call)(?:s|ing|ed|es)? after|"
    r"(?:one|time|day|year) after (?:the other|another|time|day|year)|"
    r"now and then|then and now|(?:un)?til then|since then|by then|back then|even then|"
    r"than|as before|like before|never before|ever before|before us)\b|\w-(?:after|before|then)\b|"
    r"\b(?:after|before|then)-\w",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\b(?:I|me|my|mine|you|your|yours|our|us|we(?! (?:see|hear)))\b", re.IGNORECASE
)
"""Whoever asks wants to do something after something, not to be shown what comes after it."""
_ADVICE = re.compile(
    r"(?:how (?:to|can|could|would|should|many|much|long|often)|why|if|can|could|should|would|"
    r"will)\b|(?:is|are|was|were|has|have|do|does|did)\b"
    r"(?! (?:he|she|they|the|some(?:one|body))\b)",
    re.IGNORECASE,
)
_NEARLY = "(?:(?:right|just|shortly|immediately|directly|soon|straight|a (?:bit|little|while)) )"
_WH = "what|who|whom|whose|where|when|which|how|does|do|did|is|are|was|were"
_THE = r"(?:the|an?|his|her|their|its|this|that|these|those|he|she|they|it|\w+ing|[\"“])"

_LEADING = re.compile(
    rf"(?:and |so |but |then )?{_NEARLY}?(?P<relation>after|before) (?P<anchor>.+?)"
    rf"(?:, ?(?:then )?|,? (?=(?:{_WH})\b))(?P<target>.+)",
    re.IGNORECASE,
)
_WHATEVER = (
    "what(?:(?: else)? (?:happens|happened|comes|came|follows|followed|goes on|went on)|"
    "(?:['’]s| is| was) (?:shown|seen|said|done)| (?:do|does|did) (?:we|\\w+|the \\w+) "
    "(?:do|say|show|explain|see|hear))(?: next| then)?"
)
_OPEN = re.compile(
    rf"{_WHATEVER},? {_NEARLY}?(?P<relation>after|before) (?P<anchor>.+)", re.IGNORECASE
)
_OPEN_TARGET = re.compile(_WHATEVER, re.IGNORECASE)
_TRAILING = re.compile(
    rf"(?P<target>(?:{_WH})\b.+?),? {_NEARLY}?(?P<relation>after|before) (?P<anchor>{_THE}\b.*)",
    re.IGNORECASE,
)
_NEAR = re.compile(
    rf"(?P<target>.+?),? {_NEARLY}(?P<relation>after|before) (?P<anchor>.+)", re.IGNORECASE
)
_THEN = re.compile(
    r"(?P<anchor>.+?)(?:(?:[,;]| and|, and)(?P<relation> then)|, followed by| followed by|"
    r"(?P<bare> then)) (?P<target>.+)",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"(?:the|an?|one|two|three|some|several|many|all|both|he|she|they|it|this|that|these|those|his|"
    r"her|their) .*|he|she|they|it|.* (?:is|are|was|were|has|have|can|will)",
    re.IGNORECASE,
)
_VERB = re.compile(r"\w+(?:s|ed|en)\b", re.IGNORECASE)
_NO_ANCHOR = re.compile(
    r"(?:that|this|it|them|which|then|all|the|an?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
)
"""Words that no anchor is made of, as numbers are not; a time in the video is a filter's matter."""

_QUOTED = re.compile(r'"[^"]+"|“[^”]+”|„[^“”]+[“”]|«[^»]+»')
_NUMBERED = re.compile(r'"(\d+)"')

_LONGEST = 500
"""Characters of a question; longer text is no question."""


def split_order(text: str) -> Order | None:
    """None for text that asks for no order, or where that is not sure."""
    text = " ".join(text.split()).rstrip("?!. ")
    quoted = [match[0] for match in _QUOTED.finditer(text)]
    numbers = itertools.count()
    text = _QUOTED.sub(lambda _: f'"{next(numbers)}"', text)  # in quotes nothing is a rule's word
    if (
        len(text) > _LONGEST
        or _NO_ORDER.search(text)
        or _PERSON.search(text)
        or _ADVICE.match(text)
    ):
        return None
    question = re.match(rf"(?:{_WH})\b", text, re.IGNORECASE) is not None
    for pattern in (_OPEN, _LEADING, _TRAILING, _NEAR, *(() if question else (_THEN,))):
        match = pattern.fullmatch(text)
        if match is None:
            continue
        parts = match.groupdict()
        target, anchor = (
            _NUMBERED.sub(lambda number: quoted[int(number[1])], parts.get(name, "").strip(" ,;"))
            for name in ("target", "anchor")
        )
        if _OPEN_TARGET.fullmatch(target):
            target = ""
        named = re.findall(r"[^\W\d]+", anchor.casefold())
        if all(map(_NO_ANCHOR.fullmatch, named)) or (
            parts.get("bare") and _one_clause(anchor, target)
        ):
            return None
        if pattern is _THEN:
            return Order(target, "then", anchor)
        return Order(target, "before" if parts["relation"].lower() == "before" else "after", anchor)
    return None


def _one_clause(anchor: str, target: str) -> bool:
    """What stands before is no event, but who does it: the woman then sits down."""
    few = len(anchor.split()) <= 4
    return few and bool(_SUBJECT.fullmatch(anchor) or _VERB.match(target))
