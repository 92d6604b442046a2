"""What a standing question would have reported of what is indexed already, and from which score it
should."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from index.alerts import Alert, AlertEvent
from index.library import Library
from index.records import evidence_from
from index.schema import Video
from index.store import Filter, Match, scroll, where
from rag.alerts.events import EventTracker
from rag.alerts.gate import Gate, Sighting
from rag.alerts.settings import KINDS, AlertSettings

LEAST = 0.3
"""What scores less is never suggested, and not reported."""

GRID = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Thresholds for which it is told how often there would have been an alert."""

CLEAR_GAP = 0.1
"""Between the scores of two events that follow each other: there a threshold tells two sorts of
events apart."""


@dataclass(frozen=True, slots=True)
class KindReport:
    """kind: of sightings. counts: threshold -> events that reach it. suggested: the middle of the
    widest gap between the scores of events; None where they lie close together, and the usual
    threshold does."""

    kind: str
    threshold: float
    counts: dict[float, int]
    suggested: float | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """events: with the thresholds in force, by video and time. seconds: of video looked at. kinds:
    those of which there was anything to judge."""

    events: tuple[tuple[Video, AlertEvent], ...]
    seconds: float
    videos: int
    kinds: tuple[KindReport, ...]


def backtest(
    alert: Alert,
    gate: Gate,
    library: Library,
    videos: Sequence[Video],
    settings: AlertSettings,
) -> Backtest:
    """Reads all evidence of the videos once. When the question was asked does not matter here."""
    asked = replace(alert, created_at=float("-inf"))
    events: list[tuple[Video, AlertEvent]] = []
    peaks: dict[str, list[float]] = {}
    seconds = 0.0
    hidden = library.hidden_generations()
    for video in videos:
        wanted = library.visible(where(kind="evidence", video_id=video.id), hidden)
        sightings = sorted(
            _sightings(gate, library, wanted), key=lambda one: (one.start_seconds, one.end_seconds)
        )
        end = max((one.end_seconds for one in sightings), default=0.0)
        tracker = EventTracker(asked, video, settings, gate.threshold)
        events += ((video, event) for event in _run(tracker, sightings))
        for kind in {one.kind for one in sightings}:
            of_kind = [one for one in sightings if one.kind == kind]
            lowest = EventTracker(asked, video, settings, lambda kind: LEAST)
            peaks.setdefault(kind, []).extend(event.score for event in _run(lowest, of_kind))
        seconds += video.duration_seconds or end
    reports = tuple(
        _report(kind, gate.threshold(kind), sorted(peaks[kind])) for kind in KINDS if kind in peaks
    )
    return Backtest(tuple(events), seconds, len(videos), reports)


def _sightings(gate: Gate, library: Library, wanted: Filter) -> Iterator[Sighting]:
    """Vectors are read of those channels alone that have some. Streams have no summaries while they
    run."""
    seen = ("frame", "sound", "fingerprint")
    worded = scroll(library.store, wanted.but_not(Match("channel", (*seen, "summary"))))
    pictured = scroll(library.store, wanted.and_(Match("channel", seen)), with_vectors=True)
    for point in chain(worded, pictured):
        yield from gate.look(evidence_from(point))


def _run(tracker: EventTracker, sightings: Iterable[Sighting]) -> list[AlertEvent]:
    tracker.see(sightings, 0.0)
    return sorted(tracker.events.values(), key=lambda event: event.start_seconds)


def _report(kind: str, threshold: float, peaks: Sequence[float]) -> KindReport:
    counts = {at: sum(peak >= at - 1e-9 for peak in peaks) for at in GRID}
    gaps = [(high - low, (high + low) / 2) for low, high in itertools.pairwise(peaks)]
    gap, middle = max(gaps, default=(0.0, 0.0))
    return KindReport(kind, threshold, counts, round(middle, 2) if gap >= CLEAR_GAP else None)
