"""How the engine is told to keep a shard, and to search it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as engine

from index.disk import write_durably
from index.store import INDEXED_FIELDS, VectorSpace

SEARCH_THREADS = 1
"""Of each shard, which has one segment to search in. By default it has eight threads that wake at
every query and spin for a while: of two cores, a search over seven shards lost a fourth to that."""

_NOT_IN_HEADS = ("start_us", "end_seconds", "language")
"""Fields that only compacted shards index."""

DISTANCES = {"cosine": engine.Distance.Cosine, "dot": engine.Distance.Dot}

_FILE = "edge_config.json"
"""The engine's own, in a shard's folder."""

EXACT = engine.SearchParams(exact=True)

_WHOLE = engine.SearchParams(hnsw_ef=400)
"""In a graph over the vectors as they are, in which compaction left them until it quantized."""

_QUANTIZED = engine.SearchParams(
    hnsw_ef=600,
    quantization=engine.QuantizationSearchParams(rescore=True, oversampling=2.0),
)
"""Over one byte a number; twice as many as asked for are then scored as they are. Of the ten
frames nearest to words it finds more than `_WHOLE`, in less time (docs/scale.md)."""


def shard_config(spaces: Sequence[VectorSpace], *, head: bool) -> engine.EdgeConfig:
    """Of a new shard: see `index.shard.Shard.create`."""
    return engine.EdgeConfig(
        vectors={
            s.name: engine.EdgeVectorParams(s.size, DISTANCES[s.distance])
            for s in spaces
            if s.size is not None
        },
        # The engine wants one space at least; a shard of payloads gets an idle one.
        sparse_vectors={
            name: engine.EdgeSparseVectorParams()
            for name in [s.name for s in spaces if s.size is None] or ["_idle"]
        },
        # One segment loads and answers faster than several.
        optimizers=engine.EdgeOptimizersConfig(default_segment_number=1),
        # It halves the time that a graph takes to build, too.
        quantization_config=None
        if head
        else engine.ScalarQuantizationConfig(
            type=engine.ScalarType.Int8, quantile=0.99, memory=engine.Memory.Cached
        ),
        wal_enabled=head,
        max_search_threads=SEARCH_THREADS,
    )


def field_indexes(*, head: bool) -> list[engine.UpdateOperation]:
    """What makes the payload indexes of a new shard."""
    operations = []
    for field, kind in INDEXED_FIELDS.items():
        if head and field in _NOT_IN_HEADS:
            continue
        # Payload indexes on disk, and no extra graph links for them, halve the time that a shard
        # takes to load; filtered searches over them stay exact enough because the engine scores
        # small matching sets one by one.
        cold: dict[str, Any] = {"memory": engine.Memory.Cold, "enable_hnsw": False}
        if kind == "keyword":
            params = engine.KeywordIndexParams(**cold)
        elif kind == "integer":
            params = engine.IntegerIndexParams(range=True, lookup=False, **cold)
        else:
            params = engine.FloatIndexParams(**cold)
        operations.append(engine.UpdateOperation.create_field_index(field, params))
    return operations


def limit_threads(shard: Path) -> None:
    """Of a closed shard that an earlier Longtake made. To load it with another number the engine
    wants all of its vector spaces described anew; it keeps what is in this file."""
    config = _config(shard)
    if config and config.get("max_search_threads") != SEARCH_THREADS:
        config["max_search_threads"] = SEARCH_THREADS
        try:
            write_durably(shard / _FILE, json.dumps(config).encode())
        except OSError:  # of another user, say: it is a help, not a need
            pass


def approximate(shard: Path) -> engine.SearchParams:
    """How to search in its graphs."""
    return _QUANTIZED if _config(shard).get("quantization_config") else _WHOLE


def _config(shard: Path) -> dict[str, Any]:
    """Empty where the file is damaged or cannot be read: the engine says so."""
    try:
        config = json.loads((shard / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
