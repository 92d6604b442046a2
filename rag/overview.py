"""An overview of one video: chapters with titles, and a summary of sentences with their times.

Chapters are the container's, where it has some; else they begin where the subject of what is said
(or captioned, or written on the screen) changes. Without a language model titles are key phrases,
and the summary is the most central sentence of each of the longest chapters, as it was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from index.library import Library
from index.outline import outline_from
from index.schema import Generation, Video
from index.store import scroll, where
from index.text import analyzer, analyzer_for
from ingest.channels.text import embedding_id
from rag.delimited import one_line
from rag.keyphrases import titles
from rag.topics import boundaries

SOURCES = ("speech", "caption", "screen_text")
"""Channels that an overview is made from, the first that tells enough."""

ENOUGH = 0.2
"""Of a video that what is said must cover, else captions tell more."""

SENTENCES = 5
"""Of a summary without a language model."""

_TITLE_CHARACTERS = 80
_USUAL_CHARACTERS = (40, 240)
_SIZE = 1024  # of vectors of words, hashed (Weinberger et al. 2009)


@dataclass(frozen=True, slots=True)
class ChapterNote:
    """title, text: "" where nothing is known. text: a sentence or a few on what happens in it."""

    start_seconds: float
    end_seconds: float
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence of a summary, and where it is from."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Overview:
    """chapters: in time order, without gaps where they are ours. summary: in its order. source:
    "container" or the channel that the chapters are from. model: that wrote it; None where none
    did. language: BCP 47 primary tag of what it is made from."""

    chapters: tuple[ChapterNote, ...]
    summary: tuple[Said, ...]
    source: str
    model: str | None = None
    language: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """What a video's overview is made from. starts, ends: of the sentences or lines, in time order.
    vectors: of what they mean, or else of their words, float32 of shape (n, size), rows of length
    1 or 0. channel: "" where there is nothing."""

    channel: str
    language: str | None
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    texts: tuple[str, ...]
    vectors: np.ndarray

    def inside(self, start_seconds: float, end_seconds: float) -> list[int]:
        """Those whose middle lies there."""
        return [
            at
            for at, (a, b) in enumerate(zip(self.starts, self.ends, strict=True))
            if start_seconds <= (a + b) / 2 < end_seconds
        ]


def active_sources(library: Library, video_id: str) -> dict[str, Generation]:
    """The generations that an overview is made from: these channels, and their vectors."""
    names = (*SOURCES, *(f"text:{name}" for name in SOURCES))
    return {
        generation.channel: generation
        for generation in library.generations(video_id)
        if generation.state == "active" and generation.channel in names
    }


def material(library: Library, video: Video) -> Material:
    """What there is to make an overview from."""
    generations = active_sources(library, video.id)
    found = {name: _lines(library, video, name, generations) for name in SOURCES}
    duration = video.duration_seconds or 0.0

    def covers(name: str) -> float:
        return sum(min(end - start, 30.0) for start, end, *_ in found[name][1])

    chosen = next((name for name in SOURCES if covers(name) >= ENOUGH * duration > 0), None)
    chosen = chosen or next((name for name in SOURCES if found[name][1]), None)
    if chosen is None:
        return Material("", None, (), (), (), np.zeros((0, 1), np.float32))
    language, lines = found[chosen]
    starts, ends, texts, ids = zip(*lines, strict=True)
    vectors = _meanings(library, generations.get(f"text:{chosen}"), ids)
    if vectors is None:
        vectors = _word_vectors(texts, language)
    return Material(chosen, language, starts, ends, texts, vectors)


Line = tuple[float, float, str, str]
"""start_seconds, end_seconds, text, id of its passage ("" where it is not one)."""


def _lines(
    library: Library, video: Video, channel: str, generations: dict[str, Generation]
) -> tuple[str | None, list[Line]]:
    """In the language in which most is said, in time order."""
    generation = generations.get(channel)
    if generation is None:
        return None, []
    by_language: dict[str | None, list[Line]] = {}
    if channel == "speech":
        wanted = where(kind="outline", video_id=video.id, generation=generation.id)
        for point in scroll(library.store, wanted):
            outline = outline_from(point.payload)
            by_language.setdefault(outline.language, []).extend(
                (one.start_seconds, one.end_seconds, one.text, one.id) for one in outline.sentences
            )
    else:
        for one in library.evidence(video.id, channel=channel, generation=generation.id):
            if one.text.strip():
                line = (one.start_seconds, one.end_seconds, one.text, "")
                by_language.setdefault(one.attributes.get("language"), []).append(line)
    most = max(
        by_language,
        key=lambda name: (sum(len(line[2]) for line in by_language[name]), str(name)),
        default=None,
    )
    lines = [(a, b, one_line(text), id) for a, b, text, id in by_language.get(most, ())]
    return most, sorted(lines)


def _meanings(
    library: Library, generation: Generation | None, passages: Sequence[str]
) -> np.ndarray | None:
    """The vectors of the passages; None where they have none, or not all of them."""
    if generation is None or not generation.complete or not all(passages):
        return None
    ids = [embedding_id(generation.id, passage) for passage in passages]
    points = library.store.retrieve(ids, with_vectors=True, with_payload=False)
    found = {point.id: point.vectors for point in points if point.vectors}
    if len(found) < len(ids):
        return None
    return np.stack([np.asarray(next(iter(found[id].values())), np.float32) for id in ids])


def _word_vectors(texts: Sequence[str], language: str | None) -> np.ndarray:
    """tf-idf over the texts themselves, hashed to a fixed size."""
    model = analyzer(analyzer_for(language))
    counted = [model.document(text, 30.0) for text in texts]
    holding: dict[int, int] = {}
    for one in counted:
        for term in one.indices:
            holding[term] = holding.get(term, 0) + 1
    vectors = np.zeros((len(texts), _SIZE), np.float32)
    for row, one in zip(vectors, counted, strict=True):
        for term, weight in zip(one.indices, one.values, strict=True):
            row[term % _SIZE] += weight * np.log(1 + len(texts) / holding[term])
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def chapter_spans(video: Video, told: Material) -> tuple[list[tuple[float, float, str]], str]:
    """(start_seconds, end_seconds, title or "") of the chapters, and what they are from; none where
    nothing tells of any."""
    if len(video.chapters) > 1:
        own = [(one.start_seconds, one.end_seconds, one.title) for one in video.chapters]
        return own, "container"
    duration = video.duration_seconds or max(told.ends, default=0.0)
    if not told.texts or duration <= 0:
        return [], ""
    first = boundaries(told.vectors, told.starts, told.ends, duration)
    begins = [0.0, *(told.starts[at] for at in first[1:]), duration]
    return [(a, b, "") for a, b in pairwise(begins) if b > a], told.channel


def extract(video: Video, told: Material) -> Overview:
    """The overview without a language model."""
    spans, source = chapter_spans(video, told)
    inside = [told.inside(start, end) for start, end, _ in spans]
    made = titles(
        [" . ".join(told.texts[at] for at in own) for own in inside], analyzer_for(told.language)
    )
    chapters, central = [], []
    for (start, end, title), own, phrases in zip(spans, inside, made, strict=True):
        best = _central(told, own)
        text = told.texts[best] if best is not None else ""
        chapters.append(ChapterNote(start, end, title or phrases[:_TITLE_CHARACTERS], text))
        if best is not None:
            central.append((len(own), best))
    central.sort(key=lambda one: (-one[0], one[1]))
    summary = [
        Said(told.starts[at], told.ends[at], told.texts[at])
        for at in sorted(at for _, at in central[:SENTENCES])
    ]
    return Overview(tuple(chapters), tuple(summary), source, None, told.language)


def _central(told: Material, own: Sequence[int]) -> int | None:
    """The one nearest to the mean of all (Radev et al. 2004, "Centroid-based summarization"), of
    those that are neither scraps nor speeches where there are such."""
    low, high = _USUAL_CHARACTERS
    usual = [at for at in own if low <= len(told.texts[at]) <= high]
    if not own:
        return None
    centre = told.vectors[list(own)].mean(axis=0)
    return max(usual or own, key=lambda at: (float(told.vectors[at] @ centre), -at))
