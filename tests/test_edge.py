"""What the embedded library promises beyond the Store contract: it survives kills, full disks,
damage and other versions, and compaction changes nothing but speed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import index.builder
import index.compaction
import index.disk
import index.edge
import index.migrations
import index.shard
from index.compaction import Candidate, plan
from index.disk import DiskGuard
from index.edge import EdgeStore
from index.errors import (
    DiskFullError,
    LibraryBusyError,
    LibraryDamagedError,
    LibraryError,
    LibraryNewerError,
    LibraryOlderError,
    StoreError,
)
from index.fanout import narrowed
from index.health import check
from index.settings import StoreSettings
from index.shard import Shard
from index.store import Filter, Match, Point, Range, SparseVector, VectorSpace, scroll, where

REPO = Path(__file__).resolve().parents[1]
EVERYTHING = Filter()
SMALL = StoreSettings(
    head_points=64, shard_points=10_000, reserve_bytes=0, ballast_bytes=0, compact=False
)


def pid(number):
    return str(uuid.UUID(int=number * 2**90 + 7))


def point(number, version=0, **payload):
    return Point(
        pid(number),
        {"n": number, "version": version, "start_us": number, "kind": "evidence", **payload},
        {"frame": np.array([1, number % 17, number % 5], np.float32)}
        if (number + version) % 2  # a new version may lie in another shard
        else {"words": SparseVector((number % 7, 100 + number), (1.0, 2.0))},
    )


def open_small(path, **changes):
    store = EdgeStore(path, settings=SMALL.model_copy(update=changes))
    store.ensure_spaces([VectorSpace("frame", 3), VectorSpace("words")])
    return store


def open_after_kill(path):
    """A child of the killed process, which compacts, holds its lock until it is another program."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return open_small(path)
        except LibraryBusyError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def contents(store):
    """number -> version, having seen every id once."""
    points = list(scroll(store, EVERYTHING, page=100))
    assert len({p.id for p in points}) == len(points) == store.count(EVERYTHING)
    return {p.payload["n"]: p.payload["version"] for p in points}


def shard_names(store):
    return [entry.name for entry in store.manifest.shards]


def child(code, *arguments, fault=None, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}",
            "LONGTAKE_FAULT": fault or "",
        },
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


# --- ownership -------------------------------------------------------------------------------


def test_a_library_has_one_owner_at_a_time(tmp_path):
    with open_small(tmp_path / "lib"), pytest.raises(LibraryBusyError):
        EdgeStore(tmp_path / "lib", settings=SMALL)
    EdgeStore(tmp_path / "lib", settings=SMALL).close()


def test_without_create_a_missing_library_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(LibraryError, match="no library at"):
        EdgeStore(tmp_path / "lib", settings=SMALL, create=False)
    assert not (tmp_path / "lib").exists()


# --- shards ------------------------------------------------------------------------------------


def test_the_head_is_sealed_when_it_is_full(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(200)])
        assert len(shard_names(store)) == 4
        # Writing the same points again does not fill it.
        for _ in range(5):
            store.upsert([point(n) for n in range(192, 200)])
        assert len(shard_names(store)) == 4


def test_the_head_is_sealed_when_it_is_old(tmp_path):
    with open_small(tmp_path / "lib", head_max_age_seconds=1e-9) as store:
        store.upsert([point(1)])
        store.upsert([point(2)])
        assert len(shard_names(store)) == 2


def test_a_shard_all_of_whose_points_go_is_dropped_with_its_files(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(256)])
        first = shard_names(store)[0]
        store.delete(Filter((Range("start_us", lt=64),)))
        assert first not in shard_names(store)
        assert not (tmp_path / "lib/shards" / first).exists()
        assert set(contents(store)) == set(range(64, 256))


def test_left_over_folders_are_removed(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(1)])
    (tmp_path / "lib/shards/000099").mkdir()
    with open_small(tmp_path / "lib") as store:
        assert contents(store) == {1: 0}
    assert not (tmp_path / "lib/shards/000099").exists()


def test_a_point_is_on_disk_before_its_older_copy_goes(tmp_path, monkeypatch):
    remove, dirty = Shard.remove, []

    def watched(shard, ids):
        dirty.append(store.shards.head.dirty)
        remove(shard, ids)

    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(192)])
        monkeypatch.setattr(Shard, "remove", watched)
        store.upsert([point(n, version=1) for n in (1, 70, 130)])
        assert dirty == [False, False, False]


def test_what_was_flushed_is_there_though_only_the_logs_reached_the_disk(tmp_path):
    """A power cut: of the other files any page may be as old as the last time that all were
    flushed, or as new as the memory was."""
    lib, cut = tmp_path / "lib", tmp_path / "cut"
    with open_small(lib, head_points=256) as store:
        store.upsert([point(n) for n in range(400)])
        store.compact_now()
        store.upsert([point(n) for n in range(400, 500)])

    def copy(source, target):
        """Nearly all of a new shard's files are holes, which most file systems copy as zeros."""
        if os.stat(source).st_blocks:
            return shutil.copyfile(source, target)
        Path(target).touch()
        os.truncate(target, os.stat(source).st_size)
        return target

    with open_small(lib, head_points=256) as store:
        shutil.copytree(lib, tmp_path / "old", copy_function=copy)
        store.upsert([point(n, version=1) for n in range(390, 520)])
        store.delete(Filter((Range("start_us", gte=100, lt=200),)))
        store.flush()
        expected = contents(store)
        assert len(expected) == 420
        for n in range(3):
            shutil.rmtree(cut, ignore_errors=True)
            shutil.copytree(lib, cut, copy_function=copy)
            for number, old in enumerate(sorted((tmp_path / "old").glob("shards/*/segments/**/*"))):
                name = old.relative_to(tmp_path / "old")
                if old.is_file() and (number + n) % 3 and (cut / name).exists():
                    copy(old, cut / name)
            with open_small(cut, head_points=256) as survivor:
                assert contents(survivor) == expected
                for score in survivor.query("frame", np.ones(3), where=EVERYTHING, limit=500):
                    assert score.payload["version"] == expected[score.payload["n"]]


def test_flush_syncs_the_logs_of_what_has_changed(tmp_path, monkeypatch):
    fsync, synced = os.fsync, set()

    def recorded(descriptor):
        fsync(descriptor)  # whichever it was
        status = os.fstat(descriptor)
        synced.add((status.st_dev, status.st_ino))

    def files(folder):
        return {(p.stat().st_dev, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}

    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(150)])
        store.compact_now()
        store.upsert([point(n) for n in range(200, 210)])
        store.flush()
        words, pictures, head = (shard.path for shard in store.shards.all())
        monkeypatch.setattr(os, "fsync", recorded)
        monkeypatch.setattr(os, "fdatasync", recorded, raising=False)
        store.flush()
        assert not synced
        store.upsert([point(300)])
        store.flush()
        assert files(head / "wal") <= synced
        assert not (files(pictures) | files(words)) & synced
        synced.clear()
        store.delete(Filter((Range("start_us", lt=1),)))
        store.flush()
        removed = (words / "removed").stat()
        sealed = files(pictures) | files(words)
        assert sealed & synced == {(removed.st_dev, removed.st_ino)}
        monkeypatch.undo()


def test_a_log_whose_files_are_renamed_meanwhile_is_synced(tmp_path, monkeypatch):
    """As the engine does when one of them is full."""
    opened, listed = [], os.listdir

    def then_rename(folder):
        names = listed(folder)
        if "first" in names:
            os.rename(tmp_path / "first", tmp_path / "second")
        return names

    (tmp_path / "first").write_text("x")
    monkeypatch.setattr(os, "listdir", then_rename)
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda fd: opened.append(os.fstat(fd).st_ino), raising=False)
    index.disk.sync_files(tmp_path)
    assert (tmp_path / "second").stat().st_ino in opened


def test_a_disk_that_takes_nothing_fails_the_flush_and_the_next_one_syncs(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(5, "Input/output error")

    with open_small(tmp_path / "lib") as store:
        store.upsert([point(1)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            patch.setattr(os, "fdatasync", broken, raising=False)
            with pytest.raises(LibraryError, match="Input/output error"):
                store.flush()
        assert store.shards.head.dirty
        store.flush()
        assert not store.shards.head.dirty


def test_the_next_head_is_made_ahead_and_knows_spaces_that_came_later(tmp_path, monkeypatch):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(40)])
        store.shards._next._thread.join()
        store.ensure_spaces([VectorSpace("late", 2)])
        monkeypatch.setattr(Shard, "create", None)  # nobody has to wait for that
        store.upsert([point(n) for n in range(40, 70)])
        assert len(shard_names(store)) == 2
        late = Point(pid(99), {"n": 99, "version": 0}, {"late": np.array([0, 1], np.float32)})
        store.upsert([late])
        assert store.query("late", np.ones(2, np.float32), where=EVERYTHING, limit=5)
        monkeypatch.undo()
        assert set(contents(store)) == {*range(70), 99}
    with open_small(tmp_path / "lib") as store:
        assert set(contents(store)) == {*range(70), 99}


def test_a_head_made_ahead_that_nobody_took_is_removed(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(40)])
        store.shards._next._thread.join()
        assert len(list((tmp_path / "lib/shards").iterdir())) == 2
    assert len(list((tmp_path / "lib/shards").iterdir())) == 1


def test_a_head_with_a_long_log_is_sealed_and_no_flush_empties_it(tmp_path, monkeypatch):
    """To empty it is some seventy synchronous writes that everybody would wait for."""
    monkeypatch.setattr(index.shard, "LOG_POINTS", 100)
    with open_small(tmp_path / "lib", head_points=256) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Shard, "flush", lambda shard: pytest.fail("a log was emptied"))
            for version in range(3):
                store.upsert([point(n, version) for n in range(40)])
                store.flush()
            store.shards.await_next_head()
        store.upsert([point(n, 3) for n in range(40)])
        store.flush()
        assert all(shard.logged <= 160 for shard in store.shards.all())
        assert len(shard_names(store)) == 2
        assert contents(store) == dict.fromkeys(range(40), 3)
        store.compact_now()
        assert contents(store) == dict.fromkeys(range(40), 3)


def test_during_a_compaction_nobody_waits_for_a_new_head_to_be_made(tmp_path, monkeypatch):
    with open_small(tmp_path / "lib", head_max_age_seconds=3600.0) as store:
        store.upsert([point(n) for n in range(40)])
        store.shards.await_next_head()
        store.shards._next.stop()  # from here on none is ready
        made = threading.Event()
        monkeypatch.setattr(type(store.shards._next), "ended", property(lambda _: made.is_set()))
        monkeypatch.setattr(type(store._compactor), "busy", property(lambda _: True))
        store.upsert([point(n) for n in range(40, 100)])
        assert len(shard_names(store)) == 1
        store.upsert([point(n) for n in range(100, 140)])  # twice its size is enough
        assert len(shard_names(store)) == 2
        made.set()
        store.upsert([point(n) for n in range(140, 180)])
        assert len(shard_names(store)) == 3
        assert set(contents(store)) == set(range(180))


def test_deletions_from_a_compacted_shard_survive_the_death_of_the_process(tmp_path):
    died = child(
        "import sys, os; from test_edge import *; store = open_small(Path(sys.argv[1]));"
        "store.upsert([point(n) for n in range(200)]); store.compact_now();"
        "store.delete(Filter((Range('start_us', lt=50),))); os.kill(os.getpid(), 9)",
        tmp_path / "lib",
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    for _ in range(2):
        with open_after_kill(tmp_path / "lib") as store:
            assert set(contents(store)) == set(range(50, 200))


def test_a_shard_that_was_replaced_is_not_brought_up_to_date(tmp_path, monkeypatch):
    """To close one that has its files is a hundred synchronous writes that all would wait for."""
    closed, close = [], Shard.close

    def watched(shard):
        closed.append((shard.name, shard.path.exists()))
        close(shard)

    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(150)])
        before = shard_names(store)[:-1]
        monkeypatch.setattr(Shard, "close", watched)
        store.compact_now()
        assert [name for name, _ in closed] == before
        assert not any(there for _, there in closed)
        assert set(contents(store)) == set(range(150))
    with open_small(tmp_path / "lib") as store:
        assert set(contents(store)) == set(range(150))


@pytest.mark.parametrize("compacted", [False, True])
def test_times_and_languages_are_filtered_alike_with_an_index_and_without(tmp_path, compacted):
    languages = ("de", "en", None)

    def spoken(number):
        language = {} if number % 4 == 3 else {"language": languages[number % 4]}
        return point(number, end_seconds=number / 8 + 0.1, **language)

    with open_small(tmp_path / "lib") as store:
        store.upsert([spoken(n) for n in range(200)])
        if compacted:
            store.compact_now()
        later, german = Range("end_seconds", gte=12.6), Match("language", ("de",))
        for wanted, expected in (
            (Filter((later,)), [n for n in range(200) if n / 8 + 0.1 >= 12.6]),
            (Filter((german,)), [n for n in range(200) if n % 4 == 0]),
            (Filter((), (german,)), [n for n in range(200) if n % 4]),
            (Filter((later, Range("start_us", lt=150), german)), [*range(100, 150, 4)]),
        ):
            there = [p.payload["n"] for p in scroll(store, wanted)]
            assert sorted(there) == expected
            near = store.query("frame", np.ones(3, np.float32), where=wanted, limit=500)
            assert sorted(h.payload["n"] for h in near) == [n for n in expected if n % 2]


# --- compaction --------------------------------------------------------------------------------


def test_compaction_changes_nothing_but_the_number_of_shards(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(300)])
        store.upsert([point(n, version=1) for n in range(0, 300, 7)])
        store.delete(Filter((Range("start_us", gte=20, lt=90),)))

        def everything():
            return {
                p.id: (p.payload, {n: repr(v) for n, v in p.vectors.items()})
                for p in scroll(store, EVERYTHING, with_vectors=True)
            }

        def found():
            dense = np.array([1, 3, 2], np.float32)
            asked = ("frame", dense), ("words", SparseVector((3,), (1.0,)))
            # All of them: of those that score alike any may come first.
            return [
                {
                    hit.id: pytest.approx(hit.score, abs=1e-5)
                    for hit in store.query(space, vector, where=EVERYTHING, limit=1000, exact=True)
                }
                for space, vector in asked
            ]

        before, hits = everything(), found()
        assert all(hits)
        store.compact_now()
        assert len(shard_names(store)) == 3
        assert everything() == before
        assert found() == hits
        store.compact_now()
        assert len(shard_names(store)) == 3
    with open_small(tmp_path / "lib") as store:
        assert len(contents(store)) == len(before)
    assert len(list((tmp_path / "lib/shards").iterdir())) == 3


def sorts(store):
    """The vector spaces of each sealed shard."""
    return sorted(sorted(shard.spaces) for shard in store.shards.sealed())


def test_points_are_kept_with_those_that_have_vectors_in_the_same_dense_spaces(tmp_path):
    def vectors(*names):
        made = {"frame": np.ones(3), "text": np.ones(2), "words": SparseVector((1,), (1.0,))}
        return {name: made[name] for name in names}

    each = [vectors("frame"), vectors("text"), vectors("frame", "text"), vectors("words"), {}]
    named = ["evidence", "embedding", "evidence", "passage", "video"]

    def made(n, version=0):
        payload = {"n": n, "version": version, "kind": named[n % 5]}
        return Point(pid(n), payload, each[n % 5])

    with open_small(tmp_path / "lib") as store:
        store.ensure_spaces([VectorSpace("text", 2)])
        for round in range(3):
            numbers = range(100 * round, 100 * round + 100)
            store.upsert([made(n) for n in numbers])
            store.compact_now()
            assert sorts(store) == [[], ["frame"], ["frame", "text"], ["text"], ["words"]]
        assert contents(store) == dict.fromkeys(range(300), 0)
        near = store.query("frame", np.ones(3), where=EVERYTHING, limit=300)
        head = [n for n in range(300) if n % 5 in (0, 2)]
        assert sorted(hit.payload["n"] for hit in near) == head
        assert [store.count(where(kind=kind)) for kind in named] == [120, 60, 120, 60, 60]
        assert len(store.shards.holding(where(kind="video"))) == 2  # and the head
        # One that changes its sort moves, and is there once.
        store.upsert(
            [Point(pid(n), made(n, 1).payload, vectors("text", "words")) for n in range(150)]
        )
        assert contents(store) == {n: int(n < 150) for n in range(300)}
        store.compact_now()
        assert contents(store) == {n: int(n < 150) for n in range(300)}
        assert len(store.query("text", np.ones(2), where=EVERYTHING, limit=300)) == 150 + 60
        assert [store.count(where(kind=kind)) for kind in named] == [120, 60, 120, 60, 60]
    with open_small(tmp_path / "lib") as store:
        assert contents(store) == {n: int(n < 150) for n in range(300)}


def test_a_shard_is_not_asked_for_what_all_or_none_of_its_points_have(tmp_path):
    """And what it is asked for instead means the same, also of points that have nothing there, and
    after some have gone."""
    channels = ["speech", "screen_text", "speech", None]
    languages = ["en", "de", None]

    def made(n):
        payload = {"n": n, "kind": "evidence", "version": 0}
        channel, language = "frame" if n % 2 else channels[n // 2 % 4], languages[n % 3]
        payload |= {"channel": channel} if channel else {}
        payload |= {"language": language} if language and not n % 2 else {}
        return Point(pid(n), payload, point(n).vectors)

    filters = [
        Filter(must, must_not)
        for must in ((), where(channel="frame").must, where(language=["en", "fr"]).must)
        for must_not in ((), where(channel=["speech", "fr"]).must, where(language=["de"]).must)
    ]
    filters += [where(kind="passage"), where(kind="evidence", channel="frame"), where(channel=1)]
    pairs = [("frame", np.ones(3)), ("words", SparseVector(tuple(range(7)), (1.0,) * 7))]

    def found(store):
        return [
            (store.count(one), *(
                {hit.payload["n"] for hit in store.query(*pair, where=one, limit=200)}
                for pair in pairs
            ))
            for one in filters
        ]  # fmt: skip

    with open_small(tmp_path / "lib", head_points=1000) as store:
        store.upsert([made(n) for n in range(200)])
        before = found(store)
        assert before[0][0] == 200 and before[-3:] == [
            (0, set(), set()), (100, set(range(1, 200, 2)), set()), (0, set(), set()),
        ]  # fmt: skip
        store.rotate()
        store.compact_now()
        assert found(store) == before
        frames, words = sorted(store.shards.sealed(), key=lambda shard: sorted(shard.spaces))
        assert frames.values("channel") == {"frame"} and frames.values("language") == {None}
        assert words.values("language") == {"en", "de", None}
        assert store.shards.head.values("channel") is None
        asked = where(kind="evidence", channel="frame").but_not(Match("language", ("de",)))
        assert narrowed(asked, frames) == EVERYTHING and narrowed(asked, words) is None
        assert narrowed(where(channel="speech", n=3), frames) is None
        assert narrowed(where(kind="evidence", n=3), words) == where(n=3)
        store.delete(where(n=[4, 5, 8, 9, 12, 13]))
        gone = {4, 5, 8, 9, 12, 13}
        assert [one[1:] for one in found(store)] == [(a - gone, b - gone) for _, a, b in before]


def test_vectors_of_sentences_lie_apart_from_those_of_other_passages(tmp_path):
    """They are searched apart. A shard of before, where they lie together, is divided when it is
    written anew."""
    channels = ["speech", "screen_text", "caption"]

    def made(n):
        payload = {"n": n, "kind": "embedding", "channel": channels[n % 3], "version": 0}
        return Point(pid(n), payload, {"frame": np.array([1, n, 2], np.float32)})

    def together(point, spaces):
        return "frame"

    with open_small(tmp_path / "lib", head_points=1000) as store, pytest.MonkeyPatch.context() as m:
        m.setattr(index.compaction, "sort_of", together)
        store.upsert([made(n) for n in range(90)])
        store.rotate()
        store.compact_now()
        assert [shard.values("channel") for shard in store.shards.sealed()] == [{*channels}]
        m.undo()
        store.upsert([made(n) for n in range(90, 180)])
        store.rotate()
        store.compact_now()
        there = {shard.values("channel") for shard in store.shards.sealed()}
        assert there == {frozenset({"speech"}), frozenset({"screen_text", "caption"})}
        assert contents(store) == dict.fromkeys(range(180), 0)
        for one in channels:
            found = store.query("frame", np.ones(3), where=where(channel=one), limit=180)
            assert {hit.payload["n"] for hit in found} == set(range(channels.index(one), 180, 3))


def test_several_values_and_none_pass_the_same_filters_when_they_are_compacted(tmp_path):
    payloads = [
        {"kind": "passage", "language": ["en", "de"], "channel": "speech"},
        {"kind": "passage", "language": "en", "channel": 7},
        {"kind": "passage", "language": 7, "channel": "speech"},
        {"language": "fr", "channel": "frame"},
    ]
    filters = [
        where(language="en"),
        where(language="en").and_(Match("language", ("de",))),
        EVERYTHING.but_not(Match("language", ("de",))),
        where(channel=7),
        where(language=7),
        EVERYTHING.but_not(Match("kind", ("passage",))),
    ]
    with open_small(tmp_path / "lib", head_points=1000) as store:
        store.upsert([Point(pid(n), payload) for n, payload in enumerate(payloads)])
        store.rotate()
        store.compact_now()
        assert None in [shard.values("language") for shard in store.shards.sealed()]
        for one in filters:
            passing = sum(one.passes(payload) for payload in payloads)
            assert passing and store.count(one) == passing, one


def test_shards_of_an_older_library_are_sorted(tmp_path):
    """Their compaction knew no sorts."""
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(200)])
        store.compact_now()
    manifest = tmp_path / "lib/manifest.json"
    old = json.loads(manifest.read_text())
    for entry in old["shards"]:
        del entry["sort"], entry["kinds"]
    manifest.write_text(json.dumps(old))
    with open_small(tmp_path / "lib", compact=True, compact_delay_seconds=0) as store:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with store.lock:
                if all(entry.sort is not None for entry in store.manifest.shards[:-1]):
                    break
            time.sleep(0.02)
        assert sorts(store) == [["frame"], ["words"]]
        assert contents(store) == dict.fromkeys(range(200), 0)


def test_what_changes_while_a_compaction_runs_is_in_its_result(tmp_path, monkeypatch):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(300)])
        build = index.compaction.Compactor._build

        def then_change(compactor, *arguments):
            build(compactor, *arguments)
            store.delete(Filter((Range("start_us", gte=10, lt=20),)))
            store.upsert([point(n, version=1) for n in range(30, 40)])
            store.upsert([point(400)])
            # Whole input shards, too many ids for the moment of the swap.
            store.delete(Filter((Range("start_us", gte=64, lt=256 + 10),)))

        monkeypatch.setattr(index.compaction.Compactor, "_build", then_change)
        store.compact_now()
        expected = {n: 0 for n in [*range(10), *range(20, 64), *range(266, 300), 400]}
        expected |= {n: 1 for n in range(30, 40)}
        assert contents(store) == expected
    with open_small(tmp_path / "lib") as store:
        assert contents(store) == expected


def test_the_background_thread_compacts_by_itself(tmp_path):
    with open_small(tmp_path / "lib", compact=True, compact_delay_seconds=0) as store:
        store.upsert([point(n) for n in range(300)])
        deadline = time.monotonic() + 60
        while store.info().detail["unoptimised_shards"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.info().detail["unoptimised_shards"] == 0
        assert len(contents(store)) == 300


def test_a_compaction_that_fails_is_reported_and_loses_nothing(tmp_path, monkeypatch):
    def failing(module, *arguments):
        return [sys.executable, "-c", "raise SystemExit('no memory left')"]

    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(200)])
        with monkeypatch.context() as patch:
            patch.setattr(index.builder, "child_command", failing)
            with pytest.raises(StoreError, match="no memory left"):
                store.compact_now()
        assert len(contents(store)) == 200
        store.compact_now()
        assert len(shard_names(store)) == 3
        assert len(contents(store)) == 200


def test_compact_now_ends_though_others_keep_writing(tmp_path, monkeypatch):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(150)])
        build, rounds = index.compaction.Compactor._build, []

        def then_write(compactor, *arguments):
            build(compactor, *arguments)
            rounds.append(1)
            low = 1000 * len(rounds)
            store.upsert([point(n) for n in range(low, low + 150)])

        monkeypatch.setattr(index.compaction.Compactor, "_build", then_write)
        store.compact_now()
        assert len(rounds) == 1
        assert len(contents(store)) == 300


def test_closing_does_not_wait_for_a_compaction(tmp_path, monkeypatch):
    started = threading.Event()

    monkeypatch.setattr(
        index.builder,
        "child_command",
        lambda *a: (started.set(), ["sleep", "1000"])[1],
    )
    store = open_small(tmp_path / "lib", compact=True, compact_delay_seconds=0)
    store.upsert([point(n) for n in range(200)])
    assert started.wait(60)
    before = time.monotonic()
    store.close()
    assert time.monotonic() - before < 20
    with open_small(tmp_path / "lib") as store:
        assert len(contents(store)) == 200


def shards_of(*sizes, needy=()):
    return [Candidate(str(n), size, size, n not in needy) for n, size in enumerate(sizes)]


def planned(*sizes, needy=(), full=False):
    group = plan(shards_of(*sizes, needy=needy), 100, full=full)
    return [int(candidate.name) for candidate in group]


def test_plan_of_compaction():
    assert planned() == []
    assert planned(20, needy=[0]) == [0]
    assert planned(20, 20, needy=[1]) == [0, 1]
    # In the background a large shard is not written again for a small one ...
    assert planned(40, 20, needy=[1]) == [1]
    assert planned(40, 20, 20, needy=[2]) == [0, 1, 2]
    assert planned(90, 20, 20, needy=[1, 2]) == [1, 2]
    # ... but on demand whatever fits together is.
    assert planned(40, 20, full=True) == [0, 1]
    assert planned(80, 20, 10, full=True) == [1, 2]
    assert planned(80, 30, full=True) == []
    # An older shard in need is found behind newer ones that are well.
    assert planned(100, 30, 100, needy=[1]) == [1]
    assert planned(20, 20) == [0, 1]
    # A quarter lost is reason enough.
    half_empty = [Candidate("0", 60, 90, True), Candidate("1", 90, 90, True)]
    assert [c.name for c in plan(half_empty, 100, full=False)] == ["0"]


def test_plan_of_compaction_sorts_first_and_merges_what_is_of_one_sort():
    words, pictures = "", "frame"
    shards = [
        Candidate(str(n), size, size, sort is not None, sort)
        for n, (size, sort) in enumerate(
            [(40, words), (30, pictures), (30, None), (30, words), (50, None), (25, None)]
        )
    ]

    def planned_of(*left, full=False):
        return [c.name for c in plan([shards[n] for n in left], 100, full=full)]

    assert planned_of(0, 1, 2, 3, 4, 5) == ["2", "4"]
    assert planned_of(0, 1, 3) == ["0", "3"]
    assert planned_of(0, 1) == planned_of(0, 1, full=True) == []


# --- kills -------------------------------------------------------------------------------------

OPERATIONS = [
    ("upsert", range(0, 60), 1),
    ("upsert", range(60, 124), 2),
    ("flush",),
    ("upsert", range(124, 188), 3),
    ("delete", 20, 30),
    ("upsert", range(0, 124, 4), 4),
    ("flush",),
    ("compact",),
    ("upsert", range(100, 164), 5),
    ("flush",),
    ("delete", 60, 110),
    ("upsert", range(300, 364), 6),
    ("upsert", range(0, 364, 6), 7),
    ("compact",),
    ("flush",),
    ("upsert", range(0, 64), 8),
    ("delete", 150, 320),
    ("upsert", range(400, 464), 9),
    ("compact",),
    ("close",),
]


def perform(store, operation):
    match operation:
        case ("upsert", numbers, version):
            store.upsert([point(n, version) for n in numbers])
        case ("delete", low, high):
            store.delete(Filter((Range("start_us", gte=low, lt=high),)))
        case ("flush",):
            store.flush()
        case ("compact",):
            store.compact_now()
        case ("close",):
            store.close()


def run_operations(path):
    """In a child. Says on stdout which flush has returned."""
    store = open_small(Path(path))
    print("open", flush=True)
    for number, operation in enumerate(OPERATIONS):
        perform(store, operation)
        if operation[0] in ("flush", "close"):
            print(number, flush=True)


def states():
    """The contents after each operation, from none to all."""
    state, after = {}, [{}]
    for operation in OPERATIONS:
        match operation:
            case ("upsert", numbers, version):
                state = state | {n: version for n in numbers}
            case ("delete", low, high):
                state = {n: v for n, v in state.items() if not low <= n < high}
        after.append(state)
    return after


def check_survivor(path, flushed):
    """The library opens with what was flushed, each id with what it held then or later, no id
    twice, and each upsert (they are atomic) wholly or not at all; and it works on."""
    possible = states()[flushed + 1 :]
    with open_after_kill(path) as store:
        found = contents(store)
        for n in set(found) | set().union(*possible):
            assert found.get(n) in [state.get(n) for state in possible], n
        for number, operation in enumerate(OPERATIONS):
            if operation[0] == "upsert" and number > flushed:
                _, numbers, version = operation
                if any(found.get(n) == version for n in numbers):
                    since = states()[number + 1 :]
                    assert all(found.get(n) in [s.get(n) for s in since] for n in numbers)
        store.upsert([point(n, 99) for n in range(0, 500, 3)])
        store.compact_now()
        again = contents(store)
        assert again == found | {n: 99 for n in range(0, 500, 3)}
    assert not (path / "unclean").exists()
    assert {p.name for p in (path / "shards").iterdir()} <= {
        e["name"] for e in json.loads((path / "manifest.json").read_text())["shards"]
    }


CHILD = "import sys, test_edge; test_edge.run_operations(sys.argv[1])"


@pytest.mark.parametrize(
    "fault",
    [
        "manifest:6",
        "manifest-renamed:4",
        "rotate:1",
        "rotate:3",
        "between-copies:4",
        "between-copies:7",
        "between-syncs:1",
        "between-syncs:5",
        "compaction-sent:2",
        "compaction-before-swap:1",
        "compaction-swap:1",
        "compaction-swap:2",
        "compaction-swapped:2",
        "compaction-inputs-removed:1",
    ],
)
def test_killed_anywhere_it_opens_with_what_was_flushed(tmp_path, fault):
    died = child(CHILD, tmp_path / "lib", fault=fault)
    assert died.returncode == -signal.SIGKILL, died.stderr
    lines = died.stdout.split()
    flushed = int(lines[-1]) if lines and lines[-1] != "open" else -1
    check_survivor(tmp_path / "lib", flushed)


@pytest.fixture(scope="module")
def undisturbed_seconds(tmp_path_factory):
    """How long the operations take."""
    path = tmp_path_factory.mktemp("undisturbed") / "lib"
    before = time.monotonic()
    assert child(CHILD, path).returncode == 0
    seconds = time.monotonic() - before
    check_survivor(path, len(OPERATIONS) - 1)
    return seconds


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_killed_at_any_time_it_opens_with_what_was_flushed(tmp_path, undisturbed_seconds, share):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "lib")],
        env={**os.environ, "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            process.wait(undisturbed_seconds * share)
        except subprocess.TimeoutExpired:
            process.kill()
        lines = process.stdout.read().split()
    flushed = int(lines[-1]) if lines and lines[-1] != "open" else -1
    check_survivor(tmp_path / "lib", flushed)


def test_unflushed_points_survive_the_death_of_the_process(tmp_path):
    died = child(
        "import sys, os; from test_edge import *; store = open_small(Path(sys.argv[1]));"
        "store.upsert([point(n) for n in range(40)]); os.kill(os.getpid(), 9)",
        tmp_path / "lib",
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    with open_after_kill(tmp_path / "lib") as store:
        assert len(contents(store)) == 40


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_compacting_child_dies_with_its_parent(tmp_path):
    died = child(CHILD, tmp_path / "lib", fault="compaction-sent")
    assert died.returncode == -signal.SIGKILL

    def orphans():
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(tmp_path) in part for part in process.info["cmdline"] or ()):
                found.append(process.pid)
        return found

    deadline = time.monotonic() + 20
    while orphans() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert orphans() == []


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("upsert"), st.lists(st.integers(0, 150), min_size=1, max_size=80)),
            st.tuples(st.just("delete"), st.integers(0, 150), st.integers(1, 80)),
            st.sampled_from([("rotate",), ("compact",), ("reopen",), ("flush",)]),
        ),
        max_size=12,
    )
)
def test_any_sequence_of_operations_leaves_what_a_dict_would(tmp_path, operations):
    path = tmp_path / uuid.uuid4().hex
    store, model = open_small(path), {}
    try:
        for version, operation in enumerate(operations):
            match operation:
                case ("upsert", numbers):
                    store.upsert([point(n, version) for n in numbers])
                    model |= {n: version for n in numbers}
                case ("delete", low, length):
                    store.delete(Filter((Range("start_us", gte=low, lt=low + length),)))
                    model = {n: v for n, v in model.items() if not low <= n < low + length}
                case ("rotate",):
                    store.rotate()
                case ("compact",):
                    store.compact_now()
                case ("reopen",):
                    store.close()
                    store = open_small(path)
                case ("flush",):
                    store.flush()
            assert contents(store) == model
    finally:
        store.close()
        shutil.rmtree(path)


# --- the disk ----------------------------------------------------------------------------------

MIB = 1024 * 1024
TINY = StoreSettings(
    head_points=2000, reserve_bytes=48 * MIB, ballast_bytes=24 * MIB, compact=False
)


def wide(number):
    vector = np.random.default_rng(number).standard_normal(512).astype(np.float32)
    return Point(pid(number), {"n": number, "version": 0, "text": "x" * 2000}, {"wide": vector})


def test_a_full_disk_stops_writing_and_loses_nothing(small_disk):
    library = small_disk / "lib"
    with EdgeStore(library, settings=TINY) as store:
        store.ensure_spaces([VectorSpace("wide", 512)])
        written = 0
        with pytest.raises(DiskFullError, match="MiB free") as stopped:
            while written < 200_000:
                store.upsert([wide(n) for n in range(written, written + 500)])
                store.flush()
                written += 500
        assert str(library) in str(stopped.value)
        assert 1000 <= written < 200_000
        # Reading and deleting go on.
        assert store.count(EVERYTHING) >= written
        assert store.retrieve([pid(5)])[0].payload["n"] == 5
        store.delete(where(n=0))
        store.flush()
    with EdgeStore(library, settings=TINY) as store:
        assert set(range(1, written)) <= set(contents(store))
        with pytest.raises(DiskFullError):
            store.upsert([wide(7)])


def test_a_library_opens_on_a_disk_without_any_room_and_resumes(small_disk):
    library = small_disk / "lib"
    with EdgeStore(library, settings=TINY) as store:
        store.ensure_spaces([VectorSpace("wide", 512)])
        store.upsert([wide(n) for n in range(1000)])
    assert (library / "ballast").stat().st_size == TINY.ballast_bytes
    with open(small_disk / "something-else", "wb", buffering=0) as file:
        with pytest.raises(OSError):
            while True:
                file.write(b"x" * MIB)
        with pytest.raises(OSError):
            while True:
                file.write(b"x")
    # In a child: what we guard against is the death of the process.
    script = (
        "import sys; from test_edge import *\n"
        "with EdgeStore(sys.argv[1], settings=TINY) as store:\n"
        "    assert store.count(EVERYTHING) == 1000\n"
        "    try: store.upsert([wide(1)])\n"
        "    except DiskFullError: print('stopped')\n"
    )
    done = child(script, library)
    assert (done.returncode, done.stdout.strip()) == (0, "stopped"), done.stderr
    assert not (library / "ballast").exists()
    (small_disk / "something-else").unlink()
    with EdgeStore(library, settings=TINY) as store:
        store.upsert([wide(n) for n in range(1000, 1100)])
        store.flush()
        assert len(contents(store)) == 1100
    assert (library / "ballast").stat().st_size == TINY.ballast_bytes


def test_the_reserve_is_kept(tmp_path):
    guard = DiskGuard(tmp_path, reserve_bytes=2**62, ballast_bytes=0)
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        guard.check()
    DiskGuard(tmp_path, reserve_bytes=0, ballast_bytes=0).check()


# --- versions, permissions, damage --------------------------------------------------------------


def set_version(library, version):
    manifest = json.loads((library / "manifest.json").read_text())
    manifest["schema_version"] = version
    (library / "manifest.json").write_text(json.dumps(manifest))


def test_a_newer_library_is_refused_and_left_alone(tmp_path):
    open_small(tmp_path / "lib").close()
    set_version(tmp_path / "lib", 99)
    before = (tmp_path / "lib/manifest.json").read_bytes()
    with pytest.raises(LibraryNewerError, match=r"99.*Upgrade"):
        EdgeStore(tmp_path / "lib", settings=SMALL)
    assert (tmp_path / "lib/manifest.json").read_bytes() == before


def test_an_older_library_without_a_way_up_says_how_to_rebuild(tmp_path):
    open_small(tmp_path / "lib").close()
    set_version(tmp_path / "lib", 0)
    with pytest.raises(LibraryOlderError, match="longtake index"):
        EdgeStore(tmp_path / "lib", settings=SMALL)


def test_an_older_library_is_upgraded_step_by_step_and_resumes(tmp_path, monkeypatch):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(3)])
    set_version(tmp_path / "lib", 1)
    seen = []

    def step(number):
        def run(store):
            seen.append(number)
            if number == 2 and seen.count(2) == 1:
                raise StoreError("killed here")
            store.upsert([point(n, number) for n in range(3)])

        return run

    monkeypatch.setattr(index.edge, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(index.migrations, "MIGRATIONS", {1: step(1), 2: step(2)})
    with pytest.raises(StoreError):
        EdgeStore(tmp_path / "lib", settings=SMALL)
    with open_small(tmp_path / "lib") as store:
        assert seen == [1, 2, 2]
        assert contents(store) == {0: 2, 1: 2, 2: 2}
        assert store.info().schema_version == 3


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to drop root")
@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder_is_named(tmp_path, exists):
    library = tmp_path / "lib"
    if exists:
        open_small(library).close()
    for folder in [tmp_path, *tmp_path.parents]:  # that user must be able to come this far
        if folder.name.startswith("pytest-") or folder == tmp_path:
            folder.chmod(folder.stat().st_mode | 0o055)
    # The modules are loaded first: that user may not be able to read them.
    done = child(
        "import os, sys; from index.edge import EdgeStore\n"
        "from index.errors import LibraryReadOnlyError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: EdgeStore(sys.argv[1])\n"
        "except LibraryReadOnlyError as error: print(error)\n",
        library,
    )
    assert str(library) in done.stdout, done.stderr
    assert "--library" in done.stdout
    assert ("searches need" in done.stdout) == exists


def damaged_library(tmp_path, pattern, change):
    """Two sealed shards and a head, with one file of the first changed. Returns that shard."""
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(150)])
        name = shard_names(store)[0]
    (file,) = sorted((tmp_path / "lib/shards" / name).glob(pattern))
    change(file)
    return name


def test_a_damaged_shard_is_named_with_the_way_out_and_doctor_finds_it(tmp_path):
    name = damaged_library(tmp_path, "segments/*/segment.json", lambda f: f.write_text("{"))
    for _ in range(2):  # the second time is no different
        with pytest.raises(LibraryDamagedError, match=f"Shard {name} of the library.*backup"):
            EdgeStore(tmp_path / "lib", settings=SMALL)
    reports = check(tmp_path / "lib")
    assert [report.ok for report in reports] == [False, True, True]
    assert (reports[0].name, reports[0].points) == (name, None)
    assert sum(report.points or 0 for report in reports) == 150 - 64
    assert all(report.bytes_on_disk > 0 for report in reports)


def test_the_engine_panics_on_a_damaged_shard_and_we_do_not(tmp_path):
    damaged_library(
        tmp_path,
        "segments/*/vector_storage-frame/vectors/status.dat",
        lambda f: f.write_bytes(b""),
    )
    with pytest.raises(LibraryDamagedError):
        EdgeStore(tmp_path / "lib", settings=SMALL)


def test_a_shard_that_lost_its_files_is_not_taken_for_an_empty_one(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(10)])
        name = shard_names(store)[0]
    shutil.rmtree(tmp_path / "lib/shards" / name / "segments")
    with pytest.raises(LibraryDamagedError, match=name):
        EdgeStore(tmp_path / "lib", settings=SMALL)


def test_a_shard_that_kills_who_opens_it_is_found_by_a_child(tmp_path):
    # Files are mapped into memory: one that is shorter than it says kills its reader (SIGBUS).
    name = damaged_library(
        tmp_path,
        "segments/*/payload_storage/page_0.dat",
        lambda f: os.truncate(f, 0),
    )
    reports = check(tmp_path / "lib")
    assert [report.ok for report in reports] == [False, True, True]
    (tmp_path / "lib/unclean").write_text("opening")  # as the last one left it that opened it
    with pytest.raises(LibraryDamagedError, match=f"Shard {name}"):
        EdgeStore(tmp_path / "lib", settings=SMALL)


def test_a_library_whose_opening_was_killed_opens_the_next_time(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(n) for n in range(100)])
    (tmp_path / "lib/unclean").write_text("opening")
    with open_small(tmp_path / "lib") as store:
        assert len(contents(store)) == 100


def test_a_damaged_or_missing_manifest_is_named_and_nothing_is_removed(tmp_path):
    with open_small(tmp_path / "lib") as store:
        store.upsert([point(1)])
    manifest = tmp_path / "lib/manifest.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good[:50])
    with pytest.raises(LibraryDamagedError, match=r"manifest\.json"):
        EdgeStore(tmp_path / "lib", settings=SMALL)
    manifest.unlink()
    with pytest.raises(LibraryDamagedError, match=r"manifest\.json"):
        EdgeStore(tmp_path / "lib", settings=SMALL)
    manifest.write_bytes(good)
    with open_small(tmp_path / "lib") as store:
        assert contents(store) == {1: 0}


def test_check_does_not_touch_a_library_that_is_open(tmp_path):
    with open_small(tmp_path / "lib"), pytest.raises(LibraryBusyError):
        check(tmp_path / "lib")


# --- spaces are added --------------------------------------------------------------------------


def test_a_space_comes_with_a_new_head_and_nothing_is_lost(tmp_path):
    """The engine cannot open a shard that was killed while it got a space, so none in use does."""
    with EdgeStore(tmp_path / "library", settings=SMALL) as store:
        first = store.shards.head.name
        store.ensure_spaces([VectorSpace("a", 2), VectorSpace("words")])
        assert store.shards.head.name != first and len(store.manifest.shards) == 1  # it was empty
        assert not (tmp_path / "library" / "shards" / first).exists()
        one = Point(pid(1), {"kind": "x"}, {"a": np.array([1, 0], np.float32)})
        store.upsert([one])
        store.ensure_spaces([VectorSpace("a", 2)])
        assert len(store.manifest.shards) == 1  # nothing new
        store.ensure_spaces([VectorSpace("b", 3), VectorSpace("c")])
        assert [entry.state for entry in store.manifest.shards] == ["sealed", "head"]
        two = Point(pid(2), {"kind": "x"}, {"b": np.array([1, 0, 0], np.float32)})
        store.upsert([two, Point(one.id, {"kind": "y"}, one.vectors)])
        found = store.retrieve([one.id, two.id], with_vectors=True)
        assert [point.payload["kind"] for point in found] == ["y", "x"]
        assert store.count(EVERYTHING) == 2
        with pytest.raises(StoreError):
            store.ensure_spaces([VectorSpace("d", 3), VectorSpace("d", 4)])
        assert "d" not in store.spaces
    with EdgeStore(tmp_path / "library", settings=SMALL) as store:
        assert set(store.spaces) == {"a", "words", "b", "c"}
        assert store.count(EVERYTHING) == 2


def test_a_new_library_begins_with_its_spaces(tmp_path):
    spaces = [VectorSpace("a", 2), VectorSpace("words")]
    for _ in range(2):
        with EdgeStore(tmp_path / "library", settings=SMALL, spaces=spaces) as store:
            assert set(store.spaces) == {"a", "words"}
            head = store.shards.head.name
            store.ensure_spaces(spaces)
            assert store.shards.head.name == head


def test_killed_while_spaces_are_added_it_opens_again(tmp_path):
    child = (
        "import sys\nfrom pathlib import Path\nfrom index.edge import EdgeStore\n"
        "from index.settings import StoreSettings\nfrom index.store import VectorSpace\n"
        "quiet = StoreSettings(ballast_bytes=0, reserve_bytes=0, compact=False)\n"
        "store = EdgeStore(Path(sys.argv[1]), settings=quiet)\nprint('open', flush=True)\n"
        "for at in range(1000):\n"
        "    store.ensure_spaces([VectorSpace(f's{at}', 16 if at % 2 else None)])\n"
    )
    rng = random.Random(4)
    for at in range(5):
        library = tmp_path / f"{at}"
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(library)], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parents[1],
        )  # fmt: skip
        process.stdout.readline()
        threading.Event().wait(rng.uniform(0.0, 0.3))
        process.kill()
        process.wait()
        with EdgeStore(library, settings=SMALL) as store:
            added = len(store.spaces)
            assert set(store.spaces) == {f"s{n}" for n in range(added)}
            store.ensure_spaces([VectorSpace("after", 3)])


def test_each_shard_is_searched_by_one_thread_also_where_an_earlier_longtake_made_it(tmp_path):
    path = tmp_path / "library"
    with open_small(path) as store:
        store.upsert([point(n) for n in range(150)])
        names = shard_names(store)
    for name in names:
        config = path / "shards" / name / "edge_config.json"
        earlier = json.loads(config.read_text())
        assert earlier.pop("max_search_threads") == 1
        config.write_text(json.dumps(earlier))
    with open_small(path) as store:
        assert len(shard_names(store)) == len(names) > 1
        threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
        assert {one.strip() for one in threads if "search" in one} == {"edge-search-0"}
        assert contents(store) == {n: 0 for n in range(150)}
