"""Videos ranked by what was found in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from index.schema import Moment
from rag.settings import GroupSettings


@dataclass(frozen=True, slots=True)
class VideoHits:
    """A video and its moments, best first. events: moments that lie apart from each other; those
    that overlap or all but touch are one. score: 0..1."""

    video_id: str
    title: str
    path: str | None
    score: float
    events: int
    moments: tuple[Moment, ...]


def group_by_video(
    moments: Iterable[Moment], settings: GroupSettings | None = None
) -> list[VideoHits]:
    """The videos of the moments, best first."""
    settings = settings or GroupSettings()
    of: dict[str, list[Moment]] = {}
    for moment in moments:
        of.setdefault(moment.video_id, []).append(moment)
    found = []
    for video_id, own in of.items():
        own.sort(key=lambda m: (-m.score, m.epoch, m.start_seconds))
        events = _events(own, settings.event_gap_seconds)
        score = _score(events, settings.further_events)
        first = own[0]
        found.append(VideoHits(video_id, first.title, first.path, score, len(events), tuple(own)))
    return sorted(found, key=lambda hits: (-hits.score, hits.title, hits.video_id))


def _events(moments: Iterable[Moment], gap_seconds: float) -> list[float]:
    """Each event's best score, the greatest first."""
    scores: list[float] = []
    epoch, end_seconds = None, 0.0
    for moment in sorted(moments, key=lambda m: (m.epoch, m.start_seconds)):
        if epoch == moment.epoch and moment.start_seconds - end_seconds <= gap_seconds:
            scores[-1] = max(scores[-1], moment.score)
            end_seconds = max(end_seconds, moment.end_seconds)
        else:
            scores.append(moment.score)
            epoch, end_seconds = moment.epoch, moment.end_seconds
    return sorted(scores, reverse=True)


def _score(events: Sequence[float], further: float) -> float:
    """Events add up as channels that agree do, but each counts only `further` of what the one
    before it did: counted in full, the many weak ones of a long video outweigh a sure
    one (benchmarks/understanding.py)."""
    doubt, weight = 1.0, 1.0
    for score in events:
        doubt *= 1.0 - weight * min(max(score, 0.0), 1.0)
        weight *= further
    return 1.0 - doubt
