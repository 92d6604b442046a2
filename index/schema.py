"""The data model: what Longtake keeps, as frozen dataclasses.

Times are float seconds on the video's clock (its container's start is 0), spans are half-open
[start_seconds, end_seconds). Ids are UUIDv5, so that a resumed run writes the same ones.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from index.ids import make_id as make_id
from index.store import Vector

SCHEMA_VERSION = 2
"""The version of everything in this file as stored. Raise it with a migration in
index/migrations.py."""

CHANNELS = (
    "shot",
    "frame",
    "speech",
    "screen_text",
    "caption",
    "sound",
    "object",
    "fingerprint",
    "summary",
)
"""`shot` is what the pictures' cuts look like; the others are what searches find. `summary` is what
`longtake summarize` made of them."""

NEED_PICTURES = frozenset(("frame", "screen_text", "caption", "object", "fingerprint"))
"""Channels that a file without a video stream never has."""


def microseconds(seconds: float) -> int:
    """Seconds as the integer that ids and the time index use."""
    return round(seconds * 1_000_000)


def readable(text: str) -> str:
    """The text without what is valid in no encoding, as names of files and what is typed may hold
    (lone surrogates): no store takes it."""
    return text.encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a container. frame_rate is the average, in frames per second."""

    index: int
    kind: Literal["video", "audio", "subtitle"]
    codec: str
    language: str | None = None
    title: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    rotation: int = 0
    sample_rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    start_seconds: float
    end_seconds: float
    title: str


@dataclass(frozen=True, slots=True)
class FileStat:
    """How a file looked when it was last read: enough to know that it has not changed."""

    path: str
    size: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """One unbroken clock of a live source; between two lies what nobody saw.

    start_seconds, end_seconds: on the video's clock; end_seconds is None while it lasts.
    wall_clock_start: Unix time of its start. source_start_seconds: its start by the source's clock.
    began: why, in a few words. dropped: pictures that should have been looked at and were left out,
    because looking could not keep up. content: of a file that grows, what it is known again by.
    """

    number: int
    start_seconds: float
    wall_clock_start: float
    end_seconds: float | None = None
    source_start_seconds: float = 0.0
    began: str = ""
    dropped: int = 0
    content: str = ""


@dataclass(frozen=True, slots=True)
class Video:
    """One content: a file (or several with the same bytes) or a live source.

    id: from the content of a file (see ingest.identity), or from the name of a live source.
    files: every path with this content, as last seen; the video lives until the last goes.
    sidecars: subtitle files beside those paths that were read.
    duration_seconds: None while live.
    wall_clock_start: Unix time at 0 of the video's clock, of a live source.
    digest: of the whole content, where --verify has read it.
    notes: what went wrong or is worth knowing, in sentences for the user.
    source: of a live source, where it comes from, without passwords. epochs: its clocks, in order.
    kept_from_seconds: what began before it was let go, but for what is pinned.
    """

    id: str
    title: str
    files: tuple[FileStat, ...] = ()
    sidecars: tuple[FileStat, ...] = ()
    duration_seconds: float | None = None
    streams: tuple[Stream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    indexed_at: float | None = None
    wall_clock_start: float | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()
    source: str = ""
    epochs: tuple[Epoch, ...] = ()
    kept_from_seconds: float = 0.0

    def wall_clock(self, epoch: int, seconds: float) -> float | None:
        """Unix time of a time on the video's clock; None where it has no clock for it."""
        one = self.epoch_of(epoch)
        return None if one is None else one.wall_clock_start + (seconds - one.start_seconds)

    def epoch_of(self, number: int) -> Epoch | None:
        """The epoch of that number, or the one before that it has become part of (see
        ingest.live.epochs); None where there is neither."""
        at = bisect_right(self.epochs, number, key=lambda one: one.number)
        return self.epochs[at - 1] if at else None


@dataclass(frozen=True, slots=True)
class Generation:
    """What produced one channel's evidence of one video, and how far it has come.

    fingerprint: digest of model, settings, code constants and sidecar content.
    revision: raised by --force, so that the same fingerprint can be run anew beside the old one.
    state: "active" is what searchers see, exactly one per (video, epoch, channel); "building" is
        the next one while the active one still serves; "retired" waits for its deletion.
    watermark_seconds: evidence that starts before it is final; a resume deletes the rest.
    analysed_seconds: how far the material has been looked at; what coverage shows.
    complete: the channel has seen the whole video.
    detail: model names, source of subtitles and so on, for people; and the channel's own notes.
    """

    video_id: str
    epoch: int
    channel: str
    fingerprint: str
    revision: int = 0
    state: Literal["active", "building", "retired"] = "active"
    watermark_seconds: float = 0.0
    analysed_seconds: float = 0.0
    complete: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return make_id(
            "generation", self.video_id, self.epoch, self.channel, self.fingerprint, self.revision
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing perceived over one span by one channel.

    generation: the id of the Generation that made it.
    text: what was said or read; "" for a channel without words.
    attributes: JSON-like; `language` (BCP 47 primary tag), `confidence` (0..1), `boxes`
        (lists of x0, y0, x1, y1 in 0..1 of the upright picture's width and height), `words`
        ([start_seconds, end_seconds, text]), and what the channel's docstring names.
    vectors: by vector space, float32 of shape (size,).
    """

    video_id: str
    epoch: int
    channel: str
    generation: str
    start_seconds: float
    end_seconds: float
    text: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    key: str | None = None

    @property
    def id(self) -> str:
        """From what does not change while the span grows: its start and `key`, which is the first
        text or box where the text itself may still be bettered. None: the text."""
        digest = hashlib.blake2b(
            (self.text if self.key is None else self.key).encode(), digest_size=8
        ).hexdigest()
        return make_id(
            "evidence",
            self.video_id,
            self.epoch,
            self.channel,
            self.generation,
            microseconds(self.start_seconds),
            digest,
        )


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that text retrieval ranks: a window over one channel's evidence, in time order.

    evidence: ids of what it covers. analyzer: see index.text. scale: tells passages of several
        sizes apart; "" where a channel has but one.
    """

    video_id: str
    epoch: int
    channel: str
    generation: str
    start_seconds: float
    end_seconds: float
    text: str
    analyzer: str
    evidence: tuple[str, ...]
    language: str | None = None
    scale: str = ""

    @property
    def id(self) -> str:
        return make_id("passage", self.generation, self.scale, self.evidence[0])


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of meaning: one or more shots. A lens over evidence by time, so cutting anew never
    embeds anew. `generation`: of the shots it was cut from, or of the stitching."""

    video_id: str
    epoch: int
    generation: str
    start_seconds: float
    end_seconds: float
    title: str | None = None
    summary: str | None = None

    @property
    def id(self) -> str:
        return make_id(
            "segment", self.video_id, self.epoch, self.generation, microseconds(self.start_seconds)
        )


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space that some model fills.

    name: of the store's vector space. channel: "frame", "sound" or "text" (passages of any
    channel). model: as the settings call it. size: of a vector.
    """

    name: str
    channel: str
    model: str
    size: int


@dataclass(frozen=True, slots=True)
class ChannelHit:
    """What one channel contributed to a moment: its rank (from 1) and raw score there."""

    channel: str
    rank: int
    score: float
    start_seconds: float
    end_seconds: float
    text: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipPart:
    """The part [start_seconds, end_seconds) of a query clip that a moment shows.

    speed: seconds of the moment for each of the clip: above 1 where the clip runs faster. None
    where one picture stays, which has none. mirrored: left to right.
    """

    start_seconds: float
    end_seconds: float
    speed: float | None = None
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A result: a span of a video, why, and what covers that video so far.

    text: what tells most in it, said or shown from text_start_seconds to text_end_seconds.
    highlights: half-open character ranges of `text` that matched.
    coverage: channel -> share of the video analysed so far, 0..1.
    clip: where a clip was searched for, what the moment shows of it.
    wall_clock_start: of a live source, the Unix time of start_seconds.
    """

    video_id: str
    epoch: int
    title: str
    path: str | None
    start_seconds: float
    end_seconds: float
    score: float
    channel: str
    text: str = ""
    text_start_seconds: float = 0.0
    text_end_seconds: float = 0.0
    highlights: tuple[tuple[int, int], ...] = ()
    hits: tuple[ChannelHit, ...] = ()
    coverage: Mapping[str, float] = field(default_factory=dict)
    clip: ClipPart | None = None
    wall_clock_start: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered source of an answer, from 1."""

    number: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class Sources:
    """First event of an answer: what it may cite.

    again: "" on the first. Another one means that the answer begins anew, and why: what came before
    it counts no more. Its sources are all that there have been, with the numbers that they had.
    """

    sources: tuple[Source, ...]
    again: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer's text, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """The text so far leans on this source."""

    source: Source


@dataclass(frozen=True, slots=True)
class Checked:
    """A sentence of the answer, which ends here, has been held against the words that it cites.

    verdict: "supported" or "unsupported" by them; "unchecked" where it cites pictures alone, or
    words that it cannot be compared with; "uncited" where it cites nothing. score: 0..1, where
    there is one. reason: what tells against it, in words.
    """

    sentence: str
    verdict: Literal["supported", "unsupported", "unchecked", "uncited"]
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Last event. found is False when the library holds no answer."""

    found: bool
    detail: Mapping[str, Any] = field(default_factory=dict)


AnswerEvent = Sources | Token | Citation | Checked | Done
