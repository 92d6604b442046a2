"""Videos cut into stretches that cover them, for questions about the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from index.library import Library
from index.schema import Moment, Video

LEAST_SECONDS = 10.0
"""Of a stretch, where a video has more than one."""

NEAR = 0.25
"""Of a stretch's length: a chapter or segment that begins so near a border becomes the border."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """A video, or one epoch of a live source: [start_seconds, end_seconds) of its clock."""

    video: Video
    epoch: int
    start_seconds: float
    end_seconds: float

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds


def stretches(library: Library, videos: Sequence[Video], count: int) -> list[Moment]:
    """About `count` stretches, in the order of videos and time, which together cover all of them;
    longer videos have more, and each at least one while there are enough. They begin with chapters
    and segments where such begin near. Each epoch of a live source is covered by itself, as far as
    it has come. Videos of unknown length have none."""
    known = [whole for video in videos for whole in _wholes(library, video) if whole.seconds > 0]
    if len(known) > count:
        every = len(known) / count
        known = [known[int(at * every)] for at in range(count)]
    total = sum(whole.seconds for whole in known)
    found: list[Moment] = []
    spare = count - len(known)
    for whole in known:
        own = 1 + int(spare * whole.seconds / total)
        own = max(1, min(own, int(whole.seconds / LEAST_SECONDS)))
        video = whole.video
        path = video.files[0].path if video.files else None
        for start, end in _cut(library, whole, own):
            wall = video.wall_clock(whole.epoch, start)
            moment = Moment(
                video.id, whole.epoch, video.title, path, start, end, 1.0, "segment",
                wall_clock_start=wall,
            )  # fmt: skip
            found.append(moment)
    return found


def _wholes(library: Library, video: Video) -> list[_Whole]:
    if not video.epochs:
        return [_Whole(video, 0, 0.0, video.duration_seconds or 0.0)]
    reached: dict[int, float] = {}
    if any(epoch.end_seconds is None for epoch in video.epochs):
        for one in library.generations(video.id):
            reached[one.epoch] = max(reached.get(one.epoch, 0.0), one.analysed_seconds)
    found = []
    for epoch in video.epochs:
        end = epoch.end_seconds
        end = reached.get(epoch.number, epoch.start_seconds) if end is None else end
        start = max(epoch.start_seconds, min(video.kept_from_seconds, end))
        found.append(_Whole(video, epoch.number, start, end))
    return found


def _cut(library: Library, whole: _Whole, count: int) -> list[tuple[float, float]]:
    video, length = whole.video, whole.seconds / count
    chapters = [chapter.start_seconds for chapter in video.chapters]
    chapters = chapters or [chapter.start_seconds for chapter in library.chapters(video.id)]
    begins = chapters + [segment.start_seconds for segment in library.segments(video.id)]
    borders = [whole.start_seconds]
    for at in range(1, count):
        even = whole.start_seconds + at * length
        chapter = _nearest(chapters, even, NEAR * length)
        segment = _nearest(begins, even, NEAR * length)
        border = next((each for each in (chapter, segment) if each is not None), even)
        borders.append(max(border, borders[-1]))
    borders.append(whole.end_seconds)
    return [(start, end) for start, end in pairwise(borders) if end > start]


def _nearest(times: Sequence[float], wanted: float, reach: float) -> float | None:
    near = [time for time in times if abs(time - wanted) <= reach]
    return min(near, key=lambda time: abs(time - wanted), default=None)
