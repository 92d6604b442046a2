"""The threads beside the one that looks at a live source: some listen to it, some make what is made
out of other channels' evidence, and tidy up behind epochs that have ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from index.library import Library
from index.schema import Epoch, Evidence, Video
from ingest.channel import Sample
from ingest.claims import Claim
from ingest.held_pictures import HeldPictures
from ingest.live.consolidation import Consolidation
from ingest.live.epoch_pass import EpochPass, LiveNews
from ingest.live.following import Following, looking
from ingest.live.listening import Ear, Listening, listeners_of
from ingest.live.looking import Look, Looking
from ingest.live.recorded import Recordings
from ingest.live.settings import LiveSettings
from ingest.live.source import LiveSource
from ingest.live.stopping import Stop
from ingest.live.tidying import How, Tidying, left_epochs
from ingest.live.told import mark_told
from ingest.plan import Channels
from ingest.segment_frames import Media

_GRACE_SECONDS = 1.0
"""So long each is waited for where the user stops; all together no longer than a `Stop` allows."""


_JOINING_SECONDS = 0.5
"""So long the one who looks waits for those who join still stretches."""


class Beside:
    """news: called with what was found. remark: with what the user should know. Both in these
    threads. lock: held while what is behind the stream is written. rates: channel -> samples a
    second of the sound that it listens to, of those that do."""

    def __init__(
        self,
        library: Library,
        channels: Channels,
        settings: LiveSettings,
        consolidation: Consolidation,
        recordings: Recordings,
        claim: Claim,
        source: LiveSource,
        news: Callable[[LiveNews], None],
        remark: Callable[[str], None],
    ):
        self._library = library
        self._channels = channels
        self._recordings = recordings
        self._claim = claim
        self._news = news
        self._remark = remark
        self._first_epoch: int | None = None
        self._follow_seconds = settings.follow_seconds
        self._followed_at = time.monotonic()
        self.lock = threading.Lock()
        looks = looking(channels.derived)
        self._pictures: HeldPictures | None = None
        self._captioning: Tidying | None = None
        if looks:
            side = max(channel.picture_side for channel in looks if channel.looks)
            self._pictures = HeldPictures(settings.held_bytes, side)
            self._captioning = Tidying(
                "Captioning", library, self._following(looks), self.lock, remark, then=self._forget
            )
        others = tuple(channel for channel in channels.derived if channel not in looks)
        self._tidying = Tidying(
            "Tidying up an epoch",
            library,
            self._following(others),
            self.lock,
            remark,
            consolidation=consolidation,
            then=self._caption,
        )
        self._looking = {
            channel.name: Looking(
                library, channel, settings, self._seen, self._done, remark, waits=source.waits
            )
            for channel in channels.pictures
            if channel.slow
        }
        listeners = listeners_of(channels)
        self._listening = {
            name: Listening(library, listener, self._seen, self._done, remark)
            for name, listener in listeners.items()
        }
        self.rates = {name: listener.rate for name, listener in listeners.items()}

    @property
    def dropped(self) -> int:
        """Pictures that went before anybody beside the stream could look at them."""
        kept = 0 if self._pictures is None else self._pictures.dropped
        return kept + sum(one.dropped for one in self._looking.values())

    def take_up(self, video: Video) -> None:
        """Goes on with what the run before has left."""
        self._tidying.take_up(video, left_epochs(self._library, self._channels, video))

    def see(self, sample: Sample) -> None:
        """A picture that was looked at."""
        if self._pictures is not None:
            self._pictures.push(sample)
        for one in self._looking.values():
            one.see(sample)

    def begin(self, epoch: Epoch, ears: Mapping[str, Ear], looks: Mapping[str, Look]) -> None:
        """An epoch begins. ears, looks: by the channel that listens or looks."""
        if self._first_epoch is None:
            self._first_epoch = epoch.number
        for name, ear in ears.items():
            self._listening[name].put(ear)
        for name, look in looks.items():
            self._looking[name].begin(look)

    def end(self, ears: Mapping[str, Ear], end_seconds: float) -> None:
        """The epoch has come to its end there."""
        for ear in ears.values():  # the reader may hang before it says so
            ear.sound.end()
        for one in self._looking.values():
            one.end(end_seconds)

    def note_told(self, ended: EpochPass, stop: Stop) -> None:
        """Not where an earlier epoch is being joined for long: pictures come meanwhile, and the
        user may stop. The next run tells once more of what came last, then."""
        if self.lock.acquire(timeout=stop.left(_JOINING_SECONDS)):
            try:
                ended.told()
            finally:
                self.lock.release()

    def follow(self, video: Video, epoch: Epoch) -> None:
        """More of an epoch was committed."""
        if time.monotonic() - self._followed_at >= self._follow_seconds:
            self._followed_at = time.monotonic()
            self._tidying.follow(video, epoch)

    def tidy(self, video: Video, epoch: Epoch) -> None:
        """An epoch has ended."""
        self._tidying.put(video, epoch)

    def finish(self, stop: Stop) -> None:
        """Waits until all is done; not for long where the user stops."""
        for one in self._workers():
            one.finish(stop, _GRACE_SECONDS)

    def give_up(self) -> None:
        """Nothing new is begun."""
        for one in self._workers():
            one.give_up()

    def _workers(self) -> list[Listening | Looking | Tidying]:
        """Each before those that build on it."""
        behind = [] if self._captioning is None else [self._captioning]
        return [*self._listening.values(), *self._looking.values(), self._tidying, *behind]

    def _following(
        self, derived: tuple
    ) -> Callable[[Callable[[], bool], Callable[[], bool]], Following]:
        return lambda given_up, gives_way: Following(
            self._library,
            self._channels,
            derived,
            self._claim,
            self.lock,
            self._media,
            self._found,
            self._remark,
            given_up,
            gives_way,
        )

    def _media(self, video: Video, epoch: Epoch) -> Media:
        """Of what was seen in this run the pictures that were kept, of what came before it what was
        recorded."""
        mine = self._first_epoch is not None and epoch.number >= self._first_epoch
        if mine and self._pictures is not None:
            return self._pictures
        return self._recordings.media()

    def _caption(self, video: Video, epoch: Epoch, how: How) -> None:
        if self._captioning is None:
            return
        if how == "left":
            self._captioning.take_up(video, [epoch])
        else:
            (self._captioning.put if how == "ended" else self._captioning.follow)(video, epoch)

    def _forget(self, video: Video, epoch: Epoch, how: How) -> None:
        assert self._captioning is not None
        until = self._captioning.following.looked_until()
        if self._pictures is not None and until is not None:
            self._pictures.forget_before(until)

    def _found(
        self, video: Video, epoch: Epoch, at_seconds: float, evidence: tuple[Evidence, ...]
    ) -> None:
        self._news(LiveNews(video, epoch, at_seconds, evidence))

    def _seen(self, one: Ear | Look, at_seconds: float, evidence: tuple[Evidence, ...]) -> None:
        if evidence:
            self._found(one.video, one.epoch, at_seconds, evidence)
            self._tidying.follow(one.video, one.epoch)

    def _done(self, one: Ear | Look) -> None:
        with self.lock:  # what was joined meanwhile must not come back
            mark_told(self._library, one.generation.id)
        self._tidying.put(one.video, one.epoch)
