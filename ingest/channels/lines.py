"""Follows lines of text from sample to sample: what is one line, although it is read many times.

Pure bookkeeping over readings, without pictures or clocks of its own, so that it can be tested
with invented sequences.

A reading belongs to a line that is being followed where
* it is in its place and reads alike (recognition flickers), or
* it is in its place and one text begins with the other (somebody types), or
* it reads the same elsewhere at the same left edge (the text scrolls).
Across a cut only the first holds, more strictly: a logo or a subtitle goes on, a new page does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rapidfuzz.distance import Levenshtein

from ingest.models.ocr import Box, Line, reading_order

ALIKE = 0.75
"""Least normalised edit similarity of two readings of a line in one place."""
ALIKE_ACROSS_CUT = 0.9
ALIKE_ELSEWHERE = 0.85
BEGINS_ALIKE = 0.8
"""Least similarity of the shorter text with as many characters of the longer one."""
GROWTH = 2
"""Characters more (or fewer) that are typing; a single one may be a cursor misread."""
LEFT_EDGE = 0.02
"""In widths of the picture: how far the left edges of one line may lie apart."""
JOIN_GAP = 1.2
"""In heights of the line: pieces of a row with at most this gap between them are one line."""
SHORTEST_SCROLLED = 4
"""Characters; shorter texts recur too often to be recognised elsewhere."""

_CURSORS = "■█▌▍▊▮▯□"


def code_constants() -> dict[str, float]:
    """The constants above, for a channel's `describe`."""
    return {
        "alike": ALIKE,
        "alike_across_cut": ALIKE_ACROSS_CUT,
        "alike_elsewhere": ALIKE_ELSEWHERE,
        "begins_alike": BEGINS_ALIKE,
        "growth": GROWTH,
        "left_edge": LEFT_EDGE,
        "join_gap": JOIN_GAP,
        "shortest_scrolled": SHORTEST_SCROLLED,
        "lines_code": 1,
    }


def legible_lines(
    pieces: list[Line], *, aspect: float, minimum_confidence: float, minimum_characters: int
) -> list[Line]:
    """Whole lines, in reading order, out of the pieces that recognition found in one picture.

    Detection splits a row at wide gaps, and not always at the same ones, so neighbours in a row
    are joined. A single character before a gap is dropped: prompts, bullets and icons, read
    differently every time. What has fewer than `minimum_characters` letters and digits is no line.

    aspect: the picture's width over its height.
    """
    kept = []
    for piece in pieces:
        text = piece.text.strip(_CURSORS + " ")
        if piece.confidence >= minimum_confidence and _substance(text):
            kept.append(Line(text, piece.box, piece.confidence))
    rows: list[list[Line]] = []
    for piece in reading_order(kept):
        if rows and _adjoins(rows[-1][-1].box, piece.box, aspect):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    lines = []
    for row in rows:
        while len(row) > 1 and len(row[0].text) == 1:
            row = row[1:]
        line = _joined(row)
        if _substance(line.text) >= minimum_characters:
            lines.append(line)
    return lines


def _substance(text: str) -> int:
    return sum(map(str.isalnum, text))


def _adjoins(left: Box, right: Box, aspect: float) -> bool:
    heights = (left[3] - left[1], right[3] - right[1])
    gap = (right[0] - left[2]) * aspect
    return (
        _overlap(left[1], left[3], right[1], right[3]) >= 0.5
        and min(heights) >= 0.5 * max(heights)
        and -min(heights) <= gap <= JOIN_GAP * min(heights)
    )


def _joined(row: list[Line]) -> Line:
    if len(row) == 1:
        return row[0]
    boxes = [piece.box for piece in row]
    box = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    weights = [len(piece.text) for piece in row]
    confidence = sum(w * p.confidence for w, p in zip(weights, row, strict=True)) / sum(weights)
    return Line(" ".join(piece.text for piece in row), box, confidence)


def _overlap(a0: float, a1: float, b0: float, b1: float) -> float:
    """What two intervals share, as a fraction of the shorter."""
    shorter = min(a1 - a0, b1 - b0)
    return max(0.0, min(a1, b1) - max(a0, b0)) / shorter if shorter > 0 else 0.0


@dataclass(slots=True)
class _Votes:
    times_seen: int
    best: Line


@dataclass(slots=True)
class FollowedLine:
    """A line that is (or just was) on the screen.

    first: the reading it began with. last: the latest. missing_since_seconds: where it ended,
    unless the next sample shows it again.
    """

    start_seconds: float
    first: Line
    last: Line
    missing_since_seconds: float | None = None
    _readings: dict[str, _Votes] = field(default_factory=dict)

    @property
    def best(self) -> Line:
        """The reading seen most often; of those the longest (a last letter typed), the surest."""
        return max(
            self._readings.values(),
            key=lambda votes: (votes.times_seen, len(votes.best.text), votes.best.confidence),
        ).best

    def add(self, reading: Line) -> None:
        self.last = reading
        self.missing_since_seconds = None
        if self._readings:
            text = self.best.text
            longer = len(reading.text) - len(text)
            if abs(longer) >= GROWTH and _begins_alike(text, reading.text) >= BEGINS_ALIKE:
                if longer < 0:
                    return  # being deleted: what it once said is what is worth keeping
                self._readings.clear()
        votes = self._readings.get(reading.text)
        if votes is None:
            self._readings[reading.text] = _Votes(1, reading)
        else:
            votes.times_seen += 1
            if reading.confidence > votes.best.confidence:
                votes.best = reading

    def affinity(self, reading: Line, *, cut: bool) -> float:
        """How surely the reading is of this line; 0 where it is of another."""
        known = {self.last.text, self.best.text}
        old, new = self.last.box, reading.box
        aligned = abs(old[0] - new[0]) <= LEFT_EDGE
        in_place = (
            _overlap(old[1], old[3], new[1], new[3]) >= 0.5
            and _overlap(old[0], old[2], new[0], new[2]) >= 0.5
        )
        if in_place:
            alike = max(_alike(text, reading.text) for text in known)
            if cut:
                same_digits = any(_digits(text) == _digits(reading.text) for text in known)
                return alike + 0.1 if alike >= ALIKE_ACROSS_CUT and same_digits else 0.0
            if alike >= ALIKE:
                return alike + 0.1
            if aligned and len(reading.text) >= len(self.best.text) / 2:
                begins = max(_begins_alike(text, reading.text) for text in known)
                return begins - 0.1 if begins >= BEGINS_ALIKE else 0.0
            return 0.0
        if cut or not aligned or len(reading.text) < SHORTEST_SCROLLED:
            return 0.0
        heights = sorted((old[3] - old[1], new[3] - new[1]))
        if heights[0] < 0.6 * heights[1]:
            return 0.0
        alike = max(_alike(text, reading.text) for text in known)
        # Just below the same text in place: a table scrolled by a row matches by its words.
        distance = abs(new[1] - old[1])
        return alike - 0.01 * distance if alike >= ALIKE_ELSEWHERE else 0.0


def _alike(a: str, b: str) -> float:
    return 1.0 if a == b else Levenshtein.normalized_similarity(a, b)


def _begins_alike(a: str, b: str) -> float:
    shorter = min(len(a), len(b))
    return _alike(a[:shorter], b[:shorter])


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


@dataclass(frozen=True, slots=True)
class EndedLine:
    line: FollowedLine
    end_seconds: float


class LineTracker:
    """The lines on the screen, from one reading of it to the next.

    Every method takes the time of the sample and, where a cut lies between it and the previous
    one, the time of the cut.
    """

    def __init__(self) -> None:
        self.lines: list[FollowedLine] = []

    def see(
        self, readings: list[Line], time_seconds: float, cut_seconds: float | None = None
    ) -> list[EndedLine]:
        """The sample shows `readings`. Returns the lines that have ended."""
        pairs = []
        for i, line in enumerate(self.lines):
            for j, reading in enumerate(readings):
                affinity = line.affinity(reading, cut=cut_seconds is not None)
                if affinity > 0:
                    pairs.append((-affinity, i, j))
        pairs.sort()
        matched: dict[int, int] = {}
        taken: set[int] = set()
        for _, i, j in pairs:
            if i not in matched and j not in taken:
                matched[i] = j
                taken.add(j)
        ended = self._advance(
            {i: readings[j] for i, j in matched.items()}, time_seconds, cut_seconds
        )
        for j, reading in enumerate(readings):
            if j not in taken:
                line = FollowedLine(time_seconds, reading, reading)
                line.add(reading)
                self.lines.append(line)
        return ended

    def repeat(self, time_seconds: float, cut_seconds: float | None = None) -> list[EndedLine]:
        """The sample looks like the previous one, hence shows what that one showed."""
        shown = {
            i: line.last for i, line in enumerate(self.lines) if line.missing_since_seconds is None
        }
        return self._advance(shown, time_seconds, cut_seconds)

    def close(
        self, time_seconds: float, *, begun_before_seconds: float = math.inf
    ) -> list[EndedLine]:
        """Ends the lines that began before then, at the latest at `time_seconds`."""
        ended = [
            _ended(line, time_seconds)
            for line in self.lines
            if line.start_seconds < begun_before_seconds
        ]
        self.lines = [line for line in self.lines if line.start_seconds >= begun_before_seconds]
        return ended

    def _advance(
        self, shown: dict[int, Line], time_seconds: float, cut_seconds: float | None
    ) -> list[EndedLine]:
        ended, open_lines = [], []
        gone_at = time_seconds if cut_seconds is None else cut_seconds
        for i, line in enumerate(self.lines):
            if i in shown:
                line.add(shown[i])
                open_lines.append(line)
            elif line.missing_since_seconds is not None or cut_seconds is not None:
                ended.append(_ended(line, gone_at))
            else:
                line.missing_since_seconds = gone_at
                open_lines.append(line)
        self.lines = open_lines
        return ended


def _ended(line: FollowedLine, time_seconds: float) -> EndedLine:
    if line.missing_since_seconds is not None:
        time_seconds = line.missing_since_seconds
    return EndedLine(line, time_seconds)
