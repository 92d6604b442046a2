"""What is written in a live source gets vectors behind the pictures, also after a kill."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from live_peers import TcpSender, eventually
from test_live import INGEST, folder, stream, watch  # noqa: F401 (fixtures)
from test_live import closing_all as closing
from tiny_text import tiny_encoder

from index.schema import Epoch, Generation, Video
from index.store import scroll, where
from ingest.channel import Batch
from ingest.channels.screen_text import ScreenTextChannel
from ingest.channels.settings import TextSettings
from ingest.channels.text import PassageVectorChannel, describe_encoder
from ingest.claims import WholeVideo
from ingest.live.following import Following
from ingest.live.stopping import Stop
from ingest.live.tidying import Tidying, left_epochs
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


def test_all_that_earlier_runs_left_is_made_up_for(watch, library, folder, channels):  # noqa: F811
    """However many epochs it is of: while nobody made vectors, there were six."""
    texts = [f"WATCH NUMBER {at + 1}" for at in range(6)]
    sender = TcpSender([stream(folder, text) for text in texts])
    with closing(sender):
        one = watch(sender.url, channels=dataclasses.replace(channels, derived=()))
        eventually(lambda: set(texts) <= set(one.texts()))
        eventually(lambda: len(one.video.epochs) == 6 and one.video.epochs[-1].end_seconds)
        one.end()
    assert not vectors(library)
    again = watch(sender.url)
    eventually(lambda: len(vectors(library)) == 6)
    eventually(lambda: not left_epochs(library, channels, again.video))
    again.end()
    assert set.union(*vectors(library).values()) == passages(library)


class Steps:
    """What goes on with epochs: logs them, and takes for one that was left until `free` is set or
    it has to give way."""

    def __init__(self, given_up, log: list[int], free: threading.Event):
        self._given_up, self._log, self._free = given_up, log, free
        self._left: set[int] = set()

    def step(self, video, epoch, *, but_records=False):
        self._log.append(epoch.number)
        self._left.add(epoch.number)
        while epoch.number < 5 and not self._free.wait(0.01):
            if self._given_up():
                return
        self._left.discard(epoch.number)

    def has_left(self, epoch):
        return epoch.number in self._left

    def forget(self, epoch):
        self._left.discard(epoch.number)


def test_what_was_left_gives_way_to_what_comes(library):
    video = Video("hall", "Hall", source="tcp://hall")
    library.put_video(video)
    log: list[int] = []
    free, wrong = threading.Event(), []
    work = Tidying(
        "Tidying",
        library,
        lambda up, way: Steps(lambda: up() or way(), log, free),
        threading.Lock(),
        wrong.append,
    )
    work.take_up(video, [Epoch(2, 20.0, 20.0), Epoch(1, 10.0, 10.0)])
    eventually(lambda: log == [2])
    work.follow(video, Epoch(5, 50.0, 50.0))
    eventually(lambda: log == [2, 5, 2])
    work.put(video, Epoch(5, 50.0, 50.0))
    eventually(lambda: log == [2, 5, 2, 5, 2])
    free.set()
    eventually(lambda: log == [2, 5, 2, 5, 2, 1])
    stop = Stop()
    stop.set()
    work.finish(stop, 1.0)
    assert wrong == []


class Slow:
    """A derived channel: a batch each ten seconds of video, finding nothing. While it works on one,
    something else comes."""

    name, sources, spaces = "caption", ("shot",), ()
    waits = looks = names_records = False

    def __init__(self, comes):
        self._comes = comes
        self.begun: list[float] = []

    def describe(self):
        return {}

    def run(self, path, video, generation, from_seconds, library, until_seconds=None):
        at, end = from_seconds, until_seconds or video.duration_seconds
        while at < end:
            self.begun.append(at)
            self._comes()
            at = min(at + 10.0, end)
            yield Batch((), at, at)


def test_what_gives_way_all_the_time_comes_to_its_end(library):
    """As captions of a slow model do, each of which takes longer than the next step is off."""
    video = Video("hall", "Hall", source="tcp://hall")
    library.put_video(video)
    now, left = Epoch(5, 50.0, 50.0), Epoch(1, 10.0, 10.0)
    shots = library.begin(Generation(video.id, 1, "shot", "1"))
    whole = dataclasses.replace(shots, watermark_seconds=40.0, analysed_seconds=40.0)
    library.finish([(whole, [], [])])
    slow = Slow(lambda: work.follow(video, now))
    channels = Channels((), (), {}, {}, (slow,))
    lock, wrong = threading.Lock(), []

    def following(given_up, gives_way):
        return Following(
            library, channels, (slow,), WholeVideo(), lock, lambda *_: None, lambda *_: None,
            wrong.append, given_up, gives_way,
        )  # fmt: skip

    work = Tidying("Tidying", library, following, lock, wrong.append)
    work.take_up(video, [left])

    def made() -> bool:
        there = [g for g in library.generations(video.id) if g.channel == "caption"]
        return [(g.complete, g.watermark_seconds) for g in there] == [(True, 40.0)]

    eventually(made)
    stop = Stop()
    stop.set()
    work.finish(stop, 1.0)
    assert slow.begun == [10.0, 20.0, 30.0], "nothing was done twice"
    assert wrong == []
