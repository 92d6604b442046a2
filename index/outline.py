"""Outlines: what is said in five minutes of a video, in one point.

Ranking and grounding read every sentence around a candidate. As points of their own these would be
some thousand small reads a search; an outline has the sentences of a block together, with the
windows over them. It says nothing that the passages do not say, and is written with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from index.schema import Generation, Passage, make_id
from index.store import Point

BLOCK_SECONDS = 300.0
"""A passage lies in the block in which it begins."""

MAY_GROW = 2
"""Blocks of a language, the newest ones, whose passages may still grow."""


class Sentence(NamedTuple):
    """A passage with a vector of its own. evidence: ids of what it covers."""

    id: str
    start_seconds: float
    end_seconds: float
    text: str
    evidence: tuple[str, ...]


class Window(NamedTuple):
    """A passage whose words are counted. last_start_seconds: of the last evidence in it."""

    id: str
    start_seconds: float
    last_start_seconds: float


@dataclass(frozen=True, slots=True)
class Outline:
    """The sentences and the windows of one generation and language that begin in one block, in
    time order. language: BCP 47 primary tag; None where it is unknown."""

    video_id: str
    epoch: int
    channel: str
    generation: str
    language: str | None
    analyzer: str
    sentences: tuple[Sentence, ...]
    windows: tuple[Window, ...]


def block_of(start_seconds: float) -> int:
    return int(start_seconds // BLOCK_SECONDS)


def outline_id(generation: str, language: str | None, block: int) -> str:
    return make_id("outline", generation, language, block)


class OutlineBuilder:
    """Collects the passages of one generation as they are cut. Keeps the newest blocks only."""

    def __init__(self, generation: Generation):
        self._generation = generation
        self._blocks: dict[str | None, dict[int, _Block]] = {}

    def add(self, passage: Passage, last_start_seconds: float, *, sentence: bool) -> None:
        """Takes a passage, new or grown. last_start_seconds: of the last evidence in it."""
        blocks = self._blocks.setdefault(passage.language, {})
        block = blocks.setdefault(block_of(passage.start_seconds), _Block(passage.analyzer))
        block.changed = True
        if sentence:
            block.sentences[passage.id] = passage
        else:
            block.windows[passage.id] = (passage.start_seconds, last_start_seconds)

    def points(self) -> list[Point]:
        """Those of the blocks that have changed since the last call."""
        made = []
        for language, blocks in self._blocks.items():
            made += [
                self._point(language, number, block)
                for number, block in blocks.items()
                if block.changed
            ]
            for number in sorted(blocks)[:-MAY_GROW]:
                del blocks[number]
            for block in blocks.values():
                block.changed = False
        return made

    def _point(self, language: str | None, number: int, block: _Block) -> Point:
        generation = self._generation
        said = sorted(
            block.sentences.values(), key=lambda p: (p.start_seconds, p.end_seconds, p.id)
        )
        windows = sorted((*span, id) for id, span in block.windows.items())
        payload = {
            "kind": "outline",
            "video_id": generation.video_id,
            "epoch": generation.epoch,
            "channel": generation.channel,
            "generation": generation.id,
            "start_us": int(number * BLOCK_SECONDS * 1e6),
            "language": language,
            "analyzer": block.analyzer,
            "ids": [one.id for one in said],
            "starts": [one.start_seconds for one in said],
            "ends": [one.end_seconds for one in said],
            "texts": [one.text for one in said],
            "evidence": [list(one.evidence) for one in said],
            "windows": [id for _, _, id in windows],
            "window_starts": [start for start, _, _ in windows],
            "window_lasts": [last for _, last, _ in windows],
        }
        return Point(outline_id(generation.id, language, number), payload)


class _Block:
    def __init__(self, analyzer: str):
        self.analyzer = analyzer
        self.sentences: dict[str, Passage] = {}
        self.windows: dict[str, tuple[float, float]] = {}
        self.changed = True


def outline_from(payload: Mapping) -> Outline:
    """The outline that `OutlineBuilder` made the payload of."""

    def columns(*names: str) -> Iterator[tuple]:
        return zip(*(payload[name] for name in names), strict=True)

    said = columns("ids", "starts", "ends", "texts", "evidence")
    return Outline(
        payload["video_id"],
        payload["epoch"],
        payload["channel"],
        payload["generation"],
        payload["language"],
        payload["analyzer"],
        tuple(Sentence(*one, tuple(evidence)) for *one, evidence in said),
        tuple(Window(*one) for one in columns("windows", "window_starts", "window_lasts")),
    )


def outline_ids(
    generation: str, language: str | None, start_seconds: float, end_seconds: float
) -> Iterable[str]:
    """Of the blocks that hold what begins in that span."""
    first, last = block_of(max(start_seconds, 0.0)), block_of(max(end_seconds, 0.0))
    return [outline_id(generation, language, number) for number in range(first, last + 1)]
