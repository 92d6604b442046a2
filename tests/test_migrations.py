"""Older libraries, brought up to the present schema."""

from __future__ import annotations

import json

import numpy as np
import talks

from index.library import DERIVED_KINDS
from index.schema import SCHEMA_VERSION, Generation, Space, make_id
from index.store import Filter, Match, Point, VectorSpace, scroll, where
from index.text import WORDS, SparseVector
from rag.retrieve import Retriever

EVERYTHING = Filter((Match("kind", ("video", "generation", "space", *DERIVED_KINDS)),))


def contents(store) -> dict[str, dict]:
    return {point.id: point.payload for point in scroll(store, EVERYTHING)}


def test_what_is_said_is_cut_anew_and_nothing_is_recognised_again(tmp_path):
    library = talks.films_at(tmp_path / "library")
    store = library.store
    expected = contents(store)
    said = {point.id for point in scroll(store, where(kind="evidence"))}
    # As version 1 left it: windows of six with vectors, and no outlines.
    video = library.find("Tides")
    (speech,) = {g.id for g in library.generations(video.id) if g.channel == "speech"}
    for kind in ("passage", "text_stats", "outline"):
        store.delete(where(kind=kind, channel="speech"))
    store.ensure_spaces([VectorSpace("text.old", 4)])
    vectors = Generation(video.id, 0, "text:speech", "1", complete=True)
    library.add_space(Space("text.old", "text", "old", 4), vectors.id)
    library.begin(vectors)
    old = {"video_id": video.id, "epoch": 0, "channel": "speech", "start_us": 0}
    store.upsert(
        [
            Point(make_id("old"), {"kind": "passage", "generation": speech, "text": "Moon", **old},
                  {WORDS.name: SparseVector((1,), (1.0,))}),
            Point(make_id("vector"), {"kind": "embedding", "generation": vectors.id, **old},
                  {"text.old": np.ones(4, np.float32)}),
        ]
    )  # fmt: skip
    store.close()
    manifest = tmp_path / "library" / "manifest.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(record | {"schema_version": 1}))

    library = talks.open_library_at(tmp_path / "library")
    try:
        store = library.store
        assert store.info().schema_version == SCHEMA_VERSION == 2
        found = contents(store)
        space = {id: found.pop(id) for id in list(found) if found[id]["kind"] == "space"}
        assert found == expected
        assert len(space) == 1  # it has nothing in it, and goes with the next command that looks
        assert {point.id for point in scroll(store, where(kind="evidence"))} == said
        (moment, *_) = Retriever(library).search("moon").moments
        assert moment.title == "Tides"
    finally:
        library.store.close()
