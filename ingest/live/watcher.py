"""Watches one live source until it ends or the user stops: what is read is looked at, and committed
as it comes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from index.errors import LeaseLostError, LongtakeError
from index.library import Library
from index.pieces import Piece
from index.schema import Epoch
from ingest.channel import Sample
from ingest.claims import Claim, Claims
from ingest.live.beside import Beside
from ingest.live.consolidation import Consolidation
from ingest.live.epoch_pass import EpochPass, LiveListener, LiveNews
from ingest.live.epochs import thinned
from ingest.live.intake import Intake
from ingest.live.known import known_video, tell_untold
from ingest.live.reader import Anchored, Began, Connected, Ended, Lost, Over, Reader, Remark, Said
from ingest.live.recorded import Recordings
from ingest.live.retention import Retention
from ingest.live.settings import LiveSettings
from ingest.live.source import LiveSource
from ingest.live.state import OnState, SourceState
from ingest.live.stopping import Stop
from ingest.live.writer import OPEN
from ingest.picture_events import Progress, ShotEnded
from ingest.plan import Channels
from ingest.settings import IngestSettings
from ingest.thumbnails import Thumbnails
from ingest.work import Checks, RemovedMeanwhile

logger = logging.getLogger(__name__)

_RECORD_SECONDS = 10.0
"""How often the catalogue is told how far a source has come that shows nothing new."""
_NOTES = 20
"""So many remarks, the newest, are kept with a video."""
_DRAIN_SECONDS = 1.5
"""So long what has been read is still looked at when the user stops."""
_IDLE_SECONDS = 0.25
_ANSWER_SECONDS = 0.3
"""So long the reader is waited for then: it may hang in FFmpeg, which waits for the network."""


class Watcher:
    """Runs one source.

    on_state: told whenever the state changes, and behind each commit. listener: told what has
    become findable, from several threads. onlooker: shown each picture that was looked at.
    recordings: where what is recorded lies; reserve_bytes: of that disk that stay free.
    """

    def __init__(
        self,
        library: Library,
        channels: Channels,
        ingest: IngestSettings,
        settings: LiveSettings,
        thumbnails: Thumbnails,
        claims: Claims,
        source: LiveSource,
        stop: Stop,
        on_state: OnState,
        listener: LiveListener = lambda news: None,
        *,
        onlooker: Callable[[str, Sample], None] = lambda source, sample: None,
        recordings: Path | None = None,
        reserve_bytes: int = 0,
    ):
        self._library = library
        self._channels = channels
        self._ingest = ingest
        self._settings = settings
        self._thumbnails = thumbnails
        self._claims = claims
        self._source = source
        self._stop = stop
        self._on_state = on_state
        self._listener = listener
        self._onlooker = onlooker
        self._checks = Checks(library, stop.is_set)
        self._recordings = Recordings(library, recordings, source.video_id)
        self._reserve_bytes = reserve_bytes
        self._retention = Retention(
            library,
            thumbnails,
            self._recordings.folder,
            keep_seconds=settings.keep_seconds,
            keep_bytes=settings.keep_bytes,
        )
        self._consolidation = Consolidation(library, thumbnails)
        self._state = SourceState(source.name, source.video_id, "connecting")
        self._no_more = threading.Event()  # for the reader
        self._intake = Intake(settings, waits=source.waits, stop=self._no_more)
        self._pass: EpochPass | None = None
        self._claim: Claim | None = None
        self._committed_at = self._recorded_at = self._pruned_at = time.monotonic()
        self._dropped_before = 0
        self._found = 0
        self._beside: Beside | None = None
        self._known = self._live = False  # in the catalogue, and as live

    def run(self) -> SourceState:
        """Returns its last state: "ended", "stopped" or "failed"."""
        try:
            with self._claims.holding(self._source.video_id) as claim:
                if claim is None:
                    raise LeaseLostError(
                        f"“{self._source.name}” is being watched by another process."
                    )
                self._claim = claim
                try:
                    self._watch()
                except RemovedMeanwhile:
                    self._remove()
                    raise
                finally:
                    if self._beside is not None:
                        self._beside.give_up()
        except RemovedMeanwhile:
            name = self._source.name
            self._tell("failed", f"“{name}” was removed from the library and is watched no more.")
        except LongtakeError as error:
            self._tell("failed", str(error))
        except Exception as error:  # whatever it is, the other sources go on
            logger.exception("Watching %s failed", self._source.name)
            self._tell(
                "failed",
                f"{self._source.name}: something unexpected happened "
                f"({type(error).__name__}: {error}). The log file holds the details.",
            )
        return self._state

    def _remove(self) -> None:
        if self._beside is not None:
            self._beside.give_up()
        self._thumbnails.remove(self._source.video_id)
        self._recordings.remove()
        self._library.remove_video(self._source.video_id)

    def _watch(self) -> None:
        library, claim = self._library, self._claim
        assert claim is not None
        self._video = known_video(
            library, self._source, self._recordings, self._consolidation, claim
        )
        self._known = bool(self._video.epochs)
        self._write_video()
        self._tell("connecting")
        tell_untold(library, self._video, claim, self._listener)
        self._beside = Beside(
            library,
            self._channels,
            self._settings,
            self._consolidation,
            self._recordings,
            claim,
            self._source,
            self._hear,
            lambda text: self._intake.put(Remark(text)),
        )
        self._beside.take_up(self._video)
        reader = Reader(
            self._source,
            self._settings,
            self._ingest,
            self._intake,
            self._video.epochs,
            self._no_more,
            rates=self._beside.rates,
            recordings=self._recordings.folder if self._settings.record else None,
            reserve_bytes=self._reserve_bytes,
        )
        reader.start()
        try:
            over = self._take_all(reader)
        finally:
            self._no_more.set()
            if self._pass is not None:
                self._pass.close()
        reader.join(self._stop.left(_ANSWER_SECONDS))
        self._beside.finish(self._stop)
        while isinstance(item := self._intake.get(0.0), Remark):
            self._take(item)
        self._live = False
        self._write_video()
        if over is not None and over.error is not None:
            raise over.error
        self._tell("stopped" if over is None else "ended")

    def _take_all(self, reader: Reader) -> Over | None:
        """Until nothing more comes; None where the user stops."""
        over = None
        while over is None and not self._stop.is_set():
            item = self._intake.get(self._due_in())
            if isinstance(item, Over):
                over = item
            elif item is not None:
                self._take(item)
            if over is None and self._is_due():
                self._commit()
            if time.monotonic() - self._recorded_at >= _RECORD_SECONDS:
                self._write_video()
            if time.monotonic() - self._pruned_at >= self._settings.keep_check_seconds:
                self._prune()
        if over is None:
            self._drain()
        self._end_epoch(reader.end_seconds)
        return over

    def _drain(self) -> None:
        """The user stops: looks at what has been read already."""
        self._no_more.set()
        until = time.monotonic() + self._stop.left(_DRAIN_SECONDS)
        while time.monotonic() < until:
            item = self._intake.get(_ANSWER_SECONDS)
            if item is None or isinstance(item, Over):
                return
            self._take(item)

    def _take(self, item: object) -> None:
        if isinstance(item, Sample | ShotEnded | Progress):
            if self._pass is not None:
                self._pass.take(item)
                if isinstance(item, Sample):
                    self._onlooker(self._source.name, item)
                    self._behind.see(item)
        elif isinstance(item, Said):
            if self._pass is not None:
                self._pass.say(item.packet)
        elif isinstance(item, Began):
            self._begin(item)
        elif isinstance(item, Ended):
            self._end_epoch(item.end_seconds)
        elif isinstance(item, Anchored):
            if self._pass is not None:
                self._pass.epoch = replace(
                    self._pass.epoch, wall_clock_start=item.epoch.wall_clock_start
                )
                self._write_video()
        elif isinstance(item, Connected):
            self._video = replace(self._video, streams=item.streams)
        elif isinstance(item, Piece):
            self._recordings.keep(item)
        elif isinstance(item, Remark):
            self._video = replace(self._video, notes=(*self._video.notes, item.text)[-_NOTES:])
            self._tell(self._state.state, item.text)
        elif isinstance(item, Lost):
            self._tell("lost", f"{item.reason} Trying again in {item.retry_seconds:g} s.")

    def _begin(self, began: Began) -> None:
        epochs = thinned((*self._video.epochs, began.epoch))
        first = epochs[0]
        self._video = replace(
            self._video,
            streams=began.streams,
            epochs=epochs,
            duration_seconds=None,
            wall_clock_start=first.wall_clock_start - first.start_seconds,
            indexed_at=time.time(),
        )
        if self._known:
            self._checks.removed(self._video)
        self._library.put_video(self._video)
        self._known = self._live = True
        assert self._claim is not None
        self._dropped_before = self._dropped
        self._pass = EpochPass(
            self._library,
            self._channels,
            self._ingest,
            self._thumbnails,
            self._video,
            began.epoch,
            self._claim,
            began.sounds,
        )
        self._behind.begin(began.epoch, self._pass.ears, self._pass.looks)
        self._committed_at = self._recorded_at = time.monotonic()
        self._tell("live")

    def _end_epoch(self, end_seconds: float) -> None:
        if self._pass is None:
            return
        with closing(self._pass) as ended:
            self._checks.removed(self._video)
            self._pass = None
            self._behind.end(ended.ears, max(end_seconds, ended.at_seconds))
            news = ended.finish(end_seconds)
            end = max(end_seconds, ended.at_seconds)
            over = replace(ended.epoch, end_seconds=end)
            self._set_epoch(over)
            self._write_video()
        self._hear(news)
        self._behind.note_told(ended, self._stop)
        self._told(end, ended.epoch)
        if not self._stop.is_set():  # else the next run does it
            self._behind.tidy(self._video, over)

    def _prune(self) -> None:
        """Lets go of what is too old, or too much, as of how far has been looked: of a source that
        waits the reader may be hours ahead, and what is found there yet would come behind it."""
        self._pruned_at = time.monotonic()
        reached_seconds = self._state.at_seconds
        if not self._known or reached_seconds is None:
            return
        self._checks.removed(self._video)
        with self._behind.lock:
            self._video, pruned = self._retention.prune(self._video, reached_seconds)
        if pruned is not None:
            self._write_video()
            self._tell(self._state.state, pruned.text)

    def _due_in(self) -> float:
        """Seconds until there is something to do, an item aside; not too few without an epoch."""
        if self._pass is None:
            return _IDLE_SECONDS
        due = self._committed_at + self._settings.commit_seconds - time.monotonic()
        return min(max(due, 0.0), _IDLE_SECONDS)

    def _is_due(self) -> bool:
        if self._pass is None:
            return False
        full = self._pass.waiting >= self._settings.commit_evidence
        return full or time.monotonic() - self._committed_at >= self._settings.commit_seconds

    def _commit(self) -> None:
        assert self._pass is not None
        self._checks.removed(self._video)
        long_since = time.monotonic() - self._recorded_at >= _RECORD_SECONDS
        news = self._pass.commit(even_if_empty=long_since)
        self._committed_at = time.monotonic()
        self._hear(news)
        self._told(self._pass.at_seconds, self._pass.epoch)
        self._behind.follow(self._video, self._pass.epoch)

    def _hear(self, news: LiveNews | None) -> None:
        if news is not None:
            self._found += sum(OPEN not in one.attributes for one in news.evidence)
            self._listener(news)

    @property
    def _behind(self) -> Beside:
        assert self._beside is not None
        return self._beside

    @property
    def _dropped(self) -> int:
        return self._intake.dropped + (self._beside.dropped if self._beside is not None else 0)

    def _set_epoch(self, epoch: Epoch) -> None:
        """dropped: counted here."""
        dropped = self._dropped - self._dropped_before
        others = (one for one in self._video.epochs if one.number != epoch.number)
        self._video = replace(self._video, epochs=(*others, replace(epoch, dropped=dropped)))

    def _write_video(self) -> None:
        """Tells the catalogue how the video is now, where it is in it."""
        self._recorded_at = time.monotonic()
        if not self._known:
            return
        self._checks.removed(self._video)
        if self._pass is not None:
            self._set_epoch(self._pass.epoch)
        first = self._video.epochs[0]
        self._video = replace(
            self._video,
            wall_clock_start=first.wall_clock_start - first.start_seconds,
            duration_seconds=None if self._live else self._video.epochs[-1].end_seconds,
            indexed_at=time.time(),
        )
        self._library.put_video(self._video)
        self._library.store.flush()

    def _told(self, at_seconds: float, epoch: Epoch) -> None:
        wall_clock = epoch.wall_clock_start + at_seconds - epoch.start_seconds
        self._state = replace(
            self._state,
            at_seconds=at_seconds,
            wall_clock=wall_clock,
            lag_seconds=time.time() - wall_clock,
            epoch=epoch.number,
        )
        # A remark is for once; why a source is lost stays true.
        self._tell(self._state.state, "" if self._live else self._state.message)

    def _tell(self, state: str, message: str = "") -> None:
        self._state = replace(
            self._state, state=state, message=message, dropped=self._dropped, found=self._found
        )
        self._on_state(self._state)
