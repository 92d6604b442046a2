"""Videos that nobody filmed, with the statistics of real ones, as points of a store: what the
benchmarks of large libraries search among.

Words come from the real transcripts of ../shared/data: either themselves, or word by word after the
pairs of words in two of them, a part of the rare ones changed, since the vocabulary of a library
grows with it. Vectors lie around the centres of their video and of their scene, in a space whose
directions carry less and less, as those of encoders do. Fingerprints have the correlations between
bits that real pictures have.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index.passages import PassageBuilder, passage_point, reading_order
from index.records import evidence_point, generation_point, video_point
from index.schema import Evidence, Generation, Passage, Video, make_id
from index.store import Point
from ingest.channels.text import embedding_point

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

Sentence = tuple[float, float, str]
"""Start and end in seconds, and what is said."""


def read_talks() -> list[list[Sentence]]:
    """Every real transcript, lectures and tutorials."""
    talks = []
    for collection in ("3b1b", "tutorialvqa"):
        with open(DATA / "transcripts" / collection / "transcripts.jsonl") as lines:
            talks += [[tuple(one) for one in json.loads(line)["sentences"]] for line in lines]
    return [talk for talk in talks if talk]


class Speaker:
    """Says what was never said in the words of real talks."""

    def __init__(self, talks: Sequence[Sequence[Sentence]]):
        self._follow: list[dict[str, list[str]]] = []
        self._lengths: list[list[int]] = []
        counts: Counter[str] = Counter()
        for talk in talks:
            follow: dict[str, list[str]] = {}
            lengths = []
            for _, _, text in talk:
                words = text.split()
                lengths.append(len(words))
                counts.update(words)
                for one, other in zip(["", *words], words, strict=False):
                    follow.setdefault(one, []).append(other)
            self._follow.append(follow)
            self._lengths.append(lengths)
        self._rare = {word for word, count in counts.items() if count < 5 and word.isalpha()}

    def sentences(self, draw: random.Random, count: int, words: int | None = None) -> list[str]:
        """words: in each; None: as many as there are in the talks."""
        sources = draw.sample(range(len(self._follow)), 2)
        syllable = draw.choice("bdfgklmnprstvz") + draw.choice("aeiou")
        said = []
        for _ in range(count):
            source = draw.choice(sources)
            follow = self._follow[source]
            wanted = words or draw.choice(self._lengths[source])
            word, sentence = "", []
            while len(sentence) < max(wanted, 1):
                word = draw.choice(follow.get(word) or follow[""])
                changed = word in self._rare and hash_of(word + syllable) % 3 == 0
                sentence.append(word + syllable if changed else word)
            said.append(" ".join(sentence))
        return said


def hash_of(text: str) -> int:
    """The same in every process."""
    return int.from_bytes(text.encode()) % 1_000_003


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass
class Cloud:
    """Unit vectors as an encoder makes them.

    shares: of a vector's square, what all vectors have in common, what those of a video, what those
    of a scene, and its own; so they are also the cosines that unrelated vectors, those of a video
    and those of a scene have. decay: of the standard deviation from one direction to the next.
    """

    size: int
    shares: tuple[float, float, float, float]
    decay: float
    seed: int = 0
    mean: np.ndarray = field(init=False)
    _axes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        random_ = np.random.default_rng(self.seed)
        axes, _ = np.linalg.qr(random_.standard_normal((self.size, self.size)))
        scale = np.arange(1, self.size + 1) ** -self.decay
        self._axes = (axes.T * (scale / np.linalg.norm(scale))[:, None]).astype(np.float32)
        self.mean = self.draws(random_, 1)[0]

    def draws(self, random_: np.random.Generator, count: int) -> np.ndarray:
        """float32 of shape (count, size), unit length."""
        return unit(random_.standard_normal((count, self.size), dtype=np.float32) @ self._axes)

    def video(self, random_: np.random.Generator, scenes: Sequence[int]) -> np.ndarray:
        """The vectors of one video. scenes: of each vector, ascending from 0. Returns float32 of
        shape (len(scenes), size), unit length."""
        common, of_video, of_scene, own = np.sqrt(self.shares).astype(np.float32)
        centres = self.draws(random_, max(scenes) + 1)[np.asarray(scenes)]
        return unit(
            common * self.mean
            + of_video * self.draws(random_, 1)
            + of_scene * centres
            + own * self.draws(random_, len(scenes))
        )


FRAMES = Cloud(512, (0.5, 0.15, 0.25, 0.1), decay=0.5, seed=1)
"""Pictures to a CLIP: unrelated ones have cosines of about .5, those of one scene of .9."""
PASSAGES = Cloud(384, (0.05, 0.2, 0.15, 0.6), decay=0.35, seed=2)
"""Sentences to a MiniLM: unrelated ones .05, neighbours .4."""


class Fingerprints:
    """Bits drawn to be like those of pictures. known: bool of shape (n, 256), of real ones."""

    def __init__(self, known: np.ndarray):
        signs = np.where(known, 1.0, -1.0)
        # The cosines between the normal variables behind bits that agree so often.
        correlation = np.sin(np.pi / 2 * np.clip(signs.T @ signs / len(signs), -0.999, 0.999))
        values, axes = np.linalg.eigh(correlation)
        self._axes = (axes * np.sqrt(np.clip(values, 0, None))).T.astype(np.float32)

    def video(self, random_: np.random.Generator, scenes: Sequence[int]) -> np.ndarray:
        """bool of shape (len(scenes), 256); neighbours of a scene differ in some 50 bits, as what
        was not taken for one picture does. As in PDQ, half of the bits of each are set."""
        places = np.asarray(scenes)
        centres = random_.standard_normal((max(scenes) + 1, 256), dtype=np.float32)[places]
        own = random_.standard_normal((len(scenes), 256), dtype=np.float32)
        drawn = (np.sqrt(0.65) * centres + np.sqrt(0.35) * own) @ self._axes
        return drawn > np.median(drawn, axis=1, keepdims=True)


def scenes_of(random_: np.random.Generator, count: int, mean: float) -> list[int]:
    """The scene of each of `count` pictures or sentences, `mean` of them in each on average."""
    return np.cumsum(np.append(0, random_.random(count - 1) < 1 / mean)).tolist()


@dataclass
class Made:
    """A video and its evidence by channel. details: what its generations say of themselves."""

    video: Video
    evidence: dict[str, list[Evidence]] = field(default_factory=dict)
    details: Mapping[str, Mapping] = field(default_factory=dict)

    def generation(self, channel: str) -> Generation:
        length = self.video.duration_seconds
        return Generation(
            self.video.id, 0, channel, "made up", watermark_seconds=length, analysed_seconds=length,
            complete=True, detail=self.details.get(channel, {}),
        )  # fmt: skip

    def put(self, channel: str, start: float, end: float, **fields) -> None:
        generation = self.generation(channel)
        one = Evidence(self.video.id, 0, channel, generation.id, start, end, **fields)
        self.evidence.setdefault(channel, []).append(one)

    def points(
        self,
        space: str = "",
        vectors: Callable[[Sequence[Passage]], np.ndarray] | None = None,
        passages: Callable[[Passage], None] = lambda passage: None,
    ) -> Iterator[Point]:
        """All that a finished `index` leaves in the store. vectors: of passages, in `space`; None:
        they have none. passages: told of each."""
        yield video_point(self.video)
        for channel, found in self.evidence.items():
            generation = self.generation(channel)
            yield generation_point(generation)
            yield from map(evidence_point, found)
            builder = PassageBuilder(generation)
            built = builder.push(sorted(found, key=reading_order))
            for passage in built:
                passages(passage)
                yield passage_point(passage)
            if not built:
                continue
            yield from builder.statistics_points()
            yield from builder.outline_points()
            meant = [passage for passage in built if has_vector(passage)]
            if vectors is not None and meant:
                text = self.generation(f"text:{channel}")
                yield generation_point(text)
                for passage, vector in zip(meant, vectors(meant), strict=True):
                    yield embedding_point(text, passage, space, vector)


def has_vector(passage: Passage) -> bool:
    from index.passages import scale_of

    return scale_of(passage).meaning


def words_of(text: str) -> list[str]:
    """The words that are long enough to be looked for."""
    return re.findall(r"[a-zA-Z]{4,}", text)


def video_of(name: str, title: str, seconds: float) -> Video:
    return Video(make_id("made up", name), title, duration_seconds=seconds)
