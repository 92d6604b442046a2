"""A stretch of a video as a file of its own, for people to play and to send.

Copied, it begins with the key frame at or before the wanted start and loses nothing; encoded, it is
exact to the frame. One picture and one sound stream go into it, those that Longtake looks at and
listens to; subtitles and chapters do not.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from index.errors import ExportError, MediaError, UsageError
from index.outputs import refusal, whole_file
from ingest.audio import audio_stream
from ingest.clip_copy import copy_stretch
from ingest.clip_encode import encode_stretch
from ingest.cut_points import TOLERANCE, CutPoints
from ingest.media import codec_name, open_container, video_stream

_WEBM = frozenset(("vp8", "vp9", "av1", "opus", "vorbis"))
_MP4 = frozenset(("h264", "av1", "vp9", "aac", "mp3", "opus", "flac"))
"""What browsers play in these containers."""

_MP4_TOO = frozenset(("hevc", "mpeg4", "mpeg2video", "ac3", "eac3", "alac", "mp2"))
"""What else players expect in it."""

_PLAYABLE_PIXELS = frozenset(("yuv420p", "yuvj420p"))
"""Of H.264; others (10 bits, 4:4:4) few browsers decode."""

_OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
)
FORMATS = {".mp4": "mp4", ".m4a": "mp4", ".webm": "webm", ".mkv": "matroska"}
"""Ending -> FFmpeg's name of the container."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that was cut.

    start_seconds, end_seconds: what is in it, on the source's clock. encoded: what was encoded
    anew, as in "hevc to h264"; empty where it was copied. notes: what is worth knowing, in words.
    """

    path: Path
    start_seconds: float
    end_seconds: float
    encoded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def cut_clip(
    path: Path,
    start_seconds: float,
    end_seconds: float,
    target: Path,
    *,
    exact: bool = False,
    overwrite: bool = False,
    ending: str | None = None,
    title: str | None = None,
) -> Clip:
    """Cuts [start_seconds, end_seconds) out of a file, to the borders of its frames.

    target: the clip's path without the ending, which follows from what is in it: .mp4, .webm, .m4a
    (sound alone), or .mkv for what neither takes. exact: encode rather than begin at a key frame;
    what lies on key frames already is copied even so. ending: the one that must come out; None
    for any. title: is written into the clip.

    The file is there whole or not at all. Raises MediaError where the source cannot be read or not
    be copied, UsageError for a span beyond its end and where another ending comes out, ExportError
    where the clip cannot be written or is there already.
    """
    with CutPoints(path) as points:
        start, end = points.span(start_seconds, end_seconds)
        stretch = points.stretch(start, end)
    source = _Source.of(path)
    if exact:
        hit = stretch is not None and _near(stretch.start, start) and _near(stretch.end, end)
        exact = not (hit and source.plays)
    elif source.pictures is not None and stretch is None:
        raise MediaError(
            f"{path}: cannot be copied in pieces, because its packets do not say when they are "
            "shown; cut it with --exact."
        )
    comes_out = source.ending(encoded=exact)
    if ending not in (None, comes_out):
        raise UsageError(
            f"A clip of {path} becomes {comes_out}, not {ending}; name it so"
            f"{'' if exact else ', or encode it with --exact'}."
        )
    place = target.with_name(target.name + comes_out)
    if os.path.exists(place) and os.path.samefile(place, path):
        raise ExportError(f"{place} is the video itself; name another file.")
    with _written(place, path, overwrite) as made:
        if title:
            made.metadata["title"] = title
        chosen = {"pictures": source.pictures, "sound": source.sound}
        if exact:
            notes = encode_stretch(path, made, **chosen, start=start, end=end)
            return Clip(place, float(start), float(end), source.encoded(), tuple(notes))
        if stretch is not None:
            start = min(start, stretch.start)
            end = stretch.end if source.sound is None else max(stretch.end, end)
        try:
            start, end = copy_stretch(path, made, **chosen, stretch=stretch, start=start, end=end)
        except ValueError as error:
            raise MediaError(
                f"{path}: no container takes a copy of it ({error}); cut it with --exact."
            ) from error
        return Clip(place, float(start), float(end), (), source.doubts())


def _near(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= TOLERANCE


@dataclass(frozen=True, slots=True)
class _Source:
    """What goes into a clip of a file: indices of streams and their codecs; None for none."""

    pictures: int | None
    sound: int | None
    picture_codec: str | None
    sound_codec: str | None
    pixels: str | None

    @classmethod
    def of(cls, path: Path) -> _Source:
        sound = audio_stream(path)
        with open_container(path) as container:
            stream = video_stream(container)
            return cls(
                pictures=None if stream is None else stream.index,
                sound=sound,
                picture_codec=None if stream is None else codec_name(stream),
                sound_codec=None if sound is None else codec_name(container.streams[sound]),
                pixels=None if stream is None else stream.codec_context.pix_fmt,
            )

    def fits(self, codecs: frozenset[str]) -> bool:
        return {self.picture_codec, self.sound_codec} - {None} <= codecs

    @property
    def plays(self) -> bool:
        """Whether browsers play a copy."""
        odd = self.picture_codec == "h264" and self.pixels not in _PLAYABLE_PIXELS
        return self.fits(_WEBM) or (self.fits(_MP4) and not odd)

    def ending(self, *, encoded: bool) -> str:
        if not encoded and self.fits(_WEBM):
            return ".webm"
        if encoded or self.fits(_MP4 | _MP4_TOO):
            return ".m4a" if self.pictures is None else ".mp4"
        return ".mkv"

    def encoded(self) -> tuple[str, ...]:
        pairs = ((self.picture_codec, "h264"), (self.sound_codec, "aac"))
        return tuple(f"{codec} to {made}" for codec, made in pairs if codec is not None)

    def doubts(self) -> tuple[str, ...]:
        if self.plays:
            return ()
        named = " and ".join(codec for codec in (self.picture_codec, self.sound_codec) if codec)
        return (f"{named}: a browser may not play it; --exact encodes it anew",)


@contextlib.contextmanager
def _written(place: Path, source: Path, overwrite: bool) -> Iterator[av.container.OutputContainer]:
    """A container to fill, which becomes the file `place` where that comes to its end."""
    kind = FORMATS[place.suffix]
    with whole_file(place, overwrite=overwrite) as partial:
        try:
            made = av.open(
                "file:" + os.path.abspath(partial),
                "w",
                format=kind,
                container_options={"movflags": "+faststart"} if kind == "mp4" else {},
            )
            try:
                yield made
            except BaseException:
                with contextlib.suppress(av.FFmpegError, OSError):
                    made.close()
                raise
            made.close()
        except (av.FFmpegError, OSError) as error:
            if error.errno in _OF_THE_DISK or not place.parent.is_dir():
                raise refusal(place, error) from error
            why = error.strerror or str(error)
            raise MediaError(f"{source}: cannot be cut there ({why}).") from error
