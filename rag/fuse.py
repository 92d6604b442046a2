"""What the channels found, brought together on the time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from index.schema import ChannelHit, Moment
from index.text import analyzer
from rag.settings import RetrieveSettings
from rag.wording import ranges

ABOUT = ("summary",)
"""Channels that say what a chapter or a whole video is about, not when: in a result with others
they add their agreement, neither their span nor their words."""

MOST_OVERLAP = 0.3
"""Of the shorter of two results of one video."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the query as an analyzer sees it: in `passages` of that analyzer's `of`.

    id: its term id in the space `words`.
    """

    id: int
    word: str
    analyzer: str
    idf: float
    passages: int
    of: int


@dataclass(frozen=True, slots=True)
class Find:
    """One stretch that one channel found.

    raw: the channel's own score (BM25, a cosine, or a distance in bits). score: calibrated, 0..1.
    rank: from 1 within the channel. share: of the query that it holds, 0..1: of the weight of its
    words, or as much as its meaning scores. terms: the words of the query that it holds, all of one
    analyzer. cosine: between its vector and the query's, in the space of `model`; None where none
    were compared. phrases: those of the query that it holds as they are written.
    text_start_seconds, text_end_seconds, text_evidence: when `text` is said, and in what evidence,
    where that is less than all of it.
    whole: where it begins and ends was looked for, so it is joined with no other of its kind.
    nearest: the score of what lies nearest in the whole search, 0..1 (`rag.presence`); None where
    that was not asked.
    """

    video_id: str
    epoch: int
    channel: str
    start_seconds: float
    end_seconds: float
    raw: float
    score: float
    text: str
    evidence: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    share: float = 1.0
    rank: int = 0
    cosine: float | None = None
    model: str = ""
    phrases: tuple[str, ...] = ()
    text_evidence: tuple[str, ...] = ()
    text_start_seconds: float | None = None
    text_end_seconds: float | None = None
    whole: bool = False
    nearest: float | None = None

    @property
    def text_span(self) -> tuple[float, float]:
        """When `text` is said or shown."""
        if self.text_start_seconds is None or self.text_end_seconds is None:
            return self.start_seconds, self.end_seconds
        return self.text_start_seconds, self.text_end_seconds

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds

    def highlights(self) -> tuple[tuple[int, int], ...]:
        """Half-open character ranges of `text` that match, in order, none within another."""
        found = [place for phrase in self.phrases for place in ranges(phrase, self.text)]
        if self.terms:
            model = analyzer(self.terms[0].analyzer)
            words = model.highlight(self.text, [term.id for term in self.terms])
            found += [(a, b) for a, b in words if not any(c < b and a < d for c, d in found)]
        return tuple(sorted(found))

    def reason(self) -> str:
        """Why it was found, in the channel's own measures."""
        reasons = [f"holds “{phrase}”" for phrase in self.phrases]
        if self.terms:
            words = ", ".join(f"{term.word} ({term.idf:.2f})" for term in self.terms)
            reasons.append(f"BM25 {self.raw:.2f}: {words}")
        if self.cosine is not None:
            reasons.append(f"cosine {self.cosine:.3f} ({self.model})")
        if self.channel == "fingerprint":
            reasons.append(f"{self.raw:.0f} of 256 bits differ")
        return "; ".join(reasons)

    def hit(self) -> ChannelHit:
        return ChannelHit(
            self.channel,
            self.rank,
            self.raw,
            *self.text_span,
            self.text,
            self.evidence,
        )


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was found and is no result of its own, and why."""

    find: Find
    reason: str


@dataclass
class Fused:
    """Finds of one video that belong together; the first is the best.

    finds: the best of each channel, best first. merged: what else went into it. judged: the score
    that a reranker gave it, 0..1; None where none was asked. judges: what each said.
    """

    start_seconds: float
    end_seconds: float
    finds: list[Find]
    merged: list[Dropped] = field(default_factory=list)
    judged: float | None = None
    judges: list[str] = field(default_factory=list)

    @property
    def best(self) -> Find:
        return self.finds[0]

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds

    @property
    def channel(self) -> str:
        """The best one's, of those that perceived it: a title or a summary only tells of it."""
        return next((f.channel for f in self.finds if f.channel not in ABOUT), self.best.channel)

    @property
    def worded(self) -> Find:
        """The one whose text is shown. A picture has no words of its own: what was said or read
        over it tells more."""
        finds = [find for find in self.finds if find.channel not in ABOUT] or self.finds
        return next(
            (find for find in finds if find.phrases or find.terms),
            next((find for find in finds if find.text), finds[0]),
        )

    @property
    def score(self) -> float:
        """That of the reranker, or else of `agreement`."""
        return self.agreement if self.judged is None else self.judged

    @property
    def agreement(self) -> float:
        """Channels that agree add up as independent evidence does: 1 - (1-a)(1-b)..."""
        doubt = 1.0
        for find in self.finds:
            doubt *= 1.0 - min(max(find.score, 0.0), 1.0)
        return 1.0 - doubt

    def add(self, find: Find) -> None:
        if any(find.channel == own.channel for own in self.finds):
            self.merged.append(Dropped(find, f"joined a better one in {find.channel}"))
        else:
            self.finds.append(find)


def only_about(moment: Moment) -> bool:
    """Whether nothing but a title or a summary speaks for it: no evidence, but told of some."""
    return bool(moment.hits) and all(hit.channel in ABOUT for hit in moment.hits)


def telling(finds: Iterable[Find], floor: float) -> tuple[list[Find], list[Dropped]]:
    """The finds, and apart from them titles and summaries that hold less of the query than
    `floor`."""
    kept: list[Find] = []
    dropped: list[Dropped] = []
    for find in finds:
        if find.channel in ABOUT and find.share < floor:
            reason = f"a summary that holds {find.share:.0%} of the query (floor {floor:.0%})"
            dropped.append(Dropped(find, reason))
        else:
            kept.append(find)
    return kept, dropped


def rank(finds: Iterable[Find]) -> list[Find]:
    """The finds, best first, with their ranks within each channel."""
    ordered = sorted(
        finds, key=lambda f: (-f.score, f.video_id, f.epoch, f.start_seconds, f.channel)
    )
    counts: dict[str, int] = {}
    ranked = []
    for find in ordered:
        counts[find.channel] = counts.get(find.channel, 0) + 1
        ranked.append(replace(find, rank=counts[find.channel]))
    return ranked


def fuse(finds: Sequence[Find], settings: RetrieveSettings) -> tuple[list[Fused], list[Dropped]]:
    """Groups ranked finds of one video that overlap or nearly touch; best groups first.

    A group starts at its best find and grows to at most `longest_moment_seconds`. What overlaps
    it and would make it longer adds its agreement, not its span: a slide that stands for ten
    minutes says less about when than the sentence spoken over it.
    """
    groups: dict[tuple[str, int], list[Fused]] = {}
    for find in finds:
        of_video = groups.setdefault((find.video_id, find.epoch), [])
        if not any(_joins(group, find, settings) for group in of_video):
            of_video.append(Fused(find.start_seconds, find.end_seconds, [find]))

    ordered = sorted(
        (group for of_video in groups.values() for group in of_video),
        key=lambda g: (-g.score, g.best.video_id, g.start_seconds),
    )
    kept: list[Fused] = []
    kept_of: dict[tuple[str, int], list[Fused]] = {}
    dropped: list[Dropped] = []
    for group in ordered:
        of_video = kept_of.setdefault((group.best.video_id, group.best.epoch), [])
        better = next((other for other in of_video if _covered(group, other)), None)
        if better is None:
            kept.append(group)
            of_video.append(group)
        else:  # groups that grew into each other
            better.merged.extend(Dropped(f, "overlaps a better result") for f in group.finds)
    return kept, dropped


def _joins(group: Fused, find: Find, settings: RetrieveSettings) -> bool:
    """Adds the find to the group if it belongs there."""
    gap = max(find.start_seconds - group.end_seconds, group.start_seconds - find.end_seconds)
    if gap > settings.merge_gap_seconds:
        return False
    if find.whole and any(other.whole for other in group.finds):
        return False
    about = all(other.channel in ABOUT for other in group.finds)
    if about != (find.channel in ABOUT):
        if gap >= 0:
            return False
        if about:
            group.start_seconds, group.end_seconds = find.start_seconds, find.end_seconds
        group.add(find)
        return True
    start = min(find.start_seconds, group.start_seconds)
    end = max(find.end_seconds, group.end_seconds)
    longest = settings.longest_moment_seconds
    if end - start <= longest:
        group.start_seconds, group.end_seconds = start, end
    elif gap >= 0:
        return False
    elif find.end_seconds - find.start_seconds <= longest < group.seconds:
        group.start_seconds, group.end_seconds = find.start_seconds, find.end_seconds
    group.add(find)
    return True


def _covered(group: Fused, better: Fused) -> bool:
    """Much of the shorter lies in the other, of the same video."""
    overlap = min(group.end_seconds, better.end_seconds) - max(
        group.start_seconds, better.start_seconds
    )
    return overlap > 0 and overlap > MOST_OVERLAP * min(group.seconds, better.seconds)
