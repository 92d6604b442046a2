"""What is done with an epoch that has ended, in a thread of its own, so that nobody waits for it:
still stretches are joined, and what is made of words (their vectors) is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from index.library import Library
from index.schema import Generation, Video
from ingest.claims import Claim
from ingest.live.backlog import Backlog
from ingest.live.consolidation import Consolidation
from ingest.plan import Channels
from ingest.writer import ChannelWriter

WORDED = "text:"
"""What the derived channels that work on words alone are called by."""


def is_derived(generation: Generation) -> bool:
    """Whether it is made here: then it is gone on with, as of a file."""
    return generation.channel.startswith(WORDED)


class Tidying:
    """lock: held while an epoch is worked on; retention takes it, too. failed: told what went
    wrong, in that thread; the next epoch is tried again."""

    def __init__(
        self,
        library: Library,
        channels: Channels,
        consolidation: Consolidation,
        claim: Claim,
        failed: Callable[[str], None],
    ):
        self._library = library
        self._channels = channels
        self._consolidation = consolidation
        self._claim = claim
        self.lock = threading.Lock()
        self._epochs: Backlog[tuple[Video, int]] = Backlog(
            "Tidying up an epoch", self._tidy, failed, goes_on=True
        )

    def put(self, video: Video, epoch: int) -> None:
        """An epoch that has ended. Several times where more of it is complete."""
        self._epochs.put((video, epoch))

    def finish(self, stop: threading.Event, grace_seconds: float) -> None:
        """As `Backlog.finish`. The next run goes on with the last epoch."""
        self._epochs.finish(stop, grace_seconds)

    def give_up(self) -> None:
        """Nothing new is begun."""
        self._epochs.give_up()

    def _tidy(self, item: tuple[Video, int]) -> None:
        video, epoch = item
        with self.lock:
            if not self._epochs.given_up and self._library.video(video.id) is not None:
                self._consolidation.run(video, epoch)
                self._derive(video, epoch)

    def _derive(self, video: Video, epoch: int) -> None:
        for channel in self._channels.derived:
            if not channel.name.startswith(WORDED):
                continue
            there = [g for g in self._library.generations(video.id, epoch) if g.state == "active"]
            fingerprint = self._channels.derived_fingerprints(there).get(channel.name)
            if fingerprint is None or not self._claim.take(channel.name):
                continue  # its source is not there, or not complete yet
            model = self._channels.models.get(channel.name)
            wanted = Generation(
                video.id, epoch, channel.name, fingerprint, detail={"model": model} if model else {}
            )
            generation = self._library.begin(wanted)
            if generation.complete:
                continue
            writer = ChannelWriter(self._library, generation)
            batches = channel.run(
                Path(), video, generation, generation.watermark_seconds, self._library
            )
            end = 0.0
            for batch in batches:
                if self._epochs.given_up:
                    return
                writer.add_points(list(batch.points))
                end = batch.analysed_seconds
                commit = writer.take(batch.watermark_seconds, end)
                self._library.commit_all([commit])
            self._library.finish([writer.take(end, end, last=True)])
