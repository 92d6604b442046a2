"""Ids: UUIDv5, so that a resumed run writes the same ones."""

from __future__ import annotations

import hashlib
import uuid

_NAMESPACE = uuid.UUID("8f2f3c0e-53a8-5c55-9d5c-6c6f6e677461").bytes

_VARIANT = {f"{nibble:x}": "89ab"[nibble & 3] for nibble in range(16)}


def make_id(*parts: str | int) -> str:
    """UUIDv5 over the parts; the separator cannot occur in a part that matters.

    A search makes a thousand, so this does without the objects of `uuid`, which take thrice as
    long.
    """
    name = "\x1f".join(map(str, parts)).encode()
    h = hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"
