"""Where a video can be cut: at the borders of its frames, and at its key frames.

From packets alone; nothing is decoded. A time is moved to the border of a frame where there is one
within a frame and a half; inside a picture that stands for longer (a slide in a recording of
variable frame rate) it stays what it is. Sound alone is cut on a grid of 25 a second.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from index.errors import MediaError, UsageError
from ingest.claimed_end import MISSING_SECONDS, claimed_end
from ingest.media import (
    claimed_duration,
    container_start,
    measure_duration,
    open_container,
    video_stream,
)
from ingest.picture_packets import PicturePackets

SOUND_RATE = Fraction(25)
"""Frames a second of what has no pictures."""

TOLERANCE = Fraction(3, 2000)
"""Seconds that a time may be beside the border that is meant: times are written in milliseconds."""

_NEAR_FRAMES = Fraction(3, 2)
_NEAR_SECONDS = Fraction(3, 20)
"""Where the frame rate varies."""

_SAME_RATE = 1.001
_READ_BEYOND_PACKETS = 2000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Pictures that can be copied as they are, and are whole by themselves.

    start, end: seconds on the file's clock. key_pts: ticks of the key frame that they begin with.
    dts: ticks at which the copied packets are to be decoded, in the order they are stored in; that
    is how many there are, those left out that are shown before the key frame and lean on what is.
    last_ticks: how long the picture is shown that is shown last.
    """

    start: Fraction
    end: Fraction
    key_pts: int
    dts: tuple[int, ...]
    last_ticks: int


class CutPoints:
    """The cut points of one file. Close it.

    frame_rate: average pictures a second; SOUND_RATE without pictures. constant: whether all
    pictures are shown equally long, as far as the container says. timecode: of the first frame, as
    in `01:00:00:00` (`;` before the frames where some numbers are dropped), where the file has one.
    duration_seconds: None where the container does not say.

    Raises MediaError where the file cannot be opened.
    """

    def __init__(self, path: Path):
        self.path = path
        with open_container(path) as container:
            stream = video_stream(container)
            self.has_sound = any(s.codec_context is not None for s in container.streams.audio)
            begins = container_start(container)
            self.duration_seconds = claimed_duration(container, begins)
            self._claimed = claimed_end(path, container, stream, begins) if stream else Fraction(0)
            self.timecode = _timecode(stream, container)
            rate = stream and (stream.average_rate or stream.guessed_rate)
            self.frame_rate = Fraction(rate) if rate else SOUND_RATE
            base = stream and stream.base_rate
            ratio = float(base / self.frame_rate) if base else 1.0
            self.constant = 1 / _SAME_RATE < ratio < _SAME_RATE
        self._packets = None if stream is None else PicturePackets(path)

    @functools.cached_property
    def _length_seconds(self) -> float | None:
        """Counted where the container does not say; None where its packets do not either."""
        stated = self.duration_seconds
        return (measure_duration(self.path) or None) if stated is None else stated

    @property
    def has_pictures(self) -> bool:
        return self._packets is not None

    def __enter__(self) -> CutPoints:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._packets is not None:
            self._packets.close()

    def span(self, start_seconds: float, end_seconds: float) -> tuple[Fraction, Fraction]:
        """The span moved to the borders of frames: from the beginning of the frame that is shown at
        the start to the end of the last one that is shown before the end; at least one frame.

        Doing it again changes nothing. Of a file that was cut short, or that does not say how long
        it is, it ends where the file does.
        Raises UsageError for a span that begins after the end of the video, MediaError for one that
        begins in what such a file lacks.
        """
        start, end = Fraction(max(0.0, start_seconds)), Fraction(end_seconds)
        if self._length_seconds is not None:
            length = Fraction(self._length_seconds)
            if start >= length:
                raise UsageError(
                    f"{self.path} is {self._length_seconds:.3f} s long; nothing begins at "
                    f"{start_seconds:.3f} s."
                )
            end = min(end, length)
        near = _NEAR_FRAMES / self.frame_rate
        if not self.constant:
            near = min(near, _NEAR_SECONDS)
        shown, after_first = self._around(start + TOLERANCE)
        if shown is not None and start - shown <= near:
            start = shown
        _, after_last = self._around(max(start, end - TOLERANCE))
        if after_last is not None and abs(after_last - end) <= near:
            end = after_last
        elif after_last is not None and self._claimed - after_last > MISSING_SECONDS:
            if after_last <= start:
                raise MediaError(
                    f"{self.path}: its pictures break off at {float(after_last):.3f} s (the file "
                    "is shorter than it says). Copy the file again from its source."
                )
            end = min(end, after_last)
        if end <= start:
            end = start + 1 / self.frame_rate if after_first is None else after_first
        return start, end

    def stretch(self, start: Fraction, end: Fraction) -> Stretch | None:
        """What can be copied of [start, end), from the key frame at or before its start to the
        first place after its end where nothing that is shown earlier is stored later. None where
        the packets do not tell: without pictures or without times."""
        if self._packets is None:
            return None
        try:
            return self._stretch(self._packets, start, end)
        except av.FFmpegError:
            return None

    def _stretch(self, packets: PicturePackets, start: Fraction, end: Fraction) -> Stretch | None:
        packet = first = packets.seek_before(float(start + TOLERANCE))
        if first is None or first.pts is None:
            return None
        key = first.pts
        ticks = packets.stream.time_base
        start_ticks = math.floor((start + TOLERANCE + packets.start) / ticks)
        end_ticks = math.ceil((end - TOLERANCE + packets.start) / ticks)
        shown: list[int] = []
        lengths: dict[int, int] = {}
        count, beyond = None, 0
        while count is None and beyond < _READ_BEYOND_PACKETS:
            if packet is None:
                count = _whole(shown, end_ticks, math.inf)
                break
            if packet.pts is None:
                return None
            if packet.is_keyframe and key < packet.pts <= start_ticks:  # a seek may fall short
                key = packet.pts
                shown.clear()
                lengths.clear()
            if packet.pts >= key:
                shown.append(packet.pts)
                lengths[packet.pts] = packet.duration or 0
            if packet.dts is not None and packet.dts >= end_ticks:
                count = _whole(shown, end_ticks, packet.dts)
                beyond += 1
            packet = packets.next_packet()
        if not count or len(lengths) < len(shown):
            return None
        ordered = sorted(shown[:count])
        delay = max(ours - pts for ours, pts in zip(ordered, shown, strict=False))
        frame = lengths[ordered[-1]] or round(1 / (self.frame_rate * ticks))
        ends = min(shown[count:], default=ordered[-1] + frame)
        return Stretch(
            start=packets.exact_seconds(key),
            end=packets.exact_seconds(ends),
            key_pts=key,
            dts=tuple(pts - delay for pts in ordered),
            last_ticks=ends - ordered[-1],
        )

    def _around(self, at: Fraction) -> tuple[Fraction | None, Fraction | None]:
        """When the frame begins that is shown at a time, and when the one after it does (or that
        frame ends, where it is the last); None for what there is not."""
        if self._packets is not None:
            try:
                found = self._read_around(self._packets, at)
            except av.FFmpegError:
                found = None
            if found is not None:
                return found
        number = math.floor(at * self.frame_rate)
        return number / self.frame_rate, (number + 1) / self.frame_rate

    def _read_around(
        self, packets: PicturePackets, at: Fraction
    ) -> tuple[Fraction | None, Fraction | None] | None:
        """None where the packets do not tell."""
        shown = after = None
        length = Fraction(0)
        packet = packets.seek_before(float(at))
        if packet is None:
            return None
        while packet is not None:
            if packet.pts is None:
                return None
            begins = packets.exact_seconds(packet.pts)
            if begins > at:
                after = begins if after is None else min(after, begins)
            elif shown is None or begins > shown:
                shown, length = begins, packets.stream.time_base * (packet.duration or 0)
            if (
                after is not None
                and packet.dts is not None
                and packets.exact_seconds(packet.dts) >= after
            ):
                break
            packet = packets.next_packet()
        if after is None and shown is not None:
            after = shown + (length or 1 / self.frame_rate)
        return shown, after


def _whole(shown: list[int], end: int, unread: float) -> int | None:
    """How many of the packets, in the order they are stored, make all that is shown before `end`
    and nothing that is shown after what is left out. shown: when each is. unread: none of those
    that were not read is shown before that."""
    least_left = [unread] * (len(shown) + 1)
    for at in range(len(shown) - 1, -1, -1):
        least_left[at] = min(shown[at], least_left[at + 1])
    last_shown = -math.inf
    for count, pts in enumerate(shown, 1):
        last_shown = max(last_shown, pts)
        if least_left[count] >= end and last_shown < least_left[count]:
            return count
    return None


def _timecode(stream, container) -> str | None:
    for owner in (stream, container):
        for name, value in (owner.metadata if owner is not None else {}).items():
            if name.casefold() == "timecode":
                return value
    return None
