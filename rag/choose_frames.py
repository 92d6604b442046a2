"""Which pictures a model is shown, where it cannot be shown all: relevance and coverage together.

A picture stands for its neighbours in time, and for those that look the same, the less the further
they are away. Chosen are those that together stand for the most relevance: the facility location
objective, which is submodular, so that taking the best one at each step comes within 1 - 1/e of the
best set (Nemhauser, Wolsey & Fisher 1978).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.material import Scene

FLAT = 0.25
"""Relevance that a picture has for coverage's sake, as a share of the greatest."""

_ALIKE = 0.9
"""Cosine from which a picture begins to stand for one that looks like it, wherever it is."""


def choose(
    scenes: Sequence[Scene],
    count: int,
    *,
    kept: Sequence[tuple[int, int]] = (),
    without: Sequence[tuple[int, int]] = (),
) -> list[tuple[int, int]]:
    """(scene, look in it) of `count` pictures, or of all where there are fewer, in the order in
    which they were chosen. kept: chosen before; they count, and come first. without: never chosen,
    since what they show is shown already.
    """
    places = [(s, k) for s, scene in enumerate(scenes) for k in range(len(scene.looks))]
    left_out = set(without) - set(kept)
    count = min(count, len(places) - len(left_out))
    if count <= 0:
        return []
    weight, stands = _stands_for(scenes, places, count)
    open_ = np.array([place not in left_out for place in places])
    covered = np.zeros(len(places))
    chosen: list[int] = []
    index = {place: at for at, place in enumerate(places)}
    for place in left_out:
        covered = np.maximum(covered, stands[index[place]])
    for place in kept:
        at = index[place]
        chosen.append(at)
        open_[at] = False
        covered = np.maximum(covered, stands[at])
    while len(chosen) < count:
        gain = (np.maximum(stands, covered) - covered) @ weight
        # Where nothing is to be gained, whatever is least covered; then whatever comes first.
        gain = gain + 1e-9 * (1.0 - covered)
        gain[~open_] = -1.0
        at = int(np.argmax(np.round(gain, 12)))
        chosen.append(at)
        open_[at] = False
        covered = np.maximum(covered, stands[at])
    return [places[at] for at in chosen]


def value(scenes: Sequence[Scene], chosen: Sequence[tuple[int, int]], count: int) -> float:
    """What `choose` makes the most of; count: as it was given there."""
    places = [(s, k) for s, scene in enumerate(scenes) for k in range(len(scene.looks))]
    weight, stands = _stands_for(scenes, places, count)
    rows = [places.index(place) for place in chosen]
    return float(stands[rows].max(0) @ weight) if rows else 0.0


def _stands_for(
    scenes: Sequence[Scene], places: Sequence[tuple[int, int]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """weight: float64 of shape (n,). stands: of shape (n, n), how well picture i stands for j."""
    looks = [scenes[s].looks[k] for s, k in places]
    times = np.array([look.time_seconds for look in looks])
    scene_of = np.array([s for s, _ in places])
    relevance = np.array([look.relevance for look in looks])
    top = relevance.max()
    relevance = relevance / top if top > 0 else np.ones(len(looks))
    # Pictures of a stretch that has few candidates stand for as much time as those of another.
    spans = np.array([max(scene.seconds, 1e-3) for scene in scenes])
    crowd = np.bincount(scene_of, minlength=len(scenes))
    weight = (FLAT + relevance) * (spans / np.maximum(crowd, 1))[scene_of]
    reach = max(float(spans[np.unique(scene_of)].sum()) / count, 1e-3)
    apart = np.abs(times[:, None] - times[None, :])
    stands = np.clip(1.0 - apart / reach, 0.0, 1.0)
    stands[scene_of[:, None] != scene_of[None, :]] = 0.0
    known = [at for at, look in enumerate(looks) if look.vector is not None]
    sizes = {looks[at].vector.shape for at in known}
    if len(sizes) == 1:
        vectors = np.stack([looks[at].vector for at in known])
        alike = np.clip((vectors @ vectors.T - _ALIKE) / (1.0 - _ALIKE), 0.0, 1.0)
        grid = np.ix_(known, known)
        stands[grid] = np.maximum(stands[grid], alike)
    return weight, stands
