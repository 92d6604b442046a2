"""Relevance curves: how relevant each sentence of a stretch is to a query, by its meaning and by
its words. Ranking, grounding and highlights all read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from index.library import Library
from index.schema import microseconds
from index.store import Filter, Range, scroll, where
from index.text import WORDS
from rag.vectors import Meanings
from rag.words import WordQuery, words_share

MOST_POINTS = 4000
"""Points read for the curves of one search. Whoever chooses the regions keeps well below."""

LONGEST_SENTENCE_SECONDS = 30.0
"""What lasts longer has a wrong end, or holds a silence: it counts as that long."""

LONGEST_SILENCE_SECONDS = 30.0
"""A longer one ends a curve: no moment reaches across it."""

Key = tuple[str, int, str, str | None]
"""Video id, epoch, channel, language."""


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of one video's channel that a curve is wanted for."""

    video_id: str
    epoch: int
    channel: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Sentences of one channel, epoch and language of a video that follow each other, in time
    order, and what the query finds in them.

    starts, ends: seconds, float64 of shape (n,). meaning: what the sentence's cosine is worth,
    0..1, float64 of shape (n,), zeros where there are no vectors. cosines: the same, raw; NaN where
    there is none. texts, evidence: of each sentence.
    first, last: of each window over which words were counted, its first and last sentence, int of
    shape (w,), ascending. words: BM25 of each as a share of what it could be, 0..1, float64 of
    shape (w,). bm25: the same, raw.
    held: of each sentence, the terms of the query in it; shares: their share of the query's
    weight, 0..1, float64 of shape (n,).
    """

    key: Key
    analyzer: str
    starts: np.ndarray
    ends: np.ndarray
    meaning: np.ndarray
    cosines: np.ndarray
    texts: tuple[str, ...]
    evidence: tuple[tuple[str, ...], ...]
    first: np.ndarray
    last: np.ndarray
    words: np.ndarray
    bm25: np.ndarray
    held: tuple[frozenset[int], ...]
    shares: np.ndarray
    model: str = ""

    def __len__(self) -> int:
        return len(self.starts)

    def words_by_sentence(self) -> np.ndarray:
        """The mean of the windows that cover each sentence, float64 of shape (n,)."""
        total = np.zeros(len(self) + 1)
        covering = np.zeros(len(self) + 1)
        np.add.at(total, self.first, self.words)
        np.subtract.at(total, self.last + 1, self.words)
        np.add.at(covering, self.first, 1)
        np.subtract.at(covering, self.last + 1, 1)
        return np.cumsum(total)[:-1] / np.maximum(np.cumsum(covering)[:-1], 1)

    def relevance(self) -> np.ndarray:
        """One value a sentence, 0..1, float64 of shape (n,): what it means and what it says count
        as independent evidence. Meaning is smoothed over three neighbours, words lie half in the
        sentence and half in the windows, since a sentence of a passage that answers may itself say
        little."""
        meaning = self.meaning
        if len(self) > 2:
            padded = np.concatenate([meaning[:1], meaning, meaning[-1:]])
            meaning = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        words = (self.words_by_sentence() + self.shares) / 2
        return 1.0 - (1.0 - meaning) * (1.0 - words)


def read_curves(
    query: WordQuery,
    meanings: Meanings,
    library: Library,
    regions: Sequence[Region],
    wanted: Filter,
    vectors: Filter,
) -> list[Curve]:
    """The curves of the regions, merged where one video has several of them.

    wanted: passes the passages to look in, vectors: their vectors.
    """
    if not regions:
        return []
    inside = Filter(any_of=tuple(map(_condition, regions)))
    passages = islice(scroll(library.store, wanted.also(inside)), MOST_POINTS)
    sentences: dict[Key, list[Mapping]] = {}
    windows: dict[Key, list[tuple[str, Mapping]]] = {}
    known: dict[str, Mapping] = {}
    for point in passages:
        at = point.payload
        key = (at["video_id"], at["epoch"], at["channel"], at["language"])
        if at["scale"] == "window":
            windows.setdefault(key, []).append((point.id, at))
        else:
            known[point.id] = at
            sentences.setdefault(key, []).append({**at, "id": point.id})
    scores: dict[str, float] = {}
    if query.vector.indices:
        hits = library.store.query(
            WORDS.name, query.vector, where=wanted.also(inside), limit=MOST_POINTS
        )
        scores = {hit.id: hit.score for hit in hits}
    meanings.near(library, vectors.also(inside), MOST_POINTS)
    return [
        _curve(key, run, windows.get(key, ()), scores, query, meanings)
        for key, found in sorted(sentences.items(), key=lambda item: str(item[0]))
        for run in _runs(found)
    ]


def _runs(sentences: list[Mapping]) -> Iterator[list[Mapping]]:
    """In time order, cut where nobody speaks for long, and where nothing was read."""
    sentences.sort(key=lambda at: (at["start_us"], at["end_seconds"], at["id"]))
    run: list[Mapping] = []
    for at in sentences:
        if run and at["start_seconds"] - end_seconds > LONGEST_SILENCE_SECONDS:
            yield run
            run = []
        here = min(at["end_seconds"], at["start_seconds"] + LONGEST_SENTENCE_SECONDS)
        end_seconds = max(here, end_seconds) if run else here
        run.append(at)
    yield run


def _condition(region: Region) -> Filter:
    start = microseconds(max(region.start_seconds, 0.0))
    return where(video_id=region.video_id, channel=region.channel, epoch=region.epoch).and_(
        Range("start_us", gte=start, lt=microseconds(region.end_seconds))
    )


def _curve(
    key: Key,
    sentences: list[Mapping],
    windows: Iterable[tuple[str, Mapping]],
    scores: Mapping[str, float],
    query: WordQuery,
    meanings: Meanings,
) -> Curve:
    place = {id: n for n, at in enumerate(sentences) for id in at["evidence"]}
    spans = []
    for id, at in windows:
        inside = [place[one] for one in at["evidence"] if one in place]
        if inside:
            score = scores.get(id, 0.0)
            spans.append((min(inside), max(inside), words_share(score, at, query), score))
    spans.sort()
    known = [meanings.known.get(at["id"]) for at in sentences]
    name = sentences[0]["analyzer"]
    held = tuple(query.held(at["text"], name) for at in sentences)
    return Curve(
        key=key,
        analyzer=name,
        held=held,
        shares=np.array([query.share(terms, name) for terms in held], np.float64),
        starts=(starts := np.array([at["start_seconds"] for at in sentences], np.float64)),
        ends=np.minimum(
            np.array([at["end_seconds"] for at in sentences]), starts + LONGEST_SENTENCE_SECONDS
        ),
        meaning=np.array([one.score if one else 0.0 for one in known], np.float64),
        cosines=np.array([one.cosine if one else np.nan for one in known], np.float64),
        texts=tuple(at["text"] for at in sentences),
        evidence=tuple(tuple(at["evidence"]) for at in sentences),
        first=np.array([span[0] for span in spans], np.int64),
        last=np.array([span[1] for span in spans], np.int64),
        words=np.array([span[2] for span in spans], np.float64),
        bm25=np.array([span[3] for span in spans], np.float64),
        model=next((one.model for one in known if one), ""),
    )
