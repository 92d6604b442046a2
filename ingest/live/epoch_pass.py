"""One epoch of a live source on its way into the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from index.errors import LeaseLostError
from index.library import Library
from index.schema import Epoch, Evidence, Generation, Video
from ingest.claims import Claim
from ingest.live.listening import Ear, listeners_of
from ingest.live.looking import Look
from ingest.live.sound import EpochSound
from ingest.live.told import mark_told
from ingest.live.words import CODE, LiveWords
from ingest.live.writer import LiveCommit, LiveWriter, commit_live
from ingest.media import SubtitlePacket
from ingest.perception import Perception
from ingest.picture_events import Event, Progress, ShotEnded
from ingest.plan import Channels, digest
from ingest.settings import IngestSettings
from ingest.thumbnails import Thumbnails
from ingest.work import Spent


@dataclass(frozen=True, slots=True)
class LiveNews:
    """What one commit has made findable of a live source.

    epoch: with the time of day of its start. at_seconds: how far the pictures have been looked at,
    on the video's clock. evidence: new, or changed since the last commit: one
    that is still open has `provisional` among its attributes, and comes again, with the same id,
    when its words change, when it has lasted some seconds longer, and when it is final. again: an
    earlier run found it, and may have told of it.
    """

    video: Video
    epoch: Epoch
    at_seconds: float
    evidence: tuple[Evidence, ...]
    again: bool = False


NO_SUBTITLES = "no subtitles; speech recognition is not in this profile"

LiveListener = Callable[[LiveNews], None]
"""Called behind each commit that has anything new, in the thread that looks at the source: what
takes long belongs elsewhere."""


class EpochPass:
    """Takes picture events and subtitles of one epoch, in order, and commits what they give.

    Raises LeaseLostError where another process has a channel of it in hand, ModelMissingError, and
    the store's errors.
    """

    def __init__(
        self,
        library: Library,
        channels: Channels,
        settings: IngestSettings,
        thumbnails: Thumbnails,
        video: Video,
        epoch: Epoch,
        claim: Claim,
        sounds: Mapping[str, EpochSound] | None = None,
    ):
        """sounds: of the epoch, by the channel that hears it; `ears` is what it takes to listen to
        them, then. `looks` is the same for the channels that look in threads of their own."""
        self._library = library
        self._claim = claim
        self.video = video
        self.epoch = epoch
        self._shot_start_seconds = epoch.start_seconds
        self._has_pictures = any(stream.kind == "video" for stream in video.streams)
        pending = {
            name: self._begin(name, fingerprint, channels.models.get(name))
            for name, fingerprint in channels.live_fingerprints().items()
            if self._has_pictures or name == "shot"  # what segments belong to
        }
        self.looks = {
            channel.name: Look(video, epoch, pending.pop(channel.name))
            for channel in channels.pictures
            if channel.slow and channel.name in pending
        }
        self._found = Perception(
            library,
            video,
            pending,
            channels.pictures,
            settings,
            thumbnails,
            spent=Spent(),
            write=LiveWriter,
        )
        self._found.at_seconds = epoch.start_seconds
        self._words: tuple[LiveWords, LiveWriter] | None = None
        self.ears: dict[str, Ear] = {}
        listeners = listeners_of(channels)
        for name, sound in (sounds or {}).items():
            fingerprint = digest(listeners[name].describe(video))
            generation = self._begin(name, fingerprint, channels.models.get(name))
            self.ears[name] = Ear(video, epoch, generation, sound)
        if "speech" not in self.ears and any(
            channel.name == "speech" for channel in channels.files
        ):
            generation = self._begin("speech", digest({"live": "subtitles", "code": CODE}), None)
            writer = LiveWriter(library, generation)
            kinds = {stream.kind for stream in video.streams}
            if "audio" in kinds and "subtitle" not in kinds:
                writer.note([NO_SUBTITLES])
            self._words = LiveWords(generation), writer
        library.store.flush()

    def _begin(self, channel: str, fingerprint: str, model: str | None) -> Generation:
        if not self._claim.take(channel):
            raise LeaseLostError(f"{self.video.title}: another machine is working on {channel}.")
        return self._library.begin(
            Generation(
                self.video.id,
                self.epoch.number,
                channel,
                fingerprint,
                watermark_seconds=self.epoch.start_seconds,
                analysed_seconds=self.epoch.start_seconds,
                detail={"model": model} if model else {},
            )
        )

    @property
    def at_seconds(self) -> float:
        """How far the pictures have been looked at."""
        return self._found.at_seconds

    def take(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._shot_start_seconds = event.shot_start_seconds
        elif isinstance(event, ShotEnded):
            self._shot_start_seconds = event.end_seconds
        self._found.take(event)

    def say(self, packet: SubtitlePacket) -> None:
        if self._words is not None:
            words, writer = self._words
            writer.add(words.push(packet))

    @property
    def waiting(self) -> int:
        """Pieces of evidence that have ended and are not committed as final."""
        return sum(len(writer.waiting) for writer in self._writers())

    def _writers(self) -> list[LiveWriter]:
        words = [] if self._words is None else [self._words[1]]
        return [*self._found.writers, *words]

    def commit(self, *, even_if_empty: bool = False) -> LiveNews | None:
        """Writes what there is. Returns None where that is nothing, and then writes only, where
        asked for, how far it has come."""
        at = self.at_seconds
        commits = [
            writer.take_live(run.watermark_seconds, at, run.still_open(at))
            for run, writer in self._found.runs
        ]
        if self._found.shots is not None:
            commits.append(self._found.shots.take_live(self._found.segments_open_seconds, at))
        if self._words is not None:
            words, writer = self._words
            commits.append(writer.take_live(words.watermark(at), at))
        if all(one.empty for one in commits) and not even_if_empty:
            return None
        commit_live(self._library, commits)
        return self._news(commits)

    def finish(self, end_seconds: float) -> LiveNews | None:
        """The epoch ends there: all that is open becomes final."""
        end = max(end_seconds, self.at_seconds)
        if self._has_pictures and self._shot_start_seconds < end:
            self._found.take(ShotEnded(self._shot_start_seconds, end))
        self._found.finish(end)
        commits = [writer.take_live(end, end, last=True) for writer in self._writers()]
        commit_live(self._library, commits, last=True)
        return self._news(commits)

    def told(self) -> None:
        """Those who listen were told of all of it."""
        for writer in self._writers():
            mark_told(self._library, writer.generation.id)

    def close(self) -> None:
        self._found.close()

    def _news(self, commits: list[LiveCommit]) -> LiveNews | None:
        evidence = tuple(one for commit in commits for one in commit.evidence)
        if not evidence:
            return None
        return LiveNews(self.video, self.epoch, self.at_seconds, evidence)
