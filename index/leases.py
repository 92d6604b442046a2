"""On a server, who works on what: a lease on a (video, channel), kept in the store itself.

A lease is a point of kind "lease": an owner (a token that nobody has used before), a *fence* (a
number that every new owner raises), a *beat* that each renewal raises, and when it runs out. It
stays when the work is done, so that its fence never falls. While the work runs a thread renews it;
where its owner dies, another takes it over once it has run out.

Clocks. An owner counts by its own monotonic clock, and stops `lease_seconds` after it *began* to
ask for the last renewal that was granted. Another machine compares the expiry in the record, which
is the owner's wall clock, with its own, and waits `skew_seconds` longer: so much may the two clocks
differ, a request's time on its way included. A clock that is wrong by more makes another machine
wait too long or begin too soon; then the fence is what is left.

Races that are excluded, with one replica or several (the writes that decide are ordered strongly,
and the reads ask all replicas):

* Two machines take one lease. Taking is one conditional write (the record must be as it was read,
  or not be there), read back.
* A machine that lost its lease moves a watermark, completes a generation or flips one. Whoever
  takes a lease stamps the records of the channel's generations with its fence; from then on
  such a record is written only where its fence is not higher than the writer's, is not made anew
  by somebody who has seen it before, and is read back. Where the write did not come through the
  lease is lost, and the work stops (index.fenced).
* It writes or deletes evidence when it could know: before each write it asks whether its lease
  holds by its own clock.

Not excluded: a machine that is suspended, or a request that is under way, between that question and
the write, for longer than what is left of the lease and `skew_seconds`. Then evidence comes late,
or is deleted late. Late evidence of a generation that the new owner goes on with is what that one
writes, too, since ids and contents follow from the file; of a generation that has gone, it belongs
to none, and the machine deletes it when it finds its lease lost, unless it dies before. A late
deletion (of a resume, of a flip) can take evidence that the new owner has written since: `longtake
index --force` makes up for it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from index.errors import LeaseLostError, StoreError
from index.schema import make_id
from index.server import ServerStore
from index.settings import ServerSettings
from index.store import Filter, Point, where

logger = logging.getLogger(__name__)

OVERTAKEN = (
    "this machine was out of touch with the server for so long that another may have gone on with "
    "the file. What was committed is kept; the next run goes on."
)

_RENEWALS = 4
"""In the time that a lease lasts: three may fail."""


@dataclass(frozen=True, slots=True)
class Clock:
    """wall: seconds since 1970, as other machines know them. monotonic: seconds, this process's."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Leases:
    """The leases of one process. Implements ingest.claims.Claims. What works under them must write
    through an index.fenced.FencedStore.

    claims: those that are held, by video id. beating: whether threads renew them; else somebody
    calls `Claim.renew`.
    """

    def __init__(
        self,
        store: ServerStore,
        settings: ServerSettings,
        *,
        clock: Clock | None = None,
        beating: bool = True,
    ):
        self._server = store
        self._settings = settings
        self._clock = clock or Clock()
        self._beating = beating
        self.claims: dict[str, Claim] = {}

    @contextmanager
    def holding(self, video_id: str) -> Iterator[Claim | None]:
        """A claim on the video, under which channels can be taken; they are given up at the end.
        None where this process already has one."""
        claim = Claim(self._server, self._settings, self._clock, video_id)
        if self.claims.setdefault(video_id, claim) is not claim:
            yield None
            return
        ended = threading.Event()
        beat = threading.Thread(target=self._renew, args=(claim, ended), daemon=True)
        try:
            if self._beating:
                beat.start()
            yield claim
        finally:
            ended.set()
            if self._beating:
                beat.join()
            del self.claims[video_id]
            claim.give_up()

    def _renew(self, claim: Claim, ended: threading.Event) -> None:
        while not ended.wait(self._settings.lease_seconds / _RENEWALS):
            try:
                claim.renew()
            except StoreError as error:  # it may be back before the lease runs out
                logger.warning("A lease could not be renewed: %s", error)


class Claim:
    """What this process holds of one video.

    seen: ids of the video's generations that were in the store since the claim was made. Safe to
    use from several threads.
    """

    def __init__(self, store: ServerStore, settings: ServerSettings, clock: Clock, video_id: str):
        self.seen: set[str] = set()
        self._store = store
        self._settings = settings
        self._clock = clock
        self._video_id = video_id
        self._owner = uuid.uuid4().hex
        self._held: dict[str, Point] = {}
        self._until = 0.0
        self._lost = False
        self._lock = threading.Lock()

    def take(self, channel: str) -> bool:
        """Takes the lease of a channel, unless another machine holds it. Raises LeaseLostError
        where those that are held already have run out, and StoreError."""
        with self._lock:
            if self._held:
                self._check()
            if channel in self._held:
                return True
            asked = self._clock.monotonic()
            lease = self._taken(channel)
            if lease is None:
                return False
            records = where(kind="generation", video_id=self._video_id, channel=channel)
            self._store.set_payload({"fence": lease.payload["fence"]}, records)
            if not self._held:
                self._until = asked + self._settings.lease_seconds
            self._held[channel] = lease
            return True

    def _taken(self, channel: str) -> Point | None:
        """The lease where it is ours now."""
        id = make_id("lease", self._video_id, channel)
        now = self._clock.wall()
        mine = {
            "kind": "lease",
            "video_id": self._video_id,
            "channel": channel,
            "owner": self._owner,
            "host": f"{socket.gethostname()} (process {os.getpid()})",
            "held": True,
            "fence": 1,
            "beat": 0,
            "expires_at": now + self._settings.lease_seconds,
        }
        unchanged: Filter | None = None
        for there in self._store.read_settled([id]):
            seen = there.payload
            if seen["held"] and now < seen["expires_at"] + self._settings.skew_seconds:
                return None
            mine["fence"] = seen["fence"] + 1
            unchanged = where(owner=seen["owner"], fence=seen["fence"], beat=seen["beat"])
        lease = Point(id, mine)
        new = unchanged is None
        self._store.upsert_settled([lease], only=unchanged, insert=new, update=not new)
        return lease if self._is_ours([id]) else None

    def renew(self) -> None:
        """Raises StoreError where the server cannot be asked."""
        with self._lock:
            held = dict(self._held)
        if not held:
            return
        asked = self._clock.monotonic()
        expires_at = self._clock.wall() + self._settings.lease_seconds
        renewed = {
            channel: changed(lease, beat=lease.payload["beat"] + 1, expires_at=expires_at)
            for channel, lease in held.items()
        }
        self._write(list(renewed.values()))
        ours = self._is_ours([lease.id for lease in renewed.values()])
        with self._lock:
            if not ours:
                self._lost = True
                return
            self._held |= renewed
            if self._held.keys() == renewed.keys():
                self._until = asked + self._settings.lease_seconds

    def give_up(self) -> None:
        """Lets others have the leases at once. Where the server cannot be told, they run out."""
        with self._lock:
            freed = [changed(lease, held=False) for lease in self._held.values()]
            self._held = {}
        try:
            if freed:
                self._write(freed)
        except StoreError as error:
            logger.warning("Leases could not be given up; they run out: %s", error)

    def _write(self, leases: Sequence[Point]) -> None:
        """Over those that are still ours."""
        self._store.upsert_settled(leases, only=where(owner=self._owner), insert=False)

    def _is_ours(self, ids: Sequence[str]) -> bool:
        owners = [lease.payload["owner"] for lease in self._store.read_settled(ids)]
        return owners == [self._owner] * len(ids)

    def check(self) -> None:
        """Raises LeaseLostError where not all that was taken is held any more."""
        with self._lock:
            if self._held:
                self._check()

    def fence(self, channel: str) -> int:
        """Of the lease that is held. Raises LeaseLostError where it is not."""
        with self._lock:
            if channel not in self._held:
                raise LeaseLostError(f"The lease on the channel {channel} is not held.")
            self._check()
            return self._held[channel].payload["fence"]

    def _check(self) -> None:
        if self._lost or self._clock.monotonic() >= self._until:
            raise LeaseLostError(OVERTAKEN)


def changed(point: Point, **fields: Any) -> Point:
    """The point with these fields of its payload."""
    return dataclasses.replace(point, payload={**point.payload, **fields})
