"""Stretches of what is said: their curves, their spans, and whether there is anything at all."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talks import put_channel, put_video

from index.outline import BLOCK_SECONDS, outline_from
from index.store import Filter, Match, SparseVector, scroll, where
from rag.cohesion import mean_length
from rag.curves import LONGEST_SILENCE_SECONDS, Curve, Region, read_curves
from rag.fuse import Term
from rag.ground import elected, ground, lengths
from rag.presence import in_other_languages, nearest, presence
from rag.settings import GroundSettings, PresenceSettings, RetrieveSettings
from rag.stretches import window_scores
from rag.vectors import Meanings
from rag.words import WordQuery

GROUND = GroundSettings()


def a_curve(meaning, seconds: float = 4.0) -> Curve:
    count = len(meaning)
    starts = np.arange(count) * seconds
    none = np.zeros(0, np.int64)
    return Curve(
        ("video", 0, "speech", "en"), "english", starts, starts + seconds,
        np.array(meaning, float), np.array(meaning, float), ("text",) * count, ((),) * count,
        none, none, np.zeros(0), np.zeros(0), (frozenset(),) * count, np.zeros(count),
    )  # fmt: skip


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.data(),
    st.floats(0.2, 20.0),
    st.sampled_from([30.0, 300.0, 1200.0, None]),
)
@settings(max_examples=150, deadline=None)
def test_a_moment_holds_the_best_of_its_window_and_is_not_too_long(values, data, seconds, duration):
    relevance = np.array(values)
    first = data.draw(st.integers(0, len(values) - 1))
    allowed = lengths(duration, GROUND)
    longest = max(1, int(allowed.longest_seconds // seconds))
    last = data.draw(st.integers(first + 1, min(len(values), first + longest)))
    starts = np.arange(len(values)) * seconds
    a, b = ground(relevance, starts, starts + seconds, (first, last), 0.1, allowed, GROUND)
    best = first + int(relevance[first:last].argmax())
    assert 0 <= a <= best < b <= len(values)
    assert starts[b - 1] + seconds - starts[a] <= allowed.longest_seconds + seconds


def test_a_curve_without_a_hill_gives_the_window_back():
    flat = np.full(30, 0.4)
    starts = np.arange(30) * 3.0
    assert ground(flat, starts, starts + 3, (10, 19), 0.4, lengths(200, GROUND), GROUND) == (10, 19)


def test_a_hill_is_found_from_a_window_that_cuts_it():
    relevance = np.full(40, 0.1)
    relevance[12:22] = 0.9
    starts = np.arange(40) * 3.0
    for window in ((8, 16), (12, 20), (14, 20)):
        found = ground(relevance, starts, starts + 3, window, 0.1, lengths(200, GROUND), GROUND)
        assert abs(found[0] - 12) <= 1 and abs(found[1] - 22) <= 1


def test_what_is_said_best_is_said_early():
    relevance = np.full(21, 0.4)
    relevance[10] = 0.9
    starts = np.arange(21) * 5.0
    where = ground(relevance, starts, starts + 5, (7, 14), 0.1, lengths(250, GROUND), GROUND)
    assert 0 < 10 - where[0] < where[1] - 11
    even = GROUND.model_copy(update={"early": 0.0})
    middle = ground(relevance, starts, starts + 5, (7, 14), 0.1, lengths(250, GROUND), even)
    assert abs((10 - middle[0]) - (middle[1] - 11)) <= 1


def test_where_nothing_is_proposed_belief_alone_decides():
    """All that is relevant lies elsewhere, and the ranked window has no vote."""
    relevance = np.full(40, 0.2)
    relevance[10:20] = 0.3
    relevance[25:] = 0.9
    starts = np.arange(40) * 3.0
    where = (starts, starts + 3, (10, 20), 0.1, lengths(200, GROUND))
    alone = GROUND.model_copy(update={"proposals_share": 0.0})
    expected = ground(relevance, *where, alone)
    assert expected[1] - expected[0] > 1
    unproposed = GROUND.model_copy(update={"window_weight": 0.0})
    assert ground(relevance, *where, unproposed) == expected


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_the_span_is_the_one_of_greatest_expected_overlap(values, data):
    count = len(values)
    begins = np.cumsum(np.array(values) + 0.5)
    until = begins + 0.5
    span = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).map(sorted)
    voters = [(a, b + 1) for a, b in data.draw(st.lists(span, min_size=1, max_size=5))]
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=5, max_size=5))[: len(voters)]

    def expected(a, b):
        total = 0.0
        for (c, d), weight in zip(voters, weights, strict=True):
            inside = min(until[b - 1], until[d - 1]) - max(begins[a], begins[c])
            union = max(until[b - 1], until[d - 1]) - min(begins[a], begins[c])
            total += weight * max(inside, 0) / union
        return total

    spans = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    short = [(a, b) for a, b in spans if until[b - 1] - begins[a] <= 4.0]
    found = elected(
        (begins, until), tuple(np.array(spans).T), (*np.array(voters).T, np.array(weights)), 4.0
    )
    assert found in short and expected(*found) == pytest.approx(max(expected(*s) for s in short))


def test_a_window_scores_by_its_best_sentence_and_by_all_together():
    curve = a_curve([0.0, 1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5])
    rank = RetrieveSettings()
    cohesive = np.array([0.5, 0.8])
    scores = window_scores(curve, np.array([0, 4]), np.array([4, 8]), rank, cohesive)
    peak, mean = rank.rank.peak, rank.rank.mean
    assert scores == pytest.approx([peak + mean * 0.25 / 0.5, peak * 0.5 + mean * 0.5 / 0.8])


def test_the_words_of_one_sentence_add_to_a_window():
    curve = a_curve([0.5] * 8)
    shares = np.array([0.0, 0.5, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5])
    rank = RetrieveSettings()
    ranges = np.array([0, 4]), np.array([4, 8])
    without = window_scores(curve, *ranges, rank, np.ones(2))
    with_words = window_scores(replace(curve, shares=shares), *ranges, rank, np.ones(2))
    weight = rank.rank.sentence_weight
    assert 1 - with_words == pytest.approx((1 - without) * (1 - weight * np.array([1.0, 0.5])))


def test_the_length_of_a_mean_is_told_from_a_sample():
    generator = np.random.default_rng(5)
    vectors = generator.normal(size=(400, 64)) + 0.8
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = np.linalg.norm(vectors.mean(axis=0))
    assert mean_length(vectors, 400) == pytest.approx(whole)
    assert mean_length(vectors[::8], 400) == pytest.approx(whole, rel=0.05)
    assert mean_length(np.eye(4), 4) == pytest.approx(0.5)
    assert mean_length(np.eye(4)[:1], 1) == pytest.approx(1.0)


def curves_of(library, video, start_seconds, end_seconds, wanted=where(kind="passage")):
    (generation,) = library.generations(video.id)
    region = Region(video.id, 0, "speech", generation.id, "en", start_seconds, end_seconds)
    query = WordQuery.of("comet", library, Filter())
    return read_curves(query, Meanings(), library, [region], wanted)


def test_outlines_hold_every_sentence_in_its_block(library):
    video = put_video(library, "Comets", 2000.0)
    lines = [(n * 7.0, n * 7.0 + 6.0, f"Sentence {n} of the talk ends here.") for n in range(250)]
    put_channel(library, video, "speech", lines)
    outlines = [outline_from(p.payload) for p in scroll(library.store, where(kind="outline"))]
    assert len(outlines) == math.ceil(250 * 7 / BLOCK_SECONDS)
    said = sorted((s.start_seconds, s.text) for one in outlines for s in one.sentences)
    assert said == [(start, text) for start, _, text in lines]
    passages = {p.id: p.payload["scale"] for p in scroll(library.store, where(kind="passage"))}
    told = {s.id: "sentence" for one in outlines for s in one.sentences}
    told |= {w.id: "window" for one in outlines for w in one.windows}
    assert told == passages


def test_a_curve_reaches_over_blocks_and_ends_at_long_silences(library):
    video = put_video(library, "Comets", 2000.0)
    times = [*range(280, 320, 5), *range(int(320 + LONGEST_SILENCE_SECONDS) + 10, 400, 5)]
    put_channel(library, video, "speech", [(t, t + 4.0, f"At {t} a comet.") for t in times])
    early, late = curves_of(library, video, 0.0, 1000.0)
    assert list(early.starts) == [t for t in times if t < 320]
    assert list(late.starts) == [t for t in times if t > 320]
    assert len(early.words) and (early.words > 0).all() and (early.shares > 0).all()
    (part,) = curves_of(library, video, 290.0, 311.0)
    assert list(part.starts) == [290, 295, 300, 305, 310]


def test_what_filters_hide_is_on_no_curve(library):
    video = put_video(library, "Comets", 100.0)
    put_channel(
        library, video, "speech", [(t, t + 4.0, f"At {t} a comet.") for t in range(0, 60, 5)]
    )
    hidden = [one.id for one in library.evidence(video.id) if one.start_seconds in (20.0, 25.0)]
    wanted = where(kind="passage").but_not(Match("evidence", tuple(hidden)))
    (curve,) = curves_of(library, video, 0.0, 100.0, wanted)
    assert {20.0, 25.0}.isdisjoint(curve.starts) and len(curve) == 10
    assert max(curve.last) < len(curve)
    (other,) = {g.id for g in library.generations(video.id)}
    assert curves_of(library, video, 0.0, 100.0, where(video_id="another")) == []
    assert (
        curves_of(
            library, video, 0.0, 100.0, where(kind="passage").but_not(Match("generation", (other,)))
        )
        == []
    )


def test_the_floor_rises_with_the_collection():
    how = PresenceSettings()
    scores = [0.45] * 10
    small, large = (presence(scores, lambda n=n: n, how) for n in (500, 500_000))
    assert small.there and not large.there
    assert large.floor - small.floor == pytest.approx(how.rise * math.log(1000))
    assert presence(scores, lambda: 1, how).floor == presence(scores, lambda: 99, how).floor


def test_a_sentence_that_stands_alone_is_less_near_than_one_among_its_like():
    alone, among = nearest([a_curve([0, 0, 0.8, 0, 0])]), nearest([a_curve([0, 0.8, 0.8, 0.8, 0])])
    assert 0.6 < alone[0] < among[0] == pytest.approx(0.8)
    assert alone == sorted(alone, reverse=True) and len(alone) == 5
    assert nearest([]) == []


def test_one_lucky_sentence_of_thousands_is_not_enough():
    scores = [0.6, 0.3, 0.3]
    assert presence(scores, lambda: 50, PresenceSettings()).there
    assert not presence(scores, lambda: 5000, PresenceSettings()).there
    assert not presence([], lambda: 0, PresenceSettings()).there


def test_the_floor_lies_lower_for_what_is_said_in_another_language_than_the_question():
    how = PresenceSettings()
    lower = how.floor - how.translated + 0.01

    def held_against(score, translated):
        return presence([score] * 4, lambda: 1000, how, lambda: translated)

    assert held_against(lower, True).there and not held_against(lower, False).there
    assert not held_against(lower - 0.02, True).there
    assert held_against(lower - 0.02, True).floor == held_against(lower, False).floor == how.floor


def test_a_question_is_in_another_language_only_where_that_is_sure():
    def others(text: str, languages: list[str | None], said: int = 0) -> bool:
        terms = {n: Term(n, "word", "english", 1.0, int(n < said), 9) for n in range(4)}
        query = WordQuery({"english": terms}, {}, SparseVector((), ()), text=text)
        return in_other_languages(query, languages)

    asked = "Wie entferne ich den Hintergrund eines Bildes?"
    assert others(asked, ["en", "fr-CA"])
    assert not others(asked, ["en", "de-AT"])
    assert not others(asked, ["en", None])  # who knows
    assert not others(asked, [])
    assert not others("Masking", ["de"])  # too short to tell
    assert others(asked, ["en"], said=2)
    assert not others(asked, ["en"], said=3)  # most of its words are said there
