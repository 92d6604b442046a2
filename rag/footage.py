"""Search by a clip: where else its footage occurs.

Pictures of the clip are looked up in the store; those near them vote for how the clip may lie in
each video, and the lines with most votes are looked at closely (`rag.align`). Pictures that tell
nothing have no part in it. Many shots of a film come from one camera that stands still, and look
somewhat alike: of the places of a video that match the same part of the clip, those that match
clearly worse than the best one are no finds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from index.library import Library
from index.schema import ClipPart
from index.store import Filter, Match, scroll
from ingest.models.pdq import SAME_PICTURE_DISTANCE
from rag.align import Alignment, Shown, Track, look
from rag.fuse import Dropped, Find
from rag.hough import BIN_SECONDS, Line, Votes, supports, vote
from rag.images import BITS, distance_of
from rag.scope import overlapping
from rag.timestamp import time_span
from rag.vectors import NEAREST_MISSES
from rag.views import View

FOUND = 2.0
"""The weight from which on footage counts as found. By fingerprints a picture weighs 3 at most, 2
where it is just the same picture and 1 where it is just nearly the same."""

QUERY_SECONDS = 0.5
"""Between pictures of the clip that are looked up."""

NEIGHBOURS = 128
"""Pictures of the library taken for each."""

WINDOW_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
"""A longer clip is aligned in pieces: a line through an hour has to be true to a thousandth."""

LEAST_VOTES = 1.0
MOST_LOOKS = 200
"""Lines looked at for a piece."""

MARGIN_SECONDS = 3.0

CLEARLY_WORSE = 32 * 2 / BITS
"""Of a mean cosine; 32 bits of a fingerprint."""

GOING_ON_SECONDS = 1.5
"""What matches the same part of the clip this near to a better match is that shot, going on."""

Place = tuple[str, int]
"""Video id and epoch."""


@dataclass(frozen=True, slots=True)
class FootageFind(Find):
    """A find of a clip, and how it lies there."""

    alignment: Alignment | None = None
    mirrored: bool = False

    def reason(self) -> str:
        found = self.alignment
        mean = (
            f"{self.raw:.0f} of {BITS} bits differ"
            if self.channel == "fingerprint"
            else f"cosine {self.raw:.3f} ({self.model})"
        )
        pictures = f"{found.pictures} pictures" if found.pictures > 1 else "one picture"
        part = time_span(found.clip_start_seconds, found.clip_end_seconds)
        return f"{pictures}, on average {mean}; weight {found.weight:.1f}; clip {part}"

    def part(self, start_seconds: float, end_seconds: float) -> ClipPart:
        """What that span of the video shows of the clip."""
        found = self.alignment
        first, last = found.clip_start_seconds, found.clip_end_seconds
        if found.speed is not None:
            begins, ends = (found.line.clip_seconds(at) for at in (start_seconds, end_seconds))
            first, last = min(max(first, begins), last), max(min(last, ends), first)
        return ClipPart(first, last, found.speed, self.mirrored)


def find_footage(view: View, library: Library, wanted: Filter) -> tuple[list[Find], list[Dropped]]:
    """Stretches that show what the clip shows, unranked, and the nearest that do not.

    wanted: passes the evidence to look in. A find's raw score is the mean distance in bits of the
    pictures that are alike (of frames, their mean cosine).
    """
    search = _Search(view, library, wanted.and_(Match("channel", (view.channel,))))
    found: dict[Place, list[tuple[Track, Alignment]]] = defaultdict(list)
    missed: list[tuple[Place, Alignment]] = []
    for piece in _pieces(view.track):
        for place, alignment in search.alignments(piece):
            if alignment.weight >= FOUND:
                found[place].append((piece, alignment))
            else:
                missed.append((place, alignment))
    finds: list[Find] = []
    dropped: list[Dropped] = []
    for place, alignments in found.items():
        kept: list[Alignment] = []
        if view.own is not None and place == (view.own[0], 0):
            kept.append(_itself(*view.own))
        for one in sorted(_joined(alignments), key=lambda a: -a.weight):
            better = next((other for other in kept if _outdone(one, other)), None)
            if better is None:
                kept.append(one)
            else:
                span = time_span(better.start_seconds, better.end_seconds)
                reason = f"the same part of the clip is better matched at {span}"
                dropped.append(Dropped(_find(view, place, one), reason))
        finds += [_find(view, place, one) for one in kept if one.pictures]
    missed.sort(key=lambda miss: -miss[1].weight)
    for place, one in missed[:NEAREST_MISSES]:
        reason = f"too little in common: a weight of {one.weight:.1f} ({FOUND:.0f} is enough)"
        dropped.append(Dropped(_find(view, place, one), reason))
    return finds, dropped


def _pieces(track: Track) -> Iterator[Track]:
    start = track.start_seconds
    while True:
        end = start + WINDOW_SECONDS
        if end + OVERLAP_SECONDS >= track.end_seconds:
            end = track.end_seconds
        piece = track.part(start, end)
        if len(piece.times):
            yield piece
        if end >= track.end_seconds:
            return
        start = end - OVERLAP_SECONDS


@dataclass(frozen=True, slots=True)
class _Search:
    view: View
    library: Library
    wanted: Filter

    def alignments(self, piece: Track) -> Iterator[tuple[Place, Alignment]]:
        """How the piece lies in videos: what is found, and what falls short of it."""
        leading = [
            (vote(votes, piece.seconds), place, votes)
            for place, votes in self._votes(piece).items()
        ]
        looks = 0
        for line, place, votes in sorted(leading, key=lambda one: -one[0].votes):
            while line.votes >= LEAST_VOTES and looks < MOST_LOOKS:
                looks += 1
                settled = supports(votes, line)
                alignment = self._look(piece, place, line)
                if alignment is not None:
                    yield place, alignment
                    if alignment.weight >= FOUND:
                        settled |= votes.overlap(alignment.start_seconds, alignment.end_seconds)
                votes = votes.keep(~settled)
                if not settled.any() or not len(votes):
                    break
                line = vote(votes, piece.seconds)

    def _votes(self, piece: Track) -> dict[Place, Votes]:
        view = self.view
        pairs: dict[Place, list[tuple[float, ...]]] = defaultdict(list)
        for start, end, vector in _queried(piece, view.likeness.same):
            hits = self.library.store.query(view.space, vector, where=self.wanted, limit=NEIGHBOURS)
            for hit in hits:
                if (weight := float(view.likeness.weights(hit.score))) <= 0:
                    break
                at = hit.payload
                pair = (start, end, at["start_seconds"], at["end_seconds"], weight)
                pairs[at["video_id"], at["epoch"]].append(pair)
        votes = {place: Votes(*np.array(rows).T) for place, rows in pairs.items()}
        if view.own is not None and (here := (view.own[0], 0)) in votes:
            votes[here] = votes[here].keep(~votes[here].overlap(*view.own[1:]))
        return {at: some for at, some in votes.items() if some.weights.sum() >= LEAST_VOTES}

    def _look(self, piece: Track, place: Place, line: Line) -> Alignment | None:
        shown = self._shown(place, line, piece)
        slack = max(0.25, piece.step_seconds / 2)
        return look(piece, shown, line, self.view.likeness, slack)

    def _shown(self, place: Place, line: Line, piece: Track) -> Shown:
        """The video's pictures where that line goes through it, and a little beside."""
        first = line.video_seconds(piece.start_seconds) - MARGIN_SECONDS
        last = line.video_seconds(piece.end_seconds) + MARGIN_SECONDS
        wanted = self.wanted.and_(
            Match("video_id", (place[0],)),
            Match("epoch", (place[1],)),
            *overlapping((first, last)),
        )
        points = sorted(
            scroll(self.library.store, wanted, with_vectors=True),
            key=lambda point: point.payload["start_us"],
        )
        blank = np.zeros(self.view.track.vectors.shape[1], np.float32)
        vectors = np.array([p.vectors.get(self.view.space, blank) for p in points], np.float32)
        vectors = vectors.reshape(-1, len(blank))
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        shown = Shown(
            np.array([p.payload["start_seconds"] for p in points]),
            np.array([p.payload["end_seconds"] for p in points]),
            vectors,
        )
        if (own := self.view.own) is not None and place == (own[0], 0):
            _, start, end = own
            vectors[(shown.starts < end) & (shown.ends > start)] = 0.0
        return shown


def _queried(piece: Track, same: float) -> Iterator[tuple[float, float, np.ndarray]]:
    """The pictures to look up: from when to when each is shown, and its vector. Neighbours that are
    the same picture are one."""
    chosen: list[int] = []
    due = piece.start_seconds
    for at, time in enumerate(piece.times):
        if time < due:
            continue
        due = time + QUERY_SECONDS - 1e-6
        if not chosen or float(piece.vectors[at] @ piece.vectors[chosen[-1]]) < same:
            chosen.append(at)
    for at, following in zip(chosen, [*chosen[1:], None], strict=True):
        end = piece.end_seconds if following is None else float(piece.times[following])
        yield float(piece.times[at]), end, piece.vectors[at]


def _joined(alignments: Sequence[tuple[Track, Alignment]]) -> list[Alignment]:
    """What was found in neighbouring pieces of the clip and goes on on one line, as one. Two lines
    through much the same part of one piece are two opinions of it, not more of it."""
    joined: list[tuple[Track, Alignment]] = []
    for piece, one in sorted(
        alignments, key=lambda found: (found[1].start_seconds, found[1].clip_start_seconds)
    ):
        for at, (last, before) in enumerate(joined):
            again = before.clip_end_seconds - one.clip_start_seconds
            if (last is not piece or again <= GOING_ON_SECONDS) and _goes_on(before, one):
                joined[at] = piece, _both(before, one)
                break
        else:
            joined.append((piece, one))
    return [one for _, one in joined]


def _goes_on(before: Alignment, one: Alignment) -> bool:
    if before.start_seconds == one.start_seconds and before.end_seconds == one.end_seconds:
        return True
    if before.speed is None or one.speed is None:
        return False
    at = one.clip_start_seconds
    return (
        at - before.clip_end_seconds <= GOING_ON_SECONDS
        and one.clip_end_seconds > before.clip_end_seconds + BIN_SECONDS
        and abs(before.line.video_seconds(at) - one.line.video_seconds(at)) <= GOING_ON_SECONDS
        and abs(before.speed / one.speed - 1) <= 0.05
    )


def _both(before: Alignment, one: Alignment) -> Alignment:
    start, end = before.start_seconds, max(before.end_seconds, one.end_seconds)
    clip_start = min(before.clip_start_seconds, one.clip_start_seconds)
    clip_end = max(before.clip_end_seconds, one.clip_end_seconds)
    fresh = (end - before.end_seconds) / max(one.end_seconds - one.start_seconds, 1e-6)
    pictures = before.pictures + round(fresh * one.pictures)
    speed = before.speed and (end - start) / (clip_end - clip_start)
    return Alignment(
        start,
        end,
        clip_start,
        clip_end,
        before.line if speed is None else Line(speed, start - speed * clip_start),
        speed,
        before.weight + fresh * one.weight,
        pictures,
        (before.cosine * before.pictures + one.cosine * (pictures - before.pictures)) / pictures,
    )


def _outdone(one: Alignment, other: Alignment) -> bool:
    """Whether the other one, which weighs more, is the same part of the clip, and what it really
    is. `_itself` has no pictures."""
    first = max(one.clip_start_seconds, other.clip_start_seconds)
    last = min(one.clip_end_seconds, other.clip_end_seconds)
    if last - first < 0.5 * (one.clip_end_seconds - one.clip_start_seconds):
        return False
    apart = max(one.start_seconds - other.end_seconds, other.start_seconds - one.end_seconds)
    return apart <= GOING_ON_SECONDS or other.cosine - one.cosine >= CLEARLY_WORSE


def _itself(_video: str, start_seconds: float, end_seconds: float) -> Alignment:
    """The clip, where it lies in the library."""
    span = (start_seconds, end_seconds)
    return Alignment(*span, *span, Line(1.0, 0.0), 1.0, np.inf, 0, 1.0)


def _find(view: View, place: Place, found: Alignment) -> FootageFind:
    score = found.weight / (found.weight + 1)
    if view.channel == "fingerprint":
        raw: float = distance_of(found.cosine)
        text = "same footage" if raw <= SAME_PICTURE_DISTANCE else "nearly the same footage"
    else:
        raw = found.cosine
        text = "similar footage"
        score *= max(found.cosine, 0.0)
    return FootageFind(
        video_id=place[0],
        epoch=place[1],
        channel=view.channel,
        start_seconds=found.start_seconds,
        end_seconds=found.end_seconds,
        raw=raw,
        score=score,
        text=text,
        cosine=None if view.channel == "fingerprint" else found.cosine,
        model=view.model,
        alignment=found,
        mirrored=view.mirrored,
    )
