"""What pictures mean: one vector for what looks the same, encoded beside decoding, in order."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import cv2
import numpy as np
import pytest
from clips import noise_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from index.schema import Evidence, Generation, Video
from index.store import VectorSpace
from ingest.channel import Sample
from ingest.channels.encoder_thread import EncoderThread
from ingest.channels.frame import FrameChannel
from ingest.channels.settings import FrameSettings

VIDEO = Video(id="v", title="a video")
GENERATION = Generation("v", 0, "frame", "fingerprint")


class ColourEncoder:
    """An ImageEncoder: the picture at 4 x 4 pixels, through a fixed projection."""

    space, size, batch = "frame.colours.0", 24, 4

    def __init__(self):
        self.batches: list[int] = []
        self._projection = np.random.default_rng(0).normal(size=(48, self.size))

    def encode_images(self, images):
        self.batches.append(len(images))
        small = [cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA) for image in images]
        vectors = (np.stack(small).reshape(len(images), -1) + 1.0) @ self._projection
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class GatedEncoder(ColourEncoder):
    """Encodes a batch each time it is let; `begun` counts those it was given."""

    def __init__(self):
        super().__init__()
        self.begun, self.let = threading.Semaphore(0), threading.Semaphore(0)

    def encode_images(self, images):
        self.begun.release()
        assert self.let.acquire(timeout=30)
        return super().encode_images(images)


class BrokenEncoder(ColourEncoder):
    def encode_images(self, images):
        raise MemoryError("the card is full")


def picture(number: int) -> np.ndarray:
    return noise_picture(number, 64, 36)


def channel_of(encoder, **changes) -> FrameChannel:
    return FrameChannel(FrameSettings(**changes), lambda: encoder, {"model": "colours"})


def run_over(samples, end_seconds, encoder=None, **changes) -> list[Evidence]:
    run = channel_of(encoder or ColourEncoder(), **changes).open(VIDEO, GENERATION, 0.0)
    return [e for sample in samples for e in run.push(sample)] + run.finish(end_seconds)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "encode-frames"}


# What the evidence is


def test_a_still_is_one_evidence_with_its_vector_until_the_cut():
    shown = [1, 1, 1, 1, 2, 2]
    samples = [Sample(0.2 + i, 0.0 if i < 4 else 4.0, picture(n)) for i, n in enumerate(shown)]
    encoder = ColourEncoder()
    first, second = run_over(samples, 6.0, encoder)
    assert (first.start_seconds, first.end_seconds) == (0.2, 4.0)
    assert (second.start_seconds, second.end_seconds) == (4.2, 6.0)
    assert sum(encoder.batches) == 2
    for evidence, number in ((first, 1), (second, 2)):
        (expected,) = ColourEncoder().encode_images([picture(number)])
        assert evidence.channel == "frame" and evidence.text == ""
        assert list(evidence.vectors) == ["frame.colours.0"]
        assert evidence.vectors["frame.colours.0"].dtype == np.float32
        np.testing.assert_allclose(evidence.vectors["frame.colours.0"], expected, atol=1e-6)


def test_every_picture_that_differs_has_a_vector_of_its_own():
    found = run_over([Sample(float(i), 0.0, picture(i)) for i in range(30)], 30.0)
    assert [(e.start_seconds, e.end_seconds) for e in found] == [(i, i + 1) for i in range(30)]
    for evidence in found:
        (expected,) = ColourEncoder().encode_images([picture(int(evidence.start_seconds))])
        np.testing.assert_allclose(evidence.vectors["frame.colours.0"], expected, atol=1e-6)


def test_a_picture_that_never_changes_does_not_hold_the_watermark_back():
    encoder = GatedEncoder()
    run = channel_of(encoder, seal_seconds=60, batch=1).open(VIDEO, GENERATION, 0.0)
    found = []
    for second in range(300):
        if second % 60 == 0:
            encoder.let.release()
        found += run.push(Sample(float(second), 0.0, picture(1)))
    found += run.finish(300.0)
    assert [(e.start_seconds, e.end_seconds) for e in found] == [
        (t, t + 60.0) for t in (0.0, 60.0, 120.0, 180.0, 240.0)
    ]


def test_a_video_without_samples_has_no_evidence():
    run = channel_of(ColourEncoder()).open(VIDEO, GENERATION, 0.0)
    assert run.finish(3.0) == [] and run.watermark_seconds == 3.0


def test_describing_it_loads_no_model_and_names_what_shapes_the_vectors():
    def never():
        raise AssertionError("loaded")

    plain = FrameChannel(None, never, {"model": "a", "digest": "1"}).describe()
    assert plain == FrameChannel(None, never, {"model": "a", "digest": "1"}).describe()
    assert plain != FrameChannel(None, never, {"model": "a", "digest": "2"}).describe()
    longer = FrameSettings(seal_seconds=90)
    assert plain != FrameChannel(longer, never, {"model": "a", "digest": "1"}).describe()
    faster = FrameSettings(batch=64)
    assert plain == FrameChannel(faster, never, {"model": "a", "digest": "1"}).describe()


def test_the_encoder_is_loaded_once_and_gives_the_space():
    loaded = []

    def load():
        loaded.append(1)
        return ColourEncoder()

    channel = FrameChannel(None, load, {})
    assert not loaded
    for _ in range(2):
        channel.open(VIDEO, GENERATION, 0.0).close()
    assert channel.spaces == (VectorSpace("frame.colours.0", 24, "cosine"),)
    assert len(loaded) == 1


# Encoding beside decoding


def test_full_batches_are_encoded_while_pictures_go_on_coming():
    encoder = GatedEncoder()
    run = channel_of(encoder).open(VIDEO, GENERATION, 0.0)
    samples = [Sample(float(i), 0.0, picture(i)) for i in range(8)]
    for sample in samples[:4]:
        assert run.push(sample) == []
    assert encoder.begun.acquire(timeout=30)
    for sample in samples[4:]:  # while it is busy
        assert run.push(sample) == []
    assert run.watermark_seconds == 0.0  # nothing has its vector yet
    encoder.let.release(2)
    found = run.finish(8.0)
    assert [e.start_seconds for e in found] == list(range(8))
    assert encoder.batches == [4, 4]


def test_a_full_queue_holds_the_decoder_up():
    encoder = GatedEncoder()
    run = channel_of(encoder).open(VIDEO, GENERATION, 0.0)
    pushed, done = [], threading.Event()

    def decode():
        for i in range(20):
            run.push(Sample(float(i), 0.0, picture(i)))
            pushed.append(i)
        run.finish(20.0)
        done.set()

    threading.Thread(target=decode, daemon=True).start()
    for batch in range(5):
        assert encoder.begun.acquire(timeout=30)
        # A batch in work and one that waits; the next picture is not taken.
        assert not done.is_set() and len(pushed) <= 4 * (batch + 2)
        encoder.let.release()
    assert done.wait(30) and len(pushed) == 20


def test_large_pictures_fill_the_queue_by_their_bytes(monkeypatch):
    monkeypatch.setattr("ingest.channels.encoder_thread._AHEAD_BYTES", 2 * picture(0).nbytes)
    encoder = ColourEncoder()
    encoder.batch = 100
    found = run_over([Sample(float(i), 0.0, picture(i)) for i in range(20)], 20.0, encoder)
    assert [e.start_seconds for e in found] == list(range(20))
    assert max(encoder.batches) <= 2


def test_large_pictures_fill_a_batch_where_they_are_cut_to_size_as_they_come(monkeypatch):
    """As for a GPU, whose batches are of hundreds."""
    monkeypatch.setattr("ingest.channels.encoder_thread._AHEAD_BYTES", 2 * picture(0).nbytes)
    samples = [Sample(float(i), 0.0, picture(i)) for i in range(20)]
    encoder, plain = ColourEncoder(), ColourEncoder()
    encoder.batch = plain.batch = 10
    encoder.fit = lambda image: cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
    found = run_over(samples, 20.0, encoder)
    assert encoder.batches == [10, 10]
    for one, other in zip(found, run_over(samples, 20.0, plain), strict=True):
        np.testing.assert_allclose(one.vectors[encoder.space], other.vectors[plain.space])


def test_a_picture_that_cannot_be_cut_to_size_is_told():
    encoder = ColourEncoder()
    encoder.fit = lambda image: image.no_such_thing
    with pytest.raises(AttributeError, match="no_such_thing"):
        run_over([Sample(float(i), 0.0, picture(i)) for i in range(9)], 9.0, encoder)


def test_a_live_stream_need_not_fill_a_batch():
    """Evidence is not held back until more comes."""
    given_out = threading.Event()

    class Telling(ColourEncoder):
        def encode_images(self, images):
            given_out.set()
            return super().encode_images(images)

    run = channel_of(Telling()).open(VIDEO, GENERATION, 0.0)
    run.push(Sample(0.0, 0.0, picture(0)))
    assert given_out.wait(30)
    run.close()


def test_an_encoder_of_two_steps_is_given_the_next_batch_before_the_last_is_waited_for():
    told = []

    class TwoSteps(ColourEncoder):
        def start_images(self, images):
            number = len(self.batches)
            told.append(f"start {number}")
            vectors = self.encode_images(images)

            def finish():
                told.append(f"wait {number}")
                return vectors

            return finish

    encoder, released = TwoSteps(), threading.Event()
    worker = EncoderThread(_held(encoder, released), 4)
    for i in range(8):
        worker.put(picture(i))
    released.set()
    assert len(worker.drain()) == 8
    worker.stop()
    assert told == ["start 0", "start 1", "wait 0", "wait 1"]


def _held(encoder, released):
    """Its first batch is not taken before that is set, so that the second is there by then."""
    start = encoder.start_images

    def start_images(images):
        assert released.wait(30)
        return start(images)

    encoder.start_images = start_images
    return encoder


def test_what_the_encoder_raises_reaches_whoever_pushes_or_finishes():
    run = channel_of(BrokenEncoder()).open(VIDEO, GENERATION, 0.0)
    with pytest.raises(MemoryError, match="the card is full"):
        for i in range(100):
            run.push(Sample(float(i), 0.0, picture(i)))
    run.close()
    run = channel_of(BrokenEncoder()).open(VIDEO, GENERATION, 0.0)
    run.push(Sample(0.0, 0.0, picture(0)))
    with pytest.raises(MemoryError, match="the card is full"):
        run.finish(1.0)
    run.close()


def test_the_thread_ends_with_the_run_however_that_ends():
    before = threads()
    finished = channel_of(ColourEncoder()).open(VIDEO, GENERATION, 0.0)
    finished.finish(1.0)
    assert threads() == before
    closed = channel_of(ColourEncoder()).open(VIDEO, GENERATION, 0.0)
    closed.push(Sample(0.0, 0.0, picture(0)))
    closed.close()
    closed.close()
    assert threads() == before
    forgotten = channel_of(ColourEncoder()).open(VIDEO, GENERATION, 0.0)
    (thread,) = threads() - before
    del forgotten
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


# Resuming


def told(evidence: list[Evidence]) -> list[tuple]:
    return sorted((e.start_seconds, e.id, e.end_seconds) for e in evidence)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.3, 1.0, 4.0]),  # seconds since the previous sample
            st.integers(0, 4).map(lambda n: n == 0),  # whether a cut lies between
            st.sampled_from([0, 0, 3, 6, 40]),  # how much brighter the picture is
        ),
        min_size=1,
        max_size=24,
    ),
    seal_seconds=st.sampled_from([3.0, 10.0]),
)
def test_a_run_resumed_anywhere_ends_like_an_uninterrupted_one(steps, seal_seconds):
    now, shot, brightness, samples = 0.0, 0.0, 0, []
    for step, cut, brighter in steps:
        now += step
        shot = now - 0.1 if cut else shot
        brightness = (brightness + brighter) % 256
        samples.append(Sample(now, shot, np.full((32, 32, 3), brightness, np.uint8)))
    channel = channel_of(ColourEncoder(), seal_seconds=seal_seconds, batch=2)

    def rest(from_seconds: float) -> list[Evidence]:
        run = channel.open(VIDEO, GENERATION, from_seconds)
        seen = [s for s in samples if s.time_seconds >= from_seconds]
        return [e for s in seen for e in run.push(s)] + run.finish(now + 0.5)

    whole = rest(0.0)
    assert all(a.end_seconds <= b.start_seconds for a, b in pairwise(whole))
    run, emitted, watermark, resumed = channel.open(VIDEO, GENERATION, 0.0), [], 0.0, {}
    for sample in samples:
        emitted += run.push(sample)
        assert run.watermark_seconds >= watermark
        watermark = run.watermark_seconds
        final = [e for e in emitted if e.start_seconds < watermark]
        assert final == emitted
        # Also at watermarks that this run, with its timing, has not had.
        for at in {watermark, *(e.start_seconds for e in whole if e.start_seconds <= watermark)}:
            if at not in resumed:
                resumed[at] = told(rest(at))
            assert told([e for e in whole if e.start_seconds < at]) + resumed[at] == told(whole)
    run.close()
