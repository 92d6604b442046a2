"""What indexing will take, from indexing a minute or so of it: the same code, on excerpts, into a
library that is thrown away.

A stage's cost per file (its first picture, which is always new, and its headers) is told apart from
its cost per second, so that many short files are not taken for one long one, nor the other way
round. Loading the models is measured on its own, before.
"""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from index.errors import LongtakeError, MediaError
from index.library import Library
from index.schema import Video
from index.store import Point, SparseVector, scroll, where
from ingest.excerpt import copy_excerpt
from ingest.identity import content_id, stat_of
from ingest.pipeline import Indexer
from ingest.plan import Task
from ingest.sidecars import sidecars
from ingest.thumbnails import Thumbnails
from ingest.work import Spent, Work

EXCERPT_SECONDS = 5.0
_TRIED_SECONDS = 60.0
_WARM_UP_SECONDS = 2.0
_SMALLEST_MARGIN = 0.15
_LARGEST_MARGIN = 0.6

# Measured on libraries of 100,000 points: what the engine writes for each byte of a dense vector
# (with its graph) and of a payload (with its index), and for a point whatever it holds.
_VECTOR_BYTES = 1.3
_PAYLOAD_BYTES = 2.0
_SPARSE_BYTES = 16
_POINT_BYTES = 150


@dataclass(frozen=True, slots=True)
class Excerpt:
    path: Path
    start_seconds: float
    end_seconds: float


@dataclass
class Tried:
    """What one excerpt took. seconds: by stage, all of the wall-clock time; first_seconds: the
    part of it that every file costs once. points_bytes: by channel, in the index."""

    media_seconds: float
    seconds: dict[str, float]
    first_seconds: dict[str, float]
    points_bytes: dict[str, float]
    thumbnail_bytes: float = 0.0

    @property
    def rate(self) -> float:
        """Wall-clock seconds for a second of video, without what the file costs once."""
        once = sum(self.first_seconds.values())
        return max(sum(self.seconds.values()) - once, 0.0) / max(self.media_seconds, 1e-3)


@dataclass(frozen=True, slots=True)
class Estimate:
    """seconds: by stage, of wall-clock time; "load" is models and libraries. bytes: by channel, on
    disk. margin: of the total time, as a share of it, either way. memory: by stage, bytes that it
    adds to the most that this process will hold; what several share counts for the first of them.
    tried_seconds: of video that was indexed to find out."""

    media_seconds: float
    files: int
    seconds: dict[str, float]
    bytes: dict[str, float]
    margin: float
    memory: dict[str, int]
    tried_seconds: float
    notes: tuple[str, ...] = field(default=())

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def total_bytes(self) -> float:
        return sum(self.bytes.values())

    @property
    def memory_bytes(self) -> int:
        return sum(self.memory.values())


class Estimator:
    """Indexes excerpts into `library`, which holds nothing else.

    indexer: over that library, with the channels to be estimated. folder: for the excerpts.
    """

    def __init__(self, library: Library, indexer: Indexer, thumbnails: Thumbnails, folder: Path):
        self._library = library
        self._indexer = indexer
        self._thumbnails = thumbnails
        self._folder = folder
        self._notes: list[str] = []
        self._memory: dict[str, int] = {}
        self._count = 0
        self._commit_seconds = indexer.commit_seconds

    def estimate(
        self,
        files: Sequence[tuple[Path, float]],
        *,
        listener: Callable[[int, int], None] = lambda done, of: None,
    ) -> Estimate:
        """files: what is to be indexed, with durations in seconds.

        Raises MediaError where none of it can be tried.
        """
        excerpts = choose(files, _TRIED_SECONDS)
        started = _started_seconds()
        self._memory["load"] = peak_bytes()
        load = started + self._load(excerpts)
        tried = []
        for number, excerpt in enumerate(excerpts):
            listener(number, len(excerpts))
            try:
                tried.append(self._try(excerpt))
            except LongtakeError as error:
                self._notes.append(str(error))
        if not tried:
            raise MediaError(" ".join(dict.fromkeys(self._notes)) or "There is nothing to try.")
        media = sum(seconds for _, seconds in files)
        return Estimate(
            media_seconds=media,
            files=len(files),
            seconds={"load": load} | _seconds(tried, media, len(files)),
            bytes=_bytes(tried, media),
            margin=_margin([one.rate for one in tried]),
            memory=self._all_memory(),
            tried_seconds=sum(one.media_seconds for one in tried),
            notes=tuple(dict.fromkeys(self._notes)),
        )

    def _load(self, excerpts: Sequence[Excerpt]) -> float:
        """Seconds that loading what the channels need takes: the first few seconds of video,
        less what they take the second time."""
        for excerpt in excerpts:
            end = min(excerpt.start_seconds + _WARM_UP_SECONDS, excerpt.end_seconds)
            short = Excerpt(excerpt.path, excerpt.start_seconds, end)
            with suppress(LongtakeError):
                cold = sum(self._try(short).seconds.values())
                return max(cold - sum(self._try(short).seconds.values()), 0.0)
        return 0.0

    def _try(self, excerpt: Excerpt) -> Tried:
        path = self._cut(excerpt)
        stat = stat_of(path)
        video_id = f"{content_id(path)}-{self._count}"  # the same excerpt may come twice
        task = Task(path, (stat,), video_id, None, "estimate")
        started = time.perf_counter()
        work = self._indexer.describe(task)
        opening = time.perf_counter() - started
        work.spent = spent = Spent(peak_bytes)
        self._text(work, _ignore)
        self._indexer.index_sound(work, _ignore)
        opening += self._look(work)
        self._derive(work)
        wall = time.perf_counter() - started
        seconds = dict(spent.seconds)
        # So far every channel has committed once, at its end, as it does for every file.
        if wall < self._commit_seconds:
            spent.first_seconds["commits"] = seconds.get("commits", 0.0)
        seconds["pictures"] = max(wall - sum(seconds.values()), 0.0)
        for stage, grown in spent.grown_bytes.items():
            self._memory[stage] = self._memory.get(stage, 0) + grown
        tried = Tried(
            media_seconds=work.video.duration_seconds
            or excerpt.end_seconds - excerpt.start_seconds,
            seconds=seconds,
            first_seconds={
                stage: first
                for stage, first in spent.first_seconds.items()
                if stage in ("screen_text", "object", "frame", "commits")
            }
            | {"pictures": opening},
            points_bytes=self._points_bytes(work.video),
            thumbnail_bytes=self._thumbnail_bytes(work.video),
        )
        self._library.remove_video(video_id)
        self._thumbnails.remove(video_id)
        return tried

    def _look(self, work: Work) -> float:
        """Runs the picture channels; returns the seconds before the first picture is there."""
        spent, began = work.spent.seconds, time.perf_counter() - sum(work.spent.seconds.values())
        opening: list[float] = []

        def heard(stage: str, _at_seconds: float) -> None:
            if stage == "pictures" and not opening:
                opening.append(time.perf_counter() - sum(spent.values()) - began)

        self._indexer.index_pictures(work, heard)
        return max(sum(opening), 0.0)

    def _all_memory(self) -> dict[str, int]:
        """With what no stage was seen to add: decoding, mostly."""
        rest = peak_bytes() - sum(self._memory.values())
        return self._memory | {"pictures": max(rest, 0)}

    def _text(self, work: Work, listener: Callable[[str, float], None]) -> None:
        self._indexer.index_text(work, listener)
        self._derive(work)

    def _derive(self, work: Work) -> None:
        try:
            self._indexer.index_derived(work, _ignore, wait=True)
        except LongtakeError as error:  # a server that is down, say: the rest can be told
            self._notes.append(str(error))

    def _cut(self, excerpt: Excerpt) -> Path:
        """The excerpt as a file, with its part of the subtitles beside it; the whole file where it
        is short or cannot be cut."""
        self._count += 1
        target = self._folder / f"excerpt-{self._count}.mkv"
        try:
            begun = copy_excerpt(excerpt.path, excerpt.start_seconds, excerpt.end_seconds, target)
        except MediaError:
            if excerpt.end_seconds - excerpt.start_seconds > 60.0:
                raise
            return excerpt.path
        for sidecar in sidecars(excerpt.path):
            _cut_subtitles(sidecar.path, begun, excerpt.end_seconds, target, sidecar.language)
        return target

    def _points_bytes(self, video: Video) -> dict[str, float]:
        found: dict[str, float] = {}
        for point in scroll(self._library.store, where(video_id=video.id), with_vectors=True):
            channel = point.payload.get("channel", "catalogue")
            found[channel] = found.get(channel, 0.0) + point_bytes(point)
        return found

    def _thumbnail_bytes(self, video: Video) -> float:
        folder = self._thumbnails.folder / video.id
        return float(sum(path.stat().st_size for path in folder.glob("*")))


def choose(files: Sequence[tuple[Path, float]], budget_seconds: float) -> list[Excerpt]:
    """Excerpts spread evenly over all the video there is, in the order of the files: long files get
    more of them. All of it where it is hardly more than the budget."""
    files = [(path, seconds) for path, seconds in files if seconds > 0]
    total = sum(seconds for _, seconds in files)
    if total <= budget_seconds * 1.25:
        return [Excerpt(path, 0.0, seconds) for path, seconds in files]
    count = max(round(budget_seconds / EXCERPT_SECONDS), 1)
    middles = [(number + 0.5) * total / count for number in range(count)]
    chosen = []
    before = 0.0
    for path, seconds in files:
        for middle in middles:
            if before <= middle < before + seconds:
                start = min(max(middle - before - EXCERPT_SECONDS / 2, 0.0), seconds)
                start = max(min(start, seconds - EXCERPT_SECONDS), 0.0)
                chosen.append(Excerpt(path, start, min(start + EXCERPT_SECONDS, seconds)))
        before += seconds
    return chosen


def point_bytes(point: Point) -> float:
    """About what the point takes on disk."""
    size = _POINT_BYTES + _PAYLOAD_BYTES * len(msgspec.json.encode(point.payload))
    for vector in point.vectors.values():
        if isinstance(vector, SparseVector):
            size += _SPARSE_BYTES * len(vector.indices)
        else:
            size += _VECTOR_BYTES * vector.nbytes
    return size


def _seconds(tried: Sequence[Tried], media_seconds: float, files: int) -> dict[str, float]:
    seen = sum(one.media_seconds for one in tried)
    stages = dict.fromkeys(stage for one in tried for stage in one.seconds)
    found = {}
    for stage in stages:
        once = sum(one.first_seconds.get(stage, 0.0) for one in tried)
        lasting = sum(one.seconds.get(stage, 0.0) for one in tried) - once
        found[stage] = once / len(tried) * files + lasting / seen * media_seconds
    return found


def _bytes(tried: Sequence[Tried], media_seconds: float) -> dict[str, float]:
    scale = media_seconds / sum(one.media_seconds for one in tried)
    found: dict[str, float] = {}
    for one in tried:
        for channel, size in one.points_bytes.items():
            found[channel] = found.get(channel, 0.0) + size * scale
        found["thumbnails"] = found.get("thumbnails", 0.0) + one.thumbnail_bytes * scale
    return found


def _margin(rates: Sequence[float]) -> float:
    """Two standard errors of the mean rate, as a share of it, within bounds."""
    mean = statistics.fmean(rates)
    if len(rates) < 2 or mean <= 0:
        return _LARGEST_MARGIN / 2
    error = 2 * statistics.stdev(rates) / math.sqrt(len(rates)) / mean
    return min(max(error, _SMALLEST_MARGIN), _LARGEST_MARGIN)


def _started_seconds() -> float:
    """What a process like this one spends before it looks at the first file: its imports, mostly,
    and a library that is opened."""
    used = time.process_time()
    return min(used, time.time() - psutil.Process().create_time())


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    with suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Where there is no such file. On Linux it would have that of the parent process in it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cut_subtitles(
    path: Path, start_seconds: float, end_seconds: float, video: Path, language: str | None
) -> None:
    import pysubs2

    try:
        lines = pysubs2.load(str(path), errors="replace")
    except Exception:  # what cannot be read costs nothing either
        return
    lines.events = [
        event
        for event in lines.events
        if event.start < end_seconds * 1000 and event.end > start_seconds * 1000
    ]
    lines.shift(s=-start_seconds)
    name = f"{video.stem}.{language}.srt" if language else f"{video.stem}.srt"
    lines.save(str(video.with_name(name)), format_="srt")


def _ignore(_stage: str, _at_seconds: float) -> None:
    pass
