"""One connection to a live source: pictures and subtitle packets, as they come.

With ingest/media.py and the others that docs/architecture.md names, one of the files that touch
PyAV; its errors end here.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from index.errors import SourceError
from index.schema import Stream
from ingest.audio import choose_stream
from ingest.frames import pixel_aspect
from ingest.live.growing import GrowingFile, StandardInput
from ingest.live.recording import Recorder
from ingest.live.settings import LiveSettings
from ingest.live.source import DEVICE_FORMATS, LiveSource
from ingest.media import (
    TEXT_SUBTITLES,
    SubtitlePacket,
    claimed_duration,
    codec_name,
    container_start,
    describe_stream,
    subtitle_packet,
    video_stream,
)

_NETWORK = "http,https,tcp,tls,udp,rtp,rtcp,rtmp,rtmps,rtmpt,rtmpe,rtsp,rtsps,httpproxy,crypto,data"
_ERRORS_IN_A_ROW = 50
_FALLBACK_RATE = 25.0
_LEAST_RATE, _MOST_RATE = 0.05, 240.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture. raw_seconds: when it is shown by the source's clock; None where it does
    not say."""

    raw_seconds: float | None
    frame: av.VideoFrame


@dataclass(frozen=True, slots=True)
class SoundFrame:
    """Decoded sound. raw_seconds: when it begins by the source's clock."""

    raw_seconds: float
    frame: av.AudioFrame


class Connection:
    """Opened when made; iterate it for `Picture`s, `SubtitlePacket`s (with times by the source's
    clock) and `SoundFrame`s, in the order they come.

    streams: what the source has. frame_rate: average, pictures a second. pixel_aspect: see
    DecodedFrame. claimed_seconds: how long it says it is. content: see GrowingFile. heard: the
    channels that its sound is for. The iteration
    ends where the source does, or where `stop` is set.

    Raises SourceError, also while iterating.
    """

    def __init__(
        self,
        source: LiveSource,
        settings: LiveSettings,
        stop: threading.Event,
        *,
        after_raw_seconds: float | None = None,
        content: str = "",
        recorder: Recorder | None = None,
        hears: Collection[str] = (),
        say: Callable[[str], None] = lambda text: None,
    ):
        """hears: the channels that sound is wanted for; for `speech` only where there are no
        subtitles. recorder: is given all packets that it wants. after_raw_seconds, content: where
        the source is a file that begins with that content, what lies before that time is passed
        over: it has been seen. say: told what the user should know."""
        self._source = source
        self._settings = settings
        self._stop = stop
        self._recorder = recorder
        self._hears = hears
        self._bytes = self._byte_stream(say)
        try:
            self._container = self._opened()
            self._choose()
        except BaseException:
            self.close()
            raise
        self.content = ""
        if isinstance(self._bytes, GrowingFile):
            self._bytes.understood = True
            self.content = self._bytes.content()
        same = bool(content) and content == self.content
        self._after = after_raw_seconds if same else None

    def _byte_stream(self, say: Callable[[str], None]) -> StandardInput | GrowingFile | None:
        if self._source.kind == "stdin":
            return StandardInput(self._stop)
        if self._source.kind == "file":
            patience_seconds = self._settings.open_timeout_seconds
            return GrowingFile(self._source.location, self._stop, say, patience_seconds)
        return None

    def _opened(self) -> av.container.InputContainer:
        source, settings = self._source, self._settings
        # A clock that wraps or begins anew is ours to notice: FFmpeg takes both for the former.
        options = {"correct_ts_overflow": "0", **source.options}
        if source.kind == "url":
            local = source.location.startswith("file:")
            options["protocol_whitelist"] = "file,crypto,data" if local else _NETWORK
        if self._bytes is not None:  # a playlist in it must not have other files opened
            options["protocol_whitelist"] = "none"
        try:
            return av.open(
                source.location if self._bytes is None else self._bytes,
                format=source.format,
                options=options,
                metadata_errors="replace",
                timeout=(settings.open_timeout_seconds, settings.read_timeout_seconds),
            )
        except av.ProtocolNotFoundError:
            scheme = source.location.partition(":")[0]
            raise SourceError(
                f"{source.shown}: FFmpeg as it comes with PyAV cannot read {scheme}://. Have a "
                "relay turn it into something it can, as `ffmpeg -i SOURCE -c copy -f mpegts -` "
                "in a pipe to `longtake watch -`.",
                lasting=True,
            ) from None
        except (av.FFmpegError, OSError, ValueError) as error:
            # FFmpeg's own errors name the address as it is, passwords included: none may go on.
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> SourceError:
        shown = self._source.shown
        if isinstance(error, (av.ExitError, TimeoutError)):
            return SourceError(f"{shown}: does not answer.")
        if isinstance(error, av.InvalidDataError):
            ended = isinstance(self._bytes, StandardInput) and self._bytes.ended
            what = "nothing that can be read as video or sound"
            return SourceError(f"{shown}: sends {what}.", lasting=ended)
        if isinstance(error, ValueError) and not isinstance(error, av.FFmpegError):
            return SourceError(_no_such_device(self._source), lasting=True)
        if self._source.kind == "device" and getattr(error, "errno", None) == errno.ENOTTY:
            return SourceError(f"{shown}: is no capture device.", lasting=True)
        return SourceError(f"{shown}: {_reason(error)}.")

    def _choose(self) -> None:
        container = self._container
        video, sound = video_stream(container), choose_stream(container)
        if video is None and sound is None:
            raise SourceError(
                f"{self._source.shown}: has neither pictures nor sound that can be read.",
                lasting=container.format.name != "hls",
            )
        if video is not None:
            # Threads over whole pictures hold back as many of them as there are threads.
            video.thread_type = "AUTO" if self._source.waits else "SLICE"
        words = [s for s in container.streams if codec_name(s) in TEXT_SUBTITLES]
        self._video, self._words = video, words
        heard = [name for name in self._hears if not (words and name == "speech")]
        self.heard = tuple(heard) if sound is not None else ()
        # Without pictures the sound tells the time, whoever listens.
        self._sound = sound if heard or video is None else None
        self._leader = sound if video is None else video
        self._wanted = [s for s in (video, *words, self._sound) if s is not None]
        if self._recorder is not None:
            self._recorder.connect(container, self._leader)
            more = self._recorder.wanted()
            self._wanted += [stream for stream in more if stream not in self._wanted]
        for other in container.streams:
            if other not in self._wanted:
                other.discard = av.stream.Discard.all
        rate = 0.0 if video is None else float(video.average_rate or video.guessed_rate or 0.0)
        self.frame_rate = rate if _LEAST_RATE <= rate <= _MOST_RATE else _FALLBACK_RATE
        self.pixel_aspect = Fraction(1) if video is None else pixel_aspect(video)
        pictures = [] if video is None else [video]
        sounds = [s for s in container.streams.audio if s.codec_context is not None]
        self.streams: tuple[Stream, ...] = tuple(map(describe_stream, (*pictures, *sounds, *words)))
        self.claimed_seconds = claimed_duration(container, container_start(container))
        self._finite = self._source.kind == "stdin" or (
            not self._source.waits and self.claimed_seconds is not None
        )

    @property
    def has_pictures(self) -> bool:
        return self._video is not None

    def is_over(self) -> bool:
        """Behind the iteration: whether this was all there will ever be. A stream that does not say
        how long it is may go on later; only a playlist can have got its end meanwhile."""
        if self._finite or self._container.format.name != "hls":
            return self._finite
        try:
            with self._opened() as again:
                return claimed_duration(again, container_start(again)) is not None
        except SourceError:
            return False

    def close(self) -> None:
        """May be called again."""
        if getattr(self, "_container", None) is not None:
            self._container.close()
        if self._bytes is not None:
            self._bytes.close()

    def __iter__(self) -> Iterator[Picture | SubtitlePacket | SoundFrame]:
        for packet in self._unseen(self._packets()):
            if self._recorder is not None:
                self._recorder.take(packet)
            if packet.stream in self._words:
                said = subtitle_packet(packet, float)
                if said is not None and not self._is_seen(said.start_seconds):
                    yield said
            if packet.stream is self._sound:
                yield from self._heard(packet)
            if self._video is None or packet.stream is not self._video:
                continue
            try:
                for frame in self._video.codec_context.decode(packet if packet.size else None):
                    picture = self._picture(frame)
                    if not self._is_seen(picture.raw_seconds):
                        yield picture
            except av.EOFError:
                pass
            except av.FFmpegError:  # what was lost on the way; the next key frame mends it
                continue

    def _packets(self) -> Iterator[av.Packet]:
        """Those of the streams that are wanted; at the end an empty one of each."""
        packets = self._container.demux(self._wanted)
        failures, begun = 0, False
        while not self._stop.is_set():
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.ExitError:
                seconds = self._settings.read_timeout_seconds
                raise SourceError(
                    f"{self._source.shown}: nothing came for {seconds:g} s."
                ) from None
            except (av.FFmpegError, OSError) as error:
                failures += 1
                if failures >= _ERRORS_IN_A_ROW or not isinstance(error, av.InvalidDataError):
                    raise self._broken(error, begun) from None
                packets = self._container.demux(self._wanted)
                continue
            failures, begun = 0, True
            yield packet

    def _broken(self, error: Exception, begun: bool) -> SourceError:
        """begun: whether anything came before it."""
        ends = isinstance(error, av.InvalidDataError) and not begun
        if ends and self._bytes is not None and "mp4" in self._container.format.name:
            return SourceError(
                f"{self._source.shown}: is MP4 with its index at the end, which cannot be read as "
                "it comes (fragmented MP4 can). When it is whole, `longtake index` reads it.",
                lasting=True,
            )
        return SourceError(f"{self._source.shown}: {_reason(error)}.")

    def _unseen(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """Those after what has been seen, from the last key frame before it on."""
        after, held = self._after, []
        for packet in packets:
            if after is None:
                yield packet
                continue
            if packet.is_keyframe and packet.stream is self._leader:
                held.clear()
            held.append(packet)
            time_base = packet.time_base or packet.stream.time_base
            if not packet.size or (packet.pts is not None and packet.pts * time_base > after):
                yield from held
                after = None

    def _heard(self, packet: av.Packet) -> Iterator[SoundFrame]:
        try:
            for frame in self._sound.codec_context.decode(packet if packet.size else None):
                if frame.pts is not None:
                    raw = float(frame.pts * (frame.time_base or self._sound.time_base))
                    if not self._is_seen(raw):
                        yield SoundFrame(raw, frame)
        except av.FFmpegError:  # lost on the way; it will be silence
            return

    def _is_seen(self, raw_seconds: float | None) -> bool:
        return self._after is not None and (raw_seconds or 0.0) <= self._after

    def _picture(self, frame: av.VideoFrame) -> Picture:
        ticks = frame.pts if frame.pts is not None else frame.dts
        time_base = frame.time_base or self._video.time_base
        return Picture(None if ticks is None else float(ticks * time_base), frame)


def _no_such_device(source: LiveSource) -> str:
    known = {name for names in av.formats_available for name in names.split(",")}
    there = [name for name in DEVICE_FORMATS if name in known]
    return (
        f"{source.shown}: FFmpeg as it comes with PyAV here has no {source.format}, only "
        f"{', '.join(there) or 'no capture devices'}. Have another program capture, as in "
        f"`ffmpeg -f {source.format} -i DEVICE -f mpegts - | longtake watch -`."
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
