"""How sources are written in a prompt: their headings, and a line for each piece of evidence."""

from __future__ import annotations

from rag.delimited import one_line
from rag.material import Line, Scene
from rag.show_frames import Shown
from rag.timestamp import time_span, timestamp

_LABELS = {
    "speech": "said",
    "screen_text": "on screen",
    "caption": "described",
    "object": "objects",
    "sound": "heard",
}
_TITLE_CHARACTERS = 120


def line_text(line: Line) -> str:
    return f"{timestamp(line.start_seconds)} {_LABELS.get(line.channel, line.channel)}: {line.text}"


def detected_text(shown: Shown, number: int) -> str:
    """Below the pictures of a source. number: of this one among them, from 1."""
    when = timestamp(shown.frame.time_seconds)
    return f"{when} detected in picture {number}: {one_line(shown.detected)}"


def _where(scene: Scene) -> str:
    where = time_span(scene.moment.start_seconds, scene.moment.end_seconds)
    if scene.chapters:
        where += f", chapter {_quoted(' / '.join(scene.chapters))}"
    return f"{_quoted(scene.moment.title)}, {where}"


def _quoted(title: str) -> str:
    text = one_line(title).replace('"', "'")[:_TITLE_CHARACTERS]
    return f'"{text}"'


def words_heading(number: int, scene: Scene) -> str:
    return f"SOURCE {number}: words from {_where(scene)}"


def pictures_heading(number: int, scene: Scene) -> str:
    return f"SOURCE {number}: pictures from {_where(scene)}"


def watched_heading(number: int, scene: Scene) -> str:
    return f"SOURCE {number}: what you watched of {_where(scene)}"
