"""A stretch of a media file as a file of its own, packets copied as they are."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av

from index.errors import MediaError
from ingest.media import container_start, open_container, video_stream

_KINDS = ("video", "audio", "subtitle")


def copy_excerpt(path: Path, start_seconds: float, end_seconds: float, target: Path) -> float:
    """Writes the packets of [start_seconds, end_seconds) to the Matroska file `target`, from the
    last key frame at or before the start on; streams that Matroska does not take are left out.
    Returns where that key frame lies, in seconds on the source's clock.

    Raises MediaError where the file cannot be read, or nothing of it can be kept so.
    """
    try:
        with open_container(path) as source, av.open(str(target), "w", format="matroska") as made:
            streams = {}
            for stream in source.streams:
                if stream.type in _KINDS and stream.codec_context is not None:
                    with contextlib.suppress(ValueError):
                        streams[stream.index] = made.add_stream_from_template(stream, opaque=True)
            pictures = video_stream(source)
            if not streams or (pictures is not None and pictures.index not in streams):
                raise MediaError(f"{path}: an excerpt cannot be cut out of this kind of file.")
            return _copy(source, made, streams, pictures, start_seconds, end_seconds)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{path}: an excerpt cannot be cut out ({error}).") from error


def _copy(source, made, streams, pictures, start_seconds: float, end_seconds: float) -> float:
    origin = container_start(source)
    source.seek(int((float(origin) + start_seconds) * av.time_base), backward=True)
    begun: float | None = None
    for packet in source.demux(*(source.streams[index] for index in streams)):
        if packet.dts is None or packet.pts is None:
            continue
        leads = pictures is None or packet.stream.index == pictures.index
        if begun is None:
            if not leads or not packet.is_keyframe:
                continue
            begun = float(packet.pts * packet.time_base - origin)
        if float(packet.dts * packet.time_base - origin) >= end_seconds:
            if leads:
                break
            continue
        shift = int((float(origin) + begun) / packet.time_base)
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = streams[packet.stream.index]
        made.mux(packet)
    if begun is None:
        raise MediaError(f"{source.name}: nothing begins at {start_seconds:.1f} s.")
    return begun
