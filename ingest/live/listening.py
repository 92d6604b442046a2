"""What is heard of a live source: one thread listens to its epochs, one after the other, behind the
pictures, and commits what it heard by itself. Speech and other sounds have a thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from index.library import Library
from index.schema import Epoch, Evidence, Generation, Video
from ingest.channels.sound import SoundChannel
from ingest.channels.speech import SpeechChannel, recognised_evidence
from ingest.live.backlog import Backlog
from ingest.live.sound import SPEECH_RATE, EpochSound
from ingest.live.stopping import Stop
from ingest.live.words import CODE
from ingest.live.writer import LiveWriter, commit_live, is_gone, settle_failed
from ingest.plan import Channels
from ingest.recognition import Recognition
from ingest.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Ear:
    """An epoch to listen to. generation: of what is heard."""

    video: Video
    epoch: Epoch
    generation: Generation
    sound: EpochSound


@dataclass(frozen=True, slots=True)
class Heard:
    """Times are of the video's clock; the fields as in ingest.channel.Batch. open: what is still
    being heard, as if it ended there."""

    evidence: tuple[Evidence, ...]
    watermark_seconds: float
    analysed_seconds: float
    open: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()


class Listener(Protocol):
    """rate: samples a second of the sound that it is given."""

    channel: str
    rate: int

    def describe(self, video: Video) -> dict[str, Any]:
        """As in ingest.channel.FileChannel."""
        ...

    def listen(self, ear: Ear) -> Iterator[Heard]:
        """What is heard in an epoch, as it comes."""
        ...


class SpeechListener:
    """Recognises what is said."""

    channel = "speech"
    rate = SPEECH_RATE

    def __init__(self, recognition: Recognition):
        self._recognition = recognition

    def describe(self, video: Video) -> dict[str, Any]:
        return {"live": "speech", "recognition": self._recognition.describe(), "code": CODE}

    def listen(self, ear: Ear) -> Iterator[Heard]:
        start = ear.epoch.start_seconds
        by = f"recognized by {self._recognition.name}"
        for heard in self._recognition.listen(iter(ear.sound)):
            sentences = (shifted(sentence, start) for sentence in heard.sentences)
            yield Heard(
                tuple(recognised_evidence(ear.generation, one, by) for one in sentences),
                start + heard.watermark_seconds,
                start + heard.analysed_seconds,
                notes=heard.notes,
            )


class SoundListener:
    """Finds what sounds mean."""

    channel = SoundChannel.name

    def __init__(self, sounds: SoundChannel):
        self._sounds = sounds
        self.rate = sounds.sample_rate

    def describe(self, video: Video) -> dict[str, Any]:
        return {"live": "sound", "channel": self._sounds.describe(Path(), video)}

    def listen(self, ear: Ear) -> Iterator[Heard]:
        start = ear.epoch.start_seconds
        for batch, still_open in self._sounds.listen(iter(ear.sound), ear.generation, start):
            yield Heard(
                batch.evidence, batch.watermark_seconds, batch.analysed_seconds, tuple(still_open)
            )


def listeners_of(channels: Channels) -> dict[str, Listener]:
    """channel -> who listens for it, of those of a run that listen."""
    found: dict[str, Listener] = {}
    for channel in channels.files:
        if isinstance(channel, SpeechChannel) and channel.recognizer is not None:
            found[channel.name] = SpeechListener(channel.recognizer)
        elif isinstance(channel, SoundChannel):
            found[channel.name] = SoundListener(channel)
    return found


class Listening:
    """told: called with what was found, behind each commit. done: with an epoch of which all was
    heard. failed: with what went wrong; the next epoch is listened to all the same. All in the
    thread that listens.
    """

    def __init__(
        self,
        library: Library,
        listener: Listener,
        told: Callable[[Ear, float, tuple[Evidence, ...]], None],
        done: Callable[[Ear], None],
        failed: Callable[[str], None],
    ):
        self._library = library
        self._listener = listener
        self._told = told
        self._done = done
        self._ears: Backlog[Ear] = Backlog("Listening", self._listen, failed)

    def put(self, ear: Ear) -> None:
        """The next epoch, as it begins."""
        self._ears.put(ear)

    def finish(self, stop: Stop, grace_seconds: float) -> None:
        """As `Backlog.finish`, when all that was put has ended. What was not heard then is missing,
        and the next run closes what there is."""
        self._ears.finish(stop, grace_seconds)

    def give_up(self) -> None:
        """Nothing more is written, but what is being written."""
        self._ears.give_up()

    def _listen(self, ear: Ear) -> None:
        with closing(ear.sound):  # whoever fails leaves no file that grows
            try:
                if not self._ears.given_up:
                    self._hear(ear)
            except Exception as error:
                self._ears.complain(error)
                settle_failed(self._library, ear.generation)  # nobody must wait for more of it

    def _hear(self, ear: Ear) -> None:
        writer = LiveWriter(self._library, ear.generation)
        end = ear.epoch.start_seconds
        for heard in self._listener.listen(ear):
            if self._ears.given_up or is_gone(self._library, ear.generation):
                return
            end = heard.analysed_seconds
            writer.add(list(heard.evidence))
            writer.note(heard.notes)
            self._commit(ear, writer, heard)
        if not self._ears.given_up and not is_gone(self._library, ear.generation):
            self._commit(ear, writer, Heard((), end, end), last=True)
            self._done(ear)

    def _commit(self, ear: Ear, writer: LiveWriter, heard: Heard, *, last: bool = False) -> None:
        at = heard.analysed_seconds
        commit = writer.take_live(heard.watermark_seconds, at, heard.open, last=last)
        commit_live(self._library, [commit], last=last)
        if commit.evidence:
            self._told(ear, at, commit.evidence)


def shifted(sentence: Sentence, seconds: float) -> Sentence:
    """The same, so much later."""
    words = tuple(
        replace(
            word,
            start_seconds=word.start_seconds + seconds,
            end_seconds=word.end_seconds + seconds,
        )
        for word in sentence.words
    )
    return replace(sentence, words=words)
