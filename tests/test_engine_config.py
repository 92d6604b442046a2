"""How shards are kept and searched: quantized where they were compacted, scored as they are."""

import json
import uuid

import numpy as np
import pytest

from index.engine_config import _QUANTIZED, _WHOLE, approximate, limit_threads
from index.shard import Shard, engine_points, plain_vector
from index.store import Point, VectorSpace

SPACE = VectorSpace("frame", 512)
POINTS = 6000  # enough for the engine to make a graph


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    random = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("shards") / "000001"
    made = Shard.create(path.name, path, [SPACE], head=False)
    vectors = random.standard_normal((POINTS, 512), dtype=np.float32) + 0.5
    for start in range(0, POINTS, 500):
        points = [
            Point(str(uuid.UUID(int=n)), {"kind": "evidence"}, {"frame": vectors[n]})
            for n in range(start, start + 500)
        ]
        made.upsert(engine_points(points, {"frame": SPACE}))
    made.optimise()
    made.close()
    shard = Shard.load(path.name, path, ["frame"], ["evidence"])
    yield shard, vectors
    shard.close()


def test_a_compacted_shard_is_searched_by_quantized_vectors_and_scores_by_whole_ones(shard):
    shard, vectors = shard
    assert approximate(shard.path) is _QUANTIZED
    shares = []
    for near in vectors[:20]:
        asked = plain_vector(near + np.float32(0.3))
        there, found = (shard.nearest("frame", asked, None, 10, exact) for exact in (True, False))
        exact = {hit.id: hit.score for hit in there}
        shares.append(sum(hit.id in exact for hit in found) / 10)
        for hit in found:
            assert hit.score == pytest.approx(exact.get(hit.id, hit.score), abs=1e-6)
            assert hit.score <= there[0].score + 1e-6
    assert np.mean(shares) > 0.9


def test_what_an_earlier_longtake_made_is_searched_as_it_was(tmp_path):
    file = tmp_path / "edge_config.json"
    file.write_text(json.dumps({"vectors": {}, "wal_enabled": False}))
    assert approximate(tmp_path) is _WHOLE
    limit_threads(tmp_path)
    written = json.loads(file.read_text())
    assert written == {"vectors": {}, "wal_enabled": False, "max_search_threads": 1}
    assert approximate(tmp_path) is _WHOLE


def test_where_the_file_can_be_neither_read_nor_written_it_is_left_as_it_is(tmp_path):
    file = tmp_path / "edge_config.json"
    file.write_text('{"vectors": {}}')
    (tmp_path / "edge_config.json.tmp").mkdir()
    limit_threads(tmp_path)
    assert file.read_text() == '{"vectors": {}}'
    file.unlink()
    file.mkdir()
    limit_threads(tmp_path)
    assert approximate(tmp_path) is _WHOLE


def test_a_damaged_file_is_left_to_the_engine(tmp_path):
    file = tmp_path / "edge_config.json"
    for damaged in ("{", "[]", "\0"):
        file.write_text(damaged)
        limit_threads(tmp_path)
        assert approximate(tmp_path) is _WHOLE
        assert file.read_text() == damaged
