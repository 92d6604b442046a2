"""What we write into the engine's own files."""

from __future__ import annotations

import json
from pathlib import Path

from index.disk import write_durably

SEARCH_THREADS = 1
"""Of each shard, which has one segment to search in. By default it has eight threads that wake at
every query and spin for a while: of two cores, a search over seven shards lost a fourth to that."""


def limit_search_threads(shard: Path) -> None:
    """For a closed shard that an earlier Longtake made. To load it with another number the engine
    wants all of its vector spaces described anew; it keeps what is in this file."""
    file = shard / "edge_config.json"
    try:
        config = json.loads(file.read_bytes())
        if config.get("max_search_threads") == SEARCH_THREADS:
            return
        config["max_search_threads"] = SEARCH_THREADS
    except (ValueError, AttributeError, TypeError):
        return  # the engine says what is wrong with it
    write_durably(file, json.dumps(config).encode())
