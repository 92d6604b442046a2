"""How many tokens of a stream fit on the device. Importing it loads torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ingest.models.videollm import ContextOverflowError
from ingest.models.videollm.session_model import StreamModel
from ingest.models.videollm.session_settings import SessionSettings

_CHUNK = 0.25
"""Of a window: what is read at once."""


@dataclass
class Bounds:
    """model: as it is loaded. head: tokens before the stream.

    window_tokens: that a frame looks back at. context_tokens: that a question looks back at.
    chunk_tokens: of frames that are read at once. waiting_bytes: the most that steps take on the
    device, of frames that were seen and are to be read, and of a question. Keys and values of the
    stream lie in a slab of `stream_tokens`, those of a question in one of `question_tokens`.

    Raises ContextOverflowError where that leaves no room.
    """

    model: StreamModel
    settings: SessionSettings
    head: int
    window_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        settings, model = self.settings, self.model
        fixed = (settings.question_tokens + 2 * self.head) * model.token_bytes
        fixed += settings.question_tokens * model.step_bytes
        # A window of the stream, beside what is read, and two that a question looks back at.
        each = (3 + _CHUNK) * model.token_bytes + _CHUNK * model.step_bytes
        window = int((settings.device_bytes - fixed) / each)
        if model.context_tokens is not None:
            places = model.context_tokens - settings.question_tokens - self.head
            window = min(window, places // 2)
        if window < 4:
            raise ContextOverflowError(
                f"{settings.device_bytes} bytes on the device leave no room for a stream: a "
                f"question alone takes {fixed + math.ceil(64 * each)}, at {model.token_bytes} a "
                f"token, and the model takes {model.context_tokens} tokens. Raise device_bytes, "
                "or lower question_tokens."
            )
        self.window_tokens = window

    @property
    def context_tokens(self) -> int:
        return 2 * self.window_tokens

    @property
    def chunk_tokens(self) -> int:
        return int(self.window_tokens * _CHUNK)

    @property
    def stream_tokens(self) -> int:
        return self.head + self.window_tokens + self.chunk_tokens

    @property
    def question_tokens(self) -> int:
        return self.head + self.context_tokens + self.settings.question_tokens

    @property
    def waiting_bytes(self) -> int:
        return (self.chunk_tokens + self.settings.question_tokens) * self.model.step_bytes

    def check_frame(self, tokens: int) -> None:
        """Raises ContextOverflowError where a frame of so many cannot be read."""
        if tokens > self.chunk_tokens:
            raise ContextOverflowError(
                f"A frame takes {tokens} tokens, and what may lie on the device leaves "
                f"{self.chunk_tokens} to be read at once. Raise device_bytes, or give smaller "
                "frames."
            )
