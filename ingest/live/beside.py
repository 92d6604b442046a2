"""The threads beside the one that looks at a live source: one listens to what is said, one tidies
up behind epochs that have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from index.library import Library
from index.schema import Evidence, Video
from ingest.claims import Claim
from ingest.live.consolidation import Consolidation
from ingest.live.epoch_pass import LiveNews, recognition_of
from ingest.live.listening import Ear, Listening
from ingest.live.tidying import Tidying
from ingest.plan import Channels

_GRACE_SECONDS = 1.0
"""So long they are waited for where the user stops."""


class Beside:
    """news: called with what was said. remark: with what the user should know. Both in these
    threads. listens: whether anybody recognises what is said."""

    def __init__(
        self,
        library: Library,
        channels: Channels,
        consolidation: Consolidation,
        claim: Claim,
        news: Callable[[LiveNews], None],
        remark: Callable[[str], None],
    ):
        self._news = news
        self._tidying = Tidying(library, channels, consolidation, claim, remark)
        self.lock = self._tidying.lock
        recognition = recognition_of(channels)
        self._listening = recognition and Listening(
            library, recognition, self._heard, self._all_heard, remark
        )
        self.listens = recognition is not None

    def hear(self, ear: Ear | None) -> None:
        """An epoch begins; None where it has no sound to listen to."""
        if self._listening is not None and ear is not None:
            self._listening.put(ear)

    def tidy(self, video: Video, epoch: int) -> None:
        """An epoch has ended."""
        self._tidying.put(video, epoch)

    def finish(self, stop: threading.Event) -> None:
        """Waits until all is done; not for long where the user stops."""
        if self._listening is not None:
            self._listening.finish(stop, _GRACE_SECONDS)
        self._tidying.finish(stop, _GRACE_SECONDS)

    def give_up(self) -> None:
        """Nothing new is begun."""
        if self._listening is not None:
            self._listening.give_up()
        self._tidying.give_up()

    def _heard(self, ear: Ear, at_seconds: float, evidence: tuple[Evidence, ...]) -> None:
        self._news(LiveNews(ear.video, ear.epoch, at_seconds, evidence))

    def _all_heard(self, ear: Ear) -> None:
        self._tidying.put(ear.video, ear.epoch.number)
