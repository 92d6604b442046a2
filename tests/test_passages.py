"""Passages are windows that a resumed run cuts exactly as an uninterrupted one does."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.passages import (
    PassageBuilder,
    PassageScale,
    PassageStatistics,
    passage_from_payload,
    passage_point,
    reading_order,
)
from index.schema import Evidence, Generation
from index.text import TERM_COUNTS, analyzer

SCALE = PassageScale(4, 2, max_gap_seconds=10.0, max_seconds=60.0, average_length=20.0)
OWN = Generation("video", 0, "speech", "fingerprint")


def said(start: float, text: str, language: str | None = "en", seconds: float = 1.0) -> Evidence:
    attributes = {"language": language}
    return Evidence(
        "video",
        0,
        "speech",
        OWN.id,
        start,
        start + seconds,
        text,
        attributes,
        key=f"{language}{text}",
    )


def sentences(number: int, every_seconds: float = 2.0) -> list[Evidence]:
    return [said(n * every_seconds, f"s{n}") for n in range(number)]


def texts(evidence: list[Evidence], scale: PassageScale = SCALE) -> list[str]:
    return [p.text for p in PassageBuilder(OWN, [scale]).push(evidence)]


def test_windows_overlap_and_the_last_may_be_partial():
    assert texts(sentences(4)) == ["s0 s1 s2 s3"]
    assert texts(sentences(5)) == ["s0 s1 s2 s3", "s2 s3 s4"]
    assert texts(sentences(7)) == ["s0 s1 s2 s3", "s2 s3 s4 s5", "s4 s5 s6"]


def test_a_window_spans_what_it_covers_and_names_it():
    evidence = sentences(4)
    (passage,) = PassageBuilder(OWN, [SCALE]).push(evidence)
    assert (passage.start_seconds, passage.end_seconds) == (0.0, 7.0)
    assert passage.evidence == tuple(one.id for one in evidence)
    assert (passage.analyzer, passage.language) == ("english", "en")


def test_a_growing_window_keeps_its_id():
    builder = PassageBuilder(OWN, [SCALE])
    ids = [builder.push([one])[-1].id for one in sentences(6)]
    assert len(set(ids[:4])) == 1
    assert ids[3] != ids[4] == ids[5]


def test_no_window_reaches_across_a_long_silence():
    evidence = [*sentences(3), said(30.0, "after"), said(31.0, "wards")]
    assert texts(evidence) == ["s0 s1 s2", "after wards"]


def test_what_is_still_to_be_seen_is_no_silence():
    long = said(0.0, "title", seconds=100.0)
    assert texts([long, said(50.0, "later")]) == ["title later"]


def test_no_window_begins_and_goes_on_for_too_long():
    evidence = sentences(8, every_seconds=9.0)
    wide = PassageScale(20, 10, max_gap_seconds=10.0, max_seconds=27.0, average_length=20.0)
    cut = PassageBuilder(OWN, [wide]).push(evidence)
    assert all(p.end_seconds - p.start_seconds <= 28.0 for p in cut)
    assert {one for p in cut for one in p.evidence} == {one.id for one in evidence}
    assert [p.text for p in cut][:2] == ["s0 s1 s2 s3", "s4 s5 s6 s7"]


def test_languages_never_share_a_window():
    english = [said(n * 2.0, f"e{n}", "en") for n in range(4)]
    german = [said(n * 2.0 + 0.5, f"d{n}", "de") for n in range(4)]
    cut = PassageBuilder(OWN, [SCALE]).push(sorted(english + german, key=reading_order))
    assert {p.text: p.analyzer for p in cut} == {
        "e0 e1 e2 e3": "english",
        "d0 d1 d2 d3": "german",
    }


def test_scales_live_side_by_side():
    small = PassageScale(2, 1, 10.0, 60.0, 10.0, name="small")
    cut = PassageBuilder(OWN, [SCALE, small]).push(sentences(4))
    assert Counter(p.scale for p in cut) == {"": 1, "small": 3}
    assert len({p.id for p in cut}) == 4
    with pytest.raises(ValueError, match="names"):
        PassageBuilder(OWN, [SCALE, SCALE])


def test_a_scale_without_overlap_is_fine_and_one_with_holes_refused():
    assert texts(sentences(4), PassageScale(2, 2, 10.0, 60.0, 10.0)) == ["s0 s1", "s2 s3"]
    with pytest.raises(ValueError, match="holes"):
        PassageScale(4, 5, 10.0, 60.0, 40.0)


def test_evidence_without_words_is_passed_over():
    assert texts([said(0.0, ""), said(1.0, "word")]) == ["word"]


def test_a_point_carries_the_passage_and_its_terms():
    (passage,) = PassageBuilder(OWN, [SCALE]).push(sentences(3))
    point = passage_point(passage)
    assert point.id == passage.id
    assert point.payload["kind"] == "passage"
    assert (point.payload["start_us"], point.payload["end_seconds"]) == (0, 5.0)
    assert passage_from_payload(point.payload) == passage
    assert set(point.vectors["words"].indices) == set(analyzer("english").query(passage.text))


spoken = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 2.0, 9.0, 30.0]),  # pause before it
        st.sampled_from([0.5, 3.0, 40.0]),  # how long it is
        st.sampled_from(["red house", "blue houses", "the", "red", "grün"]),
        st.sampled_from(["en", "en", "en", "de", None]),
    ),
    max_size=40,
)
scales = st.builds(
    lambda size, step, limit, name: PassageScale(
        size, min(step, size), 10.0, limit, 20.0, " ", name
    ),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([5.0, 20.0, 120.0]),
    st.sampled_from(["", "other"]),
)


def evidence_of(pieces) -> list[Evidence]:
    at, evidence = 0.0, []
    for pause, seconds, text, language in pieces:
        at += pause
        evidence.append(said(at, text, language, seconds))
    return sorted(evidence, key=reading_order)


def run(evidence, cuts, scale, *, resumed_at=None):
    """(passages by id, statistics) of a run that pushes piece by piece, or is killed once its
    first `resumed_at` evidence is final and goes on in a new builder."""
    written = {}
    builder = PassageBuilder(OWN, scale)
    edges = sorted({0, len(evidence), *(cut % (len(evidence) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        written.update((p.id, p) for p in builder.push(evidence[start:end]))
    if resumed_at is not None:
        builder = PassageBuilder(OWN, scale)
        builder.resume(evidence[:resumed_at])
        written.update((p.id, p) for p in builder.push(evidence[resumed_at:]))
    return written, sorted(builder.statistics_points(), key=lambda point: point.id)


@given(spoken, st.lists(st.integers(0, 60), max_size=6), scales, st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_however_a_run_is_cut_up_or_killed_the_passages_are_the_same(pieces, cuts, scale, kill):
    evidence = evidence_of(pieces)
    whole, statistics = run(evidence, [], [scale])
    resumed_at = kill % (len(evidence) + 1)
    assert run(evidence, cuts, [scale]) == (whole, statistics)
    assert run(evidence, cuts, [scale], resumed_at=resumed_at) == (whole, statistics)


@given(spoken, scales)
@settings(max_examples=100, deadline=None)
def test_every_evidence_is_in_a_window_and_no_window_lies_in_another(pieces, scale):
    evidence = evidence_of(pieces)
    cut = list(run(evidence, [], [scale])[0].values())
    assert {one for p in cut for one in p.evidence} == {one.id for one in evidence}
    covered = [frozenset(p.evidence) for p in cut]
    assert not any(a < b for a in covered for b in covered)
    assert all(len(p.evidence) <= scale.size for p in cut)


def statistics_points(generation, passages):
    """Counted from scratch."""
    statistics = PassageStatistics(generation)
    for passage in passages:
        statistics.add(passage)
    return statistics.points()


@given(spoken, st.lists(st.integers(0, 60), max_size=6), scales)
@settings(max_examples=100, deadline=None)
def test_running_statistics_equal_those_counted_from_scratch(pieces, cuts, scale):
    passages, points = run(evidence_of(pieces), cuts, [scale])
    assert points == sorted(statistics_points(OWN, passages.values()), key=lambda p: p.id)

    counted: dict[str, Counter] = {}
    for passage in passages.values():
        own = analyzer(passage.analyzer)
        counts = counted.setdefault(passage.analyzer, Counter())
        counts.update([*own.query(passage.text), own.count_term])
    stored = {}
    for point in points:
        vector = point.vectors[TERM_COUNTS.name]
        stored[point.payload["analyzer"]] = dict(zip(vector.indices, vector.values, strict=True))
    assert stored == {name: dict(counts) for name, counts in counted.items()}
