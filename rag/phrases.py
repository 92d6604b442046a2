"""Quoted phrases: where they stand in what was said and written, and that a moment holds them.

A phrase of several words is in no index. But every passage that holds it holds its rarest word, so
those are read and their evidence is looked at word by word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from index.library import Library
from index.records import evidence_from
from index.schema import Evidence
from index.store import Filter, Hit, Match, SparseVector, scroll
from index.text import SEGMENTED, analyzer
from rag.fuse import Dropped, Find, Fused
from rag.query import ParsedQuery
from rag.wording import occurrences, ranges, words
from rag.words import WordQuery

MOST_PASSAGES = 2000
"""Passages read for a phrase. Where its rarest word is in more of them, those that hold the most
of its words; reading them takes about 0.2 s."""

MOST_SCANNED = 20_000
"""The same for a phrase of words that are in no index, since they are in every text."""

AGREEMENT = 0.5
"""What holding the phrases adds to a find's score, as one more channel that agrees would; all that
is found gets it, so it changes no order."""

SPACELESS = ("chinese", "japanese", SEGMENTED)
"""Analyzers whose words depend on what stands around them."""


@dataclass(frozen=True, slots=True)
class Held:
    """phrases: as they were typed. finds: one for each place that holds one, with an empty score.
    videos: ids of those that hold all. alone: nothing else is asked for. cut: there were more
    passages than are read."""

    phrases: tuple[str, ...]
    finds: tuple[Find, ...]
    videos: tuple[str, ...]
    alone: bool = False
    cut: bool = False

    def join(self, finds: Iterable[Find]) -> list[Find]:
        """What other channels and words found, and the places that hold a phrase. A find whose
        text holds one stands for it."""
        joined: list[Find] = []
        covered: set[tuple[str, str]] = set()
        for find in finds:
            here = tuple(phrase for phrase in self.phrases if ranges(phrase, find.text))
            if here:
                score = 1.0 - (1.0 - find.score) * (1.0 - AGREEMENT)
                find = replace(find, phrases=here, score=score, share=1.0)
                find = self._narrowed(find) if self.alone else find
                covered.update((phrase, id) for phrase in here for id in find.evidence)
            joined.append(find)
        for find in self.finds:
            places = {(phrase, id) for phrase in find.phrases for id in find.evidence}
            if not places <= covered:
                joined.append(find)
        return joined

    def _narrowed(self, find: Find) -> Find:
        """The place in it that holds as many phrases, where that is shorter."""
        for place in self.finds:
            if (
                place.channel == find.channel
                and place.phrases == find.phrases
                and place.seconds < find.seconds
                and set(place.evidence) <= set(find.evidence)
            ):
                return replace(place, raw=find.raw, score=find.score, terms=find.terms,
                               cosine=find.cosine, model=find.model)  # fmt: skip
        return find

    def keep(self, groups: Iterable[Fused]) -> tuple[list[Fused], list[Dropped]]:
        """The moments that hold every phrase, and the others."""
        kept: list[Fused] = []
        dropped: list[Dropped] = []
        for group in groups:
            everything = [*group.finds, *(one.find for one in group.merged)]
            there = {phrase for find in everything for phrase in find.phrases}
            lacking = [phrase for phrase in self.phrases if phrase not in there]
            if lacking:
                reason = f"does not hold “{lacking[0]}” as it is written"
                dropped.extend(Dropped(find, reason) for find in group.finds)
            else:
                kept.append(group)
        return kept, dropped

    def notes(self) -> list[str]:
        """What to tell the user, if anything."""
        quoted = " and ".join(f"“{phrase}”" for phrase in self.phrases)
        if not self.videos:
            together = " in one video" if len(self.phrases) > 1 else ""
            away = f"Nothing holds {quoted}{together} as it is written."
            return [f"{away} Without quotes, its words are searched for."]
        if self.cut:
            return [f"{quoted} is of words so common that not all that holds them was looked at."]
        return []


def find_phrases(
    asked: ParsedQuery, query: WordQuery, library: Library, wanted: Filter, limit: int
) -> Held:
    """query: of all of the text. wanted: passes the passages to look in. limit: passages whose
    evidence is looked at, for each phrase."""
    phrases = asked.phrases
    found: dict[str, list[Hit]] = {}
    cut = False
    for phrase in phrases:
        hits, more = _passages(phrase, query, library, wanted)
        found[phrase] = hits
        cut = cut or more
    videos: set[str] | None = None
    for hits in found.values():
        here = {hit.payload["video_id"] for hit in hits}
        videos = here if videos is None else videos & here
    videos = videos or set()
    kept = {
        phrase: [hit for hit in hits if hit.payload["video_id"] in videos][: limit * len(phrases)]
        for phrase, hits in found.items()
    }
    read = {hit.id: hit for hits in kept.values() for hit in hits}
    ids = dict.fromkeys(id for hit in read.values() for id in hit.payload["evidence"])
    evidence = {point.id: evidence_from(point) for point in library.store.retrieve(list(ids))}
    finds: dict[tuple, Find] = {}
    for hit in read.values():
        for find in _places(phrases, hit, evidence):
            finds.setdefault((find.phrases, find.evidence), find)
    alone = len(words(asked.text)) == sum(len(words(phrase)) for phrase in phrases)
    return Held(phrases, tuple(finds.values()), tuple(sorted(videos)), alone, cut)


def _passages(
    phrase: str, query: WordQuery, library: Library, wanted: Filter
) -> tuple[list[Hit], bool]:
    """The passages that hold the phrase, and whether there were too many to look at all."""
    written = [word.text for word in words(phrase)]

    def holds(hit: Hit) -> bool:
        return any(occurrences(written, [word.text for word in words(hit.payload["text"])]))

    held: list[Hit] = []
    cut = False
    for name in (*query.terms, *query.stopped):
        here = wanted.and_(Match("analyzer", (name,)))
        known = query.terms.get(name, {})
        terms = {id: known[id] for id in analyzer(name).query(phrase) if id in known}
        if terms and name not in SPACELESS and not all(t.passages for t in terms.values()):
            continue  # a word of it that no passage has
        hits: list[Hit] = []
        if terms:
            rarest = min(terms.values(), key=lambda term: term.passages)
            asked = {rarest.id: rarest.idf}
            if rarest.passages > MOST_PASSAGES or name in SPACELESS:
                asked = {term.id: term.idf for term in terms.values()}
            ordered = tuple(sorted(asked))
            vector = SparseVector(ordered, tuple(asked[id] for id in ordered))
            hits = library.store.query("words", vector, where=here, limit=MOST_PASSAGES)
            cut = cut or len(hits) == MOST_PASSAGES
        found = [hit for hit in hits if holds(hit)]
        if not terms or (name in SPACELESS and not found):
            scanned = list(islice(scroll(library.store, here), MOST_SCANNED))
            cut = cut or len(scanned) == MOST_SCANNED
            found = [hit for p in scanned if holds(hit := Hit(p.id, 0.0, p.payload))]
        held += found
    return held, cut


def _places(phrases: Sequence[str], hit: Hit, evidence: Mapping[str, Evidence]) -> Iterator[Find]:
    """Where in a passage each phrase stands, across neighbouring evidence too; and where it holds
    them all, the stretches from one to the others."""
    here = [(id, evidence[id]) for id in hit.payload["evidence"] if id in evidence]
    texts: list[str] = []
    of: list[int] = []
    for at, (_, one) in enumerate(here):
        found = [word.text for word in words(one.text)]
        texts += found
        of += [at] * len(found)
    places: list[list[tuple[int, int]]] = []
    for phrase in phrases:
        found = occurrences([word.text for word in words(phrase)], texts)
        places.append([(of[start], of[end - 1]) for start, end in found])
        for first, last in places[-1]:
            yield _find((phrase,), hit, here[first : last + 1])
    if len(phrases) > 1 and all(places):
        for first in places[0]:
            near = [min(those, key=lambda p: abs(p[0] - first[0])) for those in places[1:]]
            every = [first, *near]
            start, end = min(p[0] for p in every), max(p[1] for p in every)
            yield _find(tuple(phrases), hit, here[start : end + 1])


def _find(phrases: tuple[str, ...], hit: Hit, covered: Sequence[tuple[str, Evidence]]) -> Find:
    separator = "\n" if hit.payload["channel"] == "screen_text" else " "
    return Find(
        video_id=hit.payload["video_id"],
        epoch=hit.payload["epoch"],
        channel=hit.payload["channel"],
        start_seconds=min(one.start_seconds for _, one in covered),
        end_seconds=max(one.end_seconds for _, one in covered),
        raw=hit.score,
        score=AGREEMENT,
        text=separator.join(one.text for _, one in covered),
        evidence=tuple(id for id, _ in covered),
        phrases=phrases,
    )


def without(
    groups: Iterable[Fused], excluded: Sequence[str], analyzers: Sequence[str]
) -> tuple[list[Fused], list[Dropped]]:
    """The moments whose text holds none of the words or phrases, in any of their forms as these
    analyzers know them, and the others."""
    kept: list[Fused] = []
    dropped: list[Dropped] = []
    for group in groups:
        text = " ".join(find.text for find in group.finds)
        held = next((one for one in excluded if _holds(text, one, analyzers)), None)
        if held is None:
            kept.append(group)
        else:
            dropped.extend(Dropped(find, f"holds “{held}”") for find in group.finds)
    return kept, dropped


def _holds(text: str, excluded: str, analyzers: Sequence[str]) -> bool:
    if ranges(excluded, text):
        return True
    if len(words(excluded)) > 1:
        return False
    stems = ((set(analyzer(name).query(excluded)), name) for name in analyzers)
    return any(wanted and wanted <= set(analyzer(name).query(text)) for wanted, name in stems)
