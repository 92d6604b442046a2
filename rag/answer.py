"""Answers, as a stream of events: `Sources`, then `Token` and `Citation`, then `Done`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from index.errors import UsageError
from index.schema import AnswerEvent, Citation, Done, Moment, Source, Sources, Token
from rag.corpus import answer_corpus, corpus_question
from rag.fuse import only_about
from rag.query import parse
from rag.question_kind import question_kind
from rag.retrieve import Retriever
from rag.scope import Scope
from rag.sentences import sentences_around
from rag.settings import AnswerSettings
from rag.timestamp import place_in_time

NOTHING = "Nothing in these videos answers that."

CANDIDATES = 5
"""Moments looked at for each quote, since some say the same as a better one."""


class Answerer(Protocol):
    """Whatever answers questions from a library."""

    def ask(self, question: str, *, videos: Sequence[str] = ()) -> Iterator[AnswerEvent]:
        """Yields one `Sources`, then the answer as `Token`s, each `Citation` right after the text
        that leans on it, then one `Done`. Events come as they are known.

        videos: ids, paths, file names or titles to look in; all where empty. Raises UsageError
        for a question without a word in it, VideoNotFoundError, and what the store raises.
        """
        ...


class ExtractiveAnswerer:
    """Answers without a language model: the best evidence, quoted.

    The question's own words (who, when, wie, où, ...) carry no weight, since they are stop words
    to the analyzers; what is left decides. Which videos hold something, and how many, is answered
    with videos (`rag.corpus`). `Done.detail` has `coverage_note` where what was
    looked in is not wholly indexed.
    """

    def __init__(self, retriever: Retriever, settings: AnswerSettings | None = None):
        self._retriever = retriever
        self._settings = settings or AnswerSettings()

    def ask(self, question: str, *, videos: Sequence[str] = ()) -> Iterator[AnswerEvent]:
        if not question.strip():
            raise UsageError("Ask what?")
        settings = self._settings
        about_all = corpus_question(question)
        if about_all is not None:
            note = coverage_note(self._retriever, question, videos)
            yield from answer_corpus(about_all, self._retriever, settings, videos, note)
            return
        result = self._retriever.search(question, videos=videos, limit=settings.quotes * CANDIDATES)
        quotes = self._choose(result.moments, result.shares)
        if not quotes and question_kind(parse(question).quoted) == "global":
            quotes = self._whole(question, videos)
        note = coverage_note(self._retriever, question, videos)
        detail = {"answerer": "extractive"} | ({"coverage_note": note} if note else {})

        sources = tuple(Source(number, quote.source) for number, quote in enumerate(quotes, 1))
        yield Sources(sources)
        if not sources:
            yield Token(NOTHING)
        for source in sources:
            moment = source.moment
            where = f"{moment.title}, {place_in_time(moment)}"
            before = "" if source.number == 1 else "\n"
            yield Token(f"{before}{where}: ")
            yield Token(f"“{moment.text}”")
            yield Citation(source)
        yield Done(found=bool(sources), detail=detail)

    def _whole(self, question: str, videos: Sequence[str]) -> list[_Quote]:
        """What stands for the videos looked in; nothing where these are too many to list."""
        from rag.central import central_moments

        library = self._retriever.library
        scope = Scope.of(parse(question), library, videos)
        looked_in = scope.looked_in(library)
        if len(looked_in) > self._settings.videos:
            return []
        return [_Quote(one, one.text, ()) for one in central_moments(library, looked_in, scope)]

    def _choose(self, moments: Sequence[Moment], shares: Sequence[float]) -> list[_Quote]:
        settings = self._settings
        chosen: list[_Quote] = []
        for moment, share in zip(moments, shares, strict=True):
            if len(chosen) == settings.quotes:
                break
            if share < settings.floor or not moment.text or only_about(moment):
                continue
            if chosen and moment.score < settings.near_best * chosen[0].moment.score:
                break
            quote = _quote(moment, settings.quote_characters)
            if all(_alike(quote.text, other.text) < settings.same_words for other in chosen):
                chosen.append(quote)
        return chosen


@dataclass(frozen=True, slots=True)
class _Quote:
    moment: Moment
    text: str
    highlights: tuple[tuple[int, int], ...]

    @property
    def source(self) -> Moment:
        """When the quote is said, which may be a small part of the moment."""
        return replace(
            self.moment,
            text=self.text,
            highlights=self.highlights,
            start_seconds=self.moment.text_start_seconds,
            end_seconds=self.moment.text_end_seconds,
        )


def _quote(moment: Moment, longest: int) -> _Quote:
    """Whole sentences around the match."""
    text = moment.text.replace("\n", " ")  # lines on a screen; sentences run across them
    start, end = sentences_around(text, moment.highlights, longest)
    inside = tuple((a - start, b - start) for a, b in moment.highlights if start <= a and b <= end)
    return _Quote(moment, text[start:end], inside)


def _alike(one: str, other: str) -> float:
    """The share of the shorter's words that the other holds; of its characters in scripts that
    put no space between words."""
    a, b = _word_set(one), _word_set(other)
    return len(a & b) / min(len(a), len(b)) if a and b else float(one == other)


def _word_set(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return set(words) if len(words) > 2 else set("".join(words))


def coverage_note(retriever: Retriever, question: str, videos: Sequence[str]) -> str | None:
    """What is looked in for a question and is only partly indexed, in a sentence; None where
    nothing is. Raises what a search for it does."""
    library = retriever.library
    looked_in = Scope.of(parse(question), library, videos).looked_in(library)
    unfinished = {generation.video_id for generation in library.unfinished()}
    partial = [
        video
        for video in looked_in
        if video.id in unfinished and video.duration_seconds is not None  # live: there is no more
    ]
    if not partial:
        return None
    titles = ", ".join(f"“{video.title}”" for video in partial[:3])
    more = f" and {len(partial) - 3} more" if len(partial) > 3 else ""
    verb = "are" if len(partial) > 1 else "is"
    return f"{titles}{more} {verb} only partly indexed so far, so there may be more."
