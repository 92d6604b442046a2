"""Relevance curves: how relevant each sentence of a stretch is to a query, by its meaning and by
its words. Ranking, grounding and highlights all read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from index.library import Library
from index.outline import Outline, Sentence, outline_from, outline_ids
from index.schema import microseconds
from index.store import Filter
from index.text import WORDS, analyzer
from rag.vectors import Meanings
from rag.words import WordQuery, bm25_share

LONGEST_SENTENCE_SECONDS = 30.0
"""What lasts longer has a wrong end, or holds a silence: it counts as that long."""

LONGEST_SILENCE_SECONDS = 30.0
"""A longer one ends a curve: no moment reaches across it."""

Key = tuple[str, int, str, str | None]
"""Video id, epoch, channel, language."""


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of one generation of a video's channel, in one language, that a curve is wanted
    for."""

    video_id: str
    epoch: int
    channel: str
    generation: str
    language: str | None
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Sentences of one channel, epoch and language of a video that follow each other, in time
    order, and what the query finds in them.

    starts, ends: seconds, float64 of shape (n,). meaning: what the sentence's cosine is worth,
    0..1, float64 of shape (n,), zeros where there are no vectors. cosines: the same, raw; NaN where
    there is none. texts, evidence, ids: of each sentence.
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
    ids: tuple[str, ...] = ()

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
    regions: Iterable[Region],
    wanted: Filter,
) -> list[Curve]:
    """The curves of the regions, merged where one video has several of them.

    wanted: passes the passages to look in.
    """
    spans: dict[tuple[str, str | None], list[tuple[float, float]]] = {}
    ids: dict[str, None] = {}
    for one in regions:
        spans.setdefault((one.generation, one.language), []).append(
            (one.start_seconds, one.end_seconds)
        )
        ids.update(
            dict.fromkeys(
                outline_ids(one.generation, one.language, one.start_seconds, one.end_seconds)
            )
        )
    outlines = [outline_from(point.payload) for point in library.store.retrieve(list(ids))]
    outlines.sort(key=lambda o: (o.video_id, o.epoch, o.channel, str(o.language), o.generation))
    parts = [
        _Part.of(list(own), spans[key], wanted)
        for key, own in groupby(outlines, lambda o: (o.generation, o.language))
    ]
    meanings.look_up(
        library,
        {one.id: place for part in parts for place in [part.key[:3]] for one in part.sentences},
    )
    windows = [id for part in parts for _, _, id in part.windows]
    scores: Mapping[str, float] = {}
    if query.vector.indices and windows:
        scores = library.store.scores(WORDS.name, query.vector, windows)
    return [_curve(part, run, scores, query, meanings) for part in parts for run in part.runs()]


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of one generation and language. windows: first and last sentence, and id."""

    key: Key
    analyzer: str
    sentences: list[Sentence]
    windows: list[tuple[int, int, str]]

    @classmethod
    def of(
        cls, outlines: Sequence[Outline], spans: Sequence[tuple[float, float]], wanted: Filter
    ) -> _Part:
        """Its sentences that begin in one of the spans and pass, and the windows over those
        alone."""
        first = outlines[0]
        key = (first.video_id, first.epoch, first.channel, first.language)
        everything = sorted(
            (one for outline in outlines for one in outline.sentences),
            key=lambda s: (s.start_seconds, s.end_seconds, s.id),
        )
        starts = np.array([one.start_seconds for one in everything])
        here = np.zeros(len(everything), bool)
        for begin, end in spans:
            here |= (begin <= starts) & (starts < end)
        here &= _passing(first, everything, wanted)
        before = np.concatenate([[0], np.cumsum(here)])
        windows = [window for outline in outlines for window in outline.windows]
        begins = np.searchsorted(starts, [one.start_seconds for one in windows], "right") - 1
        ends = np.searchsorted(starts, [one.last_start_seconds for one in windows], "right")
        begins = np.maximum(begins, 0)
        whole = (ends > begins) & (before[ends] - before[begins] == ends - begins)
        over = [
            (int(before[begins[n]]), int(before[ends[n]]) - 1, windows[n].id)
            for n in np.flatnonzero(whole)
        ]
        kept = [one for one, there in zip(everything, here, strict=True) if there]
        return cls(key, first.analyzer, kept, sorted(over))

    def runs(self) -> Iterator[tuple[int, int]]:
        """Half-open ranges of sentences, cut where nobody speaks for long, and where nothing was
        read."""
        first, end_seconds = 0, 0.0
        for at, one in enumerate(self.sentences):
            if at > first and one.start_seconds - end_seconds > LONGEST_SILENCE_SECONDS:
                yield first, at
                first = at
            here = min(one.end_seconds, one.start_seconds + LONGEST_SENTENCE_SECONDS)
            end_seconds = max(here, end_seconds) if at > first else here
        if self.sentences:
            yield first, len(self.sentences)


_DIFFER = ("start_us", "start_seconds", "end_seconds", "evidence")
"""What the sentences of one outline do not have in common."""


def _passing(outline: Outline, sentences: Sequence[Sentence], wanted: Filter) -> np.ndarray:
    """Whether the passage of each passes, bool of shape (n,)."""
    same = {
        "kind": "passage",
        "video_id": outline.video_id,
        "epoch": outline.epoch,
        "channel": outline.channel,
        "generation": outline.generation,
        "language": outline.language,
    }
    must = [one for one in wanted.must if one.key in _DIFFER]
    must_not = [one for one in wanted.must_not if one.key in _DIFFER]
    common = Filter(
        tuple(one for one in wanted.must if one.key not in _DIFFER),
        tuple(one for one in wanted.must_not if one.key not in _DIFFER),
    )
    if not common.passes(same):
        return np.zeros(len(sentences), bool)
    if not must and not must_not:
        return np.ones(len(sentences), bool)
    own = Filter(tuple(must), tuple(must_not))
    return np.array(
        [
            own.passes(
                {
                    "start_us": microseconds(one.start_seconds),
                    "start_seconds": one.start_seconds,
                    "end_seconds": one.end_seconds,
                    "evidence": list(one.evidence),
                }
            )
            for one in sentences
        ],
        bool,
    )


def _curve(
    part: _Part,
    run: tuple[int, int],
    scores: Mapping[str, float],
    query: WordQuery,
    meanings: Meanings,
) -> Curve:
    begin, end = run
    sentences = part.sentences[begin:end]
    spans = [
        (first - begin, last - begin, scores.get(id, 0.0))
        for first, last, id in part.windows
        if begin <= first and last < end
    ]
    known = [meanings.known.get(one.id) for one in sentences]
    name = part.analyzer
    spoken = np.zeros(len(sentences), bool)  # only these can hold words of the query
    for first, last, score in spans:
        spoken[first : last + 1] |= score > 0
    none: frozenset[int] = frozenset()
    asked, terms_of = query.findable(name), analyzer(name).query
    held = tuple(
        asked.intersection(terms_of(one.text)) if there and asked else none
        for one, there in zip(sentences, spoken.tolist(), strict=True)
    )
    starts = np.array([one.start_seconds for one in sentences], np.float64)
    ends = np.array([one.end_seconds for one in sentences], np.float64)
    return Curve(
        key=part.key,
        analyzer=name,
        starts=starts,
        ends=np.minimum(ends, starts + LONGEST_SENTENCE_SECONDS),
        meaning=np.array([one.score if one else 0.0 for one in known], np.float64),
        cosines=np.array([one.cosine if one else np.nan for one in known], np.float64),
        texts=tuple(one.text for one in sentences),
        evidence=tuple(one.evidence for one in sentences),
        first=np.array([span[0] for span in spans], np.int64),
        last=np.array([span[1] for span in spans], np.int64),
        words=np.array([bm25_share(span[2], name, query) for span in spans], np.float64),
        bm25=np.array([span[2] for span in spans], np.float64),
        held=held,
        shares=np.array([query.share(terms, name) if terms else 0.0 for terms in held], np.float64),
        model=next((one.model for one in known if one), ""),
        ids=tuple(one.id for one in sentences),
    )
