"""An answer that goes round in a circle is ended; one that only says a thing often is not."""

from __future__ import annotations

import pytest

from ingest.models.videollm import Piece
from rag.repeating import REPEATED, SHORTEST_LOOP, TIMES, repeats, until_it_repeats

# What SmolLM2-135M-Instruct wrote here.
SENTENCE = "It is a layer that is created when you select a shape layer in the Layers panel. "
LEAD_IN = "The answer to this question is:\n\n"
FIGURES = "1."
LEAD_INS = "The source of the question is:\n\nThe answer to this question is:\n\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("round_", [SENTENCE, LEAD_IN, LEAD_INS, FIGURES])
def test_a_loop_is_ended_and_the_model_stopped(round_, size):
    text = f"You can add a layer mask to a layer. {round_ * 300}"
    asked = []

    def model():
        try:
            for at in range(0, len(text), size):
                yield Piece(text[at : at + size])
            asked.append("all")
        finally:
            asked.append("closed")

    told = list(until_it_repeats(model()))
    said = "".join(piece.text for piece in told)
    assert told[-1].finish == REPEATED and text.startswith(said)
    assert said.count(round_) <= max(TIMES, SHORTEST_LOOP // len(round_)) + 1 + size // len(round_)
    assert asked == ["closed"]


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE * (TIMES - 1),
        "He sings: la la la la la la la la la la la la la la la. Then he bows [1]. " * 2,
        "".join(f"{n}. Click the layer mask button [{n}].\n" for n in range(1, 30)),
        "| layer | mask |\n|" + "-" * 400 + "|\n",
        "It is 1,000, 1,000, 1,000 and 1,000. " + "0 " * 40,
        "",
    ],
)
def test_what_is_said_often_or_counts_on_is_no_loop(text):
    pieces = [Piece(character) for character in text] + [Piece("", (), "stop", 9)]
    assert list(until_it_repeats(piece for piece in pieces)) == pieces


def test_a_round_longer_than_is_looked_for_is_none():
    assert repeats("".join(f"word{n} " for n in range(100)) * 5)
    assert not repeats("".join(f"word{n} " for n in range(400)) * 5)
