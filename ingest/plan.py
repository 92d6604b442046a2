"""What indexing has to do: the files as they are, held against the catalogue.

Renames and moves are free because a video's id is its content; a path whose size, times and inode
are as last seen is not even opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from index.errors import LongtakeError, NotMediaError
from index.library import Library
from index.schema import FileStat, Generation, Video
from ingest.channel import DerivedChannel, FileChannel, PictureChannel
from ingest.identity import content_id, full_digest, same, stat_of
from ingest.segments import SEGMENTS_CODE
from ingest.settings import IngestSettings
from ingest.sidecars import find_sidecars

ANALYSIS_CODE = {"adaptive": 1, "content": 2, "hash": 1, "threshold": 2}
"""By detector. Raised when a change in ingest.analysis, .detectors, .shots or .sampling moves its
cuts, or the samples."""


ORIGIN = "origin"
"""In the detail of a generation that was written anew out of another one: that one's id."""


@dataclass(frozen=True)
class Channels:
    """The senses that one run uses.

    derived: in an order in which each comes after its sources. models: channel -> what its model is
    called, for those that have one. named: the user has chosen them one by one.
    analysis: how cuts are found and samples chosen, as in PictureChannel.describe; segments: how
    segments are cut. Both None where nothing that sees pictures is wanted.
    """

    files: tuple[FileChannel, ...]
    pictures: tuple[PictureChannel, ...]
    analysis: Mapping[str, Any] | None
    segments: Mapping[str, Any] | None
    derived: tuple[DerivedChannel, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    named: bool = False

    def fingerprints(
        self, path: Path, video: Video, generations: Iterable[Generation] = ()
    ) -> dict[str, str]:
        """channel -> fingerprint that its generation of this video should have, given those that
        there are. A picture channel's takes in which samples it is shown."""
        heard = {
            g.channel
            for g in generations
            if g.state == "active" and g.complete and g.detail.get("listened")
        }
        described = {
            c.name: c.describe(path, video)
            for c in self.files
            if not (c.name in heard and c.defers(path, video))
        }
        if self.analysis is not None:
            described["shot"] = {"analysis": self.analysis, "segments": self.segments}
            if any(stream.kind == "video" for stream in video.streams):
                described |= {c.name: self._described(c) for c in self.pictures}
        return {name: digest(description) for name, description in described.items()}

    def live_fingerprints(self) -> dict[str, str]:
        """channel -> fingerprint of what comes of a live source's pictures."""
        described = {c.name: self._described(c) for c in self.pictures}
        if self.analysis is not None:
            described["shot"] = {"analysis": self.analysis, "segments": self.segments}
        return {name: digest({"live": described[name]}) for name in described}

    def _described(self, channel: PictureChannel) -> dict[str, Any]:
        return {"channel": self._description(channel), "analysis": self.analysis}

    def derived_fingerprints(
        self, generations: Iterable[Generation], *, unfinished: bool = False
    ) -> dict[str, str]:
        """The same for the derived channels whose sources a video has, given its generations.
        unfinished: also for those whose sources are not complete, as of a stream that goes on."""
        active = {g.channel: g for g in generations if g.state == "active"}
        found = {}
        for channel in self.derived:
            sources = {name: active[name] for name in channel.sources if name in active}
            complete = unfinished or all(g.complete for g in sources.values())
            if channel.sources[0] in sources and complete:
                origins = {name: g.detail.get(ORIGIN, g.id) for name, g in sources.items()}
                ids = {name: g.id for name, g in sources.items()}
                described = {
                    "channel": self._description(channel),
                    "sources": ids if channel.names_records else origins,
                }
                found[channel.name] = digest(described)
        return found

    def _description(self, channel: PictureChannel | DerivedChannel) -> Mapping[str, Any]:
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
        "code": ANALYSIS_CODE.get(settings.shots.detector),
    }


def describe_segments(settings: IngestSettings) -> dict[str, Any]:
    """What decides where segments are cut."""
    return {**settings.segments.model_dump(mode="json"), "code": SEGMENTS_CODE}


def home_of(paths: Sequence[Path]) -> Path:
    """Of several paths with one content, the one that the channels read: of those that are there,
    the first that has subtitles beside it, else the first."""
    there = [path for path in paths if len(paths) > 1 and os.path.exists(path)] or list(paths)
    return next((path for path in there if len(there) > 1 and find_sidecars(path)), there[0])


def digest(description: Mapping[str, Any]) -> str:
    encoded = msgspec.json.encode(description, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Task:
    """A content to work on, read from `path`.

    files: all paths with it. video: its catalogue entry where it is known, with these files
    already in it.
    """

    path: Path
    files: tuple[FileStat, ...]
    video_id: str
    video: Video | None
    reason: str
    whole_digest: str | None = None


@dataclass
class Plan:
    """tasks: to be indexed. updates: catalogue entries whose files changed name or place.
    gone: videos whose last path was seen to have gone. kept: paths that are missing from a folder
    which is there without any video, as that of a drive that is not mounted. failures: files that
    cannot be read. known: ids of the videos in the catalogue."""

    tasks: list[Task] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    moved: list[Path] = field(default_factory=list)
    updates: dict[str, Video] = field(default_factory=dict)
    gone: list[Video] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[tuple[Path, LongtakeError]] = field(default_factory=list)
    known: frozenset[str] = frozenset()


@dataclass
class _Found:
    """The files of one content among those asked for. reason: why it is to be indexed, where that
    is clear from the files alone."""

    files: list[FileStat] = field(default_factory=list)
    moved: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    reason: str | None = None
    whole_digest: str | None = None

    def paths(self) -> list[Path]:
        return [Path(file.path) for file in self.files]


class Planner:
    """Compares files with the catalogue, which is read once. library: None where there is none
    yet."""

    def __init__(self, library: Library | None, channels: Channels, *, force: bool, verify: bool):
        self._channels = channels
        self._force = force
        self._verify = verify
        self._videos = {video.id: video for video in library.videos()} if library else {}
        self._by_path = {
            file.path: (video.id, file) for video in self._videos.values() for file in video.files
        }
        self._generations: dict[str, list[Generation]] = {}
        for generation in library.generations() if library else ():
            self._generations.setdefault(generation.video_id, []).append(generation)

    def plan(self, paths: Iterable[Path], roots: Sequence[Path] = ()) -> Plan:
        """roots: the folders that `paths` were found in; a video whose last path lay there and
        is no longer is reported gone."""
        plan = Plan(known=frozenset(self._videos))
        found: dict[str, _Found] = {}
        changed: set[str] = set()
        seen = dict.fromkeys(os.path.abspath(path) for path in paths)
        for path in seen:
            try:
                self._identify(Path(path), found, changed)
            except LongtakeError as error:
                plan.failures.append((Path(path), error))
        self._drop_lost(plan, roots, seen, changed)
        for video_id in sorted(found.keys() | changed):
            self._look_again(video_id, seen, changed)
        # Only now: of files that changed places each has left one video and joined another.
        for video_id in changed:
            video = self._videos[video_id]
            if not video.files:
                plan.gone.append(video)
                continue
            stems = [Path(file.path).stem for file in video.files]
            title = video.title if video.title in stems else stems[0]
            self._videos[video_id] = plan.updates[video_id] = replace(video, title=title)
        for video_id, files in found.items():
            self._decide(plan, video_id, files)
        if not self._force:
            # What lost one of its paths may have lost the subtitles that lay beside it.
            for video_id in sorted(plan.updates.keys() - found.keys()):
                self._decide(plan, video_id, _Found())
        return plan

    def _identify(self, path: Path, found: dict[str, _Found], changed: set[str]) -> None:
        """Finds out which content the path holds, and puts it among that video's files."""
        stat = stat_of(path)
        known = self._by_path.get(str(path))
        whole_digest = None
        if known and same(known[1], stat) and not self._verify:
            video_id = known[0]
        else:
            video_id = content_id(path)
            whole_digest = full_digest(path) if self._verify else None

        if known and known[0] != video_id:
            self._leave(known[0], path)
            changed.add(known[0])
        here = found.setdefault(video_id, _Found())
        here.files.append(stat)
        here.whole_digest = whole_digest
        video = self._videos.get(video_id)
        if video is None:
            here.moved.append(path)
            here.reason = here.reason or ("changed" if known else "new")
            return
        if whole_digest and video.digest and whole_digest != video.digest:
            here.reason = "changed inside"
        if not known or not same(known[1], stat) or whole_digest not in (None, video.digest):
            self._join(video, stat, whole_digest)
            changed.add(video_id)
        (here.unchanged if known else here.moved).append(path)

    def _decide(self, plan: Plan, video_id: str, found: _Found) -> None:
        """Puts one content's files on the lists where they belong."""
        video = self._videos.get(video_id)
        files = tuple(found.files) if video is None else video.files
        readable = [Path(file.path) for file in files if _as_it_was(file)] or found.paths()
        if not readable:
            return
        home = home_of(readable)
        reason = found.reason or (self._reason(home, video) if video else None)
        if reason:
            plan.tasks.append(Task(home, files, video_id, video, reason, found.whole_digest))
        plan.moved += [path for path in found.moved if not (reason and path == home)]
        plan.unchanged += [path for path in found.unchanged if not (reason and path == home)]

    def _reason(self, path: Path, video: Video) -> str | None:
        """Why a known video needs work; None where it needs none."""
        if self._force:
            return "forced"
        generations = self._generations.get(video.id, [])
        by_channel: dict[str, list[Generation]] = {}
        for generation in generations:
            by_channel.setdefault(generation.channel, []).append(generation)
        wanted = self._channels.fingerprints(path, video, generations)
        wanted |= self._channels.derived_fingerprints(generations)
        for channel, fingerprint in wanted.items():
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

    def _join(self, video: Video, stat: FileStat, whole_digest: str | None) -> None:
        """The video gets this path among its files, and loses those that have gone."""
        others = tuple(
            file for file in video.files if file.path != stat.path and not _missing(file.path)
        )
        digest = whole_digest or video.digest
        self._videos[video.id] = replace(video, files=(*others, stat), digest=digest)

    def _leave(self, video_id: str, path: Path) -> None:
        """The path now holds something else."""
        video = self._videos[video_id]
        files = tuple(file for file in video.files if file.path != str(path))
        self._videos[video_id] = replace(video, files=files)

    def _look_again(self, video_id: str, seen: Collection[str], changed: set[str]) -> None:
        """The video's paths that this run was not asked for may hold something else by now: none
        is read before it is known to hold this video. What it holds is found out when it is asked
        for."""
        video = self._videos.get(video_id)
        for file in video.files if video else ():
            if file.path in seen or _missing(file.path):
                continue
            path = Path(file.path)
            try:
                stat = stat_of(path)
                if same(file, stat):
                    continue
                if content_id(path) == video_id:
                    self._join(self._videos[video_id], stat, None)
                else:
                    self._leave(video_id, path)
            except NotMediaError:  # emptied
                self._leave(video_id, path)
            except LongtakeError:
                continue
            changed.add(video_id)

    def _drop_lost(
        self, plan: Plan, roots: Sequence[Path], seen: Collection[str], changed: set[str]
    ) -> None:
        """A folder in which no video at all is found may be a drive that is not mounted: then
        nothing is called gone, and what is missing is kept."""
        for root in roots:
            prefix = os.path.join(os.path.abspath(root), "")
            mounted = any(path.startswith(prefix) for path in seen)
            for video in list(self._videos.values()):
                missing = [
                    file
                    for file in video.files
                    if file.path.startswith(prefix)
                    and file.path not in seen
                    and _missing(file.path)
                ]
                lost = [f for f in missing if mounted and not _from_empty_folder(f.path)]
                kept = (Path(file.path) for file in missing if file not in lost)
                plan.kept += [path for path in kept if path not in plan.kept]
                if lost:
                    files = tuple(file for file in video.files if file not in lost)
                    self._videos[video.id] = replace(video, files=files)
                    changed.add(video.id)


def _as_it_was(file: FileStat) -> bool:
    """Whether the file is there and nobody has written to it since it was identified."""
    try:
        return same(file, stat_of(Path(file.path)))
    except LongtakeError:
        return False


def _missing(path: str) -> bool:
    """Whether there is certainly nothing at that path. A folder that may not be entered, or a
    server that does not answer, says nothing about what is in there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _from_empty_folder(path: str) -> bool:
    """Whether the nearest folder above a missing path that is still there is empty."""
    folder = os.path.dirname(path)
    while True:
        try:
            with os.scandir(folder) as entries:
                return next(entries, None) is None
        except (FileNotFoundError, NotADirectoryError):
            folder = os.path.dirname(folder)
        except OSError:
            return True
