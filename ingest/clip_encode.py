"""A stretch of a video as a file of its own, encoded anew (H.264 and AAC), exact to the frame and
to the sample. How the pictures are turned, the shape of their pixels and their colours are kept.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from index.errors import DamagedMediaError
from ingest.audio import read_sound
from ingest.claimed_end import MISSING_SECONDS
from ingest.cut_points import TOLERANCE
from ingest.decode import Problems, decode_video
from ingest.frames import DecodedFrame
from ingest.media import open_container

QUALITY = "18"
"""x264's constant rate factor: hard to tell from the source."""

_PRESET = "veryfast"
_KEY_FRAME_SECONDS = 2
_FULL_RANGE = 2
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")
_AAC_BITS_A_CHANNEL = 96_000


def encode_stretch(
    path: Path,
    made: av.container.OutputContainer,
    *,
    pictures: int | None,
    sound: int | None,
    start: Fraction,
    end: Fraction,
) -> list[str]:
    """Encodes [start, end), in seconds on the source's clock, into the MP4 file `made`, which is
    open and empty; time `start` becomes 0. Sound that is missing is silence.

    pictures, sound: indices of streams; None for none. Returns what could not be decoded, in
    sentences. Raises MediaError where it cannot be read.
    """
    problems = {"pictures": Problems(), "sound": Problems()}
    tracks = []
    frames = None
    try:
        if pictures is not None:
            frames = decode_video(path, from_seconds=float(start + TOLERANCE), prefetch=False)
            problems["pictures"] = frames.problems
            shown = _shown_within(frames, start, end)
            first = next(shown, None)
            if first is None:
                raise DamagedMediaError(
                    f"{path}: no picture can be decoded at {float(start):.3f} s.", float(start)
                )
            tracks.append(_Pictures(path, made, pictures, first, shown, start).packets())
        if sound is not None:
            tracks.append(_Sound(path, made, sound, start, end, problems["sound"]).packets())
        for packet in heapq.merge(*tracks, key=lambda packet: packet.dts * packet.time_base):
            made.mux(packet)
    finally:
        if frames is not None:
            frames.close()
    return [
        f"{found.errors} faults in its {kind} there ({found.message})"
        for kind, found in problems.items()
        if found.errors
    ]


def _shown_within(
    frames, start: Fraction, end: Fraction
) -> Iterator[tuple[DecodedFrame, Fraction, Fraction]]:
    """(frame, from when to when it is shown) for those shown in [start, end)."""
    held: tuple[DecodedFrame, Fraction] | None = None
    for decoded in _up_to(frames, end, _lasts):
        begins = Fraction(decoded.time_seconds)
        if held is not None and begins > start + TOLERANCE:
            yield held[0], max(held[1], start), min(begins, end)
            held = None
        if begins >= end - TOLERANCE:
            return
        held = decoded, begins
    if held is not None:
        yield held[0], max(held[1], start), end


def _lasts(decoded: DecodedFrame) -> Fraction:
    frame = decoded.frame
    return frame.duration * frame.time_base if frame.duration and frame.time_base else Fraction(0)


def _up_to(
    read: Iterator, end: Fraction, lasts: Callable[[Any], Fraction] = lambda one: Fraction(0)
) -> Iterator:
    """What is read, of a file that was cut short what it has: its end is the clip's (see
    CutPoints.span). lasts: how long, from when it is said to break off, what was read last is
    shown. Raises DamagedMediaError where it breaks off well before."""
    missing = MISSING_SECONDS
    try:
        for one in read:
            missing = max(MISSING_SECONDS, lasts(one) + TOLERANCE)
            yield one
    except DamagedMediaError as error:
        if error.at_seconds is None or error.at_seconds < end - missing:
            raise


class _Pictures:
    """The picture track."""

    def __init__(self, path, made, index: int, first, rest, start: Fraction):
        self._first, self._rest, self._start = first, rest, start
        decoded = first[0]
        frame = decoded.frame
        with open_container(path) as source:
            stream = source.streams[index]
            self._ticks = Fraction(stream.time_base)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        full = frame.format.name.startswith("yuvj") or frame.color_range == _FULL_RANGE
        self._size = (max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2))
        self._reformatter = VideoReformatter()
        track = made.add_stream("libx264", rate=rate)
        track.width, track.height = self._size
        track.pix_fmt = "yuvj420p" if full else "yuv420p"
        track.time_base = track.codec_context.time_base = self._ticks
        track.gop_size = max(1, round(rate * _KEY_FRAME_SECONDS))
        # An MP4's length is summed from decode times. With B-frames they are not display times, and
        # where the frame rate varies players would stop before the end.
        track.options = {"preset": _PRESET, "crf": QUALITY, "bf": "0"}
        context = track.codec_context
        context.sample_aspect_ratio = decoded.pixel_aspect
        context.color_primaries = frame.color_primaries
        context.color_trc = frame.color_trc
        if not frame.format.is_rgb:
            context.colorspace = frame.colorspace
        if (matrix := _display_matrix(frame)) is not None:
            track.set_display_matrix(matrix)
        self._track = track

    def packets(self) -> Iterator[av.Packet]:
        lengths: deque[int] = deque()  # of frames that the encoder holds; it forgets them
        for decoded, begins, ends in itertools.chain([self._first], self._rest):
            lengths.append(max(1, round((ends - begins) / self._ticks)))
            yield from _timed(self._track.encode(self._frame(decoded, begins)), lengths)
        yield from _timed(self._track.encode(None), lengths)

    def _frame(self, decoded: DecodedFrame, begins: Fraction) -> av.VideoFrame:
        frame = decoded.frame
        if frame.format.name != self._track.pix_fmt or (frame.width, frame.height) != self._size:
            frame = self._reformatter.reformat(
                frame, *self._size, format=self._track.pix_fmt, threads=1
            )
        frame.pict_type = 0  # the encoder's own choice
        frame.time_base = self._ticks
        frame.pts = round((begins - self._start) / self._ticks)
        return frame


def _timed(packets: list[av.Packet], lengths: deque[int]) -> Iterator[av.Packet]:
    for packet in packets:
        packet.duration = lengths.popleft()
        yield packet


def _display_matrix(frame: av.VideoFrame) -> list[int] | None:
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            return np.frombuffer(side, np.int32)[:9].tolist()
    return None


class _Sound:
    """The sound track."""

    def __init__(self, path, made, index: int, start: Fraction, end: Fraction, problems: Problems):
        with open_container(path) as source:
            context = source.streams[index].codec_context
            rate, layout = context.sample_rate, context.layout.name
        self._rate = rate if rate in _AAC_RATES else 48_000
        self._layout = layout if layout in _AAC_LAYOUTS else "stereo"
        track = made.add_stream("aac", rate=self._rate, layout=self._layout)
        track.bit_rate = _AAC_BITS_A_CHANNEL * track.channels
        self._track = track
        samples = read_sound(
            path,
            sample_rate=self._rate,
            layout=self._layout,
            stream=index,
            start=start,
            end=end,
            problems=problems,
        )
        self._samples = _up_to(samples, end)

    def packets(self) -> Iterator[av.Packet]:
        at = 0
        for samples in self._samples:
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = at
            at += frame.samples
            yield from self._track.encode(frame)
        yield from self._track.encode(None)
