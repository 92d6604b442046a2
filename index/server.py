"""A library on a Qdrant server or cluster. The only file that touches qdrant-client.

The library is one collection. Its vector spaces and payload indexes are those of the collection,
its schema version is in the collection's metadata. Every write waits until the server has applied
it and written it to its log, so what `flush` promises is the server's own durability.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from index.errors import LibraryNewerError, StoreError, StoreUnreachableError
from index.migrations import check_path, migrate
from index.schema import SCHEMA_VERSION
from index.server_points import our_point, their_filter, their_index, their_vector
from index.settings import ServerSettings
from index.store import (
    INDEXED_FIELDS,
    Filter,
    Hit,
    Point,
    StoreInfo,
    Vector,
    VectorSpace,
)
from index.vectors import (
    check_same_space,
    check_space,
    check_vector,
    check_vectors,
    last_of_each_id,
)

SCORED_AT_ONCE = 1000
"""Points whose ids are sent in one call."""

_VERSION_KEY = "longtake_schema_version"


class ServerStore:
    """The `Store` over a Qdrant server (as new as qdrant-client 1.20: spaces are added later).

    client: a ready qdrant_client.QdrantClient instead of one made from the settings; it stays the
        caller's to close.

    An upsert of at most ATOMIC_POINTS points is one request, which one shard of the server applies
    wholly or not at all; a collection that somebody has split into several shards gives that up.

    Raises StoreUnreachableError, LibraryNewerError, LibraryOlderError, and StoreError where the
    collection is somebody else's or the server refuses.
    """

    def __init__(self, settings: ServerSettings, *, client: Any = None):
        import qdrant_client

        self._models = qdrant_client.models
        self._settings = settings
        self._collection = settings.collection
        self._closed = False
        self._ours = client is None
        with self._translated("connect"):
            self._client = client or qdrant_client.QdrantClient(
                url=settings.url,
                api_key=settings.api_key.get_secret_value() if settings.api_key else None,
                timeout=int(settings.timeout_seconds),
            )
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._translated("open the collection"):
            if not self._client.collection_exists(self._collection):
                self._create()
            collection = self._client.get_collection(self._collection)
        version = (collection.config.metadata or {}).get(_VERSION_KEY)
        if not isinstance(version, int):
            raise StoreError(
                f"The collection {self._collection} at {self._settings.url} was not made by "
                "Longtake. Name another collection."
            )
        if version > SCHEMA_VERSION:
            raise LibraryNewerError(
                f"The collection {self._collection} at {self._settings.url} has schema version "
                f"{version}; this Longtake knows versions up to {SCHEMA_VERSION}. Upgrade "
                "Longtake, or name another collection."
            )
        check_path(version, SCHEMA_VERSION, f"{self._collection} at {self._settings.url}")
        self._spaces = self._read_spaces()
        migrate(self, version, SCHEMA_VERSION, self._record_version)
        missing = INDEXED_FIELDS.keys() - (collection.payload_schema or {}).keys()
        try:
            self._index_fields(missing, wait=not collection.points_count)
        except StoreError:
            if not collection.points_count:
                raise  # else it is a help, not a need: who may only read does without

    def _create(self) -> None:
        m = self._models
        try:
            self._client.create_collection(
                self._collection,
                vectors_config={},
                sparse_vectors_config={},
                on_disk_payload=True,
                quantization_config=m.ScalarQuantization(
                    scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8, always_ram=True)
                )
                if self._settings.quantize
                else None,
                metadata={_VERSION_KEY: SCHEMA_VERSION},
            )
        except Exception:
            # Two machines may start at once: the other one made it.
            if not self._client.collection_exists(self._collection):
                raise

    def _index_fields(self, fields: Iterable[str], *, wait: bool) -> None:
        """wait: until they are made, which in a large collection takes minutes."""
        with warnings.catch_warnings(), self._translated("index fields"):
            warnings.filterwarnings("ignore", message="Payload indexes have no effect")
            for field in sorted(fields):
                schema = their_index(self._models, field)
                self._client.create_payload_index(
                    self._collection, field, field_schema=schema, wait=wait
                )

    def _record_version(self, version: int) -> None:
        with self._translated("record the schema version"):
            self._client.update_collection(self._collection, metadata={_VERSION_KEY: version})

    def _read_spaces(self) -> dict[str, VectorSpace]:
        with self._translated("read the vector spaces"):
            params = self._client.get_collection(self._collection).config.params
        dense = params.vectors if isinstance(params.vectors, dict) else {}
        spaces = {n: VectorSpace(n, p.size, p.distance.value.lower()) for n, p in dense.items()}
        return spaces | {name: VectorSpace(name) for name in params.sparse_vectors or {}}

    # --- writing ---------------------------------------------------------------------------

    def ensure_spaces(self, spaces: Sequence[VectorSpace]) -> None:
        for space in spaces:
            check_space(space)
            if space.name not in self._spaces:
                self._spaces = self._read_spaces()  # another machine may have added it
            if space.name not in self._spaces:
                self._add_space(space)
            check_same_space(
                self._spaces[space.name],
                space,
                f"the collection {self._collection} at {self._settings.url}",
            )

    def _add_space(self, space: VectorSpace) -> None:
        m = self._models
        with self._translated(f"add the vector space {space.name}"):
            if space.size is None:
                config = m.SparseVectorNameConfig(sparse=m.SparseVectorConfig())
            else:
                distance = m.Distance.COSINE if space.distance == "cosine" else m.Distance.DOT
                config = m.DenseVectorNameConfig(
                    dense=m.DenseVectorConfig(size=space.size, distance=distance)
                )
            self._client.create_vector_name(
                self._collection, vector_name=space.name, vector_name_config=config, wait=True
            )
            if space.size is not None and self._settings.quantize:
                # The originals are read only to score the best again.
                self._client.update_collection(
                    self._collection,
                    vectors_config={space.name: m.VectorParamsDiff(on_disk=True)},
                )
        self._spaces = self._read_spaces()

    def upsert(self, points: Sequence[Point]) -> None:
        checked = check_vectors(last_of_each_id(points), self._spaces)
        made = [self._their_point(point, vectors) for point, vectors in checked]
        size = self._settings.batch_points
        for start in range(0, len(made), size):
            with self._translated("write points"):
                self._client.upsert(self._collection, made[start : start + size], wait=True)

    def delete(self, where: Filter) -> None:
        if not where.must and not where.must_not:
            raise StoreError("Deleting with an empty filter would delete everything.")
        with self._translated("delete points"):
            selector = self._models.FilterSelector(filter=their_filter(self._models, where))
            self._client.delete(self._collection, points_selector=selector, wait=True)

    def upsert_settled(
        self,
        points: Sequence[Point],
        *,
        only: Filter | None = None,
        insert: bool = True,
        update: bool = True,
    ) -> None:
        """Writes the points on a condition, in one request, ordered with all others of its kind:
        those that are there where their payload passes `only` (and never unless `update`), those
        that are not there where `insert`. `read_settled` tells what came of it."""
        m = self._models
        both = m.UpdateMode.UPSERT if insert and update else None
        with self._translated("write points"):
            self._client.upsert(
                self._collection,
                [
                    self._their_point(point, vectors)
                    for point, vectors in check_vectors(points, self._spaces)
                ],
                wait=True,
                ordering=m.WriteOrdering.STRONG,
                update_filter=None if only is None else their_filter(m, only),
                update_mode=both
                or (m.UpdateMode.INSERT_ONLY if insert else m.UpdateMode.UPDATE_ONLY),
            )

    def read_settled(self, ids: Sequence[str]) -> list[Point]:
        """The points without vectors, as all replicas know them, in the order asked for."""
        everywhere = self._models.ReadConsistencyType.ALL
        with self._translated("read points"):
            records = self._client.retrieve(
                self._collection, list(ids), with_payload=True, consistency=everywhere
            )
        found = {str(record.id): our_point(record) for record in records}
        return [found[i] for i in ids if i in found]

    def set_payload(self, fields: Mapping[str, Any], where: Filter) -> None:
        """Sets these fields of every point that passes, ordered as in `upsert_settled`."""
        m = self._models
        with self._translated("write payloads"):
            self._client.set_payload(
                self._collection,
                payload=dict(fields),
                points=m.FilterSelector(filter=their_filter(m, where)),
                wait=True,
                ordering=m.WriteOrdering.STRONG,
            )

    # --- reading ---------------------------------------------------------------------------

    def retrieve(
        self, ids: Sequence[str], *, with_vectors: bool = False, with_payload: bool = True
    ) -> list[Point]:
        found: dict[str, Point] = {}
        size = self._settings.batch_points
        for start in range(0, len(ids), size):
            with self._translated("read points"):
                records = self._client.retrieve(
                    self._collection,
                    list(ids[start : start + size]),
                    with_payload=with_payload,
                    with_vectors=with_vectors,
                )
            found.update((str(record.id), our_point(record)) for record in records)
        return [found[i] for i in ids if i in found]

    def query(
        self,
        space: str,
        vector: Vector,
        *,
        where: Filter,
        limit: int,
        exact: bool = False,
        with_payload: bool = True,
    ) -> list[Hit]:
        if space not in self._spaces:
            self._spaces = self._read_spaces()
        if limit < 1 or space not in self._spaces:
            return []
        with self._translated("search"):
            found = self._client.query_points(
                self._collection,
                query=their_vector(self._models, check_vector(self._spaces[space], vector)),
                using=space,
                query_filter=their_filter(self._models, where),
                search_params=self._models.SearchParams(exact=True) if exact else None,
                limit=limit,
                with_payload=with_payload,
            )
        return [Hit(str(p.id), p.score, p.payload or {}) for p in found.points]

    def scores(self, space: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        if space not in self._spaces:
            self._spaces = self._read_spaces()
        m = self._models
        for start in range(0, len(ids) if space in self._spaces else 0, SCORED_AT_ONCE):
            these = list(ids[start : start + SCORED_AT_ONCE])
            with self._translated("search"):
                answer = self._client.query_points(
                    self._collection,
                    query=their_vector(m, check_vector(self._spaces[space], vector)),
                    using=space,
                    query_filter=m.Filter(must=[m.HasIdCondition(has_id=these)]),
                    search_params=m.SearchParams(exact=True),
                    limit=len(these),
                    with_payload=False,
                )
            found.update((str(p.id), p.score) for p in answer.points)
        return found

    def scroll_page(
        self, where: Filter, *, after: str | None, limit: int, with_vectors: bool = False
    ) -> list[Point]:
        offset = None
        if after is not None:
            following = uuid.UUID(after).int + 1
            if following >> 128:
                return []
            offset = str(uuid.UUID(int=following))
        with self._translated("scroll"):
            records, _ = self._client.scroll(
                self._collection,
                scroll_filter=their_filter(self._models, where),
                limit=limit,
                offset=offset,
                with_payload=True,
                with_vectors=with_vectors,
            )
        return [our_point(record) for record in records]

    def count(self, where: Filter) -> int:
        with self._translated("count"):
            return self._client.count(
                self._collection, count_filter=their_filter(self._models, where), exact=True
            ).count

    # --- the rest --------------------------------------------------------------------------

    def flush(self) -> None:
        """Every write has waited for the server, so there is nothing left to wait for."""
        with self._translated("flush"):
            pass

    def info(self) -> StoreInfo:
        with self._translated("ask for the state"):
            state = self._client.get_collection(self._collection)
        return StoreInfo(
            engine="qdrant server",
            location=f"{self._settings.url} ({self._collection})",
            schema_version=SCHEMA_VERSION,
            points=self.count(Filter()),
            shards=state.config.params.shard_number or 1,
            detail={"status": str(getattr(state.status, "value", state.status))},
        )

    def close(self) -> None:
        if not self._closed and self._ours and hasattr(self, "_client"):
            self._client.close()
        self._closed = True

    def __enter__(self) -> ServerStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- translation -----------------------------------------------------------------------

    def _their_point(self, point: Point, vectors: Mapping[str, Vector]) -> Any:
        with self._translated(f"take the point {point.id}"):
            return self._models.PointStruct(
                id=str(uuid.UUID(point.id)),
                payload=point.payload,
                vector={name: their_vector(self._models, v) for name, v in vectors.items()},
            )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException
        from qdrant_client.http.exceptions import UnexpectedResponse as Refusal

        url = self._settings.url
        if self._closed:
            raise StoreError(f"The library at {url} is closed.")
        try:
            yield
        except (ResponseHandlingException, ConnectionError, TimeoutError) as error:
            raise StoreUnreachableError(
                f"The Qdrant server at {url} cannot be reached to {what} ({error}). Is it running, "
                "and is the address right?"
            ) from error
        except Refusal as error:
            if error.status_code in (401, 403):
                raise StoreError(
                    f"The Qdrant server at {url} refused to {what}: the API key is missing or has "
                    "not the rights."
                ) from error
            raise StoreError(f"The Qdrant server at {url} refused to {what}: {error}") from error
        except (ApiException, QdrantException, ValueError) as error:
            raise StoreError(f"The Qdrant server at {url} failed to {what}: {error}") from error
