"""What an encoder is to the rest of Longtake, whichever library runs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class ImageEncoder(Protocol):
    """Pictures to vectors. size: of a vector. space: name of the vector space; see `space_name`."""

    space: str
    size: int

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """images: uint8 of shape (height, width, 3), RGB, of any sizes. Returns float32 of shape
        (len(images), size), unit length."""
        ...


class TextEncoder(Protocol):
    """Words to vectors. size: of a vector. space: of the passages, pictures or sounds that a query
    is compared with."""

    space: str
    size: int

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        ...


class PassageEncoder(TextEncoder, Protocol):
    """An encoder that puts passages into the space, too."""

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        ...


def space_name(channel: str, model: str, digest: str, *, int8: bool = False) -> str:
    """The vector space of one model in one channel: two models never share one, nor do a model and
    its copy with 8-bit weights.

    channel: "frame", "sound" or "text". digest: of the weights, hexadecimal.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return f"{channel}.{slug[:48]}.{digest[:8]}{'.int8' if int8 else ''}"


class TextReranker(Protocol):
    """A model that reads a query and a text together (Nogueira & Cho 2019, "Passage Re-ranking with
    BERT")."""

    name: str

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape (len(texts),), 0..1: how well each answers the query."""
        ...
