"""How relevant each part of a video is to a query: the relevance curves of all channels on one
time axis.

What is said has the very curves that its spans are found on (`rag.curves`). A line on a screen, a
caption or a list of objects is as relevant as its words and what its passages mean, a picture or a
sound as its vector is near. Channels that agree add up as independent evidence does, as they do in
a search (`rag.fuse`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from index.library import Library
from index.outline import BLOCK_SECONDS
from index.passages import OTHERWISE_CUT
from index.schema import microseconds
from index.store import Filter, Match, Range, scroll, where
from index.text import WORDS
from rag.curves import Region, read_curves
from rag.scope import Scope, overlapping
from rag.settings import RetrieveSettings
from rag.vectors import Meanings, QueryEncoders, SpaceQuery, place_of, words_in
from rag.words import WordQuery, bm25_share

CLIP_SECONDS = 2.0
"""Saliency has one value for each clip of this length (QVHighlights: Lei et al. 2021)."""

WRITTEN = tuple(name for name in OTHERWISE_CUT if name != "summary")
"""Channels whose passages are windows over lines. Summaries say what, not when."""

AROUND_SECONDS = 30.0
"""Read on either side of a stretch, for what reaches into it."""

_STEPS = 8
"""Of a clip: pieces begin and end on these."""


@dataclass(frozen=True, slots=True)
class ChannelCurve:
    """What one channel finds of a query in a stretch of a video.

    starts, ends: of its pieces, seconds, float64 of shape (n,), in time order; they may overlap.
    values: 0..1, float64 of shape (n,).
    """

    channel: str
    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray


@dataclass
class CurveReader:
    """Reads the curves of one query.

    passages, vectors, evidence: what passages, their vectors and what has no words must pass.
    meanings: in the spaces of passages; seen: in those of pictures and sounds.
    """

    library: Library
    words: WordQuery
    meanings: Meanings
    seen: Sequence[SpaceQuery]
    passages: Filter
    evidence: Filter
    hidden: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        text: str,
        library: Library,
        encoders: QueryEncoders | None,
        scope: Scope,
        settings: RetrieveSettings,
    ) -> CurveReader:
        """Of the words of a query (without its filters, which are in `scope`). A space whose model
        is not here is left out, as in a search, which says so."""
        hidden = library.hidden_generations()
        passages: list[SpaceQuery] = []
        seen: list[SpaceQuery] = []
        for space in library.spaces() if encoders is not None else ():
            encoder = encoders.text(space) if scope.asks(space.channel) else None
            if encoder is not None:
                asked = words_in(space, encoder, text, settings)
                (passages if space.channel == "text" else seen).append(asked)
        return cls(
            library,
            WordQuery.of(text, library, library.visible(Filter(), hidden)),
            Meanings(passages),
            tuple(seen),
            library.visible(where(kind="passage"), hidden).also(scope.passages),
            library.visible(where(kind="evidence"), hidden).also(scope.evidence),
            hidden,
        )

    def read(
        self, video_id: str, epoch: int, start_seconds: float, end_seconds: float
    ) -> list[ChannelCurve]:
        """The curves of the channels that have anything in that stretch."""
        place = where(video_id=video_id, epoch=epoch)
        found = [
            *self._said(place, start_seconds, end_seconds),
            *self._written(place, start_seconds, end_seconds),
            *self._seen(place, start_seconds, end_seconds),
        ]
        return [curve for curve in found if len(curve.starts)]

    def _said(self, place: Filter, start: float, end: float) -> Iterator[ChannelCurve]:
        earliest = start - AROUND_SECONDS - BLOCK_SECONDS
        here = Range("start_us", gte=microseconds(earliest), lt=microseconds(end + AROUND_SECONDS))
        wanted = self.library.visible(where(kind="outline").also(place), self.hidden).and_(here)
        keys = {
            (one["video_id"], one["epoch"], one["channel"], one["generation"], one["language"])
            for one in (point.payload for point in scroll(self.library.store, wanted))
        }
        # A sentence that began before the stretch may reach into it, and so may windows of words.
        begin, until = start - AROUND_SECONDS, end + AROUND_SECONDS
        regions = [Region(*key, begin, until) for key in sorted(keys, key=str)]
        curves = read_curves(self.words, self.meanings, self.library, regions, self.passages)
        for channel in dict.fromkeys(curve.key[2] for curve in curves):
            own = [curve for curve in curves if curve.key[2] == channel]
            yield ChannelCurve(
                channel,
                np.concatenate([curve.starts for curve in own]),
                np.concatenate([curve.ends for curve in own]),
                np.concatenate([curve.relevance() for curve in own]),
            )

    def _written(self, place: Filter, start: float, end: float) -> Iterator[ChannelCurve]:
        """The channels whose passages are windows over lines."""
        store, words = self.library.store, self.words
        here = (Match("channel", WRITTEN), *overlapping((start, end)))
        wanted = self.passages.also(place).and_(*here)
        passages = {point.id: point.payload for point in scroll(store, wanted)}
        if not passages:
            return
        self.meanings.look_up(self.library, {id: place_of(p) for id, p in passages.items()})
        spoken = (
            store.scores(WORDS.name, words.vector, list(passages)) if words.vector.indices else {}
        )
        by_piece: dict[str, list[tuple[float, float]]] = {}
        analyzers: dict[str, str] = {}
        for id, payload in passages.items():
            meaning = self.meanings.known.get(id)
            share = bm25_share(spoken.get(id, 0.0), payload["analyzer"], words)
            for piece in payload["evidence"]:
                by_piece.setdefault(piece, []).append((meaning.score if meaning else 0.0, share))
                analyzers[piece] = payload["analyzer"]
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for point in store.retrieve(list(by_piece)):
            one, name = point.payload, analyzers[point.id]
            meaning, share = np.mean(by_piece[point.id], axis=0)
            held = words.share(words.held(one["text"], name), name) if share else 0.0
            value = 1.0 - (1.0 - meaning) * (1.0 - (share + held) / 2)
            row = (one["start_seconds"], one["end_seconds"], float(value))
            rows.setdefault(one["channel"], []).append(row)
        for channel, own in rows.items():
            yield ChannelCurve(channel, *np.array(sorted(own), np.float64).T)

    def _seen(self, place: Filter, start: float, end: float) -> Iterator[ChannelCurve]:
        for query in self.seen:
            here = (Match("channel", (query.space.channel,)), *overlapping((start, end)))
            wanted = self.evidence.also(place).and_(*here)
            spans = {
                point.id: (point.payload["start_seconds"], point.payload["end_seconds"])
                for point in scroll(self.library.store, wanted)
            }
            scores = self.library.store.scores(query.space.name, query.vector, list(spans))
            rows = [(*spans[id], query.scale.score(cosine)) for id, cosine in scores.items()]
            if rows:
                yield ChannelCurve(query.space.channel, *np.array(sorted(rows), np.float64).T)


def relevance(
    curves: Sequence[ChannelCurve], start_seconds: float, end_seconds: float, count: int
) -> np.ndarray:
    """Mean relevance in each of `count` equal parts of a stretch, 0..1, float64 of shape (count,).

    At any time a channel counts by its most relevant piece, and where it has none by nothing.
    """
    steps = count * _STEPS
    scale = steps / max(end_seconds - start_seconds, 1e-9)
    doubt = np.ones(steps)
    for curve in curves:
        own = np.zeros(steps)
        first = np.clip(np.floor((curve.starts - start_seconds) * scale + 0.5), 0, steps)
        last = np.clip(np.floor((curve.ends - start_seconds) * scale + 0.5), 0, steps)
        order = np.argsort(curve.values, kind="stable")  # the best is written last
        for a, b, value in zip(
            first[order].astype(int), last[order].astype(int), curve.values[order], strict=True
        ):
            own[a:b] = value
        doubt *= 1.0 - own
    return (1.0 - doubt).reshape(count, _STEPS).mean(axis=1)


def saliency(curves: Sequence[ChannelCurve], duration_seconds: float) -> np.ndarray:
    """One value for each clip of `CLIP_SECONDS`, the last one perhaps a part of one, 0..1, float64
    of shape (clips,)."""
    clips = clip_count(duration_seconds)
    return relevance(curves, 0.0, clips * CLIP_SECONDS, clips)


def clip_count(duration_seconds: float) -> int:
    return max(1, math.ceil(duration_seconds / CLIP_SECONDS - 1e-6))
