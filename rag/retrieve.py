"""Questions in, moments out: every channel's candidates, fused on the time axis."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from index.errors import UsageError
from index.library import Library
from index.schema import Moment, Space
from index.store import Filter, where
from rag.fuse import Dropped, Find, Fused, Term, fuse, rank
from rag.in_order import search_in_order
from rag.order import split_order
from rag.phrases import Held, find_phrases, without
from rag.query import ParsedQuery, parse
from rag.result import Catalogue, Explanation, SearchResult
from rag.scope import Scope
from rag.settings import MOST_MOMENTS, RetrieveSettings
from rag.vectors import (
    Meanings,
    QueryEncoders,
    SpaceQuery,
    find_vectors,
    picture_in,
    words_in,
)
from rag.words import MOST_WORDS, UNSTOPPED, WordQuery, find_words

FLIPS = 5
"""Times a search starts anew because a model swap changed what searchers see under its hands."""

SIMILAR = "similar picture"
"""What a frame near a query picture is called; the same picture is found by its fingerprint."""

_NOTHING = Filter()


class Retriever:
    """Searches one library. Keeps nothing between searches but the encoders that it is given;
    without any, it goes by words and fingerprints alone."""

    def __init__(
        self,
        library: Library,
        settings: RetrieveSettings | None = None,
        encoders: QueryEncoders | None = None,
    ):
        self.library = library
        self.settings = settings or RetrieveSettings()
        self.encoders = encoders

    def search(
        self,
        text: str = "",
        *,
        image: Path | None = None,
        videos: Sequence[str] = (),
        channels: Sequence[str] = (),
        limit: int | None = None,
        explain: bool = False,
    ) -> SearchResult:
        """The moments that match the words by themselves or by their meaning, show the picture in
        the file `image` or one like it, or both.

        text: as a person types it; `rag.query` has what it may hold besides words. videos: ids,
        paths, file names or titles to look in; all of them where empty. channels: likewise.
        Nothing that matches is an empty result, not an error.

        Raises UsageError for a query without a word or picture, a filter that means nothing, an
        unknown channel or an ambiguous video; VideoNotFoundError; MediaError for an image that
        cannot be read.
        """
        # Bytes of a terminal that are no text come as lone surrogates, which no engine takes.
        typed = text.encode(errors="replace").decode()
        query = parse(typed)
        words = any(unicodedata.category(character)[0] in "LN" for character in query.text)
        if not words and image is None:
            raise UsageError(
                f"“{typed}” holds no word to search for." if typed.strip() else "Search for what?"
            )
        if image is not None and query.languages:
            raise UsageError("lang: narrows what is said and written: leave it out with a picture.")
        limit = self.settings.limit if limit is None else limit
        if limit < 1:
            raise UsageError(f"A limit of {limit} leaves nothing to show.")
        if limit > MOST_MOMENTS:
            raise UsageError(f"A limit of {limit} is too large: at most {MOST_MOMENTS}.")
        scope = Scope.of(query, self.library, videos, channels)
        pictured: np.ndarray | None = None
        notes: list[str] = []
        if image is not None:
            from rag.images import LOW_QUALITY, fingerprint_of

            pictured, quality = fingerprint_of(image)
            if quality < LOW_QUALITY:
                notes.append(
                    f"{image} shows so little (a plain surface?) that it may match by chance."
                )

        query = query if words else replace(query, text="", phrases=())
        order = split_order(query.quoted) if words and image is None else None
        if order is not None:
            everywhere = Scope.of(ParsedQuery("", videos=query.videos), self.library, videos)
            find, how = self._find, self.settings
            found = search_in_order(
                order, query, find, self.library, everywhere, scope, limit, explain, how
            )
            if found is not None:
                return found
        return self._find(query, scope, limit, explain, image, pictured, notes)

    def _find(
        self,
        query: ParsedQuery,
        scope: Scope,
        limit: int,
        explain: bool = False,
        image: Path | None = None,
        pictured: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> SearchResult:
        """Searches, anew where a model swap changed what searchers see under its hands."""
        # Loading an encoder takes long enough for a swap: what is hidden is read before.
        now = self._seen_by_searchers()
        for _ in range(FLIPS):
            hidden, spaces = now
            meanings, seen, missing = self._meant(query.text, image, scope, spaces)
            result = self._search(
                query, pictured, meanings, seen, scope, hidden, limit, explain, [*notes, *missing]
            )
            before, now = now, self._seen_by_searchers()
            if now == before:
                break
        return result

    def _seen_by_searchers(self) -> tuple[tuple[str, ...], tuple[Space, ...]]:
        spaces = () if self.encoders is None else tuple(self.library.spaces())
        return self.library.hidden_generations(), spaces

    def _meant(
        self,
        text: str,
        image: Path | None,
        scope: Scope,
        spaces: Sequence[Space],
    ) -> tuple[list[SpaceQuery], list[tuple[SpaceQuery, str]], list[str]]:
        """The query in the spaces of passages, in those of frames and sounds (with what to call
        what is found there), and notes on those that cannot be asked."""
        meanings: list[SpaceQuery] = []
        seen: list[tuple[SpaceQuery, str]] = []
        notes: list[str] = []
        encoders = self.encoders
        if encoders is None:
            return meanings, seen, notes
        for space in spaces:
            passages = space.channel == "text"
            if not scope.asks(space.channel):
                continue
            if text:
                encoder = encoders.text(space)
                if encoder is None:
                    notes.append(encoders.note(space))
                elif passages:
                    meanings.append(words_in(space, encoder, text, self.settings))
                else:
                    seen.append((words_in(space, encoder, text, self.settings), ""))
            if image is not None and space.channel == "frame":
                looks = encoders.images(space)
                if looks is not None:
                    from ingest.media import decode_image

                    picture = picture_in(space, looks, decode_image(image), self.settings)
                    seen.append((picture, SIMILAR))
                elif not text:
                    notes.append(encoders.note(space))
        return meanings, seen, notes

    def _search(
        self,
        query: ParsedQuery,
        pictured: np.ndarray | None,
        meanings: Sequence[SpaceQuery],
        seen: Sequence[tuple[SpaceQuery, str]],
        scope: Scope,
        hidden: tuple[str, ...],
        limit: int,
        explain: bool,
        notes: Sequence[str],
    ) -> SearchResult:
        """One attempt, which sees everything but the generations that are `hidden`."""
        candidates = limit * self.settings.candidates * (2 if query.excluded else 1)
        finds: list[Find] = []
        dropped: list[Dropped] = []
        terms: tuple[Term, ...] = ()
        notes = list(notes)
        held: Held | None = None
        words: WordQuery | None = None
        if query.text:
            words = WordQuery.of(query.text, self.library, self.library.visible(_NOTHING, hidden))
            terms = tuple(term for known in words.terms.values() for term in known.values())
            passages = self.library.visible(where(kind="passage"), hidden)
            if query.phrases:
                looked_in = passages.also(scope.passages)
                held = find_phrases(query, words, self.library, looked_in, candidates)
                scope = scope.only(held.videos)
            other_ways = bool(meanings or seen or held)
            notes.extend(_notes_on(words, query.text, by_meaning=other_ways))
            found, left_out = find_words(
                words,
                self.library,
                passages.also(scope.passages),
                candidates,
                self.settings,
                meanings=Meanings(meanings),
                vectors=self.library.visible(where(kind="embedding"), hidden).also(scope.vectors),
            )
            finds.extend(found)
            dropped.extend(left_out)
        pictures = self.library.visible(where(kind="evidence"), hidden).also(scope.evidence)
        for near, called in seen:
            found, left_out = find_vectors(
                near, self.library, pictures, candidates, self.settings, text=called
            )
            finds.extend(found)
            dropped.extend(left_out)
        if pictured is not None:
            from rag.images import find_pictures

            found, left_out = find_pictures(pictured, self.library, pictures, candidates)
            finds.extend(found)
            dropped.extend(left_out)

        if held is not None:
            finds = held.join(finds)
        finds, left_out = scope.keep(finds)
        dropped.extend(left_out)
        groups, swallowed = fuse(rank(finds), self.settings)
        dropped.extend(swallowed)
        if held is not None:
            groups, left_out = held.keep(groups)
            dropped.extend(left_out)
            notes.extend(held.notes())
        if query.excluded:
            known = () if words is None else (*words.terms, *words.stopped)
            groups, left_out = without(groups, query.excluded, known)
            dropped.extend(left_out)
        catalogue = Catalogue(self.library)
        moments: list[Moment] = []
        kept: list[Fused] = []
        more = 0
        for group in groups:
            if len(moments) == limit:
                more += 1
                continue
            moment = catalogue.moment(group)
            if moment is not None:
                moments.append(moment)
                kept.append(group)
        return SearchResult(
            tuple(moments),
            tuple(Explanation(tuple(g.finds), tuple(g.merged)) for g in kept) if explain else (),
            tuple(dropped) if explain else (),
            more,
            terms,
            tuple(notes),
            tuple(group.best.share for group in kept),
        )


def _notes_on(query: WordQuery, text: str, *, by_meaning: bool) -> list[str]:
    if query.stopped and not query.vector.indices and not by_meaning:
        languages = [name.capitalize() for name in query.stopped if name not in UNSTOPPED]
        places = f" in {', '.join(languages)}" if languages else ""
        return [f"“{text}” holds only words too common to search for{places}."]
    if query.cut:
        return [f"The query is long: its first {MOST_WORDS} different words were searched for."]
    return []
