"""Chosen pictures, decoded: each file in one pass, in time order, and none that shows the same
again."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from index.errors import MediaError
from ingest.models.videollm import Frame
from ingest.reducing import reduced_picture
from rag.choose_frames import Chooser
from rag.material import Scene

if TYPE_CHECKING:
    from ingest.sampling import StillFilter
    from ingest.segment_frames import FrameReader, Media, RecordingReader

NEAR_SECONDS = 5.0
"""A key frame this near may stand for the wanted picture, up to half-way to the next wanted one: it
decodes alone, where others cost all that lies between."""

SPARE = 0.25
"""So many more, of those chosen that the index does not tell from their neighbours, are decoded, to
stand in for what turns out to show the same."""

_Pick = tuple[int, int]
"""A scene, and a look in it."""

_Key = tuple[int, float, _Pick]
"""The turn of its video, its time, and itself: the order in which they are decoded."""

_BEHIND = (sys.maxsize, sys.maxsize)
"""Behind all that lie at one time."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture of a scene. scene: its index. detected: which of the things that were
    looked for it shows, in words."""

    scene: int
    frame: Frame
    detected: str = ""


def reduced(shown: Shown, side: int | None) -> Shown:
    """The same with a smaller picture."""
    image = reduced_picture(shown.frame.image, side)
    return replace(shown, frame=Frame(shown.frame.time_seconds, image))


def show(
    scenes: Sequence[Scene],
    count: int,
    path_of: Callable[[str], Media | None],
    side: int,
) -> tuple[list[Shown], list[str]]:
    """At most `count` pictures, those chosen first first, and sentences about files that could not
    be read. Where some show the same as the one before in their scene, the spare ones stand in for
    them, and then others that come later: no file is gone through twice.
    """
    if count <= 0 or not any(scene.looks for scene in scenes):
        return [], []
    one_pass = _Pass(scenes, count, path_of, side)
    one_pass.run()
    ranked = sorted(one_pass.kept, key=one_pass.rank.__getitem__)[:count]
    return [Shown(pick[0], one_pass.kept[pick]) for pick in ranked], list(one_pass.unread.values())


class _Pass:
    """Over the files one after the other, that of the best scene last, so that what others leave
    comes to it; over each in the order of time."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        count: int,
        path_of: Callable[[str], Media | None],
        side: int,
    ):
        self._scenes, self._count, self._path_of, self._side = scenes, count, path_of, side
        self._chooser = Chooser(scenes, count)
        self.rank: dict[_Pick, int] = {}
        self.kept: dict[_Pick, Frame] = {}
        self.unread: dict[str, str] = {}
        self._still: dict[int, StillFilter] = {}
        self._last: dict[int, int] = {}  # of each scene, the look that was kept last
        best: dict[str, float] = {}
        for scene in scenes:
            video = scene.moment.video_id
            best[video] = max(best.get(video, 0.0), scene.relevance)
        self._turn = {v: at for at, v in enumerate(sorted(best, key=lambda v: (best[v], v)))}
        self._order = sorted(
            (self._key(s, k) for s, scene in enumerate(scenes) for k in range(len(scene.looks)))
        )
        self._ahead = 0  # of the order, the first that may still be chosen
        self._agenda: list[_Key] = []

    def _key(self, scene: int, look: int) -> _Key:
        moment = self._scenes[scene].moment
        time = self._scenes[scene].looks[look].time_seconds
        return self._turn[moment.video_id], time, (scene, look)

    def run(self) -> None:
        from ingest.segment_frames import frame_reader

        self._choose(self._count)
        looks = [self._scenes[scene].looks[look] for scene, look in self.rank]
        self._choose(math.ceil(SPARE * sum(not look.distinct for look in looks)))
        others = self._count  # that may stand in for what shows the same
        while self._agenda:
            turn = self._agenda[0][0]
            moment = self._scenes[self._agenda[0][2][0]].moment
            path = self._path_of(moment.video_id)
            try:
                if path is None:
                    raise MediaError("it was not recorded.")
                with frame_reader(path, self._side) as reader:
                    before = last = -math.inf
                    while self._agenda and self._agenda[0][0] == turn:
                        key = heappop(self._agenda)
                        frame = self._read(reader, key, before, last)
                        before, last = key[1], frame.time_seconds if frame else last
                        self._pass((turn, max(before, last), _BEHIND))
                        if frame is None or not self._keep(key[2], frame):
                            others -= self._instead(others)
            except MediaError as error:
                self.unread[moment.video_id] = f"No pictures of “{moment.title}”: {error}"
                while self._agenda and self._agenda[0][0] == turn:
                    heappop(self._agenda)
                self._pass((turn, math.inf, _BEHIND))
                while others and (found := self._instead(others)):
                    others -= found

    def _choose(self, count: int) -> int:
        """Puts so many more on the agenda, as far as there are any; returns how many."""
        for at in range(count):
            pick = self._chooser.take()
            if pick is None:
                return at
            self.rank[pick] = len(self.rank)
            heappush(self._agenda, self._key(*pick))
        return count

    def _instead(self, most: int) -> int:
        """Chooses another one that lies ahead, where too few are on their way."""
        wanting = self._count - len(self.kept) - len(self._agenda)
        return self._choose(min(1, wanting, most)) if wanting > 0 else 0

    def _pass(self, key: _Key) -> None:
        """What lies there or before is not chosen any more."""
        first = self._ahead
        while self._ahead < len(self._order) and self._order[self._ahead] <= key:
            self._ahead += 1
        self._chooser.leave(pick for _, _, pick in self._order[first : self._ahead])

    def _read(
        self, reader: FrameReader | RecordingReader, key: _Key, before: float, last: float
    ) -> Frame | None:
        """before: what was wanted before it; last: what was shown for that."""
        turn, wanted, (scene, _) = key
        moment = self._scenes[scene].moment
        low = max(moment.start_seconds, wanted - NEAR_SECONDS, (before + wanted) / 2, last)
        high = min(moment.end_seconds, wanted + NEAR_SECONDS)
        if self._agenda and self._agenda[0][0] == turn:
            high = min(high, (wanted + self._agenda[0][1]) / 2)
        frames = reader.read([wanted], min(low, wanted), max(high, wanted), snap=True)
        return Frame(*frames[0]) if frames else None

    def _keep(self, pick: _Pick, frame: Frame) -> bool:
        """Whether it shows something else than the one before in its scene."""
        from ingest.sampling import StillFilter

        scene, look = pick
        still = self._still.setdefault(scene, StillFilter())
        if still.changed(frame.image):
            self.kept[pick] = frame
            self._last[scene] = look
            return True
        between = range(self._last.get(scene, -1) + 1, look + 1)
        self._chooser.shown((scene, each) for each in between)
        return False
