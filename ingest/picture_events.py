"""What a picture goes through, wherever it comes from: shots and samples, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.channel import Sample
from ingest.frames import DecodedFrame, picture, small_bgr
from ingest.sampling import SampleSchedule
from ingest.settings import SamplingSettings
from ingest.shots import KnownCuts, ShotDetector

_HELD_BYTES = 128 * 2**20
HELD_FRAMES_AT_LEAST = 4
_PROGRESS_SECONDS = 1.0


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


class PictureEvents:
    """Push the frames of one unbroken stretch in order; get its events: `Sample`s, `ShotEnded` and,
    about once a second and before each end of a shot, `Progress`.

    start_seconds: when the stretch begins. from_seconds, known_seconds: of a run that goes on where
    another stopped, the time from which on events are given out, and the last cut that was given
    out before; the detector is one that resumes, then, and nothing comes before it is warm.
    """

    def __init__(
        self,
        detector: ShotDetector | KnownCuts,
        sampling: SamplingSettings,
        *,
        start_seconds: float = 0.0,
        from_seconds: float = 0.0,
        known_seconds: float = 0.0,
    ):
        self._detector = detector
        self._sampling = sampling
        self._start_seconds = start_seconds
        self._from_seconds = from_seconds
        self._known_seconds = known_seconds
        self._line = _DelayLine(detector)
        self._shots: _ShotSampler | None = None

    def push(self, decoded: DecodedFrame) -> Iterator[Event]:
        yield from self._give_out(self._line.push(decoded))

    def finish(self, end_seconds: float) -> Iterator[Event]:
        """The stretch ends there."""
        yield from self._give_out(self._line.finish())
        if self._shots is not None:
            yield from self._shots.finish(end_seconds)

    def _give_out(self, decided: Iterator[_Held]) -> Iterator[Event]:
        line = self._line
        for held in decided:
            self._shots = self._shots or self._shot_sampler()
            yield from self._shots.push(held, line.cut_at(held), line.settles(held))

    def _shot_sampler(self) -> _ShotSampler:
        start = self._detector.start
        return _ShotSampler(
            self._sampling,
            self._from_seconds,
            self._known_seconds,
            shot_start_seconds=self._start_seconds if start is None else start.last_cut_seconds,
            resumed=start is not None,
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

    def __init__(self, detector: ShotDetector | KnownCuts):
        self._detector = detector
        self._held: deque[_Held] = deque()
        self._cuts: deque[float] = deque()

    def push(self, decoded: DecodedFrame) -> Iterator[_Held]:
        """Takes the next frame in; gives out those that are decided. The first is the one where
        the detector, if it resumed, knows its state."""
        detector = self._detector
        width = detector.analysis_width
        small = None if width is None else small_bgr(decoded.frame, width)
        cuts = detector.push(decoded.time_seconds, small)
        if not detector.warm and detector.start is None:
            return
        self._cuts.extend(cut.time_seconds for cut in cuts)
        self._held.append(_Held(detector.last_index, decoded, detector.last_change))
        frame = decoded.frame
        room = max(HELD_FRAMES_AT_LEAST, _HELD_BYTES // (frame.width * frame.height * 2))
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
        shot_start_seconds: float,
        resumed: bool,
    ):
        """known_seconds: the last cut that was given out before. shot_start_seconds: when the shot
        that the frames begin in has begun. resumed: it has begun before them."""
        self._settings = settings
        self._resumed = resumed
        self._from_seconds = from_seconds
        self._known_seconds = known_seconds
        self._start_seconds = shot_start_seconds
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
