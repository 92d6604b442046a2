"""What a library knows of a live source when somebody begins to watch it again."""

from __future__ import annotations

from dataclasses import replace

from index.library import Library
from index.schema import Video
from ingest.live.consolidation import Consolidation
from ingest.live.recorded import Recordings
from ingest.live.source import LiveSource
from ingest.live.tidying import is_derived
from ingest.live.writer import settle


def known_video(
    library: Library, source: LiveSource, recordings: Recordings, consolidation: Consolidation
) -> Video:
    """The catalogue's entry, with what a run that was killed left unfinished settled: nothing of it
    goes on. One without epochs where there is none yet. Nobody else may be watching."""
    video = library.video(source.video_id)
    if video is None:
        return Video(source.video_id, source.name, source=source.shown)
    consolidation.forget_unfinished(video.id)
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
