"""Small libraries of spoken and written words, for tests that need no video."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from index.library import Library
from index.passages import PassageBuilder, passage_point, reading_order
from index.records import segment_point
from index.schema import Evidence, FileStat, Generation, Segment, Stream, Video, make_id
from index.store import Store, VectorSpace
from index.text import SPACES

FINGERPRINT = VectorSpace("fingerprint", 256)

Line = tuple[float, float, str]
"""start_seconds, end_seconds, text."""


def make_video(title: str, duration_seconds: float | None = 60.0, **fields) -> Video:
    return Video(
        id=make_id("test video", title),
        title=title,
        files=(FileStat(f"/films/{title}.mp4", 1_234_567, 1, 1),),
        duration_seconds=duration_seconds,
        streams=(Stream(0, "video", "h264", width=640, height=360, frame_rate=24.0),),
        **fields,
    )


def put_video(library: Library, title: str, duration_seconds: float | None = 60.0, **fields):
    video = make_video(title, duration_seconds, **fields)
    library.put_video(video)
    return video


def put_channel(
    library: Library,
    video: Video,
    channel: str,
    lines: Sequence[Line | Evidence],
    *,
    language: str | None = "en",
    fingerprint: str = "1",
    state: str = "active",
    analysed_seconds: float | None = None,
    attributes: Sequence[dict] = (),
    vectors: Sequence[dict] = (),
    segments: Sequence[Segment] = (),
) -> Generation:
    """Writes a channel's evidence as indexing does. analysed_seconds: None for all of it."""
    generation = Generation(
        video.id,
        0,
        channel,
        fingerprint,
        state=state,
        complete=analysed_seconds is None,
        analysed_seconds=analysed_seconds or video.duration_seconds or 0.0,
    )
    evidence = []
    for at, (start, end, text) in enumerate(lines):
        own = attributes[at] if at < len(attributes) else {}
        evidence.append(
            Evidence(
                video.id,
                0,
                channel,
                generation.id,
                start,
                end,
                text,
                ({"language": language} if language else {}) | own,
                vectors[at] if at < len(vectors) else {},
            )
        )
    builder = PassageBuilder(generation)
    passages = builder.push(sorted((e for e in evidence if e.text), key=reading_order))
    derived = [
        *map(passage_point, passages),
        *builder.statistics_points(),
        *builder.outline_points(),
    ]
    of_generation = [dataclasses.replace(s, generation=generation.id) for s in segments]
    derived.extend(map(segment_point, of_generation))
    library.commit_all([(generation, evidence, derived)])
    return generation


def ready(store: Store) -> Library:
    store.ensure_spaces((*SPACES, FINGERPRINT))
    return Library(store)


def open_library_at(path: Path) -> Library:
    """A library with its own embedded store. Close `library.store` before another opens it."""
    from index.edge import EdgeStore
    from index.settings import StoreSettings

    settings = StoreSettings(ballast_bytes=0, reserve_bytes=0, compact=False)
    return ready(EdgeStore(path, settings=settings, spaces=(*SPACES, FINGERPRINT)))


def films_at(path: Path) -> Library:
    """Two short films in which somebody speaks."""
    library = open_library_at(path)
    put_channel(library, put_video(library, "Lighthouse"), "speech", LIGHTHOUSE)
    put_channel(library, put_video(library, "Tides"), "speech", TIDES)
    return library


LIGHTHOUSE: Sequence[Line] = (
    (0.0, 4.0, "The lighthouse on Bishop Rock was built by hand."),
    (4.5, 8.0, "Every stone was carried across the water."),
    (12.0, 15.0, "A keeper wound the clockwork of the lamp every evening."),
    (30.0, 34.0, "Fresnel invented the lens that made the light reach so far."),
    (34.5, 38.0, "It bends the light into a single beam."),
    (50.0, 55.0, "Today nobody lives there any more."),
)
TIDES: Sequence[Line] = (
    (0.0, 3.0, "The tide rises and falls twice a day."),
    (3.5, 8.0, "The moon pulls at the water of the ocean."),
    (20.0, 26.0, "A spring tide comes with the full moon."),
)
