"""Checks of spaces and vectors that every store makes before its engine sees them, because engines
apply the points of a call up to the first bad one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

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
    fitting = _fitting(space, vector)
    _check_finite(space.name, [fitting])
    return fitting


def check_vectors(
    points: Iterable[Point], spaces: Mapping[str, VectorSpace]
) -> Iterator[tuple[Point, dict[str, Vector]]]:
    """Each point with its vectors as `check_vector` gives them. Their values are looked at when all
    points have been taken, in one go, so nothing may be written before."""
    filled: dict[str, list[Vector]] = {}
    for point in points:
        vectors = {}
        for name, vector in point.vectors.items():
            if name not in spaces:
                raise StoreError(
                    f"There is no vector space {name!r} (there are: {', '.join(sorted(spaces))})."
                )
            vectors[name] = fitting = _fitting(spaces[name], vector)
            filled.setdefault(name, []).append(fitting)
        yield point, vectors
    for name, given in filled.items():
        _check_finite(name, given)


def _fitting(space: VectorSpace, vector: Vector) -> Vector:
    """The vector in the type and shape of its space, its values not looked at."""
    if isinstance(vector, SparseVector):
        if space.size is not None:
            raise StoreError(f"The vector space {space.name} is dense; got a sparse vector.")
        if len(set(vector.indices)) != len(vector.indices) or len(vector.indices) != len(
            vector.values
        ):
            raise StoreError(
                f"A sparse vector for {space.name} needs unique indices and a value for each."
            )
        return vector
    if space.size is None:
        raise StoreError(f"The vector space {space.name} is sparse; got a dense vector.")
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (space.size,):
        raise StoreError(
            f"A vector for {space.name} has shape {array.shape}; the space has ({space.size},). "
            "Was it made by another model?"
        )
    return array


def _check_finite(name: str, vectors: Sequence[Vector]) -> None:
    """Vectors of one space."""
    if isinstance(vectors[0], SparseVector):
        values = np.fromiter(chain.from_iterable(v.values for v in vectors), np.float64)
    else:
        values = np.concatenate(vectors)
    if not np.isfinite(values).all():
        raise StoreError(f"A vector for {name} holds values that are not finite.")


def last_of_each_id(points: Sequence[Point]) -> list[Point]:
    """Without the points that a later one of the same call replaces."""
    return list({point.id: point for point in points}.values())
