"""What is taken away: moments, moved to the borders of frames, and the footage they are cut from.

Every format is written from the same `Cut`s, so times agree to the frame in all of them.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from index.errors import LongtakeError, MediaError
from index.library import Library
from index.schema import Moment, Video
from ingest.cut_points import SOUND_RATE, CutPoints
from ingest.segment_frames import Media, Recording

STANDARD_RATES = (
    *(Fraction(24_000, 1001), Fraction(24), Fraction(25)),
    *(Fraction(30_000, 1001), Fraction(30), Fraction(48), Fraction(50)),
    *(Fraction(60_000, 1001), Fraction(60)),
)
"""Frames a second that timecode counts."""

_SAME_RATE = Fraction(1, 2000)


@dataclass(frozen=True, slots=True)
class Footage:
    """One video file, as other programs need to know it.

    name: of the file. path: where it is, or was. there: whether it is. frame_rate: frames a second
    that its frames are counted by, from the start of the file; see counting_rate. timecode: of
    its first frame, as in `01:00:00:00` (`;` before the frames: drop-frame), where it has one.
    recorded: it is a piece of a live source, whose name says nothing to people.
    """

    name: str
    path: Path | None
    there: bool
    frame_rate: Fraction
    constant: bool = True
    timecode: str | None = None
    has_pictures: bool = True
    has_sound: bool = True
    duration_seconds: float | None = None
    recorded: bool = False

    def frame(self, seconds: float) -> int:
        """The number of the frame that begins there."""
        return round(Fraction(seconds) * self.frame_rate)


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment on the borders of frames, and its footage."""

    moment: Moment
    footage: Footage

    @property
    def start_seconds(self) -> float:
        return self.moment.start_seconds

    @property
    def end_seconds(self) -> float:
        return self.moment.end_seconds

    @property
    def frames(self) -> tuple[int, int]:
        """Half-open, at least one."""
        start = self.footage.frame(self.start_seconds)
        return start, max(start + 1, self.footage.frame(self.end_seconds))

    @property
    def reel(self) -> str:
        """Tells footage apart: a recorded source lies in several files."""
        return f"{self.moment.video_id}\x1f{self.footage.path}"

    @property
    def text(self) -> str:
        """What was said or read there, on one line."""
        return " ".join(self.moment.text.split())


def counting_rate(average: Fraction, *, constant: bool = True) -> Fraction:
    """The rate that frames are counted by: the standard one where the average is that, else the
    average itself where all frames are equally long, else the standard rate next to it."""
    nearest = min(STANDARD_RATES, key=lambda rate: abs(rate - average))
    if not constant or abs(nearest - average) <= nearest * _SAME_RATE:
        return nearest
    return average


def cuts_of(
    moments: Iterable[Moment],
    library: Library,
    media_of: Callable[[str], Media | None] = lambda video_id: None,
) -> tuple[list[Cut], list[str]]:
    """The moments as cuts, in their order and each span once, and what is wrong, in sentences.

    A moment whose file is not where it was is still cut, on the frames that the library remembers;
    one that begins after the end of its video is not. Of a live source it is cut out of the pieces
    that were recorded (`media_of`), with the times of each.
    """
    media = functools.cache(media_of)
    given = [part for moment in moments for part in _recorded(moment, media)]
    wrong: list[str] = []
    cuts: dict[tuple[str, str | None, float, float], Cut] = {}
    by_file: dict[tuple[str, str | None], list[int]] = {}
    for at, moment in enumerate(given):
        by_file.setdefault((moment.video_id, moment.path), []).append(at)
    spans: dict[int, tuple[Footage, float, float]] = {}
    for (id, _), own in by_file.items():  # a file at a time, so that few are open
        video = library.video(id)
        footage, points = _open(given[own[0]], video, wrong)
        with contextlib.nullcontext() if points is None else points:
            for at in own:
                if video is not None and not given[at].title:
                    given[at] = replace(given[at], title=video.title)
                try:
                    spans[at] = footage, *_span(given[at], footage, points)
                except LongtakeError as error:
                    wrong.append(str(error))
    for at in sorted(spans):
        footage, start, end = spans[at]
        path = None if footage.path is None else str(footage.path)
        moved = replace(given[at], start_seconds=start, end_seconds=end, path=path)
        cuts.setdefault((moved.video_id, path, start, end), Cut(moved, footage))
    return list(cuts.values()), wrong


def by_video(cuts: Sequence[Cut]) -> dict[str, list[Cut]]:
    """Reel -> its cuts in time order."""
    found: dict[str, list[Cut]] = {}
    for cut in sorted(cuts, key=lambda cut: (cut.start_seconds, cut.end_seconds)):
        found.setdefault(cut.reel, []).append(cut)
    return found


def _recorded(moment: Moment, media_of: Callable[[str], Media | None]) -> list[Moment]:
    """The moment; of a recorded source, what each piece has of it, by the piece's clock."""
    media = media_of(moment.video_id)
    if not isinstance(media, Recording):
        return [moment]
    found = []
    reached = moment.start_seconds
    for path, start, end in media.parts:
        first = max(reached, start)  # where a file was gone on with, pieces may overlap
        last = moment.end_seconds if end is None else min(moment.end_seconds, end)
        if first < last or (not found and first == last == moment.start_seconds):
            reached = last
            found.append(
                replace(
                    moment,
                    path=str(path),
                    start_seconds=first - start,
                    end_seconds=last - start,
                    text_start_seconds=max(moment.text_start_seconds - start, 0.0),
                    text_end_seconds=max(moment.text_end_seconds - start, 0.0),
                    wall_clock_start=None
                    if moment.wall_clock_start is None
                    else moment.wall_clock_start + first - moment.start_seconds,
                )
            )
    return found or [moment]


def _open(
    moment: Moment, video: Video | None, wrong: list[str]
) -> tuple[Footage, CutPoints | None]:
    paths = [moment.path, *(file.path for file in (video.files if video else ()))]
    places = [Path(path) for path in paths if path]
    place = next((path for path in places if os.path.isfile(path)), None)
    try:
        if place is None:
            if video is not None and video.source:
                raise MediaError(f"“{video.title}” was not recorded there; only what was found is.")
            if video is None and not places:
                raise MediaError(
                    f"No video “{moment.video_id}” in the library, nor a path to its file; "
                    "`longtake ls --json` lists what there is."
                )
            named = places[0] if places else f"“{moment.title}”"
            raise MediaError(
                f"{named}: is not there (any more); put it back, or connect its drive."
            )
        points = CutPoints(place)
    except MediaError as error:
        wrong.append(str(error))
        return _remembered(moment, video, places[0] if places else None), None
    return (
        Footage(
            name=_readable(place.name),
            path=Path(os.path.abspath(place)),
            there=True,
            frame_rate=counting_rate(points.frame_rate, constant=points.constant),
            constant=points.constant,
            timecode=points.timecode,
            has_pictures=points.has_pictures,
            has_sound=points.has_sound,
            duration_seconds=points.duration_seconds,
            recorded=video is not None and bool(video.source),
        ),
        points,
    )


def _remembered(moment: Moment, video: Video | None, path: Path | None) -> Footage:
    streams = video.streams if video else ()
    pictures = next((s for s in streams if s.kind == "video" and s.frame_rate), None)
    sound = any(stream.kind == "audio" for stream in streams)
    rate = Fraction(pictures.frame_rate).limit_denominator(1001) if pictures else SOUND_RATE
    return Footage(
        name=_readable(path.name if path else moment.title),
        path=path,
        there=False,
        frame_rate=counting_rate(rate),
        has_pictures=pictures is not None or not sound,
        has_sound=sound,
        duration_seconds=video.duration_seconds if video else None,
    )


def _readable(name: str) -> str:
    """A file's name that is valid in no encoding, as text."""
    return name.encode(errors="replace").decode()


def _span(moment: Moment, footage: Footage, points: CutPoints | None) -> tuple[float, float]:
    if points is not None:
        start, end = points.span(moment.start_seconds, moment.end_seconds)
        return float(start), float(end)
    first = footage.frame(moment.start_seconds)
    last = max(first + 1, footage.frame(moment.end_seconds))
    return float(first / footage.frame_rate), float(last / footage.frame_rate)
