"""A small picture for each segment, as JPEG files beside the index."""

from __future__ import annotations

import os
import re
import shutil
from bisect import bisect_left
from collections.abc import Collection
from pathlib import Path

import numpy as np

from index.disk import translate
from index.schema import Segment, microseconds

WIDTH = 320
JPEG_QUALITY = 80


class Thumbnails:
    """Thumbnails of all videos below one folder, `VIDEO_ID/START_MICROSECONDS.jpg`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, segment: Segment) -> Path:
        name = f"{microseconds(segment.start_seconds)}.jpg"
        return self.folder / segment.video_id / name

    def nearest(self, segment: Segment) -> Path | None:
        """The picture for any segment, of whichever cutting: they are made of the segments that
        come out of the shots, and those by meaning have borders of their own. The first that begins
        inside it, else the last before it, else the first after it. None where there are none."""
        own = self.path(segment)
        if own.exists():
            return own
        try:
            names = os.listdir(own.parent)
        except OSError:
            return None
        starts = sorted(int(name[:-4]) for name in names if re.fullmatch(r"\d+\.jpg", name))
        if not starts:
            return None
        start = microseconds(segment.start_seconds)
        at = bisect_left(starts, start)
        inside = at < len(starts) and starts[at] < microseconds(segment.end_seconds)
        return own.with_name(f"{starts[at if inside else max(0, at - 1)]}.jpg")

    def write(self, segment: Segment, jpeg: bytes) -> None:
        """Whole or not at all. The folder above all thumbnails must be there.

        Raises DiskFullError, LibraryReadOnlyError; LibraryError where that folder has gone.
        """
        path = self.path(segment)
        partial = path.with_suffix(".part")
        try:
            self.folder.mkdir(exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            partial.write_bytes(jpeg)
            os.replace(partial, path)
        except OSError as error:
            raise translate(error, self.folder, "writing a thumbnail") from error

    def keep_only(self, video_id: str, segments: list[Segment]) -> None:
        """Removes what an earlier cutting of the video left behind."""
        wanted = {self.path(segment) for segment in segments}
        for path in (self.folder / video_id).glob("*"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    def remove_between(
        self,
        video_id: str,
        start_seconds: float,
        end_seconds: float,
        *,
        but: Collection[int] = (),
    ) -> None:
        """Those of segments that begin in [start_seconds, end_seconds), but for those that begin at
        these microseconds."""
        first, last = microseconds(start_seconds), microseconds(end_seconds)
        for path in (self.folder / video_id).glob("*.jpg"):
            start = int(path.stem) if path.stem.isdecimal() else None
            if start is not None and first <= start < last and start not in but:
                path.unlink(missing_ok=True)

    def remove(self, video_id: str) -> None:
        shutil.rmtree(self.folder / video_id, ignore_errors=True)

    def videos(self) -> list[str]:
        """Ids of the videos that there are thumbnails of."""
        try:
            return os.listdir(self.folder)
        except OSError:
            return []


def encode(image: np.ndarray, most: int = WIDTH) -> bytes:
    """image: uint8 (height, width, 3) RGB. Returns a JPEG at most `most` pixels wide."""
    import cv2

    height, width = image.shape[:2]
    if width > most:
        size = (most, max(1, round(height * most / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


class ThumbnailPicker:
    """Keeps the pictures that the segments still to be closed may want."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, bytes]] = []

    def push(self, time_seconds: float, image: np.ndarray) -> None:
        self._kept.append((time_seconds, encode(image)))

    def pick(self, segment: Segment) -> bytes | None:
        """The first picture inside the segment, else the last before its end. Forgets what lies
        before the segment's end."""
        before = [kept for kept in self._kept if kept[0] < segment.end_seconds]
        inside = [jpeg for time, jpeg in before if time >= segment.start_seconds]
        self._kept = [kept for kept in self._kept if kept[0] >= segment.end_seconds]
        if inside:
            return inside[0]
        return before[-1][1] if before else None
