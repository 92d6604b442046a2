"""Which pictures a model is shown, where it cannot be shown all: relevance and coverage together.

A picture stands for its neighbours in time, and for those that look the same, the less the further
they are away. Chosen are those that together stand for the most relevance: the facility location
objective, which is submodular, so that taking the best one at each step comes within 1 - 1/e of the
best set (Nemhauser, Wolsey & Fisher 1978).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rag.material import Scene

FLAT = 0.25
"""Relevance that a picture has for coverage's sake, as a share of the greatest."""

_ALIKE = 0.9
"""Cosine from which a picture begins to stand for one that looks like it, wherever it is."""


class Chooser:
    """Chooses pictures one after the other. `count`: that are to stand for all in the end; as many
    may be taken as there are."""

    def __init__(self, scenes: Sequence[Scene], count: int):
        self._places = [(s, k) for s, scene in enumerate(scenes) for k in range(len(scene.looks))]
        self._open = np.ones(len(self._places), bool)
        if self._places and count > 0:
            self._weight, self._stands = _stands_for(scenes, self._places, count)
        self._covered = np.zeros(len(self._places))
        self._index = {place: at for at, place in enumerate(self._places)}

    def take(self) -> tuple[int, int] | None:
        """(scene, look in it) of the one that adds the most; None where there are no more."""
        if not self._open.any():
            return None
        gain = (np.maximum(self._stands, self._covered) - self._covered) @ self._weight
        # Where nothing is to be gained, whatever is least covered; then whatever comes first.
        gain = gain + 1e-9 * (1.0 - self._covered)
        gain[~self._open] = -1.0
        at = int(np.argmax(np.round(gain, 12)))
        self._open[at] = False
        self._covered = np.maximum(self._covered, self._stands[at])
        return self._places[at]

    def leave(self, places: Iterable[tuple[int, int]]) -> None:
        """None of these is taken any more."""
        for place in places:
            self._open[self._index[place]] = False

    def shown(self, places: Iterable[tuple[int, int]]) -> None:
        """What these show is shown by others; none of them is taken any more."""
        for place in places:
            at = self._index[place]
            self._open[at] = False
            self._covered = np.maximum(self._covered, self._stands[at])


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
