"""Sound out of a media file: mono samples on the one clock (see ingest.media), as a stream.

Sample n lies at n / sample_rate seconds, whatever the file: sound that begins late is preceded by
silence, and gaps are filled with silence. Where timestamps are only rounded (Matroska counts
milliseconds) the samples are counted, and the timestamps are followed only when the two part by
more than a tenth of a second, as FFmpeg's own `aresample` does (its `min_hard_comp`).

A run that is opened at `from_seconds` yields, to the bit, the samples of a run from the start.
There is only one way to that: to decode from the start and drop what was not asked for. A decoder
that is started in the middle substitutes other noise and predicts from another past (AAC, Opus,
AC-3), and rounded timestamps would place what it yields on another grid. Decoding is cheap beside
whatever listens (some 800 seconds of AAC a second on one core), and MP4 reads no pictures for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from index.errors import DamagedMediaError, NotMediaError
from ingest.claimed_end import MISSING_SECONDS, claimed_end
from ingest.decode import Problems
from ingest.media import container_start, open_container
from ingest.packets import FramesOfStream

_DRIFT_SECONDS = 0.1
_JUMP_SECONDS = 10.0
"""Timestamps that go back by more, or beyond the file's end by more, are wrong, not sound that is
elsewhere: what follows is taken to go on where it was."""
_SEEK_BACK_SECONDS = 1.0
_SETTLED_SECONDS = 0.5
_FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """A stretch of sound.

    start_seconds: of the first sample. samples: float32 of shape (samples,), mono, -1..1.
    """

    start_seconds: float
    samples: np.ndarray


def read_audio(
    path: Path,
    *,
    sample_rate: int,
    from_seconds: float = 0.0,
    problems: Problems | None = None,
) -> Iterator[AudioBlock]:
    """The sound of a file from `from_seconds` to its end, without gaps or overlaps.

    Blocks end at whole seconds of the clock, so all but the first and the last are `sample_rate`
    long; the first begins at the sample nearest to `from_seconds`. Memory does not grow with the
    file. Channels are mixed down and samples converted by FFmpeg, through 16 bits, as the models
    were trained that listen to them.

    sample_rate: samples a second. problems: what could not be decoded is skipped and counted there.
    Of several streams it is the first that is marked as the default, else the first.

    Raises MediaError where it cannot be opened, NotMediaError where it has no sound, and, after all
    that decodes, DamagedMediaError where the sound broke off.
    """
    problems = Problems() if problems is None else problems
    blocks = _Blocks(sample_rate, round(from_seconds * sample_rate))
    with open_container(path) as container:
        source = _Source(path, container, None, problems)
        for index, samples in _resampled(source.frames(), sample_rate):
            yield from blocks.put(index, samples[0].astype(np.float32) / _FULL_SCALE)
        yield from blocks.rest()
        source.check_end()


def read_sound(
    path: Path,
    *,
    sample_rate: int,
    layout: str,
    stream: int,
    start: Fraction,
    end: Fraction,
    problems: Problems,
) -> Iterator[np.ndarray]:
    """All channels of [start, end), in seconds, to the sample: float32 of shape (channels,
    samples), -1..1, in pieces of any length. What is missing, at the ends too, is silence.

    stream: its index in the container. It seeks, so it begins up to a second earlier than it
    yields. Other arguments and errors: as read_audio; a sound that breaks off is no error, but
    silence from there on.
    """
    have, last = round(start * sample_rate), round(end * sample_rate)
    channels = av.AudioLayout(layout).nb_channels
    with open_container(path) as container:
        source = _Source(path, container, stream, problems)
        if start > 0:
            source.seek(float(start))
        for index, samples in _resampled(source.frames(), sample_rate, "fltp", layout):
            if index >= last:
                break
            yield from _silence(channels, index - have, sample_rate)
            have = max(have, index)
            wanted = samples[:, have - index : last - index]
            if wanted.shape[1]:
                yield np.ascontiguousarray(wanted)
                have += wanted.shape[1]
    yield from _silence(channels, last - have, sample_rate)


def _silence(channels: int, samples: int, at_once: int) -> Iterator[np.ndarray]:
    while samples > 0:
        yield np.zeros((channels, min(samples, at_once)), np.float32)
        samples -= at_once


def audio_stream(path: Path) -> int | None:
    """Index of the stream that read_audio reads; None without sound."""
    with open_container(path) as container:
        chosen = choose_stream(container, None)
        return None if chosen is None else chosen.index


def choose_stream(container: av.container.InputContainer, index: int | None = None):
    """The audio stream of that index; None names the one that is heard. None without any."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    if index is not None:
        return next((s for s in streams if s.index == index), None)
    default = av.stream.Disposition.default
    marked = (s for s in streams if int(s.disposition) & int(default))
    return next(marked, streams[0] if streams else None)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A decoded frame and when it begins; follows: it goes on where the one before it ended."""

    start: Fraction
    frame: av.AudioFrame
    follows: bool


class _Source:
    """One audio stream, decoded, with times that can be relied on."""

    def __init__(self, path: Path, container, index: int | None, problems: Problems):
        self._path, self._container, self._problems = path, container, problems
        chosen = choose_stream(container, index)
        if chosen is None:
            which = "no sound" if index is None else f"no audio stream {index}"
            raise NotMediaError(f"{path}: has {which} that can be decoded.")
        self._stream = chosen
        for other in container.streams:
            if other is not chosen:
                other.discard = av.stream.Discard.all
        self._start = container_start(container)
        self._claimed = container.duration / 1_000_000 if container.duration else None
        self._bad_since_frame = 0
        self._decoded = FramesOfStream(path, container, chosen)
        self._end: Fraction | None = None
        self._settled_from = Fraction(0)

    def seek(self, seconds: float) -> None:
        """What comes just after a seek may be broken, or have the time of what follows it: `frames`
        leaves it out."""
        target = Fraction(max(0.0, seconds - _SEEK_BACK_SECONDS)) + self._start
        self._settled_from = Fraction(max(0.0, seconds - _SETTLED_SECONDS))
        try:
            self._container.seek(int(target / self._stream.time_base), stream=self._stream)
        except av.FFmpegError:
            self._container.seek(0)

    def frames(self) -> Iterator[_Placed]:
        """All frames that decode, in order, without overlaps of more than a tenth of a second."""
        offset = Fraction(0)
        for frame in self._decoded:
            if frame is None:
                self._bad_since_frame += 1
                self._problems.add(float(self._end or 0), self._decoded.last_error)
                continue
            self._bad_since_frame = 0
            expected = self._end
            start = expected or Fraction(0)
            if frame.pts is not None:
                start = frame.pts * (frame.time_base or self._stream.time_base)
                start += offset - self._start
                if start < self._settled_from:
                    self._problems.forget()
                    continue
            if frame.is_corrupt:
                self._problems.add(float(start), "a stretch of sound is incomplete")
            follows = expected is not None and abs(start - expected) <= _DRIFT_SECONDS
            if expected is not None and not follows:
                if start < expected and expected - start <= _JUMP_SECONDS:
                    self._problems.add(float(expected), "sound overlaps what came before")
                    continue
                if start < expected or self._beyond_the_end(start, expected):
                    self._problems.add(float(expected), "its timestamps jump")
                    offset += expected - start
                    follows = True
            if follows:
                start = expected
            self._end = start + Fraction(frame.samples, frame.sample_rate)
            yield _Placed(start, frame, follows)

    def _beyond_the_end(self, start: Fraction, expected: Fraction) -> bool:
        if self._claimed is None:
            return False
        return start > self._claimed + _JUMP_SECONDS and start > expected + _JUMP_SECONDS

    def check_end(self) -> None:
        """Raises DamagedMediaError where the sound broke off, MediaError where the drive did."""
        if not self._bad_since_frame and self._stops_short():
            self._bad_since_frame, self._decoded.last_error = 1, "the file is shorter than it says"
            self._problems.add(float(self._end or 0), self._decoded.last_error)
        if not self._bad_since_frame:
            return
        self._decoded.check_source()
        at_seconds = float(self._end or 0)
        where = f"its sound breaks off at {at_seconds:.3f} s"
        raise DamagedMediaError(
            f"{self._path}: {'none of its sound can be decoded' if self._end is None else where} "
            f"({self._decoded.last_error}). Copy the file again from its source.",
            at_seconds,
        )

    def _stops_short(self) -> bool:
        claimed = claimed_end(self._path, self._container, self._stream, self._start)
        return claimed - (self._end or 0) > MISSING_SECONDS


def _resampled(
    placed: Iterator[_Placed], rate: int, format: str = "s16", layout: str = "mono"
) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first sample, an array of shape (channels, samples), where the format is
    planar or mono); each unbroken stretch of one format goes through a resampler of its own,
    counted from where it begins."""
    resampler, shape, index = None, None, 0
    for item in placed:
        frame = item.frame
        this = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or this != shape or not item.follows:
            if resampler is not None:
                for samples in _converted(resampler, None):
                    yield index, samples
                    index += samples.shape[1]
            resampler, shape = AudioResampler(format=format, layout=layout, rate=rate), this
            index = round(item.start * rate)
        frame.pts = None  # the samples are counted here
        for samples in _converted(resampler, frame):
            yield index, samples
            index += samples.shape[1]
    if resampler is not None:
        for samples in _converted(resampler, None):
            yield index, samples
            index += samples.shape[1]


def _converted(resampler: AudioResampler, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    for out in resampler.resample(frame):
        if out is not None and out.samples:
            yield out.to_ndarray()


class _Blocks:
    """Samples in order, cut at whole seconds; what is missing between them is silence."""

    def __init__(self, rate: int, first: int):
        self._rate = rate
        self._position = max(0, first)
        self._held: list[np.ndarray] = []
        self._held_samples = 0

    def put(self, index: int, samples: np.ndarray) -> Iterator[AudioBlock]:
        """Takes samples whose first one is number `index`; drops those that are before the
        beginning or have been seen."""
        have = self._position + self._held_samples
        while index > have:
            silence = min(index - have, self._room())
            yield from self._add(np.zeros(silence, np.float32))
            have += silence
        samples = samples[have - index :]
        while len(samples):
            room = self._room()
            yield from self._add(samples[:room])
            samples = samples[room:]

    def rest(self) -> Iterator[AudioBlock]:
        if self._held_samples:
            yield self._take()

    def _room(self) -> int:
        return self._rate - (self._position + self._held_samples) % self._rate

    def _add(self, samples: np.ndarray) -> Iterator[AudioBlock]:
        full = len(samples) == self._room()
        self._held.append(samples)
        self._held_samples += len(samples)
        if full:
            yield self._take()

    def _take(self) -> AudioBlock:
        samples = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        block = AudioBlock(self._position / self._rate, samples)
        self._position += len(samples)
        self._held, self._held_samples = [], 0
        return block
