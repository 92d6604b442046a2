"""The sound of one epoch of a live source, from the thread that reads to the one that listens.

None of it is dropped: it waits in a file without a name, so that memory does not grow where the one
that listens is slower than the world.

With ingest/media.py and the others that docs/architecture.md names, one of the files that touch
PyAV.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator

import av
import numpy as np
from av.audio.resampler import AudioResampler

from ingest.audio import AudioBlock
from ingest.picture_events import Progress

SPEECH_RATE = 16_000
"""Samples a second: what voice activity and recognisers of speech hear."""

_PROGRESS_SECONDS = 1.0
_DRIFT_SECONDS = 0.1
_LONGEST_SILENCE_SECONDS = 3600.0
_HEARD_SECONDS = 30.0
"""So much that was heard lies in the file before it is made shorter, where little else does."""
_BYTES = 2  # of a sample
_FULL_SCALE = 32768.0


class SoundProgress:
    """What `ingest.picture_events.PictureEvents` is where there are no pictures: how far it has
    come, about once a second."""

    def __init__(self, start_seconds: float):
        self._start_seconds = start_seconds
        self._due_seconds = start_seconds

    def push(self, time_seconds: float) -> Iterator[Progress]:
        """Sound that begins then."""
        if time_seconds >= self._due_seconds:
            self._due_seconds = time_seconds + _PROGRESS_SECONDS
            yield Progress(time_seconds, self._start_seconds)

    def finish(self, end_seconds: float) -> Iterator[Progress]:
        yield Progress(end_seconds, self._start_seconds)


class EpochSound:
    """`put` decoded frames and `end` it in one thread; iterate it, once, in another.

    Times are seconds of the epoch, which begins at 0. Sample n lies at n / rate: what is missing is
    silence, and what comes twice is taken once. Timestamps are followed where they part from the
    count of samples by more than a tenth of a second (as in ingest.audio).
    """

    def __init__(self, rate: int = SPEECH_RATE) -> None:
        """rate: samples a second that it is turned into."""
        self._rate = rate
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the iteration)
        self._changed = threading.Condition()
        self._written = 0  # samples, since the epoch began
        self._read = 0
        self._offset = 0  # the sample that lies at the file's beginning
        self._ended = False
        self._resampler: AudioResampler | None = None
        self._shape: tuple = ()

    def put(self, at_seconds: float, frame: av.AudioFrame) -> None:
        """A frame that begins then. Raises OSError where the disk is full."""
        begins = round(at_seconds * self._rate)
        apart = begins - self._written
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if (
            self._resampler is None
            or shape != self._shape
            or abs(apart) > _DRIFT_SECONDS * self._rate
        ):
            if apart > 0:
                self._silence(min(apart, round(_LONGEST_SILENCE_SECONDS * self._rate)))
            self._resampler = AudioResampler(format="s16", layout="mono", rate=self._rate)
            self._shape = shape
        if apart < -_DRIFT_SECONDS * self._rate:  # it has been heard
            return
        frame.pts = None  # the samples are counted
        for out in self._resampler.resample(frame):
            if out is not None and out.samples:
                self._write(out.to_ndarray()[0].astype(np.int16).tobytes())

    def end(self) -> None:
        """Nothing more comes. May be called again."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[AudioBlock]:
        """Blocks of a second, as they come; ends with the sound."""
        try:
            while (samples := self._next()) is not None:
                start = (self._read - len(samples)) / self._rate
                yield AudioBlock(start, samples.astype(np.float32) / _FULL_SCALE)
        finally:
            self.close()

    def close(self) -> None:
        """Nobody listens any more: what comes yet is kept no more. May be called again."""
        with self._changed:
            self._ended = True
            self._file.close()

    def _silence(self, samples: int) -> None:
        while samples > 0:
            now = min(samples, self._rate)
            self._write(bytes(now * _BYTES))
            samples -= now

    def _write(self, data: bytes) -> None:
        with self._changed:
            if self._ended:
                return
            if self._read - self._offset >= _HEARD_SECONDS * self._rate:
                self._forget_heard()
            os.pwrite(self._file.fileno(), data, (self._written - self._offset) * _BYTES)
            self._written += len(data) // _BYTES
            self._changed.notify_all()

    def _forget_heard(self) -> None:
        """Where what was not heard is less than a block, which whoever keeps up leaves nearly
        always: it is moved to the file's beginning."""
        left = self._written - self._read
        if left >= self._rate:
            return
        descriptor = self._file.fileno()
        data = os.pread(descriptor, left * _BYTES, (self._read - self._offset) * _BYTES)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        self._offset = self._read

    def _next(self) -> np.ndarray | None:
        with self._changed:
            while self._written - self._read < self._rate and not self._ended:
                self._changed.wait()
            count = min(self._rate, self._written - self._read)
            if not count:
                return None
            at = (self._read - self._offset) * _BYTES
            data = os.pread(self._file.fileno(), count * _BYTES, at)
            self._read += count
            return np.frombuffer(data, np.int16)
