"""Transcripts as speech: a library out of timed sentences, without the videos they are from.

Everything but the reading of files is what `index` does: the speech channel takes the sentences as
one more source of subtitles, and passages, their term counts and their vectors are made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from index.errors import UsageError
from index.library import Library
from index.schema import Stream, Video, make_id
from index.store import Store
from index.text import detect_language
from ingest.channels.speech import SpeechChannel
from ingest.cues import Cue, count, plain, tidy
from ingest.identity import stat_of
from ingest.pipeline import Indexer
from ingest.plan import Channels, Task
from ingest.settings import IngestSettings
from ingest.subtitles import Track
from ingest.thumbnails import Thumbnails
from rag.evaluate.datasets import read_json_lines, seconds_of


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in one video. name: as the questions call it. language: BCP 47 primary tag;
    None where it could not be told."""

    name: str
    title: str
    duration_seconds: float
    cues: tuple[Cue, ...]
    language: str | None

    @property
    def video_id(self) -> str:
        return make_id("transcript", self.name)


def read_transcripts(path: Path) -> list[Transcript]:
    """JSON Lines of `{video_id, title, duration, sentences: [[start, end, text]]}`.

    Whatever else stands there (chapters, say, whose titles are the questions) is not read. Raises
    UsageError that names what is wrong.
    """
    found: dict[str, Transcript] = {}
    for number, record in enumerate(read_json_lines(path), 1):
        try:
            transcript = _transcript(record)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{path}, transcript {number}: {what}.") from error
        if transcript.name in found:
            raise UsageError(f"{path} holds two transcripts of “{transcript.name}”.")
        found[transcript.name] = transcript
    return list(found.values())


def _transcript(record: Mapping[str, Any]) -> Transcript:
    name = str(record["video_id"])
    spoken = [
        Cue(seconds_of(start), seconds_of(end), plain(str(text))[0])
        for start, end, text in record["sentences"]
    ]
    last = max((cue.end_seconds for cue in spoken), default=0.0)
    duration = seconds_of(record.get("duration") or last)
    if duration < 0:
        raise ValueError(f"a duration of {duration:g} s")
    cues, _ = tidy(spoken, duration)
    language = record.get("language") or detect_language("\n".join(cue.text for cue in cues))
    return Transcript(name, str(record.get("title") or name), duration, tuple(cues), language)


class _Written:
    """A `SpeechSource` that has every video's words already."""

    def __init__(self, transcripts: Sequence[Transcript]):
        self._by_video = {transcript.video_id: transcript for transcript in transcripts}

    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        transcript = self._by_video[video.id]
        encoded = msgspec.json.encode(transcript)
        return {"transcript": hashlib.blake2b(encoded, digest_size=16).hexdigest()}

    def covers(self, path: Path, video: Video) -> bool:
        return True

    def tracks(
        self, path: Path, video: Video, covered: frozenset[str | None]
    ) -> tuple[list[Track], list[str]]:
        transcript = self._by_video[video.id]
        return [Track(transcript.language, "transcript", transcript.cues)], []


class Unsynced:
    """A store for a library that is thrown away: nothing waits for the disk. (On a busy disk the
    waiting took three quarters of the indexing.)"""

    def __init__(self, store: Store):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def flush(self) -> None:
        pass


def index_transcripts(
    library: Library,
    path: Path,
    transcripts: Sequence[Transcript],
    channels: Channels,
    thumbnails: Thumbnails,
    *,
    done: Callable[[Transcript], None] = lambda transcript: None,
) -> None:
    """Makes the library hold these transcripts, read from `path`, and nothing else. What it holds
    already, made in the same way, costs next to nothing.

    channels: what `index` would run; of them those that work on speech are. done: told of each
    transcript when it is indexed.

    Raises UsageError where the library holds other videos, and what the channels raise.
    """
    wanted = {transcript.video_id for transcript in transcripts}
    others = [video for video in library.videos() if video.id not in wanted]
    if others:
        more = count(len(others), "other video")
        raise UsageError(
            f"The library holds {more} (“{others[0].title}”), which every search would see: name "
            "a new folder, or the one that these transcripts went to."
        )
    channels = replace(
        channels,
        files=(SpeechChannel((_Written(transcripts),)),),
        pictures=(),
        analysis=None,
        segments=None,
        derived=tuple(one for one in channels.derived if one.sources == ("speech",)),
    )
    indexer = Indexer(library, channels, IngestSettings(), thumbnails)
    file = stat_of(path)
    for transcript in transcripts:
        video = Video(
            transcript.video_id,
            transcript.title,
            duration_seconds=transcript.duration_seconds,
            streams=(Stream(0, "subtitle", "transcript", transcript.language),),
        )
        work = indexer.describe(Task(Path(file.path), (file,), video.id, video, "new"))
        indexer.index_text(work, _deaf)
        indexer.index_derived(work, _deaf, wait=True)
        done(transcript)


def _deaf(stage: str, seconds: float) -> None:
    pass
