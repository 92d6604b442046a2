"""Whether a question leans on the one before it, and what it then takes over, by rules.

A question leans on it where it has a pronoun that stands for something ("what did *he* do with
*it*?"), begins as a continuation ("and the lamp?", "what about the moon?"), or has no word of its
own ("why?", "in which year?"). What it takes over are the content words of that question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from index.text import PLAIN, SEGMENTED, analyzer
from rag.query import parse

_CONTINUES = re.compile(
    r"\s*(?:and|but|or|so|also|what about|how about|what else|anything else|"
    r"und|aber|was ist mit|et|mais|qu'en est-il|y|pero|qu[ée] hay de|ma|а|и|но)\b[ ,]",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?:it|he|him|his|she|her|hers|they|them|their|theirs|its|those|"
    r"the (?:same|former|latter|first one|second one|last one|other one|others?)|"
    r"that one|this one|these ones|the ones?|"
    r"er|ihn|ihm|sein(?:e[rnms]?)?|sie|ihr(?:e[rnms]?)?|"
    r"elle|elles|lui|leurs?|ella|ellos|ellas|él|lei|loro|"
    r"он|она|они|его|её|ему|ей|их)\b",
    re.IGNORECASE,
)
_BY_ITSELF = re.compile(
    r"\b(?:this|that|these|there)(?=\s*(?:[?.!,;]|$)|\s+(?:is|was|are|were|does|did|do|has|had|"
    r"have|will|would|can|could|happen(?:s|ed)?|work(?:s|ed)?|mean(?:s|t)?|come|came|take|took|"
    r"made|called|done)\b)",
    re.IGNORECASE,
)
_MEANS_NOTHING = re.compile(
    # how long does it take to, is it possible to, it rained
    r"\b(?:does|did|will|would) it take\b|\b(?:is|was) it (?:possible|true|necessary|raining)\b"
    r"|\bit (?:takes?|took|rains?|rained|snows?|(?:is|was) (?:possible|true|necessary))\b"
    # is there a lamp, but not: is it there?
    r"|\b(?:is|are|was|were|will|would|can|could) there\b(?!\s*[?.!,;]|\s*$)",
    re.IGNORECASE,
)
_RELATIVE = re.compile(  # the lens that made it, but not: why did that happen
    r"(?<!\b(?:is|do|of|by) )(?<!\b(?:was|did|for|why|how) )(?<!\b(?:does|with|when) )"
    r"(?<!\b(?:after|where) )(?<!\bbefore )(?<=\w )that (?=\w)",
    re.IGNORECASE,
)
_VIDEO = r"(?:video|film|movie|clip|recording|lecture|talk|tutorial|episode|meeting|interview)"
_THE_VIDEO = re.compile(
    r"\bwhat(?:['’]s| is| was) (?:this|that|it) (?:all )?about\b"
    rf"|\b(?:this|that|the same) {_VIDEO}\b|\b(?:in|of|throughout) the {_VIDEO}\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def leans(question: str, languages: Iterable[str] = ()) -> bool:
    """Whether it leans on the words of the question before it. languages: analyzers of the library,
    whose stop words carry nothing."""
    if _CONTINUES.match(question):
        return True
    left = _RELATIVE.sub(" ", _MEANS_NOTHING.sub(" ", _THE_VIDEO.sub(" ", question)))
    if _PRONOUN.search(left) or _BY_ITSELF.search(left):
        return True
    return not content_words(question, languages) and not about_the_video(question)


def about_the_video(question: str) -> bool:
    """Whether it speaks of a video that was spoken of before ("what is this talk about?")."""
    return _THE_VIDEO.search(question) is not None


def content_words(question: str, languages: Iterable[str] = ()) -> list[str]:
    """The words that carry something, as they were typed, each once; without filters."""
    stopping = [
        analyzer(name)
        for name in dict.fromkeys((*languages, "english"))
        if name not in (PLAIN, SEGMENTED)
    ]
    kept: dict[str, str] = {}
    for word in _WORD.findall(parse(question).text):
        if all(each.tokens(word) for each in stopping) and not _EMPTY.fullmatch(word):
            kept.setdefault(word.casefold(), word)
    return list(kept.values())


_MOST = 8
"""Words that are carried, so that they do not pile up from question to question."""

_EMPTY = re.compile(
    r"(?i:else|year|exactly|say|says|said|tell|tells|told|show|shows|mean|more|please|about|"
    r"happen|happens|happened|next|again|also|thing|things|one|ones|video|videos|much|many|long)"
)
"""Words that ask, or say nothing without the others."""


def follow_up(question: str, before: str, languages: Sequence[str] = ()) -> str:
    """The question with the content words of the one before it that it lacks, in brackets."""
    has = {word.casefold() for word in content_words(question, languages)}
    carried = [w for w in content_words(before, languages) if w.casefold() not in has][:_MOST]
    return f"{question.strip()} ({' '.join(carried)})" if carried else question.strip()
