"""What is shared by all ways to a Video-LLM."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.models.videollm import Piece, until_stop
from ingest.models.videollm.inflight import in_order


def split(text: str, cuts: list[int]) -> list[Piece]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    words = [text[a:b] for a, b in pairwise(places)] or [""]
    return [Piece(word, (-1.0,)) for word in words[:-1]] + [Piece(words[-1], (-1.0,), "length")]


@example(text=".aa", cuts=[2], stop=["a", ".aa"])
@given(
    text=st.text("ab.\n", max_size=30),
    cuts=st.lists(st.integers(0, 30)),
    stop=st.lists(st.text("ab.\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_an_answer_ends_at_the_stop_word_however_it_is_split(text, cuts, stop):
    ends = [(at + len(word), at) for word in stop if (at := text.find(word)) >= 0]
    expected = text[: min(ends)[1]] if ends else text
    pieces = list(until_stop(iter(split(text, cuts)), stop))
    assert "".join(piece.text for piece in pieces) == expected
    assert pieces[-1].finish == ("stop" if ends else "length")


def test_what_cannot_begin_a_stop_word_is_not_held_back():
    pieces = until_stop(iter([Piece("one"), Piece(" two"), Piece(" end", finish="stop")]), ["STOP"])
    assert [piece.text for piece in pieces] == ["one", " two", " end"]


def test_errands_come_back_in_order_and_few_are_out_at_once():
    out, most, first_done = set(), [], threading.Event()
    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        out.add(item)
        most.append(len(out))
        if item == 0:
            first_done.wait(10)  # the first is the slowest
        elif item == 2:
            first_done.set()
        out.discard(item)
        return item * 10

    results = in_order(work, items(), 3)
    assert next(results) == 0
    assert len(taken) == 3
    assert [0, *results] == [item * 10 for item in range(20)]
    assert max(most) <= 3


def test_an_errand_that_fails_raises_after_those_before_it():
    def work(item: int) -> int:
        return 10 // (3 - item)

    results = in_order(work, iter_of(6), 4)
    assert [next(results), next(results), next(results)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def iter_of(count: int):
    yield from range(count)


HEAVY = """
import sys
import ingest.channels.caption, ingest.channels.tags
import ingest.models.videollm.openai, ingest.models.videollm.transformers
from pathlib import Path
from ingest.models.files import ModelFiles
ingest.models.videollm.openai.OpenAIVideoLLM("m", base_url="http://localhost/v1").describe()
files = ModelFiles("m", Path("."), "0", Path("."))
ingest.models.videollm.transformers.TransformersVideoLLM(files).describe()
print(sorted({"torch", "transformers", "openai"} & set(sys.modules)))
"""


def test_naming_a_model_loads_none_of_it():
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", HEAVY], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
