"""How much of a model's context a prompt takes: counted by the model's own processor where it runs
here, estimated on the safe side where it runs on a server."""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np

from ingest.models.videollm import Frame, Prompt, VideoLLM
from ingest.models.videollm.picture_tokens import picture_tokens

_PIECES = re.compile(r"[A-Za-z]+|\d|[^\S\n]+|\n+|.", re.DOTALL)
_LETTERS_A_TOKEN = 4
_TEMPLATE = 24
"""Tokens that a chat format puts around two messages."""

_LABEL = "Frame at 12345.6 seconds:"


class TokenCount(Protocol):
    """Counts are never below what the model will count, as far as that can be known."""

    def text(self, text: str) -> int: ...

    def picture(self, height: int, width: int) -> int:
        """The most that one picture of that size adds, its time included."""
        ...

    def prompt(self, prompt: Prompt) -> int:
        """All of it, with what the chat format adds."""
        ...

    def context(self) -> int | None:
        """What the model takes, answer included; None where that is not known."""
        ...


class ServerTokens:
    """For a model whose tokens are not known here. model: as the server calls it. picture: what one
    counts; None goes by the model's name."""

    def __init__(self, model: str, picture: int | None = None):
        self._model = model
        self._picture = picture

    def text(self, text: str) -> int:
        """Four letters of Latin script to a token and at least one a word, one a digit, a sign and
        a character of another script, and more for those beyond the common planes. Vocabularies of
        100,000 pieces and more need less."""
        count = 0
        for piece in _PIECES.findall(text):
            first = piece[0]
            if first.isascii():
                if first.isalpha():
                    count += -(-len(piece) // _LETTERS_A_TOKEN)
                elif first.isspace():
                    count += first == "\n" or len(piece) > 1
                else:
                    count += 1
            else:
                count += 1 if first < "\u2000" or "\u3000" <= first < "\ud800" else 3
        return count

    def picture(self, height: int, width: int) -> int:
        own = self._picture or picture_tokens(self._model, height, width)
        return own + self.text(_LABEL) + 2

    def prompt(self, prompt: Prompt) -> int:
        parts = [prompt.system or "", *prompt.parts]
        return _TEMPLATE + sum(
            self.text(part) if isinstance(part, str) else self.picture(*part.image.shape[:2])
            for part in parts
        )

    def context(self) -> int | None:
        return None


class ModelTokens:
    """Of a model that runs here (one that has `count_tokens`, `count_text` and `context_tokens`).
    Loads it."""

    def __init__(self, model: VideoLLM):
        self._model = model
        self._pictures: dict[tuple[int, int], int] = {}

    def text(self, text: str) -> int:
        return self._model.count_text(text)

    def picture(self, height: int, width: int) -> int:
        known = self._pictures.get((height, width))
        if known is None:
            blank = Frame(12345.6, np.zeros((height, width, 3), np.uint8))
            without = self._model.count_tokens(Prompt(("a", "b")))
            known = self._model.count_tokens(Prompt(("a", blank, "b"))) - without
            self._pictures[height, width] = known
        return known

    def prompt(self, prompt: Prompt) -> int:
        return self._model.count_tokens(prompt)

    def context(self) -> int | None:
        return self._model.context_tokens
