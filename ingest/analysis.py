"""One pass over a video's pictures: shots and samples, in time order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import Path

import numpy as np

from index.errors import DamagedMediaError
from ingest.decode import Problems, VideoDecoder
from ingest.frames import small_bgr
from ingest.picture_events import HELD_FRAMES_AT_LEAST, Event, PictureEvents
from ingest.settings import SamplingSettings, ShotSettings
from ingest.shots import KnownCuts, ShotDetector, decides_soon

_FIRST_LOOK_BACK_SECONDS = 1.5


class VideoAnalysis:
    """Events of a video's pictures: `Sample`s, `ShotEnded` and, about once a second and before
    each end of a shot, `Progress`.

    from_seconds: to resume, the time of any Progress or Sample. known_cuts: the ends of all shots
        that were given out before that, in ascending order. What follows is exactly what an
        uninterrupted run gives from there on: the samples and changes at or after from_seconds,
        and the shots that end after it. (Where a fade is longer than the pictures that memory
        holds, its cut is known only after samples that follow it; a resume from one of those
        gives no shot that ended before.)
    all_known: known_cuts are those of the whole video: its pictures are not looked at for any, the
        changes are all 0, and the events otherwise the same.

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
        all_known: bool = False,
    ):
        self._path = path
        self._shots = shots or ShotSettings()
        self._sampling = sampling or SamplingSettings()
        self._from_seconds = from_seconds
        self._known_cuts = [cut for cut in known_cuts if 0 < cut <= from_seconds]
        self._all_cuts: list[float] | None = None
        # A cut that is decided late may miss its frame, and the samples hang on that.
        if all_known and decides_soon(self._shots, HELD_FRAMES_AT_LEAST):
            self._all_cuts = [cut for cut in known_cuts if cut > 0]
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
        if self._all_cuts is not None:
            self._detector = KnownCuts(self._all_cuts, from_start=self._decoder.from_start)
        elif self._decoder.from_start:
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
        detector = self._detector
        events = PictureEvents(
            detector,
            self._sampling,
            from_seconds=self._from_seconds,
            known_seconds=self._known_cuts[-1] if self._known_cuts else 0.0,
        )
        damage = None
        try:
            for decoded in self._decoder:
                if decoded.time_seconds >= self._from_seconds and not detector.warm:
                    return False
                yield from events.push(decoded)
        except DamagedMediaError as error:
            damage = error
        if not detector.warm:
            return False
        self.damage = damage
        yield from events.finish(self.end_seconds)
        return True
