"""Passages get vectors: each one, once, the same ones whenever the run was cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import talks
from talks import put_channel, put_video
from tiny_text import tiny_encoder

from index.library import Library
from index.passages import passage_from_payload, scale_of
from index.schema import Generation, Video, microseconds
from index.store import scroll, where
from ingest.channel import Batch
from ingest.channels.settings import TextSettings
from ingest.channels.text import STRETCH_SECONDS, PassageVectorChannel, describe_encoder
from ingest.models.text_encoder import TransformersTextEncoder

HOURS = 2 * 3600.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(files):
    import torch

    torch.set_num_threads(2)
    return TransformersTextEncoder(files, device="cpu")


@pytest.fixture
def channel(files, encoder) -> PassageVectorChannel:
    return PassageVectorChannel("speech", lambda: encoder, describe_encoder(files, TextSettings()))


@pytest.fixture(scope="module")
def hall(tmp_path_factory) -> Library:
    library = talks.open_library_at(tmp_path_factory.mktemp("hall") / "library")
    yield library
    library.store.close()


@pytest.fixture(scope="module")
def talk(hall) -> Video:
    """Two hours in which somebody speaks now and then, and for half an hour not at all."""
    video = put_video(hall, "Lecture", HOURS)
    times = [t for t in range(0, int(HOURS), 60) if not 3600 < t < 5400]
    lines = [(t, t + 6.0, f"Sentence {t} is about the moon and stone {t % 7}.") for t in times]
    put_channel(hall, video, "speech", lines)
    put_channel(hall, video, "screen_text", [(5.0, 9.0, "TIDES")])
    return video


def generation_of(channel: PassageVectorChannel, video: Video) -> Generation:
    return Generation(video.id, 0, channel.name, "1")


def run(channel, library: Library, video: Video, from_seconds: float = 0.0) -> list[Batch]:
    generation = generation_of(channel, video)
    return list(channel.run(Path("film.mp4"), video, generation, from_seconds, library))


def points_of(batches: list[Batch]) -> dict[str, tuple]:
    return {
        point.id: (point.payload, {name: v.tobytes() for name, v in point.vectors.items()})
        for batch in batches
        for point in batch.points
    }


def passages(library: Library, video: Video) -> dict:
    """What is said in the video, at the scale that is searched by meaning."""
    wanted = where(kind="passage", video_id=video.id, channel="speech")
    found = {
        point.id: passage_from_payload(point.payload) for point in scroll(library.store, wanted)
    }
    return {id: passage for id, passage in found.items() if scale_of(passage).meaning}


def test_every_sentence_of_the_source_gets_the_vector_of_its_text(hall, talk, channel, encoder):
    wanted = passages(hall, talk)
    points = [point for batch in run(channel, hall, talk) for point in batch.points]
    assert sorted(point.payload["passage"] for point in points) == sorted(wanted)
    for point in points[::20]:
        passage = wanted[point.payload["passage"]]
        (vector,) = encoder.encode_passages([passage.text])
        assert np.abs(point.vectors[encoder.space] - vector).max() < 1e-4
        assert point.payload["channel"] == "speech"
        assert point.payload["kind"] == "embedding"
        assert point.payload["generation"] == generation_of(channel, talk).id
        assert point.payload["start_us"] == microseconds(passage.start_seconds)
        assert point.payload["end_seconds"] == passage.end_seconds
    assert channel.spaces[0].name == encoder.space and channel.spaces[0].size == encoder.size


def test_batches_come_in_time_order_and_never_go_back(hall, talk, channel):
    batches = run(channel, hall, talk)
    assert len(batches) > 6
    watermark = 0.0
    for batch in batches:
        starts = [point.payload["start_seconds"] for point in batch.points]
        assert starts == sorted(starts)
        assert all(watermark <= start < batch.watermark_seconds for start in starts)
        assert batch.watermark_seconds >= watermark
        watermark = batch.watermark_seconds
    assert batches[-1].analysed_seconds == HOURS


def test_a_run_cut_anywhere_goes_on_to_the_very_same_points(hall, talk, channel):
    batches = run(channel, hall, talk)
    whole = points_of(batches)
    for cut in range(0, len(batches), 2):
        watermark = batches[cut].watermark_seconds
        after = points_of(run(channel, hall, talk, watermark))
        assert after == points_of(batches[cut + 1 :])
        assert points_of(batches[: cut + 1]) | after == whole


def test_memory_holds_one_stretch(hall, talk, channel, encoder, monkeypatch):
    most = 0
    encode = encoder.encode_passages

    def counted(texts):
        nonlocal most
        most = max(most, len(texts))
        return encode(texts)

    monkeypatch.setattr(encoder, "encode_passages", counted)
    run(channel, hall, talk)
    times = [p.start_seconds // STRETCH_SECONDS for p in passages(hall, talk).values()]
    assert most == max(times.count(stretch) for stretch in set(times)) < len(times) / 5


def test_nothing_said_loads_nothing(library, files):
    def refuse():
        raise AssertionError("the encoder was loaded")

    channel = PassageVectorChannel("speech", refuse, describe_encoder(files, TextSettings()))
    assert channel.spaces[0].size == 32
    (batch,) = run(channel, library, put_video(library, "Silent", 90.0))
    assert batch.points == () and batch.watermark_seconds == 90.0


def test_only_what_searchers_see_is_read(library, channel):
    video = put_video(library, "Tides")
    put_channel(library, video, "speech", [(3.5, 8.0, "The moon pulls at the water.")])
    before = points_of(run(channel, library, video))
    assert len(before) == 1
    lines = [(1.0, 4.0, "Another recogniser heard this.")]
    put_channel(library, video, "speech", lines, fingerprint="2", state="building")
    assert points_of(run(channel, library, video)) == before


def test_a_live_video_without_an_end_comes_to_one(library, channel):
    video = put_video(library, "Live", None)
    put_channel(library, video, "speech", [(700.0, 704.0, "We are live.")])
    batches = run(channel, library, video)
    assert [len(batch.points) for batch in batches] == [1, 0]
    assert batches[-1].analysed_seconds == 704.0


def test_the_fingerprint_follows_the_model_and_the_passages_prefix_not_the_querys(files):
    plain = describe_encoder(files, TextSettings())
    assert describe_encoder(files, TextSettings(query_prefix="query: ")) == plain
    assert describe_encoder(files, TextSettings(passage_prefix="passage: ")) != plain
    assert describe_encoder(files, TextSettings(threads=1)) == plain
