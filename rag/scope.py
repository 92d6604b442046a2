"""Where a search looks: the filters of a query and of its caller, in terms of a library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from index.errors import UsageError
from index.languages import TAGS
from index.library import Library
from index.schema import CHANNELS, Moment, Video, microseconds
from index.store import Condition, Filter, Match, Range
from rag.fuse import Dropped, Find
from rag.query import Bound, ParsedQuery

WORDLESS = frozenset(("shot", "frame", "sound", "fingerprint"))
"""Channels without passages."""

Window = tuple[float | None, float | None]
"""After, before; seconds on the video's clock, None where nothing binds."""

_ALWAYS: Window = (None, None)


@dataclass(frozen=True, slots=True)
class Scope:
    """channels: to look in; all where empty. languages: likewise, of what is said and written; what
    has no words has no language. conditions: what passages and evidence must hold, and what the
    vectors of passages must not (`but_not`: those of older libraries do not say their language).
    within: video id -> its window; `window` for the others. videos: the ids of those looked in;
    None is all.
    """

    channels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    within: Mapping[str, Window] = field(default_factory=dict)
    window: Window = _ALWAYS
    videos: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        query: ParsedQuery,
        library: Library,
        videos: Sequence[str] = (),
        channels: Sequence[str] = (),
    ) -> Scope:
        """videos, channels: what the caller looks in, in addition to what the query says: both
        hold. Raises UsageError and VideoNotFoundError."""
        for name in channels:
            if name not in CHANNELS:
                raise UsageError(f"No channel “{name}”. Known: {', '.join(CHANNELS)}.")
        looked_in = _both("channel", tuple(channels), query.channels)
        ids = _both("video", _ids(library, videos), _ids(library, query.videos))
        conditions: list[Condition] = []
        within: dict[str, Window] = {}
        dated = [bound for bound in (*query.after, *query.before) if bound.wall_seconds is not None]
        if dated:
            known = {id: library.video(id) for id in ids} if ids else None
            anchored = library.videos() if known is None else [v for v in known.values() if v]
            within = _windows(query, anchored, dated[0])
            ids = tuple(within)
            conditions.append(Match("video_id", ids))
            window = _hull(within.values())
        else:
            window = _window(query, None)
            if ids:
                conditions.append(Match("video_id", ids))
        if looked_in:
            conditions.append(Match("channel", looked_in))
        conditions += overlapping(window)
        named = ids if ids or dated else None
        return cls(looked_in, query.languages, tuple(conditions), within, window, named)

    def asks(self, channel: str) -> bool:
        """Whether the space of that channel ("text": passages) is looked in."""
        if channel == "text":
            return not self.channels or bool(set(self.channels) - WORDLESS)
        return not self.languages and (not self.channels or channel in self.channels)

    @property
    def passages(self) -> Filter:
        """What passages must hold."""
        languages = (Match("language", self.languages),) if self.languages else ()
        return Filter((*self.conditions, *languages))

    @property
    def vectors(self) -> Filter:
        """What the vectors of passages must hold."""
        if not self.languages:
            return Filter(self.conditions)
        others = tuple(sorted(TAGS - set(self.languages)))
        return Filter(self.conditions, (Match("language", others),))

    @property
    def evidence(self) -> Filter:
        """What evidence without words must hold."""
        return Filter(self.conditions)

    def among(self, channels: Sequence[str]) -> Scope | None:
        """The same in these of its channels (in all where empty); None where it has none."""
        if not channels:
            return self
        both = tuple(name for name in channels if not self.channels or name in self.channels)
        if not both:
            return None
        return replace(self, channels=both, conditions=(*self.conditions, Match("channel", both)))

    def only(self, videos: Sequence[str]) -> Scope:
        """The same in these videos alone."""
        conditions = (*self.conditions, Match("video_id", tuple(videos)))
        return replace(self, conditions=conditions, videos=tuple(videos))

    def looked_in(self, library: Library) -> list[Video]:
        """In the order in which they were named."""
        known = library.videos()
        if self.videos is None:
            return known
        by_id = {video.id: video for video in known}
        return [by_id[id] for id in self.videos if id in by_id]

    def clipped(self, moments: Iterable[Moment]) -> list[Moment]:
        """What of them lies in the time looked in."""
        kept = []
        for moment in moments:
            after, before = self.within.get(moment.video_id, self.window)
            start = moment.start_seconds if after is None else max(moment.start_seconds, after)
            end = moment.end_seconds if before is None else min(moment.end_seconds, before)
            if end > start:
                kept.append(replace(moment, start_seconds=start, end_seconds=end))
        return kept

    def keep(self, finds: Iterable[Find]) -> tuple[list[Find], list[Dropped]]:
        """Those that overlap the time looked in, and the others."""
        kept: list[Find] = []
        dropped: list[Dropped] = []
        for find in finds:
            after, before = self.within.get(find.video_id, self.window)
            inside = (after is None or find.end_seconds > after) and (
                before is None or find.start_seconds < before
            )
            if inside:
                kept.append(find)
            else:
                dropped.append(Dropped(find, "lies outside of the time asked for"))
        return kept, dropped


def _ids(library: Library, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(library.find(name).id for name in names))


def _both(name: str, given: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """What lies in both, of which an empty one stands for everything."""
    if not given or not asked:
        return given or asked
    both = tuple(one for one in given if one in asked)
    if not both:
        raise UsageError(
            f"--{name} and the {name}: of the query have nothing in common: leave one of them out."
        )
    return both


def _window(query: ParsedQuery, wall_clock_start: float | None) -> Window:
    def seconds(bound: Bound) -> float:
        if bound.video_seconds is not None:
            return bound.video_seconds
        return bound.wall_seconds - wall_clock_start

    after = max(map(seconds, query.after), default=None)
    before = min(map(seconds, query.before), default=None)
    if after is not None and before is not None and after >= before and wall_clock_start is None:
        raise UsageError(
            f"after:{query.after[0].written} before:{query.before[0].written} leaves no time to "
            "look in: exchange them."
        )
    return after, before


def _windows(query: ParsedQuery, videos: Iterable[Video], dated: Bound) -> dict[str, Window]:
    """Those of the videos that the bounds leave something of."""
    videos = [video for video in videos if video.wall_clock_start is not None]
    if not videos:
        raise UsageError(
            f"“{dated.written}” is a time by the calendar, and of no video here is it known when "
            "it was recorded. A time in the video is written after:12:30 or after:90s."
        )
    found: dict[str, Window] = {}
    for video in videos:
        after, before = _window(query, video.wall_clock_start)
        ends = video.duration_seconds
        if (
            (before is None or before > 0)
            and (after is None or ends is None or after < ends)
            and (after is None or before is None or after < before)
        ):
            found[video.id] = after, before
    return found


def _hull(windows: Iterable[Window]) -> Window:
    """The shortest window that covers them all."""
    windows = list(windows)
    afters = [after for after, _ in windows]
    befores = [before for _, before in windows]
    return (
        None if None in afters else min(afters, default=None),
        None if None in befores else max(befores, default=None),
    )


def overlapping(window: Window) -> list[Condition]:
    """What is there in some of it, however early it began: a slide stands for long, and what a
    still camera shows for hours."""
    after, before = window
    conditions: list[Condition] = []
    if before is not None:
        conditions.append(Range("start_us", lt=microseconds(before)))
    if after is not None:
        conditions.append(Range("end_seconds", gte=after))
    return conditions
