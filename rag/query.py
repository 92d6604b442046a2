"""What a person types, taken apart: words, quoted phrases, words to leave out, and filters.

    who wound the "clockwork of the lamp" -demo video:Lighthouse channel:speech after:12:30 lang:en

A filter is a known name in lower case, a colon and its value without a space between them; the
value may be in quotes. What to leave out stands behind all other words: of the dashes in `a free
-form selection` and `find . -name foo` none is meant so. By itself it is nothing to look for. All
else is words: `note: this`, `12:30`, a URL, an unknown name. What filters mean in a library is in
`rag.scope`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from index.errors import UsageError
from index.languages import language_tag
from index.schema import CHANNELS

FILTERS = ("video", "channel", "lang", "before", "after")

MOST_PHRASES = 20
LONGEST_PHRASE = 1000
"""Characters; quotation marks further apart belong to something else than a query."""

_OPENING = '"“„«'
_CLOSING = {'"': '"', "“": "”“", "„": "“”", "«": "»"}

_FILTER = re.compile(rf"({'|'.join(FILTERS)}):(?=[^\s/])")  # video://… is an address
_EXCLUDED = re.compile(r"-(?=[^\W\d_]\w+(\s|$))")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")
_UNITS = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:$|[T ])")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a stretch of time: seconds on the video's own clock, or a moment of the world's
    (seconds since 1970). The other one is None. written: as it was typed."""

    written: str
    video_seconds: float | None = None
    wall_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """text: the words to look for, those of the phrases among them. quoted: the same with the
    phrases still in quotes. phrases: what a moment must hold as it is written. excluded: words or
    phrases that it must not. videos, channels, languages (primary tags): look in one of these;
    everywhere where empty. after, before: every one of them binds."""

    text: str
    quoted: str = ""
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    after: tuple[Bound, ...] = ()
    before: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """What some of the channels are asked for; all of them where `channels` is empty."""

    text: str
    channels: tuple[str, ...] = ()


def parse(typed: str) -> ParsedQuery:
    """Raises UsageError for a filter whose value means nothing, and for too many phrases."""
    words: list[str] = []
    quoted: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    found: dict[str, list[str]] = {name: [] for name in FILTERS}
    pieces = list(_pieces(typed))
    last = max((at for at, (kind, _) in enumerate(pieces) if kind == "word"), default=-1)
    for at, (kind, piece) in enumerate(pieces):
        if kind in FILTERS:
            found[kind].append(piece)
        elif kind == "excluded" and at > last:
            excluded.append(piece)
        elif kind == "excluded":
            words.append(f"-{piece}")
            quoted.append(f"-{piece}")
        else:
            words.append(piece)
            quoted.append(f'"{piece}"' if kind == "phrase" else piece)
            if kind == "phrase":
                phrases.append(piece)
    if len(phrases) > MOST_PHRASES:
        raise UsageError(
            f"A query takes {MOST_PHRASES} quoted phrases at most, not {len(phrases)}."
        )
    return ParsedQuery(
        " ".join(words),
        " ".join(quoted),
        tuple(dict.fromkeys(phrases)),
        tuple(dict.fromkeys(excluded)),
        tuple(dict.fromkeys(found["video"])),
        tuple(dict.fromkeys(name for given in found["channel"] for name in channels_in(given))),
        tuple(dict.fromkeys(_language(given) for given in found["lang"])),
        tuple(_bound("after", given) for given in found["after"]),
        tuple(_bound("before", given) for given in found["before"]),
    )


def typed(arguments: Sequence[str]) -> str:
    """What was typed, from a command line's arguments. A shell takes quotes off, so a filter whose
    value was in them comes as one argument of several: video:my film."""
    if len(arguments) == 1:
        return arguments[0]
    return " ".join(map(_quoted_again, arguments))


def _quoted_again(argument: str) -> str:
    match = _FILTER.match(argument)
    if match is None or not re.search(r"\s", argument) or '"' in argument:
        return argument
    return f'{match[0]}"{argument[match.end() :]}"'


def _pieces(typed: str) -> Iterator[tuple[str, str]]:
    """("word" | "phrase" | "excluded" | the name of a filter, its text), in the order typed."""
    at = 0
    while at < len(typed):
        if typed[at].isspace() or (typed[at] in "([" and _closed(typed, at + 1)):
            at += 1
            continue
        kind, start = "word", at
        if match := _FILTER.match(typed, at):
            kind, start = match[1], match.end()
        elif match := _EXCLUDED.match(typed, at):
            kind, start = "excluded", match.end()
        elif typed.startswith("-", at) and _closed(typed, at + 1):
            kind, start = "excluded", at + 1
        closed = _closed(typed, start)
        if closed is not None:
            text, at = closed
            yield "phrase" if kind == "word" else kind, text
            continue
        end = start
        while end < len(typed) and not typed[end].isspace():
            end += 1
        piece, at = typed[start:end], end
        # A comma or question mark behind a filter belongs to the sentence around it.
        yield kind, piece if kind in ("word", "excluded") else piece.rstrip(",;?!") or piece


def _closed(typed: str, at: int) -> tuple[str, int] | None:
    """What stands in the quotation marks that open at `at`, and where they end; None where none
    open there, none close, or there is no word between: 12" is no quotation."""
    if at >= len(typed) or typed[at] not in _OPENING:
        return None
    for end in range(at + 1, min(len(typed), at + LONGEST_PHRASE)):
        if typed[end] in _CLOSING[typed[at]]:
            inside = typed[at + 1 : end].strip()
            behind = typed[end + 1 : end + 2]
            if any(map(str.isalnum, inside)) and not behind.isalnum():
                return inside, end + 1
            return None
    return None


def channels_in(given: str) -> tuple[str, ...]:
    """The channels in `speech,screen_text`. Raises UsageError."""
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names or (given,):
        if name not in CHANNELS:
            raise UsageError(f"No channel “{name}”. Known: {', '.join(CHANNELS)}.")
    return names


def _language(given: str) -> str:
    tag = language_tag(given)
    if tag is None:
        raise UsageError(
            f"lang:{given} names no language that is known here: write lang:en, lang:de or "
            f"lang:german; {_as_words('lang', given)}"
        )
    return tag


def _bound(name: str, given: str) -> Bound:
    seconds = video_seconds(given)
    if seconds is not None:
        return Bound(given, video_seconds=seconds)
    if _DATED.match(given):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            pass
        else:  # without a zone it is this machine's time
            return Bound(given, wall_seconds=moment.timestamp())
    raise UsageError(
        f"{name}:{given} is no time: write {name}:12:30, {name}:1:02:03 or {name}:90s for a time "
        f"in the video, {name}:2026-03-01 or {name}:2026-03-01T12:30 for one by the calendar; "
        f"{_as_words(name, given)}"
    )


def _as_words(name: str, given: str) -> str:
    return f"to search for the words, put a space after the colon (“{name}: {given}”)."


def video_seconds(given: str) -> float | None:
    """12:30, 1:02:03.5, 90s, 5m, 1h2m; None for anything else."""
    if match := _CLOCK.fullmatch(given):
        hours, minutes, seconds = match.groups()
        if float(seconds) >= 60 or (hours and int(minutes) >= 60):
            return None
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    match = _UNITS.fullmatch(given)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)
