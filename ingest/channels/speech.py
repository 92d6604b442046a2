"""What is said, from subtitles.

Sources are asked in order; each is told which languages the ones before it cover, and adds only
what is missing. A language has one track: the first that holds all of it, else the first that
holds only what is foreign ("forced").

Attributes of the evidence: `language`, `source` ("friday.vtt", "stream 3"), `speaker` where the
subtitles name one.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from index.errors import SubtitleError
from index.languages import language_tag
from index.schema import Evidence, Generation, Video
from index.store import VectorSpace
from ingest.channel import Batch
from ingest.cues import Cue
from ingest.subtitles import Track, read_embedded, read_sidecar, sidecars

_REVISION = 1
"""Raised when the same subtitles come out as other evidence."""

_BATCH_CUES = 500

_TEXT_CODECS = frozenset({"ass", "ssa", "subrip", "srt", "webvtt", "mov_text", "text"})


class SpeechSource(Protocol):
    """Somewhere that speech can be had in writing."""

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        """Whatever its tracks depend on; {} where it has none for this file."""
        ...

    def tracks(
        self, path: Path, video: Video, covered: frozenset[str | None]
    ) -> tuple[list[Track], list[str]]:
        """Tracks in languages that are not `covered` yet (None: one that could not be told), best
        first, and notes for the user."""
        ...


class SidecarSubtitles:
    """Subtitle files beside the video."""

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        return {sidecar.path.name: _digest(sidecar.path) for sidecar in sidecars(path)}

    def tracks(
        self, path: Path, video: Video, covered: frozenset[str | None]
    ) -> tuple[list[Track], list[str]]:
        tracks, notes = [], []
        for sidecar in sidecars(path):
            try:
                track, remarks = read_sidecar(sidecar, video.duration_seconds)
            except SubtitleError as error:
                notes.append(str(error))
                unread = Track(sidecar.language, sidecar.path.name, (), damaged=True)
                tracks.append(unread)
                continue
            notes.extend(remarks)
            tracks.append(track)
        tracks.sort(key=lambda track: (track.forced, track.for_the_deaf))
        return tracks, notes


class EmbeddedSubtitles:
    """Text subtitle streams inside the container."""

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        return {
            str(stream.index): [stream.codec, stream.language]
            for stream in video.streams
            if stream.kind == "subtitle"
        }

    def tracks(
        self, path: Path, video: Video, covered: frozenset[str | None]
    ) -> tuple[list[Track], list[str]]:
        streams = [stream for stream in video.streams if stream.kind == "subtitle"]
        notes = [
            f"subtitle stream {stream.index} ({stream.codec}) is pictures, not text: cannot be "
            "read yet"
            for stream in streams
            if stream.codec not in _TEXT_CODECS
        ]
        written = [stream for stream in streams if stream.codec in _TEXT_CODECS]
        tags = {language_tag(stream.language) for stream in written}
        if not written:
            return [], notes
        if None not in tags and tags <= covered:
            # Reading them means reading the whole file, for what would only be passed over.
            return [], [*notes, _passed_over([f"stream {stream.index}" for stream in written])]
        tracks, remarks = read_embedded(path, video.duration_seconds)
        tracks.sort(key=lambda track: (track.forced, track.for_the_deaf, -len(track.cues)))
        return tracks, notes + remarks


SUBTITLES: tuple[SpeechSource, ...] = (SidecarSubtitles(), EmbeddedSubtitles())


class SpeechChannel:
    """A FileChannel. sources: in order of trust."""

    name = "speech"
    spaces: tuple[VectorSpace, ...] = ()

    def __init__(self, sources: Sequence[SpeechSource] = SUBTITLES):
        self._sources = tuple(sources)

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        described = {
            type(source).__name__: dict(source.describe(path, video)) for source in self._sources
        }
        return {"revision": _REVISION, "sources": described}

    def listens(self, path: Path, video: Video) -> bool:
        return False

    def run(
        self, path: Path, video: Video, generation: Generation, from_seconds: float
    ) -> Iterator[Batch]:
        """Batches of cues by start, from the watermark on; one, with a note, where the video has
        sound and nobody wrote down what is said."""
        tracks, notes, damaged = self._choose(path, video)
        if not any(track.cues for track in tracks) and any(
            stream.kind == "audio" for stream in video.streams
        ):
            notes.append("no subtitles; speech recognition is not in this profile")
        cues = heapq.merge(
            *([(cue, track) for cue in track.cues] for track in tracks),
            key=lambda pair: (pair[0].start_seconds, pair[0].end_seconds, pair[1].source),
        )
        end_seconds = video.duration_seconds or from_seconds
        evidence: list[Evidence] = []
        for cue, track in cues:
            if cue.start_seconds < from_seconds:
                continue
            full = len(evidence) >= _BATCH_CUES
            if full and cue.start_seconds > evidence[-1].start_seconds:
                at_seconds = cue.start_seconds
                yield Batch(tuple(evidence), at_seconds, at_seconds, tuple(notes), damaged)
                evidence, notes = [], []
            evidence.append(_evidence(generation, cue, track))
            end_seconds = max(end_seconds, cue.end_seconds)
        yield Batch(tuple(evidence), end_seconds, end_seconds, tuple(notes), damaged)

    def _choose(self, path: Path, video: Video) -> tuple[list[Track], list[str], bool]:
        """The tracks that are heard, notes, and whether anything could not be read."""
        chosen: dict[str | None, Track] = {}
        notes: list[str] = []
        damaged = False
        for source in self._sources:
            whole = frozenset(language for language, track in chosen.items() if not track.forced)
            tracks, remarks = source.tracks(path, video, whole)
            notes.extend(remarks)
            damaged = damaged or any(track.damaged for track in tracks)
            passed_over = []
            for track in tracks:
                held = chosen.get(track.language)
                if not track.cues:
                    continue
                if held is None or (held.forced and not track.forced):
                    chosen[track.language] = track
                    track = held
                if track is not None:
                    passed_over.append(track.source)
            if passed_over:
                notes.append(_passed_over(passed_over))
        return list(chosen.values()), notes, damaged


def _passed_over(sources: Sequence[str]) -> str:
    return f"subtitles passed over for better ones in the same language: {', '.join(sources)}"


def _evidence(generation: Generation, cue: Cue, track: Track) -> Evidence:
    attributes: dict[str, Any] = {"language": track.language, "source": track.source}
    if cue.speaker:
        attributes["speaker"] = cue.speaker
    return Evidence(
        video_id=generation.video_id,
        epoch=generation.epoch,
        channel=generation.channel,
        generation=generation.id,
        start_seconds=cue.start_seconds,
        end_seconds=cue.end_seconds,
        text=cue.text,
        attributes=attributes,
        # Two languages may say "OK" at the same time.
        key=f"{track.language or ''}|{cue.speaker or ''}|{cue.text}",
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "unreadable"
