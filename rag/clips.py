"""A stretch of a video as a query: which one is meant, and what it shows.

`FILE`, `FILE@1:02-1:20`, `VIDEO@1:02-`: a file on this machine, or a video of the library by any of
its names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index.errors import MediaError, UsageError, VideoNotFoundError
from index.library import Library
from index.schema import Space, Video
from ingest.models.encoders import ImageEncoder
from rag.align import POINT_SECONDS, Track
from rag.images import LOW_QUALITY, SPACE
from rag.query import video_seconds
from rag.timestamp import timestamp

STEP_SECONDS = 0.125
"""Between the pictures of a clip whose fingerprints are taken. A library has one a second: where
things move, only a picture that is near in time shows the same."""

LOOK_SECONDS = 1.0
"""Between those that an encoder looks at, which costs a hundred times as much."""

_BATCH = 16
_SPAN = re.compile(r"([\dhms:.]*)\s*[-–]\s*([\dhms:.]*)")


@dataclass
class Clip:
    """[start_seconds, end_seconds) of a video.

    end_seconds: None for its end, until the pictures were read. path: None where the file is not
    there, and what the library knows of it has to do. video: where it is in the library. notes:
    sentences for the user.
    """

    name: str
    path: Path | None
    video: Video | None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def named(cls, given: str, library: Library) -> Clip:
        """Raises UsageError for a span that is none, MediaError for a file that cannot be read,
        VideoNotFoundError where nothing has that name."""
        name, start, end = split(given)
        path = Path(name)
        if path.is_dir():
            raise MediaError(f"{name}: is a folder; name a video file.")
        if path.exists():
            from ingest.identity import content_id

            return cls(name, path, library.video(content_id(path)), start, end)
        try:
            video = library.find(name)
        except VideoNotFoundError:
            behind = name.rpartition("@")[2] if "@" in name else ""
            hint = f" Nor is “{behind}” a stretch, as in film.mp4@1:02-1:20." if behind else ""
            raise VideoNotFoundError(
                f"“{name}” is no file, and no video in the library; `longtake ls` lists those."
                f"{hint}"
            ) from None
        paths = [Path(file.path) for file in video.files if os.path.isfile(file.path)]
        if paths:
            return cls(name, paths[0], video, start, end)
        note = (
            f"The file of “{video.title}” is not there: it is searched for by the picture a second "
            "that was indexed, which tells less of what moves."
        )
        return cls(name, None, video, start, end, [note])

    @property
    def own(self) -> tuple[str, float, float] | None:
        """Where it lies in the library itself: video id, start, end. Known when it was read."""
        return self.video and (self.video.id, self.start_seconds, self.end_seconds)

    def fingerprints(self, library: Library) -> Track:
        """Without the pictures that tell nothing (dark or plain ones). Raises MediaError, and
        UsageError where the stretch lies behind the video's end."""
        if self.path is None:
            return self._stored(library, "fingerprint", SPACE)
        from ingest.models.pdq import fingerprint, to_vector

        times, vectors = [], []
        image, seen = None, None
        for time, now in self._pictures(STEP_SECONDS):
            if now is not image:
                image, seen = now, fingerprint(now)
            if seen.quality >= LOW_QUALITY:
                times.append(time)
                vectors.append(to_vector(seen.bits))
        return self._track(times, vectors)

    def looks(self, library: Library, space: Space, encoder: ImageEncoder) -> Track:
        """The pictures in a space of frames. Errors as above."""
        if self.path is None:
            return self._stored(library, space.channel, space.name)
        times, images, vectors = [], [], []
        for time, image in self._pictures(LOOK_SECONDS):
            times.append(time)
            images.append(image)
            if len(images) == _BATCH:
                vectors += list(encoder.encode_images(images))
                images.clear()
        if images:
            vectors += list(encoder.encode_images(images))
        return self._track(times, vectors)

    def _pictures(self, step_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
        from ingest.stretch import Stretch

        stretch = Stretch(self.path, self.start_seconds, self.end_seconds, step_seconds)
        shows_nothing = True
        for time, image in stretch:
            shows_nothing = False
            yield time, image
        if stretch.damage is not None:
            if shows_nothing:
                raise stretch.damage
            self.notes = list(dict.fromkeys((*self.notes, str(stretch.damage))))
        elif shows_nothing:
            raise self._behind_the_end()
        self.end_seconds = stretch.end_seconds

    def _stored(self, library: Library, channel: str, space: str) -> Track:
        """From what was indexed, a picture a second for as long as each was shown."""
        ends = self.end_seconds
        times, vectors = [], []
        for one in library.evidence(
            self.video.id, channel=channel, end_seconds=ends, with_vectors=True
        ):
            if space not in one.vectors:
                continue
            until = one.end_seconds if ends is None else min(one.end_seconds, ends)
            for time in np.arange(one.start_seconds, until, POINT_SECONDS):
                if time >= self.start_seconds:
                    times.append(float(time))
                    vectors.append(one.vectors[space])
        if ends is None:
            self.end_seconds = self.video.duration_seconds or max(times, default=0.0)
        if self.start_seconds >= self.end_seconds:
            raise self._behind_the_end()
        return self._track(times, vectors)

    def _track(self, times: Sequence[float], vectors: Sequence[np.ndarray]) -> Track:
        stacked = np.array(vectors, np.float32)
        if len(stacked):
            stacked /= np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
        else:
            stacked = np.zeros((0, 1), np.float32)
        return Track(np.array(times), stacked, self.start_seconds, self.end_seconds)

    def _behind_the_end(self) -> UsageError:
        return UsageError(
            f"{self.name} shows nothing at {timestamp(self.start_seconds)} any more: it is shorter."
        )


def split(given: str) -> tuple[str, float, float | None]:
    """`film.mp4@1:02-1:20` as ("film.mp4", 62.0, 80.0); either time may be left out. A file whose
    whole name that is, is meant as it is. Raises UsageError where what follows the last @ is made
    of times and no span."""
    if not given.strip():
        raise UsageError("--clip needs a video: a file, or one of the library (`longtake ls`).")
    name, _, span = given.rpartition("@")
    if not name or os.path.exists(given) or not re.fullmatch(r"(?=.*\d)[\dhms:.\s–-]+", span):
        return given, 0.0, None
    match = _SPAN.fullmatch(span.strip())
    times = [(text, _seconds(text)) for text in match.groups()] if match else []
    if not match or any(text and seconds is None for text, seconds in times):
        raise UsageError(f"“{given}”: write a stretch as {name}@1:02-1:20, or {name}@62-80.")
    start, end = (seconds for _, seconds in times)
    if end is not None and end <= (start or 0.0):
        raise UsageError(f"“{given}”: the stretch ends before it begins.")
    return name, start or 0.0, end


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else video_seconds(text)
