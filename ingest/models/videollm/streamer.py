"""The transformers library's own streamer, with what it leaves out: the tokens' probabilities, why
the answer ended, and errors of the thread that generates. Importing it loads torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from ingest.models.videollm import Piece


class Streamer(TextIteratorStreamer):
    """Hand it to `generate` as `streamer`, and `processors` as `logits_processor`.

    ends: ids of the tokens that end an answer.
    """

    def __init__(self, tokenizer, ends: set[int], *, with_logprobs: bool):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._ends = ends
        self._finish = "length"
        self._spent = 0
        self._row = _LastRow() if with_logprobs else None
        self._logprobs: list[float] = []
        self.processors = LogitsProcessorList([self._row] if self._row else [])

    def put(self, value: torch.Tensor) -> None:
        if not self.next_tokens_are_prompt:
            (token,) = value.flatten().tolist()
            self._spent += 1
            if token in self._ends:
                self._finish = "stop"
            elif self._row is not None:
                self._logprobs.append(float(self._row.logprobs[token]))
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        logprobs, self._logprobs = tuple(self._logprobs), []
        if text or logprobs or stream_end:
            ended = (self._finish, self._spent) if stream_end else (None, None)
            self.text_queue.put(Piece(text, logprobs, *ended))

    def fail(self, error: BaseException) -> None:
        self.text_queue.put(error)

    def pieces(self) -> Iterator[Piece]:
        """Ends with the piece that has `finish` set. Raises what `fail` was given."""
        while True:
            item = self.text_queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if item.finish is not None:
                return


class _LastRow(LogitsProcessor):
    """Looks, changes nothing. logprobs: float32 of shape (vocabulary,), before temperature."""

    logprobs: torch.Tensor

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.logprobs = torch.log_softmax(scores[0].float(), dim=-1)
        return scores


def stopping_when(stopped: threading.Event) -> StoppingCriteriaList:
    return StoppingCriteriaList([_Stopped(stopped)])


class _Stopped(StoppingCriteria):
    def __init__(self, stopped: threading.Event):
        self._stopped = stopped

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_kw) -> torch.Tensor:
        return torch.full((len(input_ids),), self._stopped.is_set(), device=input_ids.device)
