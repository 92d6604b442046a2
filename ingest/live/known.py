"""What a library knows of a live source when somebody begins to watch it again."""

from __future__ import annotations

from dataclasses import replace

from index.errors import LeaseLostError
from index.library import Library
from index.schema import Video
from ingest.claims import Claim
from ingest.live.consolidation import Consolidation
from ingest.live.epoch_pass import LiveListener, LiveNews
from ingest.live.recorded import Recordings
from ingest.live.source import LiveSource
from ingest.live.tidying import is_derived
from ingest.live.told import mark_told, untold
from ingest.live.writer import settle


def known_video(
    library: Library,
    source: LiveSource,
    recordings: Recordings,
    consolidation: Consolidation,
    claim: Claim,
) -> Video:
    """The catalogue's entry, with what a run that was killed left unfinished settled: nothing of it
    goes on. One without epochs where there is none yet. Nobody else may be watching.

    Raises LeaseLostError where another machine is working on one of its channels.
    """
    video = library.video(source.video_id)
    if video is None:
        return Video(source.video_id, source.name, source=source.shown)
    there = library.generations(video.id)
    taken = {channel for channel in {one.channel for one in there} if claim.take(channel)}
    for one in there:
        if one.channel not in taken and not is_derived(one):
            raise LeaseLostError(f"{video.title}: another machine is working on {one.channel}.")
    consolidation.forget_unfinished([one for one in there if one.channel in taken])
    own = [g for g in library.generations(video.id) if not is_derived(g)]
    # As far as the source itself: who listens or detects may be behind, and sound ahead.
    ends = {g.epoch: g.analysed_seconds for g in own if g.channel == "shot"}
    for generation in own:
        if not generation.complete:
            epoch = video.epoch_of(generation.epoch)
            known = None if epoch is None else epoch.end_seconds
            settle(library, generation, known or ends.get(generation.epoch, 0.0))
    recordings.mend()
    epochs = tuple(
        replace(one, end_seconds=max(ends.get(one.number, 0.0), one.start_seconds))
        if one.end_seconds is None
        else one
        for one in video.epochs
    )
    return replace(video, source=source.shown, epochs=epochs)


def tell_untold(library: Library, video: Video, claim: Claim, listener: LiveListener) -> None:
    """Tells of what earlier runs committed, and may not have told before they were killed."""
    for generation, told_seconds in untold(library.generations(video.id)):
        epoch = video.epoch_of(generation.epoch)
        if not claim.take(generation.channel):
            continue
        evidence = library.evidence(
            video.id, generation=generation.id, start_seconds=told_seconds, with_vectors=True
        )
        if evidence and epoch is not None:
            at = generation.analysed_seconds
            listener(LiveNews(video, epoch, at, tuple(evidence), again=True))
        mark_told(library, generation.id)
