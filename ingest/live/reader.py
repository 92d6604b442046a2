"""The thread that reads a source: connects, and connects again; cuts its clock into epochs, and its
pictures into shots and samples."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from index.errors import LongtakeError, SourceError
from index.schema import Epoch, Stream, readable
from ingest.frames import DecodedFrame
from ingest.live.clock import StreamClock
from ingest.live.connection import Connection, Picture, SoundFrame
from ingest.live.folder import FilePiece, PieceFolder
from ingest.live.intake import Intake
from ingest.live.recording import Recorder
from ingest.live.settings import LiveSettings
from ingest.live.sound import EpochSound, SoundProgress
from ingest.live.source import LiveSource
from ingest.media import SubtitlePacket
from ingest.picture_events import PictureEvents
from ingest.settings import IngestSettings
from ingest.shots import ShotDetector

logger = logging.getLogger(__name__)

_STEADY_SECONDS = 10.0
"""A connection that lasts so long has worked: the next one is tried soon again."""
_EARLY_WORDS = 100
_FAR_SECONDS = 120.0
"""Words that lie farther from the pictures than this are by another clock."""


@dataclass(frozen=True, slots=True)
class Connected:
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class Began:
    """An epoch begins: what follows is in it. sounds: by the channel that listens to it."""

    epoch: Epoch
    streams: tuple[Stream, ...]
    sounds: Mapping[str, EpochSound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Anchored:
    """The time of day of the epoch's start is known better."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Said:
    """A subtitle, with times on the stream's clock."""

    packet: SubtitlePacket


@dataclass(frozen=True, slots=True)
class Ended:
    """The epoch ends there."""

    end_seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The source is not there; it is tried again after so long."""

    reason: str
    retry_seconds: float


@dataclass(frozen=True, slots=True)
class Remark:
    """What the user should know, in a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more comes. error: None where the source came to its end."""

    error: LongtakeError | None


class Reader:
    """Reads one source into an intake: items as above, picture events, and the pieces that are
    recorded."""

    def __init__(
        self,
        source: LiveSource,
        settings: LiveSettings,
        ingest: IngestSettings,
        intake: Intake,
        epochs: tuple[Epoch, ...],
        stop: threading.Event,
        *,
        rates: Mapping[str, int] | None = None,
        recordings: Path | None = None,
        reserve_bytes: int = 0,
    ):
        """epochs: those that there have been. rates: channel -> samples a second of the sound
        that it wants. recordings: the folder for what is recorded of the source; None: nothing is.
        reserve_bytes: of the disk that stay free then."""
        self._source = source
        self._settings = settings
        self._ingest = ingest
        self._intake = intake
        self._stop = stop
        self._rates = rates or {}
        self._sounds: dict[str, EpochSound] = {}
        self._clock = StreamClock(
            epochs,
            waits=source.waits and source.kind != "folder",
            gap_seconds=settings.gap_seconds,
            longest_seconds=settings.epoch_seconds,
        )
        self._events: PictureEvents | SoundProgress | None = None
        self._index = 0
        self._early: list[SubtitlePacket] = []
        self._anchor = 0.0
        self._seen = _seen(epochs)
        self._seen_until = _seen_until(epochs)
        self._recorder: Recorder | None = None
        if recordings is not None:
            self._recorder = Recorder(
                recordings,
                source.video_id,
                piece_seconds=settings.piece_seconds,
                gap_seconds=settings.gap_seconds,
                reserve_bytes=reserve_bytes,
                tell=intake.put,
                say=lambda text: intake.put(Remark(text)),
            )
        # FFmpeg may be waiting for the network when everything else has ended: it must not keep
        # the process.
        self._thread = threading.Thread(target=self._run, name=f"read {source.name}", daemon=True)

    @property
    def end_seconds(self) -> float:
        """Where the last picture read ends, on the stream's clock."""
        return self._clock.end_seconds

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        error: LongtakeError | None = None
        try:
            self._keep_reading()
        except LongtakeError as caught:
            error = caught
        except Exception as caught:
            logger.exception("Reading %s failed", self._source.shown)
            error = SourceError(
                f"{self._source.shown}: something unexpected happened "
                f"({type(caught).__name__}: {caught}). The log file holds the details."
            )
        self._intake.put(Over(error))

    def _keep_reading(self) -> None:
        """Returns at the end of what has one, or where the user stops. Raises SourceError where
        trying again is no use."""
        wait = self._settings.retry_seconds
        while not self._stop.is_set():
            began = time.monotonic()
            reason = f"{self._source.shown}: has ended."
            try:
                if self._read_once():
                    return
            except SourceError as error:
                if error.lasting:
                    raise
                reason = str(error)
            if time.monotonic() - began > _STEADY_SECONDS and self._clock.end_seconds:
                wait = self._settings.retry_seconds
            if self._stop.is_set():
                return
            if self._source.listens:  # who calls should find us
                wait = self._settings.retry_seconds
            self._intake.put(Lost(reason, wait))
            self._stop.wait(wait)
            wait = min(2 * wait, self._settings.retry_most_seconds)

    def _read_once(self) -> bool:
        """One connection to its end, or all pieces of a folder. Returns whether the source has come
        to its end."""
        if self._source.kind == "folder":
            self._read_folder()
            return False
        after, content = self._seen
        connection = Connection(
            self._source,
            self._settings,
            self._stop,
            after_raw_seconds=after,
            content=content,
            recorder=self._recorder,
            hears=self._rates.keys(),
            say=lambda text: self._intake.put(Remark(text)),
        )
        try:
            self._read(connection, lambda raw_seconds: time.time())
            return not self._stop.is_set() and connection.is_over()
        finally:
            if self._recorder is not None:
                self._recorder.cut()
            self._end_epoch("reconnected")
            connection.close()

    def _read(self, connection: Connection, now: Callable[[float | None], float]) -> None:
        """now: when what has that time by the source's clock came, as Unix time."""
        self._intake.put(Connected(connection.streams))
        for item in connection:
            if isinstance(item, Picture):
                self._picture(connection, item, now(item.raw_seconds))
            elif isinstance(item, SoundFrame):
                if not connection.has_pictures:
                    self._tell_time(connection, item, now(item.raw_seconds))
                self._hear(item)
            else:
                self._words(item)

    def _read_folder(self) -> None:
        """Pieces whose clock goes on from one to the next are one epoch."""
        folder = PieceFolder(Path(self._source.location), self._settings.settle_seconds, self._stop)
        try:
            for piece in folder.pieces(self._seen_until):
                try:
                    self._read_piece(piece)
                except SourceError as error:
                    self._intake.put(Remark(readable(f"Passed over: {error}")))
                self._seen_until = piece.ended_at
        finally:
            self._end_epoch("reconnected")

    def _read_piece(self, piece: FilePiece) -> None:
        source = replace(
            self._source, kind="url", location=f"file:{piece.path}", shown=str(piece.path)
        )
        connection = Connection(
            source, self._settings, self._stop, recorder=self._recorder, hears=self._rates.keys()
        )
        first: list[float] = []

        def now(raw_seconds: float | None) -> float:
            """As if it had come when it was recorded."""
            raw = raw_seconds or 0.0
            first[:] = first or [raw]
            return piece.ended_at - (connection.claimed_seconds or 0.0) + (raw - first[0])

        try:
            self._read(connection, now)
        finally:
            if self._recorder is not None:
                self._recorder.cut()
            connection.close()

    def _picture(self, connection: Connection, picture: Picture, now: float) -> None:
        frame = picture.frame
        length = 1 / connection.frame_rate
        if frame.duration and frame.time_base:
            length = min(max(float(frame.duration * frame.time_base), 1e-3), 60.0)
        seconds = self._place(connection, picture.raw_seconds, length, now)
        assert isinstance(self._events, PictureEvents)
        decoded = DecodedFrame(seconds, self._index, frame, connection.pixel_aspect)
        self._index += 1
        for event in self._events.push(decoded):
            self._intake.put(event)

    def _tell_time(self, connection: Connection, heard: SoundFrame, now: float) -> None:
        """Of a source without pictures."""
        length = max(heard.frame.samples / heard.frame.sample_rate, 1e-3)
        seconds = self._place(connection, heard.raw_seconds, length, now)
        assert isinstance(self._events, SoundProgress)
        for event in self._events.push(seconds):
            self._intake.put(event)

    def _place(
        self, connection: Connection, raw_seconds: float | None, length: float, now: float
    ) -> float:
        """Where it lies on the stream's clock; begins an epoch where that does."""
        clock = self._clock
        before, end = clock.epoch, clock.end_seconds
        seconds = clock.place(raw_seconds, length, now)
        assert clock.epoch is not None
        if self._recorder is not None and raw_seconds is not None:
            self._recorder.placed(clock.epoch.number, raw_seconds, seconds)
        if before is None or clock.epoch.number != before.number:
            if self._events is not None:
                self._finish(end)
            self._begin(connection, clock.epoch)
        elif abs(clock.epoch.wall_clock_start - self._anchor) > 0.2:
            self._anchor = clock.epoch.wall_clock_start
            self._intake.put(Anchored(clock.epoch))
        return seconds

    def _begin(self, connection: Connection, epoch: Epoch) -> None:
        self._anchor = epoch.wall_clock_start
        began = replace(epoch, content=connection.content)
        self._sounds = {name: EpochSound(self._rates[name]) for name in connection.heard}
        self._intake.put(Began(began, connection.streams, dict(self._sounds)))
        self._events = SoundProgress(epoch.start_seconds)
        if connection.has_pictures:
            self._events = PictureEvents(
                ShotDetector(self._ingest.shots, connection.frame_rate),
                self._ingest.sampling,
                start_seconds=epoch.start_seconds,
                from_seconds=epoch.start_seconds,
                known_seconds=epoch.start_seconds,
            )
        early, self._early = self._early, []
        for packet in early:
            self._words(packet)

    def _hear(self, heard: SoundFrame) -> None:
        epoch = self._clock.epoch
        if not self._sounds or epoch is None:
            return
        at = self._clock.from_raw(heard.raw_seconds) - epoch.start_seconds
        if not -_FAR_SECONDS < at + epoch.start_seconds - self._clock.end_seconds < _FAR_SECONDS:
            return
        try:
            for sound in self._sounds.values():
                sound.put(at, heard.frame)
        except OSError as error:
            self._intake.put(Remark(f"The sound can be kept no more: {error.strerror}."))
            self._end_sounds()

    def _words(self, packet: SubtitlePacket) -> None:
        epoch = self._clock.epoch
        if epoch is None:
            self._early = [*self._early, packet][-_EARLY_WORDS:]
            return
        start = self._clock.from_raw(packet.start_seconds)
        if not -_FAR_SECONDS < start - self._clock.end_seconds < _FAR_SECONDS:
            return
        start = max(start, epoch.start_seconds)
        end = packet.end_seconds
        if end is not None:
            end = max(self._clock.from_raw(end), start)
        self._intake.put(Said(replace(packet, start_seconds=start, end_seconds=end)))

    def _end_epoch(self, why: str) -> None:
        if self._events is not None:
            self._finish(self._clock.end_seconds)
        if self._clock.epoch is not None:
            self._clock.break_off(why)
        self._early = []

    def _finish(self, end_seconds: float) -> None:
        assert self._events is not None
        for event in self._events.finish(end_seconds):
            self._intake.put(event)
        self._events = None
        self._end_sounds()
        self._intake.put(Ended(end_seconds))

    def _end_sounds(self) -> None:
        for sound in self._sounds.values():
            sound.end()
        self._sounds = {}


def _seen_until(epochs: tuple[Epoch, ...]) -> float:
    """The time of day up to which a folder's pieces have been seen."""
    last = epochs[-1] if epochs else None
    if last is None or last.end_seconds is None:
        return 0.0
    return last.wall_clock_start + last.end_seconds - last.start_seconds


def _seen(epochs: tuple[Epoch, ...]) -> tuple[float | None, str]:
    """How far a file that grows has been seen by its own clock, and what it begins with."""
    last = epochs[-1] if epochs else None
    if last is None or last.end_seconds is None or not last.content:
        return None, ""
    return last.source_start_seconds + (last.end_seconds - last.start_seconds) - 1e-3, last.content
