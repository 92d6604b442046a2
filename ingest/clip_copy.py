"""A stretch of a video as a file of its own, its packets copied as they are.

Decode times are made anew from the display times, because not every container keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from index.errors import MediaError
from ingest.cut_points import Stretch
from ingest.media import container_start, open_container

_INTERLEAVED_SECONDS = 3
"""How far apart a container may store the pictures and the sound of one moment."""


def copy_stretch(
    path: Path,
    made: av.container.OutputContainer,
    *,
    pictures: int | None,
    sound: int | None,
    stretch: Stretch | None,
    start: Fraction,
    end: Fraction,
) -> tuple[Fraction, Fraction]:
    """Copies pictures and sound into `made`, which is open and empty.

    pictures, sound: indices of streams; None for none. stretch: of the pictures; with it the sound
    is what begins in [start, end), and time `start` becomes 0. Without it, the sound is all that
    touches [start, end). start, end: seconds on the source's clock.

    Returns what is in it. Raises ValueError where the container does not take a codec, MediaError
    where nothing, or not all of the pictures, is found.
    """
    with open_container(path) as source:
        streams = {
            index: made.add_stream_from_template(source.streams[index], opaque=True)
            for index in (pictures, sound)
            if index is not None
        }
        origin = container_start(source)
        first = (start if stretch is None else min(start, stretch.start)) - _INTERLEAVED_SECONDS
        if first > 0:  # a seek to the start would leave out sound from before the pictures
            source.seek(int((origin + first) * av.time_base))
        packets = source.demux(*(source.streams[index] for index in streams))
        taken = _Taken(packets, pictures, stretch, origin, start, end)
        zero = None if stretch is None else start
        for packet, dts in taken:
            if zero is None:
                zero = taken.begins
            shift = round((origin + zero) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, dts - shift
            packet.stream = streams[packet.stream.index]
            made.mux(packet)
    if stretch is not None:
        if taken.pictures < len(stretch.dts):
            raise MediaError(f"{path}: its pictures break off after {float(start):.3f} s.")
        return start, end
    if taken.begins is None:
        raise MediaError(f"{path}: there is no sound at {float(start):.3f} s.")
    return taken.begins, taken.ends


class _Taken:
    """The packets that belong to the clip, each with when it is to be decoded, in ticks.

    pictures: how many there were so far. begins, ends: of the sound so far, in seconds.
    """

    def __init__(self, packets, pictures, stretch: Stretch | None, origin, start, end):
        self._packets, self._pictures, self._stretch = packets, pictures, stretch
        self._origin, self._start, self._end = origin, start, end
        self._begun = False
        self._last_sound: int | None = None
        self.pictures = 0
        self.begins: Fraction | None = None
        self.ends = Fraction(0)

    def __iter__(self) -> Iterator[tuple[av.Packet, int]]:
        for packet in self._packets:
            if not packet.size or packet.pts is None:
                continue
            of_pictures = packet.stream.index == self._pictures
            dts = self._picture(packet) if of_pictures else self._sound(packet)
            if dts is not None:
                yield packet, dts
            elif self._over(packet, 0 if not of_pictures else _INTERLEAVED_SECONDS):
                return

    def _picture(self, packet) -> int | None:
        stretch = self._stretch
        self._begun = self._begun or (packet.is_keyframe and packet.pts == stretch.key_pts)
        if not self._begun or self.pictures == len(stretch.dts) or packet.pts < stretch.key_pts:
            return None
        self.pictures += 1
        # An MP4 ends where the packet stored last does, which need not be the one shown last.
        if self.pictures == len(stretch.dts) or not packet.duration:
            packet.duration = stretch.last_ticks
        return stretch.dts[self.pictures - 1]

    def _sound(self, packet) -> int | None:
        begins = packet.pts * packet.time_base - self._origin
        ends = begins + (packet.duration or 0) * packet.time_base
        reaches = begins >= self._start if self._stretch is not None else ends > self._start
        again = self._last_sound is not None and packet.pts <= self._last_sound
        if not reaches or begins >= self._end or again:
            return None
        self.begins = begins if self.begins is None else self.begins
        self.ends, self._last_sound = ends, packet.pts
        return packet.pts

    def _over(self, packet, margin: int) -> bool:
        """Whether nothing wanted comes any more after a packet that was not wanted."""
        if self._stretch is not None and self.pictures < len(self._stretch.dts):
            return False
        return packet.pts * packet.time_base - self._origin >= self._end + margin
