"""One pass over a video's pictures: shots and samples, in time order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

import numpy as np

from index.errors import DamagedMediaError
from ingest.channel import Sample
from ingest.decode import Problems, VideoDecoder
from ingest.frames import DecodedFrame, picture, small_bgr
from ingest.sampling import SampleSchedule
from ingest.settings import SamplingSettings, ShotSettings
from ingest.shots import ShotDetector

_HELD_BYTES = 128 * 2**20
_HELD_FRAMES_AT_LEAST = 4
_PROGRESS_SECONDS = 1.0
_FIRST_LOOK_BACK_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class ShotEnded:
    """A shot is complete: [start_seconds, end_seconds). The next begins where it ends."""

    start_seconds: float
    end_seconds: float


Change = tuple[float, float]
"""When a frame is shown, in seconds, and how much it differs from the one before it: 0..255, the
mean over its pixels and colours."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All events before this time have been given out. No shot ends before it any more;
    shot_start_seconds is the start of the one that is open. changes: of every frame since the
    Progress before, those at this time or a little later among them."""

    time_seconds: float
    shot_start_seconds: float
    changes: tuple[Change, ...] = ()


Event = ShotEnded | Sample | Progress


class VideoAnalysis:
    """Events of a video's pictures: `Sample`s, `ShotEnded` and, about once a second and before
    each end of a shot, `Progress`.

    from_seconds: to resume, the time of any Progress or Sample. known_cuts: the ends of all shots
        that were given out before that, in ascending order. What follows is exactly what an
        uninterrupted run gives from there on: the samples and changes at or after from_seconds,
        and the shots that end after it. (Where a fade is longer than the pictures that memory
        holds, its cut is known only after samples that follow it; a resume from one of those
        gives no shot that ended before.)

    After the iteration: `problems` says what could not be decoded, `end_seconds` where the last
    picture ends; where decoding broke off, `damage` is the error (its events all came before).
    Close it, or use `with`, where not all is read. Raises as VideoDecoder does when it is made.
    """

    def __init__(
        self,
        path: Path,
        shots: ShotSettings | None = None,
        sampling: SamplingSettings | None = None,
        *,
        from_seconds: float = 0.0,
        known_cuts: Sequence[float] = (),
    ):
        self._path = path
        self._shots = shots or ShotSettings()
        self._sampling = sampling or SamplingSettings()
        self._from_seconds = from_seconds
        self._known_cuts = [cut for cut in known_cuts if 0 < cut <= from_seconds]
        self.damage: DamagedMediaError | None = None
        self._open(_FIRST_LOOK_BACK_SECONDS)
        self._events = self._run()

    @property
    def problems(self) -> Problems:
        return self._decoder.problems

    @property
    def end_seconds(self) -> float:
        return self._decoder.end_seconds

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __enter__(self) -> VideoAnalysis:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._events.close()
        self._decoder.close()

    def _open(self, look_back_seconds: float) -> None:
        """Starts that long before the point of resume, or at the start of the video."""
        at_seconds = max(0.0, self._from_seconds - look_back_seconds)
        self._decoder = VideoDecoder(self._path, at_seconds)
        rate = self._decoder.frame_rate
        if self._decoder.from_start:
            self._detector = ShotDetector(self._shots, rate)
        else:
            self._detector = ShotDetector.resume(
                self._shots, self._known_cuts, self._small_from, rate
            )

    def _small_from(self, from_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
        """The frames from there on, for another look."""
        with VideoDecoder(self._path, from_seconds, prefetch=False) as frames:
            for decoded in dropwhile(lambda d: d.time_seconds < from_seconds, frames):
                yield decoded.time_seconds, small_bgr(decoded.frame, self._shots.analysis_width)

    def _run(self) -> Iterator[Event]:
        look_back = _FIRST_LOOK_BACK_SECONDS
        while not (yield from self._pass()):
            self._decoder.close()
            look_back *= 4
            self._open(look_back)

    def _pass(self) -> Iterator[Event]:
        """The events; returns False, before any, where it must start earlier for the detector to
        be warm at the point of resume."""
        line, shots = _DelayLine(self._detector), None
        detector = self._detector
        damage = None
        try:
            for decoded in self._decoder:
                if decoded.time_seconds >= self._from_seconds and not detector.warm:
                    return False
                for held in line.push(decoded):
                    shots = shots or self._shot_sampler()
                    yield from shots.push(held, line.cut_at(held), line.settles(held))
        except DamagedMediaError as error:
            damage = error
        if not detector.warm:
            return False
        self.damage = damage
        for held in line.finish():
            shots = shots or self._shot_sampler()
            yield from shots.push(held, line.cut_at(held), line.settles(held))
        if shots is not None:
            yield from shots.finish(self.end_seconds)
        return True

    def _shot_sampler(self) -> _ShotSampler:
        start = self._detector.start
        return _ShotSampler(
            self._sampling,
            self._from_seconds,
            self._known_cuts[-1] if self._known_cuts else 0.0,
            resumed_in_shot=None if start is None else start.last_cut_seconds,
        )


@dataclass(frozen=True, slots=True)
class _Held:
    index: int
    decoded: DecodedFrame
    change: float

    @property
    def time_seconds(self) -> float:
        return self.decoded.time_seconds


class _DelayLine:
    """Holds frames back until it is known whether a shot begins at them."""

    def __init__(self, detector: ShotDetector):
        self._detector = detector
        self._held: deque[_Held] = deque()
        self._cuts: deque[float] = deque()

    def push(self, decoded: DecodedFrame) -> Iterator[_Held]:
        """Takes the next frame in; gives out those that are decided. The first is the one where
        the detector, if it resumed, knows its state."""
        detector = self._detector
        small = small_bgr(decoded.frame, detector.analysis_width)
        cuts = detector.push(decoded.time_seconds, small)
        if not detector.warm and detector.start is None:
            return
        self._cuts.extend(cut.time_seconds for cut in cuts)
        self._held.append(_Held(detector.last_index, decoded, detector.last_change))
        frame = decoded.frame
        room = max(_HELD_FRAMES_AT_LEAST, _HELD_BYTES // (frame.width * frame.height * 2))
        # A fade can take hours to be decided. What does not fit is given out undecided: it counts
        # to the shot before, and the cut comes late.
        while self._held and (self.settles(self._held[0]) or len(self._held) > room):
            yield self._held.popleft()

    def settles(self, held: _Held) -> bool:
        """Whether all cuts up to this frame are known."""
        return held.index <= self._detector.settled_index

    def finish(self) -> Iterator[_Held]:
        """The video ended: the frames that were still held."""
        while self._held:
            yield self._held.popleft()

    def cut_at(self, held: _Held) -> float | None:
        """The cut at this frame, or one that was found too late for its own frame."""
        cut = None
        while self._cuts and self._cuts[0] <= held.time_seconds:
            cut = self._cuts.popleft()
        return cut


class _ShotSampler:
    """Frames with their cuts in, samples, shots and progress out."""

    def __init__(
        self,
        settings: SamplingSettings,
        from_seconds: float,
        known_seconds: float,
        *,
        resumed_in_shot: float | None,
    ):
        """known_seconds: the last cut that was given out before. resumed_in_shot: when the shot
        that the frames begin in has begun; None where they begin at the start of the video."""
        self._settings = settings
        self._resumed = resumed_in_shot is not None
        self._from_seconds = from_seconds
        self._known_seconds = known_seconds
        self._start_seconds = resumed_in_shot or 0.0
        self._schedule: SampleSchedule | None = None
        self._sampled = False
        self._shown: DecodedFrame | None = None
        self._changes: list[Change] = []
        self._progress_at = from_seconds

    def push(self, held: _Held, cut_seconds: float | None, settled: bool) -> Iterator[Event]:
        """settled: whether all cuts up to this frame are known."""
        at_seconds = held.time_seconds
        if self._schedule is None:
            self._begin(self._start_seconds, at_seconds)
            self._sampled = self._schedule.begun and self._resumed
        elif cut_seconds is None and self._schedule.falls_before(at_seconds):
            yield from self._sample()
        if cut_seconds is not None and cut_seconds > self._start_seconds:
            yield from self._end_shot(cut_seconds)
            # Of a cut that comes late the first sample is still due: it is what is shown now.
            self._begin(cut_seconds, cut_seconds)
        self._shown = held.decoded
        if at_seconds >= self._from_seconds:
            self._changes.append((at_seconds, held.change))
            if settled and at_seconds >= self._progress_at:
                yield self._progress(at_seconds)

    def finish(self, end_seconds: float) -> Iterator[Event]:
        yield from self._end_shot(max(end_seconds, self._shown.time_seconds))

    def _begin(self, start_seconds: float, at_seconds: float) -> None:
        self._start_seconds = start_seconds
        self._schedule = SampleSchedule(self._settings, start_seconds, at_seconds)
        self._sampled = False

    def _end_shot(self, end_seconds: float) -> Iterator[Event]:
        if self._schedule.falls_before(end_seconds) or not self._sampled:
            yield from self._sample()
        if end_seconds >= self._from_seconds and end_seconds > self._known_seconds:
            yield self._progress(end_seconds)
            yield ShotEnded(self._start_seconds, end_seconds)

    def _progress(self, at_seconds: float) -> Progress:
        changes, self._changes = tuple(self._changes), []
        self._progress_at = at_seconds + _PROGRESS_SECONDS
        return Progress(at_seconds, self._start_seconds, changes)

    def _sample(self) -> Iterator[Sample]:
        self._sampled = True
        shown = self._shown
        if shown is not None and shown.time_seconds >= self._from_seconds:
            yield Sample(shown.time_seconds, self._start_seconds, picture(shown))
