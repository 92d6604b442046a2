"""What every Store promises, held against each implementation.

To add one: a function `(tmp_path) -> contextmanager of Store` in FACTORIES.
"""

import os
import threading
import uuid
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from index.edge import EdgeStore
from index.errors import StoreError
from index.owner import OwningStore
from index.remote import SocketStore
from index.schema import SCHEMA_VERSION
from index.settings import ServerSettings, StoreSettings
from index.store import (
    INDEXED_FIELDS,
    Filter,
    Match,
    Point,
    Range,
    SparseVector,
    VectorSpace,
    scroll,
    where,
)

SPACES = [VectorSpace("frame", 8), VectorSpace("raw", 3, "dot"), VectorSpace("words")]
EVERYTHING = Filter()
SMALL = StoreSettings(
    head_points=64, shard_points=1000, reserve_bytes=0, ballast_bytes=0, compact=False
)


@contextmanager
def edge(tmp_path):
    """One shard."""
    settings = StoreSettings(reserve_bytes=0, ballast_bytes=0, compact=False)
    with EdgeStore(tmp_path / "library", settings=settings) as store:
        yield store


@contextmanager
def edge_in_many_shards(tmp_path):
    """A head so small that every test runs over several shards."""
    with EdgeStore(tmp_path / "library", settings=SMALL) as store:
        yield store


@contextmanager
def edge_compacting(tmp_path):
    """The same, while the background thread compacts whatever it finds."""
    settings = SMALL.model_copy(update={"compact": True, "compact_delay_seconds": 0.0})
    with EdgeStore(tmp_path / "library", settings=settings) as store:
        yield store


@contextmanager
def socket_to_an_owner(tmp_path):
    """Through the socket of whoever owns the library."""
    library = tmp_path / "library"
    settings = StoreSettings(reserve_bytes=0, ballast_bytes=0, compact=False)
    with OwningStore(EdgeStore(library, settings=settings), library), SocketStore(library) as store:
        yield store


@contextmanager
def socket_that_took_over(tmp_path):
    """A client whose owner has gone, so that it owns the library itself."""
    library = tmp_path / "library"

    def own():
        settings = StoreSettings(reserve_bytes=0, ballast_bytes=0, compact=False)
        return OwningStore(EdgeStore(library, settings=settings), library)

    with own():
        store = SocketStore(library, take_over=own)
    with store:
        yield store


@contextmanager
def server_in_memory(tmp_path):
    """ServerStore over the client's local mode, which serves only for this."""
    from qdrant_client import QdrantClient

    from index.server import ServerStore

    with ServerStore(ServerSettings(url=":memory:"), client=QdrantClient(":memory:")) as store:
        yield store


@contextmanager
def server(tmp_path):
    """A real server, where LONGTAKE_TEST_QDRANT_URL names one."""
    url = os.environ.get("LONGTAKE_TEST_QDRANT_URL")
    if not url:
        pytest.skip("LONGTAKE_TEST_QDRANT_URL names no Qdrant server")
    from qdrant_client import QdrantClient

    from index.server import ServerStore

    name = f"longtake-test-{uuid.uuid4().hex}"
    try:
        with ServerStore(ServerSettings(url=url, collection=name)) as store:
            yield store
    finally:
        QdrantClient(url=url).delete_collection(name)


pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

FACTORIES = {
    "edge": edge,
    "edge-many-shards": edge_in_many_shards,
    "edge-compacting": edge_compacting,
    "server-in-memory": server_in_memory,
    "server": server,
    "socket": socket_to_an_owner,
    "socket, having taken over": socket_that_took_over,
}


@pytest.fixture(params=list(FACTORIES))
def store(request, tmp_path):
    with FACTORIES[request.param](tmp_path) as store:
        store.ensure_spaces(SPACES)
        yield store


def pid(number):
    """An id whose order is that of the numbers."""
    return str(uuid.UUID(int=number * 2**90 + 7))


def evidence(number, **payload):
    angle = number / 300
    return Point(
        pid(number),
        {"kind": "evidence", "video_id": f"v{number % 3}", "start_us": number * 10, **payload},
        {"frame": np.array([np.cos(angle), np.sin(angle), 0, 0, 0, 0, 0, 0], np.float32)},
    )


def test_what_is_written_can_be_read(store):
    payload = {
        "kind": "evidence",
        "text": "naïve 日本語 🎬",
        "none": None,
        "flag": True,
        "whole": 7,
        "large": 2**53 + 1,
        "real": 0.1,
        "list": [1, "two", {"three": [3.5, None]}],
        "empty": {},
    }
    vectors = {
        "frame": np.eye(8, dtype=np.float32)[2] * 3,
        "raw": np.array([1, -2, 3.5], np.float32),
        "words": SparseVector((4_000_000_000, 3), (0.5, 2.0)),
    }
    store.upsert([Point(pid(1), payload, vectors), Point(pid(2), {"kind": "bare"})])
    full, bare = store.retrieve([pid(1), pid(2)], with_vectors=True)
    assert full.payload == payload
    assert bare == Point(pid(2), {"kind": "bare"})
    np.testing.assert_allclose(full.vectors["raw"], [1, -2, 3.5])
    # Cosine spaces may keep the direction only.
    got = full.vectors["frame"] / np.linalg.norm(full.vectors["frame"])
    np.testing.assert_allclose(got, np.eye(8)[2], atol=1e-6)
    words = full.vectors["words"]
    assert dict(zip(words.indices, words.values, strict=True)) == {4_000_000_000: 0.5, 3: 2.0}
    assert store.retrieve([pid(1)])[0].vectors == {}
    (vectors,) = store.retrieve([pid(1)], with_vectors=True, with_payload=False)
    assert vectors.payload == {} and vectors.vectors.keys() == full.vectors.keys()


def test_retrieve_keeps_the_order_asked_for_and_leaves_out_what_is_not_there(store):
    store.upsert([evidence(n) for n in range(200)])
    wanted = [pid(150), pid(3), pid(999), pid(77)]
    assert [point.id for point in store.retrieve(wanted)] == [pid(150), pid(3), pid(77)]
    assert store.retrieve([]) == []


def test_an_upsert_replaces_the_whole_point(store):
    store.upsert([evidence(n, text="old", extra=1) for n in range(150)])
    store.upsert([Point(pid(n), {"kind": "evidence", "text": "new"}) for n in range(0, 150, 2)])
    assert store.count(EVERYTHING) == 150
    assert store.count(where(text="new")) == 75
    (point,) = store.retrieve([pid(4)], with_vectors=True)
    assert point.payload == {"kind": "evidence", "text": "new"}
    assert point.vectors == {}
    hits = store.query("frame", evidence(4).vectors["frame"], where=EVERYTHING, limit=150)
    assert {hit.id for hit in hits} == {pid(n) for n in range(1, 150, 2)}


def test_the_last_of_one_id_in_a_call_counts(store):
    store.upsert([evidence(1, text="first"), evidence(1, text="last")])
    assert store.retrieve([pid(1)])[0].payload["text"] == "last"
    assert store.count(EVERYTHING) == 1


def test_filters(store):
    store.upsert(
        [evidence(n, channel="speech" if n < 100 else "sound", even=n % 2 == 0) for n in range(200)]
        + [Point(pid(500), {"kind": "video", "tags": ["a", "b"], "start_us": 2000})]
    )
    count = store.count
    assert count(EVERYTHING) == 201
    assert count(where(kind="evidence")) == 200
    assert count(where(channel=["speech", "sound"])) == 200
    assert count(where(channel="speech", video_id="v0")) == 34
    assert count(where(channel="nothing")) == 0
    assert count(where(even=True)) == 100
    assert count(where(start_us=[10, 20, 99999])) == 2
    assert count(where(tags="b")) == 1
    assert count(Filter((Range("start_us", gte=100, lt=200),))) == 10
    assert count(Filter((Range("start_us", lt=100),))) == 10
    assert count(Filter((Range("start_us", gte=1900),))) == 11
    assert count(where(kind="evidence").but_not(Match("channel", ("speech",)))) == 100
    assert count(Filter(must_not=(Match("kind", ("evidence",)),))) == 1
    assert count(where(channel="speech").and_(Range("start_us", gte=500))) == 50
    assert count(Filter((Match("channel", ()),))) == 0
    assert count(Filter(must_not=(Match("channel", ()),))) == 201
    assert count(Filter((Match("even", (True, "x", 3)),))) == 100


def test_what_reaches_into_a_span_is_found_by_its_end_too(store):
    spans = [(n, n * 10.0, n * 10.0 + (1000.5 if n % 50 == 0 else 5.0)) for n in range(200)]
    store.upsert([evidence(n, start_us=int(a * 1e6), end_seconds=b) for n, a, b in spans])
    wanted = Filter((Range("start_us", lt=1_020_000_000), Range("end_seconds", gte=1000.5)))
    found = {point.id for point in scroll(store, wanted)}
    assert found == {pid(n) for n in (0, 50, 100, 101)}
    after = np.nextafter(1000.5, np.inf)
    just = wanted.and_(Range("end_seconds", gte=float(after)))
    assert {point.id for point in scroll(store, just)} == found - {pid(0)}


def test_delete_takes_what_passes_and_nothing_else(store):
    store.upsert([evidence(n) for n in range(300)])
    store.delete(where(video_id="v1").and_(Range("start_us", gte=1500)))
    kept = [point.id for point in scroll(store, EVERYTHING)]
    assert kept == [pid(n) for n in range(300) if n % 3 != 1 or n < 150]
    store.delete(where(video_id="nobody"))
    assert store.count(EVERYTHING) == 250
    store.delete(where(kind="evidence"))
    assert store.count(EVERYTHING) == 0
    store.upsert([evidence(5)])
    assert store.count(EVERYTHING) == 1


def test_an_empty_filter_deletes_nothing(store):
    store.upsert([evidence(1)])
    with pytest.raises(StoreError):
        store.delete(EVERYTHING)
    assert store.count(EVERYTHING) == 1


def test_dense_search_gives_the_cosine_best_first(store):
    store.upsert([evidence(n) for n in range(300)])
    for exact in (False, True):
        hits = store.query(
            "frame", evidence(100).vectors["frame"], where=EVERYTHING, limit=5, exact=exact
        )
        assert hits[0].id == pid(100)
        assert {hit.id for hit in hits} == {pid(n) for n in range(98, 103)}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert hits[-1].score == pytest.approx(np.cos(2 / 300), abs=1e-5)
        assert hits[0].payload["start_us"] == 1000


def test_search_honours_the_filter(store):
    store.upsert([evidence(n) for n in range(300)])
    passing = where(video_id="v2").and_(Range("start_us", lt=1000))
    hits = store.query("frame", evidence(150).vectors["frame"], where=passing, limit=3)
    assert [hit.id for hit in hits] == [pid(98), pid(95), pid(92)]


def test_hits_without_payloads_are_the_same_hits(store):
    store.upsert([evidence(n) for n in range(300)])
    vector = evidence(150).vectors["frame"]
    whole = store.query("frame", vector, where=where(video_id="v2"), limit=20)
    bare = store.query("frame", vector, where=where(video_id="v2"), limit=20, with_payload=False)
    assert [(hit.id, hit.score) for hit in bare] == [(hit.id, hit.score) for hit in whole]
    assert all(hit.payload["video_id"] == "v2" for hit in whole) and len(whole) == 20


def test_a_count_is_that_of_the_moment(store):
    some = where(video_id="v1")
    store.upsert([evidence(n) for n in range(200)])
    first = store.count(some)
    assert first == sum(evidence(n).payload["video_id"] == "v1" for n in range(200))
    assert store.count(some) == first
    store.upsert([evidence(n) for n in range(200, 203)])
    assert store.count(some) == first + 1
    store.upsert([Point(pid(1), {"kind": "bare", "flag": True})])
    assert store.count(some) == first
    assert store.count(where(flag=1)) == 0
    assert store.count(where(flag=True)) == 1
    store.delete(where(video_id="v1"))
    assert store.count(some) == 0


def test_scores_of_these_points(store):
    store.upsert([evidence(n) for n in range(300)])
    store.upsert([Point(pid(7), {"kind": "bare"})])  # its vector goes with the rest of it
    store.delete(where(start_us=80))
    vector = evidence(150).vectors["frame"]
    hits = store.query("frame", vector, where=EVERYTHING, limit=300, exact=True)
    asked = [pid(n) for n in (290, 3, 7, 8, 999, 150)]
    expected = {hit.id: pytest.approx(hit.score, abs=1e-5) for hit in hits if hit.id in asked}
    assert len(expected) == 3
    assert store.scores("frame", vector, asked) == expected
    assert store.scores("frame", vector, []) == store.scores("frame.new", vector, asked) == {}
    words = [SparseVector((1, 2), (1.0, 2.0)), SparseVector((3,), (4.0,))]
    store.upsert([Point(pid(1000 + n), {}, {"words": one}) for n, one in enumerate(words)])
    query = SparseVector((2, 9), (0.5, 1.0))
    assert store.scores("words", query, [pid(1000), pid(1001)]) == {pid(1000): 1.0}


def test_dot_spaces_keep_lengths(store):
    store.upsert(
        [Point(pid(n), {}, {"raw": np.array([n, 0, 0], np.float32)}) for n in range(1, 130)]
    )
    hits = store.query("raw", np.array([2, 0, 0], np.float32), where=EVERYTHING, limit=2)
    assert [(hit.id, hit.score) for hit in hits] == [(pid(129), 258), (pid(128), 256)]


def test_sparse_scores_are_plain_dot_products_whatever_shard_a_point_is_in(store):
    # The weights travel in the query, so a word that is rare in one shard and common in another
    # weighs the same in both.
    rng = np.random.default_rng(1)
    documents = {
        n: {int(i): float(rng.integers(1, 9)) for i in rng.choice(40, 4, replace=False)}
        for n in range(300)
    }
    store.upsert(
        [
            Point(pid(n), {}, {"words": SparseVector(tuple(d), tuple(d.values()))})
            for n, d in documents.items()
        ]
    )
    query = {3: 1.5, 17: 0.25, 99: 4.0}
    expected = {
        pid(n): sum(w * d.get(i, 0) for i, w in query.items()) for n, d in documents.items()
    }
    sparse = SparseVector(tuple(query), tuple(query.values()))
    hits = store.query("words", sparse, where=EVERYTHING, limit=300)
    got = {hit.id: hit.score for hit in hits}
    assert got == pytest.approx({i: score for i, score in expected.items() if score})
    assert [hit.score for hit in hits] == sorted(got.values(), reverse=True)


def test_a_sparse_query_without_a_common_index_finds_nothing(store):
    store.upsert([Point(pid(n), {}, {"words": SparseVector((n,), (1.0,))}) for n in range(100)])
    assert store.query("words", SparseVector((5000,), (1.0,)), where=EVERYTHING, limit=5) == []
    assert store.query("words", SparseVector((), ()), where=EVERYTHING, limit=5) == []


def test_a_space_that_is_not_there_has_no_points(store):
    store.upsert([evidence(1)])
    assert store.query("nowhere", np.ones(3, np.float32), where=EVERYTHING, limit=5) == []


def test_scroll_goes_through_all_in_the_order_of_ids(store):
    order = list(np.random.default_rng(0).permutation(400))
    store.upsert([evidence(int(n)) for n in order])
    for page in (1000, 400, 37):
        found = list(scroll(store, EVERYTHING, page=page))
        assert [point.id for point in found] == [pid(n) for n in range(400)]
    some = list(scroll(store, where(video_id="v1"), page=10, with_vectors=True))
    assert [point.id for point in some] == [pid(n) for n in range(1, 400, 3)]
    assert all(point.vectors["frame"].shape == (8,) for point in some)
    assert store.scroll_page(EVERYTHING, after=pid(399), limit=10) == []
    assert store.scroll_page(EVERYTHING, after=str(uuid.UUID(int=2**128 - 1)), limit=10) == []


def test_ensure_spaces_is_idempotent_and_refuses_another_size(store):
    store.upsert([evidence(n) for n in range(100)])
    store.ensure_spaces(SPACES)
    with pytest.raises(StoreError, match="frame"):
        store.ensure_spaces([VectorSpace("frame", 16)])
    with pytest.raises(StoreError, match="words"):
        store.ensure_spaces([VectorSpace("words", 16)])


def test_a_space_can_be_added_to_a_library_in_use(store):
    store.upsert([evidence(n) for n in range(150)])
    store.ensure_spaces([VectorSpace("later", 2), VectorSpace("later-words")])
    assert store.query("later", np.ones(2, np.float32), where=EVERYTHING, limit=5) == []
    store.upsert(
        [Point(pid(n), {}, {"later": np.array([1, n], np.float32)}) for n in (20, 5000)]
        + [Point(pid(6000), {}, {"later-words": SparseVector((1,), (1.0,))})]
    )
    hits = store.query("later", np.array([0, 1], np.float32), where=EVERYTHING, limit=5)
    assert [hit.id for hit in hits] == [pid(5000), pid(20)]
    assert store.count(EVERYTHING) == 152


@pytest.mark.parametrize(
    "vectors",
    [
        {"frame": np.ones(3, np.float32)},
        {"frame": np.full(8, np.nan, np.float32)},
        {"frame": SparseVector((1,), (1.0,))},
        {"words": np.ones(8, np.float32)},
        {"words": SparseVector((1, 1), (1.0, 2.0))},
        {"words": SparseVector((1, 2), (1.0,))},
        {"nowhere": np.ones(8, np.float32)},
    ],
    ids=str,
)
def test_a_call_with_a_bad_vector_writes_nothing(store, vectors):
    with pytest.raises(StoreError):
        store.upsert([evidence(1), Point(pid(2), {}, vectors), evidence(3)])
    assert store.count(EVERYTHING) == 0


def test_a_query_of_the_wrong_size_is_refused(store):
    with pytest.raises(StoreError):
        store.query("frame", np.ones(3, np.float32), where=EVERYTHING, limit=5)


def test_info_counts_points(store):
    store.upsert([evidence(n) for n in range(100)])
    info = store.info()
    assert info.points == 100
    assert info.schema_version == SCHEMA_VERSION
    assert info.engine and info.location


def test_flush_returns_and_close_ends_it(store):
    store.upsert([evidence(1)])
    store.flush()
    store.close()
    store.close()
    for call in (
        lambda: store.count(EVERYTHING),
        lambda: store.upsert([evidence(2)]),
        lambda: store.flush(),
        lambda: store.scroll_page(EVERYTHING, after=None, limit=1),
        lambda: store.query("frame", np.ones(8, np.float32), where=EVERYTHING, limit=1),
    ):
        with pytest.raises(StoreError):
            call()


def test_several_threads_at_once(store, request):
    if "server-in-memory" in request.node.name:
        pytest.skip("the client's local mode is not made for several threads")
    failures = []

    def work(thread):
        try:
            mine = [evidence(1000 * thread + n, worker=f"w{thread}") for n in range(120)]
            for start in range(0, 120, 40):
                store.upsert(mine[start : start + 40])
                store.query("frame", mine[0].vectors["frame"], where=EVERYTHING, limit=3)
            store.delete(
                where(worker=f"w{thread}").and_(Range("start_us", lt=10000 * thread + 600))
            )
            assert store.count(where(worker=f"w{thread}")) == 60
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.count(EVERYTHING) == 240


def test_a_collection_that_lacks_an_index_gets_it_in_the_background(monkeypatch):
    from qdrant_client import QdrantClient

    from index.server import ServerStore

    client = QdrantClient(":memory:")
    made = []
    monkeypatch.setattr(
        client,
        "create_payload_index",
        lambda collection, field, *, field_schema, wait: made.append((field, wait)),
    )
    there = client.get_collection
    known = dict.fromkeys(INDEXED_FIELDS, None)
    settings = ServerSettings(url=":memory:")
    with ServerStore(settings, client=client) as store:
        assert dict(made) == dict.fromkeys(INDEXED_FIELDS, True)
        store.ensure_spaces(SPACES)
        store.upsert([evidence(1)])
        for lacking, expected in (("end_seconds", [("end_seconds", False)]), (None, [])):
            made.clear()
            schema = {field: kind for field, kind in known.items() if field != lacking}
            monkeypatch.setattr(
                client,
                "get_collection",
                lambda name, schema=schema: there(name).model_copy(
                    update={"payload_schema": schema}
                ),
            )
            ServerStore(settings, client=client)
            assert made == expected


def test_who_may_only_read_does_without_a_missing_index(monkeypatch):
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import UnexpectedResponse

    from index.server import ServerStore

    client = QdrantClient(":memory:")
    settings = ServerSettings(url=":memory:")

    def refuse(*_, **__):
        raise UnexpectedResponse(403, "Forbidden", b"read only", httpx.Headers())

    with ServerStore(settings, client=client) as store:
        store.ensure_spaces(SPACES)
        store.upsert([evidence(1)])
        monkeypatch.setattr(client, "create_payload_index", refuse)
        assert ServerStore(settings, client=client).count(EVERYTHING) == 1
        store.delete(where(kind="evidence"))
        with pytest.raises(StoreError, match="not the rights"):
            ServerStore(settings, client=client)
