"""Channel `sound`: what is heard, so that "applause" or "glass breaking" can be searched for.

Evidence: no text; one vector in the encoder's space, of a window of sound (ten seconds, say). The
windows overlap and lie on a fixed grid of the clock. Following windows that sound alike are one
evidence, whose vector is the first's and whose span grows. Silence has no evidence.

How a run resumes: windows and the batches that they are encoded in are numbered from the beginning
of the clock, so that any run encodes the same sounds together and gets the same bits. Nothing else
is remembered but the vector that the open evidence began with, and an evidence lasts at most
`seal_seconds`: the watermark is where the open evidence starts. A run that is opened there encodes
its window's batch again.

Memory: a batch of windows, whatever the length.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from index.errors import DamagedMediaError, NotMediaError
from index.schema import Evidence, Generation, Video
from index.store import VectorSpace
from ingest.channel import Batch, FileChannel, evidence_of
from ingest.channels.settings import SoundSettings

if TYPE_CHECKING:
    from ingest.audio import AudioBlock
    from ingest.decode import Problems

_CODE_VERSION = 1
"""Raised when a change in this file changes what the evidence is."""


class SoundEncoder(Protocol):
    """What hears; ingest.models.clap.ClapEncoder is the real one."""

    space: str
    size: int

    def encode_audio(self, windows: list[np.ndarray]) -> np.ndarray:
        """windows: float32 of shape (samples,). Returns float32 of shape (len(windows), size),
        unit length."""
        ...


class SoundChannel(FileChannel):
    """See the module.

    encoder: makes the encoder; called once, at the first window that is not silent. Raises
        ModelMissingError where weights or packages are missing.
    describe: of the encoder, as ingest.models.clap.describe_clap gives it: `space`, `size`,
        `sample_rate`, `window_seconds` (the most that it hears) and what else shapes its vectors.
    """

    name = "sound"

    def __init__(
        self,
        settings: SoundSettings | None,
        encoder: Callable[[], SoundEncoder],
        describe: Mapping[str, Any],
    ):
        self._settings = settings or SoundSettings()
        self._make = encoder
        self._describe = dict(describe)
        self.spaces = (VectorSpace(describe["space"], describe["size"], "cosine"),)
        self._loading = threading.Lock()
        self._loaded: SoundEncoder | None = None

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        return {
            "encoder": self._describe,
            # The model is described above, whoever chose it. The batch is about speed (and, in the
            # last bit or two, about rounding).
            "settings": self._settings.model_dump(mode="json", exclude={"model", "batch"}),
            "code": _CODE_VERSION,
        }

    def listens(self, path: Path, video: Video) -> bool:
        return True

    def defers(self, path: Path, video: Video) -> bool:
        return False

    def run(
        self, path: Path, video: Video, generation: Generation, from_seconds: float
    ) -> Iterator[Batch]:
        """A batch for every few windows. Where the sound breaks off, what was heard before it
        stays and a note says so. Raises MediaError where the file cannot be opened."""
        end_seconds = max(video.duration_seconds or 0.0, from_seconds)
        if not any(stream.kind == "audio" for stream in video.streams):
            yield Batch((), end_seconds, end_seconds)
            return
        grid = _Grid.of(self._settings, self._describe)
        gather = _Gatherer(generation, self._settings, self.spaces[0].name, from_seconds)
        notes: list[str] = []
        from ingest.decode import Problems  # not above: see cli.index

        problems = Problems()
        first = grid.batch_at(from_seconds, self._settings.batch)
        batches = self._windows(path, grid, first, problems)
        while True:
            try:
                windows = next(batches)
            except StopIteration:
                break
            except (DamagedMediaError, NotMediaError) as error:
                notes.append(str(error))
                break
            loud = [window for window in windows if window.samples is not None]
            vectors = iter(self._encode([window.samples for window in loud]))
            evidence: list[Evidence] = []
            for window in windows:
                vector = None if window.samples is None else next(vectors)
                # Of the batch that the watermark lies in, what is before it is done.
                if window.start_seconds >= from_seconds:
                    evidence += gather.put(window, vector)
            heard_seconds = max(from_seconds, windows[-1].end_seconds)
            yield Batch(
                tuple(evidence),
                gather.watermark_seconds(windows[-1].start_seconds + grid.step_seconds),
                heard_seconds,
            )
        if problems.errors and not notes:
            at = f" from {problems.first_seconds:.1f} s on" if problems.first_seconds else ""
            notes.append(
                f"{path}: its sound is damaged{at} ({problems.message}, {problems.errors} times); "
                "what decodes is indexed. Copy the file again from its source to have all of it."
            )
        end_seconds = max(end_seconds, gather.end_seconds)
        yield Batch(tuple(gather.close()), end_seconds, end_seconds, tuple(notes), bool(notes))

    @property
    def sample_rate(self) -> int:
        """Of the sound that is listened to."""
        return int(self._describe["sample_rate"])

    def listen(
        self, blocks: Iterator[AudioBlock], generation: Generation, start_seconds: float
    ) -> Iterator[tuple[Batch, list[Evidence]]]:
        """Of a stream, as it comes: a batch for each window, and what is open behind it. blocks: of
        a sound that begins there on the video's clock; their own times count from its beginning."""
        grid = _Grid.of(self._settings, self._describe)
        gather = _Gatherer(generation, self._settings, self.spaces[0].name, start_seconds)
        for window in _cut(blocks, grid, 0, self._settings.silence_decibels):
            vector = None if window.samples is None else self._encode([window.samples])[0]
            placed = window.later(start_seconds)
            ended = gather.put(placed, vector)
            watermark = gather.watermark_seconds(placed.start_seconds + grid.step_seconds)
            yield Batch(tuple(ended), watermark, placed.end_seconds), gather.still_open()
        yield Batch(tuple(gather.close()), gather.end_seconds, gather.end_seconds), []

    def _encode(self, windows: list[np.ndarray]) -> np.ndarray:
        if not windows:
            return np.zeros((0, 0), np.float32)
        with self._loading:
            if self._loaded is None:
                self._loaded = self._make()
        return self._loaded.encode_audio(windows)

    def _windows(
        self, path: Path, grid: _Grid, first: int, problems: Problems
    ) -> Iterator[list[_Window]]:
        """The windows from number `first` on, in batches. What decoded before the sound broke off
        comes before the error."""
        batch: list[_Window] = []
        try:
            from ingest.audio import read_audio  # not above: see cli.index

            begin_seconds = first * grid.step / grid.rate
            blocks = read_audio(
                path, sample_rate=grid.rate, from_seconds=begin_seconds, problems=problems
            )
            for window in _cut(blocks, grid, first, self._settings.silence_decibels):
                batch.append(window)
                if len(batch) == self._settings.batch:
                    yield batch
                    batch = []
        except DamagedMediaError:
            if batch:
                yield batch
            raise
        if batch:
            yield batch


@dataclass(frozen=True, slots=True)
class _Window:
    """samples: float32 of shape (n,); None where it is silent."""

    start_seconds: float
    end_seconds: float
    samples: np.ndarray | None

    def later(self, seconds: float) -> _Window:
        return _Window(self.start_seconds + seconds, self.end_seconds + seconds, self.samples)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where windows lie, in samples: number n begins at n * step and is `length` long."""

    rate: int
    length: int
    step: int

    @classmethod
    def of(cls, settings: SoundSettings, encoder: Mapping[str, Any]) -> _Grid:
        rate = int(encoder["sample_rate"])
        seconds = min(settings.window_seconds, float(encoder["window_seconds"]))
        length = max(1, round(seconds * rate))
        return cls(rate, length, min(length, max(1, round(settings.step_seconds * rate))))

    @property
    def step_seconds(self) -> float:
        return self.step / self.rate

    def batch_at(self, seconds: float, size: int) -> int:
        """The number of the first window of the batch that a window that begins there is in."""
        number = max(0, math.ceil(round(seconds * self.rate) / self.step))
        return number // size * size


def _cut(
    blocks: Iterator[AudioBlock], grid: _Grid, first: int, silence_decibels: float
) -> Iterator[_Window]:
    """The windows from number `first` on, whose first sample the blocks begin with. The last one is
    the first that reaches the end of the sound; it may be shorter than the others."""
    quiet = 10 ** (silence_decibels / 20)
    number, begin = first, first * grid.step
    held = np.zeros(0, np.float32)  # from sample `begin` on
    covered = 0 if first == 0 else (first - 1) * grid.step + grid.length

    def window(samples: np.ndarray) -> _Window:
        start, end = begin / grid.rate, (begin + len(samples)) / grid.rate
        silent = float(np.abs(samples).max(initial=0.0)) < max(quiet, 1e-9)
        return _Window(start, end, None if silent else samples.copy())

    damage: DamagedMediaError | None = None
    try:
        for block in blocks:
            held = np.concatenate([held, block.samples])
            while len(held) >= grid.length:
                yield window(held[: grid.length])
                covered = begin + grid.length
                number, held = number + 1, held[grid.step :]
                begin = number * grid.step
    except DamagedMediaError as error:
        damage = error
    if begin + len(held) > covered:
        yield window(held)
    if damage is not None:
        raise damage


class _Gatherer:
    """Windows and their vectors to evidence: alike neighbours become one."""

    def __init__(
        self, generation: Generation, settings: SoundSettings, space: str, from_seconds: float
    ):
        self._generation = generation
        self._settings = settings
        self._space = space
        self._first: np.ndarray | None = None
        self._start_seconds = from_seconds
        self._from_seconds = from_seconds
        self.end_seconds = from_seconds

    def watermark_seconds(self, next_seconds: float) -> float:
        """next_seconds: start of the first window that was not put."""
        at = next_seconds if self._first is None else self._start_seconds
        return max(self._from_seconds, at)

    def put(self, window: _Window, vector: np.ndarray | None) -> list[Evidence]:
        """vector: float32 of shape (size,), unit length; None for silence."""
        alike = (
            self._first is not None
            and vector is not None
            and float(self._first @ vector) >= self._settings.same_cosine
            and window.start_seconds - self._start_seconds < self._settings.seal_seconds
        )
        ended = [] if alike else self.close()
        if not alike:
            self._first, self._start_seconds = vector, window.start_seconds
        self.end_seconds = window.end_seconds
        return ended

    def close(self) -> list[Evidence]:
        ended = self.still_open()
        self._first = None
        return ended

    def still_open(self) -> list[Evidence]:
        """As if it ended with the last window."""
        if self._first is None:
            return []
        first, generation = self._first, self._generation
        return [
            evidence_of(
                generation,
                self._start_seconds,
                self.end_seconds,
                vectors={self._space: first},
            )
        ]
