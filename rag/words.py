"""Search in what was said and written: passages by their words (BM25) and, where they have
vectors, by their meaning; narrowed to the evidence in them that matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from index.library import Library
from index.passages import OTHERWISE_CUT
from index.records import evidence_from
from index.schema import Evidence
from index.store import Filter, Hit, Match, SparseVector
from index.text import (
    K1,
    PLAIN,
    SEGMENTED,
    WORDS,
    TextStatistics,
    analyzer,
    inverse_document_frequency,
)
from rag.compounds import compounds
from rag.fuse import Dropped, Find, Term
from rag.sentences import sentences_around
from rag.settings import RetrieveSettings
from rag.vectors import NEAREST_MISSES, Meanings, place_of, with_meaning

UNSTOPPED = (PLAIN, SEGMENTED)
"""Analyzers that know no stop words of their own."""


MOST_WORDS = 256
"""Different words of a query that are searched for, the first ones: each costs look-ups."""


@dataclass(frozen=True, slots=True)
class WordQuery:
    """The words of a query and what each weighs in this library.

    terms: analyzer -> term id -> what it is; where the library writes two words of the query as
    one, that counts as much as both. mass: analyzer -> the query's whole weight, in which a word
    that the library lacks counts as much as the rarest it has. vector: over all analyzers.
    stopped: analyzers to which the query holds nothing but stop words. cut: it holds more than
    MOST_WORDS, and the others are left out. text: as it was asked.
    """

    terms: Mapping[str, Mapping[int, Term]]
    mass: Mapping[str, float]
    vector: SparseVector
    stopped: tuple[str, ...] = ()
    cut: bool = False
    text: str = ""

    def held(self, text: str, name: str) -> frozenset[int]:
        """The query's terms that the text holds, to that analyzer."""
        asked = self.findable(name)
        return asked.intersection(analyzer(name).query(text)) if asked else asked

    def findable(self, name: str) -> frozenset[int]:
        """The query's terms, to that analyzer, that the library has."""
        known = self.terms.get(name, {}).items()
        return frozenset(id for id, term in known if term.passages > 0)

    def share(self, terms: Iterable[int], name: str) -> float:
        """Of the query's weight, 0..1, that these terms of that analyzer hold."""
        mass = self.mass.get(name)
        known = self.terms.get(name, {})
        return min(sum(known[term].idf for term in terms) / mass, 1.0) if mass else 0.0

    @classmethod
    def of(cls, text: str, library: Library, visible: Filter) -> WordQuery:
        """visible: a filter that passes what searchers may see."""
        statistics = TextStatistics(library.store)
        terms: dict[str, dict[int, Term]] = {}
        mass: dict[str, float] = {}
        weights: dict[int, float] = {}
        stopped: list[str] = []
        cut = False
        present = statistics.analyzers(visible)
        for name in present:
            ids = analyzer(name).query(text)
            if name in UNSTOPPED:
                ids = _without_stop_words(text, name, ids, present)
            if not ids:
                stopped.append(name)
                continue
            words = _words_of(text, name, ids)
            if len(ids) > MOST_WORDS:
                ids = tuple(sorted(list(words)[:MOST_WORDS]))
                cut = True
            joined = compounds(text, analyzer(name), ids)
            total, counts = statistics.document_frequencies(name, (*ids, *joined), visible)
            known = {
                term: Term(
                    term,
                    words[term],
                    name,
                    inverse_document_frequency(counts[term], total),
                    round(counts[term]),
                    round(total),
                )
                for term in ids
            }
            here = {term: known[term].idf for term in ids if counts[term] > 0}
            terms[name] = known
            weights.update(here)
            rarest = max(here.values(), default=1.0)
            mass[name] = sum(here.get(term, rarest) for term in ids)
            for term, (typed, parts) in joined.items():
                if counts[term] > 0:
                    weight = sum(here.get(part, rarest) for part in parts)
                    weights[term] = weight
                    known[term] = Term(term, typed, name, weight, round(counts[term]), round(total))
        ordered = tuple(sorted(weights))
        vector = SparseVector(ordered, tuple(weights[term] for term in ordered))
        return cls(terms, mass, vector, tuple(stopped), cut, text)


def notes_on(query: WordQuery, text: str, *, by_meaning: bool) -> list[str]:
    """What the user should know of the words, in sentences. by_meaning: they are asked for in
    another way, too."""
    if query.stopped and not query.vector.indices and not by_meaning:
        languages = [name.capitalize() for name in query.stopped if name not in UNSTOPPED]
        places = f" in {', '.join(languages)}" if languages else ""
        return [f"“{text}” holds only words too common to search for{places}."]
    if query.cut:
        return [f"The query is long: its first {MOST_WORDS} different words were searched for."]
    return []


def _without_stop_words(
    text: str, name: str, ids: tuple[int, ...], present: Sequence[str]
) -> tuple[int, ...]:
    """What is left for text of no known language when the stop words of the library's languages,
    and of English, go. In little text "the" is a rare word, and would weigh much."""
    stopping = [analyzer(n) for n in dict.fromkeys((*present, "english")) if n not in UNSTOPPED]
    stopped: set[int] = set()
    for word in dict.fromkeys(text.split()):
        if any(not other.tokens(word) for other in stopping):
            stopped.update(analyzer(name).tokens(word))
    return tuple(term for term in ids if term not in stopped)


def _words_of(text: str, name: str, ids: Sequence[int]) -> dict[int, str]:
    """The word of the query behind each term id, as it was typed, in the query's order."""
    model = analyzer(name)
    words: dict[int, str] = {}
    missing = set(ids)
    # Once is enough but for scripts without spaces, where a word can hide others behind it.
    while missing:
        before = len(missing)
        for start, end in model.highlight(text, missing):
            for term in model.tokens(text[start:end]) & missing:
                words.setdefault(term, text[start:end])
        missing -= words.keys()
        if len(missing) == before:
            break
    return words | {term: "?" for term in ids if term not in words}


@dataclass
class _Stretch:
    """Neighbouring evidence of a passage, and the terms that it holds."""

    evidence: list[tuple[str, Evidence]]
    terms: set[int] = field(default_factory=set)


def find_words(
    query: WordQuery,
    library: Library,
    wanted: Filter,
    limit: int,
    settings: RetrieveSettings,
    *,
    meanings: Meanings | None = None,
    vectors: Filter = Filter(),
) -> tuple[list[Find], list[Dropped]]:
    """Stretches that match, unranked, and what was left out. Where meanings can be asked, what is
    cut into sentences is left to `rag.stretches`.

    wanted: passes the passages to look in; vectors: passes theirs. limit: passages to take from
    the store, and as many again by their meaning.
    """
    meanings = meanings or Meanings()
    if meanings.queries:
        otherwise_cut = Match("channel", OTHERWISE_CUT)
        wanted, vectors = wanted.and_(otherwise_cut), vectors.and_(otherwise_cut)
    hits: list[Hit] = []
    if query.vector.indices:
        hits = library.store.query(WORDS.name, query.vector, where=wanted, limit=limit)
    if meanings.queries:
        hits = _and_nearest(hits, query, library, wanted, meanings, vectors, limit)
        hits = sorted(hits, key=lambda hit: -_promise(hit, query, meanings))[: limit // 2 + 1]
    ids = dict.fromkeys(id for hit in hits for id in hit.payload["evidence"])
    evidence = {point.id: evidence_from(point) for point in library.store.retrieve(list(ids))}
    finds: list[Find] = []
    dropped: list[Dropped] = []
    misses = 0
    for hit in hits:
        meaning = meanings.known.get(hit.id)
        here = [find for find in _narrow(hit, evidence, query, settings) if find.terms]
        here.sort(key=lambda find: -find.share)
        share = here[0].share if here else 0.0
        if meaning is not None and meaning.enough and share < settings.narrow_share:
            whole = _whole(hit, evidence, here, query)
            finds.extend(with_meaning(find, meaning) for find in whole)
            continue
        for at, find in enumerate(here):
            if find.share < settings.floor:
                reason = (
                    f"holds {find.share:.0%} of the query's weight (floor {settings.floor:.0%})"
                )
                dropped.append(Dropped(find, reason))
            elif at == 0 and meaning is not None:
                # It stands for its passage: all of that speaks for it.
                of_passage = replace(
                    find, score=bm25_share(hit.score, hit.payload["analyzer"], query)
                )
                finds.append(with_meaning(of_passage, meaning))
            else:
                finds.append(find)
        if not here and meaning is not None and misses < NEAREST_MISSES:
            misses += 1
            reason = f"too far: a cosine of {meaning.cosine:.3f}"
            far = _whole(hit, evidence, (), query)
            dropped.extend(Dropped(with_meaning(find, meaning), reason) for find in far)
    return finds, dropped


def _and_nearest(
    hits: list[Hit],
    query: WordQuery,
    library: Library,
    wanted: Filter,
    meanings: Meanings,
    vectors: Filter,
    limit: int,
) -> list[Hit]:
    """The passages found by words, and those nearest by meaning, each with its exact BM25; in
    `meanings` then are the cosines of all. Passages that have gone (their vectors go later) and
    those that searchers must not see are left out."""
    meanings.look_up(library, {hit.id: place_of(hit.payload) for hit in hits})
    there = {hit.id for hit in hits}
    nearest = meanings.nearest(library, vectors, limit)
    missing = [id for id in nearest if id not in there]
    weights = dict(zip(query.vector.indices, query.vector.values, strict=True))
    found = list(hits)
    for point in library.store.retrieve(missing, with_vectors=True):
        if not wanted.passes(point.payload):
            continue
        own = point.vectors.get(WORDS.name, SparseVector((), ()))
        score = sum(
            value * weights.get(index, 0.0)
            for index, value in zip(own.indices, own.values, strict=True)
        )
        found.append(Hit(point.id, score, point.payload))
    return found


def _promise(hit: Hit, query: WordQuery, meanings: Meanings) -> float:
    """The most that a find in the passage can score, 0..1. Most candidates are near to nothing, and
    to read the evidence of all of them takes half of the search."""
    meaning = meanings.known.get(hit.id)
    spoken = bm25_share(hit.score, hit.payload["analyzer"], query)
    return 1.0 - (1.0 - spoken) * (1.0 - (meaning.score if meaning else 0.0))


def bm25_share(score: float, name: str, query: WordQuery) -> float:
    """The BM25 of a passage of that analyzer as a share of what it tends to where a passage holds
    nothing but the query, 0..1."""
    mass = query.mass.get(name)
    return min(score / ((K1 + 1) * mass), 1.0) if mass else 0.0


def _whole(
    hit: Hit, evidence: Mapping[str, Evidence], parts: Sequence[Find], query: WordQuery
) -> list[Find]:
    """The passage as one find, with the words of its parts; nothing where its evidence has gone."""
    here = [(id, evidence[id]) for id in hit.payload["evidence"] if id in evidence]
    if not here:
        return []
    terms = {term.id: term for part in parts for term in part.terms}
    return [
        Find(
            video_id=hit.payload["video_id"],
            epoch=hit.payload["epoch"],
            channel=hit.payload["channel"],
            start_seconds=min(one.start_seconds for _, one in here),
            end_seconds=max(one.end_seconds for _, one in here),
            raw=hit.score,
            score=bm25_share(hit.score, hit.payload["analyzer"], query),
            text=hit.payload["text"],
            evidence=tuple(id for id, _ in here),
            terms=tuple(sorted(terms.values(), key=lambda term: -term.idf)),
            share=max((part.share for part in parts), default=0.0),
        )
    ]


def _narrow(
    hit: Hit, evidence: Mapping[str, Evidence], query: WordQuery, settings: RetrieveSettings
) -> list[Find]:
    """The stretches of a passage that hold words of the query. Evidence that is gone by now is
    passed over; a passage without any has gone with it."""
    name = hit.payload["analyzer"]
    terms = query.terms.get(name)
    here = [(id, evidence[id]) for id in hit.payload["evidence"] if id in evidence]
    if not terms or not here:
        return []
    model = analyzer(name)
    wanted = {term for term, known in terms.items() if known.passages > 0}
    matched = [wanted & set(model.query(one.text)) for _, one in here]
    stretches: list[_Stretch] = []
    last = -1
    end_seconds = 0.0
    for at, ((id, one), found) in enumerate(zip(here, matched, strict=True)):
        if not found:
            continue
        near = stretches and one.start_seconds - end_seconds <= settings.join_gap_seconds
        if near and _seconds(stretches[-1], one) <= settings.longest_moment_seconds:
            stretches[-1].evidence.extend(here[last + 1 : at + 1])  # and what lies between
            stretches[-1].terms |= found
        else:
            stretches.append(_Stretch([(id, one)], set(found)))
        last = at
        end_seconds = max(end_seconds, one.end_seconds)
    if not stretches:  # a word that only the joined text holds (scripts without spaces)
        stretches = [_Stretch(here, wanted & set(model.query(hit.payload["text"])))]

    total = sum(terms[t].idf for t in set().union(*(s.terms for s in stretches)))
    return [_find(hit, stretch, query, name, total) for stretch in stretches]


def _seconds(stretch: _Stretch, one: Evidence) -> float:
    """How long the stretch would be with one more."""
    everything = [*(e for _, e in stretch.evidence), one]
    start = min(e.start_seconds for e in everything)
    return max(e.end_seconds for e in everything) - start


def _find(hit: Hit, stretch: _Stretch, query: WordQuery, name: str, total: float) -> Find:
    """total: idf of all that the passage matches; the stretch gets its share of the score."""
    terms = query.terms[name]
    held = sum(terms[term].idf for term in stretch.terms)
    raw = hit.score * (held / total if total else 1.0)
    pieces = [piece(one, stretch.terms, name) for _, one in stretch.evidence]
    separator = "\n" if hit.payload["channel"] == "screen_text" else " "
    return Find(
        video_id=hit.payload["video_id"],
        epoch=hit.payload["epoch"],
        channel=hit.payload["channel"],
        start_seconds=min(piece[0] for piece in pieces),
        end_seconds=max(piece[1] for piece in pieces),
        raw=raw,
        # (K1 + 1) times the query's weight is what BM25 tends to for a passage of nothing else.
        score=min(raw / ((K1 + 1) * query.mass[name]), 1.0) if query.mass[name] else 0.0,
        text=separator.join(text for _, _, text in pieces),
        evidence=tuple(id for id, _ in stretch.evidence),
        terms=tuple(sorted((terms[t] for t in stretch.terms), key=lambda term: -term.idf)),
        share=min(held / query.mass[name], 1.0) if query.mass[name] else 0.0,
    )


def piece(one: Evidence, terms: set[int], name: str) -> tuple[float, float, str]:
    """Start, end and text of the evidence, or where its words have times of the sentences in it
    that match."""
    words = one.attributes.get("words")
    ranges = analyzer(name).highlight(one.text, terms) if words else ()
    if ranges:
        start, end = sentences_around(one.text, ranges)
        span = _span_of(words, one.text, start, end)
        if span is not None and (start, end) != (0, len(one.text)):
            return (*span, one.text[start:end])
    return one.start_seconds, one.end_seconds, one.text


def _span_of(words: Sequence, text: str, start: int, end: int) -> tuple[float, float] | None:
    """From the first to the last of the timed words in text[start:end]; None where the words
    are not those of the text."""
    at = 0
    inside: list[tuple[float, float]] = []
    for start_seconds, end_seconds, word in words:
        found = text.find(word.strip(), at)
        if found < 0:
            return None
        at = found + len(word.strip())
        if found < end and at > start:
            inside.append((start_seconds, end_seconds))
    return (inside[0][0], inside[-1][1]) if inside else None
