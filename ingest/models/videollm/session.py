"""A model on this machine that watches: each frame is read once, as it comes, and what was made of
it is kept between questions (ReKV: Di et al. 2025). Importing it loads torch."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from index.errors import UsageError
from ingest.models.videollm import (
    ContextOverflowError,
    Frame,
    Piece,
    VideoLLMError,
    until_stop,
)
from ingest.models.videollm.session_bounds import Bounds
from ingest.models.videollm.session_frames import checked
from ingest.models.videollm.session_lying import Lying
from ingest.models.videollm.session_masks import causal, windowed
from ingest.models.videollm.session_model import Step, StreamModel
from ingest.models.videollm.session_recall import (
    RECENT_SHARE,
    Block,
    Summaries,
    fill,
    in_spans,
    latest,
    spread,
)
from ingest.models.videollm.session_settings import SessionSettings
from ingest.models.videollm.session_slab import KeyValues
from ingest.models.videollm.session_store import BlockStore
from ingest.models.videollm.streamer import Streamer


class VideoSession:
    """Frames come with `append_frames`, questions with `ask`, from any thread; each waits for the
    other for one step of the model at most.

    A frame looks back at the `window_tokens` before it, and at the prompt's beginning. A question
    looks back at `context_tokens`: frames of the spans that it is given, frames whose keys are
    nearest to what it asks for, and the latest ones. They stand at the places where they were read.
    Only where the stream has outgrown the places that the model knows do they move together, the
    order kept, and frames are read as if the beginning were just before their window.

    model: loaded. ends: tokens that end an answer. lock: held for each step.
    Raises ContextOverflowError where the bounds leave no room.
    """

    def __init__(
        self,
        model: StreamModel,
        ends: set[int],
        lock: threading.Lock,
        settings: SessionSettings | None = None,
    ):
        self._model, self._ends, self._lock = model, ends, lock
        self._settings = settings = settings or SessionSettings()
        before, self._behind = model.surroundings()
        head = self._model.text(before)
        self._head_tokens, self._head_width = head.tokens, head.width
        self._bounds = bounds = Bounds(model, settings, head.tokens)
        self.window_tokens, self.context_tokens = bounds.window_tokens, bounds.context_tokens
        self._stream = model.slab(bounds.stream_tokens)
        self._question = model.slab(bounds.question_tokens)
        self._store = BlockStore(settings.host_bytes, settings.disk_bytes, settings.folder)
        self._summaries = Summaries()
        self._blocks: list[Block] = []
        self._recent: list[Block] = []
        self._next = head.width
        self._moved = False
        self._forgotten = 0
        self._tokens = 0
        self._least = sys.maxsize
        self._asking, self._appending = threading.Lock(), threading.Lock()
        with self._step():
            self._model.read([head], 0, self._stream, causal(0, head.tokens, model.device))

    # What is kept

    @property
    def times(self) -> tuple[float, ...]:
        """Of the frames that are kept, wherever they lie, in seconds."""
        return tuple(block.time_seconds for block in self._blocks)

    @property
    def forgotten(self) -> int:
        """Frames that fell out of all bounds, the oldest."""
        return self._forgotten

    @property
    def device_bytes(self) -> int:
        """That keys and values take on the device, and the most that may wait there to be read;
        never more than the setting."""
        return self._stream.nbytes + self._question.nbytes + self._bounds.waiting_bytes

    @property
    def host_bytes(self) -> int:
        return self._store.host_bytes

    @property
    def disk_bytes(self) -> int:
        return self._store.disk_bytes

    def close(self) -> None:
        """Forgets the stream, and deletes its files."""
        self._store.close()
        self._blocks, self._recent = [], []
        self._stream = self._question = self._model.slab(0)

    def __enter__(self) -> VideoSession:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # Watching

    def append_frames(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> None:
        """Reads frames, once. frames: uint8 of shape (height, width, 3), RGB, upright. times:
        seconds on the video's clock, each later than the one before.

        However the frames of a stream are divided into calls, the same is kept. Raises UsageError
        for frames and times that are not so (nothing is read then), and ContextOverflowError for
        a frame that takes more tokens than fit.
        """
        with self._appending:
            last = self._blocks[-1].time_seconds if self._blocks else -math.inf
            self._watch(checked(frames, times, last))

    def _watch(self, shown: Sequence[Frame]) -> None:
        at = 0
        while at < len(shown):
            together = self._together(shown, at)
            with self._step():
                steps = self._model.blocks(shown[at : at + together])
            self._bounds.check_frame(steps[0].tokens)
            self._read(list(zip(shown[at : at + together], steps, strict=True)))
            at += together

    def _together(self, shown: Sequence[Frame], first: int) -> int:
        """Frames from there on that are seen and then read at once: as many as fit, so that no
        more features wait on the device than are read next."""
        room, at = self._bounds.chunk_tokens, first
        while at < min(len(shown), first + self._settings.together):
            tokens = self._model.frame_tokens(shown[at])
            if tokens is None or tokens > room:
                break
            room, at = room - tokens, at + 1
        return max(at - first, 1)

    def _read(self, waiting: Sequence[tuple[Frame, Step]]) -> None:
        with self._step():
            self._stay_in_range(sum(step.width for _, step in waiting))
            before = self._stream.length
            blocks = self._recent[:]
            place = self._next
            for frame, step in waiting:
                number = self._forgotten + len(self._blocks) + len(blocks) - len(self._recent)
                blocks.append(Block(number, frame.time_seconds, step.tokens, place, step.width))
                place += step.width
            new = blocks[len(self._recent) :]
            mask = windowed(blocks, len(new), self._head_tokens, self.window_tokens)
            steps = [step for _, step in waiting]
            try:
                self._model.read(steps, self._next, self._stream, mask.to(self._model.device))
            except BaseException:
                self._stream.cut(before)
                raise
            at = before
            for block, step in zip(new, steps, strict=True):
                keys = self._stream.read(at, at + block.tokens).keys
                self._summaries.add(self._model.unturned_mean(keys, step.places + block.start))
                at += block.tokens
            self._blocks += new
            self._recent = blocks
            self._tokens += at - before
            self._least = min(self._least, *(block.tokens for block in new))
            self._next = place
            self._leave()

    def _leave(self) -> None:
        """Moves what the next frame does not look back at off the device."""
        stay = latest(self._recent, self.window_tokens)
        gone = self._recent[: len(self._recent) - len(stay)]
        at = self._head_tokens
        forgotten: list[int] = []
        for block in gone:
            forgotten += self._store.put(block.number, self._stream.read(at, at + block.tokens))
            at += block.tokens
        self._stream.drop(self._head_tokens, at)
        self._recent = stay
        if forgotten:
            self._forgotten += len(forgotten)
            self._tokens -= sum(block.tokens for block in self._blocks[: len(forgotten)])
            self._blocks = self._blocks[len(forgotten) :]
            self._summaries.forget(self._forgotten)

    def _stay_in_range(self, width: int) -> None:
        """Moves the window down to the beginning where the model knows no further places."""
        limit = self._model.context_tokens
        if limit is None or self._next + width + self._settings.question_tokens <= limit:
            return
        first = self._recent[0].start if self._recent else self._next
        by = first - self._head_width
        whole = self._stream.read(self._head_tokens, self._stream.length).keys
        for layer in whole:  # one at a time, for the copy's sake
            layer.copy_(self._model.turned(layer, -by))
        for block in self._recent:
            block.start -= by
        self._next -= by
        self._moved = True

    # Asking

    def ask(
        self,
        question: str,
        *,
        spans: Sequence[tuple[float, float]] = (),
        similar: bool = True,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] | None = None,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        """Streams the answer from the stream as it is when the first piece is taken; closing the
        iterator stops the model. The stream's memory stays as it is.

        spans: [start, end) in seconds, whose frames are to be looked back at first. similar:
        whether frames whose keys are near to the question are. The latest frames always are.
        Raises UsageError for a question without a word, ContextOverflowError where it and
        `max_tokens` exceed `question_tokens`, VideoLLMError while another answer is given.
        """
        if not any(map(str.isalnum, question)):
            raise UsageError("Ask what?")
        pieces = self._answer(question, tuple(spans), similar, max_tokens, temperature, logprobs)
        return until_stop(pieces, stop) if stop else pieces

    def _answer(
        self,
        question: str,
        spans: tuple[tuple[float, float], ...],
        similar: bool,
        max_tokens: int,
        temperature: float,
        logprobs: bool,
    ) -> Iterator[Piece]:
        if not self._asking.acquire(blocking=False):
            raise VideoLLMError("This session is still giving an answer; close that one first.")
        try:
            streamer = Streamer(self._model.tokenizer, self._ends, with_logprobs=logprobs)
            streamer.put(torch.zeros(1, 0))  # what it takes for the prompt
            with self._step():
                chosen = self._choose(question, spans, similar, max_tokens)
                hidden, place = self._read_question(question, chosen, max_tokens)
                logits = self._model.logits(hidden[-1])
            for given in range(max_tokens):
                for processor in streamer.processors:
                    processor(None, logits[None])
                token = _pick(logits, temperature)
                streamer.put(torch.tensor([token]))
                ended = token in self._ends
                if ended or given + 1 == max_tokens:
                    streamer.end()
                while not streamer.text_queue.empty():
                    yield streamer.text_queue.get()
                if ended or given + 1 == max_tokens:
                    return
                with self._step():
                    step = self._model.token_step([token])
                    hidden = self._append(step, place)
                    logits = self._model.logits(hidden[-1])
                place += step.width
        finally:
            self._question.cut(0)
            self._asking.release()

    def _choose(
        self,
        question: str,
        spans: Sequence[tuple[float, float]],
        similar: bool,
        max_tokens: int,
    ) -> list[Block]:
        """In the order of time."""
        blocks, room, least = self._blocks, self.context_tokens, self._least
        if self._tokens <= room:
            return blocks[:]
        chosen = {block.number: block for block in latest(blocks, int(room * RECENT_SHARE))}
        room -= sum(block.tokens for block in chosen.values())
        if spans:
            found = [b for b in in_spans(blocks, spans) if b.number not in chosen]
            room = fill(chosen, spread(found, room), room)
        if similar and room >= least:
            recent = latest(blocks, int(self.context_tokens * RECENT_SHARE))
            with self._model.listening() as heard:
                self._read_question(question, recent, max_tokens)
            first, last = self._words
            near = self._summaries.nearness([each[first:last] for each in heard])
            best = near.topk(min(len(blocks), len(chosen) + room // least)).indices
            room = fill(chosen, (blocks[at] for at in best.tolist()), room, least)
        fill(chosen, reversed(blocks), room, least)
        return [chosen[number] for number in sorted(chosen)]

    def _read_question(
        self, question: str, chosen: Sequence[Block], max_tokens: int
    ) -> tuple[torch.Tensor, int]:
        """What the last layer has of it, and the place behind it."""
        times = [block.time_seconds for block in chosen]
        step, *self._words = self._model.asked(self._behind, question, times)
        limit = self._settings.question_tokens
        if step.tokens + max_tokens > limit:
            raise ContextOverflowError(
                f"The question takes {step.tokens} tokens with what stands around it and the "
                f"answer {max_tokens}; a session leaves {limit} for both. Raise question_tokens, "
                "or lower max_tokens."
            )
        place = self._gather(chosen)
        return self._append(step, place), place + step.width

    def _gather(self, chosen: Sequence[Block]) -> int:
        """Copies the beginning and the chosen blocks to where the question reads; returns the place
        of what comes next."""
        lying = Lying(self._stream, self._head_tokens, self._recent, self._store)
        self._question.cut(0)
        self._question.write([self._stream.read(0, self._head_tokens)])
        if not self._moved:
            self._question.write(lying.in_pieces(chosen))
            return self._next
        place = self._head_width
        for block, kept in zip(chosen, lying.one_by_one(chosen), strict=True):
            keys = kept.keys.to(self._model.device)
            turned = self._model.turned(keys, place - block.start)
            self._question.write([KeyValues(turned, kept.values)])
            place += block.width
        return place

    def _append(self, step: Step, place: int) -> torch.Tensor:
        mask = causal(self._question.length, step.tokens, self._model.device)
        return self._model.read([step], place, self._question, mask)

    def _step(self) -> _Locked:
        return _Locked(self._lock)


class _Locked:
    """The lock, and torch's inference mode, for one step."""

    def __init__(self, lock: threading.Lock):
        self._lock, self._mode = lock, torch.inference_mode()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._mode.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._mode.__exit__(kind, error, trace)
        self._lock.release()
        if isinstance(error, torch.OutOfMemoryError):
            raise ContextOverflowError(
                "The device has no memory for this beside what the session keeps there. Lower "
                "device_bytes, or give smaller frames."
            ) from error


def _pick(logits: torch.Tensor, temperature: float) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1))
