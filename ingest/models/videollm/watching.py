"""A model that has watched a video before it is asked about it: its pictures are read once, into
the memory of a session, and each question looks back at those of its sources.

It is a VideoLLM like any other, for prompts without pictures. Those that say where their sources
lie are answered from the memory, all others by the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ingest.models.videollm import Piece, Prompt
from ingest.models.videollm.session_settings import SessionSettings
from ingest.segment_frames import Media, frame_reader

if TYPE_CHECKING:
    from ingest.models.videollm.session import VideoSession
    from ingest.models.videollm.transformers import TransformersVideoLLM

_BETWEEN = 8
"""Tokens between a prompt's parts, where they become one text."""

_TOGETHER = 16
"""Pictures decoded before they are read."""


class WatchingModel:
    """model: the one that watches. settings: of its memory. Close it: that forgets the video."""

    remote = False

    def __init__(self, model: TransformersVideoLLM, settings: SessionSettings):
        self._model = model
        self._settings = settings
        self._session: VideoSession | None = None

    def watch(
        self,
        media: Media,
        times: Sequence[float],
        side: int,
        *,
        seen: Callable[[float], None] = lambda seconds: None,
    ) -> int:
        """Reads the pictures shown at those times, ascending; returns how many there are. side:
        pixels that they are reduced to. seen: is told how far it has come, and may raise to end it:
        what was read by then is kept.

        Raises MediaError, and what `append_frames` does.
        """
        session = self._memory()
        count = 0
        with frame_reader(media, side) as reader:
            for at in range(0, len(times), _TOGETHER):
                wanted = times[at : at + _TOGETHER]
                last = session.times[-1] if session.times else -1.0
                frames = reader.read(wanted, wanted[0], wanted[-1] + 1.0, snap=False)
                new = [(time, image) for time, image in frames if time > last]
                if new:
                    session.append_frames([image for _, image in new], [time for time, _ in new])
                count += len(new)
                seen(wanted[-1])
        return count

    @property
    def watched(self) -> tuple[float, ...]:
        """The times, in seconds, of the pictures in its memory."""
        return self._session.times if self._session is not None else ()

    def describe(self) -> Mapping[str, Any]:
        return self._model.describe()

    def load(self) -> None:
        self._memory()

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] | None = None,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        asked = {"max_tokens": max_tokens, "temperature": temperature, "stop": stop}
        if not prompt.spans:
            return self._model.generate(prompt, logprobs=logprobs, **asked)
        parts = [prompt.system, *prompt.parts] if prompt.system else prompt.parts
        text = "\n\n".join(part for part in parts if isinstance(part, str))
        return self._memory().ask(text, spans=prompt.spans, logprobs=logprobs, **asked)

    def count_tokens(self, prompt: Prompt) -> int:
        return self._model.count_tokens(prompt)

    def count_text(self, text: str) -> int:
        return self._model.count_text(text)

    @property
    def context_tokens(self) -> int | None:
        """What a session leaves for a question and its answer."""
        return self._settings.question_tokens - _BETWEEN - self._model.session_tokens

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._model.close()

    def _memory(self) -> VideoSession:
        if self._session is None:
            self._session = self._model.session(self._settings)
        return self._session
