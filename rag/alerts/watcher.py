"""Standing questions over live sources: each commit's evidence goes through `see`."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from index.alerts import Alert, AlertBook, AlertEvent
from index.errors import LongtakeError
from index.faults import fault_point
from index.library import Library
from index.schema import Evidence, Video
from ingest.live.told import untold
from rag.alerts.checking import Checker
from rag.alerts.delivery import ClipOf, deliveries_of, receivers_of
from rag.alerts.events import EventTracker
from rag.alerts.gate import Gate, Sighting
from rag.alerts.outbox import Outbox
from rag.alerts.settings import AlertSettings
from rag.rerank import Reranker
from rag.settings import RetrieveSettings
from rag.vectors import QueryEncoders

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""How often the library is asked for standing questions that came or went."""

WRITTEN_STEP_SECONDS = 5.0
"""By so much an event must have become longer for that to be written."""

SEEN_STEP_SECONDS = 10.0
"""Of a source's time, between two looks at what may be forgotten."""

LATE_SECONDS = 300.0
"""Evidence seldom comes this much later than what was seen before it. Events are kept in mind for
so long; for what comes later (speech, where the recogniser is slower than the world) they are read
again."""

CHECKED_WITHIN_SECONDS = 0.5
SENT_WITHIN_SECONDS = 2.0
"""So long it is waited, at the end, for a check and for what is being sent."""

TRIM_SECONDS = 600.0
"""How often the history is held against what is kept of it."""


@dataclass
class _Standing:
    alert: Alert
    gate: Gate
    trackers: dict[str, EventTracker] = field(default_factory=dict)


class AlertWatcher:
    """Holds what comes against the standing questions of a library, writes down what they report,
    and has it sent. Safe to share between the threads of several sources.

    onlooker: looks at the pictures of an event before anybody is told; None: nobody does. clip_of:
    where an event was recorded. tell: is
    called with each event that is to be told, after it was written, from any thread. clock: seconds
    since 1970.
    """

    def __init__(
        self,
        library: Library,
        settings: AlertSettings,
        *,
        retrieve: RetrieveSettings | None = None,
        encoders: QueryEncoders | None = None,
        onlooker: Reranker | None = None,
        clip_of: ClipOf = lambda event: None,
        tell: Callable[[Alert, AlertEvent, Video], None] = lambda alert, event, video: None,
        clock: Callable[[], float] = time.time,
    ):
        self._library = library
        self._book = AlertBook(library.store)
        self._settings = settings
        self._retrieve = retrieve
        self._encoders = encoders
        self._tell = tell
        self._clock = clock
        self._outbox = Outbox(self._book, settings, clip_of)
        self._standing: dict[str, _Standing] = {}
        self._passed_over: dict[str, Alert] = {}
        self._seen: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._checker = None if onlooker is None else Checker(onlooker, settings, self._checked)
        self._refreshed = self._trimmed = -math.inf
        self._lock = threading.RLock()
        self.notes: list[str] = []
        """What the user should know of the questions, in sentences."""

    def start(self, is_free: Callable[[str], bool] = lambda video_id: True) -> None:
        """Looks at what an earlier process committed and did not look at any more, and sends what
        it left in the outbox. is_free: whether no other process watches that video now, which does
        both itself."""
        with self._lock:
            self._refresh(force=True)
            live = [video for video in self._library.videos() if video.source and is_free(video.id)]
            self._send_pending(live)  # before anything new is pending
            for video in live:
                self._catch_up(video)

    def see(
        self,
        video: Video,
        epoch: int,
        wall_clock_zero: float | None,
        evidence: Sequence[Evidence],
    ) -> list[AlertEvent]:
        """Evidence that was just committed, provisional or sealed, of one epoch; returns the events
        that it began. wall_clock_zero: when 0 of the video's clock was, by that epoch, in seconds
        since 1970. Errors: the store's.
        """
        with self._lock:
            self._refresh()
            begun = self._see(video, epoch, wall_clock_zero, evidence)
            self._forget_old(video, evidence)
        return begun

    def close(self, left: Callable[[float], float] = lambda seconds: seconds) -> None:
        """What has not arrived is sent by the next process. left: how much there is of so many
        seconds to wait for what is under way."""
        self._outbox.stop()
        if self._checker is not None:
            self._checker.close(left(CHECKED_WITHIN_SECONDS))
        self._outbox.close(left(SENT_WITHIN_SECONDS))

    def _see(
        self,
        video: Video,
        epoch: int,
        wall_clock_zero: float | None,
        evidence: Sequence[Evidence],
    ) -> list[AlertEvent]:
        written: list[AlertEvent] = []
        deliveries = []
        begun: list[tuple[Alert, AlertEvent]] = []
        for standing in self._standing.values():
            if not is_for(standing.alert, video):
                continue
            sightings = [sighting for one in evidence for sighting in standing.gate.look(one)]
            if any(self._is_late(video, one) for one in sightings if one.score):
                known = self._book.events(alert_id=standing.alert.id, video_id=video.id)
                self._tracker(standing, video).remember(known)
            change = self._tracker(standing, video).see(
                sightings, self._clock(), epoch=epoch, wall_clock_zero=wall_clock_zero
            )
            written += (*change.begun, *filter(self._is_longer, change.grown))
            state = "checking" if self._is_checked(standing.alert) else "pending"
            for event in change.begun:
                deliveries += deliveries_of(standing.alert, event, state)
                begun.append((standing.alert, event))
        if begun:
            fault_point("before-event")
        self._book.put_events(written, deliveries)
        if begun:
            fault_point("after-event")
        self._written |= {event.id: event.end_seconds for event in written}
        for alert, event in begun:
            if self._is_checked(alert):
                self._check(alert, event, video)
            else:
                self._outbox.put(alert, event, video)
                self._tell(alert, event, video)
        return [event for _, event in begun]

    def _is_checked(self, alert: Alert) -> bool:
        return self._checker is not None and bool(alert.text)

    def _check(self, alert: Alert, event: AlertEvent, video: Video) -> None:
        assert self._checker is not None
        if not self._checker.put(alert, event, video):  # it cannot keep up
            self._checked(alert, event, video)

    def _is_late(self, video: Video, sighting: Sighting) -> bool:
        """So late that events of its time may have been forgotten."""
        kept_from = self._seen.get(video.id, 0.0) - LATE_SECONDS
        return sighting.start_seconds < kept_from + self._settings.refractory_seconds

    def _checked(self, alert: Alert, event: AlertEvent, video: Video) -> None:
        """What to do with an event that was looked at, or cannot be."""
        held = event.checked is not None and event.checked < self._settings.check_floor
        with self._lock:
            standing = self._standing.get(alert.id)
            if standing is None:  # taken away meanwhile
                return
            if event.checked is not None:
                event = self._tracker(standing, video).mark(event)
            state = "withheld" if held else "pending"
            self._book.put_events([event], deliveries_of(alert, event, state))
        if not held:
            self._outbox.put(alert, event, video)
            self._tell(alert, event, video)

    def _send_pending(self, videos: Sequence[Video]) -> None:
        """What an earlier process did not get rid of; what it had not looked at first."""
        self._outbox.resume((one.alert for one in self._standing.values()), videos)
        by_id = {video.id: video for video in videos}
        ids = {
            one.event_id: one for one in self._book.deliveries("checking") if one.video_id in by_id
        }
        for id, delivery in ids.items():
            standing, event = self._standing.get(delivery.alert_id), self._book.event(id)
            if standing is None or event is None:
                continue
            video = by_id[delivery.video_id]
            if self._is_checked(standing.alert) and event.checked is None:
                self._check(standing.alert, event, video)
            else:
                self._checked(standing.alert, event, video)

    def _is_longer(self, event: AlertEvent) -> bool:
        """So much that it is worth a write. What a kill forgets of its length is seen again."""
        known = self._written.get(event.id, event.start_seconds)
        return event.end_seconds - known >= WRITTEN_STEP_SECONDS

    def _tracker(self, standing: _Standing, video: Video) -> EventTracker:
        if video.id not in standing.trackers:
            standing.trackers[video.id] = EventTracker(
                standing.alert,
                video,
                self._settings,
                standing.gate.threshold,
                known=self._book.events(alert_id=standing.alert.id, video_id=video.id),
            )
        return standing.trackers[video.id]

    def _refresh(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now
        if now - self._trimmed >= TRIM_SECONDS:
            self._trimmed = now
            self._trim()
        alerts = {alert.id: alert for alert in self._book.alerts()}
        for id in [id for id in self._standing if id not in alerts]:
            del self._standing[id]
            self._book.forget(id)  # what was reported while it was taken away
        self._passed_over = {id: one for id, one in self._passed_over.items() if id in alerts}
        for id, alert in alerts.items():
            known = self._standing.get(id)
            if alert in (known.alert if known else None, self._passed_over.get(id)):
                continue
            try:
                gate = Gate(
                    alert,
                    self._settings,
                    retrieve=self._retrieve,
                    encoders=self._encoders,
                    spaces=self._library.spaces(),
                )
            except LongtakeError as error:  # written by a newer Longtake, say
                log.warning("the alert %s is passed over: %s", alert.id, error)
                self._passed_over[id] = alert
                self._standing.pop(id, None)
                self.notes.append(f"The alert “{alert.name}” is passed over: {error}")
                continue
            self.notes += [note for note in gate.notes if note not in self.notes]
            self._standing[id] = _Standing(alert, gate)
            if known is not None:
                self._outbox.resume([alert])  # it may tell somebody else by now

    def _trim(self) -> None:
        kept = self._settings.history_seconds
        before = 0.0 if kept is None else self._clock() - kept
        for alert in self._book.alerts():
            ways = [way for way, _ in receivers_of(alert)]
            self._book.trim(alert.id, self._settings.history_events, before, ways=ways)

    def _forget_old(self, video: Video, evidence: Sequence[Evidence]) -> None:
        reached = max((one.start_seconds for one in evidence), default=0.0)
        if reached < self._seen.get(video.id, 0.0) + SEEN_STEP_SECONDS:
            return
        self._seen[video.id] = reached
        for standing in self._standing.values():
            if (tracker := standing.trackers.get(video.id)) is not None:
                for id in tracker.forget_before(reached - LATE_SECONDS):
                    self._written.pop(id, None)

    def _catch_up(self, video: Video) -> None:
        """What was committed and may not have been looked at. To look twice changes nothing: it is
        told once more by whoever watches that video again."""
        if not self._standing:
            return
        by_epoch: dict[int, list[Evidence]] = {}
        for generation, told_seconds in untold(self._library.generations(video.id)):
            by_epoch.setdefault(generation.epoch, []).extend(
                self._library.evidence(
                    video.id,
                    generation=generation.id,
                    start_seconds=told_seconds,
                    with_vectors=True,
                )
            )
        for epoch, evidence in sorted(by_epoch.items()):
            self._see(video, epoch, wall_clock_zero(video, epoch), evidence)


def is_for(alert: Alert, video: Video) -> bool:
    """Is the question asked of that source?"""
    if alert.source is None:
        return True
    name = alert.source.casefold()
    return name == video.id.casefold() or name == video.title.casefold()


def wall_clock_zero(video: Video, epoch: int) -> float | None:
    """When 0 of the video's clock was, by that epoch, in seconds since 1970."""
    start = video.wall_clock(epoch, 0.0)
    return video.wall_clock_start if start is None else start
