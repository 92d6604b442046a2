"""Whether a question is about a moment, about how often something is, or about all of a video."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from index.errors import ConfigError, LongtakeError
from ingest.models.videollm import Prompt, VideoLLM

Kind = Literal["local", "count", "global"]

LONGEST = 500
"""Characters of a question; longer text is no question."""

_VIDEO = (
    r"(?:videos?|films?|movies?|clips?|recordings?|lectures?|talks?|tutorials?|episodes?|"
    r"meetings?|interviews?|streams?|course)"
)
_WHOLE = rf"(?:this|the|these|that|my|whole|entire|full|it|{_VIDEO})"

_COUNT = re.compile(
    r"\bhow (?:many times|often)\b|\bcount (?:the|how|every|all)\b|\bnumber of times\b"
    r"|\bevery time\b|\ball the (?:times|places|moments)\b"
    r"|\bwie oft\b|\bcombien de fois\b|\bcu[áa]ntas veces\b|\bquantas vezes\b|\bquante volte\b"
    r"|\bсколько раз\b|多少次|几次|何回",
    re.IGNORECASE,
)
_GLOBAL = re.compile(
    rf"\bwhat(?: is| are| was| were|['’]s) (?:{_WHOLE} )*{_VIDEO} (?:all )?about\b"
    rf"|\bwhat happens (?:in|during|throughout) {_WHOLE}\b"
    r"|\b(?:main|key|central|most important|major) (?:points?|ideas?|topics?|themes?|messages?|"
    r"takeaways?|arguments?|findings?|lessons?|events?|steps|parts|sections)\b"
    r"|\btake-?aways?\b|\btl;?dr\b|\boverview\b|\boutline\b|\bgist\b|\bin a nutshell\b"
    rf"|\bsumm?ar(?:y|ies|i[sz]e[sd]?|i[sz]ing) (?:of )?{_WHOLE}\b|\bsumm?ar(?:y|i[sz]e)\W*$"
    rf"|\b(?:whole|entire|full) {_VIDEO}\b|\bthroughout\b"
    r"|\bfrom (?:start|beginning) to (?:end|finish)\b"
    r"|\bwhat (?:topics|subjects|themes) \b|\b(?:chapters|table of contents)\b"
    r"|\bworum geht es\b|\bzusammenfass|\bhauptpunkte\b|\bfasse?\b.*\bzusammen\b"
    r"|\bde quoi (?:parle|s'agit)|\brésum(?:é|er|e)\b"
    r"|\bde qu[ée] (?:trata|va)\b|\bresum(?:en|e|ir|o)\b"
    r"|\briassum|\briassunto\b|о чём|\bкратко\b|总结|概括|主要内容|要約|まとめ",
    re.IGNORECASE,
)
_ABOUT_ONE_THING = re.compile(
    r"\b(?:say|says|said|talks?|explains?|mentions?|tells?|shows?) (?:about|on|of) "
    rf"(?!{_WHOLE}\b)\w"
    rf"|\bsumm?ar(?:y|i[sz]e) (?:of )?(?:what|how|why|his|her|their|the part|the section)\b",
    re.IGNORECASE,
)


def question_kind(question: str) -> Kind:
    """By rules. "local" wants what was found; "count" all that was found; "global" a view of the
    whole. What asks for the main points of one thing is local: it has to be found first."""
    text = " ".join(question.split())
    if len(text) > LONGEST:
        return "local"
    if _COUNT.search(text):
        return "count"
    if _GLOBAL.search(text) and not _ABOUT_ONE_THING.search(text):
        return "global"
    return "local"


QUESTION = "{question}"
"""Stands in the instructions where the question goes."""

_SAID = re.compile(r"[\s\"'*]*(moment|count|whole)\b", re.IGNORECASE)
_KINDS: dict[str, Kind] = {"moment": "local", "count": "count", "whole": "global"}
_MAX_TOKENS = 8

Opinion = Callable[[str], Kind | None]
"""What else judges a question that no rule knows; None where it cannot tell."""


def opinion_of(model: VideoLLM, instructions: str, fits: Callable[[Prompt, int], bool]) -> Opinion:
    """A language model's, in one word. An answer that is none of the words, or an error, is no
    opinion. fits: whether a prompt may be sent that is answered in so many tokens; what may not has
    no opinion. Raises ConfigError where QUESTION is not in the instructions."""
    if QUESTION not in instructions:
        raise ConfigError(f"The instructions for telling questions apart lack {QUESTION}.")

    def opinion(question: str) -> Kind | None:
        prompt = Prompt((instructions.replace(QUESTION, question),))
        try:
            if not fits(prompt, _MAX_TOKENS):
                return None
            pieces = model.generate(prompt, max_tokens=_MAX_TOKENS)
            said = _SAID.match("".join(piece.text for piece in pieces))
        except LongtakeError:
            return None
        return _KINDS[said[1].casefold()] if said else None

    return opinion
