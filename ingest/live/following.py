"""What is made out of other channels' evidence is made of a stream while it runs: segments by
meaning, vectors of words, captions.

Each step brings the derived channels up to what is final of their sources; when these are complete,
so are they. It is the channels' own resuming that does it: a step is a run that goes on at the
watermark and ends where more is to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from threading import Lock

from index.errors import LeaseLostError, LibraryError, LongtakeError, StoreError
from index.library import Library
from index.records import generation_from
from index.schema import Epoch, Evidence, Generation, Video
from ingest.channel import STILL_WAITING, Batch, DerivedChannel
from ingest.claims import Claim
from ingest.live.told import mark_told, with_told
from ingest.plan import Channels
from ingest.segment_frames import Media, Recording
from ingest.work import RemovedMeanwhile
from ingest.writer import ChannelWriter, Commit

_PATIENCE_SECONDS = 30.0
"""So long what is made of the pictures waits for what is said meanwhile, which comes later."""
_PATIENT_FOR = "speech"

_WORTH_SECONDS = 60.0
"""How far a channel has come is written where it has found something, or come so much farther."""

_RETRY_SECONDS = 60.0

_SHOWN_SHARE = 0.9
"""Of an epoch, so much must be recorded for a new look at it to take the place of the first one."""

_FATAL = (LibraryError, StoreError, LeaseLostError, RemovedMeanwhile)

MediaOf = Callable[[Video, Epoch], Media]


def looking(derived: Sequence[DerivedChannel]) -> tuple[DerivedChannel, ...]:
    """Those that look at pictures, and those that are made of what these find."""
    names: set[str] = set()
    for channel in derived:
        if channel.looks or names.intersection(channel.sources[:1]):
            names.add(channel.name)
    return tuple(channel for channel in derived if channel.name in names)


class Following:
    """Not for several threads.

    derived: those of the channels that it drives, each after its sources. lock: held while
    something is written: what is let go of meanwhile must not come back. media: where an epoch's
    pictures are. found: called with what was committed. failed: with what went wrong, once each; it
    is tried again a minute later. given_up: whether it is to be left as it is. gives_way: whether
    something else waits: a step then ends behind its next batch, so that however often that is so,
    and however long a batch takes, each step brings something on.
    """

    def __init__(
        self,
        library: Library,
        channels: Channels,
        derived: Sequence[DerivedChannel],
        claim: Claim,
        lock: Lock,
        media: MediaOf,
        found: Callable[[Video, Epoch, float, tuple[Evidence, ...]], None],
        failed: Callable[[str], None],
        given_up: Callable[[], bool],
        gives_way: Callable[[], bool] = lambda: False,
    ):
        self._library = library
        self._channels = channels
        self._derived = derived
        self._claim = claim
        self._lock = lock
        self._media = media
        self._found = found
        self._failed = failed
        self._given_up = given_up
        self._gives_way = gives_way
        self._took = False  # anything, in this step
        self._said: set[str] = set()
        self._pauses: dict[str, float] = {}
        self._epochs: dict[int, _Followed] = {}

    def step(self, video: Video, epoch: Epoch, *, but_records: bool = False) -> None:
        """Goes on with that epoch, and with earlier ones of which something was left. but_records:
        without what names the records of its sources (these are about to be written anew)."""
        self._epochs.setdefault(epoch.number, _Followed(epoch))
        self._took = False
        for number in sorted(self._epochs):
            followed = self._epochs[number]
            done = []
            try:
                for channel in self._derived:
                    if not (but_records and channel.names_records) and not self._is_over():
                        done.append(self._step(video, followed, channel))
            except RemovedMeanwhile:  # retention has let go of it
                del self._epochs[number]
                continue
            over = len(done) == len(self._derived) and all(done)
            if over or not self._active(video, followed):
                del self._epochs[number]

    def _is_over(self) -> bool:
        return self._given_up() or (self._took and self._gives_way())

    def has_left(self, epoch: Epoch) -> bool:
        """Whether it is to be gone on with."""
        return epoch.number in self._epochs

    def forget(self, epoch: Epoch) -> None:
        """It is gone on with when it is named again."""
        self._epochs.pop(epoch.number, None)

    def looked_until(self) -> float | None:
        """Up to where those that look at pictures have come everywhere; None where some have not
        begun."""
        looks = [channel.name for channel in self._derived if channel.looks]
        writers = [one.writers.get(name) for one in self._epochs.values() for name in looks]
        if not writers or not all(writers):
            return None
        return min(writer.generation.watermark_seconds for writer in writers)

    def _step(self, video: Video, followed: _Followed, channel: DerivedChannel) -> bool:
        """Returns whether the channel has nothing left to do in that epoch."""
        epoch = followed.epoch
        there = self._active(video, followed)
        sources = [there[name] for name in channel.sources if name in there]
        fingerprints = self._channels.derived_fingerprints(there.values(), unfinished=True)
        fingerprint = fingerprints.get(channel.name)
        if fingerprint is None or not self._claim.take(channel.name):
            return all(source.complete for source in there.values())
        if time.monotonic() < self._pauses.get(channel.name, 0.0):
            return False
        if self._is_for_ever(there.get(channel.name), channel, fingerprint) and not _is_shown(
            self._media(video, epoch), epoch
        ):
            return True  # what was seen when it came is all that there will ever be
        writer = self._writer(video, followed, channel, fingerprint)
        if writer is None:
            return True
        until = None if all(source.complete for source in sources) else _until(sources)
        if until is not None and until <= writer.generation.watermark_seconds:
            return False
        try:
            if until is None:
                end = max(source.watermark_seconds for source in sources)
                video = replace(video, duration_seconds=end)
            return self._run(video, followed, channel, writer, until)
        except _FATAL:
            raise
        except LongtakeError as error:
            self._pauses[channel.name] = time.monotonic() + _RETRY_SECONDS
            followed.writers.pop(channel.name, None)
            if str(error) not in self._said:
                self._said.add(str(error))
                self._failed(f"{channel.name}: {error}")
            return False

    def _is_for_ever(
        self, before: Generation | None, channel: DerivedChannel, fingerprint: str
    ) -> bool:
        """Whether a generation that the channel would replace is of pictures that it has to look
        at, or that another model has looked at (a captioner, where there are tags by now)."""
        if before is None or before.fingerprint == fingerprint or channel.names_records:
            return False
        model = self._channels.models.get(channel.name)
        return channel.looks or before.detail.get("model") != model

    def _run(
        self,
        video: Video,
        followed: _Followed,
        channel: DerivedChannel,
        writer: ChannelWriter,
        until: float | None,
    ) -> bool:
        epoch, generation = followed.epoch, writer.generation
        end = max(generation.watermark_seconds, video.duration_seconds or 0.0)
        start, media = generation.watermark_seconds, self._media(video, epoch)
        batches = channel.run(media, video, generation, start, self._library, until)
        for batch in batches:
            leaves = given_up = self._given_up()
            if batch is not STILL_WAITING and not given_up:
                leaves = batch.watermark_seconds > start and self._gives_way()
                self._take(video, epoch, writer, batch, even_if_empty=leaves)
                self._took = True
                end = max(end, batch.analysed_seconds)
            if leaves:
                batches.close()
                followed.writers.pop(channel.name, None)  # the next one begins at the watermark
                return False
        if until is None:
            writer.generation = with_told(writer.generation)
            self._commit(video, epoch, writer, writer.take(end, end, last=True), finish=True)
            followed.known = ()
            del followed.writers[channel.name]
        return until is None

    def _take(
        self,
        video: Video,
        epoch: Epoch,
        writer: ChannelWriter,
        batch: Batch,
        *,
        even_if_empty: bool,
    ) -> None:
        writer.add(list(batch.evidence))
        writer.add_points(list(batch.points))
        writer.give_up(batch.uncovered_seconds)
        writer.note(batch.notes)
        writer.generation = with_told(writer.generation)
        commit = writer.take(batch.watermark_seconds, batch.analysed_seconds)
        generation, evidence, points = commit
        written = self._epochs[epoch.number].written
        farther = generation.watermark_seconds - written.get(generation.id, epoch.start_seconds)
        found = evidence or points or batch.uncovered_seconds
        if found or even_if_empty or farther >= _WORTH_SECONDS:
            self._commit(video, epoch, writer, commit)
            written[generation.id] = generation.watermark_seconds

    def _commit(
        self,
        video: Video,
        epoch: Epoch,
        writer: ChannelWriter,
        commit: Commit,
        *,
        finish: bool = False,
    ) -> None:
        generation, evidence, _ = commit
        with self._lock:
            if not self._library.store.retrieve([generation.id]):
                raise RemovedMeanwhile(f"{video.title}: was let go of in the middle.")
            (self._library.finish if finish else self._library.commit_all)([commit])
        if evidence:
            self._found(video, epoch, generation.analysed_seconds, tuple(evidence))
        if finish:
            with self._lock:
                mark_told(self._library, generation.id)

    def _writer(
        self, video: Video, followed: _Followed, channel: DerivedChannel, fingerprint: str
    ) -> ChannelWriter | None:
        """None where all is done."""
        writer = followed.writers.get(channel.name)
        if writer is not None and writer.generation.fingerprint == fingerprint:
            return writer
        model = self._channels.models.get(channel.name)
        start = followed.epoch.start_seconds
        wanted = Generation(
            video.id,
            followed.epoch.number,
            channel.name,
            fingerprint,
            watermark_seconds=start,
            analysed_seconds=start,
            detail={"model": model} if model else {},
        )
        generation = self._library.begin(wanted)
        if generation.complete:
            return None
        writer = ChannelWriter(self._library, generation)
        self._library.store.flush()
        followed.writers[channel.name] = writer
        followed.known = ()
        return writer

    def _active(self, video: Video, followed: _Followed) -> dict[str, Generation]:
        """channel -> what searchers see of it in that epoch, as it is now. All of them are looked
        for where one has gone or come: in a video of weeks there are many."""
        points = self._library.store.retrieve(followed.known)
        found = [generation_from(point.payload) for point in points]
        if not found or len(found) < len(followed.known) or not _all_active(found):
            found = self._library.generations(video.id, followed.epoch.number)
            found = [one for one in found if one.state == "active"]
            followed.known = tuple(one.id for one in found)
        return {one.channel: one for one in found}


class _Followed:
    """An epoch. known: ids of its generations. written: how far the catalogue knows each of ours to
    have come."""

    def __init__(self, epoch: Epoch):
        self.epoch = epoch
        self.known: tuple[str, ...] = ()
        self.writers: dict[str, ChannelWriter] = {}
        self.written: dict[str, float] = {}


def _all_active(generations: Collection[Generation]) -> bool:
    return all(one.state == "active" for one in generations)


def _is_shown(media: Media, epoch: Epoch) -> bool:
    """Whether the epoch can be looked at again."""
    if not isinstance(media, Recording) or epoch.end_seconds is None:
        return True
    start, end = epoch.start_seconds, epoch.end_seconds
    parts = [(max(begins, start), min(ends or end, end)) for _, begins, ends in media.parts]
    return sum(max(ends - begins, 0.0) for begins, ends in parts) >= _SHOWN_SHARE * (end - start)


def _until(sources: Sequence[Generation]) -> float:
    """Up to where they are final; the first one is what the others are read beside."""
    first = sources[0].channel
    needed = [one for one in sources if one.channel in (first, "shot", "segment", "frame")]
    until = min(one.watermark_seconds for one in needed)
    over = all(one.complete for one in needed)
    for one in sources:
        if one.channel == _PATIENT_FOR != first and not over:
            until = min(until, max(one.watermark_seconds, until - _PATIENCE_SECONDS))
    return until
