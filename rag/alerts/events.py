"""From sightings to events: a stretch of a source in which a standing question's gate was passed.

An event's id is given when it begins, from the bucket in which it does, and kept: whoever sees the
same evidence again, sealed, consolidated or after a kill, finds the event that it belongs to, and
makes none anew. Two events of one question lie further apart than a bucket is long, so that no two
get one id. A source's time goes on from epoch to epoch, and so does an event that a reconnection
interrupts for less than the refractory time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from index.alerts import Alert, AlertEvent
from index.schema import Video, make_id
from rag.alerts.gate import Sighting
from rag.alerts.settings import AlertSettings

BY_COSINE = ("frame", "sound")
"""Kinds of sightings whose scores waver: one alone may be an accident, and what goes on may dip. Of
words and equal pictures neither is so: most of a question's words is another text."""


@dataclass(frozen=True, slots=True)
class Change:
    """begun: events that nobody was told of. grown: those that were known, and last longer now."""

    begun: tuple[AlertEvent, ...] = ()
    grown: tuple[AlertEvent, ...] = ()


class EventTracker:
    """The events of one standing question in one source.

    threshold: of a kind of sighting. known: its events so far.
    """

    def __init__(
        self,
        alert: Alert,
        video: Video,
        settings: AlertSettings,
        threshold: Callable[[str], float],
        *,
        known: Iterable[AlertEvent] = (),
    ):
        self._alert = alert
        self._video = video
        self._settings = settings
        self._threshold = threshold
        self._runs: dict[str, list[Sighting]] = {}
        self.events: dict[str, AlertEvent] = {event.id: event for event in known}

    def see(
        self,
        sightings: Iterable[Sighting],
        now: float,
        *,
        epoch: int = 0,
        wall_clock_zero: float | None = None,
    ) -> Change:
        """What was seen in one epoch, in time order of the starts as far as it comes so.

        now: seconds since 1970. wall_clock_zero: the same of 0 on the video's clock, as the epoch
        has it; None where it is not known, and then nothing is before it was asked.
        """
        unknown = wall_clock_zero is None
        asked_seconds = -math.inf if unknown else self._alert.created_at - wall_clock_zero
        begun: dict[str, AlertEvent] = {}
        grown: dict[str, AlertEvent] = {}
        for one in sorted(sightings, key=lambda s: (s.start_seconds, s.end_seconds)):
            if one.end_seconds <= asked_seconds:
                continue
            whole, one = one, replace(one, start_seconds=max(one.start_seconds, asked_seconds))
            high = self._threshold(one.kind)
            low = high * self._settings.hysteresis if one.kind in BY_COSINE else high
            if one.score < low:
                self._runs.pop(one.kind, None)
                continue
            # By all of its time: that of the asking moves on the clock of a source that is read
            # faster than it was shown, and what goes on is one event all the same.
            if (event := self._event_of(whole)) is not None:
                larger = _with(event, one)
                if larger != event:
                    self.events[event.id] = larger
                    (begun if event.id in begun else grown)[event.id] = larger
                continue
            if one.score < high:
                self._runs.pop(one.kind, None)
                continue
            run = self._run_with(one)
            if one.kind in BY_COSINE and _looks(run) < self._settings.in_a_row:
                continue
            self._runs.pop(one.kind, None)
            event = self._event_from(run, now, epoch, wall_clock_zero)
            self.events[event.id] = begun[event.id] = event
        return Change(tuple(begun.values()), tuple(grown.values()))

    def mark(self, event: AlertEvent) -> AlertEvent:
        """Keeps what a check said of an event; returns it as it is known by now."""
        known = self.events.get(event.id, event)
        self.events[event.id] = replace(known, checked=event.checked)
        return self.events[event.id]

    def remember(self, known: Iterable[AlertEvent]) -> None:
        """Events that may have been forgotten, since evidence of their time comes."""
        for event in known:
            self.events.setdefault(event.id, event)

    def forget_before(self, seconds: float) -> list[str]:
        """Events that ended before are not kept in mind; returns their ids. Where evidence of their
        time comes after all, they have to be remembered first."""
        gone = [id for id, event in self.events.items() if event.end_seconds < seconds]
        for id in gone:
            del self.events[id]
        return gone

    def _event_of(self, one: Sighting) -> AlertEvent | None:
        """The event that the sighting belongs to: one that it touches, or lies near to."""
        gap = self._settings.refractory_seconds
        near = [
            event
            for event in self.events.values()
            if one.start_seconds <= event.end_seconds + gap
            and one.end_seconds >= event.start_seconds - gap
        ]
        return min(near, key=lambda event: event.start_seconds) if near else None

    def _run_with(self, one: Sighting) -> list[Sighting]:
        run = self._runs.get(one.kind, [])
        if run and one.start_seconds - run[-1].end_seconds > self._settings.refractory_seconds:
            run = []
        # Evidence that grows comes again under its own id: it is one look that became longer.
        run = [s for s in run if s.evidence != one.evidence or not one.evidence]
        self._runs[one.kind] = [*run, one]
        return self._runs[one.kind]

    def _event_from(
        self, run: Sequence[Sighting], now: float, epoch: int, wall_clock_zero: float | None
    ) -> AlertEvent:
        start = min(one.start_seconds for one in run)
        best = max(run, key=lambda one: one.score)
        bucket = math.floor(start / self._settings.refractory_seconds)
        return AlertEvent(
            make_id("alert event", self._alert.id, self._video.id, epoch, bucket),
            self._alert.id,
            self._alert.name,
            self._video.id,
            epoch,
            start,
            max(one.end_seconds for one in run),
            best.score,
            best.channel,
            best.text,
            None if wall_clock_zero is None else wall_clock_zero + start,
            now,
            tuple(one.evidence for one in run if one.evidence),
        )


def _looks(run: Sequence[Sighting]) -> int:
    """What stays is looked at once a second."""
    return sum(max(1, int(one.end_seconds - one.start_seconds + 0.01)) for one in run)


def _with(event: AlertEvent, one: Sighting) -> AlertEvent:
    wall = event.wall_clock_start
    start = min(event.start_seconds, one.start_seconds)
    return replace(
        event,
        start_seconds=start,
        end_seconds=max(event.end_seconds, one.end_seconds),
        score=max(event.score, one.score),
        wall_clock_start=None if wall is None else wall + start - event.start_seconds,
    )
