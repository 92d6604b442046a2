"""Pictures by their looks: the same ones near, others far, the same evidence after a resume."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.schema import Evidence, Generation, Video
from ingest.channel import Sample
from ingest.channels.fingerprint import FingerprintChannel
from ingest.channels.settings import FingerprintSettings
from ingest.models.pdq import (
    BITS,
    NEAR_PICTURE_DISTANCE,
    SAME_PICTURE_DISTANCE,
    Fingerprint,
    cosine,
    fingerprint,
    hamming,
    to_vector,
)

VIDEO = Video(id="v", title="a video")
GENERATION = Generation("v", 0, "fingerprint", "fingerprint")


def picture(seed: int, width: int = 640, height: int = 360) -> np.ndarray:
    """Soft coloured shapes, which is what survives scaling in a photograph too."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def black() -> np.ndarray:
    return np.zeros((360, 640, 3), dtype=np.uint8)


def run_over(samples: list[Sample], end_seconds: float, **changes) -> list[Evidence]:
    run = FingerprintChannel(FingerprintSettings(**changes)).open(VIDEO, GENERATION, 0.0)
    return [e for sample in samples for e in run.push(sample)] + run.finish(end_seconds)


# The hash


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA),
        lambda image: cv2.resize(image, (1280, 720)),
        lambda image: cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 25])[1], cv2.IMREAD_COLOR
        ),
        lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=10),
    ],
    ids=["smaller", "larger", "recompressed", "duller"],
)
def test_a_copy_is_the_same_picture(copy) -> None:
    for seed in range(5):
        original = picture(seed)
        distance = hamming(fingerprint(original).bits, fingerprint(copy(original)).bits)
        assert distance <= SAME_PICTURE_DISTANCE


def test_a_slightly_cropped_copy_is_nearly_the_same_picture() -> None:
    for seed in range(5):
        original = picture(seed)
        cropped = original[7:-7, 12:-12]
        distance = hamming(fingerprint(original).bits, fingerprint(cropped).bits)
        assert distance <= NEAR_PICTURE_DISTANCE


def test_other_pictures_are_far_away() -> None:
    seen = [fingerprint(picture(seed)).bits for seed in range(30)]
    for i, one in enumerate(seen):
        assert all(hamming(one, other) > NEAR_PICTURE_DISTANCE for other in seen[:i])


def test_the_cosine_of_vectors_is_the_hamming_distance() -> None:
    a, b = fingerprint(picture(1)).bits, fingerprint(picture(2)).bits
    va, vb = to_vector(a), to_vector(b)
    assert va.dtype == np.float32 and va.shape == (BITS,) and set(np.unique(va)) == {-1.0, 1.0}
    measured = float(va @ vb / (np.linalg.norm(va) * np.linalg.norm(vb)))
    assert measured == pytest.approx(cosine(hamming(a, b)))


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (64, 64), (17, 31)])
def test_pictures_of_any_shape_have_a_fingerprint(size) -> None:
    seen = fingerprint(np.full((size[1], size[0], 3), 90, dtype=np.uint8))
    assert seen.bits.shape == (BITS,) and seen.quality == 0 and len(seen.hex) == 64


# The channel


def test_a_still_picture_is_one_evidence_until_the_cut() -> None:
    shown = [picture(1)] * 4 + [picture(2)] * 2
    samples = [Sample(0.2 + i, 0.0 if i < 4 else 4.0, image) for i, image in enumerate(shown)]
    first, second = run_over(samples, 6.0)
    assert (first.start_seconds, first.end_seconds) == (0.2, 4.0)
    assert (second.start_seconds, second.end_seconds) == (4.2, 6.0)
    for evidence, image in ((first, picture(1)), (second, picture(2))):
        assert np.array_equal(evidence.vectors["fingerprint"], to_vector(fingerprint(image).bits))
        assert evidence.text == "" and evidence.attributes["quality"] == 100
    assert first.id != second.id


def test_blank_pictures_match_nothing() -> None:
    samples = [
        Sample(0.2 + i, 0.0, image) for i, image in enumerate([black(), black(), picture(1)])
    ]
    blank, seen = run_over(samples, 3.0)
    assert blank.attributes["blank"] is True and blank.vectors == {}
    assert (blank.start_seconds, blank.end_seconds) == (0.2, 2.2)
    assert "blank" not in seen.attributes and "fingerprint" in seen.vectors


def test_a_picture_that_never_changes_does_not_hold_the_watermark_back() -> None:
    run = FingerprintChannel(FingerprintSettings(seal_seconds=60)).open(VIDEO, GENERATION, 0.0)
    found = []
    for second in range(300):
        found += run.push(Sample(float(second), 0.0, picture(1)))
        assert second - run.watermark_seconds < 60
    found += run.finish(300.0)
    assert [(e.start_seconds, e.end_seconds) for e in found] == [
        (t, t + 60.0) for t in (0.0, 60.0, 120.0, 180.0, 240.0)
    ]


def test_what_shapes_the_evidence_is_described() -> None:
    plain = FingerprintChannel().describe()
    assert plain == FingerprintChannel().describe()
    assert plain != FingerprintChannel(FingerprintSettings(still_distance=8)).describe()


def told(evidence: list[Evidence]) -> list[tuple]:
    return sorted((e.start_seconds, e.id, e.end_seconds, str(e.attributes)) for e in evidence)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.3, 1.0, 4.0]),  # seconds since the previous sample
            st.integers(0, 4).map(lambda n: n == 0),  # whether a cut lies between
            st.integers(0, 14),  # bits that differ from the previous picture
            st.integers(0, 5).map(lambda n: 10 if n == 0 else 100),  # quality
        ),
        min_size=1,
        max_size=30,
    ),
    seal_seconds=st.sampled_from([3.0, 10.0]),
)
def test_a_run_resumed_anywhere_ends_like_an_uninterrupted_one(steps, seal_seconds) -> None:
    bits, now, shot, samples, prints = np.zeros(BITS, bool), 0.0, 0.0, [], []
    for step, cut, flips, quality in steps:
        now += step
        shot = now - 0.1 if cut else shot
        bits = bits.copy()
        at = len(prints) * 37 % BITS
        bits[(at + np.arange(flips)) % BITS] ^= True
        image = np.zeros((2, 2, 3), np.uint8)
        image[0, 0, 0] = len(prints)
        prints.append(Fingerprint(bits, quality))
        samples.append(Sample(now, shot, image))
    channel = FingerprintChannel(
        FingerprintSettings(seal_seconds=seal_seconds),
        fingerprint=lambda image: prints[int(image[0, 0, 0])],
    )

    def rest(from_seconds: float) -> list[Evidence]:
        run = channel.open(VIDEO, GENERATION, from_seconds)
        seen = [s for s in samples if s.time_seconds >= from_seconds]
        return [e for s in seen for e in run.push(s)] + run.finish(now + 0.5)

    whole = rest(0.0)
    assert all(a.end_seconds <= b.start_seconds for a, b in pairwise(whole))
    run, emitted, watermark = channel.open(VIDEO, GENERATION, 0.0), [], 0.0
    for sample in samples:
        emitted += run.push(sample)
        assert run.watermark_seconds >= watermark
        watermark = run.watermark_seconds
        final = [e for e in emitted if e.start_seconds < watermark]
        assert told(final + rest(watermark)) == told(whole)
