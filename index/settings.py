"""Settings of the stores, with their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MEBIBYTE = 1024 * 1024


def folder_given(given: Any) -> Any:
    """A validator of paths: `~` is the user's home wherever the path comes from; an empty path is
    no folder."""
    if not isinstance(given, (str, Path)):
        return given
    if not str(given).strip():
        raise ValueError("An empty path names no folder")
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{given} begins with a home that is not known") from error


class StoreSettings(BaseModel):
    """How an embedded library is laid out and kept.

    The sizes come from measurement on two cores (512-d): a head of 20,000 points answers
    unoptimised in 2.4 ms, a sealed shard of 100,000 loads in 0.16 s and answers in under 2 ms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    head_points: int = Field(
        default=20_000,
        ge=64,
        description="The head is sealed and a new one begun when it holds this many points.",
    )
    head_max_age_seconds: float = Field(
        default=24 * 3600.0,
        gt=0,
        description="... or when it is this old, so that old material can go shard by shard.",
    )
    shard_points: int = Field(
        default=100_000,
        ge=64,
        description="Compaction merges neighbouring sealed shards up to this many points.",
    )
    reserve_bytes: int = Field(
        default=512 * MEBIBYTE,
        ge=0,
        description="Writing stops when less than this is free on the library's disk.",
    )
    ballast_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=0,
        description="Size of the file whose release lets a library on a full disk open; with less "
        "than the default the engine may die there.",
    )
    compact: bool = Field(
        default=True, description="Optimise sealed shards in the background, in a child process."
    )
    compact_delay_seconds: float = Field(
        default=5.0,
        ge=0,
        description="A library that was just opened waits this long before it compacts, so that "
        "a short command does not start what it cannot finish.",
    )


class ServerSettings(BaseModel):
    """Where a Qdrant server is and how the library lies on it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    api_key: SecretStr | None = None
    collection: str = Field(default="longtake", description="Name of the collection.")
    timeout_seconds: float = Field(default=30.0, gt=0)
    quantize: bool = Field(
        default=True,
        description="Keep dense vectors as int8 in memory, with the originals on disk.",
    )
    batch_points: int = Field(default=256, ge=64)
    lease_seconds: float = Field(
        default=60.0,
        ge=5,
        description="A machine that is not heard of for this long loses what it was working on.",
    )
    skew_seconds: float = Field(
        default=30.0,
        ge=0,
        description="... and so much later others go on with it: the clocks of two machines may "
        "differ by this much, and a request be on its way for so long.",
    )
