"""Passages: windows over a channel's evidence, the unit that text retrieval ranks.

A window covers up to `size` neighbouring evidence of one language, begins `step` after the one
before it, and never reaches across a long silence. Where windows lie follows from the evidence
before them alone, so a resumed run cuts the very passages that an uninterrupted one does; the
newest window may still be partial, and is written anew under the same id as it grows.

What is said is cut twice: into sentences, which have a vector each, and into windows of four, whose
words are counted. A sentence says one thing, so its vector is near to that; words that belong
together are spread over several. docs/retrieval.md has what was measured.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from index.outline import OutlineBuilder
from index.schema import Evidence, Generation, Passage, make_id, microseconds
from index.store import Point
from index.text import WORDS, analyzer, analyzer_for, term_count_vectors


@dataclass(frozen=True, slots=True)
class PassageScale:
    """How passages are cut.

    size, step: evidence in a window, and from one window's first to the next one's.
    max_gap_seconds: a longer pause between neighbours ends the window and begins a new run.
    max_seconds: what starts later than this after the window's first is left to the next window.
    average_length: terms of a usual passage, for BM25's length normalisation; a constant, so that
        scores do not depend on what else the library holds.
    separator: between the texts of neighbours.
    name: tells several scales of one channel apart; at most one may have none.
    words, meaning: whether its passages are searched by their words, and by a vector.
    sentences: a window is complete where a sentence ends. They do not overlap.
    """

    size: int
    step: int
    max_gap_seconds: float
    max_seconds: float
    average_length: float
    separator: str = " "
    name: str = ""
    words: bool = True
    meaning: bool = True
    sentences: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.step <= self.size:
            raise ValueError(f"a step of {self.step} leaves holes between windows of {self.size}")


SENTENCE = PassageScale(
    4,
    4,
    max_gap_seconds=5.0,
    max_seconds=30.0,
    average_length=1.0,
    name="sentence",
    words=False,
    sentences=True,
)
"""Most often one piece of evidence. Subtitles break sentences, so up to four make one."""
SPEECH = PassageScale(
    4,
    2,
    max_gap_seconds=30.0,
    max_seconds=120.0,
    average_length=35.0,
    name="window",
    meaning=False,
)
"""Four sentences of a tutorial hold 30 terms on average, of a lecture 45."""
SCREEN_TEXT = PassageScale(
    8, 4, max_gap_seconds=60.0, max_seconds=60.0, average_length=30.0, separator="\n"
)
OBJECT = PassageScale(
    8, 4, max_gap_seconds=30.0, max_seconds=60.0, average_length=10.0, separator=", "
)
CAPTION = PassageScale(4, 2, max_gap_seconds=60.0, max_seconds=120.0, average_length=40.0)
SUMMARY = PassageScale(1, 1, max_gap_seconds=0.0, max_seconds=0.0, average_length=30.0)

DEFAULT_SCALES: Mapping[str, tuple[PassageScale, ...]] = {
    "speech": (SENTENCE, SPEECH),
    "screen_text": (SCREEN_TEXT,),
    "caption": (CAPTION,),
    "object": (OBJECT,),
    "summary": (SUMMARY,),
}
"""By channel; one that is not here is cut as speech is."""


def scales_for(channel: str) -> tuple[PassageScale, ...]:
    """The scales that a channel's passages are cut at."""
    return DEFAULT_SCALES.get(channel, DEFAULT_SCALES["speech"])


def scale_of(passage: Passage) -> PassageScale:
    """The default scale that the passage was cut at."""
    scales = {scale.name: scale for scale in scales_for(passage.channel)}
    return scales.get(passage.scale, SPEECH)


OTHERWISE_CUT = tuple(name for name, scales in DEFAULT_SCALES.items() if SENTENCE not in scales)
"""Channels whose passages are not sentences and windows over them."""


SAID = tuple(name for name, scales in DEFAULT_SCALES.items() if SENTENCE in scales)
"""Channels whose passages are sentences and windows over them."""

LONG_SENTENCE = 120
"""Characters after which subtitles without punctuation are cut."""

SENTENCE_ENDS = frozenset(".!?…。！？｡؟۔।॥։።៕။༎")
CLOSING_MARKS = "\"'”’»)]}」』）】"


def reading_order(evidence: Evidence) -> tuple[float, float, float, float, str]:
    """Sort key: the order in which `PassageBuilder` takes evidence; of what begins at once, from
    the top of the picture to the bottom."""
    boxes = evidence.attributes.get("boxes") or ((0.0, 0.0),)
    left, top = boxes[0][:2]
    return (evidence.start_seconds, top, left, evidence.end_seconds, evidence.id)


class _Windows:
    """The windows of one scale over one language's evidence. Keeps one window's worth of it."""

    def __init__(self, scale: PassageScale):
        self._scale = scale
        self._window: list[Evidence] = []  # what the newest window covers
        self._end_seconds = 0.0  # latest end in the run so far
        self._start_seconds = -1.0  # of the newest evidence
        self._ids_there: set[str] = set()

    def push(self, evidence: Evidence) -> list[Evidence]:
        """Adds the next evidence; returns what the newest window covers now."""
        scale, window = self._scale, self._window
        if evidence.start_seconds != self._start_seconds:
            self._start_seconds = evidence.start_seconds
            self._ids_there.clear()
        if evidence.id in self._ids_there:  # said twice over; the store keeps one
            return list(window)
        self._ids_there.add(evidence.id)
        if window:
            if evidence.start_seconds - self._end_seconds > scale.max_gap_seconds:
                window.clear()
                self._end_seconds = 0.0
            elif (
                len(window) == scale.size
                or self._too_late(evidence, window[0])
                or (scale.sentences and _ends_sentence(window))
            ):
                # The next window: it overlaps this one as far as the two limits let it.
                del window[: len(window) if scale.sentences else min(scale.step, len(window))]
                while window and self._too_late(evidence, window[0]):
                    del window[0]
        window.append(evidence)
        self._end_seconds = max(self._end_seconds, evidence.end_seconds)
        return list(window)

    def _too_late(self, evidence: Evidence, first: Evidence) -> bool:
        return evidence.start_seconds - first.start_seconds > self._scale.max_seconds


def _ends_sentence(window: Sequence[Evidence]) -> bool:
    """Whether what it says is whole, or so long that it need not be."""
    last = window[-1].text.rstrip(CLOSING_MARKS + " ")[-1:]
    return last in SENTENCE_ENDS or sum(len(one.text) for one in window) >= LONG_SENTENCE


class PassageBuilder:
    """Cuts the passages of one generation as its evidence comes, and counts their terms.

    Memory grows with the vocabulary of the video, not with its length.
    """

    def __init__(
        self,
        generation: Generation,
        scales: Sequence[PassageScale] | None = None,
        *,
        part: str = "",
    ):
        """part: where several builders cut one generation's evidence, tells apart what they
        count."""
        self._generation = generation
        self._scales = tuple(scales_for(generation.channel) if scales is None else scales)
        if len({scale.name for scale in self._scales}) < len(self._scales):
            raise ValueError("two scales of one channel need two names")
        self._windows: dict[tuple[str | None, str], _Windows] = {}
        self._statistics = PassageStatistics(generation, part)
        by_sentences = any(scale.sentences for scale in self._scales)
        self._outlines = OutlineBuilder(generation) if by_sentences else None

    def push(self, evidence: Iterable[Evidence]) -> list[Passage]:
        """Takes evidence in `reading_order`, across calls too, and returns the passages that are
        new or have grown. Evidence without text is passed over.

        All that starts earlier must have been pushed: a channel whose evidence becomes final in
        another order holds it back until its watermark has passed it.
        """
        changed: dict[str, Passage] = {}
        for one in evidence:
            if not one.text:
                continue
            language = one.attributes.get("language")
            for scale in self._scales:
                key = (language, scale.name)
                windows = self._windows.setdefault(key, _Windows(scale))
                window = windows.push(one)
                passage = self._passage(window, language, scale)
                changed[passage.id] = passage
                if self._outlines is not None:
                    last = window[-1].start_seconds
                    self._outlines.add(passage, last, sentence=scale.sentences)
        # Each grows many times within one push; only what it came to is analysed and counted.
        counted = {scale.name for scale in self._scales if scale.words}
        for passage in changed.values():
            if passage.scale in counted:
                self._statistics.add(passage)
        return list(changed.values())

    def resume(self, evidence: Iterable[Evidence]) -> list[Passage]:
        """Takes the generation's evidence from before the watermark, in `reading_order`, into a
        new builder; returns its passages, which an interrupted run has written already."""
        passages = self.push(evidence)
        self.outline_points()
        return passages

    def statistics_points(self) -> list[Point]:
        """The catalogue points that count the terms of all passages so far."""
        return self._statistics.points()

    def outline_points(self) -> list[Point]:
        """The outlines that have changed since the last call; none where the channel has no
        sentences."""
        return [] if self._outlines is None else self._outlines.points()

    def _passage(
        self, window: list[Evidence], language: str | None, scale: PassageScale
    ) -> Passage:
        first = window[0]
        return Passage(
            video_id=first.video_id,
            epoch=first.epoch,
            channel=first.channel,
            generation=first.generation,
            start_seconds=first.start_seconds,
            end_seconds=max(one.end_seconds for one in window),
            text=scale.separator.join(one.text for one in window),
            analyzer=analyzer_for(language),
            evidence=tuple(one.id for one in window),
            language=language,
            scale=scale.name,
        )


def passage_point(passage: Passage, scale: PassageScale | None = None) -> Point:
    """The passage as the store keeps it, with its term weights in the space `words` where its
    scale is searched by words. scale: None looks it up among the default ones."""
    scale = scale_of(passage) if scale is None else scale
    payload = {
        "kind": "passage",
        "video_id": passage.video_id,
        "epoch": passage.epoch,
        "channel": passage.channel,
        "generation": passage.generation,
        "start_us": microseconds(passage.start_seconds),
        "start_seconds": passage.start_seconds,
        "end_seconds": passage.end_seconds,
        "text": passage.text,
        "analyzer": passage.analyzer,
        "language": passage.language,
        "scale": passage.scale,
        "evidence": list(passage.evidence),
    }
    if not scale.words:
        return Point(passage.id, payload)
    words = analyzer(passage.analyzer).document(passage.text, scale.average_length)
    return Point(passage.id, payload, {WORDS.name: words} if words.indices else {})


def passage_from_payload(payload: Mapping) -> Passage:
    """The passage that `passage_point` made the payload of."""
    fields = {field.name: payload[field.name] for field in dataclasses.fields(Passage)}
    return Passage(**(fields | {"evidence": tuple(payload["evidence"])}))


class PassageStatistics:
    """For each analyzer, how many of one generation's passages hold each term.

    A passage that has grown replaces its shorter self. Only those that may still grow are
    remembered term by term: the newest of each language and scale.
    """

    def __init__(self, generation: Generation, part: str = ""):
        self._generation = generation
        self._part = (part,) if part else ()
        self._passages: Counter[str] = Counter()
        self._terms: dict[str, Counter[int]] = {}
        self._growing: dict[tuple[str | None, str], tuple[str, frozenset[int]]] = {}

    def add(self, passage: Passage) -> None:
        """Takes a passage, new or grown, in the order that `PassageBuilder.push` returns them."""
        counts = self._terms.setdefault(passage.analyzer, Counter())
        key = (passage.language, passage.scale)
        last_id, before = self._growing.get(key, (None, frozenset()))
        if last_id != passage.id:
            before = frozenset()
            self._passages[passage.analyzer] += 1
        terms = frozenset(analyzer(passage.analyzer).query(passage.text))
        # A word may end up different as text is added behind it (scripts without spaces).
        counts.subtract(before - terms)
        counts.update(terms - before)
        self._growing[key] = (passage.id, terms)

    def points(self) -> list[Point]:
        """One point for each analyzer, replacing the one written before."""
        return list(self._points())

    def _points(self) -> Iterator[Point]:
        generation = self._generation
        for name, passages in self._passages.items():
            counts = {term: count for term, count in self._terms[name].items() if count > 0}
            payload = {
                "kind": "text_stats",
                "video_id": generation.video_id,
                "epoch": generation.epoch,
                "channel": generation.channel,
                "generation": generation.id,
                "analyzer": name,
                "passages": passages,
                "start_us": 0,
            }
            yield Point(
                make_id("text_stats", generation.id, name, *self._part),
                payload,
                term_count_vectors(generation.id, name, passages, counts),
            )
