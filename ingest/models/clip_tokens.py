"""Texts to token ids as open_clip's tokenizers make them, without torch or transformers.

`longtake models prepare` writes what is needed here into the model's prepared folder: a
tokenizer.json of the tokenizers library, and a few numbers (`TokenRules`).
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

TOKENIZER_FILE = "tokenizer.json"

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What becomes of a text besides what tokenizer.json says.

    context_length: tokens that the text tower takes. clean: what happens to the characters first;
        see `clean_text`. start, end: ids put around the text, pad: behind it; longer texts lose
        their end. cls: a further id at the very end. Where start is None tokenizer.json adds,
        cuts and pads by itself. zeroed: an id that becomes 0.
    short: whether the text tower takes texts without their padding, so that a short query costs
        a fraction of a long one.
    """

    context_length: int
    clean: str
    start: int | None = None
    end: int | None = None
    pad: int = 0
    cls: int | None = None
    zeroed: int | None = None
    short: bool = False

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TokenRules:
        """The reverse of `to_json`."""
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON takes them."""
        return asdict(self)


class ClipTokenizer:
    """Texts to token ids. folder: has a tokenizer.json. Raises OSError where it has none."""

    def __init__(self, folder: Path, rules: TokenRules):
        from tokenizers import Tokenizer

        text = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        self._tokenizer = Tokenizer.from_str(text)
        self._rules = rules

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int64 of shape (len(texts), tokens): the rules' context_length, or just enough
        for the longest of `texts` where the rules say `short`."""
        rules = self._rules
        cleaned = [clean_text(text, rules.clean) for text in texts]
        if rules.start is None:
            encodings = self._tokenizer.encode_batch(cleaned)
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            if rules.zeroed is not None:
                ids[ids == rules.zeroed] = 0
            return ids.reshape(len(cleaned), -1)
        room = rules.context_length - (rules.cls is not None)
        rows = [
            [rules.start, *encoding.ids[: room - 2], rules.end]
            for encoding in self._tokenizer.encode_batch(cleaned, add_special_tokens=False)
        ]
        length = max(map(len, rows), default=0) if rules.short else room
        ids = np.full((len(rows), length), rules.pad, dtype=np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        if rules.cls is not None:
            ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=rules.cls)
        return ids


def clean_text(text: str, how: str) -> str:
    """What open_clip does to the characters before it looks for tokens.

    how: "whitespace" mends broken encodings and HTML entities and makes every run of white space
    one blank; "lower" lowers the case as well; "canonicalize" also takes out ASCII punctuation.
    """
    import ftfy

    text = unescape(unescape(ftfy.fix_text(text)))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION).lower()
        return " ".join(text.split())
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text
