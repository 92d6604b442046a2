"""The pictures of a file as packets, in the order they are stored, on the one clock (see
ingest.media): where the key frames are and what comes after them, without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from index.errors import NotMediaError
from ingest.frames import DecodedFrame
from ingest.media import container_start, open_input, video_stream
from ingest.packets import mistimes_after_seek

_SEEK_BACK_SECONDS = (0.0, 2.0, 8.0, 32.0)
_KEY_FRAME_PACKETS = 3000


class PicturePackets:
    """The pictures of an open file. Close it.

    container, stream: PyAV's. start: of the container on its own clock, in seconds.

    Raises MediaError where the file cannot be opened, NotMediaError where it has no pictures.
    """

    def __init__(self, path: Path):
        self._path = path
        self._open()
        aspect = self.stream.sample_aspect_ratio
        usable = aspect and Fraction(1, 10) <= aspect <= 10
        self._pixel_aspect = Fraction(aspect) if usable else Fraction(1)
        self._packets: Iterator[Any] = iter(())

    def _open(self) -> None:
        self.container = open_input(self._path)
        self.stream = video_stream(self.container)
        if self.stream is None:
            self.container.close()
            raise NotMediaError(f"{self._path}: has no video stream, only sound.")
        self.stream.thread_type = "AUTO"
        for other in self.container.streams:
            if other is not self.stream:
                other.discard = av.stream.Discard.all
        self.start = container_start(self.container)

    def __enter__(self) -> PicturePackets:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

    def seconds(self, ticks: int) -> float:
        return float(self.exact_seconds(ticks))

    def exact_seconds(self, ticks: int) -> Fraction:
        return ticks * self.stream.time_base - self.start

    def seek(self, at_seconds: float, *, forward: bool = False) -> av.Packet | None:
        """The first packet with a key frame where a seek to that time ends up; the ones after it
        come from `next_packet`."""
        unsettled = mistimes_after_seek(self.container)
        if unsettled and at_seconds <= 0:
            return self._first()
        ticks = int((Fraction(max(0.0, at_seconds)) + self.start) / self.stream.time_base)
        # One tick more: times came from ticks and may have been rounded down.
        self.container.seek(ticks + 1, stream=self.stream, backward=not forward)
        return self._next_key(unsettled)

    def _first(self) -> av.Packet | None:
        """The first of all, which a seek need not reach."""
        self.close()
        self._open()
        return self._next_key(False)

    def _next_key(self, unsettled: bool) -> av.Packet | None:
        """unsettled: the first key frame may have another's time."""
        self._packets = self.container.demux(self.stream)
        for _ in range(_KEY_FRAME_PACKETS):
            packet = self.next_packet()
            if packet is None:
                return None
            if packet.is_keyframe and packet.pts is not None:
                if not unsettled:
                    return packet
                unsettled = False
        return None

    def seek_before(self, at_seconds: float) -> av.Packet | None:
        """As `seek`, going further back where the container's index leads past that time. The key
        frame is later than asked for only where nothing earlier is found."""
        packet = None
        for back in _SEEK_BACK_SECONDS:
            packet = self.seek(at_seconds - back)
            early = packet is not None and self.seconds(packet.pts) <= at_seconds
            if early:
                return packet
            if at_seconds - back <= 0:  # a seek in an MPEG transport stream may end up too late
                return self._first()
        return packet

    def key_frame(self, at_seconds: float, *, forward: bool = False) -> float | None:
        """When the key frame at or before (`forward`: after) a time is shown; None where a seek
        does not tell."""
        try:
            packet = self.seek(at_seconds, forward=forward)
        except av.FFmpegError:
            return None
        if packet is None:
            return None
        key = self.seconds(packet.pts)
        return key if (key > at_seconds) == forward else None

    def next_packet(self) -> av.Packet | None:
        packet = next(self._packets, None)
        return None if packet is None or not packet.size else packet

    def decoded(self, frame: av.VideoFrame) -> DecodedFrame | None:
        if frame.pts is None or frame.is_corrupt:
            return None
        return DecodedFrame(self.seconds(frame.pts), 0, frame, self._pixel_aspect)
