"""Ids are what the standard calls UUIDv5."""

import random
import uuid

from index.ids import make_id

NAMESPACE = uuid.UUID("8f2f3c0e-53a8-5c55-9d5c-6c6f6e677461")


def test_an_id_is_the_standard_librarys():
    draw = random.Random(1)
    for _ in range(2000):
        parts = [draw.choice(["speech", "é", 7, -1, "", f"{draw.random()}"]) for _ in range(3)]
        expected = uuid.uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts))
        assert make_id(*parts) == str(expected)
