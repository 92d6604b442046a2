"""What is said: from subtitles; where there are none, from the sound.

Sources of subtitles are asked in order; each is told which languages the ones before it cover, and
adds only what is missing. A language has one track: the first that holds all of it, else the first
that holds only what is foreign ("forced"). Where no language has a whole track, the sound of the
default audio stream is recognised, and forced subtitles are kept beside it.

Attributes of the evidence: `language`, `source` ("friday.vtt", "stream 3", "recognized by NAME"),
`speaker` where the subtitles or the recogniser name one; of recognised sentences also `words` and
`confidence`, the average of the words'.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from index.errors import SubtitleError
from index.languages import language_tag
from index.schema import Evidence, Generation, Video
from ingest.channel import Batch, FileChannel, evidence_of
from ingest.cues import Cue
from ingest.recognition import Recognition
from ingest.sentences import Sentence
from ingest.sidecars import Sidecar, folded, is_forced, sidecars
from ingest.subtitles import Track, decode, read_embedded, read_sidecar

_REVISION = 1
"""Raised when the same subtitles come out as other evidence."""

_BATCH_CUES = 500

_TEXT_CODECS = frozenset({"ass", "ssa", "subrip", "srt", "webvtt", "mov_text", "text"})


class SpeechSource(Protocol):
    """Somewhere that speech can be had in writing."""

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        """Whatever its tracks depend on; {} where it has none for this file."""
        ...

    def covers(self, path: Path, video: Video) -> bool:
        """Whether it has, by all appearance, a whole track in some language. Reads little."""
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

    def covers(self, path: Path, video: Video) -> bool:
        return any(_holds_cues(sidecar) for sidecar in sidecars(path) if not sidecar.forced)

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

    def covers(self, path: Path, video: Video) -> bool:
        return any(
            not is_forced(set(re.split(r"\W+", folded(stream.title or ""))))
            for stream in video.streams
            if stream.kind == "subtitle" and stream.codec in _TEXT_CODECS
        )

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


class SpeechChannel(FileChannel):
    """A FileChannel. sources: of subtitles, in order of trust. recognizer: for videos without;
    None leaves them out, with a note."""

    name = "speech"

    def __init__(
        self, sources: Sequence[SpeechSource] = SUBTITLES, recognizer: Recognition | None = None
    ):
        self._sources = tuple(sources)
        self._recognizer = recognizer

    @property
    def recognizer(self) -> Recognition | None:
        return self._recognizer

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        """The recogniser is in it only where no source covers the video, so that another model
        concerns no video that has subtitles. (Whether a subtitle stream has anything in it is not
        known before all of the file has been read. Where one turns out empty the sound is
        recognised, but another model will not do it anew.)"""
        described = {
            type(source).__name__: dict(source.describe(path, video)) for source in self._sources
        }
        description = {"revision": _REVISION, "sources": described}
        if self._recognizer is None or not self.listens(path, video):
            return description
        return description | {"recognition": self._recognizer.describe()}

    def listens(self, path: Path, video: Video) -> bool:
        return self._recognizer is not None and self._unwritten(path, video)

    def defers(self, path: Path, video: Video) -> bool:
        return self._recognizer is None and self._unwritten(path, video)

    def _unwritten(self, path: Path, video: Video) -> bool:
        if not _has_sound(video):
            return False
        return not any(source.covers(path, video) for source in self._sources)

    def run(
        self, path: Path, video: Video, generation: Generation, from_seconds: float
    ) -> Iterator[Batch]:
        """Batches of cues or sentences by start, from the watermark on; one, with a note, where the
        video has sound and nobody wrote down what is said.

        Raises ModelMissingError where the sound is to be recognised and the model is not here.
        """
        tracks, notes, damaged = self._choose(path, video)
        cues = heapq.merge(
            *([written_evidence(generation, cue, track) for cue in track.cues] for track in tracks),
            key=lambda evidence: (
                evidence.start_seconds,
                evidence.end_seconds,
                evidence.attributes["source"],
            ),
        )
        written = (evidence for evidence in cues if evidence.start_seconds >= from_seconds)
        whole = any(track.cues and not track.forced for track in tracks)
        if whole or not _has_sound(video) or self._recognizer is None:
            if not any(track.cues for track in tracks) and _has_sound(video):
                notes.append("no subtitles; speech recognition is not in this profile")
            yield from _read(written, video, from_seconds, tuple(notes), damaged)
        else:
            yield from self._listen(path, video, generation, from_seconds, written, notes, damaged)

    def _listen(
        self,
        path: Path,
        video: Video,
        generation: Generation,
        from_seconds: float,
        written: Iterator[Evidence],
        notes: list[str],
        damaged: bool,
    ) -> Iterator[Batch]:
        source = f"recognized by {self._recognizer.name}"
        cue = next(written, None)
        for heard in self._recognizer.run(path, from_seconds):
            evidence = [
                recognised_evidence(generation, sentence, source) for sentence in heard.sentences
            ]
            while cue is not None and cue.start_seconds < heard.watermark_seconds:
                evidence.append(cue)
                cue = next(written, None)
            evidence.sort(key=lambda e: (e.start_seconds, e.end_seconds))
            damaged = damaged or heard.damaged
            notes += heard.notes
            yield Batch(
                tuple(evidence),
                heard.watermark_seconds,
                heard.analysed_seconds,
                tuple(notes),
                damaged,
            )
            notes, from_seconds = [], heard.watermark_seconds
        # Subtitles, and the pictures, may go on after the sound.
        rest = [] if cue is None else [cue, *written]
        yield from _read(iter(rest), video, from_seconds, (), damaged)

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


def _read(
    written: Iterator[Evidence],
    video: Video,
    from_seconds: float,
    notes: tuple[str, ...],
    damaged: bool,
) -> Iterator[Batch]:
    """Batches of what is written, the last one up to the end of the video."""
    end_seconds = max(video.duration_seconds or 0.0, from_seconds)
    batch: list[Evidence] = []
    for evidence in written:
        full = len(batch) >= _BATCH_CUES
        if full and evidence.start_seconds > batch[-1].start_seconds:
            at_seconds = evidence.start_seconds
            yield Batch(tuple(batch), at_seconds, at_seconds, notes, damaged)
            batch, notes = [], ()
        batch.append(evidence)
        end_seconds = max(end_seconds, evidence.end_seconds)
    yield Batch(tuple(batch), end_seconds, end_seconds, notes, damaged)


def _has_sound(video: Video) -> bool:
    return any(stream.kind == "audio" for stream in video.streams)


def _passed_over(sources: Sequence[str]) -> str:
    return f"subtitles passed over for better ones in the same language: {', '.join(sources)}"


def written_evidence(generation: Generation, cue: Cue, track: Track) -> Evidence:
    """A cue of that track as evidence."""
    attributes: dict[str, Any] = {"language": track.language, "source": track.source}
    return _spoken(generation, cue, attributes)


def recognised_evidence(generation: Generation, sentence: Sentence, source: str) -> Evidence:
    """A sentence that was heard as evidence. source: by whom."""
    words = [
        [round(word.start_seconds, 3), round(word.end_seconds, 3), word.text.strip()]
        for word in sentence.words
    ]
    confidence = round(sentence.confidence, 4)
    attributes = {"language": sentence.language, "source": source}
    attributes |= {"words": words, "confidence": confidence}
    return _spoken(generation, sentence, attributes)


def _spoken(generation: Generation, said: Cue | Sentence, attributes: dict[str, Any]) -> Evidence:
    if said.speaker:
        attributes["speaker"] = said.speaker
    return evidence_of(
        generation,
        said.start_seconds,
        said.end_seconds,
        text=said.text,
        attributes=attributes,
        # Two languages may say "OK" at the same time.
        key=f"{attributes['language'] or ''}|{said.speaker or ''}|{said.text}",
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "unreadable"


def _holds_cues(sidecar: Sidecar) -> bool:
    try:
        text, _ = decode(sidecar.path.read_bytes(), sidecar.path, sidecar.language)
    except (OSError, SubtitleError):
        return False
    return "-->" in text or "Dialogue:" in text
