"""How much a streaming session may keep, and where."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

GIB = 1 << 30


class SessionSettings(BaseModel):
    """device_bytes: what keys and values may take on the device, a question's and its answer's
        among them, and frames and words that wait to be read; keys and values are taken at the
        start. host_bytes: of older ones in the host's memory. disk_bytes: of still older ones, in
        a file. What exceeds these is forgotten. folder: where that file goes, which has no name
        and is gone with the process; None: where temporary files do.
    question_tokens: the most of a question and its answer together, and of what stands around them.
    together: frames that the eyes of the model see at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device_bytes: int = Field(2 * GIB, ge=1)
    host_bytes: int = Field(8 * GIB, ge=0)
    disk_bytes: int = Field(32 * GIB, ge=0)
    folder: Path | None = None
    question_tokens: int = Field(1536, ge=32)
    together: int = Field(8, ge=1, le=256)
