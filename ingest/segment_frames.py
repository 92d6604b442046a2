"""A few pictures of each of many spans, without decoding what lies between.

For answers and captions, which look at some pictures of an hour of video. One pass, in time order.
Where a span has a key frame in it that has not been taken, that is what stands for the wanted
picture, because it decodes alone; otherwise decoding starts at the key frame before, and pictures
that no other one leans on are skipped on the way, which changes nothing in the one that is wanted.
Which picture is taken depends on the file and the span alone, not on the spans before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from index.errors import DamagedMediaError, MediaError
from ingest.decode import decode_video
from ingest.frames import DecodedFrame, picture
from ingest.held_pictures import HeldPictures, HeldReader
from ingest.picture_packets import PicturePackets
from ingest.reducing import reduced_picture

SpanFrames = list[tuple[float, np.ndarray]]
"""(when it is shown, in seconds; uint8 of shape (height, width, 3), RGB, upright)."""

_MARGIN_SHARE = 0.1
_MARGIN_SECONDS = 0.5
_LATE_SECONDS = 0.25
"""Of a picture that comes so much later than wanted, the one before it is what people see."""


def spread(start_seconds: float, end_seconds: float, count: int) -> list[float]:
    """Times in the middle of each of `count` equal parts of a span: as far from its ends, where
    cuts and fades are, as they can be spread."""
    step = (end_seconds - start_seconds) / count
    return [start_seconds + (at + 0.5) * step for at in range(count)]


@dataclass(frozen=True, slots=True)
class Recording:
    """A video whose media lie in several files, one after the other, with gaps or without. parts:
    (file, start_seconds, end_seconds on the video's clock; None: nobody knows yet), in time order.
    """

    parts: tuple[tuple[Path, float, float | None], ...]


Media = Path | Recording | HeldPictures
"""Where the pictures of a video lie."""


def frame_reader(
    media: Media, max_side: int | None = None
) -> FrameReader | RecordingReader | HeldReader:
    """What reads single pictures of it. Errors: as in `frames_of`."""
    if isinstance(media, HeldPictures):
        return HeldReader(media, max_side)
    if isinstance(media, Recording):
        return RecordingReader(media, max_side)
    return FrameReader(media, max_side)


def frames_of(
    path: Media,
    spans: Sequence[tuple[float, float]],
    per_span: int,
    max_side: int | None = None,
    *,
    snap: bool = True,
) -> Iterator[tuple[int, SpanFrames]]:
    """Pictures of each span [start_seconds, end_seconds), spread over it.

    Yields (index of the span, its pictures in time order), by the spans' starts. A span has fewer
    pictures than `per_span` where the file holds fewer, and none where it cannot be decoded there.
    max_side: pixels; larger pictures are reduced. snap: whether key frames may stand for what is
    wanted. One span's pictures are held at a time.

    Raises MediaError where the file cannot be opened, NotMediaError where it has no pictures.
    """
    order = sorted(range(len(spans)), key=lambda at: spans[at])
    with frame_reader(path, max_side) as reader:
        for index in order:
            start, end = spans[index]
            wanted = spread(start, end, per_span)
            yield index, reader.read(wanted, start, end, snap=snap)


class RecordingReader:
    """As `FrameReader`, over the files of a recording. What lies in none of them, or in one that
    cannot be read, has no pictures."""

    def __init__(self, recording: Recording, max_side: int | None = None):
        self._parts = recording.parts
        self._max_side = max_side
        self._open: tuple[Path, FrameReader] | None = None

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def read(
        self, wanted: Sequence[float], start_seconds: float, end_seconds: float, *, snap: bool
    ) -> SpanFrames:
        """As `FrameReader.read`, with times on the video's clock."""
        found: SpanFrames = []
        left = list(wanted)
        for path, start, end in self._parts:
            inside = [at for at in left if start <= at and (end is None or at < end)]
            if not inside:
                continue
            here = [at - start for at in inside]
            left = [at for at in left if at not in inside]  # what overlaps is read once
            low = max(start_seconds - start, 0.0)
            high = (end_seconds if end is None else min(end, end_seconds)) - start
            try:
                frames = self._reader(path).read(here, low, high, snap=snap)
            except MediaError:
                self.close()
                continue
            found += [(start + time, image) for time, image in frames]
        return found

    def _reader(self, path: Path) -> FrameReader:
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = path, FrameReader(path, self._max_side)
        return self._open[1]


class FrameReader:
    """Single pictures of a file. Cheap where the times asked for go forward. Close it.

    path: the file. max_side: as in `frames_of`. Errors: as in `frames_of`.
    """

    def __init__(self, path: Path, max_side: int | None = None):
        self._path = path
        self._max_side = max_side
        self._decoder = PicturePackets(path)
        try:
            self._scout = PicturePackets(path)
        except BaseException:
            self._decoder.close()
            raise
        self._frames: Iterator[DecodedFrame] | None = None
        self._last: DecodedFrame | None = None
        self._skip_before = 0.0

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._forget()
        self._decoder.close()
        self._scout.close()

    def read(
        self, wanted: Sequence[float], start_seconds: float, end_seconds: float, *, snap: bool
    ) -> SpanFrames:
        """The pictures shown at the times `wanted` (ascending, inside the span), each once, or
        with `snap` key frames of the span near to them."""
        found: dict[float, DecodedFrame] = {}
        margin = min(_MARGIN_SECONDS, _MARGIN_SHARE * (end_seconds - start_seconds))
        # Half-way to the next wanted time: so near, a key frame stands for it.
        apart = min((b - a for a, b in pairwise(wanted)), default=None)
        reach = (end_seconds - start_seconds) / 2 if apart is None else apart / 2
        for at_seconds in wanted:
            key = None
            if snap:
                low = max(start_seconds + margin, at_seconds - reach)
                high = min(end_seconds - margin, at_seconds + reach)
                key = self._key_frame_in(at_seconds, low, high)
            try:
                decoded = self._alone(key) if key is not None else None
                if decoded is None:
                    decoded = self._shown_at(at_seconds, end_seconds)
            except (av.FFmpegError, MediaError):
                decoded = self._slowly(at_seconds)
            if decoded is not None:
                found.setdefault(decoded.time_seconds, decoded)
        return [(time, self._image(found[time])) for time in sorted(found)]

    def _image(self, decoded: DecodedFrame) -> np.ndarray:
        return reduced_picture(picture(decoded), self._max_side)

    def _key_frame_in(self, at_seconds: float, low: float, high: float) -> float | None:
        """The key frame nearest to a time, in [low, high]."""
        before = self._scout.key_frame(at_seconds)
        after = self._scout.key_frame(at_seconds, forward=True)
        near = [key for key in (before, after) if key is not None and low <= key <= high]
        return min(near, key=lambda key: (abs(key - at_seconds), key), default=None)

    def _alone(self, key_seconds: float) -> DecodedFrame | None:
        """A key frame, decoded without what follows it."""
        self._forget()
        packet = self._decoder.seek(key_seconds)
        if packet is None:
            return None
        context = self._decoder.stream.codec_context
        frames = [*context.decode(packet), *context.decode(None)]
        context.flush_buffers()
        for frame in frames:
            decoded = self._decoder.decoded(frame)
            if decoded is not None and abs(decoded.time_seconds - key_seconds) < 1e-3:
                return decoded
        return None

    def _shown_at(self, at_seconds: float, end_seconds: float) -> DecodedFrame | None:
        """The first picture at or after a time; where that comes late (a still stretch), or after
        the span, the last one before."""
        last = self._last
        going = self._frames is not None and last is not None and last.time_seconds <= at_seconds
        if going:
            key = self._scout.key_frame(at_seconds)
            going = key is None or key <= last.time_seconds
        if not going:
            self._forget()
            self._frames = self._decode_from(at_seconds)
        self._skip_before = at_seconds
        if self._last is not None and self._last.time_seconds == at_seconds:
            return self._last
        before = self._last
        for decoded in self._frames:
            self._last = decoded
            if decoded.time_seconds >= at_seconds - 1e-6:
                late = decoded.time_seconds >= min(end_seconds, at_seconds + _LATE_SECONDS)
                return before if late and before is not None else decoded
            before = decoded
        self._forget()
        return before

    def _decode_from(self, at_seconds: float) -> Iterator[DecodedFrame]:
        """From the key frame before a time on. Of what lies before `_skip_before`, pictures that
        no other needs are left out."""
        packet = self._decoder.seek_before(at_seconds)
        if packet is None:
            raise DamagedMediaError(f"{self._path}: no key frame before {at_seconds:.3f} s.")
        first = self._decoder.seconds(packet.pts)
        context = self._decoder.stream.codec_context
        while True:
            ahead = packet is not None and packet.pts is not None
            skip = ahead and self._decoder.seconds(packet.pts) < self._skip_before - _LATE_SECONDS
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            for frame in context.decode(packet):
                decoded = self._decoder.decoded(frame)
                # Pictures before the key frame lean on what was not read.
                if decoded is not None and decoded.time_seconds >= first:
                    yield decoded
            if packet is None:
                return
            packet = self._decoder.next_packet()

    def _slowly(self, at_seconds: float) -> DecodedFrame | None:
        """For files that seek badly or are damaged."""
        self._forget()
        before = None
        try:
            with decode_video(self._path, from_seconds=at_seconds, prefetch=False) as frames:
                for decoded in frames:
                    if decoded.time_seconds >= at_seconds:
                        return decoded
                    before = decoded
        except DamagedMediaError:
            pass
        return before

    def _forget(self) -> None:
        if self._frames is not None:
            self._frames.close()
        self._frames = self._last = None
