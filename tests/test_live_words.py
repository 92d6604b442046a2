"""What is written in a live source gets vectors behind the pictures, also after a kill."""

from __future__ import annotations

import pytest
from live_peers import TcpSender, eventually
from test_live import INGEST, folder, stream, watch  # noqa: F401 (fixtures)
from test_live import closing_all as closing
from tiny_text import tiny_encoder

from index.store import scroll, where
from ingest.channels.screen_text import ScreenTextChannel
from ingest.channels.settings import TextSettings
from ingest.channels.text import PassageVectorChannel, describe_encoder
from ingest.models.text_encoder import TransformersTextEncoder
from ingest.plan import Channels, describe_analysis, describe_segments


@pytest.fixture(scope="module")
def channels(tmp_path_factory) -> Channels:
    files = tiny_encoder(tmp_path_factory.mktemp("tiny"))
    encoder = TransformersTextEncoder(files, device="cpu")
    described = describe_encoder(files, TextSettings())
    return Channels(
        (),
        (ScreenTextChannel(),),
        describe_analysis(INGEST),
        describe_segments(INGEST),
        (PassageVectorChannel("screen_text", lambda: encoder, described),),
        {"text:screen_text": files.name},
    )


def vectors(library) -> dict[str, set[str]]:
    """generation of the vectors -> passages that have one"""
    found: dict[str, set[str]] = {}
    for point in scroll(library.store, where(kind="embedding")):
        found.setdefault(point.payload["generation"], set()).add(point.payload["passage"])
    return found


def passages(library) -> set[str]:
    return {point.id for point in scroll(library.store, where(kind="passage"))}


def test_words_get_vectors_behind_each_epoch(watch, library, folder):  # noqa: F811
    sender = TcpSender([stream(folder, "FIRST WATCH"), stream(folder, "SECOND WATCH")])
    with closing(sender):
        one = watch(sender.url)
        eventually(one.found("SECOND WATCH"))
        eventually(lambda: len(vectors(library)) == 2)
        eventually(lambda: all(g.complete for g in library.generations(one.video.id)))
        one.end()
    by_channel = [g for g in library.generations(one.video.id) if g.channel == "text:screen_text"]
    assert sorted(g.epoch for g in by_channel) == [0, 1]
    assert all(g.complete for g in by_channel)
    assert set.union(*vectors(library).values()) == passages(library)
    (space,) = library.spaces()
    assert space.channel == "text"


def test_words_get_vectors_while_the_stream_goes_on(watch, library, folder):  # noqa: F811
    """Once they are not on the screen any more."""
    sender = TcpSender([stream(folder, "FIRST WATCH")], hold=True)
    with closing(sender):
        one = watch(sender.url, follow_seconds=0.1)
        eventually(lambda: vectors(library))
        epoch = one.video.epochs[0]
        assert epoch.end_seconds is None
        assert set.union(*vectors(library).values()) == passages(library)
        one.end()


def test_what_was_left_of_the_last_epoch_is_gone_on_with(watch, library, folder):  # noqa: F811
    """The user stopped before there was time."""
    sender = TcpSender([stream(folder, "FIRST WATCH")], hold=True)
    with closing(sender):
        one = watch(sender.url, follow_seconds=1000.0)
        eventually(one.found("FIRST WATCH"))
        one.end()
    assert not vectors(library)
    again = watch(sender.url)
    eventually(lambda: vectors(library))
    again.end()
    (generation,) = [g for g in library.generations(one.video.id) if g.channel.startswith("text:")]
    assert generation.complete
    assert vectors(library) == {generation.id: passages(library)}
