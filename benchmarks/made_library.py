"""A made-up library of any size, with queries for it: what benchmarks fill a store with.

Three in five pieces of evidence are frames with a vector of 512; one in ten is a passage that is
searched by its words (there are as many sentences again, and vectors of 384 for those and for
passages of what is on the screen, as points of their own); the rest are sentences and lines without
vectors (see distractors.py).
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distractors import (
    FRAMES,
    PASSAGES,
    Made,
    Speaker,
    read_talks,
    scenes_of,
    unit,
    video_of,
    words_of,
)

from index.edge import EdgeStore
from index.library import Library
from index.passages import Passage
from index.schema import Space, make_id
from index.settings import StoreSettings
from index.store import Point, VectorSpace
from index.text import SPACES

FRAME_SPACE = Space("frame.made-up.00000000", "frame", "made-up frames", 512)
TEXT_SPACE = Space("text.made-up.00000000", "text", "made-up text", 384)
DETAILS = {
    "frame": {"model": FRAME_SPACE.model, "spaces": [FRAME_SPACE.name]},
    **{
        f"text:{channel}": {"model": TEXT_SPACE.model, "spaces": [TEXT_SPACE.name]}
        for channel in ("speech", "screen_text")
    },
}

PICTURES, SENTENCES, LINES = 900, 150, 300
"""In each video; with half as many passages over its sentences and a quarter over its lines, 1,500
pieces of evidence."""
EVIDENCE_A_VIDEO = PICTURES + SENTENCES + LINES + SENTENCES // 2 + LINES // 4


class Maker:
    """Makes video after video. The same number is the same video, in whatever process."""

    def __init__(self) -> None:
        self._speaker = Speaker(read_talks())

    def video(self, number: int) -> Made:
        draw, random_ = random.Random(number), np.random.default_rng(number)
        seconds = float(np.clip(random_.lognormal(np.log(1200), 0.5), 300, 5400))
        made = Made(video_of(str(number), f"Talk {number}", seconds), details=DETAILS)
        scenes = scenes_of(random_, PICTURES, mean=4)
        starts = np.sort(random_.random(PICTURES)) * seconds
        ends = np.append(starts[1:], seconds)
        for start, end, vector in zip(
            starts.tolist(), ends.tolist(), FRAMES.video(random_, scenes), strict=True
        ):
            made.put("frame", start, end, vectors={FRAME_SPACE.name: vector})
        starts = (np.arange(SENTENCES) * seconds / SENTENCES).tolist()
        for start, text in zip(starts, self._speaker.sentences(draw, SENTENCES), strict=True):
            end = start + 0.9 * seconds / SENTENCES
            made.put("speech", start, end, text=f"{text}.", attributes={"language": "en"})
        starts = np.sort(random_.random(LINES)) * seconds
        for start, text in zip(
            starts.tolist(), self._speaker.sentences(draw, LINES, words=5), strict=True
        ):
            top = random_.random() * 0.9
            attributes = {
                "language": "en", "confidence": 0.97, "boxes": [[0.1, top, 0.6, top + 0.05]],
            }  # fmt: skip
            made.put("screen_text", start, start + 12.0, text=text, attributes=attributes)
        return made

    def points(self, number: int) -> Iterator[Point]:
        random_ = np.random.default_rng((number, 1))
        return self.video(number).points(
            TEXT_SPACE.name, lambda passages: self.vectors(random_, passages)
        )

    @staticmethod
    def vectors(random_: np.random.Generator, passages: Sequence[Passage]) -> np.ndarray:
        return PASSAGES.video(random_, scenes_of(random_, len(passages), mean=8))


def fill(folder: Path, evidence: int) -> dict:
    """Grows the library to that size, and compacts it as `longtake` does in the background."""
    log = folder / "made.json"
    made = json.loads(log.read_text()) if log.exists() else {"videos": 0}
    wanted = round(evidence / EVIDENCE_A_VIDEO)
    if made["videos"] >= wanted:
        return made
    maker, points, spent = Maker(), 0, 0.0
    with EdgeStore(folder / "library", settings=StoreSettings(compact=False)) as store:
        library = Library(store)
        store.ensure_spaces([*SPACES, VectorSpace("fingerprint", 256)])
        for space in (FRAME_SPACE, TEXT_SPACE):
            library.add_space(space, filled_by=make_id("nobody"))
        for number in range(made["videos"], wanted):
            ready = list(maker.points(number))
            started = time.perf_counter()
            for start in range(0, len(ready), 500):
                store.upsert(ready[start : start + 500])
            spent += time.perf_counter() - started
            points += len(ready)
            if number % 100 == 99:
                print(f"{number + 1} of {wanted} videos", file=sys.stderr, flush=True)
        store.flush()
        compacting = time.perf_counter()
        store.compact_now()
        made = {
            "videos": wanted,
            "points_per_second_in": round(points / spent),
            "compaction_seconds": round(time.perf_counter() - compacting, 1),
        }
    log.write_text(json.dumps(made))
    return made


@dataclass(frozen=True)
class Prepared:
    """A query: its words, its vector in each space, and where what it is after lies."""

    text: str
    vectors: dict[str, np.ndarray]
    video: str
    title: str
    middle_seconds: float
    picture: np.ndarray


class Ready:
    """A `TextEncoder` that has encoded before."""

    def __init__(self, space: Space, queries: Sequence[Prepared]):
        self.space, self.size = space.name, space.size
        self._vectors = {query.text: query.vectors[space.name] for query in queries}

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])


def queries_of(videos: int, count: int) -> list[Prepared]:
    """Each after some sentences of one video, in its words and near to their vector; its words in
    the space of frames lie as far from the picture shown then as captions do (a cosine of .3, where
    unrelated ones have .15)."""
    maker = Maker()
    made = []
    for at in range(count):
        draw = random.Random(f"query {at}")
        random_ = np.random.default_rng((at, 2))
        number = draw.randrange(videos)
        video = maker.video(number)
        del video.evidence["screen_text"]  # comes last, so the others' vectors stay the same
        passages: list[Passage] = []
        vectors: dict[str, np.ndarray] = {}
        for point in maker_points(maker, video, number, passages):
            if point.payload["kind"] == "embedding":
                vectors[point.payload["passage"]] = point.vectors[TEXT_SPACE.name]
        said = [p for p in passages if p.channel == "speech" and p.id in vectors]
        target = draw.choice([p for p in said if len(words_of(p.text)) >= 6])
        words = words_of(target.text)
        words = [word for word in words if word.casefold() not in ("after", "before", "then")]
        text = " ".join(draw.sample(words, min(len(words), draw.randint(3, 6))))
        meaning = unit(vectors[target.id] + 1.1 * PASSAGES.draws(random_, 1)[0])
        middle = (target.start_seconds + target.end_seconds) / 2
        pictures = video.evidence["frame"]
        shown = min(pictures, key=lambda one: abs(one.start_seconds - middle))
        picture = shown.vectors[FRAME_SPACE.name]
        own = unit(picture - (picture @ FRAMES.mean) * FRAMES.mean)
        caption = (
            0.21 * FRAMES.mean + 0.21 * own
            + 0.95 * unit(random_.standard_normal(512, dtype=np.float32))
        )  # fmt: skip
        near = {TEXT_SPACE.name: meaning, FRAME_SPACE.name: unit(caption)}
        made.append(
            Prepared(
                text, {name: vector.astype(np.float32) for name, vector in near.items()},
                video.video.id, video.video.title, middle,
                unit(picture + 0.3 * FRAMES.draws(random_, 1)[0]).astype(np.float32),
            )
        )  # fmt: skip
    return made


def maker_points(
    maker: Maker, video: Made, number: int, passages: list[Passage]
) -> Iterator[Point]:
    random_ = np.random.default_rng((number, 1))
    return video.points(
        TEXT_SPACE.name, lambda meant: maker.vectors(random_, meant), passages.append
    )
