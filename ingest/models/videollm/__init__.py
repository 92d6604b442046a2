"""Video-LLMs: what is asked of one, whichever way it is reached.

`ingest.models.videollm.openai` asks a server, `ingest.models.videollm.transformers` runs the model
here. Captions use them at ingest, answers at query time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from index.errors import LongtakeError


class VideoLLMError(LongtakeError):
    """The model gave no (whole) answer this time; another request may succeed.

    mid_stream: it broke off after it had begun, so the client did not try again.
    """

    def __init__(self, message: str, *, mid_stream: bool = False):
        super().__init__(message)
        self.mid_stream = mid_stream


class VideoLLMRefusedError(VideoLLMError):
    """Every request like this one will be refused: the key, the model's name, no eyes."""


class VideoLLMUnreachableError(VideoLLMError):
    """Nobody answers at that address."""


class ContextOverflowError(VideoLLMError):
    """The prompt is longer than the model takes; a shorter one may succeed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of the video. image: uint8 of shape (height, width, 3), RGB, upright.
    time_seconds: when it is shown, on the video's clock."""

    time_seconds: float
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked, in the order it is to read it: text and frames. Frames that follow
    each other are taken for one stretch of video.

    system: instructions, apart from what the video says. spans: where its sources lie, as [start,
    end) in seconds, for a model that has watched the video.
    """

    parts: tuple[str | Frame, ...]
    system: str | None = None
    spans: tuple[tuple[float, float], ...] = ()

    @property
    def frames(self) -> tuple[Frame, ...]:
        return tuple(part for part in self.parts if isinstance(part, Frame))


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the answer. logprobs: natural logarithms of its tokens' probabilities, where the
    model gives them and they were asked for. finish: on the last piece, "stop" (it had said all),
    "length" (`max_tokens` were spent) or what else the server calls it. spent: there too, the
    tokens of the whole answer as the model counts them, thoughts and the one that ends it
    included; None where it does not say."""

    text: str
    logprobs: tuple[float, ...] = ()
    finish: str | None = None
    spent: int | None = None


class VideoLLM(Protocol):
    """A model that looks at frames and answers in words. Loads nothing until `load` or the first
    question. remote: it computes elsewhere, so several questions may be asked at once; one that is
    not is a `LocalVideoLLM`."""

    remote: bool

    def describe(self) -> Mapping[str, Any]:
        """What shapes its answers, as JSON-like values. Loads nothing."""
        ...

    def load(self) -> None:
        """Raises ModelMissingError where the package or the weights are missing."""
        ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] | None = None,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        """Streams the answer. Closing the iterator stops the model.

        Raises VideoLLMError and its subclasses, after the pieces that came before.
        """
        ...

    def close(self) -> None:
        """Gives back memory and connections. It may be used again."""
        ...


class LocalVideoLLM(VideoLLM, Protocol):
    """One that computes here, for which several prompts in one go are cheaper."""

    def generate_batch(self, prompts: Sequence[Prompt], *, max_tokens: int = 512) -> list[Piece]:
        """The whole answers, the likeliest token at each step, in the prompts' order."""
        ...


def answer_text(pieces: Iterable[Piece]) -> str:
    """The whole answer, without white space around it."""
    return "".join(piece.text for piece in pieces).strip()


def until_stop(pieces: Iterator[Piece], stop: Sequence[str]) -> Iterator[Piece]:
    """`pieces` up to the string that is complete first (of several, the longest), wherever they are
    split; what may be the beginning of one is held back."""
    held, logprobs = "", ()
    longest = max(map(len, stop), default=0)
    for piece in pieces:
        held, logprobs = held + piece.text, logprobs + piece.logprobs
        ends = [(at + len(word), at) for word in stop if (at := held.find(word)) >= 0]
        if ends:
            yield Piece(held[: min(ends)[1]], logprobs, "stop")
            return
        keep = next(
            (n for n in range(min(longest - 1, len(held)), 0, -1) if _begins(held[-n:], stop)), 0
        )
        if piece.finish is not None:
            keep = 0
        text, held = held[: len(held) - keep], held[len(held) - keep :]
        if text or piece.finish is not None:
            yield Piece(text, logprobs, piece.finish, piece.spent)
            logprobs = ()
    if held or logprobs:
        yield Piece(held, logprobs)


def _begins(text: str, stop: Sequence[str]) -> bool:
    return any(word.startswith(text) for word in stop)
