"""Pictures out of a video file: one pass, in display order, on the one clock (see ingest.media).

FFmpeg decodes on its own threads, driven by one bounded background thread of ours, so that
decoding and looking overlap; memory does not grow with the film's length.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from index.errors import DamagedMediaError, MediaError, NotMediaError
from ingest.claimed_end import MISSING_SECONDS, claimed_end
from ingest.frames import DecodedFrame, picture, pixel_aspect
from ingest.media import container_start, open_input, video_stream
from ingest.packets import FramesOfStream, mistimes_after_seek

_BATCH_FRAMES = 4
_QUEUE_BATCHES = 3
_SEEK_BACK_SECONDS = (0.0, 2.0, 8.0, 32.0)
_FALLBACK_FRAME_SECONDS = Fraction(1, 25)


@dataclass(slots=True)
class Problems:
    """What went wrong so far while decoding; complete when the frames are exhausted.

    errors: packets that could not be read or decoded, and pictures the decoder patched up.
    first_seconds: where the first was. message: what it was, for people.
    """

    errors: int = 0
    first_seconds: float | None = None
    message: str = ""

    def add(self, at_seconds: float, message: str) -> None:
        if not self.errors:
            self.first_seconds, self.message = at_seconds, message
        self.errors += 1

    def forget(self) -> None:
        self.errors, self.first_seconds, self.message = 0, None, ""


@dataclass(slots=True)
class VideoDecoder:
    """The frames of a file's video stream, once, from the key frame at or before `from_seconds`.

    Iterate it; close it (or use `with`) where not all is read. `problems` fills as it runs.

    path: the file. prefetch: whether decoding runs ahead in a thread of its own.
    frame_rate: average frames per second, 25 where unknown. from_start: False where it began at a
    later key frame. end_seconds: where the last frame yielded so far ends.

    Raises MediaError where it cannot be opened, NotMediaError where it has no pictures; the
    iteration raises DamagedMediaError, after all that decodes, where the stream broke off.
    """

    path: Path
    from_seconds: float = 0.0
    prefetch: bool = True
    problems: Problems = field(default_factory=Problems)
    frame_rate: float = 25.0
    from_start: bool = True
    end_seconds: float = 0.0
    _source: _Source | None = field(default=None, repr=False)
    _frames: Iterator[DecodedFrame] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._source = _Source(self.path, self.problems)
        try:
            first = self._source.begin_at(self.from_seconds)
        except BaseException:
            self._source.close()
            raise
        self.frame_rate = self._source.frame_rate
        self.from_start = self._source.from_start
        self._frames = (_prefetched if self.prefetch else _plain)(self._source, first)

    def __iter__(self) -> Iterator[DecodedFrame]:
        for decoded, end_seconds in self._frames:
            self.end_seconds = end_seconds
            yield decoded

    def __enter__(self) -> VideoDecoder:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the background thread and closes the file. May be called again."""
        self._frames.close()
        self._source.close()


def decode_video(path: Path, *, from_seconds: float = 0.0, prefetch: bool = True) -> VideoDecoder:
    """See VideoDecoder."""
    return VideoDecoder(path, from_seconds, prefetch)


class _Clock:
    """Ticks to seconds, correctly rounded, in whole numbers (fractions would cost more than
    everything else that is done for a frame in Python)."""

    def __init__(self, time_base: Fraction, start: Fraction):
        common = math.lcm(time_base.denominator, start.denominator)
        self._tick = time_base.numerator * (common // time_base.denominator)
        self._start = start.numerator * (common // start.denominator)
        self._common = common

    def seconds(self, ticks: int) -> float:
        return (ticks * self._tick - self._start) / self._common

    def length(self, ticks: int) -> float:
        return ticks * self._tick / self._common


class _Source:
    """Container, stream and clock; used by one thread at a time."""

    def __init__(self, path: Path, problems: Problems):
        self._path = path
        self._problems = problems
        self._container: av.container.InputContainer | None = None
        self.from_start = True
        self._open()

    def _open(self) -> None:
        self.close()
        self._container = open_input(self._path)
        self._stream = video_stream(self._container)
        if self._stream is None:
            self.close()
            raise NotMediaError(f"{self._path}: has no video stream, only sound.")
        self._stream.thread_type = "AUTO"
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = av.stream.Discard.all
        self._start = container_start(self._container)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.frame_rate = float(rate) if rate else 25.0
        self._frame_seconds = 1 / Fraction(rate) if rate else _FALLBACK_FRAME_SECONDS
        self._pixel_aspect = pixel_aspect(self._stream)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def begin_at(self, from_seconds: float) -> Iterator[tuple[DecodedFrame, float]]:
        """The frames from the last key frame at or before `from_seconds` that a seek finds.

        Seeking is imprecise in some containers and a key frame may decode only later: then it
        tries further back, and in the end from the start.
        """
        if from_seconds > 0:
            for back in _SEEK_BACK_SECONDS:
                target = from_seconds - back
                if target <= 0:
                    break
                ticks = int((Fraction(target) + self._start) / self._stream.time_base)
                try:
                    self._container.seek(ticks, stream=self._stream)
                except av.FFmpegError:
                    self._open()
                    break
                self.from_start = False
                frames = self._frames(settling=mistimes_after_seek(self._container))
                try:
                    first = next((f for f in frames if f[0].frame.key_frame), None)
                except DamagedMediaError:
                    first = None
                if first is not None and first[0].time_seconds <= from_seconds:
                    return _renumbered(first, frames)
                self._problems.forget()
                self._open()
            self.from_start = True
        return self._frames()

    def _frames(self, settling: bool = False) -> Iterator[tuple[DecodedFrame, float]]:
        """(frame, when it ends), repairing times that are missing or go back. settling: all before
        the second key frame is left out."""
        unsettled_keys = 2 if settling else 0
        clock = _Clock(self._stream.time_base, self._start)
        length = float(self._frame_seconds)
        last: float | None = None
        index = 0
        bad_since_frame = 0
        pictures = FramesOfStream(self._path, self._container, self._stream)
        for frame in pictures:
            if frame is None:
                bad_since_frame += 1
                self._problems.add(last or 0.0, pictures.last_error)
                continue
            unsettled_keys -= bool(unsettled_keys and frame.key_frame)
            if unsettled_keys:
                continue
            ticks = frame.pts if frame.pts is not None else frame.dts
            seconds = None if ticks is None else clock.seconds(ticks)
            if last is None:
                seconds = max(0.0, seconds or 0.0)
            elif seconds is None:
                seconds = last + length
            elif seconds <= last:
                self._problems.add(last, "its timestamps go back")
                seconds = last + length
            if frame.is_corrupt:
                self._problems.add(seconds, "a picture is incomplete")
            last = seconds
            bad_since_frame = 0
            shown = clock.length(frame.duration) if frame.duration else length
            yield DecodedFrame(seconds, index, frame, self._pixel_aspect), seconds + shown
            index += 1
            end = seconds + shown
        if not bad_since_frame and last is not None and self._stops_short(end):
            bad_since_frame, pictures.last_error = 1, "the file is shorter than it says"
            self._problems.add(end, pictures.last_error)
        if bad_since_frame:
            pictures.check_source()
            at_seconds = last or 0.0
            raise DamagedMediaError(
                f"{self._path}: "
                + (
                    f"its pictures break off at {at_seconds:.3f} s"
                    if index
                    else "none of its pictures can be decoded"
                )
                + f" ({pictures.last_error}). Copy the file again from its source.",
                at_seconds,
            )

    def _stops_short(self, end: float) -> bool:
        claimed = claimed_end(self._path, self._container, self._stream, self._start)
        return claimed - end > MISSING_SECONDS


def _renumbered(first, rest):
    offset = first[0].index
    yield first
    for decoded, end_seconds in rest:
        yield (
            DecodedFrame(
                decoded.time_seconds, decoded.index - offset, decoded.frame, decoded.pixel_aspect
            ),
            end_seconds,
        )


def _plain(source: _Source, frames):
    try:
        yield from frames
    finally:
        frames.close()
        source.close()


def _prefetched(source: _Source, frames):
    """The same frames, decoded ahead by a thread that ends when this generator is closed."""
    batches: queue.Queue = queue.Queue(_QUEUE_BATCHES)
    stop = threading.Event()

    def put(item) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                batches.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        error: BaseException | None = None
        batch = []
        try:
            for item in frames:
                batch.append(item)
                if len(batch) == _BATCH_FRAMES:
                    if not put(batch):
                        return
                    batch = []
        except BaseException as caught:
            error = caught
        finally:
            frames.close()
            source.close()
            put(batch)
            put(error)

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while isinstance(batch := batches.get(), list):
            yield from batch
        if batch is not None:
            raise batch
    finally:
        stop.set()
        thread.join()


def first_picture(path: Path) -> np.ndarray:
    """The first picture of a file: see picture. Raises MediaError where there is none."""
    with decode_video(path, prefetch=False) as frames:
        for decoded in frames:
            return picture(decoded)
    raise MediaError(f"{path}: holds no picture.")
