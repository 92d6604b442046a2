"""Speech of a live source: one thread listens to its epochs, one after the other, behind the
pictures, and commits what was said by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from index.library import Library
from index.schema import Epoch, Evidence, Generation, Video
from ingest.channels.speech import recognised_evidence
from ingest.live.backlog import Backlog
from ingest.live.sound import EpochSound
from ingest.live.writer import LiveWriter, commit_live
from ingest.recognition import Recognition
from ingest.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Ear:
    """An epoch to listen to. generation: of its speech."""

    video: Video
    epoch: Epoch
    generation: Generation
    sound: EpochSound


class Listening:
    """told: called with what was found, behind each commit. done: with an epoch of which all was
    heard. failed: with what went wrong; nothing more is heard then. All in the thread that listens.
    """

    def __init__(
        self,
        library: Library,
        recognition: Recognition,
        told: Callable[[Ear, float, tuple[Evidence, ...]], None],
        done: Callable[[Ear], None],
        failed: Callable[[str], None],
    ):
        self._library = library
        self._recognition = recognition
        self._told = told
        self._done = done
        self._ears: Backlog[Ear] = Backlog("Listening", self._listen, failed, goes_on=False)

    def put(self, ear: Ear) -> None:
        """The next epoch, as it begins."""
        self._ears.put(ear)

    def finish(self, stop: threading.Event, grace_seconds: float) -> None:
        """As `Backlog.finish`, when all that was put has ended. What was not heard then is missing,
        and the next run closes what there is."""
        self._ears.finish(stop, grace_seconds)

    def give_up(self) -> None:
        """Nothing more is written, but what is being written."""
        self._ears.give_up()

    def _listen(self, ear: Ear) -> None:
        start = ear.epoch.start_seconds
        writer = LiveWriter(self._library, ear.generation)
        end = start
        for heard in self._recognition.listen(iter(ear.sound)):
            if self._ears.given_up or self._library.video(ear.video.id) is None:
                ear.sound.end()
                return
            end = start + heard.analysed_seconds
            writer.add([self._evidence(ear, sentence) for sentence in heard.sentences])
            writer.note(heard.notes)
            self._commit(ear, writer, start + heard.watermark_seconds, end)
        if not self._ears.given_up:
            self._commit(ear, writer, end, end, last=True)
            self._done(ear)

    def _commit(
        self, ear: Ear, writer: LiveWriter, watermark: float, at: float, *, last: bool = False
    ) -> None:
        commit = writer.take_live(watermark, at, last=last)
        commit_live(self._library, [commit], last=last)
        if commit.evidence:
            self._told(ear, at, commit.evidence)

    def _evidence(self, ear: Ear, sentence: Sentence) -> Evidence:
        return recognised_evidence(
            ear.generation,
            shifted(sentence, ear.epoch.start_seconds),
            f"recognized by {self._recognition.name}",
        )


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
