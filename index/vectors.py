"""Checks of spaces and vectors that every store makes before its engine sees them, because engines
apply the points of a call up to the first bad one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from index.errors import StoreError
from index.store import Point, SparseVector, Vector, VectorSpace

DISTANCES = ("cosine", "dot")


def check_space(space: VectorSpace) -> None:
    """Raises StoreError for a space that no store can hold."""
    if not space.name or space.distance not in DISTANCES or (space.size or 1) < 1:
        raise StoreError(
            f"The vector space {space!r} is not possible: it needs a name, a positive size "
            f"(None for sparse) and a distance out of {', '.join(DISTANCES)}."
        )


def check_same_space(known: VectorSpace, asked: VectorSpace, where: str) -> None:
    """Raises StoreError unless the two are the same. A sparse space has no distance."""
    if known != asked and not (known.size is asked.size is None):
        raise StoreError(
            f"The vector space {known.name} has size {known.size} ({known.distance}) in {where}; "
            f"asked for {asked.size} ({asked.distance}). Give the new model's space another name."
        )


def check_vector(space: VectorSpace, vector: Vector) -> Vector:
    """The vector, a dense one as float32 of shape (size,). Raises StoreError where it does not fit
    its space."""
    if isinstance(vector, SparseVector):
        if space.size is not None:
            raise StoreError(f"The vector space {space.name} is dense; got a sparse vector.")
        if len(set(vector.indices)) != len(vector.indices) or len(vector.indices) != len(
            vector.values
        ):
            raise StoreError(
                f"A sparse vector for {space.name} needs unique indices and a value for each."
            )
        if not np.isfinite(vector.values).all():
            raise StoreError(f"A vector for {space.name} holds values that are not finite.")
        return vector
    if space.size is None:
        raise StoreError(f"The vector space {space.name} is sparse; got a dense vector.")
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (space.size,):
        raise StoreError(
            f"A vector for {space.name} has shape {array.shape}; the space has ({space.size},). "
            "Was it made by another model?"
        )
    if not np.isfinite(array).all():
        raise StoreError(f"A vector for {space.name} holds values that are not finite.")
    return array


def check_vectors(point: Point, spaces: Mapping[str, VectorSpace]) -> dict[str, Vector]:
    """All vectors of the point, checked."""
    checked = {}
    for name, vector in point.vectors.items():
        if name not in spaces:
            raise StoreError(
                f"There is no vector space {name!r} (there are: {', '.join(sorted(spaces))})."
            )
        checked[name] = check_vector(spaces[name], vector)
    return checked


def last_of_each_id(points: Sequence[Point]) -> list[Point]:
    """Without the points that a later one of the same call replaces."""
    return list({point.id: point for point in points}.values())
