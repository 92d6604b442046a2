"""One embedded library, several processes: one owns it, the others do not notice."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import TableStore

from index import errors, rendezvous, wire
from index.access import open_store
from index.owner import OwningStore
from index.remote import SocketStore
from index.store import Filter, Point, SparseVector, Store, VectorSpace, scroll, where

ROOT = Path(__file__).resolve().parents[1]
SPACES = (VectorSpace("dense", 8), VectorSpace("words"))
DEADLINE_SECONDS = 30.0
EVERYTHING = where(kind="evidence")

CHILD = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from index.access import open_store
from index.store import *
from test_remote import *
library = sys.argv[1]
def tell(*what): print(*what, flush=True)
def hear(): return sys.stdin.readline().strip()
"""


def point(number: int, group: str = "a") -> Point:
    vector = np.zeros(8, np.float32)
    vector[number % 8] = 1.0
    return Point(
        str(uuid.uuid5(uuid.NAMESPACE_OID, f"{group}:{number}")),
        {"kind": "evidence", "group": group, "number": number},
        {"dense": vector, "words": SparseVector((number % 5, 2**32 - 1), (0.5, 0.25))},
    )


class Child:
    """Another process with the library; it tells and hears lines."""

    def __init__(self, script: str, library: Path):
        prelude = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", prelude + script, str(library)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        until = time.monotonic() + DEADLINE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                assert selector.select(until - time.monotonic()), "the child says nothing"
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"the child ended with {self.process.wait()}"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def say(self, text: str = "go") -> None:
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def child(tmp_path):
    children: list[Child] = []

    def start(script: str, library: Path | None = None) -> Child:
        children.append(Child(script, library or tmp_path / "library"))
        return children[-1]

    yield start
    for each in children:
        each.end()


@pytest.fixture
def library(tmp_path) -> Path:
    return tmp_path / "library"


def table(path: Path) -> Store:
    """Opens by a store that is cheap to open; for what does not depend on the engine."""
    return open_store(path, open_edge=TableStore, patience_seconds=10.0)


OWNER = """
store = open_store(library); store.ensure_spaces(SPACES)
store.upsert([point(n, "owner") for n in range(20)])
tell("ready")
hear()
store.close()
tell("closed")
"""

WRITER = """
store = open_store(library); store.ensure_spaces(SPACES)
tell(type(store).__name__)
for n in range(300):
    store.upsert([point(n * 10 + i, "client") for i in range(10)])
    if n % 10 == 0:
        store.flush()
        tell(n)
tell(store.count(where(group="client")), type(store).__name__, store.owner_pid)
hear()
store.close()
"""


# What users rely on, with the real engine and real processes


def test_a_search_works_while_the_owner_writes(child, library):
    owner = child(
        """
store = open_store(library); store.ensure_spaces(SPACES); store.upsert([point(0)])
tell("ready")
import threading
stop = threading.Event()
threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
n = 0
while not stop.is_set():
    n += 1
    store.upsert([point(n * 50 + i) for i in range(50)])
tell(n * 50 + 50)
hear()
store.close()
"""
    )
    owner.line()
    with open_store(library) as store:
        assert isinstance(store, SocketStore) and store.owner_pid == owner.pid
        counts = [store.count(EVERYTHING) for _ in range(10)]
        while store.count(EVERYTHING) < counts[0] + 200:  # it goes on writing
            pass
        hit = store.query("dense", point(3).vectors["dense"], where=EVERYTHING, limit=1)[0]
        assert hit.score == pytest.approx(1.0) and hit.payload["number"] % 8 == 3
        owner.say()
        written = int(owner.line())
        assert counts == sorted(counts)
        assert store.count(EVERYTHING) == written - 49  # 0, then from 50 on
        owner.say()


def test_what_a_client_writes_the_owner_sees(child, library):
    with open_store(library) as store:
        assert isinstance(store, OwningStore)
        store.ensure_spaces(SPACES)
        client = child(WRITER)
        assert client.line() == "SocketStore"
        while not (line := client.line()).startswith("3000"):
            assert store.count(where(group="client")) >= int(line) * 10
        assert line.split()[2] == str(os.getpid())
        assert {p.payload["number"] for p in scroll(store, EVERYTHING)} == set(range(3000))
        client.say()
        assert client.wait() == 0


def test_a_client_survives_the_death_of_the_owner(child, library):
    owner = child(OWNER)
    owner.line()
    client = child(WRITER)
    assert client.line() == "SocketStore"
    while int(client.line()) < 50:
        pass
    owner.kill()  # in the middle of the stream of upserts
    while not (line := client.line()).startswith("3000"):
        pass
    assert line.split() == ["3000", "SocketStore", str(client.pid)]  # it has taken over
    with open_store(library) as store:
        assert store.owner_pid == client.pid
        numbers = {p.payload["number"] for p in scroll(store, where(group="client"))}
        assert numbers == set(range(3000))
        assert store.count(where(group="owner")) == 20
        client.say()
        assert client.wait() == 0
        assert store.count(EVERYTHING) == 3020  # and this process has taken over in turn
        assert store.owner_pid == os.getpid()


@pytest.mark.parametrize("end", ["killed", "closed"])
def test_exactly_one_of_several_clients_takes_over(child, library, end):
    owner = child(OWNER)
    owner.line()
    script = """
store = open_store(library)
tell("ready"); hear()
tell(store.count(where(group="owner")), store.owner_pid)
hear(); store.upsert([point(os.getpid(), "after")]); tell("written"); hear()
tell(store.count(where(group="after"))); hear()
store.close()
"""
    clients = [child(script) for _ in range(3)]
    for client in clients:
        assert client.line() == "ready"
    if end == "killed":
        owner.kill()
    else:
        owner.say()
        assert owner.line() == "closed"
    for client in clients:
        client.say()
    answers = [client.line().split() for client in clients]
    assert [count for count, _ in answers] == ["20"] * 3
    owners = {pid for _, pid in answers}
    assert len(owners) == 1 and int(owners.pop()) in {client.pid for client in clients}
    for expected in ("written", "3"):
        for client in clients:
            client.say()
        assert [client.line() for client in clients] == [expected] * 3
    for client in clients:
        client.say()
    assert [client.wait() for client in clients] == [0, 0, 0]


def test_a_dead_owner_leaves_nothing_that_hinders(child, library):
    owner = child(OWNER)
    owner.line()
    owner.kill()
    record = rendezvous.read_record(library)
    assert record.pid == owner.pid and Path(record.address).is_socket()  # both stale
    with open_store(library) as store:
        assert isinstance(store, OwningStore) and store.serving
        assert store.address == record.address
        assert rendezvous.read_record(library).pid == os.getpid()
        assert store.count(EVERYTHING) == 20
        with open_store(library) as other:
            assert other.count(EVERYTHING) == 20
    assert rendezvous.read_record(library) is None
    assert not Path(record.address).exists()


@pytest.mark.parametrize("name", ["library", "films of the year", "grüße\n-x", "d" * 120])
def test_a_library_may_lie_anywhere(child, tmp_path, name):
    library = tmp_path / name
    owner = child(OWNER, library)
    owner.line()
    with open_store(library) as store:
        assert store.owner_pid == owner.pid
        assert store.count(EVERYTHING) == 20
        assert len(os.fsencode(rendezvous.read_record(library).address)) < 104


def test_a_stopped_owner_is_named(child, library):
    owner = child(OWNER)
    owner.line()
    with open_store(library, patience_seconds=1.0) as store:
        os.kill(owner.pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.LibraryBusyError, match=rf"process {owner.pid} \(stopped\)"):
                open_store(library, patience_seconds=0.3)
            monkey = pytest.MonkeyPatch()
            with monkey.context() as patch:
                patch.setattr("index.remote._GREETING_SECONDS", 0.3)
                patch.setattr(store, "_patience_seconds", 0.3)
                with pytest.raises(errors.LibraryBusyError, match=str(owner.pid)):
                    store.count(EVERYTHING)
        finally:
            os.kill(owner.pid, signal.SIGCONT)
        assert store.count(EVERYTHING) == 20  # and all is well when it goes on


def test_another_protocol_is_refused_with_the_way_out(child, library):
    owner = child(
        """
from index import wire
wire.PROTOCOL_VERSION = 99
wire.longtake_version = lambda: "7.1"
"""
        + OWNER
    )
    owner.line()
    with pytest.raises(errors.LibraryBusyError) as refused:
        open_store(library)
    for part in (str(library), f"process {owner.pid}", "Longtake 7.1", "protocol 99"):
        assert part in str(refused.value)
    owner.kill()
    with open_store(library) as store:  # its leavings bind nobody
        assert store.count(EVERYTHING) == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_other_user_gets_in(library):
    with table(library) as store:
        folder = Path(store.address).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for who, opened in ((65534, False), (65534, True), (0, True)):
            # Even where somebody has opened the folder and the socket to all.
            mode = folder.stat().st_mode
            os.chmod(folder, 0o755 if opened else 0o700)
            os.chmod(store.address, 0o777 if opened else 0o600)
            try:
                script = """
import os, socket, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    s.settimeout(0.5)
    print("ended" if s.recv(1) == b"" else "talks")
except TimeoutError: print("waits")
except PermissionError: print("barred")
except ConnectionError: print("ended")
"""
                command = [sys.executable, "-c", script, store.address, str(who)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            finally:
                os.chmod(folder, stat.S_IMODE(mode))
            expected = "waits" if who == 0 else "ended" if opened else "barred"
            assert done.stdout.strip() == expected, done.stderr


# The same in one process, with a store that can be watched


def test_the_socket_is_the_users_alone(library):
    with table(library) as store:
        assert stat.S_IMODE(os.stat(store.address).st_mode) == 0o600
        folder = os.stat(os.path.dirname(store.address))
        assert stat.S_IMODE(folder.st_mode) == 0o700 and folder.st_uid == os.geteuid()
        record = json.loads((library / "owner.json").read_text())
        assert record == {
            "pid": os.getpid(),
            "address": store.address,
            "protocol": wire.PROTOCOL_VERSION,
            "version": wire.longtake_version(),
        }


def test_a_runtime_folder_that_others_can_enter_is_not_used(library, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "longtake").symlink_to(tmp_path / "elsewhere")
    with table(library) as store:
        assert not store.address.startswith(str(tmp_path))
        assert table(library).count(Filter()) == 0


def test_points_come_back_as_they_were_written(library):
    written = [point(n) for n in range(7)]
    written[0].payload.update({"list": [1, 2.5, None, True, "ä"], "map": {"k": [[]]}})
    with table(library), table(library) as store:
        store.upsert(written)
        for found, expected in zip(
            store.retrieve([p.id for p in written], with_vectors=True), written, strict=True
        ):
            assert (found.id, found.payload) == (expected.id, expected.payload)
            assert found.vectors["words"] == expected.vectors["words"]
            assert found.vectors["dense"].dtype == np.float32
            assert np.array_equal(found.vectors["dense"], expected.vectors["dense"])
        store.delete(where(number=3))
        assert store.count(where(number=[2, 3, 4])) == 2


def test_only_flush_promises_anything(library):
    edge = TableStore(library)
    with OwningStore(edge, library):
        with SocketStore(library) as store:
            store.upsert([point(1)])
            assert edge.flushes == 0
            store.flush()
            assert edge.flushes == 1
            store.count(EVERYTHING)
        assert edge.flushes == 1  # nothing had been written since
        with SocketStore(library) as store:
            store.upsert([point(2)])
        assert edge.flushes == 2  # close flushes


def test_errors_arrive_as_themselves(library):
    edge = TableStore(library)
    raised: list[Exception] = [
        errors.DiskFullError("full: 3 MB left"),
        errors.DamagedMediaError("broke off", at_seconds=4.5),
        wire.MessageTooLargeError("a subclass of ours"),
        ZeroDivisionError("a bug"),
    ]

    def fail(*_):
        raise raised[0]

    edge.count = edge.flush = fail
    with OwningStore(edge, library), SocketStore(library) as store:
        for kind, text in (
            (errors.DiskFullError, "^full: 3 MB left$"),
            (errors.DamagedMediaError, "^broke off$"),
            (errors.StoreError, "^a subclass of ours$"),
            (errors.StoreError, "ZeroDivisionError: a bug"),
        ):
            with pytest.raises(kind, match=text) as caught:
                store.count(Filter())
            assert type(caught.value) is kind
            if kind is errors.DamagedMediaError:
                assert caught.value.at_seconds == 4.5
            del raised[0]
        with pytest.raises(errors.StoreError, match="cannot be stored"):
            store.upsert([Point(point(1).id, {"kind": object()})])
        del edge.count, edge.flush
        assert store.count(Filter()) == 0  # the connection has outlived all of it


class Watched(TableStore):
    """Counts calls, and holds `count` up until it is released."""

    def __init__(self, library):
        super().__init__(library)
        self.upserts: list[int] = []
        self.counting, self.release = threading.Event(), threading.Event()
        self.counted = 0

    def upsert(self, points):
        self.upserts.append(len(points))
        super().upsert(points)

    def count(self, where):
        self.counting.set()
        assert self.release.wait(DEADLINE_SECONDS)
        self.counted += 1
        return super().count(where)


def test_large_upserts_are_split_and_atomic_ones_never(library, monkeypatch):
    edge = Watched(library)
    with OwningStore(edge, library), SocketStore(library) as store:
        store.upsert([point(n) for n in range(1200)])
        store.upsert([point(n) for n in range(64)])
        assert edge.upserts == [500, 500, 200, 64]
        edge.upserts.clear()
        monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 20_000)
        store.upsert([point(n, "b") for n in range(400)])
        assert sum(edge.upserts) == 400 and len(edge.upserts) > 2
        edge.upserts.clear()
        large = [Point(point(n).id, {"kind": "note", "text": "x" * 1000}) for n in range(64)]
        with pytest.raises(errors.StoreError, match="Write fewer points"):
            store.upsert(large)
        assert not edge.upserts
        # Answers are asked for in smaller pieces.
        everything = list(scroll(store, EVERYTHING, with_vectors=True))
        assert len(everything) == 1600
        ids = [p.id for p in everything]
        assert [p.id for p in store.retrieve(ids)] == ids
        with pytest.raises(errors.StoreError, match="fewer"):
            store.query("dense", np.ones(8, np.float32), where=EVERYTHING, limit=1600)


def test_a_call_that_takes_long_holds_up_no_other(library, monkeypatch):
    monkeypatch.setattr("index.remote._GREETING_SECONDS", 2.0)
    edge = Watched(library)
    # Its patience runs out many times over, but the owner shows that it is alive.
    with (
        OwningStore(edge, library),
        ThreadPoolExecutor(1) as pool,
        SocketStore(library, patience_seconds=0.05) as store,
    ):
        slow = pool.submit(store.count, Filter())
        assert edge.counting.wait(DEADLINE_SECONDS)
        with SocketStore(library) as other:
            other.upsert([point(1)])
            assert len(other.retrieve([point(1).id])) == 1
        assert len(store.retrieve([point(1).id])) == 1  # nor of the same client
        threading.Timer(0.3, edge.release.set).start()
        assert slow.result(DEADLINE_SECONDS) == 1


def test_closing_lets_calls_in_flight_finish(library):
    edge = Watched(library)
    owner = OwningStore(edge, library)
    with ThreadPoolExecutor(2) as pool:
        store = SocketStore(library, take_over=lambda: OwningStore(TableStore(library), library))
        idle = SocketStore(library, take_over=lambda: OwningStore(TableStore(library), library))
        call = pool.submit(store.count, Filter())
        assert edge.counting.wait(DEADLINE_SECONDS)
        closing = pool.submit(owner.close)
        until = time.monotonic() + DEADLINE_SECONDS
        while Path(owner.address).exists():  # nobody new gets in
            assert time.monotonic() < until
        with pytest.raises(errors.LibraryBusyError):
            TableStore(library)  # but it is not let go yet
        edge.release.set()
        assert call.result(DEADLINE_SECONDS) == 0
        closing.result(DEADLINE_SECONDS)
        assert edge.counted == 1  # answered by the old owner, not repeated
        store.upsert([point(1)])  # takes over
        assert idle.count(Filter()) == 1
        assert Path(owner.address).exists()
        idle.close()
        store.close()
    for closed in (store, owner):
        with pytest.raises(Exception, match="closed"):
            closed.count(Filter())


def test_an_owner_that_is_starting_is_waited_for(library):
    edge = TableStore(library)  # holds the lock, listens to nobody yet
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(table, library)
        with pytest.raises(errors.LibraryBusyError, match="another process"):
            open_store(library, open_edge=TableStore, patience_seconds=0.1)
        with OwningStore(edge, library), opening.result(DEADLINE_SECONDS) as store:
            assert isinstance(store, SocketStore)
            store.upsert([point(1)])
        assert edge.flushes == 1


def test_a_client_finds_the_owner_without_its_record(library):
    with table(library) as owner:
        (library / "owner.json").unlink()  # a full disk had no room for it, say
        with table(library) as store:
            store.upsert([point(1)])
        assert owner.count(Filter()) == 1


def test_without_a_socket_the_owner_works_alone(library, monkeypatch):
    monkeypatch.setattr(rendezvous, "_runtime_folders", lambda: iter(["/proc/none"]))
    with table(library) as store:
        assert not store.serving
        store.upsert([point(1)])
        assert store.count(Filter()) == 1 and store.info().detail["serving"] is False


def test_what_is_no_longtake_disturbs_nobody(library):
    with table(library) as owner:
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0\0\0\x04junk"):
            caller = rendezvous.dial(owner.address, 5.0)
            caller.sendall(noise)
            caller.close()
        with table(library) as store:
            assert store.count(Filter()) == 0


def test_several_threads_share_one_client(library):
    with table(library), table(library) as store, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.upsert([point(n)]), range(200)))
        assert all(pool.map(lambda n: store.retrieve([point(n).id]), range(200)))
        assert store.count(EVERYTHING) == 200


def test_a_library_that_is_gone_is_not_made_anew(library):
    owner = table(library)
    client = table(library)
    library.rename(library.with_name("elsewhere"))
    owner.close()
    with pytest.raises(errors.StoreError, match=re.escape(str(library))):
        client.count(Filter())
    assert not library.exists()
