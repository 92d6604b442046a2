"""Terminal recordings beside the VHS scripts they were made from: what was typed, and what the
screen_text channel made of it.

A script tells what was typed exactly. It tells when only for recordings that kept time: VHS then
wrote as many pictures as it managed to take, so most recordings are shorter than their scripts.
Hence the time that counts is that of the first picture in which a line's beginning, to its second
letter or digit (before which it is no line for the channel), looks as it does later: found in the
pixels of the recording, without recognition. The script's own times are used too where it lasts as
long as the recording.

What is no typed line: what is hidden; what is never entered before the recording hides (keys for a
program); environment variables, whose value is not in the script; fewer than three letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from index.schema import Evidence, Generation, Video
from ingest.analysis import VideoAnalysis
from ingest.channel import Sample
from ingest.channels.screen_text import ScreenTextChannel

STEP_SECONDS = 1.0
"""Between two samples, by default."""
_TYPING_SECONDS = 0.05
_TOKEN = re.compile(r"""\"[^"]*\"|'[^']*'|`[^`]*`|\S+""")
_COMMANDS = {
    "Alt", "Backspace", "Copy", "Ctrl", "Delete", "Down", "End", "Enter", "Escape", "Hide", "Home",
    "Insert", "Left", "PageDown", "PageUp", "Paste", "Right", "Shift", "Show", "Sleep", "Space",
    "Tab", "Type", "Up", "Wait",
}  # fmt: skip
_LEAVING = {"Enter", "Ctrl+C", "Ctrl+L", "Ctrl+U"}
_SAME_PIXELS = 10.0
"""Mean absolute difference, 0..255, of two pictures of the same letters."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A line as it stood when it was left, and when its first letter was typed."""

    text: str
    start_seconds: float


@dataclass(frozen=True, slots=True)
class Tape:
    lines: tuple[Typed, ...]
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a typed line.

    evidence: what reads most like it; None where nothing comes within half of it. edits: what
    turns the evidence's text, but for a prompt before it, into the line; all of the line where it
    was not found. pieces: of evidence of this line. late_seconds: from when it appeared in the
    pictures to the evidence's start. tape_late_seconds: from when the script says, where the
    recording kept time.
    """

    typed: Typed
    evidence: Evidence | None
    edits: int
    pieces: int = 0
    late_seconds: float | None = None
    tape_late_seconds: float | None = None


def read_tape(path: Path) -> Tape:
    """What a VHS script types, line by line."""
    return _Player().play(path.read_text(encoding="utf-8"))


class _Player:
    """Goes through a script as VHS does, on a clock that stands still where it hides."""

    def __init__(self) -> None:
        self.now, self.speed, self.hidden = 0.0, _TYPING_SECONDS, False
        self.text, self.cursor, self.began = "", 0, 0.0
        self.lines: list[Typed] = []

    def play(self, script: str) -> Tape:
        for row in script.splitlines():
            words = [] if row.lstrip().startswith("#") else _TOKEN.findall(row)
            if words[:2] == ["Set", "TypingSpeed"]:
                self.speed = _seconds(words[2])
            if words[:1] == ["Hidden"]:  # of old: Hidden Begin, Hidden End
                words = ["Hide" if words[1] == "Begin" else "Show"]
            if not words or words[0] in ("Env", "Output", "Require", "Set", "Source"):
                continue
            while words:
                command, _, pace = words.pop(0).partition("@")
                arguments = []
                while words and words[0].partition("@")[0].partition("+")[0] not in _COMMANDS:
                    arguments.append(words.pop(0))
                self.do(command, _seconds(pace) if pace else self.speed, arguments)
        self.leave()
        return Tape(tuple(self.lines), self.now)

    def do(self, command: str, pace: float, arguments: list[str]) -> None:
        argument = arguments[0] if arguments else ""
        if command in ("Hide", "Show"):
            if not self.hidden:
                self.text, self.cursor = "", 0
            self.hidden = command == "Hide"
        elif command == "Sleep":
            self.pass_time(_seconds(argument))
        elif command == "Type":
            self.type(" ".join(map(_unquoted, arguments)), pace)
        elif command == "Space":
            self.type(" " * (int(argument or 1)), pace)
        elif command in _LEAVING:
            self.leave()
            self.pass_time(pace)
        else:
            times = int(argument) if argument.isdigit() else 1
            places = {"Left": max(0, self.cursor - times), "Ctrl+E": len(self.text)}
            self.cursor = places.get(command, self.cursor)
            self.pass_time(pace * times)

    def type(self, letters: str, pace: float) -> None:
        self.began = self.began if self.text else self.now
        self.text = self.text[: self.cursor] + letters + self.text[self.cursor :]
        self.cursor += len(letters)
        self.pass_time(pace * len(letters))

    def leave(self) -> None:
        text = self.text.strip()
        if not self.hidden and not text.startswith("$") and sum(map(str.isalnum, text)) >= 3:
            self.lines.append(Typed(text, self.began))
        self.text, self.cursor = "", 0

    def pass_time(self, seconds: float) -> None:
        self.now += 0.0 if self.hidden else seconds


def _unquoted(word: str) -> str:
    return word[1:-1] if word[0] in "\"'`" and word[-1] == word[0] else word


def _seconds(word: str) -> float:
    number = float(re.match(r"[\d.]+", word)[0])
    return number / 1000 if word.endswith("ms") else number


def recordings(folder: Path) -> list[Path]:
    """Those in the folder that have their script beside them."""
    return [
        path.with_suffix("")
        for path in sorted(folder.glob("*.tape"))
        if path.with_suffix("").exists()
    ]


def index(channel: ScreenTextChannel, path: Path) -> tuple[list[Evidence], float]:
    """All evidence of a recording with the default sampling, and where the recording ends."""
    run = channel.open(Video("v", "v"), Generation("v", 0, "screen_text", "f"), 0.0)
    found = []
    with VideoAnalysis(path) as analysis:
        for event in analysis:
            if isinstance(event, Sample):
                found += run.push(event)
        end_seconds = analysis.end_seconds
    return found + run.finish(end_seconds), end_seconds


def look_for(
    tape: Tape, evidence: Sequence[Evidence], path: Path, end_seconds: float
) -> list[Found]:
    """What became of each line of the script in the recording `path`."""
    in_time = abs(tape.duration_seconds - end_seconds) <= 0.05 * end_seconds
    found = []
    for typed in tape.lines:
        best = min(evidence, key=lambda e: edits(typed.text, e.text), default=None)
        wrong = len(typed.text) if best is None else edits(typed.text, best.text)
        if best is None or wrong > len(typed.text) / 2:
            found.append(Found(typed, None, len(typed.text)))
            continue
        pieces = sum(_is_piece(piece, best, typed.text) for piece in evidence)
        appeared = appeared_seconds(path, typed.text, best)
        found.append(
            Found(
                typed,
                best,
                wrong,
                pieces,
                best.start_seconds - appeared,
                best.start_seconds - typed.start_seconds if in_time else None,
            )
        )
    return found


def edits(wanted: str, text: str) -> int:
    """The least edits that turn the end of `text` into `wanted`; what comes before is a prompt."""
    row = [0] * (len(text) + 1)
    for n, letter in enumerate(wanted, 1):
        before, row = row, [n] + [0] * len(text)
        for m, other in enumerate(text, 1):
            row[m] = min(before[m - 1] + (letter != other), before[m] + 1, row[m - 1] + 1)
    return row[-1]


def _edits_within(part: str, text: str) -> int:
    """The least edits that turn some stretch of `text` into `part`."""
    return min(edits(part, text[:end]) for end in range(len(text) + 1))


def _is_piece(piece: Evidence, best: Evidence, text: str) -> bool:
    """Whether it is in the row of the best one, while that is there or just before or after, and
    either reads like some of the line or lies in its box."""
    (x0, y0, x1, y1), (b0, t0, b1, t1) = piece.attributes["boxes"][0], best.attributes["boxes"][0]
    if min(y1, t1) - max(y0, t0) <= 0.5 * min(y1 - y0, t1 - t0):
        return False
    if (
        piece.start_seconds > best.end_seconds + STEP_SECONDS
        or piece.end_seconds < best.start_seconds - STEP_SECONDS
    ):
        return False
    together = min(piece.end_seconds, best.end_seconds) > max(
        piece.start_seconds, best.start_seconds
    )
    inside = min(x1, b1) - max(x0, b0) > 0.5 * (x1 - x0)
    reads_like = _edits_within(piece.text, f"{text} {best.text}") <= 0.3 * len(piece.text)
    return reads_like or (together and inside)


def appeared_seconds(path: Path, text: str, evidence: Evidence) -> float:
    """When the line, to its second letter or digit, came to look as it does where the evidence
    begins, or a sample later where it began with the prompt."""
    beginning = re.match(r"(\W*\w){2}", text)[0]
    x0, y0, x1, y1 = evidence.attributes["boxes"][0]
    letter = (x1 - x0) / len(evidence.text)
    at_seconds = evidence.start_seconds
    if beginning not in (evidence.key or "").partition("\n")[0]:
        at_seconds = min(at_seconds + STEP_SECONDS, evidence.end_seconds)
    left = x0 + max(0, evidence.text.find(beginning)) * letter
    right = left + len(beginning) * letter
    shown: list[tuple[float, np.ndarray]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            gray = frame.to_ndarray(format="gray")
            height, across = gray.shape
            rows = slice(int(y0 * height), int(y1 * height) + 1)
            columns = slice(int(left * across), int(right * across) + 1)
            if shown and frame.time > at_seconds + 1e-3:
                break
            shown.append((frame.time, gray[rows, columns].astype(np.float32)))
    first, wanted = shown[-1]
    for time, letters in reversed(shown):
        if np.abs(letters - wanted).mean() > _SAME_PIXELS:
            break
        first = time
    return float(first)


def score(found: Sequence[Found]) -> dict[str, float]:
    """Figures over many lines. character_error_rate: lines not found count in full."""
    read = [line for line in found if line.evidence is not None]
    late = [line.late_seconds for line in read]
    tape_late = [line.tape_late_seconds for line in read if line.tape_late_seconds is not None]
    return {
        "lines": len(found),
        "not_found": len(found) - len(read),
        "character_error_rate": round(
            sum(line.edits for line in found) / sum(len(line.typed.text) for line in found), 4
        ),
        "evidence_per_line": round(sum(line.pieces for line in read) / len(read), 3),
        "late_seconds_mean": round(float(np.mean(late)), 3),
        "late_seconds_best": round(min(late), 3),
        "late_seconds_worst": round(max(late), 3),
        "within_a_step": round(float(np.mean([abs(s) <= STEP_SECONDS for s in late])), 3),
        "tape_lines": len(tape_late),
        "tape_late_seconds_worst": round(max(tape_late, default=0.0), 3),
    }
