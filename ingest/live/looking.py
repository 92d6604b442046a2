"""Channels that take long over a picture look at a stream in threads of their own, so that nobody
waits for them. Each has an intake of its own, whose pictures are dropped, and counted, where it
cannot keep up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from index.library import Library
from index.schema import Epoch, Evidence, Generation, Video
from ingest.channel import PictureChannel, PictureRun, Sample
from ingest.live.backlog import Backlog
from ingest.live.intake import Intake
from ingest.live.settings import LiveSettings
from ingest.live.stopping import Stop
from ingest.live.writer import LiveWriter, commit_live, is_gone, settle_failed

_IDLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Look:
    """An epoch to look at. generation: of what is seen."""

    video: Video
    epoch: Epoch
    generation: Generation


@dataclass(frozen=True, slots=True)
class _End:
    end_seconds: float


class Looking:
    """Drives one picture channel over the epochs of a source.

    waits: whether the source waits where there is no room for a picture. told: called with what was
    found, behind each commit; done: with an epoch of which all was seen; failed: with what went
    wrong; the next epoch is looked at all the same. All in the thread that looks.
    """

    def __init__(
        self,
        library: Library,
        channel: PictureChannel,
        settings: LiveSettings,
        told: Callable[[Look, float, tuple[Evidence, ...]], None],
        done: Callable[[Look], None],
        failed: Callable[[str], None],
        *,
        waits: bool,
    ):
        self._library = library
        self._channel = channel
        self._settings = settings
        self._told = told
        self._done = done
        self._no_more = threading.Event()
        self._intake = Intake(settings, waits=waits, stop=self._no_more)  # of all epochs, in order
        self._dropped_before = 0
        self._looks: Backlog[Look] = Backlog("Looking", self._look, failed)

    @property
    def dropped(self) -> int:
        """Pictures that were not looked at, of all epochs."""
        return self._intake.dropped

    def begin(self, look: Look) -> None:
        """An epoch begins; the one before has ended."""
        self._looks.put(look)

    def see(self, sample: Sample) -> None:
        if not self._no_more.is_set():
            self._intake.put(sample)

    def end(self, end_seconds: float) -> None:
        """The epoch ends there."""
        self._intake.put(_End(end_seconds))

    def finish(self, stop: Stop, grace_seconds: float) -> None:
        """As `Backlog.finish`, when the last epoch has ended. What was not looked at then is
        missing, and the next run closes what there is."""
        self._looks.finish(stop, grace_seconds)
        self._no_more.set()

    def give_up(self) -> None:
        """Nothing more is written, but what is being written."""
        self._no_more.set()
        self._looks.give_up()

    def _look(self, look: Look) -> None:
        try:
            if self._look_at(look):
                return
        except Exception as error:
            self._looks.complain(error)
            settle_failed(self._library, look.generation)  # nobody must wait for more of it
        # What is left of the epoch must not wait: there may be no room, and the next one comes.
        while not self._looks.given_up and not isinstance(self._intake.get(_IDLE_SECONDS), _End):
            pass

    def _look_at(self, look: Look) -> bool:
        """Returns whether it has come to the epoch's end."""
        start = look.generation.watermark_seconds
        writer = LiveWriter(self._library, look.generation)
        with closing(self._channel.open(look.video, look.generation, start)) as run:
            at, committed_at = start, time.monotonic()
            while not self._looks.given_up:
                came = self._intake.get(_IDLE_SECONDS)
                if isinstance(came, _End):
                    self._finish(look, writer, run, max(came.end_seconds, at))
                    return True
                if came is not None:
                    at = came.time_seconds
                    writer.add(run.push(came))
                if time.monotonic() - committed_at >= self._settings.commit_seconds:
                    if is_gone(self._library, look.generation):
                        return False
                    self._commit(look, writer, run, at)
                    committed_at = time.monotonic()
        return False

    def _commit(self, look: Look, writer: LiveWriter, run: PictureRun, at: float) -> None:
        commit = writer.take_live(run.watermark_seconds, at, run.still_open(at))
        if not commit.empty:
            commit_live(self._library, [commit])
            self._told(look, at, commit.evidence)

    def _finish(self, look: Look, writer: LiveWriter, run: PictureRun, end: float) -> None:
        writer.add(run.finish(end))
        dropped, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        if dropped:
            writer.note([f"{dropped} pictures were left out: it could not keep up"])
        if is_gone(self._library, look.generation):
            return
        commit = writer.take_live(end, end, last=True)
        commit_live(self._library, [commit], last=True)
        self._told(look, end, commit.evidence)
        self._done(look)
