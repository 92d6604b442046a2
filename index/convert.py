"""`msgspec.convert` for several threads at once.

What msgspec (0.22) knows of a dataclass it learns at its first conversion, and two threads that
learn at once end the process (a segmentation fault, seen where two live sources began in the same
moment). So the first conversion to each type is one thread's at a time.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_Kind = TypeVar("_Kind")

learning = threading.Lock()
"""Held by whoever makes msgspec look at types for the first time."""
_known: set[type] = set()


def convert(record: Any, kind: type[_Kind]) -> _Kind:
    """`record`, as JSON has it, as a `kind`. Raises msgspec.ValidationError where it is none."""
    if kind in _known:
        return msgspec.convert(record, kind)
    with learning:
        made = msgspec.convert(record, kind)
        _known.add(kind)
    return made
