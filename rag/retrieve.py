"""Questions in, moments out: every channel's candidates, fused on the time axis."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import UsageError
from index.library import Library
from index.schema import Space
from rag.apart import Apart, take_apart
from rag.attempt import Asked, Attempt, Wanted
from rag.images import SIMILAR
from rag.pictured import Pictured
from rag.query import Ask, ParsedQuery, parse
from rag.result import SearchResult
from rag.scope import Scope
from rag.settings import MOST_MOMENTS, RetrieveSettings
from rag.vectors import QueryEncoders, SpaceQuery, words_in
from rag.views import View

if TYPE_CHECKING:  # what few searches need is imported where they do
    from rag.planner import Planner
    from rag.rerank import Reranker

FLIPS = 5
"""Times a search starts anew because a model swap changed what searchers see under its hands."""


class Retriever:
    """Searches one library. Keeps nothing between searches but what it is given: encoders, without
    which it goes by words and fingerprints alone, a planner that takes questions apart, and
    rerankers that judge, one after the other, the best results of words alone.

    wanted: channels that a moment's coverage names even where its video has none of them yet.
    """

    def __init__(
        self,
        library: Library,
        settings: RetrieveSettings | None = None,
        encoders: QueryEncoders | None = None,
        planner: Planner | None = None,
        rerankers: Sequence[Reranker] = (),
        *,
        wanted: Sequence[str] = (),
    ):
        self.wanted = tuple(wanted)
        self.library = library
        self.settings = settings or RetrieveSettings()
        self.encoders = encoders
        self.planner = planner
        self.rerankers = tuple(rerankers)

    def search(
        self,
        text: str = "",
        *,
        image: Path | None = None,
        clip: str | None = None,
        videos: Sequence[str] = (),
        channels: Sequence[str] = (),
        limit: int | None = None,
        explain: bool = False,
        misses: bool = False,
    ) -> SearchResult:
        """The moments that match the words by themselves or by their meaning, show the picture in
        the file `image` or one like it, or show the footage of `clip` (a video, or a stretch of
        one: see `rag.clips`). Where several are given, those where more of them hold come first.

        text: as a person types it; `rag.query` has what it may hold besides words. videos: ids,
        paths, file names or titles to look in; all of them where empty. channels: likewise.
        misses: words that lie below the floors are results too.
        Nothing that matches is an empty result, not an error.

        Raises UsageError for a query without a word or picture, a filter that means nothing, an
        unknown channel or an ambiguous video; VideoNotFoundError; MediaError for an image or a
        clip that cannot be read.
        """
        if misses:
            seeing = copy(self)
            seeing.settings = self.settings.with_misses()
            return seeing.search(
                text, image=image, clip=clip, videos=videos, channels=channels, limit=limit,
                explain=explain,
            )  # fmt: skip
        # Bytes of a terminal that are no text come as lone surrogates, which no engine takes.
        typed = text.encode(errors="replace").decode()
        query = parse(typed)
        words = any(unicodedata.category(character)[0] in "LN" for character in query.text)
        seen = image is not None or clip is not None
        if not words and not seen:
            why = "only says what to leave out" if query.excluded else "holds no word to search for"
            raise UsageError(f"“{typed}” {why}." if typed.strip() else "Search for what?")
        if seen and query.languages:
            raise UsageError("lang: narrows what is said and written: leave it out with a picture.")
        limit = self.settings.limit if limit is None else limit
        if limit < 1:
            raise UsageError(f"A limit of {limit} leaves nothing to show.")
        if limit > MOST_MOMENTS:
            raise UsageError(f"A limit of {limit} is too large: at most {MOST_MOMENTS}.")
        scope = Scope.of(query, self.library, videos, channels)
        pictured = Pictured(self.library, image, clip)
        found = self._moments(query, scope, pictured, videos, limit, explain, words, seen)
        if not (explain and words and found.moments):
            return found
        from rag.explain import with_curves

        return with_curves(found, self, query, videos, channels)

    def _moments(
        self,
        query: ParsedQuery,
        scope: Scope,
        pictured: Pictured,
        videos: Sequence[str],
        limit: int,
        explain: bool,
        words: bool,
        seen: bool,
    ) -> SearchResult:
        """In the order in time that is asked for, if one is. words, seen: are searched for."""
        query = query if words else replace(query, text="", phrases=())
        apart = take_apart(query, self.planner) if words and not seen else Apart(None)
        asks, notes = apart.asks, apart.notes
        if apart.order is not None:
            from rag.in_order import search_in_order

            everywhere = Scope.of(ParsedQuery("", videos=query.videos), self.library, videos)
            found = search_in_order(
                apart.order, self._find, self.library, everywhere, scope, limit, explain,
                self.settings, excluded=query.excluded, asks=asks,
            )  # fmt: skip
            if found is not None:
                return replace(found, notes=(*notes, *found.notes), things=apart.things)
        found = self._find(query, scope, limit, explain, asks=asks, pictured=pictured, notes=notes)
        return replace(found, things=apart.things)

    def _find(
        self,
        query: ParsedQuery,
        scope: Scope,
        limit: int,
        explain: bool = False,
        *,
        asks: Sequence[Ask] = (),
        pictured: Pictured | None = None,
        notes: Sequence[str] = (),
    ) -> SearchResult:
        """Searches, anew where a model swap changed what searchers see under its hands."""
        pictured = pictured or Pictured(self.library)
        asks = asks or ([Ask(query.text)] if query.text else [])
        # Loading an encoder takes long enough for a swap: what is hidden is read before.
        now = self._seen_by_searchers()
        for _ in range(FLIPS):
            hidden, spaces = now
            asked, seen, views, missing = self._asked(asks, pictured, scope, spaces)
            told = (*notes, *pictured.notes, *missing)
            wanted = Wanted(
                query, scope, pictured, asked, seen, views, limit, explain, self.wanted, told
            )
            result = Attempt(self.library, self.settings, self.rerankers, wanted, hidden).run()
            before, now = now, self._seen_by_searchers()
            if now == before:
                break
        return result

    def _seen_by_searchers(self) -> tuple[tuple[str, ...], tuple[Space, ...]]:
        spaces = () if self.encoders is None else tuple(self.library.spaces())
        return self.library.hidden_generations(), spaces

    def _asked(
        self, asks: Sequence[Ask], pictured: Pictured, scope: Scope, spaces: Sequence[Space]
    ) -> tuple[list[Asked], list[tuple[SpaceQuery, str]], list[View], list[str]]:
        """The asks in the spaces of passages; all that is asked of the spaces of frames and sounds
        (with what to call what is found there); the clip in those of frames; and notes on those
        that cannot be asked."""
        asked: list[Asked] = []
        seen: list[tuple[SpaceQuery, str]] = []
        views: list[View] = []
        notes: dict[str, None] = {}
        encoders = self.encoders
        for ask in asks:
            own = scope.among(ask.channels)
            if own is None:
                continue
            meanings: list[SpaceQuery] = []
            for space in spaces:
                if encoders is None or not own.asks(space.channel):
                    continue
                encoder = encoders.text(space)
                if encoder is None:
                    notes.setdefault(encoders.note(space))
                elif space.channel == "text":
                    meanings.append(words_in(space, encoder, ask.text, self.settings))
                else:
                    seen.append((words_in(space, encoder, ask.text, self.settings), ""))
            asked.append(Asked(ask, own, meanings))
        for space in spaces:
            if encoders is None or not pictured.parts or space.channel != "frame":
                continue
            eye = encoders.images(space) if scope.asks("frame") else None
            if eye is not None:
                images, looks = pictured.in_space(space, eye, self.settings)
                seen.extend((image, SIMILAR) for image in images)
                views.extend(looks)
            elif scope.asks("frame") and not asks:
                notes.setdefault(encoders.note(space))
        return asked, seen, views, list(notes)
