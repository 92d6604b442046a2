"""Frames of one stream of an open container, whatever is wrong with some of its packets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av

from ingest.identity import unreadable

_DEMUX_ERRORS_IN_A_ROW = 100


def mistimes_after_seek(container: av.container.InputContainer) -> bool:
    """Whether the first packets after a seek may have the times of later ones: a seek in an MPEG
    program stream ends in the middle of a picture, which takes the next one's time."""
    return container.format.name == "mpeg"


class FramesOfStream:
    """last_error: what was wrong with the last packet that gave none."""

    def __init__(self, path: Path, container, stream):
        self._path = path
        self._container = container
        self._stream = stream
        self.last_error = ""

    def __iter__(self) -> Iterator[av.VideoFrame | av.AudioFrame | None]:
        """Decoded frames; None for each packet that could not be read or decoded. Raises MediaError
        where the file cannot be read any more."""
        failures = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                self.check_source()
                self.last_error = getattr(error, "strerror", None) or str(error)
                failures += 1
                yield None
                if failures < _DEMUX_ERRORS_IN_A_ROW:
                    packets = self._container.demux(self._stream)
                    continue
                packet = None  # gives out what the decoder still holds
            else:
                failures = 0
            flushing = packet is None or not packet.size
            try:
                for frame in self._stream.codec_context.decode(None if flushing else packet):
                    # Those that the decoder still held at the end have none.
                    frame.time_base = frame.time_base or self._stream.time_base
                    yield frame
            except av.EOFError:
                pass
            except av.FFmpegError as error:
                self.last_error = error.strerror or str(error)
                yield None
            if packet is None:
                return

    def check_source(self) -> None:
        """A drive or a server that went away is no damage: what was not read comes another time.
        FFmpeg does not tell the two apart.

        Raises MediaError where the file cannot be read any more."""
        try:
            with open(self._path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 1))
                file.read(1)
        except OSError as error:
            raise unreadable(self._path, error) from error
