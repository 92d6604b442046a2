"""What videos say, as data in a prompt: on lines of its own, between marks that it cannot write.

Whoever makes a video decides what is said and written in it. None of that may end the block it
stands in, begin another one, look like a source's number, or be a control token of some model's
chat format. So marks in it are changed to signs that look alike, and each piece of it is one line
behind a label of ours.
"""

from __future__ import annotations

import re
import unicodedata

OPEN, CLOSE = "<<<", ">>>"
"""Around each source; nowhere else in a prompt do three of these signs follow each other."""

_KEPT = "\u200c\u200d\ufe0f"  # joiners that scripts and emoji need
_LINE_BREAKS = re.compile(r"[ \t]*[\n\r\v\f\x85\u2028\u2029]+\s*")
_SPACES = re.compile(r"[^\S\u3000]+|\u3000")
_RUN = re.compile(r"<{3,}|>{3,}")
_TAG = re.compile(r"<(?=[|/!A-Za-z])|(?<=\|)>")  # <|im_end|>, </s>, <image>, <think>
_ROLE = re.compile(r"\[(/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|IMG)[^\]]*)\]")
_NUMBER = re.compile(r"(?<![\w\])])\[((?:sources?\s*)?\d[\d\s,;–-]*)\]|【([^】]*)】", re.IGNORECASE)


def one_line(text: str) -> str:
    """`text` as data: on one line, with lines of a screen set apart by slashes, without characters
    that are not shown, and without anything that means something to the prompt or to a model's chat
    format. `a[1]` of code stays as it is, a free `[1]` becomes `(1)`."""
    text = unicodedata.normalize("NFC", text)
    text = _LINE_BREAKS.sub(" / ", text.strip())
    text = "".join(c for c in text if _visible(c))
    text = _SPACES.sub(" ", text).strip()
    text = _ROLE.sub(r"(\1)", text)
    text = _NUMBER.sub(lambda found: f"({found[1] or found[2]})", text)
    text = _RUN.sub(lambda found: found[0].replace("<", "‹").replace(">", "›"), text)
    return _TAG.sub(lambda found: "‹" if found[0] == "<" else "›", text)


def _visible(character: str) -> bool:
    if character in _KEPT or character.isspace():
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def block(heading: str, lines: list[str]) -> str:
    """A source: its heading (ours, with titles through `one_line`) and its lines."""
    return "\n".join([f"{OPEN}{heading}", *lines, CLOSE])
