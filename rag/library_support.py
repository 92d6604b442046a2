"""What sentences are held against their sources with, out of a library: what its words weigh, and
its text encoder where one is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from index.library import Library
from index.schema import Space
from index.store import Filter
from index.text import TextStatistics, inverse_document_frequency
from rag.answer_settings import CheckSettings
from rag.settings import RetrieveSettings
from rag.support import SupportScorer
from rag.vectors import QueryEncoders

_FULL = 0.8
"""Share of the scale of cosines at which a sentence means the same as its source: other words for
it than the source's own keep a sure match's cosine from being reached."""


def scorer_of(
    library: Library,
    encoders: QueryEncoders | None,
    retrieve: RetrieveSettings,
    check: CheckSettings,
) -> SupportScorer:
    statistics = TextStatistics(library.store)
    visible = library.visible(Filter(), library.hidden_generations())

    def weigh(name: str, terms: Sequence[int]) -> Mapping[int, float]:
        total, counts = statistics.document_frequencies(name, tuple(terms), visible)
        if total <= 0:
            return {}
        return {t: inverse_document_frequency(counts[t], total) for t in terms}

    for space in library.spaces() if encoders is not None else ():
        if space.channel == "text" and (encoder := encoders.text(space)) is not None:
            ends = _ends(space, encoder, retrieve)
            return SupportScorer(check, weigh=weigh, embed=encoder.encode_queries, meaning=ends)
    return SupportScorer(check, weigh=weigh)


def _ends(space: Space, encoder, retrieve: RetrieveSettings) -> tuple[float, float]:
    scale = retrieve.scale_of(space.channel)
    if (ends := getattr(encoder, "cosine_range", None)) is not None:
        scale = scale.with_range(*ends)
    elif (zero := getattr(encoder, "unrelated_cosine", None)) is not None:
        scale = scale.with_zero(zero)
    return scale.zero, scale.zero + _FULL * (scale.full - scale.zero)
