"""How long 16 frames of a one-hour 720p film take whose key frames are 10 s apart.

    python benchmarks/segment_frames.py

The film is the first minute of shared/data/video/bbb_360p.mp4, scaled up and repeated. Measured in
one run: 16 spans of 20 s all over it, a frame each, and one span each of 4 minutes with 4 frames,
with key frames allowed to stand in and without; against opening the file and decoding from the key
frame before for each picture, which is what `decode_video` does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingest.decode import decode_video
from ingest.frames import picture
from ingest.segment_frames import frames_of, spread

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "video" / "bbb_360p.mp4"
HOUR = 3600.0
SIDE = 448


def one_minute(path: Path) -> None:
    with av.open(str(path), "w") as output, decode_video(SOURCE, from_seconds=60.0) as frames:
        stream = output.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.gop_size = 240
        options = {"preset": "veryfast", "crf": "23", "x264-params": "keyint=240:scenecut=0"}
        stream.options = options
        for count, decoded in enumerate(frames):
            if count == 60 * 24:
                break
            image = cv2.resize(picture(decoded), (1280, 720), interpolation=cv2.INTER_CUBIC)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts = count
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def one_hour(minute: Path, path: Path) -> None:
    """The minute's packets, 60 times over."""
    with av.open(str(path), "w") as output:
        stream = None
        for turn in range(60):
            with av.open(str(minute)) as source:
                pictures = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(pictures)
                shift = round(turn * 60 / pictures.time_base)
                for packet in source.demux(pictures):
                    if packet.size:
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = stream
                        output.mux(packet)


def one_by_one(path: Path, times: list[float]) -> None:
    for wanted in times:
        with decode_video(path, from_seconds=wanted, prefetch=False) as frames:
            next(picture(each) for each in frames if each.time_seconds >= wanted - 1e-6)


def measured(label: str, work, peer: float | None = None) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    median = float(np.median(took))
    ratio = f"  {peer / median:5.1f} x faster than one by one" if peer else ""
    print(f"{label:52s} {median:6.2f} s  (best {min(took):.2f}){ratio}")
    return median


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        minute, path = Path(folder) / "minute.mp4", Path(folder) / "hour.mp4"
        one_minute(minute)
        one_hour(minute, path)
        starts = np.linspace(30, HOUR - 60, 16)
        short = [(float(start), float(start) + 20.0) for start in starts]
        within = [(float(start), float(start) + 6.0) for start in starts]
        long = [(float(start), float(start) + 240.0) for start in starts[::4]]
        times = [spread(*span, 1)[0] for span in short]
        peer = measured("one by one, exact", lambda: one_by_one(path, times))
        for label, spans, count in (
            ("16 spans of 20 s, a frame each", short, 1),
            ("16 spans of 6 s, a frame each", within, 1),
            ("4 spans of 240 s, 4 frames each", long, 4),
        ):
            for snap in (True, False):
                measured(
                    f"{label}, {'key frames allowed' if snap else 'exact'}",
                    lambda s=spans, c=count, k=snap: list(frames_of(path, s, c, SIDE, snap=k)),
                    peer,
                )


if __name__ == "__main__":
    main()
