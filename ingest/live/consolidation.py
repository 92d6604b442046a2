"""Old still stretches of a live source are joined, so that a camera that sees nothing costs little.

While a stream runs, what stays is written anew about once a minute, so that it is found at once and
little is lost in a kill. When an epoch has ended, neighbours that say the same become one: pictures
that hardly differ, lines and things that stand where they stood, sounds that go on, segments of one
shot in which nothing changes. What is joined is written as a generation of its own beside the old
one, which it replaces in one atomic write; so searches see all of the one or all of the other, and
so does who comes after a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from index.library import Library
from index.passages import PassageBuilder, passage_point, reading_order
from index.records import generation_point, segment_point
from index.schema import Evidence, Generation, Segment, Video
from index.store import Point
from ingest.channels.settings import FingerprintSettings
from ingest.plan import ORIGIN, digest
from ingest.thumbnails import Thumbnails

CODE = 2
"""Raised when other things are joined."""

_NEIGHBOURS_SECONDS = 0.1
_WORTH_SHARE = 0.8
"""A channel is written anew where no more than this share of it is left."""
_SAME_PLACE = 0.5
_STILL_DISTANCE = FingerprintSettings().still_distance
"""Bits in which two fingerprints may differ, of what never moved."""
_SAME_COSINE = 0.98
"""As of sounds (`SoundSettings.same_cosine`). A guess: no trained encoder was there to measure."""

JOINED = "joined"
"""In the detail of an epoch's shots: by which code its still stretches were joined last."""

_CHANNELS = ("shot", "fingerprint", "screen_text", "object", "frame", "sound")

Alike = Callable[[Evidence, Evidence], bool]


def is_joined(generations: Iterable[Generation]) -> bool:
    """Whether that was done behind an epoch, given its generations."""
    shots = [one for one in generations if one.channel == "shot"]
    return all(one.detail.get(JOINED) == CODE for one in shots)


class Consolidation:
    def __init__(self, library: Library, thumbnails: Thumbnails):
        self._library = library
        self._thumbnails = thumbnails

    def run(self, video: Video, epoch: int) -> int:
        """Of an epoch that has ended; returns how many pieces of evidence and segments went. The
        generations must be nobody else's. Errors: the store's."""
        there = [g for g in self._library.generations(video.id, epoch) if g.state == "active"]
        active = {g.channel: g for g in there if g.complete}
        went = 0
        stills: Sequence[Evidence] = ()
        if (generation := active.get("fingerprint")) is not None:
            before, stills = self._joined(generation, self._same_picture)
            went += self._replace(generation, before, stills)
        for channel, alike in (
            ("screen_text", same_line),
            ("object", same_line),
            ("frame", same_view),
        ):
            if (generation := active.get(channel)) is not None:
                before, after = self._joined(generation, alike)
                went += self._replace(generation, before, after)
        if (generation := active.get("sound")) is not None:
            before = self._evidence(generation)
            went += self._replace(generation, before, join_windows(before, same_view))
        if (generation := active.get("shot")) is not None and stills:
            went += self._join_segments(video, generation, stills)
        if all(g.complete for g in there if g.channel in _CHANNELS):
            self._note(video, epoch)
        return went

    def _note(self, video: Video, epoch: int) -> None:
        """That all was joined. Does not flush: to do it again costs time alone."""
        for one in self._library.generations(video.id, epoch):
            if one.channel == "shot" and one.state == "active":
                noted = replace(one, detail={**one.detail, JOINED: CODE})
                self._library.store.upsert([generation_point(noted)])

    def forget_unfinished(self, generations: Iterable[Generation]) -> None:
        """What a kill left of them: those that were being built, and those that were replaced."""
        for generation in generations:
            if generation.state != "active":
                self._library.drop(generation)

    def _joined(
        self, generation: Generation, alike: Alike
    ) -> tuple[list[Evidence], list[Evidence]]:
        """The evidence as it is, and joined."""
        before = self._evidence(generation)
        return before, join(before, alike)

    def _evidence(self, generation: Generation) -> list[Evidence]:
        return self._library.evidence(
            generation.video_id, generation=generation.id, with_vectors=True
        )

    def _same_picture(self, one: Evidence, other: Evidence) -> bool:
        blank = "blank" in one.attributes
        if blank or "blank" in other.attributes:
            return blank and "blank" in other.attributes
        bits = [int(each.attributes["fingerprint"], 16) for each in (one, other)]
        return (bits[0] ^ bits[1]).bit_count() <= _STILL_DISTANCE

    def _replace(
        self, old: Generation, before: Sequence[Evidence], after: Sequence[Evidence]
    ) -> int:
        if len(after) > _WORTH_SHARE * len(before):
            return 0
        self._write(old, after, [])
        return len(before) - len(after)

    def _write(self, old: Generation, evidence: Sequence[Evidence], points: list[Point]) -> None:
        """evidence, points: what takes the place of all that the old generation holds."""
        new = self._begin(old)
        own = sorted((replace(one, generation=new.id) for one in evidence), key=reading_order)
        builder = PassageBuilder(new)
        points += map(passage_point, builder.push([one for one in own if one.text]))
        points += [*builder.statistics_points(), *builder.outline_points()]
        self._library.finish([(new, own, points)])

    def _begin(self, old: Generation) -> Generation:
        fingerprint = digest({"joined": old.fingerprint, "code": CODE})
        detail = {ORIGIN: old.id, **old.detail}
        wanted = replace(old, fingerprint=fingerprint, revision=0, complete=False, detail=detail)
        return self._library.begin(wanted)

    def _join_segments(
        self, video: Video, generation: Generation, stills: Sequence[Evidence]
    ) -> int:
        shots = self._library.evidence(video.id, generation=generation.id)
        before = self._library.segments_of([generation])
        after = join_segments(before, shots, stills)
        if len(after) > _WORTH_SHARE * len(before):
            return 0
        new = self._begin(generation)
        points = [segment_point(replace(one, generation=new.id)) for one in after]
        own = [replace(one, generation=new.id) for one in shots]
        self._library.finish([(new, own, points)])
        kept = {self._thumbnails.path(one) for one in after}
        for one in before:
            if (path := self._thumbnails.path(one)) not in kept:
                path.unlink(missing_ok=True)
        return len(before) - len(after)


def join(evidence: Sequence[Evidence], alike: Alike) -> list[Evidence]:
    """The evidence, in time order, with neighbours in time that are alike as one: the first, which
    lasts as long as all of them. It is always held against the first, so slow changes add up."""
    joined: list[Evidence] = []
    open_: list[int] = []
    for one in evidence:
        open_ = [
            at for at in open_ if one.start_seconds - joined[at].end_seconds <= _NEIGHBOURS_SECONDS
        ]
        follows = next(
            (
                at
                for at in open_
                if abs(one.start_seconds - joined[at].end_seconds) <= _NEIGHBOURS_SECONDS
                and alike(joined[at], one)
            ),
            None,
        )
        if follows is None:
            open_.append(len(joined))
            joined.append(one)
        else:
            joined[follows] = replace(joined[follows], end_seconds=one.end_seconds)
    return joined


def join_windows(evidence: Sequence[Evidence], alike: Alike) -> list[Evidence]:
    """The same of evidence made of windows, which lie over each other where it ends and the next
    begins: each is held against the one before alone."""
    joined: list[Evidence] = []
    for one in evidence:
        last = joined[-1] if joined else None
        if last is not None and (
            one.start_seconds - last.end_seconds <= _NEIGHBOURS_SECONDS and alike(last, one)
        ):
            end = max(last.end_seconds, one.end_seconds)
            joined[-1] = replace(last, end_seconds=end)
        else:
            joined.append(one)
    return joined


def same_line(one: Evidence, other: Evidence) -> bool:
    """The same words in the same place."""
    if one.text != other.text:
        return False
    boxes = [each.attributes.get("boxes") for each in (one, other)]
    return not all(boxes) or _overlap(boxes[0][0], boxes[1][0]) >= _SAME_PLACE


def same_view(one: Evidence, other: Evidence) -> bool:
    """Vectors of an encoder that hardly differ."""
    return one.vectors.keys() == other.vectors.keys() and all(
        float(np.dot(vector, other.vectors[name])) >= _SAME_COSINE
        for name, vector in one.vectors.items()
    )


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both) if both else 0.0


def join_segments(
    segments: Sequence[Segment], shots: Sequence[Evidence], stills: Sequence[Evidence]
) -> list[Segment]:
    """Segments in time order, with neighbours as one that lie in one shot and in one still."""
    joined: list[Segment] = []
    for one in segments:
        last = joined[-1] if joined else None
        span = None if last is None else (last.start_seconds, one.end_seconds)
        # A still begins with the first sample of its shot, a moment after it.
        still = span is not None and _within(span, stills, late_seconds=1.5)
        if still and _within(span, shots):
            joined[-1] = replace(joined[-1], end_seconds=one.end_seconds)
        else:
            joined.append(one)
    return joined


def _within(
    span: tuple[float, float], evidence: Sequence[Evidence], late_seconds: float = 0.0
) -> bool:
    """late_seconds: the evidence may begin so much later than the span."""
    slack = _NEIGHBOURS_SECONDS
    return any(
        one.start_seconds - late_seconds - slack <= span[0] and span[1] <= one.end_seconds + slack
        for one in evidence
    )
