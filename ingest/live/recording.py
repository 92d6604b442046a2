"""Recording: the packets of a live source as they come, nothing encoded again, into piece files.

Matroska takes nearly every codec, and what was written of a file is readable after a kill. Each
piece begins with a key frame, and its clock with that at 0. Where a piece lies on the stream's
clock is known once a picture of it has been placed there; then it is told, and again when it is
whole.

With ingest/media.py and the others that docs/architecture.md names, one of the files that touch
PyAV; its errors end here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from index.errors import MediaError
from index.pieces import Piece
from ingest.media import open_container

logger = logging.getLogger(__name__)

_CLUSTER_MILLISECONDS = "1000"
"""What a kill may take of a piece."""

_AROUND_SECONDS = 2.0
"""How far apart what is shown and what is heard at one time may come."""

_KINDS = ("video", "audio", "subtitle")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A packet, apart from the one that is decoded: muxing changes it."""

    index: int
    data: bytes
    pts: int
    dts: int
    duration: int
    time_base: Fraction
    key: bool

    @classmethod
    def of(cls, packet: av.Packet) -> _Kept:
        time_base = packet.time_base or packet.stream.time_base
        return cls(
            packet.stream.index,
            bytes(packet),
            packet.pts,
            packet.dts if packet.dts is not None else packet.pts,
            packet.duration or 0,
            time_base,
            packet.is_keyframe,
        )

    @property
    def seconds(self) -> Fraction:
        return self.pts * self.time_base


@dataclass
class _Writing:
    """A piece being written. origin: of its key frame, in seconds by the source's clock. reached:
    the end of its last picture, by that clock."""

    path: Path
    output: av.container.OutputContainer
    streams: dict[int, av.stream.Stream]
    origin: Fraction
    reached: Fraction
    piece: Piece | None = None

    def mux(self, kept: _Kept) -> None:
        stream = self.streams.get(kept.index)
        shift = round(self.origin / kept.time_base)
        if stream is None or kept.pts < shift:  # before the key frame: nothing shows it
            return
        packet = av.Packet(kept.data)
        packet.pts, packet.dts = kept.pts - shift, kept.dts - shift
        packet.duration, packet.time_base = kept.duration, kept.time_base
        packet.is_keyframe = kept.key
        packet.stream = stream
        self.output.mux(packet)


class Recorder:
    """Writes pieces into `folder`. Not for several threads.

    piece_seconds: a piece ends with the first key frame after so long. gap_seconds: a jump by more
    ends one too. reserve_bytes: of free space that stay free: below that nothing is recorded. tell:
    is called with each piece when its place is known, and when it is whole. say: with what goes
    wrong, in sentences for the user, once.
    """

    def __init__(
        self,
        folder: Path,
        video_id: str,
        *,
        piece_seconds: float,
        gap_seconds: float,
        reserve_bytes: int,
        tell: Callable[[Piece], None],
        say: Callable[[str], None],
    ):
        self._folder = folder
        self._video_id = video_id
        self._piece_seconds = piece_seconds
        self._gap_seconds = gap_seconds
        self._reserve_bytes = reserve_bytes
        self._tell = tell
        self._say = say
        self._source: av.container.InputContainer | None = None
        self._pictures: int | None = None
        self._around: deque[_Kept] = deque()
        self._writing: _Writing | None = None
        self._before: _Writing | None = None
        self._last_seconds: Fraction | None = None
        self._said: set[str] = set()
        self._hopeless = False

    def connect(self, source: av.container.InputContainer, pictures: av.stream.Stream) -> None:
        """Packets come from that container from now on. pictures: its stream that is looked at, or,
        where it has none, the one that is heard."""
        self.cut()
        self._source, self._pictures = source, pictures.index
        self._hopeless = False

    def wanted(self) -> list[av.stream.Stream]:
        """The streams that are recorded."""
        assert self._source is not None
        return [
            stream
            for stream in self._source.streams
            if stream.type in _KINDS
            and stream.codec_context is not None
            and (stream.type != "video" or stream.index == self._pictures)
        ]

    def take(self, packet: av.Packet) -> None:
        """The next packet, before it is decoded. What cannot be recorded is said and left out."""
        if not packet.size or packet.pts is None or self._hopeless:
            return
        kept = _Kept.of(packet)
        try:
            if kept.index == self._pictures:
                self._picture(kept)
            else:
                self._around.append(kept)
                while self._around and kept.seconds - self._around[0].seconds > _AROUND_SECONDS:
                    self._around.popleft()
                late = self._before is not None and kept.seconds < self._writing.origin
                if (writing := self._before if late else self._writing) is not None:
                    writing.mux(kept)
        except (av.FFmpegError, OSError, ValueError) as error:
            logger.warning("recording %s: %s", self._video_id, error)
            self._complain(f"What comes cannot be recorded ({error}).")
            self._hopeless = isinstance(error, ValueError)  # of its codec, until it comes anew
            self.cut()

    def placed(self, epoch: int, raw_seconds: float, seconds: float) -> None:
        """A picture of that time by the source's clock lies there on the stream's."""
        writing = self._writing
        if writing is None or writing.piece is not None:
            return
        if not float(writing.origin) - 1e-6 <= raw_seconds <= float(writing.reached) + 1e-6:
            return  # of an earlier piece: decoding is behind
        start = seconds - (raw_seconds - float(writing.origin))
        writing.piece = Piece(self._video_id, epoch, writing.path.name, start)
        self._tell(writing.piece)

    def cut(self) -> None:
        """What is being written ends here: the clock or the connection does."""
        for writing in (self._before, self._writing):
            if writing is not None:
                self._close(writing)
        self._before = self._writing = None
        self._last_seconds = None
        self._around.clear()

    def _picture(self, kept: _Kept) -> None:
        last, self._last_seconds = self._last_seconds, kept.dts * kept.time_base
        length = kept.duration * kept.time_base or (self._last_seconds - last if last else 0)
        if last is not None and not -1 <= float(self._last_seconds - last) <= self._gap_seconds:
            self.cut()
            self._last_seconds = kept.dts * kept.time_base
        writing = self._writing
        if kept.key and (
            writing is None or float(kept.seconds - writing.origin) >= self._piece_seconds
        ):
            if self._before is not None:
                self._close(self._before)
            self._before, self._writing = writing, None
            if writing is not None:
                writing.reached = kept.seconds
            self._writing = self._begun(kept)
            if self._writing is None:
                self.cut()
        elif self._before is not None and kept.seconds - writing.origin > _AROUND_SECONDS:
            self._close(self._before)
            self._before = None
        if (writing := self._writing) is not None:
            writing.mux(kept)
            writing.reached = max(writing.reached, kept.seconds + length)

    def _begun(self, key: _Kept) -> _Writing | None:
        """A new piece, with what is heard from its key frame on and has come already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < self._reserve_bytes:
            self._complain("The disk is nearly full: nothing is recorded until there is room.")
            return None
        path = self._folder / f"{round(time.time() * 1000)}.mkv"
        while path.exists():
            path = path.with_stem(f"{path.stem}x")
        options = {"cluster_time_limit": _CLUSTER_MILLISECONDS, "flush_packets": "1"}
        output = av.open(str(path), "w", format="matroska", container_options=options)
        streams = {}
        try:
            for stream in self.wanted():
                with contextlib.suppress(ValueError):  # Matroska does not take it
                    streams[stream.index] = output.add_stream_from_template(stream, opaque=True)
            if key.index not in streams:
                raise ValueError("Matroska does not take its codec")
            writing = _Writing(path, output, streams, key.seconds, key.seconds)
            for kept in self._around:
                writing.mux(kept)
        except BaseException:
            with contextlib.suppress(av.FFmpegError, ValueError):
                output.close()
            path.unlink(missing_ok=True)
            raise
        return writing

    def _close(self, writing: _Writing) -> None:
        try:
            writing.output.close()
        except (av.FFmpegError, OSError, ValueError) as error:
            logger.warning("recording %s: closing %s: %s", self._video_id, writing.path, error)
        if writing.piece is None:  # nothing of it was ever decoded: no place, no use
            writing.path.unlink(missing_ok=True)
            return
        length = float(writing.reached - writing.origin)
        self._tell(
            replace(
                writing.piece,
                end_seconds=writing.piece.start_seconds + length,
                size=_size(writing.path),
            )
        )

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


def mended(piece: Piece, folder: Path) -> Piece | None:
    """A piece that a kill has left open, as its file says how long it became; None where nothing
    of it can be read."""
    path = folder / piece.name
    end = None
    try:
        with open_container(path) as container:
            leader = (container.streams.video or container.streams.audio)[0]
            for packet in container.demux(leader):
                if packet.pts is not None:
                    last = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end = max(end or 0.0, float(last))
    except (MediaError, av.FFmpegError, IndexError):
        if end is None:
            return None
    if not end:
        return None
    return replace(piece, end_seconds=piece.start_seconds + end, size=_size(path))


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
