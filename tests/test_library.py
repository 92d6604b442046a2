"""The order of writes on which everything rests, seen by a store that records it."""

import pytest

from index.edge import EdgeStore
from index.library import UPSERT_POINTS, Library
from index.schema import Evidence, Generation, Space, Stream, Video
from index.settings import StoreSettings
from index.store import where
from index.text import SPACES

SETTINGS = StoreSettings(reserve_bytes=0, ballast_bytes=0, compact=False)


class RecordingStore:
    """Passes everything on, and keeps what was written, deleted and flushed, in order."""

    def __init__(self, store):
        self._store = store
        self.log = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def upsert(self, points):
        for kind in dict.fromkeys(point.payload["kind"] for point in points):
            states = {p.payload.get("state") for p in points if p.payload["kind"] == kind}
            self.log.append((kind, *sorted(s for s in states if s)))
        self._store.upsert(points)

    def delete(self, where):
        kinds = next(c.any_of for c in where.must if c.key == "kind")
        self.log.append(("delete", *kinds))
        self._store.delete(where)

    def flush(self):
        self.log.append(("flush",))
        self._store.flush()


@pytest.fixture
def store(tmp_path):
    with EdgeStore(tmp_path / "library", settings=SETTINGS) as store:
        store.ensure_spaces(SPACES)
        yield RecordingStore(store)


@pytest.fixture
def library(store):
    library = Library(store)
    library.put_video(Video("v", "A film", duration_seconds=60.0))
    return library


def said(generation, start, text):
    return Evidence("v", 0, "speech", generation.id, start, start + 1.0, text)


def texts(library, **wanted):
    return [e.text for e in library.evidence("v", **wanted)]


def test_what_began_long_before_and_is_still_there_overlaps(library):
    generation = library.begin(Generation("v", 0, "speech", "f"))
    spans = [(0.0, 4000.0), (5.0, 6.0), (3590.0, 3600.0), (3605.0, 3610.0), (3620.0, 3630.0)]
    lines = [Evidence("v", 0, "speech", generation.id, a, b, f"{a:g}") for a, b in spans]
    library.commit_all([(generation, lines, [])])
    span = {"start_seconds": 3600.0, "end_seconds": 3620.0}
    assert texts(library, **span) == ["3605"]
    assert texts(library, **span, overlapping=True) == ["0", "3605"]


def test_evidence_is_on_disk_before_the_watermark_says_so(library, store):
    generation = library.begin(Generation("v", 0, "speech", "f"))
    store.log.clear()
    library.commit_all([(generation, [said(generation, 0.0, "Hello.")], [])])
    assert store.log == [("evidence",), ("flush",), ("generation", "active"), ("flush",)]


def test_however_much_evidence_there_is_it_is_flushed_before_the_watermark(library, store):
    generation = library.begin(Generation("v", 0, "speech", "f"))
    store.log.clear()
    many = [said(generation, float(n), f"Line {n}.") for n in range(UPSERT_POINTS + 1)]
    library.commit_all([(generation, many, [])])
    assert store.log == [
        ("evidence",),
        ("evidence",),
        ("flush",),
        ("generation", "active"),
        ("flush",),
    ]


def test_a_flip_is_one_write_after_the_new_is_on_disk_and_before_the_old_goes(library, store):
    old = library.begin(Generation("v", 0, "speech", "old"))
    library.finish([(old, [said(old, 0.0, "Old words.")], [])])
    new = library.begin(Generation("v", 0, "speech", "new"))
    assert new.state == "building"
    store.log.clear()
    library.finish([(new, [said(new, 0.0, "New words.")], [])])
    head = store.log[: store.log.index(("delete", "evidence"))]
    assert head == [
        ("evidence",),
        ("flush",),
        ("generation", "building"),
        ("flush",),
        ("generation", "active", "retired"),  # both records in one atomic call
        ("flush",),
    ]
    # The record of the old goes last, so that an interrupted removal is known and taken up again.
    assert store.log[-3:] == [("flush",), ("delete", "generation"), ("flush",)]
    assert texts(library) == ["New words."]
    assert store.count(where(kind="generation")) == 1


def test_searchers_see_the_old_until_the_flip(library):
    old = library.begin(Generation("v", 0, "speech", "old"))
    library.finish([(old, [said(old, 0.0, "Old words.")], [])])
    new = library.begin(Generation("v", 0, "speech", "new"))
    library.commit_all([(new, [said(new, 0.0, "New words.")], [])])
    assert texts(library) == ["Old words."]
    assert texts(library, generation=new.id) == ["New words."]


def test_what_lies_at_or_after_the_watermark_is_unfinished_and_goes(library):
    generation = library.begin(Generation("v", 0, "speech", "f", watermark_seconds=5.0))
    lines = [said(generation, start, f"At {start}.") for start in (0.0, 4.9, 5.0, 9.0)]
    library.commit_all([(generation, lines, [])])
    library.resume(generation)
    assert texts(library) == ["At 0.0.", "At 4.9."]


def test_an_unfinished_generation_is_taken_up_and_a_finished_one_left_alone(library):
    wanted = Generation("v", 0, "speech", "f")
    first = library.begin(wanted)
    assert library.begin(wanted) == first
    library.finish([(first, [], [])])
    assert library.begin(wanted).complete


def test_force_builds_a_new_revision_beside_the_finished_one(library):
    wanted = Generation("v", 0, "speech", "f")
    first = library.begin(wanted)
    library.finish([(first, [said(first, 0.0, "Hello.")], [])])
    again = library.begin(wanted, force=True)
    assert (again.state, again.revision) == ("building", 1)
    assert again.id != first.id
    # A run without --force that follows an interrupted one goes on with it.
    assert library.begin(wanted) == again


def test_a_removed_video_leaves_nothing(library, store):
    generation = library.begin(Generation("v", 0, "speech", "f"))
    library.finish([(generation, [said(generation, 0.0, "Hello.")], [])])
    library.remove_video("v")
    kinds = ("video", "generation", "evidence", "passage", "segment", "text_stats", "outline")
    assert store.count(where(kind=kinds)) == 0
    assert store.log[-2:] == [("delete", "video"), ("flush",)]


class MeddlingStore:
    """Passes everything on; before its call number `at`, lets somebody else have their way."""

    def __init__(self, store, at, meddle):
        self._store, self._left, self._meddle = store, at, meddle

    def __getattr__(self, name):
        call = getattr(self._store, name)

        def meddled(*arguments, **more):
            self._left -= 1
            if self._left == -1:
                self._meddle()
            return call(*arguments, **more)

        return meddled

    @property
    def meddled(self):
        return self._left < 0


SPACE = Space("frame.some-model.01234567", "frame", "some-model", 2)


@pytest.mark.parametrize("stale", [False, True], ids=["new", "left behind"])
@pytest.mark.parametrize("adder_first", [False, True])
def test_a_space_that_is_added_while_others_are_forgotten_stays(store, stale, adder_first):
    """Whichever of the two comes in the middle of the other, and wherever; also where the space is
    one that a removed video has left behind."""
    plain = Library(store)
    filler = Generation("v", 0, "frame", "f")

    def begin_and_add(library):
        library.begin(filler)
        library.add_space(SPACE, filler.id)

    at = 0
    while True:
        store.delete(where(kind=["space", "generation"]))
        if stale:
            plain.add_space(SPACE, Generation("gone", 0, "frame", "f").id)
        if adder_first:
            meddling = MeddlingStore(store, at, plain.forget_spaces)
            begin_and_add(Library(meddling))
        else:
            meddling = MeddlingStore(store, at, lambda: begin_and_add(plain))
            Library(meddling).forget_spaces()
        if not meddling.meddled:
            break
        assert plain.spaces() == [SPACE], at
        at += 1
    assert at >= 2
    store.delete(where(kind="generation"))
    plain.forget_spaces()
    assert plain.spaces() == []


def test_what_was_never_begun_covers_nothing_where_there_is_something_to_look_at(library):
    wanted = ("speech", "frame", "text:speech", "text:screen_text")
    generations = [Generation("v", 0, "speech", "f", analysed_seconds=30.0)]
    film = Video("v", "v", duration_seconds=60.0, streams=(Stream(0, "video", "h264"),))
    assert library.coverage(film, generations, wanted) == {
        "speech": 0.5, "frame": 0.0, "text:speech": 0.0, "text:screen_text": 0.0
    }  # fmt: skip
    sound = Video("v", "v", duration_seconds=60.0, streams=(Stream(0, "audio", "aac"),))
    assert library.coverage(sound, generations, wanted) == {"speech": 0.5, "text:speech": 0.0}
