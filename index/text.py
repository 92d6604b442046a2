"""Text analysis for BM25: words to term ids, by language, and the statistics that weigh them.

The analysis (tokenizer, stop words, stemmer, term hash) is the engine's. Term ids are salted with
the analyzer's name, so that terms of two languages never meet in the one sparse space `words`,
and one query vector can carry the terms of every language in the library.

BM25 (Robertson & Zaragoza 2009) is split as usual in sparse spaces: a passage's vector holds the
term-frequency part, a query's the inverse document frequencies. The engine counts the latter shard
by shard, which would make scores differ between shards, so the counts are ours: one catalogue
point for each generation and analyzer holds {term: passages of it with the term}. The number for
the library is the sum of that over generations, found by querying for the term.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from index.languages import TAGS, language_tag
from index.store import Filter, Hit, Match, SparseVector, Store, VectorSpace

if TYPE_CHECKING:
    from qdrant_edge import Bm25

WORDS = VectorSpace("words")
"""Passages, by term-frequency weight."""

K1 = 1.2
B = 0.75

PLAIN = "plain"
"""Words as they are, in lower case: no stop words, no stemming."""
SEGMENTED = "segmented"
"""The same for scripts in which a word is not simply a run of letters (Thai, Devanagari)."""

_STEMMED = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
_STOPPED = {
    "az": "azerbaijani",
    "ca": "catalan",
    "eu": "basque",
    "he": "hebrew",
    "id": "indonesian",
    "kk": "kazakh",
    "sl": "slovene",
    "tg": "tajik",
}
_STOPPED_AND_SEGMENTED = {"bn": "bengali", "ja": "japanese", "ne": "nepali", "zh": "chinese"}
_SEGMENTED_TAGS = ("gu", "hi", "km", "kn", "lo", "ml", "mr", "my", "pa", "si", "ta", "te", "th")

_BY_TAG = {
    **_STEMMED,
    **_STOPPED,
    **_STOPPED_AND_SEGMENTED,
    **dict.fromkeys(_SEGMENTED_TAGS, SEGMENTED),
}
_SEGMENTED_NAMES = frozenset((*_STOPPED_AND_SEGMENTED.values(), SEGMENTED))

ANALYZERS: tuple[str, ...] = (PLAIN, *sorted(set(_BY_TAG.values())))
"""Every analyzer there is. Those of _STEMMED stem and drop stop words; the others know no more
than the lists above say."""

_COUNT_TERM = 0xFFFFFFFF
"""Stands for "any term": its count is that of all passages. The engine's ids are the absolute
value of a 32-bit hash, so at most 2**31, and never this."""

# A number that stands alone. The engine's segmenting tokenizer drops those, so they are spelt.
_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")


def analyzer_for(language: str | None) -> str:
    """The analyzer for text in that language (a BCP 47 tag or anything `language_tag` knows);
    `plain` where it is unknown or there is nothing better."""
    return _BY_TAG.get(language_tag(language) or "", PLAIN)


def _spelt(number: re.Match[str]) -> str:
    return " q" + "".join("abcdefghij"[unicodedata.digit(d, 0)] for d in number.group()) + "q "


def _engine(name: str, average_length: float) -> Bm25:
    import qdrant_edge as engine

    options: dict[str, object] = {"k": K1, "b": B, "avg_len": average_length}
    if name in _SEGMENTED_NAMES:
        options["tokenizer"] = engine.TokenizerType.Multilingual
    else:
        options["tokenizer"] = engine.TokenizerType.Word
    if name in (PLAIN, SEGMENTED):
        options["stemmer"] = engine.DisabledStemmer()
        options["stopwords"] = engine.StopwordsSet(languages=set(), custom=set())
    else:
        options["language"] = name
    return engine.Bm25(engine.Bm25Config(**options))


class Analyzer:
    """Turns text into term ids and weights, in one language. Safe to share between threads.

    name: one of ANALYZERS. Raises ValueError for another.
    """

    def __init__(self, name: str):
        if name not in ANALYZERS:
            raise ValueError(f"no analyzer {name!r}; there are {', '.join(ANALYZERS)}")
        self.name = name
        self._salt = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        self._segmented = name in _SEGMENTED_NAMES
        self._engines: dict[float, Bm25] = {}
        self.tokens = functools.lru_cache(maxsize=8192)(self._tokens)
        """tokens(word): the term ids of a single word, as a frozenset; empty for a stop word."""

    def document(self, text: str, average_length: float) -> SparseVector:
        """The term-frequency weights of a passage.

        average_length: of a passage in terms. A constant of the passage's scale, never measured
        on the corpus, so that a passage's vector depends on nothing but its text.
        """
        vector = self._model(average_length).embed_document(self._prepare(text))
        pairs = sorted(
            (index ^ self._salt, value)
            for index, value in zip(vector.indices, vector.values, strict=True)
        )
        return SparseVector(tuple(i for i, _ in pairs), tuple(v for _, v in pairs))

    def query(self, text: str) -> tuple[int, ...]:
        """The unique term ids of a query, ascending."""
        vector, salt = self._model(1.0).embed_query(self._prepare(text)), self._salt
        return tuple(sorted([index ^ salt for index in vector.indices]))

    @property
    def count_term(self) -> int:
        """The id under which the number of all passages of this analyzer is counted."""
        return _COUNT_TERM ^ self._salt

    def highlight(self, text: str, terms: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Half-open character ranges of `text` whose words have one of `terms`, in order."""
        wanted = frozenset(terms)
        found: list[tuple[int, int]] = []
        for start, end in _words(text):
            if wanted & self.tokens(text[start:end]):
                found.extend(self._within(text, start, end, wanted) or [(start, end)])
        return tuple(found)

    def _within(
        self, text: str, start: int, end: int, wanted: frozenset[int]
    ) -> list[tuple[int, int]]:
        """In a script without spaces, the parts of a run of letters that are wanted words."""
        longest = 12  # characters of a word; names of that length are rare where it matters
        found = []
        at = start
        while self._segmented and at < end:
            for stop in range(at + 1, min(end, at + longest) + 1):
                tokens = self.tokens(text[at:stop])
                # Where it is the same word without its first character, that was a stop word.
                if (
                    len(tokens) == 1
                    and tokens <= wanted
                    and tokens != self.tokens(text[at + 1 : stop])
                ):
                    found.append((at, stop))
                    at = stop
                    break
            else:
                at += 1
        return found

    def _tokens(self, word: str) -> frozenset[int]:
        return frozenset(self.query(word))

    def _prepare(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text)  # a decomposed accent would split the word
        if self.name == "japanese":
            # Without a kana in it the engine takes a text for Chinese, and cuts it elsewhere. This
            # one is a stop word.
            text = "の " + text
        return _NUMBER.sub(_spelt, text) if self._segmented else text

    def _model(self, average_length: float) -> Bm25:
        model = self._engines.get(average_length)
        if model is None:
            model = self._engines[average_length] = _engine(self.name, average_length)
        return model


@functools.cache
def analyzer(name: str) -> Analyzer:
    """The shared `Analyzer` of that name."""
    return Analyzer(name)


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Character ranges of the runs of letters, marks and digits."""
    start = None
    for at, character in enumerate(text):
        if unicodedata.category(character)[0] in "LMN":
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, len(text)


_SURE = 0.7
_SURE_OF_FEW = 0.9
_FEW_LETTERS = 12
# On 2,463 short titles in some 20 languages this named 1,452, three of them wrongly; of 600 English
# sentences, 594, none wrongly.


@functools.cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # "zxx" is the model's own class for what is no language (code, numbers, addresses).
    identifier.set_languages((TAGS & set(identifier.labels)) | {"zxx"})
    return identifier


def detect_language(text: str) -> str | None:
    """The primary tag of the language that the text is in; None where it is too short or mixed to
    be sure, or no language at all. Loads its model (about 0.5 s) on first use.

    It uses py3langid, a naive Bayes model over byte n-grams (Lui & Baldwin 2012).
    """
    letters = sum(character.isalpha() for character in text)
    if not letters:
        return None
    tag, confidence = _identifier().classify(text[:20_000])
    if tag == "zxx" or confidence < (_SURE if letters >= _FEW_LETTERS else _SURE_OF_FEW):
        return None
    return language_tag(tag)


# --- Statistics -----------------------------------------------------------------------------

SAMPLING = (1, 4, 16, 64, 256)
"""Every generation is in `term_counts`, one in 4 of them also in `term_counts_4`, and so on: a
term that occurs everywhere is counted on a sample, so that a query over 10,000 videos need not
fetch 10,000 counts for it. Which generations are sampled follows from their ids."""

_ENOUGH = 64
"""Generations in a sample from which it is believed: the error of an idf is then about 0.15."""

_USUAL_LIMIT = 1024  # samples are chosen so that more hardly ever come; a large limit is slow
_ALL = 1_000_000_000

TERM_COUNTS = VectorSpace("term_counts")
TERM_COUNT_SAMPLES = {
    rate: VectorSpace(f"term_counts_{rate}") if rate > 1 else TERM_COUNTS for rate in SAMPLING
}

SPACES: tuple[VectorSpace, ...] = (WORDS, *TERM_COUNT_SAMPLES.values())
"""What a library of text needs."""


def term_count_vectors(
    generation_id: str, name: str, passages: int, counts: Mapping[int, int]
) -> dict[str, SparseVector]:
    """The vectors of the point that keeps one generation's counts for one analyzer."""
    whole = {**counts, analyzer(name).count_term: passages}
    terms = tuple(sorted(whole))
    vector = SparseVector(terms, tuple(float(whole[term]) for term in terms))
    draw = int.from_bytes(hashlib.blake2b(generation_id.encode(), digest_size=4).digest())
    return {space.name: vector for rate, space in TERM_COUNT_SAMPLES.items() if draw % rate == 0}


def inverse_document_frequency(df: float, n: float) -> float:
    """Lucene's, which is never negative."""
    return math.log1p((n - df + 0.5) / (df + 0.5))


def query_vector(tokens: Sequence[int], df: Mapping[int, float], n: float) -> SparseVector:
    """The inverse document frequencies of the terms that occur at all.

    tokens: unique term ids. df: passages that hold each. n: passages in all.
    """
    terms = tuple(sorted(term for term in tokens if df.get(term, 0.0) > 0.0))
    return SparseVector(
        terms, tuple(inverse_document_frequency(min(df[term], n), n) for term in terms)
    )


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A query's words, ready for the space `words`.

    vector: over the terms of every analyzer in the library. terms: by analyzer, for `highlight`.
    """

    vector: SparseVector
    terms: Mapping[str, tuple[int, ...]]


class TextStatistics:
    """How often terms occur in the whole library. Keeps nothing: counts are as of the call.

    `where` narrows the generations counted (hidden ones go by `must_not`); it should not carry
    the filters of a single search, lest the same words weigh differently from search to search.
    """

    def __init__(self, store: Store):
        self._store = store

    def analyzers(self, where: Filter = Filter()) -> tuple[str, ...]:
        """Names of the analyzers that passages were made with."""
        missing = {name: analyzer(name).count_term for name in ANALYZERS}
        while missing:
            terms = tuple(sorted(missing.values()))
            hits = self._query(TERM_COUNTS, SparseVector(terms, (1.0,) * len(terms)), where, 16)
            # One from a newer Longtake can be no more than passed over.
            if not {hit.payload["analyzer"] for hit in hits} & missing.keys():
                break
            for hit in hits:
                missing.pop(hit.payload["analyzer"], None)
        return tuple(name for name in ANALYZERS if name not in missing)

    def document_frequencies(
        self, name: str, terms: Sequence[int], where: Filter = Filter()
    ) -> tuple[float, dict[int, float]]:
        """(passages of that analyzer, {term: those that hold it}); exact while a term occurs in
        fewer than 64 generations, else an estimate."""
        n, rate = self._total(analyzer(name).count_term, SAMPLING[-1], where)
        return n, {term: min(n, self._total(term, rate, where)[0]) for term in terms}

    def query(self, text: str, where: Filter = Filter()) -> TextQuery:
        """The words of a query as a vector for the space `words`. Its vector is empty where no
        word of it occurs in the library (or it has none but stop words)."""
        weights: dict[int, float] = {}
        terms: dict[str, tuple[int, ...]] = {}
        for name in self.analyzers(where):
            terms[name] = analyzer(name).query(text)
            if terms[name]:
                n, df = self.document_frequencies(name, terms[name], where)
                vector = query_vector(terms[name], df, n)
                weights.update(zip(vector.indices, vector.values, strict=True))
        ordered = tuple(sorted(weights))
        return TextQuery(SparseVector(ordered, tuple(weights[t] for t in ordered)), terms)

    def _total(self, term: int, rate: int, where: Filter) -> tuple[float, int]:
        """(estimate of a term's count, sampling rate it is from): the coarsest sample of at most
        that rate with enough generations in it, or all."""
        vector = SparseVector((term,), (1.0,))
        while True:
            space = TERM_COUNT_SAMPLES[rate]
            hits = self._query(space, vector, where, _USUAL_LIMIT, with_payload=False)
            if len(hits) == _USUAL_LIMIT:
                hits = self._query(space, vector, where, _ALL, with_payload=False)
            if len(hits) >= _ENOUGH or rate == 1:
                return rate * sum(hit.score for hit in hits), rate
            finer = [r for r in SAMPLING if r < rate]
            rate = max(
                (r for r in finer if (len(hits) + 1) * rate / r >= _ENOUGH), default=finer[0]
            )

    def _query(
        self, space: VectorSpace, vector: SparseVector, where: Filter, limit: int, **how: bool
    ) -> list[Hit]:
        only = where.and_(Match("kind", ("text_stats",)))
        return self._store.query(space.name, vector, where=only, limit=limit, **how)
