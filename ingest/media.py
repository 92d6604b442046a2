"""What is in a media file: its streams, chapters, clock, subtitle packets; pictures from files.

One clock: a time is pts x time base minus the container's start, the same start for every
stream, so that sound which begins two seconds after the pictures stays there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from index.errors import DamagedMediaError, MediaError, NotMediaError
from index.schema import Chapter, Stream
from ingest.identity import unreadable

TEXT_SUBTITLES = frozenset({"ass", "subrip", "webvtt", "mov_text", "text"})
"""Canonical codec names of subtitles that are text; the others are pictures."""

_MAGIC = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (0, b"RIFF"), (0, b"FLV"), (4, b"moov"))
_TEXT_ART = frozenset({"ansi", "bintext", "xbin", "idf"})
_FIRST_PICTURE_PACKETS = 64
_PICTURE_BRANDS = frozenset({"avif", "heic", "heix", "mif1"})


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file says about itself.

    duration_seconds: None where the container does not say; see measure_duration.
    """

    duration_seconds: float | None
    streams: tuple[Stream, ...]
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True, slots=True)
class SubtitlePacket:
    """One event of a text subtitle stream, on the video's clock, as the container stores it.

    codec: "ass" (data: `ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text`),
        "subrip", "webvtt", "text" (data: the text), "mov_text" (data: the text alone, the length
        before it and the style boxes after it removed).
    end_seconds: None where the container gives no duration.
    """

    stream_index: int
    codec: str
    language: str | None
    title: str | None
    start_seconds: float
    end_seconds: float | None
    data: bytes


def probe(path: Path) -> MediaInfo:
    """Reads what the container says, and the first picture for how it is turned.

    Raises NotMediaError (empty, no media, nothing in it, a picture) or MediaError (unreadable,
    damaged).
    """
    with open_container(path) as container:
        if _is_picture(path, container):
            raise NotMediaError(
                f"{path}: is a picture, not a video. `longtake search --image FILE` finds where "
                "indexed videos show it."
            )
        video = video_stream(container)
        kept = [s for s in container.streams if s is video or _is_stream_of_interest(s)]
        if not any(s.type in ("video", "audio") for s in kept):
            raise NotMediaError(f"{path}: holds neither pictures nor sound; export it again.")
        start = container_start(container)
        rotation = 0
        pictures = False
        if video is not None:
            rotation, pictures = _first_picture(container, video)
        duration = claimed_duration(container, start)
        if not pictures and not duration and not _has_packets(path):
            raise NotMediaError(
                f"{path}: has no picture and no sound in it (zero length); export it again."
            )
        return MediaInfo(
            duration_seconds=duration,
            streams=tuple(describe_stream(s, rotation if s is video else 0) for s in kept),
            chapters=_chapters(container, start, duration),
        )


def measure_duration(path: Path) -> float:
    """Seconds from the container's start to the end of the last picture or sound, by reading all
    packets and decoding none: for files that do not say how long they are.

    A file that breaks off is measured up to there.
    """
    end = 0.0
    with open_container(path) as container:
        start = container_start(container)
        streams = [s for s in container.streams if s.type in ("video", "audio")]
        _discard_others(container, streams)
        try:
            for packet in container.demux(streams):
                if packet.pts is None:
                    continue
                last = (packet.pts + (packet.duration or 0)) * _time_base(packet) - start
                end = max(end, float(last))
        except av.FFmpegError:
            pass
    return end


def subtitle_packet(
    packet: av.Packet, seconds: Callable[[Fraction], float]
) -> SubtitlePacket | None:
    """What a packet of a text subtitle stream says; None for one without a time or words. seconds:
    a time of the container as one on the video's clock."""
    data, codec = bytes(packet), codec_name(packet.stream)
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if packet.pts is None or not data:
        return None
    time_base = _time_base(packet)
    start = seconds(packet.pts * time_base)
    return SubtitlePacket(
        stream_index=packet.stream.index,
        codec=codec,
        language=stream_language(packet.stream),
        title=packet.stream.metadata.get("title"),
        start_seconds=start,
        end_seconds=start + float(packet.duration * time_base) if packet.duration else None,
        data=data,
    )


def iter_subtitle_packets(path: Path) -> Iterator[SubtitlePacket]:
    """Events of all text subtitle streams, in the order they lie in the file.

    A file that breaks off yields what comes before and then raises DamagedMediaError.
    """
    with open_container(path) as container:
        streams = [s for s in container.streams if codec_name(s) in TEXT_SUBTITLES]
        if not streams:
            return
        start = container_start(container)
        _discard_others(container, streams)
        at_seconds = 0.0
        try:
            for packet in container.demux(streams):
                said = subtitle_packet(packet, lambda time: max(0.0, float(time - start)))
                if said is not None:
                    at_seconds = said.start_seconds
                    yield said
        except av.FFmpegError as error:
            raise DamagedMediaError(
                f"{path}: reading its subtitles broke off at {at_seconds:.3f} s ({error.strerror})."
                " Copy the file again from its source.",
                at_seconds,
            ) from error


def decode_image(path: Path) -> np.ndarray:
    """A picture file (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, ...), or a video's first picture.

    Returns uint8 of shape (height, width, 3), RGB, upright. Raises MediaError or NotMediaError.
    """
    import cv2

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not data:
        raise NotMediaError(f"{path}: is empty; give a picture file.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is not None:
        return image
    from ingest.decode import first_picture

    try:
        return first_picture(path)
    except MediaError as error:
        raise MediaError(
            f"{path}: cannot be read as a picture (broken, or in a format not known here); "
            "open it in a viewer and save it as PNG or JPEG."
        ) from error


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Opens a local file, whatever its name looks like. Raises MediaError and its subclasses."""
    container = open_input(path)
    try:
        yield container
    finally:
        container.close()


def open_input(path: Path) -> av.container.InputContainer:
    """As open_container, for the one who closes it by himself."""
    try:
        if Path(path).is_dir():
            raise MediaError(f"{path}: is a folder, not a file.")
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise unreadable(path, error) from error
    if not head:
        raise NotMediaError(f"{path}: is empty; copy it again from its source or delete it.")
    try:
        # "file:" keeps names such as "http:x.mp4", "concat:a" or "-x.mp4" from being taken for
        # anything but a file; the whitelist keeps playlists from reaching into the network;
        # pattern_type keeps "%d" in a picture's name from being read as a sequence.
        container = av.open(
            "file:" + os.path.abspath(path),
            options={"protocol_whitelist": "file", **_image_options(path)},
            metadata_errors="replace",
        )
    except (PermissionError, FileNotFoundError) as error:
        raise unreadable(path, error) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        if any(head[at : at + len(magic)] == magic for at, magic in _MAGIC):
            raise DamagedMediaError(
                f"{path}: begins like a {head_name(head)} file but cannot be opened; it was "
                "probably cut short (its index is missing). Copy it again from its source, or "
                "repair it with a tool such as untrunc.",
                0.0,
            ) from error
        raise NotMediaError(
            f"{path}: is no media file that can be read ({_reason(error)}). "
            "If it should be a video, copy it again from its source."
        ) from error
    return container


def head_name(head: bytes) -> str:
    """What the first bytes of a media file say that it is."""
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "Matroska or WebM"
    return {b"RIFF": "AVI", b"FLV\x01": "FLV"}.get(head[:4], "MP4 or MOV")


def video_stream(container: av.container.InputContainer):
    """The stream whose pictures count: FFmpeg's choice, cover pictures aside. None without one."""
    candidates = [s for s in container.streams.video if _is_stream_of_interest(s)]
    if not candidates:
        return None
    best = container.streams.best("video")
    return best if best in candidates else max(candidates, key=lambda s: s.width * s.height)


def container_start(container: av.container.InputContainer) -> Fraction:
    """The container's start in seconds on its own clock, exactly.

    FFmpeg rounds it to microseconds; where a stream begins there, that stream's exact start is
    taken, so that its first frame is at 0 and not at 0.3 microseconds.
    """
    starts = [
        s.start_time * s.time_base
        for s in container.streams
        if s.start_time is not None and s.time_base and s.type in ("video", "audio")
    ]
    if container.start_time is None:
        return min(starts, default=Fraction(0))
    rounded = Fraction(container.start_time, 1_000_000)
    near = [start for start in starts if abs(start - rounded) <= Fraction(1, 1_000_000)]
    return min(near, default=rounded)


def _is_picture(path: Path, container: av.container.InputContainer) -> bool:
    """Whether it is one still picture. Animations are videos, and so are pictures one after the
    other, as cameras write them."""
    name = container.format.name
    if name == "gif":
        return container.streams[0].frames == 1
    if name.endswith("_pipe"):
        return not _has_packets(path, 2)
    brand = container.metadata.get("major_brand")
    return name in ("image2", "ico") or brand in _PICTURE_BRANDS


def codec_name(stream) -> str:
    """The codec's canonical name ("av1", not the name of the decoder); "unknown" without one."""
    context = stream.codec_context
    return "unknown" if context is None else context.codec.canonical_name


def _is_stream_of_interest(stream) -> bool:
    if stream.codec_context is None or stream.type not in ("video", "audio", "subtitle"):
        return False
    if stream.type != "video":
        return True
    cover = int(stream.disposition) & int(av.stream.Disposition.attached_pic)
    return not cover and codec_name(stream) not in _TEXT_ART


def describe_stream(stream, rotation: int = 0) -> Stream:
    video = stream.type == "video"
    audio = stream.type == "audio"
    rate = stream.average_rate if video else None
    return Stream(
        index=stream.index,
        kind=stream.type,
        codec=codec_name(stream),
        language=stream_language(stream),
        title=stream.metadata.get("title"),
        width=stream.width if video else None,
        height=stream.height if video else None,
        frame_rate=float(rate) if rate else None,
        rotation=rotation,
        sample_rate=stream.sample_rate if audio else None,
        channels=stream.channels if audio else None,
    )


def stream_language(stream) -> str | None:
    language = stream.language
    return None if language in (None, "", "und") else language


def claimed_duration(container, start: Fraction) -> float | None:
    if not container.duration or container.duration < 0:
        return None
    seconds = Fraction(container.duration, 1_000_000)
    # Matroska counts its duration from 0, not from its first frame.
    if "matroska" in container.format.name:
        seconds -= max(start, Fraction(0))
    return float(seconds) if seconds > 0 else None


def _chapters(container, start: Fraction, duration: float | None) -> tuple[Chapter, ...]:
    chapters = []
    for entry in container.chapters():
        time_base = Fraction(entry["time_base"] or 1)
        first = max(0.0, float(entry["start"] * time_base - start))
        last = float(entry["end"] * time_base - start)
        if duration is not None:
            last = min(last, duration)
        if last > first:
            chapters.append(Chapter(first, last, entry["metadata"].get("title", "").strip()))
    return tuple(sorted(chapters, key=lambda chapter: chapter.start_seconds))


def _first_picture(container, stream) -> tuple[int, bool]:
    """(clockwise degrees that turn the first picture upright, whether there is one)."""
    from ingest.frames import clockwise_degrees

    try:
        for count, packet in enumerate(container.demux(stream)):
            try:
                for frame in packet.decode():
                    return clockwise_degrees(frame), True
            except av.FFmpegError:
                continue
            if count > _FIRST_PICTURE_PACKETS:
                break
    except av.FFmpegError:
        pass
    return 0, False


def _has_packets(path: Path, count: int = 1) -> bool:
    with open_container(path) as container:
        try:
            for packet in container.demux():
                count -= bool(packet.size) and packet.stream.type in ("video", "audio")
                if not count:
                    return True
        except av.FFmpegError:
            pass
    return False


def _discard_others(container, kept) -> None:
    """Tells the demuxer not to read what is not wanted, which it can skip in MP4."""
    for stream in container.streams:
        if stream not in kept:
            stream.discard = av.stream.Discard.all


def _time_base(packet) -> Fraction:
    return packet.time_base or packet.stream.time_base


def _image_options(path: Path) -> dict[str, str]:
    return {"pattern_type": "none"} if "%" in Path(path).name else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
