"""Search by picture: nearest fingerprints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from index.errors import MediaError
from index.library import Library
from index.store import Filter, Match
from rag.fuse import Dropped, Find

SPACE = "fingerprint"
BITS = 256

SAME = "same picture"
NEARLY = "nearly the same picture"
SIMILAR = "similar picture"
"""What a frame near a query picture is called; the same picture is found by its fingerprint."""

LOW_QUALITY = 50
"""Below it a picture holds too little to be told from others; PDQ's authors discard those."""


def fingerprint_of(path: Path) -> tuple[np.ndarray, int]:
    """The fingerprint of the picture in a file (of a video, its first picture) as a float32 vector
    of shape (256,), and its quality, 0..100: how much there is to tell the picture by.

    Raises MediaError that names the file where it cannot be read.
    """
    if os.path.isdir(path):
        raise MediaError(f"{path}: is a folder; give a picture file.")
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; check the spelling.") from error
    except OSError:
        pass  # the decoder meets it too, and says what it is
    from ingest.media import decode_image
    from ingest.models.pdq import fingerprint, to_vector

    found = fingerprint(decode_image(path))
    return to_vector(found.bits), found.quality


def distance_of(cosine: float) -> int:
    """The number of bits in which two fingerprints differ, from the cosine of their ±1 vectors."""
    return round((1.0 - cosine) * BITS / 2)


def find_pictures(
    vector: np.ndarray, library: Library, wanted: Filter, limit: int
) -> tuple[list[Find], list[Dropped]]:
    """Stretches that show that picture, unranked, and the nearest that do not.

    A find's raw score is the distance in bits (0: the same), its score 1 - distance / 256.
    """
    from ingest.models.pdq import NEAR_PICTURE_DISTANCE, SAME_PICTURE_DISTANCE

    wanted = wanted.and_(Match("channel", ("fingerprint",)))
    finds: list[Find] = []
    dropped: list[Dropped] = []
    for hit in library.store.query(SPACE, vector, where=wanted, limit=limit):
        distance = distance_of(hit.score)
        find = Find(
            video_id=hit.payload["video_id"],
            epoch=hit.payload["epoch"],
            channel="fingerprint",
            start_seconds=hit.payload["start_seconds"],
            end_seconds=hit.payload["end_seconds"],
            raw=float(distance),
            score=1.0 - distance / BITS,
            text=SAME if distance <= SAME_PICTURE_DISTANCE else NEARLY,
            evidence=(hit.id,),
        )
        if distance <= NEAR_PICTURE_DISTANCE:
            finds.append(find)
        elif len(dropped) < 5:  # the nearest misses tell; the rest of the library does not
            reason = f"another picture: {distance} of {BITS} bits differ"
            dropped.append(Dropped(find, f"{reason} (at most {NEAR_PICTURE_DISTANCE} may)"))
    return finds, dropped
