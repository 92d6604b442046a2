"""Where a stream should end by what its file says of itself, to tell files that were cut short.

FFmpeg takes such a file for one that ends there. Only what is exact is believed: the index of MP4,
and the length in bytes that Matroska and WebM state. A recording that goes on states none.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from ingest.media import claimed_duration

MISSING_SECONDS = Fraction(1, 2)
"""What may lack at the end of a whole file: indices are off by a frame or two."""

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def claimed_end(path: Path, container, stream, start: Fraction) -> Fraction:
    """Seconds on the video's clock; 0 where nothing is claimed. start: the container's."""
    name = container.format.name
    if "mp4" in name and stream.duration:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base - start
    if "matroska" in name and _lacks_bytes(path):
        return Fraction(claimed_duration(container, start) or 0)
    return Fraction(0)


def _lacks_bytes(path: Path) -> bool:
    """Whether a Matroska file is shorter than its one top element, the segment, says it is."""
    try:
        with open(path, "rb") as file:
            head = file.read(256)
            length = os.fstat(file.fileno()).st_size
    except OSError:  # whether its drive has gone is for those who read it to say
        return False
    if not head.startswith(_EBML):
        return False
    size, at = _element_size(head, len(_EBML))
    segment = at + (size or 0)
    if size is None or head[segment : segment + len(_SEGMENT)] != _SEGMENT:
        return False
    size, at = _element_size(head, segment + len(_SEGMENT))
    return size is not None and at + size > length


def _element_size(head: bytes, at: int) -> tuple[int | None, int]:
    """(what an element states as its size in bytes, where its content begins); None where it does
    not know its size, or the head ends first."""
    width = 9 - head[at].bit_length() if at < len(head) and head[at] else 0
    if not width or at + width > len(head):
        return None, at
    stated = int.from_bytes(head[at : at + width], "big")
    bits = 7 * width
    value = stated & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), at + width
