"""Search in what is said: stretches of sentences, ranked by their meaning and their words, each
with the span that its relevance curve gives.

A passage says one thing in several sentences. So a stretch scores by its best sentence and by the
mean of all, and likewise by the words of the windows in it. Candidates come from the store's two
indexes; only what lies around the best of them is read and scored in full. docs/retrieval.md has
what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from index.library import Library
from index.passages import OTHERWISE_CUT
from index.records import evidence_from
from index.schema import Video
from index.store import Filter, Match
from index.text import WORDS, analyzer
from rag.cohesion import USUAL, cohesion, ids_of
from rag.compounds import together
from rag.curves import Curve, Region, read_curves
from rag.fuse import MOST_OVERLAP, Dropped, Find
from rag.ground import Lengths, ground, lengths
from rag.presence import Presence, in_other_languages, nearest, presence
from rag.settings import RetrieveSettings
from rag.vectors import Meanings
from rag.wording import is_word, ranges
from rag.words import WordQuery, bm25_share, piece

BIN_SECONDS = 60.0
"""Candidates this close together are looked at as one."""

CORE_SENTENCES = 3
"""At most so many sentences of a stretch are shown for it."""


class Window(NamedTuple):
    """A stretch that was ranked: sentences first..last (half-open) of a curve. score: 0..1."""

    score: float
    curve: int
    first: int
    last: int


def find_stretches(
    query: WordQuery,
    library: Library,
    wanted: Filter,
    limit: int,
    settings: RetrieveSettings,
    *,
    meanings: Meanings,
    vectors: Filter,
) -> tuple[list[Find], list[Dropped]]:
    """Stretches of what is said, best first, and the nearest that were left out.

    wanted: passes the passages to look in; vectors: passes theirs. limit: results wanted.
    """
    otherwise_cut = Match("channel", OTHERWISE_CUT)
    wanted, vectors = wanted.but_not(otherwise_cut), vectors.but_not(otherwise_cut)
    most = limit + settings.rank.regions
    near = meanings.near(library, vectors, most * settings.rank.candidates)
    regions, videos = _regions(query, library, wanted, most, settings, meanings, near)
    curves = read_curves(query, meanings, library, regions, wanted)
    there = presence(
        nearest(curves),
        lambda: library.store.count(vectors),
        settings.presence,
        lambda: in_other_languages(query, (curve.key[3] for curve in curves)),
    )
    allowed = [lengths(_duration(videos, curve.key[0]), settings.ground) for curve in curves]
    titled = [_titled(videos, curve, query) for curve in curves]
    relevance = [curve.relevance() for curve in curves]
    taken: dict[tuple, list[tuple[float, float]]] = {}
    finds: list[Find] = []
    dropped: list[Dropped] = []
    for window in _ranked(curves, allowed, titled, meanings, library, most, settings):
        if len(finds) + len(dropped) == most:
            break
        curve, longest = curves[window.curve], allowed[window.curve]
        others = taken.setdefault(curve.key[:3], [])
        span = _span(window, curve, relevance[window.curve], others, longest, settings)
        if span is None:
            continue
        others.append((float(curve.starts[span[0]]), float(curve.ends[span[0] : span[1]].max())))
        find, spoken, meant = _find(window, curve, span, query, settings)
        find = replace(find, nearest=there.score)
        why = _too_little(find, spoken, meant, curve.texts[slice(*span)], there, settings)
        if why:
            dropped.append(Dropped(find, why))
        else:
            finds.append(find)
    return _by_their_words(finds, library), dropped


def _regions(
    query: WordQuery,
    library: Library,
    wanted: Filter,
    most: int,
    settings: RetrieveSettings,
    meanings: Meanings,
    near: Mapping[str, Mapping],
) -> tuple[list[Region], Mapping[str, Video]]:
    """What to look at closely, and its videos by id. near: the nearest passages by meaning,
    with what is known of their vectors."""
    candidates = most * settings.rank.candidates
    scores: dict[tuple, list[float]] = {}

    def note(payload: Mapping, generation: str, score: float, by: int) -> None:
        at = int(payload["start_seconds"] // BIN_SECONDS)
        place = (payload["video_id"], payload["epoch"], payload["channel"])
        here = scores.setdefault((*place, generation, payload["language"], at), [0.0, 0.0])
        here[by] = max(here[by], score)

    if query.vector.indices:
        for hit in library.store.query(WORDS.name, query.vector, where=wanted, limit=candidates):
            share = bm25_share(hit.score, hit.payload["analyzer"], query)
            note(hit.payload, hit.payload["generation"], share, 0)
    for id, payload in near.items():
        note(payload, payload["of"], meanings.known[id].score, 1)
    ranked = sorted(
        scores.items(), key=lambda item: ((1 - item[1][0]) * (1 - item[1][1]), str(item[0]))
    )
    best = [key for key, _ in ranked[:most]]
    videos = library.some_videos({key[0] for key in best})
    regions = []
    for *place, at in best:
        reach = 1.5 * lengths(_duration(videos, place[0]), settings.ground).usual_seconds
        start = at * BIN_SECONDS
        regions.append(Region(*place, start - reach, start + BIN_SECONDS + reach))
    return regions, videos


def _duration(videos: Mapping[str, Video], video_id: str) -> float | None:
    video = videos.get(video_id)
    return None if video is None else video.duration_seconds


def _titled(videos: Mapping[str, Video], curve: Curve, query: WordQuery) -> float:
    """How much of the query the title of the curve's video holds, 0..1; words that are said nowhere
    count, too."""
    video = videos.get(curve.key[0])
    asked = query.terms.get(curve.analyzer)
    if video is None or not asked:
        return 0.0
    held = set(asked).intersection(analyzer(curve.analyzer).query(video.title))
    return query.share(held, curve.analyzer)


def _ranked(
    curves: Sequence[Curve],
    allowed: Sequence[Lengths],
    titled: Sequence[float],
    meanings: Meanings,
    library: Library,
    most: int,
    settings: RetrieveSettings,
) -> Iterator[Window]:
    """All windows of all curves, best first. titled: how much of the query the titles hold.

    How cohesive a window is tells only what is read, so that is told of the most promising ones.
    """
    rank = settings.rank
    windows: list[Window] = []

    def add(at: int, first: np.ndarray, last: np.ndarray, cohesive: np.ndarray) -> None:
        scores = window_scores(curves[at], first, last, settings, cohesive)
        scores = 1.0 - (1.0 - scores) * (1.0 - rank.title_weight * titled[at])
        rows = zip(scores.tolist(), first.tolist(), last.tolist(), strict=True)
        windows.extend(Window(score, at, a, b) for score, a, b in rows)

    for at, (curve, usual) in enumerate(zip(curves, allowed, strict=True)):
        first, last = _windows(curve, usual, settings)
        add(at, first, last, np.full(len(first), USUAL))
    windows.sort(key=lambda w: (-w.score, w.curve, w.first))
    promising = windows[: most * rank.read]
    del windows[: len(promising)]
    spans: dict[int, list[tuple[int, int]]] = {}
    for window in promising:
        spans.setdefault(window.curve, []).append((window.first, window.last))
    wanted = [id for at in spans for id in ids_of(curves[at], spans[at], rank.sentences)]
    vectors = meanings.vectors(library, wanted)
    for at, own in spans.items():
        cohesive = [cohesion(curves[at], *span, vectors, rank.sentences) for span in own]
        add(at, *np.array(own).T, np.array(cohesive))
    windows.sort(key=lambda w: (-w.score, w.curve, w.first))
    return iter(windows)


def _windows(
    curve: Curve, allowed: Lengths, settings: RetrieveSettings
) -> tuple[np.ndarray, np.ndarray]:
    """First sentences of the windows of a curve, and one past their last."""
    count = len(curve)
    steps = np.minimum(np.diff(curve.starts), BIN_SECONDS / 2)
    spacing = max(float(steps.mean()) if count > 1 else 1.0, 0.5)
    usual = round(allowed.usual_seconds / spacing) if allowed.grow else 0
    size = min(max(settings.rank.sentences, usual), count)
    step = max(1, size // settings.rank.sentences)
    first = np.arange(0, count - size + 1, step)
    if first[-1] != count - size:
        first = np.append(first, count - size)
    last = np.minimum(first + size, count)
    until = np.searchsorted(curve.ends, curve.starts[first] + allowed.longest_seconds, "right")
    return first, np.maximum(np.minimum(last, until), first + 1)


def window_scores(
    curve: Curve,
    first: np.ndarray,
    last: np.ndarray,
    settings: RetrieveSettings,
    cohesive: np.ndarray,
) -> np.ndarray:
    """The score of each half-open range of sentences, 0..1, float64 of the shape of `first`, as is
    `cohesive` (see `rag.cohesion`)."""
    rank = settings.rank
    best, mean = _best_and_mean(curve.meaning, first, last)
    together = np.minimum(mean / cohesive, 1.0)
    doubt = 1.0 - np.minimum(rank.peak * best + rank.mean * together, 1.0)
    inside = np.searchsorted(curve.first, first)
    beyond = np.searchsorted(curve.last, last)
    if len(curve.words):
        beyond = np.clip(beyond, 1, len(curve.words))
        inside = np.minimum(inside, beyond - 1)
        best, mean = _best_and_mean(curve.words, inside, beyond)
        spoken = rank.spoken_peak * best + (1.0 - rank.spoken_peak) * mean
        doubt *= 1.0 - rank.words_weight * spoken
    held, _ = _best_and_mean(curve.shares, first, last)
    return 1.0 - doubt * (1.0 - rank.sentence_weight * held)


def _best_and_mean(
    values: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The maximum and the mean of each half-open range."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    edges = np.stack([first, last], axis=1).ravel()
    best = np.maximum.reduceat(np.append(values, -np.inf), edges)[::2]
    return best, (total[last] - total[first]) / (last - first)


def _span(
    window: Window,
    curve: Curve,
    relevance: np.ndarray,
    taken: Iterable[tuple[float, float]],
    allowed: Lengths,
    settings: RetrieveSettings,
) -> tuple[int, int] | None:
    """Where the moment lies, between those that better windows have taken; None where one of them
    has most of the window."""
    first, last = window.first, window.last
    start, end = float(curve.starts[first]), float(curve.ends[first:last].max())
    middle = (start + end) / 2
    size = last - first
    low, high = max(0, first - size), min(len(curve), last + size)
    for other_start, other_end in taken:
        overlap = min(end, other_end) - max(start, other_start)
        if overlap > MOST_OVERLAP * min(end - start, other_end - other_start):
            return None
        if (other_start + other_end) / 2 <= middle:
            low = max(low, int(np.searchsorted(curve.starts, other_end - 1e-6)))
        else:
            high = min(high, int(np.searchsorted(curve.ends, other_start + 1e-6, "right")))
    first, last = max(first, low), min(last, high)
    if first >= last:
        return None
    a, b = ground(
        relevance[low:high],
        curve.starts[low:high],
        curve.ends[low:high],
        (first - low, last - low),
        float(relevance.mean()),
        allowed,
        settings.ground,
    )
    return low + a, low + b


def _find(
    window: Window,
    curve: Curve,
    span: tuple[int, int],
    query: WordQuery,
    settings: RetrieveSettings,
) -> tuple[Find, float, float]:
    """The find, and how much of the query its words hold and its meaning scores, each 0..1."""
    video_id, epoch, channel, _ = curve.key
    core = _core(curve, span, query)
    a, b = span
    terms = query.terms.get(curve.analyzer, {})
    held = frozenset().union(*curve.held[a:b])
    cosines = curve.cosines[a:b]
    cosine = None if np.isnan(cosines).all() else float(np.nanmax(cosines))
    inside = (curve.last >= a) & (curve.first < b)
    spoken, meant = query.share(held, curve.analyzer), float(curve.meaning[a:b].max())
    find = Find(
        video_id=video_id,
        epoch=epoch,
        channel=channel,
        start_seconds=float(curve.starts[a]),
        end_seconds=float(curve.ends[a:b].max()),
        raw=float(curve.bm25[inside].max()) if held and inside.any() else cosine or 0.0,
        score=window.score,
        text=" ".join(curve.texts[core[0] : core[1]]),
        text_evidence=tuple(id for ids in curve.evidence[core[0] : core[1]] for id in ids),
        text_start_seconds=float(curve.starts[core[0]]),
        text_end_seconds=float(curve.ends[core[0] : core[1]].max()),
        evidence=tuple(id for ids in curve.evidence[a:b] for id in ids),
        terms=tuple(sorted((terms[id] for id in held), key=lambda term: (-term.idf, term.id))),
        share=max(spoken, meant),
        cosine=cosine,
        model=curve.model if cosine is not None else "",
        whole=True,
    )
    return find, spoken, meant


def _too_little(
    find: Find,
    spoken: float,
    meant: float,
    said: Sequence[str],
    there: Presence,
    settings: RetrieveSettings,
) -> str:
    """Why the find is none; nothing where it is one. said: its sentences."""
    if find.cosine is None or (there.there and meant < settings.text.floor):
        # By its words alone.
        if spoken < settings.floor:
            return f"holds {spoken:.0%} of the query (floor {settings.floor:.0%})"
    elif not there.there and (
        spoken < settings.narrow_share or not _as_typed(find, said, settings)
    ):
        return (
            f"nothing is near enough: the best sentences score {there.score:.2f} "
            f"(floor {there.floor:.2f})"
        )
    return ""


def _as_typed(find: Find, said: Sequence[str], settings: RetrieveSettings) -> bool:
    """Whether the words that the find shares with the query stand there as they were typed, or two
    of them as one (`rag.compounds`), and one is rare. A stem in common is no proof: "generalizing"
    and "generally" have one. Nor is a single letter, but in scripts where that is a word."""
    rare = settings.presence.rare_passages
    if not any(term.passages <= rare and is_word(term.word) for term in find.terms):
        return False
    text = " ".join(said)
    return all(ranges(term.word, text) or ranges(together(term.word), text) for term in find.terms)


def _core(curve: Curve, span: tuple[int, int], query: WordQuery) -> tuple[int, int]:
    """The sentences of a stretch that tell most: the fewest that hold the most of the query."""

    meaning = curve.meaning.tolist()

    def tells(first: int, last: int) -> float:
        held = [terms for terms in curve.held[first:last] if terms]
        words = query.share(frozenset().union(*held), curve.analyzer) if held else 0.0
        return words + max(meaning[first:last]) - 0.1 * (last - first)

    ranges = (
        (first, last)
        for first in range(*span)
        for last in range(first + 1, min(first + CORE_SENTENCES, span[1]) + 1)
    )
    return max(ranges, key=lambda one: (tells(*one), -one[0]))


def _by_their_words(finds: list[Find], library: Library) -> list[Find]:
    """Where a piece of evidence holds several sentences and the times of its words are known, the
    text is narrowed to the sentences that match, and the find with it where it is no longer."""
    ids = dict.fromkeys(id for find in finds for id in find.text_evidence)
    evidence = {point.id: evidence_from(point) for point in library.store.retrieve(list(ids))}
    narrowed = []
    for find in finds:
        pieces = [
            piece(evidence[id], {term.id for term in find.terms}, find.terms[0].analyzer)
            for id in find.text_evidence
            if find.terms and id in evidence and evidence[id].attributes.get("words")
        ]
        if not pieces or len(pieces) < len(find.text_evidence):
            narrowed.append(find)
            continue
        start, end = min(one[0] for one in pieces), max(one[1] for one in pieces)
        text = " ".join(one[2] for one in pieces)
        alone = set(find.evidence) == set(find.text_evidence)
        find = replace(find, text=text, text_start_seconds=start, text_end_seconds=end)
        narrowed.append(replace(find, start_seconds=start, end_seconds=end) if alone else find)
    return narrowed
