"""Clips for tests, made on the fly with PyAV: small, exact, and odd on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real material; tests that use it skip where it is absent."""

_COUNTS_FRAMES = ("mpeg2video", "mpeg4")
"""Encoders that take no finer time base."""

RED, GREEN, BLUE, GRAY = (200, 30, 30), (30, 180, 40), (20, 40, 210), (128, 128, 128)


def solid(color: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 (height, width, 3), RGB."""
    return np.full((height, width, 3), color, np.uint8)


def text_picture(
    lines: str | Sequence[str], width: int = 320, height: int = 180, scale: float = 1.0
) -> np.ndarray:
    """Black text on white: uint8 (height, width, 3), RGB."""
    image = solid((255, 255, 255), width, height)
    for number, line in enumerate([lines] if isinstance(lines, str) else lines):
        at = (10, round(40 * scale) * (number + 1))
        cv2.putText(image, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 2, cv2.LINE_AA)
    return image


def noise_picture(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture with structure that no other seed shares: uint8 (height, width, 3), RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def panning(seed: int, width: int = 160, height: int = 90) -> Callable[[float], np.ndarray]:
    """A shot whose camera moves over a large picture that no other seed shares: the picture at a
    time in it, uint8 (height, width, 3), RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (24, 60, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (4 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    angle = rng.uniform(0, 2 * np.pi)

    def draw(seconds: float) -> np.ndarray:
        there = 0.5 + 0.5 * np.sin(angle + seconds / 16)
        x, y = round(there * 3 * width), round((1 - there) * height)
        return wide[y : y + height, x : x + width]

    return draw


def write_clip(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    start_seconds: float = 0.0,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    audio_seconds: float = 0.0,
    audio_start_seconds: float = 0.0,
    subtitles: Sequence[tuple[float, float, str]] = (),
    subtitle_file: Path | None = None,
    subtitle_language: str = "eng",
    chapters: Sequence[tuple[float, float, str]] = (),
    key_frame_every: int | None = None,
    b_frames: int = 0,
    codec: str = "libx264",
    container_options: dict[str, str] | None = None,
) -> Path:
    """Writes a clip whose container is the one that its name's ending says.

    pictures: uint8 (height, width, 3), RGB, all of one size; none of them and no sound make a
        file with nothing in it. times: when each is shown, in
    seconds; by default one every 1/rate. rotation: clockwise degrees that a player turns it by.
    start_seconds: shifts everything, as a recorder does whose clock does not begin at 0.
    audio_seconds: length of a tone; 0 for none. subtitles: a text stream of (start, end, text).
    subtitle_file: a file (.ass, .srt, ...) that goes in as a stream, as it is.
    """
    with (
        ExitStack() as files,
        av.open(str(path), "w", container_options=container_options or {}) as output,
    ):
        video = audio = words = None
        if len(pictures) or not audio_seconds:
            video = output.add_stream(codec, rate=rate)
            video.height, video.width = pictures[0].shape[:2] if len(pictures) else (48, 64)
            video.pix_fmt = "yuv420p"
            ticks = rate if codec in _COUNTS_FRAMES else 90_000
            video.time_base = video.codec_context.time_base = Fraction(1, ticks)
            video.gop_size = key_frame_every or 12
            video.max_b_frames = b_frames
            if codec == "libx264":
                video.options = {"preset": "ultrafast", "crf": "18", "bf": str(b_frames)}
                if b_frames:
                    video.options = {**video.options, "preset": "veryfast"}
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation:
                video.set_display_rotation(-rotation)
        if audio_seconds:
            audio = output.add_stream("aac", rate=16_000, layout="mono")
        if subtitles:
            length_first = path.suffix in (".mp4", ".mov")
            words = output.add_mux_stream("mov_text" if length_first else "subrip")
            words.metadata["language"] = subtitle_language
            words.time_base = Fraction(1, 1000)
        if subtitle_file is not None:
            script = files.enter_context(av.open(str(subtitle_file)))
            source = script.streams.subtitles[0]
            styled = output.add_stream_from_template(source)
            styled.metadata["language"] = subtitle_language
        if chapters:
            output.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for number, (start, end, title) in enumerate(chapters)
                ]
            )
        packets = []
        if video is not None:
            shown = times if times is not None else [n / rate for n in range(len(pictures))]
            packets += _video_packets(video, pictures, shown, start_seconds)
        if audio is not None:
            packets += _audio_packets(audio, audio_seconds, start_seconds + audio_start_seconds)
        output.start_encoding()
        for start, end, text in subtitles:
            packet = _subtitle_packet(start + start_seconds, end - start, text, length_first)
            packet.stream = words
            packets.append(packet)
        if subtitle_file is not None:
            for packet in script.demux(source):
                if packet.size:
                    packet.stream = styled
                    packets.append(packet)
        for packet in sorted(packets, key=_when):
            output.mux(packet)
    return path


def film(
    path: Path, shots: Sequence[tuple[float, Callable[[float], np.ndarray]]], rate: int = 25, **kw
) -> Path:
    """A clip of shots, each (length in seconds, picture at a time in the shot)."""
    pictures = [draw(n / rate) for length, draw in shots for n in range(round(length * rate))]
    return write_clip(path, pictures, rate=rate, **kw)


def truncated(source: Path, path: Path, share: float) -> Path:
    """The first part of a file's bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def corrupted(source: Path, path: Path, first: float, last: float) -> Path:
    """A file with the bytes between two shares of its length overwritten."""
    data = bytearray(source.read_bytes())
    begin, end = int(len(data) * first), int(len(data) * last)
    data[begin:end] = np.random.default_rng(7).integers(0, 256, end - begin, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def _when(packet) -> float:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return float(ticks * packet.time_base)


def _video_packets(stream, pictures, times, start_seconds):
    packets = []
    for picture, time in zip(pictures, times, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.time_base = Fraction(1, 90_000)
        frame.pts = round((time + start_seconds) * 90_000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio_packets(stream, seconds, start_seconds):
    packets = []
    rate, size = 16_000, 1024
    for first in range(0, round(seconds * rate), size):
        at = np.arange(first, first + size) / rate
        tone = (0.2 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = first + round(start_seconds * rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _subtitle_packet(start_seconds, length_seconds, text, length_first):
    data = text.encode()
    if length_first:
        data = len(data).to_bytes(2, "big") + data
    packet = av.Packet(data)
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = round(start_seconds * 1000)
    packet.duration = round(length_seconds * 1000)
    return packet
