"""Filters in a query, and from the caller: what they let through."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from talks import put_channel, put_video

from index.errors import UsageError, VideoNotFoundError
from index.library import Library
from index.store import Filter, Match, Range, scroll, where
from ingest.channels.text import embedding_point
from rag.query import parse
from rag.retrieve import Retriever
from rag.scope import Scope


def found(library: Library, text: str, **options) -> list[tuple[str, float]]:
    moments = Retriever(library).search(text, **options).moments
    return sorted((m.title, m.start_seconds) for m in moments)


def test_a_video(films):
    assert found(films, "water") == [("Lighthouse", 4.5), ("Tides", 3.5)]
    assert found(films, "water video:Tides") == [("Tides", 3.5)]
    assert found(films, "video:Tides video:Lighthouse water") == found(films, "water")
    with pytest.raises(VideoNotFoundError, match="Volcano"):
        found(films, "water video:Volcano")


def test_a_title_with_a_space(writable):
    put_channel(writable, put_video(writable, "Deep water"), "speech", [(1, 5, "Water is deep.")])
    assert found(writable, 'water video:"Deep water"') == [("Deep water", 1.0)]


def test_a_channel(writable):
    put_channel(writable, writable.find("Tides"), "screen_text", [(40, 45, "WATER")], language=None)
    assert found(writable, "water channel:screen_text") == [("Tides", 40.0)]
    assert ("Tides", 3.5) in found(writable, "water channel:speech,screen_text")


def test_the_callers_filters_hold_too(films):
    assert found(films, "water video:Tides video:Lighthouse", videos=["Tides"]) == [("Tides", 3.5)]
    assert found(films, "water channel:speech,caption", channels=["speech"]) != []
    with pytest.raises(UsageError, match=r"--video .* leave one of them out"):
        found(films, "water video:Tides", videos=["Lighthouse"])
    with pytest.raises(UsageError, match=r"--channel .* leave one of them out"):
        found(films, "water channel:speech", channels=["caption"])


def test_a_language(writable):
    video = put_video(writable, "Gezeiten")
    put_channel(writable, video, "speech", [(2, 6, "Water heißt hier Wasser.")], language="de")
    assert ("Gezeiten", 2.0) in found(writable, "water")
    assert found(writable, "water lang:de") == [("Gezeiten", 2.0)]
    assert found(writable, "water lang:english") == [("Lighthouse", 4.5), ("Tides", 3.5)]
    assert found(writable, "water lang:fr") == []


def test_a_language_narrows_vectors_that_say_theirs_and_leaves_those_that_do_not():
    scope = Scope(languages=("de",))
    assert scope.vectors.passes({"language": "de"})
    assert scope.vectors.passes({"language": None}) and scope.vectors.passes({})
    assert not scope.vectors.passes({"language": "en"})
    assert not scope.passages.passes({"language": None})
    assert scope.asks("text") and not scope.asks("frame")


def test_vectors_of_passages_say_their_language(films):
    from index.passages import passage_from_payload

    passage = passage_from_payload(next(scroll(films.store, where(kind="passage"))).payload)
    generation = films.generations()[0]
    assert embedding_point(generation, passage, "space", None).payload["language"] == "en"


def test_a_time_in_the_video(library):
    lines = [(at, at + 5, f"Here comes train number {at}.") for at in (0, 12, 30, 50)]
    put_channel(library, put_video(library, "Station"), "speech", lines)

    def starts(text: str) -> list[float]:
        return [start for _, start in found(library, "train " + text)]

    assert starts("") == [0, 12, 30, 50]
    assert starts("after:0:20") == [30, 50]
    assert starts("before:20s") == [0, 12]
    assert starts("after:0:10 before:0:20") == [12]
    assert starts("after:0:13 before:0:14") == [12]  # overlaps
    assert starts("after:0:55") == []
    assert starts("after:5s after:0:40") == [50]
    with pytest.raises(UsageError, match="exchange"):
        starts("after:1:00 before:0:30")


def test_what_begins_before_the_time_in_a_passage_before_it_is_found(library):
    """The last sentence of a window is in no window that begins after the time."""
    video = put_video(library, "Long", 4000.0)
    lines = [(1000 + 20 * at, 1015 + 20 * at, f"Sentence {at} of a talk.") for at in range(40)]
    lines[6] = (1120, 1135, "Here the zeppelin lands.")
    put_channel(library, video, "speech", lines)
    for seconds in (1000, 1119, 1121, 1134):
        assert found(library, f"zeppelin after:{seconds}s") == [("Long", 1120.0)]
    assert found(library, "zeppelin after:1135s") == []
    assert found(library, "zeppelin before:1120s") == []
    assert found(library, "zeppelin before:1121s") == [("Long", 1120.0)]


def test_what_has_stood_for_long_is_found_at_a_late_time(library):
    video = put_video(library, "Lecture", 4000.0)
    put_channel(library, video, "screen_text", [(100, 3000, "The zeppelin hangar")])
    for seconds in (100, 2000, 2999):
        assert found(library, f"zeppelin after:{seconds}s") == [("Lecture", 100.0)]
    assert found(library, "zeppelin after:3000s") == found(library, "zeppelin before:100s") == []


def noon(day: int) -> float:
    return datetime(2026, 3, day, 12, tzinfo=UTC).timestamp()


def test_a_time_by_the_calendar(library):
    for day in (1, 2, 3):
        video = put_video(library, f"Day {day}", 3600.0, wall_clock_start=noon(day))
        put_channel(library, video, "speech", [(600, 605, "A train."), (3000, 3005, "A train.")])
    put_channel(library, put_video(library, "Undated"), "speech", [(1, 5, "A train.")])
    assert found(library, "train after:2026-03-02T12:00+00:00 before:2026-03-02T13:00+00:00") == [
        ("Day 2", 600.0),
        ("Day 2", 3000.0),
    ]
    assert found(library, "train after:2026-03-02T12:20+00:00") == [
        ("Day 2", 3000.0),
        ("Day 3", 600.0),
        ("Day 3", 3000.0),
    ]
    assert found(library, "train after:2027-01-01") == []
    both = "train after:2026-03-02T12:00+00:00 after:0:45:00"
    assert found(library, both) == [("Day 2", 3000.0), ("Day 3", 3000.0)]
    assert found(library, 'train video:"Day 1" after:2026-03-02T12:20+00:00') == []


def test_where_no_date_is_known_a_date_is_refused(films):
    with pytest.raises(UsageError, match="after:12:30"):
        found(films, "water after:2026-03-01")


def test_filters_alone_are_no_query(films):
    with pytest.raises(UsageError, match="no word to search for"):
        found(films, "video:Tides channel:speech")


def test_a_picture_has_no_language(films, tmp_path):
    with pytest.raises(UsageError, match="lang:"):
        found(films, "lang:de", image=tmp_path / "picture.png")


def test_a_filter_judges_payloads_as_the_store_does(films):
    scope = Scope.of(parse("x video:Lighthouse after:0:20 before:0:52 lang:en"), films)
    points = list(scroll(films.store, Filter()))
    for one in (
        scope.passages,
        scope.vectors,
        scope.evidence,
        where(kind="evidence").but_not(Range("start_us", gte=12_000_000, lt=30_000_000)),
        where(kind=("video", "passage"), epoch=0),
        Filter((Match("complete", (True,)),)),
        Filter((Match("video_id", ()),)),
        Filter((Range("end_seconds", gte=15.0),)),
    ):
        ours = {point.id for point in points if one.passes(point.payload)}
        assert ours == {point.id for point in scroll(films.store, one)}
