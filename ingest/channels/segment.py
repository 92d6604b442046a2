"""Channel `segment`: the segments of a video by meaning, out of its shots and what they show.

No evidence of its own: it keeps segments, which take the place of those that were cut from shots
alone. See ingest.stitch for how. Without vectors (the channel `frame` was not run) the shots stay
what they are, and where there are no shots the windows are fixed.

How a run resumes: the watermark is the end of the last segment, from which on the stitcher depends
on nothing before it. Memory does not grow with the length: shots and frames are read in pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from index.library import Library
from index.records import segment_point
from index.schema import Evidence, Generation, Video, microseconds
from index.store import Range, scroll, where
from ingest.channel import Batch, DerivedChannel
from ingest.settings import SegmentSettings, StitchSettings
from ingest.stitch import FrameVector, Stitcher
from ingest.writer import segments_of

if TYPE_CHECKING:
    from ingest.segment_frames import Media

_CODE_VERSION = 1
"""Raised when a change here or in ingest.stitch changes the segments."""

_PAGE_SECONDS = 300.0


class SegmentChannel(DerivedChannel):
    """See the module."""

    name = "segment"
    sources = ("frame", "shot")

    def __init__(
        self,
        settings: StitchSettings | None = None,
        segments: SegmentSettings | None = None,
        *,
        page_seconds: float = _PAGE_SECONDS,
    ):
        """page_seconds: of the video, read at once."""
        self._settings = settings or StitchSettings()
        self._lengths = segments or SegmentSettings()
        self._page_seconds = page_seconds

    def describe(self) -> Mapping[str, Any]:
        return {
            "settings": self._settings.model_dump(mode="json"),
            "segments": self._lengths.model_dump(mode="json"),
            "code": _CODE_VERSION,
        }

    def run(
        self,
        path: Media,
        video: Video,
        generation: Generation,
        from_seconds: float,
        library: Library,
        until_seconds: float | None = None,
    ) -> Iterator[Batch]:
        found = _Sources(library, video, generation.epoch)
        goes_on = until_seconds is not None
        end_seconds = until_seconds if goes_on else found.end_seconds()
        stitcher = Stitcher(
            self._lengths, self._settings, video.chapters, from_seconds=from_seconds
        )
        # The picture that is shown at the start may have come up before it.
        for evidence in found.last_frame_before(from_seconds):
            _push_frame(stitcher, evidence)
        at = from_seconds
        while at < end_seconds:
            until = min(at + self._page_seconds, end_seconds)
            for cut in found.cuts(at, until):
                stitcher.push_cut(cut)
            for evidence in found.frames(at, until):
                _push_frame(stitcher, evidence)
            last = until == end_seconds and not goes_on
            spans = stitcher.finish(until) if last else stitcher.advance(until)
            points = tuple(segment_point(s) for s in segments_of(video, generation, spans))
            yield Batch((), stitcher.open_seconds, until, points=points)
            at = until


class _Sources:
    """The shots and frames of an epoch that searchers see now. Their generations are those from
    here on: of a swap half-way this run sees neither the mixture nor the new ones, and the swap
    makes it run again."""

    def __init__(self, library: Library, video: Video, epoch: int):
        self._library = library
        self._video = video
        self._generations = {
            g.channel: g.id
            for g in library.generations(video.id, epoch)
            if g.channel in SegmentChannel.sources and g.state == "active"
        }

    def end_seconds(self) -> float:
        """Where the pictures end, or, without pictures, the video."""
        last = max((end for _, end in self._shots()), default=None)
        return last if last is not None else self._video.duration_seconds or 0.0

    def cuts(self, start_seconds: float, end_seconds: float) -> list[float]:
        """Where shots begin or end in [start_seconds, end_seconds), in time order: where one ends
        is known before the next one has ended."""
        ends_later = Range("end_seconds", gte=start_seconds)
        begins_before = Range("start_us", lt=microseconds(end_seconds))
        edges = {edge for span in self._shots(begins_before, ends_later) for edge in span}
        return sorted(edge for edge in edges if start_seconds <= edge < end_seconds)

    def _shots(self, *which: Range) -> list[tuple[float, float]]:
        shots = where(kind="evidence", generation=self._generations.get("shot", ""))
        found = scroll(self._library.store, shots.and_(*which))
        return [(point.payload["start_seconds"], point.payload["end_seconds"]) for point in found]

    def frames(self, start_seconds: float, end_seconds: float) -> list[Evidence]:
        """Those that begin in [start_seconds, end_seconds), in time order."""
        if "frame" not in self._generations:
            return []
        return self._library.evidence(
            self._video.id,
            channel="frame",
            generation=self._generations["frame"],
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            with_vectors=True,
        )

    def last_frame_before(self, time_seconds: float) -> list[Evidence]:
        """The last frame that begins before that time, if any."""
        until, back = time_seconds, 64.0
        while until > 0:
            start = max(0.0, until - back)
            if frames := self.frames(start, until):
                return frames[-1:]
            until, back = start, 2 * back
        return []


def _push_frame(stitcher: Stitcher, evidence: Evidence) -> None:
    for vector in evidence.vectors.values():
        stitcher.push_frame(FrameVector(evidence.start_seconds, evidence.end_seconds, vector))
