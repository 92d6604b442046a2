"""One pass over a video's pictures: shots and samples, in time order, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

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
_LAST_LOOK_BACK_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class ShotEnded:
    """A shot is complete: [start_seconds, end_seconds). The next begins where it ends."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """All events before this time have been given out. No shot ends before it any more;
    shot_start_seconds is the start of the one that is open: where a resume from here goes on."""

    time_seconds: float
    shot_start_seconds: float


Event = ShotEnded | Sample | Progress


class VideoAnalysis:
    """Events of a video's pictures: `Sample`s, `ShotEnded` and, about once a second, `Progress`.

    from_seconds, last_cut_seconds: to resume, the time of a Progress and the start of the shot
        that was open there. What follows is exactly what an uninterrupted run gives from there
        on: the samples at or after from_seconds and the shots that end after it.

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
        last_cut_seconds: float = 0.0,
    ):
        self._path = path
        self._shots = shots or ShotSettings()
        self._sampling = sampling or SamplingSettings()
        self._from_seconds = from_seconds
        self._last_cut_seconds = last_cut_seconds
        self.damage: DamagedMediaError | None = None
        if from_seconds > 0 and ShotDetector(self._shots).warmup_frames is not None:
            self._open(_FIRST_LOOK_BACK_SECONDS)
        else:
            self._open(from_seconds)
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
                self._shots, self._from_seconds, self._last_cut_seconds, rate
            )

    def _run(self) -> Iterator[Event]:
        look_back = _FIRST_LOOK_BACK_SECONDS
        while (start := self._warmed_up()) is None:
            self._decoder.close()
            look_back *= 4
            self._open(look_back if look_back <= _LAST_LOOK_BACK_SECONDS else math.inf)
        line = _DelayLine(self._detector)
        resumed = not self._decoder.from_start
        shots = _ShotSampler(
            self._sampling,
            self._from_seconds,
            self._last_cut_seconds,
            resumed=resumed,
        )
        progress_at = self._from_seconds
        try:
            for decoded in start:
                for held in line.push(decoded):
                    yield from shots.push(held, line.cut_at(held))
                    if held.time_seconds >= progress_at:
                        yield Progress(held.time_seconds, shots.start_seconds)
                        progress_at = held.time_seconds + _PROGRESS_SECONDS
        except DamagedMediaError as error:
            self.damage = error
        for held in line.finish():
            yield from shots.push(held, line.cut_at(held))
        yield from shots.finish(self.end_seconds)

    def _warmed_up(self) -> Iterator[DecodedFrame] | None:
        """The frames, once it is clear that enough of them come before the point of resume for
        the detector to be warm there; None where it must start earlier."""
        frames = iter(self._decoder)
        if self._decoder.from_start:
            return frames
        early: list[DecodedFrame] = []
        try:
            for decoded in frames:
                early.append(decoded)
                if len(early) > self._detector.warmup_frames:
                    return chain(early, frames)
                if decoded.time_seconds >= self._from_seconds:
                    return None
        except DamagedMediaError:
            pass
        return None


class _DelayLine:
    """Holds frames back until it is known whether a shot begins at them."""

    def __init__(self, detector: ShotDetector):
        self._detector = detector
        self._held: deque[tuple[int, DecodedFrame]] = deque()
        self._cuts: deque[float] = deque()
        self._next_index: int | None = None

    def push(self, decoded: DecodedFrame) -> Iterator[DecodedFrame]:
        """Takes the next frame in; gives out those that are decided."""
        small = small_bgr(decoded.frame, self._detector.analysis_width)
        cuts = self._detector.push(decoded.time_seconds, small)
        self._cuts.extend(cut.time_seconds for cut in cuts)
        self._held.append((self._detector.last_index, decoded))
        frame = decoded.frame
        room = max(_HELD_FRAMES_AT_LEAST, _HELD_BYTES // (frame.width * frame.height * 2))
        # A fade can take hours to be decided. What does not fit is given out undecided: it counts
        # to the shot before, and the cut comes late.
        settled = self._detector.settled_index
        while self._held and (self._held[0][0] <= settled or len(self._held) > room):
            yield self._held.popleft()[1]

    def finish(self) -> Iterator[DecodedFrame]:
        """The video ended: the frames that were still held."""
        self._cuts.extend(cut.time_seconds for cut in self._detector.finish())
        while self._held:
            yield self._held.popleft()[1]

    def cut_at(self, decoded: DecodedFrame) -> float | None:
        """The cut at this frame, or one that was found too late for its own frame."""
        cut = None
        while self._cuts and self._cuts[0] <= decoded.time_seconds:
            cut = self._cuts.popleft()
        return cut


class _ShotSampler:
    """Frames with their cuts in, samples and shots out."""

    def __init__(
        self,
        settings: SamplingSettings,
        from_seconds: float,
        known_seconds: float,
        *,
        resumed: bool,
    ):
        """known_seconds: the last cut that was given out before. resumed: whether the frames
        begin in the middle of the video, with that shot; else they begin at its start."""
        self._settings = settings
        self._resumed = resumed
        self._from_seconds = from_seconds
        self._known_seconds = known_seconds
        self.start_seconds = known_seconds if resumed else 0.0
        self._schedule: SampleSchedule | None = None
        self._sampled = False
        self._shown: DecodedFrame | None = None

    def push(self, decoded: DecodedFrame, cut_seconds: float | None) -> Iterator[Event]:
        at_seconds = decoded.time_seconds
        if self._schedule is None:
            # Before the shot of the resume nothing is given out, so nothing is scheduled.
            if at_seconds >= self.start_seconds:
                self._begin(self.start_seconds, at_seconds)
                self._sampled = self._schedule.begun and self._resumed
        elif cut_seconds is None and self._schedule.falls_before(at_seconds):
            yield from self._sample()
        if cut_seconds is not None and cut_seconds > self.start_seconds:
            yield from self._end_shot(cut_seconds)
            self._begin(cut_seconds, at_seconds)
        self._shown = decoded

    def finish(self, end_seconds: float) -> Iterator[Event]:
        if self._shown is None:
            return
        yield from self._end_shot(max(end_seconds, self._shown.time_seconds))

    def _begin(self, start_seconds: float, at_seconds: float) -> None:
        self.start_seconds = start_seconds
        self._schedule = SampleSchedule(self._settings, start_seconds, at_seconds)
        self._sampled = False

    def _end_shot(self, end_seconds: float) -> Iterator[Event]:
        if self._schedule is not None and (
            self._schedule.falls_before(end_seconds) or not self._sampled
        ):
            yield from self._sample()
        if end_seconds >= self._from_seconds and end_seconds > self._known_seconds:
            yield ShotEnded(self.start_seconds, end_seconds)

    def _sample(self) -> Iterator[Sample]:
        self._sampled = True
        shown = self._shown
        if shown is not None and shown.time_seconds >= self._from_seconds:
            yield Sample(shown.time_seconds, self.start_seconds, picture(shown))
