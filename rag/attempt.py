"""One attempt at a search: candidates of every way of asking, fused on the time axis, and judged.

What it does not see are the generations that were hidden when it began; whether that has changed
meanwhile is for `rag.retrieve` to say, which then makes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from index.library import Library
from index.schema import Moment
from index.store import Filter, where
from rag.fuse import Dropped, Find, Fused, fuse, rank, telling
from rag.pictured import Pictured
from rag.query import Ask, ParsedQuery
from rag.result import Catalogue, Explanation, SearchResult
from rag.scope import Scope
from rag.settings import RetrieveSettings
from rag.together import ask_again, together
from rag.vectors import Meanings, SpaceQuery, find_vectors
from rag.views import View
from rag.words import WordQuery, find_words, notes_on

if TYPE_CHECKING:  # what few searches need is imported where they do
    from rag.phrases import Held
    from rag.rerank import Reranker

_NOTHING = Filter()

Found = tuple[list[Find], list[Dropped]]


@dataclass(frozen=True, slots=True)
class Asked:
    """An ask, where it looks, and its words in the spaces of passages there."""

    ask: Ask
    scope: Scope
    meanings: Sequence[SpaceQuery]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for, and where.

    asked: in words. seen: in the spaces of frames and sounds, with what to call what is found
    there. views: the clip in those of frames. limit: moments at most. explain: whether to tell how
    they came about. channels: that a moment's coverage names even where its video has none of them
    yet. notes: sentences for the user that are there already.
    """

    query: ParsedQuery
    scope: Scope
    pictured: Pictured
    asked: Sequence[Asked]
    seen: Sequence[tuple[SpaceQuery, str]]
    views: Sequence[View]
    limit: int
    explain: bool
    channels: Sequence[str]
    notes: Sequence[str] = ()

    @property
    def parts(self) -> int:
        """Words, a picture, a clip: how many of them."""
        return self.pictured.parts + bool(self.asked)


class Attempt:
    """hidden: generations that it does not see. rerankers: judge the best results of words alone,
    one after the other."""

    def __init__(
        self,
        library: Library,
        settings: RetrieveSettings,
        rerankers: Sequence[Reranker],
        wanted: Wanted,
        hidden: tuple[str, ...],
    ):
        self._library = library
        self._settings = settings
        self._rerankers = rerankers
        self._wanted = wanted
        query, texts = wanted.query, [one.ask.text for one in wanted.asked]
        self._candidates = wanted.limit * settings.candidates * (2 if query.excluded else 1)
        self._passages = library.visible(where(kind="passage"), hidden)
        self._vectors = library.visible(where(kind="embedding"), hidden)
        self._evidence = library.visible(where(kind="evidence"), hidden)
        everything = library.visible(_NOTHING, hidden)
        self._words = {
            text: WordQuery.of(text, library, everything)
            for text in dict.fromkeys((query.text, *texts))
            if text
        }
        self._held = self._find_held()
        self._dropped: list[Dropped] = []
        self._notes: list[str] = []
        for one in wanted.asked:
            other_ways = bool(one.meanings or wanted.seen or self._held)
            words = self._words[one.ask.text]
            self._notes.extend(notes_on(words, one.ask.text, by_meaning=other_ways))

    def run(self) -> SearchResult:
        ranked = rank(self._telling(self._find_all()))
        groups, swallowed = fuse(ranked, self._settings)
        self._dropped.extend(swallowed)
        return self._told(self._judged(self._kept(groups), ranked))

    # --- finding ---------------------------------------------------------------------------------

    def _find_held(self) -> Held | None:
        """Where the phrases in quotes are; None where there are none."""
        query, scope = self._wanted.query, self._wanted.scope
        if not query.phrases:
            return None
        from rag.phrases import find_phrases

        looked_in = self._passages.also(scope.passages)
        return find_phrases(
            query, self._words[query.text], self._library, looked_in, self._candidates
        )

    def _held_in(self, scope: Scope) -> Scope:
        return scope if self._held is None else scope.only(self._held.videos)

    def _find_all(self) -> list[Find]:
        wanted = self._wanted
        pictures = self._evidence.also(self._held_in(wanted.scope).evidence)

        def by_image(place: Filter = _NOTHING) -> Found:
            return wanted.pictured.find_image(pictures.also(place), self._candidates)

        ways: list[Callable[[], Found]] = [self._by_words]
        ways += [
            partial(
                find_vectors, near, self._library, pictures, self._candidates, self._settings,
                text=called,
            )
            for near, called in wanted.seen
        ]  # fmt: skip
        ways += [by_image, partial(wanted.pictured.find_clip, wanted.views, pictures)]
        finds: list[Find] = []
        for way in ways:
            found, left_out = way()
            finds.extend(found)
            self._dropped.extend(left_out)
        if wanted.parts > 1:
            finds.extend(ask_again(finds, self._by_words, by_image))
        return finds

    def _by_words(self, place: Filter = _NOTHING) -> Found:
        """What was said, written or captioned, by words and by meaning, of all asks."""
        finds: list[Find] = []
        dropped: list[Dropped] = []
        for one in self._wanted.asked:
            own = self._held_in(one.scope)
            if not own.asks("text"):
                continue
            words = self._words[one.ask.text]
            where_words = self._passages.also(own.passages).also(place)
            meant = {
                "meanings": Meanings(one.meanings),
                "vectors": self._vectors.also(own.vectors).also(place),
            }
            ways = [
                find_words(
                    words, self._library, where_words, self._candidates, self._settings, **meant
                )
            ]
            if one.meanings:
                from rag.stretches import find_stretches

                ways.append(
                    find_stretches(
                        words, self._library, where_words, self._wanted.limit, self._settings,
                        **meant,
                    )
                )  # fmt: skip
            for found, left_out in ways:
                finds.extend(found)
                dropped.extend(left_out)
        return finds, dropped

    # --- judging ---------------------------------------------------------------------------------

    def _telling(self, finds: list[Find]) -> list[Find]:
        """Without those outside what is asked for, and those that say too little."""
        if self._held is not None:
            finds = self._held.join(finds)
        floor = self._settings.about_floor
        inside = self._held_in(self._wanted.scope).keep
        for keep in (inside, partial(telling, floor=floor)):
            finds, left_out = keep(finds)
            self._dropped.extend(left_out)
        return finds

    def _kept(self, groups: list[Fused]) -> list[Fused]:
        """Those that hold the phrases, and nothing that is excluded."""
        if self._held is not None:
            groups, left_out = self._held.keep(groups)
            self._dropped.extend(left_out)
            self._notes.extend(self._held.notes())
        excluded = self._wanted.query.excluded
        if excluded:
            from rag.phrases import without

            known = dict.fromkeys(
                name for one in self._words.values() for name in (*one.terms, *one.stopped)
            )
            groups, left_out = without(groups, excluded, tuple(known))
            self._dropped.extend(left_out)
        return groups

    def _judged(self, groups: list[Fused], ranked: list[Find]) -> list[Fused]:
        """First those where more of what is asked for holds; else as the rerankers judge."""
        wanted = self._wanted
        if wanted.parts > 1:
            return together(groups, ranked, wanted.parts)
        if wanted.query.text and groups and self._rerankers:
            from rag.rerank import rerank

            for reranker in self._rerankers:
                groups, note = rerank(groups, wanted.query.text, reranker)
                self._notes.extend([note] if note else [])
        return groups

    # --- telling ---------------------------------------------------------------------------------

    def _told(self, groups: list[Fused]) -> SearchResult:
        limit, explain = self._wanted.limit, self._wanted.explain
        catalogue = Catalogue(self._library, self._wanted.channels)
        catalogue.read(groups[:limit])
        moments: list[Moment] = []
        kept: list[Fused] = []
        more = 0
        for group in groups:
            if len(moments) == limit:
                more += 1
            elif (moment := catalogue.moment(group)) is not None:
                moments.append(moment)
                kept.append(group)
        terms = (known for one in self._words.values() for known in one.terms.values())
        return SearchResult(
            tuple(moments),
            tuple(map(Explanation.of, kept)) if explain else (),
            tuple(self._dropped) if explain else (),
            more,
            tuple(term for known in terms for term in known.values()),
            (*self._wanted.notes, *self._notes),
            tuple(group.best.share for group in kept),
        )
