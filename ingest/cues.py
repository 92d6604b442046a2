"""Subtitle cues as they should have been: markup gone, times mended, repeats folded.

Pure functions over `Cue`; the formats are read in ingest/subtitles.py.
"""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|</>")
_OVERRIDE = re.compile(r"\{\\[^{}]*\}|\{[yYcCpPsSfF]:[^{}]*\}")
_VOICE = re.compile(r"<v(?:\.[^\s>]+)*\s+([^>]+)>")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

_LETTERS_PER_SECOND = 15.0  # a usual reading speed, for cues that do not say when they end
_SHORTEST_SECONDS = 0.5
_LONGEST_SECONDS = 60.0  # a cue that stays longer than that past others has a wrong end
_JOIN_SECONDS = 0.1  # frame-by-frame typesetting leaves pauses this short


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle. text: lines separated by a newline until `tidy` joins them."""

    start_seconds: float
    end_seconds: float
    text: str
    speaker: str | None = None


def plain(markup: str) -> tuple[str, str | None]:
    """(text without tags, override codes and entities; the speaker that a WebVTT voice tag
    names, where it is one). Lines stay lines; blank ones go. "" where nothing can be read aloud."""
    speakers = {html.unescape(name).strip() for name in _VOICE.findall(markup)}
    text = html.unescape(_TAG.sub("", _OVERRIDE.sub("", markup)))
    text = _INVISIBLE.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    text = "\n".join(line for line in lines if line)
    if not any(character.isalnum() for character in text):
        text = ""
    return text, speakers.pop() if len(speakers) == 1 else None


def tidy(cues: Iterable[Cue], duration_seconds: float | None = None) -> tuple[list[Cue], list[str]]:
    """Cues in time order with sound times and each thing said once, and notes on what was wrong.

    duration_seconds: of the video; cues that begin after it go.
    """
    given = [cue for cue in cues if cue.text]
    mended, notes = _mend_times(given, duration_seconds)
    once = _unroll(_fold_repeats(mended))
    joined = [dataclasses.replace(cue, text=" ".join(cue.text.split("\n"))) for cue in once]
    return joined, notes


def reading_seconds(text: str) -> float:
    """About how long a cue of this text stays."""
    return max(_SHORTEST_SECONDS, len(text) / _LETTERS_PER_SECOND)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mend_times(cues: list[Cue], duration: float | None) -> tuple[list[Cue], list[str]]:
    before = after = inverted = endless = 0
    ordered = sorted(cues, key=lambda cue: (cue.start_seconds, cue.end_seconds))
    unsorted = sum(b.start_seconds < a.start_seconds for a, b in itertools.pairwise(cues))
    starts = sorted({cue.start_seconds for cue in ordered})
    following = dict(itertools.pairwise(starts))
    mended = []
    for cue in ordered:
        start, end = cue.start_seconds, cue.end_seconds
        next_start = following.get(start, float("inf"))
        if duration is not None and start >= duration:
            after += 1
            continue
        if end <= start:
            end = min(start + reading_seconds(cue.text), max(next_start, start + 0.001))
            inverted += 1
        elif end - start > _LONGEST_SECONDS and next_start < end:
            end = next_start
            endless += 1
        if start < 0:
            before += 1
            start = 0.0
        if end <= start:
            continue
        if duration is not None:
            end = min(end, duration)
        mended.append(dataclasses.replace(cue, start_seconds=start, end_seconds=end))
    notes = []
    if unsorted:
        notes.append("its cues are not in time order; they were sorted")
    if before:
        notes.append(f"{count(before, 'cue')} began before the video; cut at its start")
    if inverted:
        notes.append(f"{count(inverted, 'cue')} ended before it began; given the usual length")
    if endless:
        notes.append(f"{count(endless, 'cue')} never ended; cut at the next one")
    if after:
        notes.append(
            f"{count(after, 'cue')} of {len(cues)} began after the end of the video; left out"
        )
        if after == len(cues):
            notes.append("do these subtitles belong to another video?")
    return sorted(mended, key=lambda cue: (cue.start_seconds, cue.end_seconds, cue.text)), notes


def _fold_repeats(cues: list[Cue]) -> list[Cue]:
    """Cues of the same text that follow one another without a pause are one."""
    folded: list[Cue] = []
    newest: dict[tuple[str, str | None], int] = {}
    for cue in cues:
        key = (cue.text, cue.speaker)
        at = newest.get(key)
        if at is not None and cue.start_seconds <= folded[at].end_seconds + _JOIN_SECONDS:
            end = max(folded[at].end_seconds, cue.end_seconds)
            folded[at] = dataclasses.replace(folded[at], end_seconds=end)
        else:
            newest[key] = len(folded)
            folded.append(cue)
    return folded


def _carried(before: list[str], now: list[str]) -> tuple[int, bool]:
    """(how many lines at the end of `before` stand again at the beginning of `now`, whether the
    last of them has grown)."""
    for lines in range(min(len(before), len(now)), 0, -1):
        old, new = before[-lines:], now[:lines]
        if old == new:
            return lines, False
        if old[:-1] == new[:-1] and new[-1].startswith(old[-1] + " "):
            return lines, True
    return 0, False


def _unroll(cues: list[Cue]) -> list[Cue]:
    """Rolling captions, in which each cue shows the previous one's last line again, become one
    cue for each line. Where fewer than a third of the neighbours roll, nothing is changed."""
    lines = [cue.text.split("\n") for cue in cues]
    carried = [(0, False)]
    for at in range(1, len(cues)):
        near = cues[at].start_seconds <= cues[at - 1].end_seconds + _JOIN_SECONDS
        carried.append(_carried(lines[at - 1], lines[at]) if near else (0, False))
    if sum(1 for number, _ in carried if number) < max(2, (len(cues) - 1) / 3):
        return cues
    unrolled: list[Cue] = []
    for cue, own, (number, grown) in zip(cues, lines, carried, strict=True):
        if grown:
            kept = unrolled[-1].text.split("\n")[:-1]
            unrolled[-1] = dataclasses.replace(
                unrolled[-1],
                text="\n".join([*kept, own[number - 1]]),
                end_seconds=max(unrolled[-1].end_seconds, cue.end_seconds),
            )
        elif number == len(own):
            unrolled[-1] = dataclasses.replace(
                unrolled[-1], end_seconds=max(unrolled[-1].end_seconds, cue.end_seconds)
            )
        if own[number:]:
            unrolled.append(dataclasses.replace(cue, text="\n".join(own[number:])))
    return unrolled
