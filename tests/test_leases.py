"""Two machines on one server: who works on what, and what becomes of it when one dies."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
from clips import noise_picture, write_clip
from dump import _plain
from qdrant_client import QdrantClient

from index.errors import LeaseLostError
from index.fenced import FencedStore
from index.leases import Claim, Clock, Leases
from index.library import DERIVED_KINDS, Library
from index.schema import Epoch, Evidence, Generation, Video
from index.server import ServerStore
from index.settings import ServerSettings
from index.store import Filter, VectorSpace, scroll, where
from index.text import SPACES
from ingest.batch import Batch, FileReport
from ingest.channels.fingerprint import FingerprintChannel
from ingest.channels.settings import FingerprintSettings
from ingest.channels.speech import SpeechChannel
from ingest.live.consolidation import Consolidation
from ingest.live.known import known_video, tell_untold
from ingest.live.recorded import Recordings
from ingest.live.source import parse_source
from ingest.live.told import TOLD, untold
from ingest.picture_pass import PicturePass
from ingest.pipeline import Indexer
from ingest.plan import Channels, Planner, describe_analysis
from ingest.settings import IngestSettings
from ingest.thumbnails import Thumbnails

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

SETTINGS = ServerSettings(url=":memory:", lease_seconds=60, skew_seconds=30)
INGEST = IngestSettings(commit_seconds=0)


class Time:
    """Passes when it is told to. ahead: of the wall clock, in seconds."""

    def __init__(self, ahead: float = 0.0):
        self.now, self._ahead = 1000.0, ahead
        self.clock = Clock(wall=lambda: self.now + self._ahead, monotonic=lambda: self.now)


class Machine:
    def __init__(self, client: QdrantClient, time: Time):
        self.time = time
        self.store = ServerStore(SETTINGS, client=client)
        self.store.ensure_spaces((*SPACES, VectorSpace("fingerprint", 256)))
        self.leases = Leases(self.store, SETTINGS, clock=time.clock, beating=False)
        self.library = Library(FencedStore(self.store, self.leases.claims))

    def index(self, film: Path, folder: Path, still_distance: int = 16) -> FileReport:
        channels = Channels(
            (SpeechChannel(),),
            (FingerprintChannel(FingerprintSettings(still_distance=still_distance)),),
            describe_analysis(INGEST),
            INGEST.segments.model_dump(mode="json"),
        )
        thumbnails = Thumbnails(folder / "thumbnails")
        indexer = Indexer(self.library, channels, INGEST, thumbnails)
        reports: list[FileReport] = []
        batch = Batch(
            self.library, indexer, thumbnails, self.leases, lambda *_: None, reports.append,
            threading.Event(),
        )  # fmt: skip
        plan = Planner(self.library, channels, force=False, verify=False).plan([film])
        batch.run(plan, jobs=1)
        (report,) = reports
        return report

    def content(self) -> dict[str, Any]:
        """Of the store, but for the leases and what they leave on the records."""
        kept = {}
        for point in scroll(self.store, Filter(), with_vectors=True):
            if point.payload["kind"] != "lease":
                payload = {k: v for k, v in point.payload.items() if k != "fence"}
                vectors = {name: vector.tolist() for name, vector in point.vectors.items()}
                kept[point.id] = (_plain(payload), vectors)
        return kept


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def machines(client, time) -> tuple[Machine, Machine]:
    return Machine(client, time), Machine(client, time)


# One lease


def test_one_at_a_time_holds_a_channel(machines):
    one, other = machines
    with one.leases.holding("v") as mine:
        assert mine.take("speech") and mine.take("speech")
        with other.leases.holding("v") as theirs:
            assert not theirs.take("speech")
            assert theirs.take("frame")
            assert not mine.take("frame")
    with other.leases.holding("v") as theirs:
        assert theirs.take("speech")
        assert theirs.fence("speech") == 2


def test_one_process_claims_a_video_once(machines):
    one, _ = machines
    with one.leases.holding("v"), one.leases.holding("v") as again:
        assert again is None


def test_a_lease_that_is_renewed_lasts_and_one_that_is_not_runs_out(machines, time):
    one, other = machines
    with one.leases.holding("v") as mine, other.leases.holding("v") as theirs:
        assert mine.take("speech")
        for _ in range(10):
            time.now += 50
            mine.renew()
            mine.check()
            assert not theirs.take("speech")
        time.now += 60
        with pytest.raises(LeaseLostError):
            mine.check()
        assert not theirs.take("speech")
        time.now += 30
        assert theirs.take("speech")
        mine.renew()  # too late: it is another's, whatever the time
        with pytest.raises(LeaseLostError):
            mine.fence("speech")
        theirs.check()


def test_an_owner_that_was_out_of_touch_goes_on_where_nobody_took_over(machines, time):
    one, _ = machines
    with one.leases.holding("v") as mine:
        assert mine.take("speech")
        time.now += 1000
        with pytest.raises(LeaseLostError):
            mine.check()
        mine.renew()
        mine.check()


@pytest.mark.parametrize("ahead", [-30.0, 0.0, 30.0])
def test_clocks_that_differ_by_the_bound_never_make_two_owners(client, ahead):
    """At every moment one of the two at most may write."""
    one, other = Machine(client, Time()), Machine(client, Time(ahead))
    with one.leases.holding("v") as mine, other.leases.holding("v") as theirs:
        assert mine.take("speech")
        taken = False
        while not taken:
            one.time.now += 1.0
            other.time.now += 1.0
            taken = theirs.take("speech")
            if taken:
                with pytest.raises(LeaseLostError):
                    mine.check()
        assert one.time.now - 1000.0 == SETTINGS.lease_seconds + SETTINGS.skew_seconds - ahead


@pytest.mark.parametrize("before", ["nobody's", "given up", "run out"])
@pytest.mark.parametrize("call", ["upsert_settled", "read_settled", "set_payload"])
def test_of_two_that_take_it_at_once_one_gets_it(machines, time, before, call, monkeypatch):
    """The other one has its way in the middle of the first's taking: before each of its calls."""
    one, other = machines
    if before != "nobody's":
        claim = Claim(one.store, SETTINGS, time.clock, "v")
        assert claim.take("speech")
        if before == "given up":
            claim.give_up()
        else:
            time.now += 1000
    mine = Claim(one.store, SETTINGS, time.clock, "v")
    theirs = Claim(other.store, SETTINGS, time.clock, "v")
    got: list[bool] = []
    called = getattr(one.store, call)

    def meddled(*arguments, **more):
        if not got:
            got.append(theirs.take("speech"))
        return called(*arguments, **more)

    monkeypatch.setattr(one.store, call, meddled)
    got.append(mine.take("speech"))
    assert sorted(got) == [False, True]


def test_a_thread_renews_what_is_held(client, time, monkeypatch):
    renewed, renew = threading.Event(), Claim.renew
    monkeypatch.setattr(Claim, "renew", lambda self: (renew(self), renewed.set()))
    quick = SETTINGS.model_copy(update={"lease_seconds": 0.01})
    leases = Leases(Machine(client, time).store, quick, clock=time.clock)
    with leases.holding("v") as mine:
        assert mine.take("speech")
        renewed.clear()
        assert renewed.wait(30)
    assert not leases.claims


# The fence


def test_whoever_lost_the_lease_moves_no_watermark_and_flips_nothing(machines, time):
    """Its clock stands still, so that it does not know."""
    one, other = machines
    standing = Clock(wall=time.clock.wall, monotonic=lambda: 1000.0)
    one.leases._clock = standing
    old, new = Generation("v", 0, "speech", "old"), Generation("v", 0, "speech", "new")

    def said(generation):
        return Evidence("v", 0, "speech", generation.id, 1.0, 2.0, "said")

    with one.leases.holding("v") as mine:
        assert mine.take("speech")
        one.library.finish([(one.library.begin(old), [said(old)], [])])
        building = one.library.begin(new)
        assert building.state == "building"
        time.now += 1000
        with other.leases.holding("v") as theirs:
            assert theirs.take("speech")
            another = other.library.begin(Generation("v", 0, "speech", "another"))
            before = {g.id: g for g in other.library.generations("v")}
            assert before.keys() == {old.id, another.id}
            with pytest.raises(LeaseLostError):
                one.library.finish([(building, [said(building)], [])])
            assert {g.id: g for g in other.library.generations("v")} == before
            kept = list(scroll(other.store, where(kind=list(DERIVED_KINDS))))
            assert {point.payload["generation"] for point in kept} == {old.id}
            other.library.finish([(another, [said(another)], [])])
    (done,) = other.library.generations("v")
    assert (done.id, done.state, done.complete) == (another.id, "active", True)


def test_taking_a_lease_over_is_enough_to_stop_the_one_before(machines, time):
    """The new owner has written nothing yet; the old one's clock stands still."""
    one, other = machines
    one.leases._clock = Clock(wall=time.clock.wall, monotonic=lambda: 1000.0)
    with one.leases.holding("v") as mine:
        assert mine.take("speech")
        one.library.finish([(one.library.begin(Generation("v", 0, "speech", "old")), [], [])])
        building = one.library.begin(Generation("v", 0, "speech", "new"))
        before = other.library.generations("v")
        time.now += 1000
        with other.leases.holding("v") as theirs:
            assert theirs.take("speech")
            with pytest.raises(LeaseLostError):
                one.library.finish([(building, [], [])])
            assert other.library.generations("v") == before
            mine.check()
            mine.renew()
            with pytest.raises(LeaseLostError):
                mine.check()


def test_without_a_lease_no_generation_is_written(machines):
    one, _ = machines
    with pytest.raises(LeaseLostError):
        one.library.begin(Generation("v", 0, "speech", "f"))
    with one.leases.holding("v") as mine:
        assert mine.take("frame")
        with pytest.raises(LeaseLostError):
            one.library.begin(Generation("v", 0, "speech", "f"))


# The whole way


class _Killed(BaseException):
    pass


@pytest.fixture
def film(tmp_path) -> Path:
    path = tmp_path / "film.mp4"
    scenes = [picture for seed in range(4) for picture in [noise_picture(seed, 160, 96)] * 10]
    write_clip(path, scenes, rate=10, key_frame_every=5)
    return path


@pytest.fixture
def undisturbed(film, tmp_path) -> dict[str, Any]:
    machine = Machine(QdrantClient(":memory:"), Time())
    assert machine.index(film, tmp_path).status == "indexed"
    return machine.content()


@pytest.fixture
def at_its_commit(monkeypatch):
    """at_its_commit(do): the next pass over pictures does that, once, before its sixth commit."""
    commit = PicturePass._maybe_commit

    def arrange(do):
        left = [6]

        def commit_(self):
            left[0] -= 1
            if left[0] == 0:
                do()
            commit(self)

        monkeypatch.setattr(PicturePass, "_maybe_commit", commit_)

    return arrange


def test_when_one_dies_the_other_takes_over_when_the_lease_has_run_out(
    machines, time, film, undisturbed, tmp_path, at_its_commit, monkeypatch
):
    one, other = machines

    with monkeypatch.context() as dead:

        def die():  # without giving anything up
            dead.setattr(Claim, "give_up", lambda self: None)
            raise _Killed

        at_its_commit(die)
        with pytest.raises(_Killed):
            one.index(film, tmp_path)
    (video,) = other.library.videos()
    assert any(not g.complete for g in other.library.generations(video.id))

    report = other.index(film, tmp_path)
    assert (report.status, report.reason) == (
        "busy", "another process is working on fingerprint, shot"
    )  # fmt: skip
    time.now += SETTINGS.lease_seconds + SETTINGS.skew_seconds
    assert other.index(film, tmp_path).status == "indexed"
    assert other.content() == undisturbed


@pytest.mark.parametrize("knows", [True, False], ids=["knows the time", "was suspended"])
@pytest.mark.parametrize("still_distance", [16, 20], ids=["same settings", "other settings"])
def test_one_that_comes_back_after_another_took_over_changes_nothing(
    client, film, tmp_path, at_its_commit, knows, still_distance
):
    time = Time()
    one, other = Machine(client, time), Machine(client, time)
    if not knows:
        one.leases._clock = Clock(wall=time.clock.wall, monotonic=lambda: 1000.0)
    seen: list[Any] = []

    def meanwhile():
        time.now += SETTINGS.lease_seconds + SETTINGS.skew_seconds
        assert other.index(film, tmp_path, still_distance).status == "indexed"
        seen.append(other.content())

    at_its_commit(meanwhile)
    report = one.index(film, tmp_path)
    assert report.status == "busy" and "out of touch" in report.reason
    assert one.content() == seen[0]


def test_what_another_has_in_hand_is_left_to_it_and_the_rest_is_done(
    machines, film, tmp_path, undisturbed
):
    one, other = machines
    assert other.index(film, tmp_path).status == "indexed"
    (video,) = other.library.videos()
    with one.leases.holding(video.id) as mine:
        assert mine.take("fingerprint")
        other.store.delete(where(kind=["generation", *DERIVED_KINDS], video_id=video.id))
        report = other.index(film, tmp_path)
        assert (report.status, report.reason) == (
            "busy", "another process is working on fingerprint"
        )  # fmt: skip
        assert {g.channel for g in other.library.generations(video.id) if g.complete} == {
            "speech", "shot"
        }  # fmt: skip
    assert other.index(film, tmp_path).status == "indexed"
    assert other.content() == undisturbed


# A live source


def test_a_watch_that_was_killed_is_settled_and_told_under_the_leases(machines, time, tmp_path):
    one, other = machines
    source = parse_source("tcp://camera", "camera")
    video = Video(source.video_id, "camera", source="tcp://camera", epochs=(Epoch(0, 0.0, 0.0),))
    with one.leases.holding(video.id) as claim:
        for channel in ("shot", "speech"):
            assert claim.take(channel)
        one.library.put_video(video)
        for channel in ("shot", "speech"):
            begun = one.library.begin(Generation(video.id, 0, channel, "1"))
            said = Evidence(video.id, 0, channel, begun.id, 4.0, 5.0, "hello")
            far = dataclasses.replace(
                begun, watermark_seconds=6.0, analysed_seconds=6.0, detail={TOLD: 0.0}
            )
            one.library.commit_all([(far, [said], [])])
        with other.leases.holding(video.id) as theirs, pytest.raises(LeaseLostError):
            taken_up(other, source, theirs, tmp_path)
    time.now += SETTINGS.lease_seconds + SETTINGS.skew_seconds + 1  # it is killed
    with other.leases.holding(video.id) as theirs:
        known = taken_up(other, source, theirs, tmp_path)
        news: list = []
        tell_untold(other.library, known, theirs, news.append)
    assert all(found.complete for found in other.library.generations(video.id))
    assert [one.text for told in news for one in told.evidence] == ["hello"] * 2
    assert all(told.again for told in news)
    assert untold(other.library.generations(video.id)) == []


def taken_up(machine, source, claim, folder) -> Video:
    joins = Consolidation(machine.library, Thumbnails(folder))
    recordings = Recordings(machine.library, None, source.video_id)
    return known_video(machine.library, source, recordings, joins, claim)
