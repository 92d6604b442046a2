"""What comes behind the pictures of a stream while it goes on: captions of pictures that were kept,
things that a slow detector finds; and what is left of it when still stretches are joined."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from clips import noise_picture, solid, text_picture, write_clip
from live_peers import TcpSender, eventually
from recognisers import Scripted as Words
from test_caption import PROMPT, Scripted, about, brightness
from test_live import INGEST, folder, hears, still, stream, talk, watch  # noqa: F401 (fixtures)
from test_live import closing_all as closing

from index.schema import Epoch, Evidence, Generation, Video
from ingest.channel import Batch, Sample
from ingest.channels.caption import CaptionChannel
from ingest.channels.fingerprint import FingerprintChannel
from ingest.channels.frame import FrameChannel
from ingest.channels.object import ObjectChannel
from ingest.channels.screen_text import ScreenTextChannel
from ingest.channels.segment import SegmentChannel
from ingest.channels.settings import CaptionSettings, ObjectSettings
from ingest.claims import WholeVideo
from ingest.held_pictures import HeldPictures, HeldReader
from ingest.live.following import Following
from ingest.live.told import TOLD, untold
from ingest.models.detector import Detection
from ingest.models.videollm import VideoLLMUnreachableError
from ingest.plan import Channels, describe_analysis, describe_segments
from ingest.segment_frames import Recording

GRAYS = (20, 100, 180, 60, 140, 220)
SHOT_SECONDS = 12


class Quarters:
    """An encoder of pictures: how bright their quarters are."""

    space, size, batch = "frame.quarters.0", 5, 4

    def encode_images(self, images):
        found = []
        for image in images:
            half = [np.array_split(rows, 2, axis=1) for rows in np.array_split(image / 255, 2)]
            found.append([0.2, *(part.mean() for row in half for part in row)])
        vectors = np.array(found, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def captioned(model, *pictures, **changes) -> Channels:
    """changes: of the settings of captions."""
    caption = CaptionChannel(CaptionSettings(**changes), model, prompt=PROMPT)
    described = describe_analysis(INGEST), describe_segments(INGEST)
    derived = [caption]
    if any(channel.name == "frame" for channel in pictures):
        derived = [SegmentChannel(INGEST.stitch, INGEST.segments), caption]
    return Channels((), pictures or (FingerprintChannel(),), *described, tuple(derived))


@pytest.fixture(scope="module")
def channels() -> Channels:
    return captioned(Scripted(about))


def grays(folder) -> bytes:  # noqa: F811
    """MPEG-TS of shots of twelve seconds, each brighter than the one before."""
    path = folder / "grays.ts"
    if not path.exists():
        pictures = [solid((gray,) * 3, 320, 180) for gray in GRAYS for _ in range(5 * SHOT_SECONDS)]
        write_clip(path, pictures, rate=5, key_frame_every=5)
    return path.read_bytes()


@pytest.mark.parametrize("remote", [True, False])
def test_captions_come_while_the_stream_goes_on(remote, watch, library, folder):  # noqa: F811
    """Nothing is recorded: the model sees pictures that were kept."""
    model = Scripted(about, remote=remote)
    sender = TcpSender([grays(folder)], hold=True)
    with closing(sender):
        one = watch(sender.url, channels=captioned(model, batch=1), follow_seconds=0.1)
        eventually(lambda: len(one.texts("caption")) >= len(GRAYS) - 2)
        assert one.video.epochs[0].end_seconds is None
        sender.let_go()
        eventually(lambda: len(one.texts("caption")) == len(GRAYS))
        eventually(lambda: all(g.complete for g in library.generations(one.video.id)))
        one.end()
    found = one.evidence("caption")
    assert [each.text for each in found] == [f"A gray of {gray}." for gray in GRAYS]
    segments = library.segments(one.video.id)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [
        (each.start_seconds, each.end_seconds) for each in found
    ]
    for each in found:
        times = each.attributes["frames"]
        assert times and all(each.start_seconds <= at < each.end_seconds for at in times)
    told = {each.id for news in one.news for each in news.evidence if each.channel == "caption"}
    assert told == {each.id for each in found}


def test_a_captioner_that_is_not_there_holds_nobody_up(watch, folder):  # noqa: F811
    def gone(prompt):
        raise VideoLLMUnreachableError("nobody answers at localhost:9")

    sender = TcpSender([grays(folder)], hold=True)
    with closing(sender):
        one = watch(sender.url, channels=captioned(Scripted(gone)), follow_seconds=0.1)
        eventually(lambda: any("nobody answers" in state.message for state in one.states))
        eventually(lambda: len(one.evidence("shot")) >= len(GRAYS) - 2)
        assert one.end().state == "stopped"
    assert not one.evidence("caption")


def test_a_slow_detector_holds_nobody_up_and_what_it_misses_is_counted(watch, folder):  # noqa: F811
    gate = threading.Event()

    class Slow:
        def detect(self, images, classes, *, threshold=None):
            gate.wait(60)
            return [[Detection("bottle", (0.1, 0.1, 0.3, 0.3), 0.9)] for _ in images]

    things = ObjectChannel(ObjectSettings(classes=("bottle",), batch=1), Slow, {"model": "slow"})
    looking = Channels(
        (), (ScreenTextChannel(), things), describe_analysis(INGEST), describe_segments(INGEST)
    )
    path = folder / "bottles.ts"
    pictures = [noise_picture(at // 10, 320, 180) for at in range(250)] + [
        text_picture("LAST ORDERS")
    ] * 30
    write_clip(path, pictures, rate=10, key_frame_every=10)
    sender = TcpSender([path.read_bytes()], hold=True)
    with closing(sender):
        one = watch(sender.url, channels=looking, waiting_bytes=2**20, drop_after_seconds=60.0)
        sender.let_go()
        eventually(lambda: one.video and one.video.epochs[0].end_seconds, 60)
        assert not one.evidence("object")
        gate.set()
        eventually(lambda: one.evidence("object"))
        one.end()
    (bottle,) = one.evidence("object")[-1:]
    assert bottle.text == "bottle"
    assert bottle.end_seconds == pytest.approx(28, abs=0.3)
    assert one.states[-1].dropped > 0


def test_a_detector_that_fails_looks_at_the_next_epoch(watch, library, folder):  # noqa: F811
    class Failing:
        failed = False

        def detect(self, images, classes, *, threshold=None):
            if not self.failed:
                self.failed = True
                raise ValueError("out of memory")
            return [[Detection("bottle", (0.1, 0.1, 0.3, 0.3), 0.9)] for _ in images]

    things = ObjectChannel(
        ObjectSettings(classes=("bottle",), batch=1), Failing, {"model": "failing"}
    )
    looking = Channels((), (things,), describe_analysis(INGEST), describe_segments(INGEST))
    sender = TcpSender([grays(folder)])
    with closing(sender):
        one = watch(sender.url, channels=looking, epoch_seconds=15.0)
        eventually(lambda: {found.epoch for found in one.evidence("object")} >= {1, 2})
        one.end()
    assert any("out of memory" in state.message for state in one.states)
    assert 0 not in {found.epoch for found in one.evidence("object")}
    (first,) = [g for g in library.generations(one.video.id, 0) if g.channel == "object"]
    assert first.complete


def test_still_frames_are_joined_and_captions_stay(watch, library, folder, tmp_path):  # noqa: F811
    looks = Scripted(lambda prompt: f"A sign, {brightness(prompt)} bright.")
    frames = FrameChannel(None, Quarters, {"model": "quarters"})
    path = tmp_path / "gate.ts"
    path.write_bytes(still(folder, "GATE CLOSED") + stream(folder, "GATE OPEN", start_seconds=900))
    one = watch(
        str(path), channels=captioned(looks, FingerprintChannel(), frames), follow_seconds=0.1
    )
    eventually(lambda: one.video and len(one.video.epochs) == 2, 60)

    def joined() -> bool:
        generations = [g for g in library.generations(one.video.id, 0)]
        frame = [e for e in one.evidence("frame") if e.epoch == 0]
        return len(frame) == 1 and all(g.complete for g in generations)

    eventually(joined, 60)
    asked = len(looks.prompts)
    captions = [e for e in one.evidence("caption") if e.epoch == 0]
    assert captions and captions[-1].end_seconds == pytest.approx(300, abs=1.5)
    one.end()
    again = watch(str(path), channels=captioned(looks, FingerprintChannel(), frames))
    eventually(lambda: len(again.video.epochs) >= 2)
    again.end()
    kept = [e for e in again.evidence("caption") if e.epoch == 0]
    assert [e.id for e in kept] == [e.id for e in captions]
    assert len(looks.prompts) <= asked + 3, "the first epoch was not looked at again"
    (frame,) = [e for e in again.evidence("frame") if e.epoch == 0]
    assert (frame.start_seconds, frame.end_seconds) == pytest.approx((0, 300), abs=1.5)


def test_pictures_that_wait_are_bounded_and_counted():
    images = [noise_picture(seed, 640, 360) for seed in range(8)]
    held = HeldPictures(most_bytes=40_000, max_side=320)
    for at, image in enumerate(images):
        held.push(Sample(float(at), 0.0, image))
    assert held.dropped > 0
    with HeldReader(held) as reader:
        assert not reader.read([0.5], 0.0, 1.0, snap=True)
        (found,) = reader.read([7.2, 7.9], 7.0, 9.0, snap=True)
    assert found[0] == 7.0
    assert found[1].shape == (180, 320, 3)
    assert np.abs(found[1].mean() - images[7].mean()) < 3
    held.forget_before(7.5)
    with HeldReader(held) as reader:
        assert reader.read([7.5], 7.0, 9.0, snap=True)
        assert not reader.read([6.5], 6.0, 7.0, snap=True)


def test_what_was_not_told_before_a_kill_is_known(watch, library, folder):  # noqa: F811
    """Whenever it is killed, evidence that nobody was told of lies where its generation says so,
    however late it is recognised."""
    gate, told, wrong = threading.Event(), set(), []

    class Slow(Words):
        def transcribe(self, chunks):
            gate.wait(30)
            return super().transcribe(chunks)

    def look(news):
        """Called behind a commit: as the library lies now, a kill may leave it."""
        there = library.evidence(news.video.id)
        left = {g.id: since for g, since in untold(library.generations(news.video.id))}
        for one in there:
            since = left.get(one.generation, float("inf"))
            if one.id not in told and one.start_seconds < since:
                wrong.append(one)
        told.update(one.id for one in news.evidence)

    sender = TcpSender([talk(folder)], hold=True)
    with closing(sender):
        one = watch(sender.url, channels=hears(Slow()), listener=look)
        eventually(lambda: one.evidence("fingerprint"))
        sender.let_go()
        eventually(lambda: one.video.epochs[0].end_seconds)
        assert not one.evidence("speech")
        gate.set()
        eventually(lambda: not untold(library.generations(one.video.id)))
        one.end()
    assert not wrong
    assert {said.id for said in one.evidence("speech")} <= told


def test_what_a_kill_left_untold_is_told_by_the_next_who_watches(watch, library, folder):  # noqa: F811
    sender = TcpSender([stream(folder, "MIND THE GAP")])
    with closing(sender):
        one = watch(sender.url)
        eventually(lambda: one.video and one.video.epochs[0].end_seconds)
        one.end()
    there = library.generations(one.video.id)
    (generation,) = [found for found in there if found.channel == "fingerprint"]
    seen = one.evidence("fingerprint")
    # As if it had been killed behind its last commit, of which nobody was told.
    since = {**generation.detail, TOLD: seen[-1].start_seconds}
    library.commit_all([(dataclasses.replace(generation, detail=since), [], [])])
    again = watch(sender.url)
    eventually(lambda: not untold(library.generations(one.video.id)))
    again.end()
    (news,) = again.news
    assert news.again and [found.id for found in news.evidence] == [seen[-1].id]


class Looks:
    """A derived channel that finds one thing wherever it looks."""

    name, sources, spaces = "caption", ("shot",), ()
    waits = names_records = False

    def __init__(self, text: str, looks: bool):
        self._text, self.looks = text, looks

    def describe(self):
        return {"says": self._text}

    def run(self, path, video, generation, from_seconds, library, until_seconds=None):
        epoch, made_by = generation.epoch, generation.id
        seen = Evidence(video.id, epoch, self.name, made_by, 0.0, 40.0, self._text)
        yield Batch((seen,), 40.0, 40.0)


def test_captions_stay_where_nobody_can_look_again(library):
    """Since another model is asked, say, and nothing, or half of it, was recorded."""
    video, epoch = Video("hall", "Hall", source="tcp://hall"), Epoch(0, 0.0, 0.0, 40.0)
    library.put_video(video)
    shots = library.begin(Generation(video.id, 0, "shot", "1"))
    ended = dataclasses.replace(shots, watermark_seconds=40.0, analysed_seconds=40.0)
    library.finish([(ended, [], [])])

    def captions(text: str, media, tags_by: str = "") -> list[str]:
        """Behind a step by who says so, and looks, or makes tags by what that model has seen."""
        looks = Looks(text, not tags_by)
        models = {"caption": tags_by} if tags_by else {}
        following = Following(
            library, Channels((), (), {}, {}, (looks,), models), (looks,), WholeVideo(),
            threading.Lock(), lambda *_: media, lambda *_: None, pytest.fail, lambda: False,
        )  # fmt: skip
        following.step(video, epoch)
        assert not following.has_left(epoch)
        return [found.text for found in library.evidence(video.id, channel="caption")]

    pieces = (Path("0.mkv"), 0.0, 20.0), (Path("1.mkv"), 20.0, 39.9)
    assert captions("A hall.", HeldPictures(most_bytes=1, max_side=320)) == ["A hall."]
    assert captions("A corridor.", Recording(())) == ["A hall."]
    assert captions("A corridor.", Recording(pieces[:1])) == ["A hall."]
    assert captions("A corridor.", Recording(pieces)) == ["A corridor."]
    assert captions("hall, door", Recording(()), "small") == ["A corridor."]
    assert captions("hall, door", Recording(pieces), "small") == ["hall, door"]
    assert captions("hall", Recording(()), "small") == ["hall"], "by what was seen"
    assert captions("way", Recording(()), "large") == ["hall"]
