"""What indexing has to do: the files as they are, held against the catalogue.

Renames and moves are free because a video's id is its content; a path whose size, times and inode
are as last seen is not even opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from index.errors import LongtakeError
from index.library import Library
from index.schema import FileStat, Generation, Video
from ingest.channel import FileChannel, PictureChannel
from ingest.identity import content_id, full_digest, same, stat_of
from ingest.settings import IngestSettings
from ingest.sidecars import find_sidecars

ANALYSIS_CODE = 1
"""Raised when a change in ingest.analysis, .shots or .sampling moves cuts or samples."""


@dataclass(frozen=True)
class Channels:
    """The senses that one run uses.

    analysis: how cuts are found and samples chosen, as in PictureChannel.describe; segments: how
    segments are cut. Both None where nothing that sees pictures is wanted.
    """

    files: tuple[FileChannel, ...]
    pictures: tuple[PictureChannel, ...]
    analysis: Mapping[str, Any] | None
    segments: Mapping[str, Any] | None

    def fingerprints(self, path: Path, video: Video) -> dict[str, str]:
        """channel -> fingerprint that its generation of this video should have. A picture
        channel's takes in which samples it is shown."""
        described = {c.name: c.describe(path, video) for c in self.files}
        if self.analysis is not None:
            described["shot"] = {"analysis": self.analysis, "segments": self.segments}
            if any(stream.kind == "video" for stream in video.streams):
                for channel in self.pictures:
                    described[channel.name] = {
                        "channel": self._description(channel),
                        "analysis": self.analysis,
                    }
        return {name: digest(description) for name, description in described.items()}

    def _description(self, channel: PictureChannel) -> Mapping[str, Any]:
        """Asked once a run: it may read a model's digest."""
        if channel.name not in self._descriptions:
            self._descriptions[channel.name] = channel.describe()
        return self._descriptions[channel.name]

    _descriptions: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


def describe_analysis(settings: IngestSettings) -> dict[str, Any]:
    """What decides where cuts are found and which samples are taken."""
    return {
        "shots": settings.shots.model_dump(mode="json"),
        "sampling": settings.sampling.model_dump(mode="json"),
        "scenedetect": version("scenedetect-headless"),
        "code": ANALYSIS_CODE,
    }


def home_of(video: Video) -> Path:
    """Of several paths with one content, the one that the channels read: the first that has
    subtitles beside it, else the first."""
    paths = [Path(file.path) for file in video.files]
    return next((path for path in paths if len(paths) > 1 and find_sidecars(path)), paths[0])


def digest(description: Mapping[str, Any]) -> str:
    encoded = msgspec.json.encode(description, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Task:
    """A file to work on. `video` is its catalogue entry where its content is known, with the path
    already in it."""

    path: Path
    stat: FileStat
    video_id: str
    video: Video | None
    reason: str
    whole_digest: str | None = None


@dataclass
class Plan:
    """tasks: to be indexed. updates: catalogue entries whose files changed name or place.
    gone: videos whose last path was seen to have gone. failures: files that cannot be read."""

    tasks: list[Task] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    moved: list[Path] = field(default_factory=list)
    updates: dict[str, Video] = field(default_factory=dict)
    gone: list[Video] = field(default_factory=list)
    failures: list[tuple[Path, LongtakeError]] = field(default_factory=list)


class Planner:
    """Compares files with the catalogue, which is read once."""

    def __init__(self, library: Library, channels: Channels, *, force: bool, verify: bool):
        self._channels = channels
        self._force = force
        self._verify = verify
        self._videos = {video.id: video for video in library.videos()}
        self._by_path = {
            file.path: (video.id, file) for video in self._videos.values() for file in video.files
        }
        self._generations: dict[str, list[Generation]] = {}
        for generation in library.generations():
            self._generations.setdefault(generation.video_id, []).append(generation)

    def plan(self, paths: Iterable[Path], roots: Sequence[Path] = ()) -> Plan:
        """roots: the folders that `paths` were found in; a video whose last path lay there and
        is no longer is reported gone."""
        plan = Plan()
        seen: set[str] = set()
        for path in paths:
            path = Path(os.path.abspath(path))
            if str(path) in seen:
                continue
            seen.add(str(path))
            try:
                self._plan_file(plan, path)
            except LongtakeError as error:
                plan.failures.append((path, error))
        self._find_gone(plan, roots, seen)
        return plan

    def _plan_file(self, plan: Plan, path: Path) -> None:
        stat = stat_of(path)
        known = self._by_path.get(str(path))
        whole_digest = None
        if known and same(known[1], stat) and not self._verify:
            video_id = known[0]
        else:
            video_id = content_id(path)
            whole_digest = full_digest(path) if self._verify else None

        video = self._videos.get(video_id)
        if known and known[0] != video_id:
            self._leave(plan, known[0], path)
        if video is None:
            reason = "changed" if known else "new"
            self._plan_new(plan, path, stat, video_id, reason, whole_digest)
            return

        corrupted = whole_digest and video.digest and whole_digest != video.digest
        if not known or not same(known[1], stat) or whole_digest not in (None, video.digest):
            video = self._join(plan, video, stat, whole_digest)
        home = home_of(video)
        reason = self._reason(home, video, bool(corrupted)) if path == home else None
        if reason:
            plan.tasks.append(Task(path, stat, video_id, video, reason, whole_digest))
        elif not known:
            plan.moved.append(path)
        else:
            plan.unchanged.append(path)

    def _plan_new(
        self,
        plan: Plan,
        path: Path,
        stat: FileStat,
        video_id: str,
        reason: str,
        whole_digest: str | None,
    ) -> None:
        """A content that is not in the catalogue. A second path with it joins the first's entry
        at the next run."""
        if any(task.video_id == video_id for task in plan.tasks):
            plan.moved.append(path)
        else:
            plan.tasks.append(Task(path, stat, video_id, None, reason, whole_digest))

    def _reason(self, path: Path, video: Video, corrupted: bool) -> str | None:
        """Why a known video needs work; None where it needs none."""
        if corrupted:
            return "changed inside"
        if self._force:
            return "forced"
        generations = self._generations.get(video.id, [])
        by_channel: dict[str, list[Generation]] = {}
        for generation in generations:
            by_channel.setdefault(generation.channel, []).append(generation)
        for channel, fingerprint in self._channels.fingerprints(path, video).items():
            found = by_channel.get(channel, [])
            if not found:
                return "interrupted before" if not generations else f"{channel} is missing"
            active = next((g for g in found if g.state == "active"), None)
            unfinished = active is None or not active.complete or len(found) > 1
            if unfinished:
                return "unfinished"
            if active.fingerprint != fingerprint:
                beside = channel == "speech" and (video.sidecars or find_sidecars(path))
                return "subtitles changed" if beside else f"{channel} settings changed"
        return None

    def _join(self, plan: Plan, video: Video, stat: FileStat, whole_digest: str | None) -> Video:
        """The video with this path among its files, and without those that have gone."""
        others = tuple(
            file for file in video.files if file.path != stat.path and os.path.exists(file.path)
        )
        title = video.title if others else Path(stat.path).stem
        joined = dataclasses.replace(
            video, files=(*others, stat), title=title, digest=whole_digest or video.digest
        )
        self._videos[video.id] = joined
        plan.updates[video.id] = joined
        return joined

    def _leave(self, plan: Plan, video_id: str, path: Path) -> None:
        """The path now holds something else."""
        video = self._videos[video_id]
        files = tuple(file for file in video.files if file.path != str(path))
        left = dataclasses.replace(video, files=files)
        self._videos[video_id] = left
        if files:
            plan.updates[video_id] = left
        else:
            plan.updates.pop(video_id, None)
            plan.gone.append(left)

    def _find_gone(self, plan: Plan, roots: Sequence[Path], seen: set[str]) -> None:
        """A folder in which nothing at all is found may be a drive that is not mounted: then
        nothing is called gone."""
        for root in roots:
            prefix = os.path.join(os.path.abspath(root), "")
            if not any(path.startswith(prefix) for path in seen):
                continue
            for video in list(self._videos.values()):
                lost = [
                    file
                    for file in video.files
                    if file.path.startswith(prefix)
                    and file.path not in seen
                    and not os.path.lexists(file.path)
                ]
                if not lost:
                    continue
                files = tuple(file for file in video.files if file not in lost)
                left = dataclasses.replace(video, files=files)
                self._videos[video.id] = left
                if files:
                    plan.updates[video.id] = left
                elif not any(task.video_id == video.id for task in plan.tasks):
                    plan.updates.pop(video.id, None)
                    plan.gone.append(video)
