"""Blocks of a stream that left the device: kept where there is room, the oldest forgotten first."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
import torch

from ingest.models.videollm.session_ring import Ring
from ingest.models.videollm.session_slab import KeyValues
from ingest.models.videollm.session_store import BlockStore


def block(number: int, tokens: int = 3, dtype: torch.dtype = torch.float32) -> KeyValues:
    made = torch.Generator().manual_seed(number)
    keys, values = torch.randn(2, 2, 2, tokens, 4, generator=made).to(dtype)
    return KeyValues(keys, values)


def same(one: KeyValues, other: KeyValues) -> bool:
    return torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_the_latest_are_there_and_no_bound_is_passed(seed, tmp_path):
    chance = random.Random(seed)
    one = block(0).nbytes
    host, disk = chance.randrange(0, 4 * one), chance.randrange(0, 12 * one)
    store = BlockStore(host, disk, tmp_path)
    sizes: dict[int, int] = {}
    kept: list[int] = []
    for number in range(200):
        sizes[number] = chance.choice([1, 3, 3, 3, 3, 4, 9])
        forgotten = store.put(number, block(number, sizes[number]))
        kept.append(number)
        assert forgotten == kept[: len(forgotten)]
        kept = kept[len(forgotten) :]
        assert store.host_bytes <= host and store.disk_bytes <= disk
        asked = sorted(chance.sample(kept, chance.randrange(len(kept) + 1)))
        for wanted, found in zip(asked, store.each(asked), strict=True):
            assert same(found, block(wanted, sizes[wanted]))
        for old in forgotten:
            assert old not in store
            with pytest.raises(KeyError):
                store.get(old)
    # What lies side by side on disk is no more than a block of the largest size short of its bound.
    held = sum(block(number, sizes[number]).nbytes for number in kept)
    assert held > host + disk - 3 * block(0, 9).nbytes


def test_neighbours_on_disk_are_read_at_once(tmp_path):
    store = BlockStore(0, 1 << 20, tmp_path)
    for number in range(40):
        store.put(number, block(number, 3 + number % 2, torch.bfloat16))
    reads, read = [], store._disk.read

    def counted(start, room):
        reads.append(len(room)) if len(room) else None
        read(start, room)

    store._disk.read = counted
    asked = [0, 1, 2, 3, 9, 20, 21, 39]
    for wanted, found in zip(asked, store.each(asked), strict=True):
        assert same(found, block(wanted, 3 + wanted % 2, torch.bfloat16))
    assert len(reads) == 4


def test_the_file_has_no_name_and_is_gone_when_it_is_closed(tmp_path):
    store = BlockStore(0, 1 << 20, tmp_path)
    for number in range(9):
        store.put(number, block(number))
    assert store.disk_bytes == 9 * block(0).nbytes and not list(tmp_path.iterdir())
    descriptor = store._disk._file.fileno()
    store.close()
    assert store.disk_bytes == 0 and 3 not in store
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_folder_that_cannot_be_written_to_leaves_what_memory_holds(tmp_path, caplog):
    store = BlockStore(2 * block(0).nbytes, 1 << 20, tmp_path / "nowhere")
    gone = [old for number in range(6) for old in store.put(number, block(number))]
    assert gone == [0, 1, 2, 3] and same(store.get(5), block(5))
    assert len(caplog.records) == 1 and "less is kept" in caplog.text


def test_a_full_disk_is_written_over_and_grows_again_once_it_can(small_disk):
    ring = Ring(64 << 20, small_disk)
    piece = memoryview(bytes(1 << 20))
    with contextlib.closing(ring):
        assert all(ring.push(number, [piece]) for number in range(4))
        filling = (small_disk / "filling").open("wb", buffering=0)
        with filling, contextlib.suppress(OSError):
            while True:
                filling.write(bytes(1 << 16))
        number, refused = 4, 0
        while number < 20:
            try:
                written = ring.push(number, [piece[: 1 << 19], piece[1 << 19 :]])
            except OSError:
                refused, written = refused + 1, False
            if written:
                number += 1
            else:
                ring.pop()
        assert refused and len(ring) >= 3 and 19 in ring
        full = len(ring)
        (small_disk / "filling").unlink()
        for number in range(20, 60):
            while not ring.push(number, [piece]):
                ring.pop()
        assert len(ring) > 2 * full
