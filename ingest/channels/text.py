"""What passages mean: a vector for each passage of a channel that has words.

The vectors are points of their own (kind "embedding"), not parts of the passages, so that another
text encoder can be tried beside the one in use, and passages be searched by their words while
their vectors are still being made. Each names its passage; a search drops those whose passage has
gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from index.library import Library
from index.passages import passage_from_payload, scale_of, scales_for
from index.schema import Generation, Passage, Video, make_id, microseconds
from index.store import Filter, Match, Point, Range, VectorSpace, scroll, where
from ingest.channel import Batch, DerivedChannel
from ingest.channels.settings import TextSettings
from ingest.models.encoders import PassageEncoder, space_name
from ingest.models.files import ModelFiles
from ingest.models.text_recipe import read_recipe, recipe_record

if TYPE_CHECKING:
    from ingest.segment_frames import Media

STRETCH_SECONDS = 600.0
"""What is read and encoded at once: some hundred sentences of speech. Stretches begin at multiples
of it, so that a resumed run puts the same passages into the same batches, whose composition shows
in the last digits of a vector."""

VERSION = 2
"""Of how passages become texts. Raise it with any change of `passage_text`."""


def passage_text(video: Video, passage: Passage) -> str:
    """What is encoded for a passage: so far its own words, and nothing of what surrounds it."""
    return passage.text


class PassageVectorChannel(DerivedChannel):
    """A `DerivedChannel` over one channel's passages.

    source: that channel. encoder: makes the encoder; called once a run, and only where there is
    something to encode (or where `spaces` are asked for that `describe` does not name). describe:
    what shapes its vectors, see `describe_encoder`.
    """

    names_records = True

    def __init__(
        self,
        source: str,
        encoder: Callable[[], PassageEncoder],
        describe: Mapping[str, Any],
    ):
        self.name = f"text:{source}"
        self.sources = (source,)
        self._encoder = encoder
        self._description = dict(describe)

    @property
    def spaces(self) -> tuple[VectorSpace, ...]:
        known = self._description
        if "space" in known and "size" in known:
            return (VectorSpace(known["space"], known["size"]),)
        encoder = self._encoder()
        return (VectorSpace(encoder.space, encoder.size),)

    def describe(self) -> Mapping[str, Any]:
        return {
            **self._description,
            "version": VERSION,
            "stretch_seconds": STRETCH_SECONDS,
        }

    def run(
        self,
        path: Media,
        video: Video,
        generation: Generation,
        from_seconds: float,
        library: Library,
        until_seconds: float | None = None,
    ) -> Iterator[Batch]:
        """One batch for each stretch that holds passages, and one that closes. Memory: that of a
        stretch. Raises what the encoder raises, ModelMissingError above all."""
        if until_seconds is not None:
            yield from self._follow(video, generation, from_seconds, until_seconds, library)
            return
        source = self.sources[0]
        wanted = _passages_of(library, generation, source)
        encoder: PassageEncoder | None = None
        end_seconds = max(video.duration_seconds or 0.0, from_seconds)
        stretch = int(from_seconds // STRETCH_SECONDS)
        while library.store.count(_starting(wanted, stretch * STRETCH_SECONDS, None)):
            start = stretch * STRETCH_SECONDS
            stretch += 1
            end = stretch * STRETCH_SECONDS
            passages = _passages(library, _starting(wanted, start, end))
            if not passages:
                continue
            if encoder is None:
                encoder = self._encoder()
            vectors = encoder.encode_passages([passage_text(video, one) for one in passages])
            end_seconds = max(end_seconds, *(one.end_seconds for one in passages))
            points = tuple(
                embedding_point(generation, passage, encoder.space, vector)
                for passage, vector in zip(passages, vectors, strict=True)
                if passage.start_seconds >= from_seconds
            )
            yield Batch((), end, min(end, end_seconds), points=points)
        done = max(end_seconds, stretch * STRETCH_SECONDS)
        yield Batch((), done, end_seconds)

    def _follow(
        self,
        video: Video,
        generation: Generation,
        from_seconds: float,
        until_seconds: float,
        library: Library,
    ) -> Iterator[Batch]:
        """As `run`, of a stream that goes on: the passages that are new or have grown since the
        last time. Those that lie so near to the end that they may still grow are looked at again
        the next time."""
        reach = max(scale.max_seconds for scale in scales_for(self.sources[0]) if scale.meaning)
        wanted = _passages_of(library, generation, self.sources[0]).but_not(
            Range("provisional", gte=0)
        )
        at = from_seconds
        while at < until_seconds:
            until = min(at + STRETCH_SECONDS, until_seconds)
            passages = _passages(library, _starting(wanted, at, until))
            ids = [embedding_id(generation.id, passage.id) for passage in passages]
            there = {p.id: p.payload.get("digest") for p in library.store.retrieve(ids)}
            new = [
                passage
                for id, passage in zip(ids, passages, strict=True)
                if there.get(id) != text_digest(passage)
            ]
            points: tuple[Point, ...] = ()
            if new:
                encoder = self._encoder()
                vectors = encoder.encode_passages([passage_text(video, one) for one in new])
                points = tuple(
                    embedding_point(generation, passage, encoder.space, vector)
                    for passage, vector in zip(new, vectors, strict=True)
                )
            yield Batch((), max(from_seconds, until - reach), until, points=points)
            at = until


def embedding_point(generation: Generation, passage: Passage, space: str, vector) -> Point:
    """vector: float32 of the space's size. It belongs to `generation`, that of the vectors; its
    channel is the passage's, so that a search of one channel finds it."""
    payload = {
        "kind": "embedding",
        "video_id": passage.video_id,
        "epoch": passage.epoch,
        "channel": passage.channel,
        "generation": generation.id,
        "start_us": microseconds(passage.start_seconds),
        "start_seconds": passage.start_seconds,
        "end_seconds": passage.end_seconds,
        "passage": passage.id,
        "of": passage.generation,
        "language": passage.language,
        "digest": text_digest(passage),
    }
    return Point(embedding_id(generation.id, passage.id), payload, {space: vector})


def text_digest(passage: Passage) -> str:
    """Of the text that a vector was made of: passages grow."""
    return hashlib.blake2b(passage.text.encode(), digest_size=8).hexdigest()


def embedding_id(generation_id: str, passage_id: str) -> str:
    """The id of a passage's vector in that generation of vectors."""
    return make_id("embedding", generation_id, passage_id)


def describe_encoder(files: ModelFiles, settings: TextSettings) -> dict[str, Any]:
    """What shapes a passage's vector, for the fingerprint; the query's prefix is not among it.

    Raises ModelMissingError and ConfigError as `read_recipe` does.
    """
    recipe = read_recipe(
        files, passage_prefix=settings.passage_prefix, max_tokens=settings.max_tokens
    )
    record = recipe_record(recipe)
    del record["query_prefix"]
    space = space_name("text", files.name, files.digest)
    described = {"model": files.name, "digest": files.digest, "space": space}
    return described | {"size": recipe.size, "recipe": record}


def _passages_of(library: Library, generation: Generation, source: str) -> Filter:
    """Those of the generation's epoch that searchers see."""
    wanted = library.visible(
        where(kind="passage", video_id=generation.video_id, channel=source),
        library.hidden_generations(),
    )
    return wanted.and_(Match("epoch", (generation.epoch,)))


def _starting(wanted: Filter, start_seconds: float, end_seconds: float | None) -> Filter:
    end_us = None if end_seconds is None else microseconds(end_seconds)
    return wanted.and_(Range("start_us", gte=microseconds(start_seconds), lt=end_us))


def _passages(library: Library, wanted: Filter) -> list[Passage]:
    """Those that are searched by a vector, in time order; those without words left out."""
    found = [passage_from_payload(point.payload) for point in scroll(library.store, wanted)]
    found.sort(key=lambda passage: (passage.start_seconds, passage.end_seconds, passage.id))
    return [passage for passage in found if scale_of(passage).meaning and passage.text.strip()]
