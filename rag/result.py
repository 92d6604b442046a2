"""What a search returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from index.library import Library
from index.schema import Generation, Moment, Video
from rag.footage import FootageFind
from rag.fuse import Dropped, Find, Fused, Term


@dataclass(frozen=True, slots=True)
class RelevanceCurve:
    """How relevant the equal parts of [start_seconds, end_seconds) are, 0..1 each, by all of the
    channels together."""

    start_seconds: float
    end_seconds: float
    values: tuple[float, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a moment is a result: what each channel found, best first, and what was merged; in which
    order it stands to what else was asked for; what rerankers made of it; and, where words were
    asked for, the curve around it."""

    finds: tuple[Find, ...]
    merged: tuple[Dropped, ...]
    order: str = ""
    judged: str = ""
    curve: RelevanceCurve | None = None

    @classmethod
    def of(cls, group: Fused) -> Explanation:
        judged = ", then ".join(group.judges)
        if judged:
            judged = f"{judged}; before {group.agreement:.3f}"
        return cls(tuple(group.finds), tuple(group.merged), judged=judged)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """moments: best first. explanations: one for each of them, where asked for.

    dropped: what was found and did not become a result (where asked for). more: results beyond
    the limit. terms: the query's words and their weights. notes: sentences for the user.
    shares: of the query's weight that the words hold, one for each moment. things: that the query
    names, as a planner sees it; None where no planner has said.
    """

    moments: tuple[Moment, ...]
    explanations: tuple[Explanation, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    more: int = 0
    terms: tuple[Term, ...] = ()
    notes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    things: tuple[str, ...] | None = None


class Catalogue:
    """What is known of the videos in one result. wanted: channels that coverage names even where a
    video has none of them yet."""

    def __init__(self, library: Library, wanted: Sequence[str] = ()):
        self._library = library
        self._wanted = wanted
        self._known: dict[tuple[str, int], tuple[Video, dict[str, float]] | None] = {}

    def read(self, groups: Sequence[Fused]) -> None:
        """What is there of the videos of these, at once: `moment` reads one after the other."""
        keys = {(group.best.video_id, group.best.epoch) for group in groups} - self._known.keys()
        videos = self._library.some_videos({video_id for video_id, _ in keys})
        made: dict[tuple[str, int], list[Generation]] = {}
        for one in self._library.generations(sorted(videos)) if videos else ():
            made.setdefault((one.video_id, one.epoch), []).append(one)
        for key in keys:
            video = videos.get(key[0])
            self._known[key] = video and (
                video,
                self._library.coverage(video, made.get(key, ()), self._wanted),
            )

    def moment(self, group: Fused) -> Moment | None:
        """None where the video was removed meanwhile."""
        best = group.best
        key = (best.video_id, best.epoch)
        if key not in self._known:
            self.read([group])
        known = self._known[key]
        if known is None:
            return None
        video, coverage = known
        worded = group.worded
        footage = next((find for find in group.finds if isinstance(find, FootageFind)), None)
        span = (group.start_seconds, group.end_seconds)
        return Moment(
            video_id=video.id,
            epoch=best.epoch,
            title=video.title,
            path=video.files[0].path if video.files else None,
            start_seconds=span[0],
            end_seconds=span[1],
            score=group.score,
            channel=group.channel,
            text=worded.text,
            text_start_seconds=worded.text_span[0],
            text_end_seconds=worded.text_span[1],
            highlights=worded.highlights(),
            hits=tuple(find.hit() for find in group.finds),
            coverage=coverage,
            clip=footage and footage.part(*span),
            wall_clock_start=video.wall_clock(best.epoch, span[0]),
        )
