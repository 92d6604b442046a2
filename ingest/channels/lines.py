"""Follows lines of text from sample to sample: what is one line, although it is read many times.

Pure bookkeeping over readings, without pictures or clocks of its own, so that it can be tested
with invented sequences. Which readings are of one line is decided in ingest/channels/lines_alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ingest.channels import lines_alike
from ingest.channels.lines_alike import GROWTH, bare, begins_alike, inserted, overlap, run_on
from ingest.models.ocr import Box, Line, reading_order

JOIN_GAP = 1.4
"""In heights of the line: pieces of a row with at most this gap between them are one line."""

_CURSORS = "■█▌▍▊▮▯□"


def code_constants() -> dict[str, float]:
    """The constants above, and those of lines_alike, for a channel's `describe`."""
    return {
        "join_gap": JOIN_GAP,
        "lines_code": 2,
        **lines_alike.code_constants(),
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
        overlap(left[1], left[3], right[1], right[3]) >= 0.5
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
    _ran_by: str | None = None

    @property
    def best(self) -> Line:
        """The reading seen most often; of those the longest (a last letter typed), the surest.
        Of a ticker all that has run by."""
        best = max(
            self._readings.values(),
            key=lambda votes: (votes.times_seen, len(votes.best.text), votes.best.confidence),
        ).best
        return best if self._ran_by is None else replace(best, text=self._ran_by)

    def add(self, reading: Line) -> None:
        before = self.last.text
        self.last = reading
        self.missing_since_seconds = None
        if self._readings:
            new, text = bare(reading.text), bare(self.best.text)
            longer = len(new) - len(text)
            if abs(longer) >= GROWTH and begins_alike(text, new) >= lines_alike.BEGINS_ALIKE:
                if longer < 0:
                    return  # being deleted: what it once said is what is worth keeping
                self._readings.clear()
            elif self._ran_by is None and inserted(text, new):
                self._readings.clear()
            elif (more := run_on(self._ran_by or bare(before), new)) is not None and (
                self._ran_by is not None or len(more) >= len(bare(before)) + GROWTH
            ):
                self._ran_by = more
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
        texts = (self.last.text,) if self._ran_by else (self.last.text, self.best.text)
        return lines_alike.affinity(texts, self.last, reading, cut=cut)


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

    def peek(self, time_seconds: float) -> list[EndedLine]:
        """The lines as `close` would end them, which go on."""
        return [_ended(line, time_seconds) for line in self.lines]

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
