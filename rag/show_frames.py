"""Chosen pictures, decoded: each file in one pass, in time order, and none that shows the same
again; others in their place take a further pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from index.errors import MediaError
from ingest.models.videollm import Frame
from rag.choose_frames import choose
from rag.material import Scene

if TYPE_CHECKING:
    from ingest.segment_frames import Media

NEAR_SECONDS = 5.0
"""A key frame this near may stand for the wanted picture, up to half-way to the next wanted one: it
decodes alone, where others cost all that lies between."""

ROUNDS = 3
"""Times that others are chosen for pictures that turned out to show the same."""

_Pick = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture of a scene. scene: its index."""

    scene: int
    frame: Frame


def reduced_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """(height, width) of a picture whose longer side is at most `side` pixels."""
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduced(shown: Shown, side: int | None) -> Shown:
    """The same with a smaller picture."""
    import cv2

    image = shown.frame.image
    height, width = reduced_size(*image.shape[:2], side)
    if (height, width) == image.shape[:2]:
        return shown
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return Shown(shown.scene, Frame(shown.frame.time_seconds, small))


def show(
    scenes: Sequence[Scene],
    count: int,
    path_of: Callable[[str], Media | None],
    side: int,
) -> tuple[list[Shown], list[str]]:
    """At most `count` pictures, those chosen first first, and sentences about files that could not
    be read. Where some show the same as the one before, others are chosen in their place.
    """
    unread: dict[str, str] = {}
    frames: dict[_Pick, Frame] = {}
    chosen = choose(scenes, count)
    kept: list[_Pick] = []
    same: set[_Pick] = set()
    for _ in range(ROUNDS):
        new = [pick for pick in chosen if pick not in frames]
        frames |= _decode(scenes, new, path_of, side, unread)
        kept, again = _different(scenes, [pick for pick in chosen if pick in frames], frames)
        missing = {pick for pick in new if pick not in frames}
        if not (again or missing) or len(kept) == count:
            break
        same |= again | missing
        chosen = choose(scenes, count, kept=kept, without=same)
    return [Shown(pick[0], frames[pick]) for pick in kept], list(unread.values())


def _decode(
    scenes: Sequence[Scene],
    chosen: Sequence[_Pick],
    path_of: Callable[[str], Media | None],
    side: int,
    unread: dict[str, str],
) -> dict[_Pick, Frame]:
    from ingest.segment_frames import frame_reader

    def time_of(pick: _Pick) -> float:
        return scenes[pick[0]].looks[pick[1]].time_seconds

    def video_of(pick: _Pick) -> str:
        return scenes[pick[0]].moment.video_id

    found: dict[_Pick, Frame] = {}
    ordered = sorted(chosen, key=lambda pick: (video_of(pick), time_of(pick), pick))
    for video_id, group in groupby(ordered, key=video_of):
        picks = list(group)
        path = path_of(video_id)
        if video_id in unread:
            continue
        if path is None:
            title = scenes[picks[0][0]].moment.title
            unread[video_id] = f"No pictures of “{title}”: it was not recorded."
            continue
        try:
            with frame_reader(path, side) as reader:
                for at, pick in enumerate(picks):
                    wanted = time_of(pick)
                    moment = scenes[pick[0]].moment
                    low = max(moment.start_seconds, wanted - NEAR_SECONDS)
                    high = min(moment.end_seconds, wanted + NEAR_SECONDS)
                    if at:
                        low = max(low, (time_of(picks[at - 1]) + wanted) / 2)
                    if at + 1 < len(picks):
                        high = min(high, (time_of(picks[at + 1]) + wanted) / 2)
                    for time, image in reader.read([wanted], low, high, snap=True):
                        found[pick] = Frame(time, image)
        except MediaError as error:
            unread[video_id] = f"No pictures of “{scenes[picks[0][0]].moment.title}”: {error}"
    return found


def _different(
    scenes: Sequence[Scene], picks: Sequence[_Pick], frames: dict[_Pick, Frame]
) -> tuple[list[_Pick], set[_Pick]]:
    """Those that show something else than the one before in their scene, in the order given; and
    the looks, chosen or not, between those that show the same."""
    from ingest.sampling import StillFilter

    kept: set[_Pick] = set()
    same: set[_Pick] = set()
    for scene in {pick[0] for pick in picks}:
        still = StillFilter()
        own = sorted((frames[pick].time_seconds, pick) for pick in picks if pick[0] == scene)
        last_time, last = None, -1
        for time, pick in own:
            if time != last_time and still.changed(frames[pick].image):
                kept.add(pick)
                last = pick[1]
            else:
                same |= {(scene, look) for look in range(last + 1, pick[1] + 1)}
            last_time = time
    return [pick for pick in picks if pick in kept], same - kept
