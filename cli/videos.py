"""`longtake search --group-by video`: videos, best first, each with its moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cli.render import data_line, print_json, safe, so_far, telling_titles, write_moment
from index.schema import Moment
from rag.group import VideoHits

SHOWN = 3
"""Moments of a video on a terminal; --json has them all."""


def print_videos_json(
    videos: Sequence[VideoHits], record_of: Callable[[Moment], dict[str, Any]]
) -> None:
    """A line a video. record_of: a moment as search prints it."""
    import msgspec

    for video in videos:
        moments = [record_of(moment) for moment in video.moments]
        print_json(msgspec.to_builtins(video) | {"moments": moments})


def print_videos(videos: Sequence[VideoHits], explain: Callable[[Moment], None]) -> None:
    """A line for each video and the best of its moments below it. explain: prints why a moment
    is there, where that was asked for."""
    titles = telling_titles((video.video_id, video.title, video.path) for video in videos)
    for video in videos:
        count = "1 event" if video.events == 1 else f"{video.events} events"
        data_line(
            (safe(titles[video.video_id]), "bold"),
            f"  {video.score:.2f}  {count}",
            (so_far(video.moments[0].coverage), "yellow"),
        )
        for moment in video.moments[:SHOWN]:
            write_moment(moment, indent=2)
            explain(moment)
        if len(video.moments) > SHOWN:
            data_line((f"and {len(video.moments) - SHOWN} more", "dim"), indent=2)
