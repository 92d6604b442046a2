"""The defaults of running commentaries."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class NarrateSettings(BaseModel):
    """every_seconds: of stream time between two remarks, at least. memory_seconds: what was there
    within that time is not new. alike: 0..1, how alike words must be to what was there to be the
    same. steady_seconds: words count once they have been there so long, or have ended.
    frames: the latest that a model is shown. remarks: its own that it is told of. max_tokens: of a
    remark. prompt: a file with the instructions; None for the packaged one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_seconds: float = Field(5.0, ge=0)
    memory_seconds: float = Field(600.0, gt=0)
    alike: float = Field(0.8, gt=0, le=1)
    steady_seconds: float = Field(1.0, ge=0)
    frames: int = Field(4, ge=0, le=64)
    remarks: int = Field(8, ge=0, le=100)
    max_tokens: int = Field(80, ge=8)
    prompt: Path | None = None
