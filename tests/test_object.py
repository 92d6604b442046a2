"""Which things are shown, how many and from when to when; the same after a resume, whatever the
detector makes of pictures that are looked at together."""

from __future__ import annotations

from collections.abc import Sequence

import clips
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.passages import PassageBuilder
from index.schema import Evidence, Generation, Video
from index.text import analyzer
from ingest.channel import Sample
from ingest.channels.object import ObjectChannel, spans
from ingest.channels.settings import ObjectSettings
from ingest.models.detector import Detection

VIDEO = Video(id="v", title="a video")
GENERATION = Generation("v", 0, "object", "fingerprint")
CLASSES = ("person", "bottle")


def showing(persons: int, bottles: int = 0, *, number: int = 0) -> np.ndarray:
    """A picture that says how many there are in its first pixel. `number` tells pictures apart, for
    the eye and for the filter of still ones."""
    image = clips.noise_picture(number)
    image[0, 0] = (persons, bottles, number % 256)
    return image


class Counting:
    """Finds what `showing` says; its confidence hangs on what a picture is looked at with, as
    rounding does in a real one."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(
        self,
        images: Sequence[np.ndarray],
        classes: Sequence[str],
        *,
        threshold: float | None = None,
    ) -> list[list[Detection]]:
        self.batches.append(len(images))
        together = sum(int(image[0, 0, 2]) for image in images) % 97
        return [
            [
                Detection(label, (0.1 * n, 0.1, 0.1 * n + 0.05, 0.3), 0.5 + together / 1000)
                for label, count in zip(classes, image[0, 0], strict=False)
                for n in range(count)
            ]
            for image in images
        ]


def channel(detector=None, **changes) -> ObjectChannel:
    changes = {"classes": CLASSES, "batch": 2, **changes}
    return ObjectChannel(ObjectSettings(**changes), lambda: detector or Counting(), {"model": "m"})


def run_over(samples: list[Sample], end_seconds: float, detector=None, **changes) -> list[Evidence]:
    run = channel(detector, **changes).open(VIDEO, GENERATION, 0.0)
    return [e for sample in samples for e in run.push(sample)] + run.finish(end_seconds)


def told(evidence: list[Evidence]) -> list[tuple]:
    return [(e.text, e.start_seconds, e.end_seconds) for e in evidence]


def shot_of(counts: Sequence[tuple[int, int]], start: float = 0.0) -> list[Sample]:
    return [
        Sample(start + 0.2 + n, start, showing(*count, number=n + 1 + int(start) * 20))
        for n, count in enumerate(counts)
    ]


def test_a_class_in_one_number_is_one_evidence_until_the_number_changes():
    found = run_over(shot_of([(1, 0), (1, 2), (1, 2), (2, 2), (2, 0)]), 5.0)
    assert told(found) == [
        ("person", 0.2, 3.2),
        ("bottle × 2", 1.2, 4.2),
        ("person × 2", 3.2, 5.0),
    ]
    bottles = found[1]
    assert bottles.channel == "object" and bottles.vectors == {}
    assert bottles.attributes["label"] == "bottle" and bottles.attributes["count"] == 2
    assert bottles.attributes["boxes"] == [[0.0, 0.1, 0.05, 0.3], [0.1, 0.1, 0.15, 0.3]]
    assert 0.5 <= bottles.attributes["confidence"] <= 0.6
    assert len({evidence.id for evidence in found}) == 3


def test_a_span_ends_at_the_cut():
    samples = shot_of([(1, 0), (1, 0)]) + shot_of([(1, 1), (0, 1)], start=1.7)
    assert told(run_over(samples, 4.0)) == [
        ("person", 0.2, 1.7),
        ("person", 1.9, 2.9),
        ("bottle", 1.9, 4.0),
    ]


def test_one_slip_of_the_detector_does_not_cut_a_span():
    assert told(run_over(shot_of([(2, 0), (1, 0), (2, 0), (0, 0), (2, 0)]), 5.0)) == [
        ("person × 2", 0.2, 5.0)
    ]
    # But what is seen once was seen.
    assert told(run_over(shot_of([(0, 0), (1, 0), (0, 0)]), 3.0)) == [("person", 1.2, 2.2)]


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ([], []),
        ([0, 0], []),
        ([1, 2, 1, 2, 1], [(0, 5, 1)]),
        ([1, 0, 0, 1], [(0, 1, 1), (3, 4, 1)]),
        ([1, 1, 2, 2], [(0, 2, 1), (2, 4, 2)]),
        ([0, 3, 0], [(1, 2, 3)]),
    ],
)
def test_spans_of_one_number(counts, found):
    assert spans(counts) == found


def test_a_still_picture_is_looked_at_once_a_seal():
    detector = Counting()
    still = showing(1, number=1)
    samples = [Sample(0.2 + n, 0.0, still) for n in range(100)]
    found = run_over(samples, 100.0, detector, seal_seconds=30)
    assert sum(detector.batches) == 4
    assert [text for text, _, _ in told(found)] == ["person"] * 4
    assert [(round(e.start_seconds), round(e.end_seconds)) for e in found] == [
        (0, 30), (30, 60), (60, 90), (90, 100),
    ]  # fmt: skip


def test_pictures_are_looked_at_in_batches_and_no_more_are_held():
    detector = Counting()
    run = channel(detector, batch=4).open(VIDEO, GENERATION, 0.0)
    for n in range(50):  # a cut every other second
        run.push(Sample(n + 0.2, float(n // 2 * 2), showing(1, number=n)))
        assert len(run._pictures) < 4
        assert n + 0.2 - run.watermark_seconds <= 6
    run.finish(50.0)
    assert set(detector.batches[:-1]) == {4} and sum(detector.batches) == 50


def test_without_classes_nothing_is_loaded_and_nothing_found():
    def never():
        raise AssertionError("loaded")

    run = ObjectChannel(ObjectSettings(), never, {}).open(VIDEO, GENERATION, 0.0)
    assert run.push(Sample(0.2, 0.0, showing(1))) == [] and run.watermark_seconds == 0.2
    assert run.finish(9.0) == [] and run.watermark_seconds == 9.0


def test_plural_and_number_find_it():
    found = run_over(shot_of([(1, 3)]), 1.0)
    (passage,) = PassageBuilder(GENERATION).push(found)[-1:]
    english = analyzer(passage.analyzer)
    document = set(english.document(passage.text, 50.0).indices)
    for query in ("bottle", "bottles", "3 bottles", "Persons"):
        assert set(english.query(query)) <= document, query


def test_what_shapes_the_evidence_is_described():
    plain = channel().describe()
    assert plain == channel(batch=7).describe()
    assert plain != channel(classes=("person",)).describe()
    assert plain != channel(minimum_confidence=0.4).describe()
    other = ObjectChannel(ObjectSettings(classes=CLASSES), Counting, {"model": "n"}).describe()
    assert plain != other


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.3, 1.0, 4.0]),  # seconds since the previous sample
            st.integers(0, 4).map(lambda n: n == 0),  # whether a cut lies between
            st.booleans(),  # whether the picture is a new one
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=30,
    ),
    batch=st.integers(1, 4),
    seal_seconds=st.sampled_from([3.0, 10.0]),
)
def test_a_run_resumed_anywhere_ends_like_an_uninterrupted_one(steps, batch, seal_seconds):
    now, shot, samples, image = 0.0, 0.0, [], showing(1)
    for n, (step, cut, new, persons, bottles) in enumerate(steps):
        now += step
        shot = now - 0.1 if cut else shot
        image = showing(persons, bottles, number=n) if new else image
        samples.append(Sample(now, shot, image))
    objects = channel(batch=batch, seal_seconds=seal_seconds)

    def rest(from_seconds: float) -> list[Evidence]:
        run = objects.open(VIDEO, GENERATION, from_seconds)
        seen = [s for s in samples if s.time_seconds >= from_seconds]
        return [e for s in seen for e in run.push(s)] + run.finish(now + 0.5)

    def everything(evidence: list[Evidence]) -> list[tuple]:
        return sorted(
            (e.start_seconds, e.id, e.end_seconds, e.text, str(e.attributes)) for e in evidence
        )

    whole = everything(rest(0.0))
    run, emitted, watermark = objects.open(VIDEO, GENERATION, 0.0), [], 0.0
    for sample in samples:
        emitted += run.push(sample)
        assert run.watermark_seconds >= watermark
        watermark = run.watermark_seconds
        final = [e for e in emitted if e.start_seconds < watermark]
        assert everything(final + rest(watermark)) == whole
