"""Questions about the collection itself, answered with videos: which of them talk about
something, and how many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from index.schema import AnswerEvent, Citation, Done, Source, Sources, Token
from rag.group import VideoHits, group_by_video
from rag.query import parse
from rag.retrieve import Retriever
from rag.settings import AnswerSettings
from rag.timestamp import timestamp

MOMENTS = 300
"""Looked at for an answer; what is in more videos than these lie in is answered with “at least”."""

LONGEST = 500
"""Characters of a question; longer text is no question."""

_VIDEOS = (
    "(?:videos?|films?|movies?|clips?|recordings?|lectures?|lessons?|talks?|tutorials?|episodes?|"
    "meetings?|interviews?|files?)"
)
_ALL = "(?:list|show|give|find)(?: me)? (?:all|the|every)"
_ASKED = (
    rf"(?:(?:and|please|so) )*(?:how many|what|which|{_ALL}|all)"
    rf"(?: of)?(?: the| these| my| those)? {_VIDEOS}"
)
_MENTION = "(?:mentions?|names?|says?|contains?|uses? the words?)"
_ABOUT = (
    "(?:(?:is|are|was|were|do|does) )?(?:(?:talk|speak|tell|hear)(?:s|ing)? (?:about|of)|about|"
    "discuss(?:es|ing)?|cover(?:s|ing)?|explain(?:s|ing)?|deal(?:s|ing)? with|show(?:s|ing)?|"
    "features?|treats?|teach(?:es)?|describes?|address(?:es)?|"
    rf"ha(?:s|ve)(?= (?:an?|the|any|some)\b)|{_MENTION})"
)
_SAID = (
    "(?:mentioned|named|said|discussed|covered|explained|shown|seen|talked about|described|"
    "taught|heard)"
)
_WHO = "(?:someone|somebody|anyone|anybody|he|she|they|i|we|you|people)"

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # which videos talk about X; how many of my lectures mention X; list all videos about X
        rf"{_ASKED}(?: that| which)?(?: are there| there are)?(?: that| which)? "
        rf"(?P<verb>{_ABOUT}) (?P<about>.+)",
        # in which videos is X explained; in how many talks are X and Y mentioned
        rf"in {_ASKED} (?:is|are|was|were|do|does|can) (?P<about>.+?) (?:be )?(?P<verb>{_SAID})",
        # in which video does somebody explain X
        rf"in {_ASKED} (?:do|does|did|can) {_WHO} (?P<verb>{_ABOUT}|see|find|hear|learn) "
        "(?P<about>.+)",
    )
)


@dataclass(frozen=True, slots=True)
class CorpusQuestion:
    """about: what the videos are to be about. mention: the words themselves are to be in them."""

    about: str
    mention: bool


def corpus_question(question: str) -> CorpusQuestion | None:
    """None for a question that is answered by moments. English; `--group-by video` is for all
    languages."""
    text = " ".join(question.split()).rstrip("?!. ")
    if len(text) > LONGEST:
        return None
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match:
            mention = re.match(f"{_MENTION}|mentioned", match["verb"], re.IGNORECASE)
            return CorpusQuestion(match["about"], mention is not None)
    return None


def answer_corpus(
    question: CorpusQuestion,
    retriever: Retriever,
    settings: AnswerSettings,
    videos: Sequence[str],
    coverage_note: str | None,
) -> Iterator[AnswerEvent]:
    """The events of `rag.answer.Answerer.ask`. The best moment of each video is its source."""
    result = retriever.search(question.about, videos=videos, limit=MOMENTS)
    floor = settings.mention_floor if question.mention else settings.floor
    # More than half: of two words that weigh the same, one is not enough.
    sure = [m for m, s in zip(result.moments, result.shares, strict=True) if s > floor]
    found = group_by_video(sure, retriever.settings.group)
    shown = found[: settings.videos]
    sources = tuple(Source(number, hits.moments[0]) for number, hits in enumerate(shown, 1))
    yield Sources(sources)
    more = len(found) - len(shown)
    at_least = result.more > 0 and result.shares[-1] > floor
    yield Token(_heading(parse(question.about).text, len(found), at_least=at_least))
    for source, hits in zip(sources, shown, strict=True):
        yield Token(f"\n{hits.title} ({_where(hits)})")
        yield Citation(source)
    if more:
        yield Token(f"\nand {more} more, which `longtake search --group-by video` lists.")
    detail = {"answerer": "extractive", "videos": len(found), "notes": list(result.notes)}
    note = {"coverage_note": coverage_note} if coverage_note else {}
    yield Done(found=bool(found), detail=detail | note)


def _heading(about: str, count: int, *, at_least: bool) -> str:
    if not count:
        return f"No video has “{about}” in it."
    amount = "one video" if count == 1 else f"{count} videos"
    return f"“{about}” is in {'at least ' if at_least else ''}{amount}:"


def _where(hits: VideoHits) -> str:
    """`3 times, first at 0:12`."""
    first = min(hits.moments, key=lambda moment: (moment.epoch, moment.start_seconds))
    if hits.events == 1:
        return f"at {timestamp(first.start_seconds)}"
    return f"{hits.events} times, first at {timestamp(first.start_seconds)}"
