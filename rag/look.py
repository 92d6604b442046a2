"""A second look at the best results by a Video-LLM: is what is looked for in these pictures?

The answer is one word; the probability of its first token, where the server tells it, is the score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from index.errors import ConfigError, MediaError
from ingest.models.videollm import Frame, Piece, Prompt, VideoLLM, VideoLLMError
from rag.rerank import Candidate
from rag.settings import LookSettings

if TYPE_CHECKING:
    from ingest.segment_frames import Media

PLACES = ("{frames}", "{text}", "{question}")
"""Stand in the instructions where these go."""

SURE = 0.9
"""How sure a model is taken to be that does not say it."""

_MAX_TOKENS = 8
_YES_OR_NO = re.compile(r"[\s\"'*]*(yes|no)\b", re.IGNORECASE)


class Onlooker:
    """A `Reranker` that looks at pictures of each result.

    path_of: where a video's file lies; None where it is not known. instructions: with PLACES in
    them, else ConfigError is raised.
    """

    def __init__(
        self,
        name: str,
        model: VideoLLM,
        instructions: str,
        path_of: Callable[[str], Media | None],
        settings: LookSettings,
    ):
        lacking = [place for place in PLACES if place not in instructions]
        if lacking:
            raise ConfigError(f"The instructions for looking at results lack {lacking[0]}.")
        self.name = name
        self.depth = settings.depth
        self._model = model
        self._instructions = instructions
        self._path_of = path_of
        self._settings = settings

    def scores(self, query: str, candidates: Sequence[Candidate]) -> Sequence[float | None]:
        """Raises VideoLLMError where the model answers for none of them."""
        prompts = [
            self._prompt(query, candidate, frames) if frames else None
            for candidate, frames in zip(candidates, self._frames(candidates), strict=True)
        ]
        answers = self._ask([prompt for prompt in prompts if prompt is not None])
        errors = [answer for answer in answers if isinstance(answer, VideoLLMError)]
        if errors and len(errors) == len(answers):
            raise errors[-1]
        told = iter(None if isinstance(one, VideoLLMError) else one for one in answers)
        return [None if prompt is None else next(told) for prompt in prompts]

    def _frames(self, candidates: Sequence[Candidate]) -> list[list[Frame]]:
        """Of each candidate; none where its file cannot be read."""
        from ingest.segment_frames import frames_of

        settings = self._settings
        found: list[list[Frame]] = [[] for _ in candidates]
        of: dict[str, list[int]] = {}
        for at, candidate in enumerate(candidates):
            of.setdefault(candidate.video_id, []).append(at)
        for video_id, places in of.items():
            path = self._path_of(video_id)
            if path is None:
                continue
            spans = [(candidates[at].start_seconds, candidates[at].end_seconds) for at in places]
            try:
                for index, images in frames_of(path, spans, settings.frames, settings.picture_side):
                    found[places[index]] = [Frame(time, image) for time, image in images]
            except MediaError:
                continue  # its results keep the scores they have
        return found

    def _prompt(self, query: str, candidate: Candidate, frames: Sequence[Frame]) -> Prompt:
        before, _, after = self._instructions.partition("{frames}")
        text = candidate.text[: self._settings.text_characters] or "nothing"

        def filled(part: str) -> str:
            # What a video says may hold a place's name, so it comes last.
            return part.replace("{question}", query).replace("{text}", text)

        return Prompt((filled(before), *frames, filled(after)))

    def _ask(self, prompts: Sequence[Prompt]) -> list[float | VideoLLMError | None]:
        if not self._model.remote:
            return [self._answer(prompt) for prompt in prompts]
        from ingest.models.videollm.inflight import in_order

        limit = self._settings.concurrency
        # None comes where nothing else does, so an answer, which may be None, is wrapped.
        asked = in_order(lambda p: (self._answer(p),), (one for one in prompts), limit)
        return [answer[0] for answer in asked if answer is not None]

    def _answer(self, prompt: Prompt) -> float | VideoLLMError | None:
        try:
            pieces = list(self._model.generate(prompt, max_tokens=_MAX_TOKENS, logprobs=True))
        except VideoLLMError as error:
            return error
        return yes(pieces)


def yes(pieces: Sequence[Piece]) -> float | None:
    """The probability of "yes" in an answer that begins with it or with "no"; None for another."""
    said = _YES_OR_NO.match("".join(piece.text for piece in pieces))
    if said is None:
        return None
    first = next((piece for piece in pieces if piece.text.strip()), None)
    sure = math.exp(min(first.logprobs[0], 0.0)) if first and first.logprobs else SURE
    return sure if said[1].casefold() == "yes" else 1.0 - sure
