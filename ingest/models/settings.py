"""Settings of the models that several channels share. Defaults live here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator

from index.settings import folder_given


class ModelsSettings(BaseModel):
    """Where weights lie and what computes with them.

    dir: the folder that `longtake models pull` fills; on a machine without a network, the one that
        weights are copied into (docs/models.md says how).
    packages: models of the catalogue that an installed Python package carries, as name ->
        PACKAGE/FOLDER; looked at where `dir` does not hold the model.
    device: "auto" takes a GPU where there is one that torch can use.
    threads: of one model on the CPU; 0 is as many as there are cores.
    endpoint: another hub that speaks the same protocol; None is the hub itself, or HF_ENDPOINT.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Not in the user's cache, which other programs feel free to empty, and not in the library,
    # which is copied and thrown away on its own.
    dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("longtake-models", appauthor=False)
    )
    packages: dict[str, str] = Field(default_factory=dict)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = Field(0, ge=0)
    endpoint: str | None = None

    @field_validator("dir", mode="before")
    @classmethod
    def _folder(cls, given: Any) -> Any:
        return folder_given(given)
