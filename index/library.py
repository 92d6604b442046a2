"""The library: what the store means.

`Library` keeps the order of writes that makes an index come out of `kill -9` as if nothing had
happened. A channel's progress is its `Generation` record. A commit writes evidence (and the
passages and segments derived from it), flushes, writes the generation with its new watermark, and
flushes again; so whatever is found at or after the watermark is unfinished work, which `resume`
deletes before the channel goes on. Which generation searchers see is the `state` in that record;
a flip rewrites the two records in one atomic call.
"""

from __future__ import annotations

import dataclasses
import math
import os
import uuid
from collections.abc import Iterable, Sequence

from index.alerts import ALERT_KINDS
from index.errors import UsageError, VideoNotFoundError
from index.faults import fault_point
from index.pieces import PIECE_KINDS
from index.records import (
    evidence_from,
    evidence_point,
    generation_from,
    generation_point,
    segment_from,
    space_from,
    space_point,
    video_from,
    video_point,
)
from index.schema import (
    NEED_PICTURES,
    Evidence,
    Generation,
    Segment,
    Space,
    Video,
    make_id,
    microseconds,
)
from index.store import Filter, Match, Point, Range, Store, VectorSpace, scroll, where

DERIVED_KINDS = ("evidence", "passage", "segment", "text_stats", "outline", "embedding")
"""Kinds of points that belong to a generation and go with it."""

UPSERT_POINTS = 500
"""Points written in one call of the store."""


class Library:
    """The catalogue and the evidence in a store. Errors: those of the store."""

    def __init__(self, store: Store):
        self.store = store

    # Videos

    def videos(self) -> list[Video]:
        """Every video, by title."""
        found = [video_from(point.payload) for point in scroll(self.store, where(kind="video"))]
        return sorted(found, key=lambda video: (video.title.casefold(), video.id))

    def video(self, video_id: str) -> Video | None:
        return self.some_videos([video_id]).get(video_id)

    def some_videos(self, video_ids: Iterable[str]) -> dict[str, Video]:
        """Those that are there, by id."""
        points = self.store.retrieve([make_id("video", id) for id in video_ids])
        return {video.id: video for video in (video_from(point.payload) for point in points)}

    def find(
        self, name: str, *, exact: bool = False, among: Sequence[Video] | None = None
    ) -> Video:
        """The one video that `name` means: its id or at least 4 characters of the start of it, a
        path, the end of one (a file name), or its title, in this order; unless `exact`, also a
        part of the title. A path is taken from the current folder, and a file that is there is
        never taken for another one of its name.

        among: what `videos` returned, for whoever looks for many.

        Raises VideoNotFoundError when there is none and UsageError when there are several, or
        `name` is blank.
        """
        if not name.strip():
            raise UsageError("An empty name means no video. `longtake ls` lists what there is.")
        videos = self.videos() if among is None else among
        folded = name.casefold()
        paths = {name, os.path.abspath(name)}
        is_file = os.path.isfile(name)
        if is_file:
            paths.add(os.path.realpath(name))
        ways = [
            lambda video: video.id == name,
            lambda video: any(file.path in paths for file in video.files),
            lambda video: any(file.path.endswith("/" + name) for file in video.files),
            lambda video: video.title.casefold() == folded,
            lambda video: len(name) >= 4 and video.id.startswith(name),
        ]
        if is_file:
            ways = ways[:2]
        elif not exact:
            ways.append(lambda video: folded in video.title.casefold())
        for matches in ways:
            found = [video for video in videos if matches(video)]
            if len(found) == 1:
                return found[0]
            if found:
                same = len({video.title for video in found}) == 1
                listed = ", ".join(
                    f"{one.id[:8]} ({one.files[0].path if same and one.files else one.title})"
                    for one in found[:5]
                )
                raise UsageError(f"“{name}” means {len(found)} videos: {listed}. Give the id.")
        if is_file:
            raise VideoNotFoundError(
                f"The file {os.path.abspath(name)} is not in the library. `longtake index` adds "
                "it; a video that lies elsewhere is named by its id, which `longtake ls` lists."
            )
        whole = " of that whole name" if exact else ""
        raise VideoNotFoundError(
            f"No video “{name}”{whole} in the library. `longtake ls` lists what there is."
        )

    def put_video(self, video: Video) -> None:
        self.store.upsert([video_point(video)])

    def remove_video(self, video_id: str) -> None:
        """Everything of a video goes, the catalogue entry last, so that an interrupted removal
        can be asked for again."""
        for kind in (*DERIVED_KINDS, *ALERT_KINDS, *PIECE_KINDS):
            self.store.delete(where(kind=kind, video_id=video_id))
        self.store.delete(where(kind="generation", video_id=video_id))
        self.store.flush()
        self.store.delete(where(kind="video", video_id=video_id))
        self.store.flush()

    # Vector spaces

    def add_space(self, space: Space, filled_by: str) -> None:
        """Makes the space exist and known to searchers, before the generation of that id writes to
        it. The caller flushes.

        Against `forget_spaces`, which another process may be in the middle of: the generation says
        first that it fills the space, and each adding leaves a stamp of its own on the space.
        """
        self.store.ensure_spaces([VectorSpace(space.name, space.size)])
        for point in self.store.retrieve([filled_by]):
            begun = generation_from(point.payload)
            names = sorted({*begun.detail.get("spaces", ()), space.name})
            filling = dataclasses.replace(begun, detail={**begun.detail, "spaces": names})
            self.store.upsert([generation_point(filling)])
        self.store.upsert([space_point(space, stamp=uuid.uuid4().hex)])

    def spaces(self) -> list[Space]:
        """Those that searchers should ask, by name."""
        found = [space_from(point.payload) for point in scroll(self.store, where(kind="space"))]
        return sorted(found, key=lambda space: space.name)

    def forget_spaces(self) -> None:
        """Drops those that no generation fills any more, so that no search loads their model. One
        that somebody adds meanwhile stays: either its generation is seen here, or its stamp is
        another one by the time of the deletion."""
        known = list(scroll(self.store, where(kind="space")))
        filled = {name for g in self.generations() for name in g.detail.get("spaces", ())}
        for point in known:
            name, stamp = point.payload["space"], point.payload.get("stamp", "")
            if name not in filled:
                self.store.delete(where(kind="space", space=name, stamp=stamp))

    # Generations

    def generations(
        self, video_id: str | Sequence[str] | None = None, epoch: int | None = None
    ) -> list[Generation]:
        """Of one video, of some, or of all; of one epoch, or of all."""
        wanted = where(kind="generation")
        if video_id is not None:
            wanted = where(kind="generation", video_id=video_id)
        found = [generation_from(point.payload) for point in scroll(self.store, wanted)]
        return [g for g in found if epoch is None or g.epoch == epoch]

    def unfinished(self) -> list[Generation]:
        """Those that searchers see and that are not complete yet."""
        wanted = where(kind="generation", state="active", complete=False)
        return [generation_from(point.payload) for point in scroll(self.store, wanted)]

    def hidden_generations(self) -> tuple[str, ...]:
        """Ids of the generations that searchers must not see: those being built beside an active
        one and those about to go. Read it before and after a search; if it changed in between,
        search again (`rag.retrieve` does)."""
        hidden = where(kind="generation", state=("building", "retired"))
        return tuple(sorted(point.id for point in scroll(self.store, hidden)))

    def visible(self, wanted: Filter, hidden: Iterable[str]) -> Filter:
        """`wanted`, without what hidden generations hold."""
        hidden = tuple(hidden)
        return wanted.but_not(Match("generation", hidden)) if hidden else wanted

    def begin(self, generation: Generation, *, force: bool = False) -> Generation:
        """The generation to work on for this video, epoch and channel, given what should be there.

        Returns a complete one where there is nothing to do; an unfinished one of the same
        fingerprint where there is something to resume; else a new one, which is active at once
        where nothing else is, and is built beside the active one where something is. Unfinished
        ones of other fingerprints are dropped. The caller flushes.
        """
        existing = [
            g
            for g in self.generations(generation.video_id, generation.epoch)
            if g.channel == generation.channel
        ]
        for old in existing:
            if old.state == "retired":
                self._delete_generation(old)
        existing = [g for g in existing if g.state != "retired"]
        active = next((g for g in existing if g.state == "active"), None)
        building = next((g for g in existing if g.state == "building"), None)

        if building and building.fingerprint == generation.fingerprint:
            return building
        if building:
            self._delete_generation(building)
        if active and active.fingerprint == generation.fingerprint:
            if not (force and active.complete):
                return active
            generation = dataclasses.replace(generation, revision=active.revision + 1)
        state = "building" if active else "active"
        fresh = dataclasses.replace(generation, state=state, complete=False)
        self.store.upsert([generation_point(fresh)])
        return fresh

    def resume(self, generation: Generation) -> None:
        """Deletes what an interrupted run left at or after the watermark."""
        after = Range("start_us", gte=microseconds(generation.watermark_seconds))
        for kind in ("evidence", "segment", "embedding"):
            self.store.delete(where(kind=kind, generation=generation.id).and_(after))

    def commit_all(
        self, commits: Sequence[tuple[Generation, Sequence[Evidence], Sequence[Point]]]
    ) -> None:
        """Writes each generation's evidence and what was derived from it, then moves the
        watermarks to those in the generations, in the order that a crash at any point respects."""
        fault_point("before-evidence")
        points: list[Point] = []
        for _, evidence, derived in commits:
            points.extend(evidence_point(e) for e in evidence)
            points.extend(derived)
        for start in range(0, len(points), UPSERT_POINTS):
            self.store.upsert(points[start : start + UPSERT_POINTS])
        if points:
            fault_point("after-evidence")
            for generation, evidence, derived in commits:
                if evidence or derived:
                    fault_point(f"after-evidence-of-{generation.channel}")
            self.store.flush()
            fault_point("after-evidence-flush")
        self.store.upsert([generation_point(generation) for generation, _, _ in commits])
        fault_point("after-watermark")
        self.store.flush()
        fault_point("after-watermark-flush")

    def finish(
        self, commits: Sequence[tuple[Generation, Sequence[Evidence], Sequence[Point]]]
    ) -> None:
        """The last `commit_all` of these generations, which are then complete. One that was built
        beside an active one takes its place, and the old one goes."""
        self.commit_all(
            [
                (dataclasses.replace(g, complete=g.state == "active"), evidence, derived)
                for g, evidence, derived in commits
            ]
        )
        for generation, _, _ in commits:
            if generation.state == "building":
                self._flip(generation)

    def _flip(self, generation: Generation) -> None:
        done = dataclasses.replace(generation, complete=True, state="active")
        retired = [
            dataclasses.replace(old, state="retired")
            for old in self.generations(generation.video_id, generation.epoch)
            if old.channel == generation.channel and old.id != generation.id
        ]
        fault_point("before-flip")
        self.store.upsert([generation_point(g) for g in (done, *retired)])
        self.store.flush()
        fault_point("after-flip")
        for old in retired:
            self._delete_generation(old)

    def drop(self, generation: Generation) -> None:
        """Takes a generation away with all that it made, so that searchers see no half of it."""
        self.store.upsert([generation_point(dataclasses.replace(generation, state="retired"))])
        self.store.flush()
        self._delete_generation(generation)

    def _delete_generation(self, generation: Generation) -> None:
        for kind in DERIVED_KINDS:
            self.store.delete(where(kind=kind, generation=generation.id))
        self.store.flush()
        fault_point("before-generation-record-goes")
        self.store.delete(where(kind="generation", generation=generation.id))
        self.store.flush()

    # Evidence and segments

    def evidence(
        self,
        video_id: str,
        *,
        channel: str | Sequence[str] | None = None,
        generation: str | None = None,
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        overlapping: bool = False,
        with_vectors: bool = False,
    ) -> list[Evidence]:
        """Evidence of a video that begins in [start_seconds, end_seconds), or, `overlapping`, that
        is there in some of it, however early it began; in time order. Without `generation`, only
        what searchers may see."""
        wanted = where(kind="evidence", video_id=video_id)
        if channel is not None:
            wanted = wanted.and_(*where(channel=channel).must)
        if generation is not None:
            wanted = wanted.and_(Match("generation", (generation,)))
        else:
            wanted = self.visible(wanted, self.hidden_generations())
        end_us = None if end_seconds is None else microseconds(end_seconds)
        since_us = None if overlapping else microseconds(start_seconds)
        wanted = wanted.and_(Range("start_us", gte=since_us, lt=end_us))
        if overlapping:
            after = math.nextafter(start_seconds, math.inf)
            wanted = wanted.and_(Range("end_seconds", gte=after))
        found = [evidence_from(p) for p in scroll(self.store, wanted, with_vectors=with_vectors)]
        return sorted(found, key=lambda e: (e.start_seconds, e.end_seconds, e.channel, e.id))

    def segments(self, video_id: str, epoch: int | None = None) -> list[Segment]:
        """The segments of a video, or of one epoch, in time order: those stitched by meaning as far
        as they have come, then those cut from the shots."""
        active = [g for g in self.generations(video_id, epoch) if g.state == "active"]
        stitched = {g.epoch: g for g in active if g.channel == "segment"}
        cut = [g for g in active if g.channel == "shot" and not _is_whole(stitched.get(g.epoch))]
        found = []
        for one in self.segments_of([*stitched.values(), *cut]):
            by_meaning = stitched.get(one.epoch)
            if by_meaning is None:
                found.append(one)
            elif one.generation == by_meaning.id:
                # What lies behind the watermark is what a kill has left.
                if by_meaning.complete or one.start_seconds < by_meaning.watermark_seconds:
                    found.append(one)
            elif one.end_seconds > by_meaning.watermark_seconds:
                start = max(one.start_seconds, by_meaning.watermark_seconds)
                found.append(dataclasses.replace(one, start_seconds=start))
        return found

    def chapters(self, video_id: str) -> list[Segment]:
        """The chapters that `longtake summarize` has given a video, with titles, in time order."""
        active = [g for g in self.generations(video_id) if g.state == "active"]
        return self.segments_of([g for g in active if g.channel == "summary"])

    def segments_of(self, generations: Sequence[Generation]) -> list[Segment]:
        """All that these generations hold, in time order."""
        if not generations:
            return []
        wanted = where(kind="segment", generation=[g.id for g in generations])
        found = [segment_from(point.payload) for point in scroll(self.store, wanted)]
        return sorted(found, key=lambda segment: segment.start_seconds)

    def coverage(
        self, video: Video, generations: Iterable[Generation], wanted: Iterable[str] = ()
    ) -> dict[str, float]:
        """channel -> share of the video that its visible generation has analysed, 0..1, without
        what it tried and gave up; 0 for those of the channels `wanted` that were never begun,
        where the video has what they look at. Of what is live, all that has come is analysed."""
        pictures = any(stream.kind == "video" for stream in video.streams)
        shares = {
            name: 0.0 for name in wanted if pictures or NEED_PICTURES.isdisjoint(name.split(":"))
        }
        lacking: dict[str, float] = {}  # by all epochs together
        for generation in generations:
            if generation.video_id != video.id or generation.state != "active":
                continue
            duration, epoch = video.duration_seconds, video.epoch_of(generation.epoch)
            lack = 0.0 if generation.complete or duration is None else 1.0
            if duration:
                end = duration if epoch is None else epoch.end_seconds or duration
                lack *= max(end - generation.analysed_seconds, 0.0) / duration
                lack += generation.detail.get("uncovered_seconds", 0.0) / duration
            lacking[generation.channel] = lacking.get(generation.channel, 0.0) + lack
        return shares | {name: max(1.0 - lack, 0.0) for name, lack in lacking.items()}


def _is_whole(generation: Generation | None) -> bool:
    return generation is not None and generation.complete
