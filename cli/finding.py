"""What `longtake doctor` finds: one line each, and the way out where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "info", "warning", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """area: what was looked at ("packages", "library", ...). remedy: what to do about it.

    "info" is neither good nor bad (an extra that is not installed); a "warning" costs something
    but nothing fails; only "broken" makes the exit status 1.
    """

    area: str
    status: Status
    text: str
    remedy: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
