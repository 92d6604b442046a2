"""Overviews in the library: a channel `summary` of its own, so that searches find chapters by their
titles, and what searchers see flips from the old one to the new one at once.

Its evidence is a chapter each, and the summary as one over the whole video; its segments are the
chapters. What is quoted from the video, or put together from its words as a title, is no text of
its evidence: searches find that where it is said, and would otherwise take it for a second
witness. The generations that it was made from go into its fingerprint: where none of them was
replaced it stands, else it is stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from index.library import Library
from index.records import segment_point
from index.schema import Generation, Segment, Video
from ingest.channel import evidence_of
from ingest.plan import digest
from ingest.writer import ChannelWriter
from rag.overview import ChapterNote, Overview, Said, active_sources

CHANNEL = "summary"

_CODE = 2
"""Raised when a change here, in rag.overview, .topics or .keyphrases changes what comes out."""


def fingerprint(library: Library, video: Video, made_by: Mapping[str, Any]) -> str:
    """Of the overview that should be there. made_by: the model and its instructions; empty where
    there is none."""
    sources = {name: one.id for name, one in active_sources(library, video.id).items()}
    own = [(one.start_seconds, one.end_seconds, one.title) for one in video.chapters]
    return digest({"code": _CODE, "by": dict(made_by), "sources": sources, "chapters": own})


def stored(library: Library, video_id: str) -> Generation | None:
    """The generation of the overview that searchers see, if one is complete."""
    return next(
        (
            one
            for one in library.generations(video_id)
            if one.channel == CHANNEL and one.state == "active" and one.complete
        ),
        None,
    )


def stale(library: Library, video: Video, generation: Generation) -> bool:
    """Whether what the overview was made from is no more what there is."""
    return generation.fingerprint != fingerprint(library, video, generation.detail["by"])


def save(
    library: Library,
    video: Video,
    overview: Overview,
    made_by: Mapping[str, Any],
    mark: str,
    *,
    force: bool = False,
) -> None:
    """Takes the place of the one that is there. mark: the fingerprint, taken before the overview
    was made. force: also where the one that is there has the same. Raises what the store raises."""
    detail = {**_detail(overview), "by": dict(made_by)}
    generation = library.begin(Generation(video.id, 0, CHANNEL, mark, detail=detail), force=force)
    if generation.complete:
        return
    # Whole or not at all: what an interrupted run has left is written anew.
    writer = ChannelWriter(library, replace(generation, watermark_seconds=0.0))
    end = video.duration_seconds or max((c.end_seconds for c in overview.chapters), default=0.0)
    language = {"language": overview.language} if overview.language else {}
    by_model = overview.model is not None
    titled = by_model or overview.source == "container"
    evidence = [
        evidence_of(
            generation,
            chapter.start_seconds,
            chapter.end_seconds,
            text=". ".join(
                filter(None, (chapter.title if titled else "", chapter.text if by_model else ""))
            ),
            attributes={**language, "title": chapter.title, "text": chapter.text},
            key=f"chapter {number}",
        )
        for number, chapter in enumerate(overview.chapters)
    ]
    if overview.summary:
        sentences = [[one.start_seconds, one.end_seconds, one.text] for one in overview.summary]
        text = " ".join(one.text for one in overview.summary) if by_model else ""
        attributes = {**language, "sentences": sentences}
        evidence.append(
            evidence_of(generation, 0.0, end, text=text, attributes=attributes, key="summary")
        )
    writer.add(evidence)
    writer.add_points(
        [
            segment_point(
                Segment(
                    video.id,
                    0,
                    generation.id,
                    chapter.start_seconds,
                    chapter.end_seconds,
                    chapter.title or None,
                    chapter.text or None,
                )
            )
            for chapter in overview.chapters
        ]
    )
    library.finish([writer.take(end, end, last=True)])


def _detail(overview: Overview) -> dict[str, Any]:
    return {
        "source": overview.source,
        "model": overview.model,
        "language": overview.language,
        "notes": list(overview.notes),
    }


def load(library: Library, video_id: str) -> Overview | None:
    """The overview that searchers see; None where there is none."""
    generation = stored(library, video_id)
    if generation is None:
        return None
    chapters: list[ChapterNote] = []
    summary: list[Said] = []
    for one in library.evidence(video_id, channel=CHANNEL, generation=generation.id):
        if one.key == "summary":
            summary = [Said(*sentence) for sentence in one.attributes["sentences"]]
        else:
            told = one.attributes
            chapters.append(
                ChapterNote(one.start_seconds, one.end_seconds, told["title"], told["text"])
            )
    detail = generation.detail
    return Overview(
        tuple(chapters),
        tuple(summary),
        detail.get("source", ""),
        detail.get("model"),
        detail.get("language"),
        tuple(detail.get("notes", ())),
    )
