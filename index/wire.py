"""What the processes that share an embedded library say to each other.

A connection starts with a `Greeting` each way, whose form never changes, so that any two versions
of Longtake can at least tell each other that they differ. Then the client sends one request at a
time and the owner answers it with one reply. Messages are msgpack (never pickle) in the length
framing of `multiprocessing.connection`; dense vectors travel as raw little-endian float32.

Raise PROTOCOL_VERSION whenever a message below changes its form or meaning. A field behind the
others that has a default, and that may be passed over, changes neither.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from index import errors
from index.convert import learning
from index.store import (
    Condition,
    Filter,
    Hit,
    Match,
    Point,
    Range,
    SparseVector,
    Store,
    StoreInfo,
    Vector,
    VectorSpace,
)

PROTOCOL_VERSION = 2

MAX_MESSAGE_BYTES = 64 * 2**20
"""A message above this is not sent: it would stall everybody else who talks to the owner."""


class MessageTooLargeError(errors.StoreError):
    """A request or its answer is above MAX_MESSAGE_BYTES; fewer points at a time would pass."""


class Greeting(msgspec.Struct):
    """The first message each way. Its fields may grow, but never change."""

    protocol: int
    version: str
    pid: int


@functools.cache
def longtake_version() -> str:
    try:
        return importlib.metadata.version("longtake")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Message(msgspec.Struct, array_like=True):
    """Anything below. array_like: fields travel without their names."""


class PackedSparse(Message):
    """indices: little-endian uint32; values: little-endian float64."""

    indices: bytes
    values: bytes


PackedVector = bytes | PackedSparse


def pack_vector(vector: Vector) -> PackedVector:
    if isinstance(vector, SparseVector):
        try:
            indices = np.array(vector.indices, dtype="<u4")
        except (OverflowError, ValueError) as error:
            raise errors.StoreError(
                f"A sparse vector's index lies outside 0..2**32-1: {error}"
            ) from error
        return PackedSparse(indices.tobytes(), np.array(vector.values, dtype="<f8").tobytes())
    dense = np.asarray(vector, dtype="<f4")
    if dense.ndim != 1:
        raise errors.StoreError(f"A dense vector has one dimension, not shape {dense.shape}.")
    return dense.tobytes()


def unpack_vector(packed: PackedVector) -> Vector:
    if isinstance(packed, PackedSparse):
        return SparseVector(
            tuple(np.frombuffer(packed.indices, dtype="<u4").tolist()),
            tuple(np.frombuffer(packed.values, dtype="<f8").tolist()),
        )
    return np.frombuffer(packed, dtype="<f4").astype(np.float32)


class PackedPoint(Message):
    id: str
    payload: dict[str, Any]
    vectors: dict[str, PackedVector]

    @classmethod
    def pack(cls, point: Point) -> PackedPoint:
        vectors = {name: pack_vector(vector) for name, vector in point.vectors.items()}
        return cls(point.id, point.payload, vectors)

    def unpack(self) -> Point:
        vectors = {name: unpack_vector(packed) for name, packed in self.vectors.items()}
        return Point(self.id, self.payload, vectors)


class PackedFilter(Message):
    """A Filter with its conditions sorted by type (their order means nothing)."""

    must_match: list[Match]
    must_range: list[Range]
    must_not_match: list[Match]
    must_not_range: list[Range]

    @classmethod
    def pack(cls, where: Filter) -> PackedFilter:
        def of(kind: type, conditions: Sequence[Condition]) -> list:
            return [condition for condition in conditions if isinstance(condition, kind)]

        return cls(
            of(Match, where.must),
            of(Range, where.must),
            of(Match, where.must_not),
            of(Range, where.must_not),
        )

    def unpack(self) -> Filter:
        return Filter(
            (*self.must_match, *self.must_range), (*self.must_not_match, *self.must_not_range)
        )


class Nothing(Message, tag=True):
    """The answer to a call that returns None."""

    def value(self) -> None:
        return None


class Number(Message, tag=True):
    number: int

    def value(self) -> int:
        return self.number


class Points(Message, tag=True):
    points: list[PackedPoint]

    def value(self) -> list[Point]:
        return [point.unpack() for point in self.points]


class Hits(Message, tag=True):
    hits: list[Hit]

    def value(self) -> list[Hit]:
        return self.hits


class Scored(Message, tag=True):
    scores: dict[str, float]

    def value(self) -> dict[str, float]:
        return self.scores


class Information(Message, tag=True):
    info: StoreInfo

    def value(self) -> StoreInfo:
        return self.info


class TooLarge(Message, tag=True):
    """The answer would be larger than MAX_MESSAGE_BYTES."""

    size: int

    def value(self) -> None:
        raise MessageTooLargeError(
            f"The answer has {self.size / 2**20:.0f} MiB, and at most "
            f"{MAX_MESSAGE_BYTES // 2**20} MiB can be sent at once. Ask for fewer points."
        )


class Failure(Message, tag=True):
    """An error of index.errors, by the name of its class, with whatever fields it carries."""

    name: str
    message: str
    fields: dict[str, str | int | float | bool | None]

    @classmethod
    def pack(cls, error: Exception) -> Failure:
        if not isinstance(error, errors.LongtakeError):
            return cls("StoreError", f"{type(error).__name__}: {error}", {})
        known = next(
            kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__
        )
        plain = (str, int, float, bool, type(None))
        fields = {key: value for key, value in vars(error).items() if isinstance(value, plain)}
        return cls(known, str(error), fields)

    def value(self) -> None:
        kind = getattr(errors, self.name, errors.StoreError)
        error = kind(self.message)
        for key, value in self.fields.items():
            setattr(error, key, value)
        raise error


Reply = Nothing | Number | Points | Hits | Scored | Information | TooLarge | Failure


class EnsureSpaces(Message, tag=True):
    spaces: list[VectorSpace]

    def apply(self, store: Store) -> Reply:
        store.ensure_spaces(self.spaces)
        return Nothing()


class Upsert(Message, tag=True):
    points: list[PackedPoint]

    def apply(self, store: Store) -> Reply:
        store.upsert([point.unpack() for point in self.points])
        return Nothing()


class Delete(Message, tag=True):
    where: PackedFilter

    def apply(self, store: Store) -> Reply:
        store.delete(self.where.unpack())
        return Nothing()


class Retrieve(Message, tag=True):
    ids: list[str]
    with_vectors: bool
    with_payload: bool = True

    def apply(self, store: Store) -> Reply:
        points = store.retrieve(
            self.ids, with_vectors=self.with_vectors, with_payload=self.with_payload
        )
        return Points([PackedPoint.pack(point) for point in points])


class Query(Message, tag=True):
    space: str
    vector: PackedVector
    where: PackedFilter
    limit: int
    exact: bool
    with_payload: bool = True

    def apply(self, store: Store) -> Reply:
        return Hits(
            store.query(
                self.space,
                unpack_vector(self.vector),
                where=self.where.unpack(),
                limit=self.limit,
                exact=self.exact,
                with_payload=self.with_payload,
            )
        )


class Scores(Message, tag=True):
    space: str
    vector: PackedVector
    ids: list[str]

    def apply(self, store: Store) -> Reply:
        return Scored(store.scores(self.space, unpack_vector(self.vector), self.ids))


class ScrollPage(Message, tag=True):
    where: PackedFilter
    after: str | None
    limit: int
    with_vectors: bool

    def apply(self, store: Store) -> Reply:
        points = store.scroll_page(
            self.where.unpack(),
            after=self.after,
            limit=self.limit,
            with_vectors=self.with_vectors,
        )
        return Points([PackedPoint.pack(point) for point in points])


class Count(Message, tag=True):
    where: PackedFilter

    def apply(self, store: Store) -> Reply:
        return Number(store.count(self.where.unpack()))


class Flush(Message, tag=True):
    def apply(self, store: Store) -> Reply:
        store.flush()
        return Nothing()


class Info(Message, tag=True):
    def apply(self, store: Store) -> Reply:
        return Information(store.info())


Request = (
    EnsureSpaces | Upsert | Delete | Retrieve | Query | Scores | ScrollPage | Count | Flush | Info
)


@functools.cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder:
    # Built at first use: a command that talks to nobody does not pay for it.
    with learning:
        return msgspec.msgpack.Decoder(kind)


def encode(message: Message | Greeting) -> bytes:
    """Raises MessageTooLargeError, and StoreError for a payload that is not JSON-like."""
    try:
        data = msgspec.msgpack.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise errors.StoreError(
            f"A payload holds something that cannot be stored: {error}"
        ) from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLargeError(
            f"A request of {len(data) / 2**20:.0f} MiB is more than the "
            f"{MAX_MESSAGE_BYTES // 2**20} MiB that can be sent at once. Write fewer points at "
            f"a time, or smaller ones."
        )
    return data


def decode_greeting(data: bytes) -> Greeting:
    """Raises ValueError where the other side is no Longtake."""
    return _decoder(Greeting).decode(data)


def decode_request(data: bytes) -> Request:
    """Raises ValueError."""
    return _decoder(Request).decode(data)


def decode_reply(data: bytes) -> Reply:
    """Raises ValueError."""
    return _decoder(Reply).decode(data)


def encode_reply(reply: Reply) -> bytes:
    """As `encode`, with a TooLarge in place of an answer that is too large to send."""
    try:
        return encode(reply)
    except MessageTooLargeError:
        return msgspec.msgpack.encode(TooLarge(MAX_MESSAGE_BYTES))
    except errors.StoreError as error:
        return msgspec.msgpack.encode(Failure.pack(error))
