"""What there is to show of a stretch of video: what was said, written and captioned there, and the
times at which pictures may be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.library import Library
from index.schema import Evidence, Moment, Video
from rag.delimited import one_line

WORDS = ("speech", "screen_text", "caption", "object", "sound")
"""Channels whose text is shown, in the order of one time."""

LOOKS = ("frame", "fingerprint")
"""Channels that tell pictures apart: one candidate for each of their evidence. The first that a
stretch has."""

_TOUCHES = 0.1
"""Of a stretch or a chapter, whichever is shorter: so little in common is nothing."""

_MOST_LOOKS = 120
"""Candidates in one stretch."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something said, written or captioned. text: as data (`rag.delimited.one_line`). worth: which
    lines go in first where not all do; higher first."""

    channel: str
    start_seconds: float
    end_seconds: float
    text: str
    worth: float
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A picture that may be shown. vector: of shape (size,), float32, unit length, where the
    stretch was indexed by what its pictures show. distinct: whether the index tells it from those
    before and after it."""

    time_seconds: float
    relevance: float
    vector: np.ndarray | None = None
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch that may be shown. moment: with the stretch as its span. relevance: 0..1, of the
    stretch. size: (height, width) of its pictures as they would be shown; None where it has
    none. chapters: titles of the file's own chapters that lie in it, or that it lies in."""

    moment: Moment
    relevance: float
    lines: tuple[Line, ...] = ()
    looks: tuple[Look, ...] = ()
    size: tuple[int, int] | None = None
    chapters: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.moment.end_seconds - self.moment.start_seconds


class Gatherer:
    """Collects scenes. context_seconds: shown around a moment. side: pixels that pictures are
    reduced to. words: channels whose text is collected. pictures: whether to collect these.
    spread: the moments are to be covered, so that of their lines, after those that were found,
    evenly spread ones are worth most; else those near to what was found."""

    def __init__(
        self,
        library: Library,
        *,
        context_seconds: float,
        side: int,
        words: Sequence[str] = WORDS,
        pictures: bool = True,
        spread: bool = False,
    ):
        self._library = library
        self._context = context_seconds
        self._side = side
        self._words = tuple(words)
        self._pictures = pictures
        self._spread = spread

    def scenes(self, moments: Sequence[Moment]) -> list[Scene]:
        """One for each moment, in the same order, best first. What lies in two of them is shown
        in the first. Those that hold nothing to show are left out."""
        best = max((moment.score for moment in moments), default=0.0) or 1.0
        taken: dict[str, list[tuple[float, float]]] = {}
        scenes = []
        for moment in moments:
            before = taken.setdefault(f"{moment.video_id}\x1f{moment.epoch}", [])
            scene = self._scene(moment, before, min(max(moment.score / best, 0.0), 1.0))
            if scene.lines or scene.looks:
                scenes.append(scene)
                before.append((scene.moment.start_seconds, scene.moment.end_seconds))
        return scenes

    def _scene(
        self, moment: Moment, taken: Sequence[tuple[float, float]], relevance: float
    ) -> Scene:
        video = self._library.video(moment.video_id)
        start = max(0.0, moment.start_seconds - self._context)
        end = moment.end_seconds + self._context
        if video is not None and video.duration_seconds:
            end = min(end, max(video.duration_seconds, moment.end_seconds))
        for a, b in taken:  # no further than the scenes before it
            if a < end and start < b:
                start = b if a <= start < b else start
                end = a if a < end <= b else end
        stretch = replace(moment, start_seconds=start, end_seconds=max(start, end))
        if end <= start:
            return Scene(stretch, relevance)
        found = self._evidence(stretch)
        size = self._size(video) if self._pictures else None
        return Scene(
            stretch,
            relevance,
            self._lines(found, moment, stretch),
            self._looks(found, moment, stretch, relevance) if size is not None else (),
            size,
            _chapters(video, start, end),
        )

    def _evidence(self, stretch: Moment) -> list[Evidence]:
        channels = (*self._words, *(LOOKS if self._pictures else ()))
        if not channels:
            return []
        found = self._library.evidence(
            stretch.video_id,
            channel=channels,
            start_seconds=stretch.start_seconds,
            end_seconds=stretch.end_seconds,
            overlapping=True,
            with_vectors=self._pictures and not self._spread,
        )
        return [one for one in found if one.epoch == stretch.epoch]

    def _lines(
        self, found: Sequence[Evidence], moment: Moment, stretch: Moment
    ) -> tuple[Line, ...]:
        hits = {id for hit in moment.hits for id in hit.evidence}
        lines: dict[tuple[str, str], Line] = {}
        for one in found:
            text = one_line(one.text)
            if one.channel not in self._words or not text:
                continue
            away = max(
                moment.start_seconds - one.end_seconds, one.start_seconds - moment.end_seconds, 0.0
            )
            start = max(one.start_seconds, stretch.start_seconds)
            end = max(start, min(one.end_seconds, stretch.end_seconds))
            worth = (2.0 if one.id in hits else 0.0) + 1.0 / (1.0 + away)
            line = Line(one.channel, start, end, text, worth, one.attributes.get("language"))
            before = lines.get((one.channel, text))
            if before is not None and one.channel != "speech":  # a slide read again
                line = replace(
                    line, start_seconds=before.start_seconds, worth=max(worth, before.worth)
                )
                lines[one.channel, text] = line
            else:
                lines[one.channel, text if before is None else f"{text}\x1f{one.id}"] = line
        order = {name: at for at, name in enumerate(self._words)}
        ordered = sorted(lines.values(), key=lambda x: (x.start_seconds, order[x.channel]))
        if self._spread:
            # What was found first, then evenly spread ones.
            ordered = [
                replace(x, worth=_turn(at) + (1.0 if x.worth >= 2.0 else 0.0))
                for at, x in enumerate(ordered)
            ]
        return tuple(ordered)

    def _looks(
        self, found: Sequence[Evidence], moment: Moment, stretch: Moment, relevance: float
    ) -> tuple[Look, ...]:
        """One for each picture that the index tells from its neighbours; evenly spread ones where
        it knows of none, or they stand for long."""
        start, end = stretch.start_seconds, stretch.end_seconds
        hits = {id for hit in moment.hits for id in hit.evidence}
        seen = next((own for name in LOOKS if (own := _of(name, found))), [])
        step = max((end - start) / _MOST_LOOKS, 1.0)
        looks: dict[float, Look] = {}
        for one in seen:
            a, b = max(one.start_seconds, start), min(one.end_seconds, end)
            vector = next(iter(one.vectors.values()), None) if one.channel == "frame" else None
            middle = (a + b) / 2
            inside = moment.start_seconds <= middle < moment.end_seconds or one.id in hits
            worth = relevance * (1.0 if inside else 0.5)
            looks[middle] = Look(middle, worth, _unit(vector), True)
        covered = sorted((one.start_seconds, one.end_seconds) for one in seen)
        at = start + step / 2
        while at < end:
            if not any(a <= at < b for a, b in covered):
                inside = moment.start_seconds <= at < moment.end_seconds
                looks[at] = Look(at, relevance * (1.0 if inside else 0.5))
            at += step
        ordered = [looks[time] for time in sorted(looks)]
        every = -(-len(ordered) // _MOST_LOOKS) or 1
        return tuple(ordered[::every])

    def _size(self, video) -> tuple[int, int] | None:
        """As `ingest.segment_frames` reduces them."""
        if video is None or not (video.files or video.source):
            return None
        for stream in video.streams:
            if stream.kind == "video":
                if not stream.width or not stream.height:
                    return self._side, self._side
                height, width = stream.height, stream.width
                if stream.rotation % 180:
                    height, width = width, height
                scale = min(1.0, self._side / max(height, width))
                return max(1, round(height * scale)), max(1, round(width * scale))
        return None


def _turn(at: int) -> float:
    """Worth, below 1, by which the first of each number of lines are spread evenly over them: van
    der Corput's sequence, 0, 1/2, 1/4, 3/4, ..., the other way round."""
    value, share = 0.0, 0.5
    while at:
        value += share * (at & 1)
        at, share = at >> 1, share / 2
    return 0.999 - value


def _chapters(video: Video | None, start: float, end: float) -> tuple[str, ...]:
    """Those that a stretch only touches are left out."""
    found = []
    for one in video.chapters if video is not None else ():
        shared = min(end, one.end_seconds) - max(start, one.start_seconds)
        if one.title and shared > _TOUCHES * min(end - start, one.end_seconds - one.start_seconds):
            found.append(one.title)
    return tuple(found)


def _of(channel: str, found: Sequence[Evidence]) -> list[Evidence]:
    return [one for one in found if one.channel == channel]


def _unit(vector) -> np.ndarray | None:
    if vector is None:
        return None
    array = np.asarray(vector, np.float32)
    return array / (float(np.linalg.norm(array)) or 1.0)
