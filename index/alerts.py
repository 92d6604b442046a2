"""Standing questions, what they have reported, and the outbox: how they lie in the store.

An event and what is to be sent of it are written in one call and flushed before anything is sent,
so after a kill the outbox knows what may not have arrived.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from index.convert import convert
from index.errors import UsageError
from index.schema import make_id
from index.store import Point, Range, Store, scroll, where

ALERT_KINDS = ("alert_event", "delivery", "alert_seen")
"""Kinds of points that belong to a video and go with it. Earlier Longtakes wrote the last."""

UNSENT = ("checking", "pending")
"""States of deliveries that somebody is to hear of yet."""

WAYS = ("webhook", "exec")

_EVENTS = where(kind="alert_event")
_SETTLED = where(kind="delivery", state=("delivered", "failed", "withheld"))


@dataclass(frozen=True, slots=True)
class Alert:
    """A standing question.

    text: as it was typed; "" where only a picture is looked for. source: name or id of the one live
    source that it is for; None for all. created_at: when it was asked, in seconds since 1970.
    picture: the fingerprint of a picture, 64 hexadecimal digits, and picture_path the file that it
    is of. webhook, command: who is told, an address or a program with its arguments.
    thresholds: kind of sighting -> score from which it counts, where that is not the settings'.
    """

    text: str
    created_at: float
    source: str | None = None
    picture: str | None = None
    picture_path: str | None = None
    webhook: str | None = None
    command: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """From what is asked of whom, so that asking twice is asking once."""
        return make_id("alert", self.text, self.source or "", self.picture or "")

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.text or f"the picture {self.picture_path}"


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A stretch in which what a standing question asks for was there.

    id: UUIDv5 of (question, source, epoch, bucket of the start), given once. score: the greatest so
    far, 0..1. channel, text: what it was seen or read in, and the words there. wall_clock_start:
    when it began in the world, in seconds since 1970. noticed_at: when it was reported.
    evidence: ids of what it was first seen in. checked: how sure a Video-LLM is that it is there,
    0..1; None where none was asked, or it could not tell.
    """

    id: str
    alert_id: str
    question: str
    video_id: str
    epoch: int
    start_seconds: float
    end_seconds: float
    score: float
    channel: str
    text: str = ""
    wall_clock_start: float | None = None
    noticed_at: float = 0.0
    evidence: tuple[str, ...] = ()
    checked: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to somebody. way: "webhook" or "exec". state: "checking" is what is to be
    looked at before it may be sent, "withheld" what a check has held back. attempts: made so far.
    error: of the last one, "" where it arrived. noticed_at: as the event's."""

    event_id: str
    alert_id: str
    video_id: str
    way: Literal["webhook", "exec"]
    state: Literal["checking", "pending", "delivered", "failed", "withheld"] = "pending"
    attempts: int = 0
    error: str = ""
    noticed_at: float = 0.0

    @property
    def id(self) -> str:
        return make_id("delivery", self.event_id, self.way)


class AlertBook:
    """The standing questions of a library, their events and the outbox. Errors: the store's."""

    def __init__(self, store: Store):
        self._store = store

    def alerts(self) -> list[Alert]:
        """By when they were asked."""
        found = [_read(p, Alert) for p in scroll(self._store, where(kind="alert"))]
        return sorted(found, key=lambda alert: (alert.created_at, alert.id))

    def find(self, name: str) -> Alert:
        """The one that `name` means: at least 4 characters of the start of its id, or its text.
        Raises UsageError where there is none, or several."""
        alerts = self.alerts()
        folded = name.strip().casefold()
        for matches in (
            lambda alert: alert.id == folded,
            lambda alert: folded and alert.name.casefold() == folded,
            lambda alert: len(folded) >= 4 and alert.id.startswith(folded),
        ):
            found = [alert for alert in alerts if matches(alert)]
            if len(found) == 1:
                return found[0]
            if found:
                listed = ", ".join(
                    f"{alert.id[:8]} ({alert.source or 'of all sources'})" for alert in found
                )
                raise UsageError(f"“{name}” means {len(found)} alerts: {listed}. Give the id.")
        raise UsageError(f"No alert “{name}”. `longtake alert ls` lists what there is.")

    def put(self, alert: Alert) -> None:
        self._store.upsert([_point(alert.id, "alert", alert)])
        self._store.flush()

    def remove(self, alert_id: str) -> None:
        """With its events and what is still on its way; the question first, so that nothing new
        comes."""
        self._store.delete(where(kind="alert", alert_id=alert_id))
        self.forget(alert_id)

    def forget(self, alert_id: str) -> None:
        """The events and deliveries of a question that is gone."""
        for kind in ("alert_event", "delivery"):
            self._store.delete(where(kind=kind, alert_id=alert_id))
        self._store.flush()

    def events(self, *, alert_id: str | None = None, video_id: str | None = None):
        """`AlertEvent`s, of a question or of a video or of all, by when they were noticed."""
        given = {"alert_id": alert_id, "video_id": video_id}
        wanted = where(kind="alert_event", **{k: v for k, v in given.items() if v is not None})
        found = [_read(point, AlertEvent) for point in scroll(self._store, wanted)]
        return sorted(found, key=lambda event: (event.noticed_at, event.id))

    def event(self, event_id: str) -> AlertEvent | None:
        return next((_read(p, AlertEvent) for p in self._store.retrieve([event_id])), None)

    def delivery(self, delivery_id: str) -> Delivery | None:
        return next((_read(p, Delivery) for p in self._store.retrieve([delivery_id])), None)

    def put_events(self, events: Sequence[AlertEvent], deliveries: Sequence[Delivery] = ()) -> None:
        """All of them in one write, on the disk when this returns."""
        points = [_point(e.id, "alert_event", e, e) for e in events]
        points += [_delivery_point(delivery) for delivery in deliveries]
        if points:
            self._store.upsert(points)
            self._store.flush()

    def deliveries(self, state: str | None = None, **of: str) -> Iterator[Delivery]:
        """As they are read, in no order. of: alert_id or video_id."""
        given = of if state is None else {"state": state, **of}
        for point in scroll(self._store, where(kind="delivery", **given)):
            yield _read(point, Delivery)

    def put_delivery(self, delivery: Delivery) -> None:
        """Not where the question has been taken away meanwhile. Does not flush: what is lost with
        the power is sent once more."""
        if self._store.retrieve([delivery.alert_id]):
            self._store.upsert([_delivery_point(delivery)])

    def trim(
        self, alert_id: str, keep: int, before: float = 0.0, *, ways: Collection[str] = WAYS
    ) -> None:
        """Lets go of the history of a question but its newest events, so many, and of what was
        noticed before that time; not from the oldest event on that is still on its way. ways: those
        that the question tells by: what waits for another one is never sent."""
        wanted = where(kind="alert_event", alert_id=alert_id)
        if self._store.count(wanted) > keep:
            times = (point.payload["record"]["noticed_at"] for point in scroll(self._store, wanted))
            before = max(before, heapq.nlargest(keep, times)[-1])
        for state in UNSENT if before else ():
            waiting = (w for w in self.deliveries(state, alert_id=alert_id) if w.way in ways)
            before = min((before, *(w.noticed_at for w in waiting if w.noticed_at < before)))
        if not before:
            return
        self._date(alert_id)
        for kind in ("delivery", "alert_event"):
            old = where(kind=kind, alert_id=alert_id).and_(Range("noticed_at", lt=before))
            self._store.delete(old)
        self._store.flush()

    def _date(self, alert_id: str) -> None:
        """Points of a Longtake that did not write when they were noticed where filters see it."""
        undated = where(alert_id=alert_id).but_not(Range("noticed_at", gte=0))
        events = [_read(p, AlertEvent) for p in scroll(self._store, undated.also(_EVENTS))]
        if events:
            self.put_events(events)
        deliveries = [_read(p, Delivery) for p in scroll(self._store, undated.also(_SETTLED))]
        if deliveries:
            times = {event.id: event.noticed_at for event in self.events(alert_id=alert_id)}
            dated = [
                dataclasses.replace(one, noticed_at=times.get(one.event_id, 0.0))
                for one in deliveries
            ]
            self.put_events((), dated)


def _point(id: str, kind: str, record: Any, of: AlertEvent | Delivery | None = None) -> Point:
    belongs: dict[str, Any] = {"alert_id": id}
    if of is not None:
        belongs = {"alert_id": of.alert_id, "video_id": of.video_id, "noticed_at": of.noticed_at}
    return Point(id, {"kind": kind, **belongs, "record": msgspec.to_builtins(record)})


def _delivery_point(delivery: Delivery) -> Point:
    point = _point(delivery.id, "delivery", delivery, delivery)
    return dataclasses.replace(point, payload={**point.payload, "state": delivery.state})


def _read(point: Point, record: type) -> Any:
    return convert(point.payload["record"], record)


def of_events(deliveries: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    """Event id -> its deliveries."""
    found: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.event_id, []).append(delivery)
    return found
