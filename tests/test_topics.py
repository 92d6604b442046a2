"""Chapters begin where the subject changes, and have telling titles."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.keyphrases import titles
from rag.overview import _word_vectors
from rag.topics import LEAST_SECONDS, LEAST_SHARE, boundaries, usual_seconds

LECTURES = Path(__file__).resolve().parents[2] / "shared/data/transcripts/3b1b/transcripts.jsonl"


def planted(sizes: list[int], seed: int = 0, noise: float = 0.3) -> np.ndarray:
    """Vectors of sentences about one subject after the other."""
    random = np.random.default_rng(seed)
    subjects = random.standard_normal((len(sizes), 32))
    rows = np.repeat(subjects, sizes, axis=0) + noise * random.standard_normal((sum(sizes), 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.lists(st.integers(8, 16), min_size=7, max_size=7), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_changes_of_subject_are_found_exactly(sizes, seed):
    vectors = planted(sizes, seed)
    starts = np.arange(len(vectors)) * 6.0
    found = boundaries(vectors, starts, starts + 5.0, len(vectors) * 6.0)
    assert found == [0, *np.cumsum(sizes)[:-1]]


@given(st.integers(1, 200), st.floats(1.0, 60.0), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_chapters_are_neither_too_short_nor_too_many(count, step, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    starts = np.arange(count) * step
    duration = count * step
    found = boundaries(vectors, starts, starts + step, duration)
    assert found[0] == 0 and found == sorted(set(found))
    usual = usual_seconds(duration)
    assert len(found) <= max(1, round(duration / usual))
    times = [0.0, *starts[found[1:]], duration]
    least = max(LEAST_SECONDS, LEAST_SHARE * usual)
    assert len(found) == 1 or min(np.diff(times)) >= least - 1e-6


def test_a_pause_decides_where_the_words_do_not():
    vectors = np.tile(planted([1]), (40, 1))
    starts = np.arange(40) * 5.0
    starts[23:] += 8.0
    found = boundaries(vectors, starts, np.arange(40) * 5.0 + 4.9 + (np.arange(40) > 22) * 8, 210.0)
    assert 23 in found


def test_ten_hours_are_no_matter():
    vectors = planted([100] * 40, noise=0.5)
    starts = np.arange(4000) * 9.0
    found = boundaries(vectors, starts, starts + 8.0, 36000.0)
    near = [min(abs(at - true) for at in found) for true in range(0, 4000, 100)]
    assert len(found) == 40 and max(near) <= 3  # neighbours are taken together
    assert boundaries(vectors[:0], [], [], 10.0) == []


def test_chapters_of_real_lectures_are_found_better_than_by_even_cuts():
    """The author's own chapters; by words alone, without a model."""
    if not LECTURES.exists():
        pytest.skip(f"{LECTURES} is not here")
    records = map(json.loads, LECTURES.read_text().splitlines())
    lectures = [record for record in records if record["chapters"]][:10]
    hits: Counter[str] = Counter()
    for lecture in lectures:
        starts, ends, texts = zip(*lecture["sentences"], strict=True)
        duration = lecture["duration"]
        true = [one["start"] for one in lecture["chapters"]][1:]
        cut = boundaries(_word_vectors(texts, "en"), starts, ends, duration)[1:]
        ours = [starts[at] for at in cut]
        even = [duration * at / (len(ours) + 1) for at in range(1, len(ours) + 1)]
        for name, found in (("ours", ours), ("even", even)):
            hits[name] += sum(min(abs(a - b) for b in found) <= 15 for a in true)
        hits["all"] += len(true)
    assert hits["ours"] >= 0.3 * hits["all"] and hits["ours"] >= 2 * hits["even"]


def test_a_title_is_what_one_chapter_says_and_others_do_not():
    chapters = [
        "We add a layer mask. The layer mask hides pixels. Paint on the layer mask with black.",
        "Now we crop the image. The crop tool has handles. Drag the crop tool over the image.",
        "We save the image for the web. The web wants small files, so save a copy for the web.",
    ]
    made = titles(chapters, "english")
    assert "layer mask" in made[0].lower() and "crop tool" in made[1].lower()
    assert "web" in made[2].lower()
    assert all(title[0].isupper() for title in made)


def test_titles_hold_no_stop_words_alone_and_may_be_missing():
    assert titles(["and so it is, of the", ""], "english") == ["", ""]
    assert titles(["月が海を引く。月の力。"], "segmented") != [""]
