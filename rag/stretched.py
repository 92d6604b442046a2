"""Videos cut into stretches that cover them, for questions about the whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from index.library import Library
from index.schema import Moment, Video

LEAST_SECONDS = 10.0
"""Of a stretch, where a video has more than one."""

NEAR = 0.25
"""Of a stretch's length: a chapter or segment that begins so near a border becomes the border."""


def stretches(library: Library, videos: Sequence[Video], count: int) -> list[Moment]:
    """About `count` stretches, in the order of videos and time, which together cover all of them;
    longer videos have more, and each at least one while there are enough. They begin with chapters
    and segments where such begin near. Videos of unknown length have none."""
    known = [video for video in videos if video.duration_seconds]
    if len(known) > count:
        every = len(known) / count
        known = [known[int(at * every)] for at in range(count)]
    total = sum(video.duration_seconds for video in known)
    found: list[Moment] = []
    spare = count - len(known)
    for video in known:
        own = 1 + int(spare * video.duration_seconds / total)
        own = max(1, min(own, int(video.duration_seconds / LEAST_SECONDS)))
        for start, end in _cut(library, video, own):
            path = video.files[0].path if video.files else None
            found.append(Moment(video.id, 0, video.title, path, start, end, 1.0, "segment"))
    return found


def _cut(library: Library, video: Video, count: int) -> list[tuple[float, float]]:
    length = video.duration_seconds / count
    chapters = [chapter.start_seconds for chapter in video.chapters]
    chapters = chapters or [chapter.start_seconds for chapter in library.chapters(video.id)]
    begins = chapters + [segment.start_seconds for segment in library.segments(video.id)]
    borders = [0.0]
    for at in range(1, count):
        even = at * length
        chapter = _nearest(chapters, even, NEAR * length)
        segment = _nearest(begins, even, NEAR * length)
        border = next((each for each in (chapter, segment) if each is not None), even)
        borders.append(max(border, borders[-1]))
    borders.append(video.duration_seconds)
    return [(start, end) for start, end in pairwise(borders) if end > start]


def _nearest(times: Sequence[float], wanted: float, reach: float) -> float | None:
    near = [time for time in times if abs(time - wanted) <= reach]
    return min(near, key=lambda time: abs(time - wanted), default=None)
