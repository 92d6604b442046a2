"""Words become terms by language, and weigh the same wherever they lie."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_passages import statistics_points

from index.edge import EdgeStore
from index.languages import language_tag
from index.passages import SPEECH, passage_point
from index.schema import Generation, Passage
from index.settings import StoreSettings
from index.store import Filter, Match, where
from index.text import (
    ANALYZERS,
    K1,
    PLAIN,
    SPACES,
    B,
    TextStatistics,
    analyzer,
    analyzer_for,
    detect_language,
    query_vector,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("language", "word", "inflected", "stop_word"),
    [
        ("en", "house", "houses", "the"),
        ("de", "Haus", "Häuser", "und"),
        ("fr", "maison", "maisons", "les"),
        ("es", "casa", "casas", "los"),
        ("it", "libro", "libri", "della"),
        ("pt", "livro", "livros", "uma"),
        ("nl", "boek", "boeken", "het"),
        ("sv", "bil", "bilar", "och"),
        ("da", "bil", "biler", "ikke"),
        ("no", "bil", "biler", "ikke"),
        ("fi", "talo", "talossa", "minä"),
        ("hu", "ház", "házak", "hogy"),
        ("ro", "carte", "cartea", "pentru"),
        ("ru", "книга", "книги", "что"),
        ("tr", "kitap", "kitaplar", "ve"),
        ("el", "σπίτι", "σπίτια", "και"),
        ("ar", "كتاب", "الكتاب", "من"),
    ],
)
def test_inflected_words_are_one_term_and_stop_words_none(language, word, inflected, stop_word):
    own = analyzer(analyzer_for(language))
    assert own.tokens(word) == own.tokens(inflected)
    assert len(own.tokens(word)) == 1
    assert own.tokens(stop_word) == frozenset()


def test_languages_without_analysis_are_searched_word_by_word():
    for written in (None, "und", "pl", "ko", "xx-unknown"):
        assert analyzer_for(written) == PLAIN
    assert analyzer_for("eng") == analyzer_for("en-GB") == "english"
    plain = analyzer(PLAIN)
    assert plain.tokens("Życie") == plain.tokens("życie") != plain.tokens("życia")
    assert len(plain.query("한국어 텍스트")) == 2


@pytest.mark.parametrize(
    ("language", "text", "query"),
    [
        ("ja", "日本語のテキストを検索する2024年", "検索 2024"),
        ("ja", "機械学習を東京で学ぶ", "東京 機械学習"),
        ("zh", "这是中文文本搜索, 第3章", "搜索 3"),
        ("th", "ภาษาไทยข้อความ 25", "ข้อความ 25"),
        ("hi", "हिन्दी पाठ 7", "पाठ 7"),
    ],
)
def test_scripts_without_spaces_are_cut_into_words_and_keep_their_numbers(language, text, query):
    own = analyzer(analyzer_for(language))
    assert own.query(query)
    assert set(own.query(query)) <= set(own.document(text, 50.0).indices)


def test_an_accent_in_two_characters_is_the_same_letter():
    french = analyzer("french")
    assert french.query("e\u0301cole") == french.query("école")


def test_terms_of_two_languages_never_meet():
    words = "hotel taxi radio video internet computer"
    terms = [set(analyzer(name).query(words)) for name in ANALYZERS]
    assert all(terms)
    assert len(set().union(*terms)) == sum(map(len, terms))


def test_the_count_of_all_passages_is_no_words_term():
    english = analyzer("english")
    terms = {term for n in range(20_000) for term in english.tokens(f"word{n}")}
    assert english.count_term not in terms
    # The engine's own ids end at 2**31, and what stands for the count lies above them.
    salt = english.count_term ^ 0xFFFFFFFF
    assert max(term ^ salt for term in terms) <= 2**31


def test_an_unknown_analyzer_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"klingon.*english"):
        analyzer("klingon")


def test_document_weights_are_bm25s():
    own = analyzer(PLAIN)
    document = own.document("red green red blue red", 4.0)
    weights = dict(zip(document.indices, document.values, strict=True))
    for word, frequency in (("red", 3), ("green", 1), ("blue", 1)):
        (term,) = own.tokens(word)
        expected = frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * 5 / 4.0))
        assert weights[term] == pytest.approx(expected, rel=1e-5)


def shown(text: str, query: str, name: str) -> list[str]:
    return [text[a:b] for a, b in analyzer(name).highlight(text, analyzer(name).query(query))]


def test_highlights_are_the_words_that_match():
    text = "He runs; two Houses. RUN-away e\u0301coles!"
    assert shown(text, "running the house", "english") == ["runs", "Houses", "RUN"]
    assert shown("L’e\u0301cole et les écoles", "école", "french") == ["e\u0301cole", "écoles"]
    assert shown("这是中文文本搜索", "搜索", "chinese") == ["搜索"]
    assert shown("日本語のテキストを検索する", "検索", "japanese") == ["検索"]
    assert shown("ภาษาไทยข้อความ", "ข้อความ", "segmented") == ["ข้อความ"]
    assert shown("nothing here", "", "english") == []


@given(text=st.text(max_size=60), query=st.text(max_size=20), name=st.sampled_from(ANALYZERS))
@settings(max_examples=150, deadline=None)
def test_highlights_lie_in_order_within_the_text(text, query, name):
    end = 0
    for start, stop in analyzer(name).highlight(text, analyzer(name).query(query)):
        assert end <= start < stop <= len(text)
        end = stop


def test_a_language_is_named_only_where_it_is_sure():
    assert detect_language("How are you doing today, my friend?") == "en"
    assert detect_language("Wie geht es Ihnen heute, mein Freund?") == "de"
    assert detect_language("日本語のテキストを検索します") == "ja"
    assert detect_language("Як справи, друже, що нового сьогодні?") == "uk"
    for unsure in ("", "ok", "12:30 100%", "Hello", "pip install numpy"):
        assert detect_language(unsure) is None


def test_language_tags_are_read_as_files_and_containers_write_them():
    written = {
        "en": "en",
        "eng": "en",
        "en-US": "en",
        "pt_BR": "pt",
        "zh-Hant-TW": "zh",
        "ger": "de",
        "deu": "de",
        "English": "en",
        "Français": "fr",
        "und": None,
        "forced": None,
        "my-movie": None,
        "": None,
        None: None,
    }
    assert {name: language_tag(name) for name in written} == written


# --- Statistics -------------------------------------------------------------------------------


def library(path: Path, head_points: int) -> EdgeStore:
    quiet = StoreSettings(head_points=head_points, reserve_bytes=0, ballast_bytes=0, compact=False)
    store = EdgeStore(path, settings=quiet)
    store.ensure_spaces(SPACES)
    return store


def generation(number: int) -> Generation:
    return Generation(f"video {number}", 0, "speech", "fingerprint")


SHORT = dataclasses.replace(SPEECH, average_length=5.0)


def passages(number: int, texts: list[str], name: str = "english") -> list[Passage]:
    own = generation(number)
    return [
        Passage(
            own.video_id, 0, "speech", own.id, float(n), n + 1.0, text, name, (f"{number}/{n}",)
        )
        for n, text in enumerate(texts)
    ]


def fill(store: EdgeStore, texts_by_video: list[list[str]], name: str = "english") -> None:
    for number, texts in enumerate(texts_by_video):
        cut = passages(number, texts, name)
        points = [passage_point(passage, SHORT) for passage in cut]
        points += statistics_points(generation(number), cut)
        for at in range(0, len(points), 50):
            store.upsert(points[at : at + 50])


COLOURS = ["red", "green", "blue", "yellow", "white"]
VIDEOS = [
    [
        " ".join(COLOURS[(n * m) % 5] for m in range(1, 2 + (n + video) % 4)) + f" filler{video}"
        for n in range(20)
    ]
    for video in range(12)
]


def test_document_frequencies_are_those_of_the_whole_library(tmp_path):
    store = library(tmp_path, 64)
    fill(store, VIDEOS)
    every = [text.split() for texts in VIDEOS for text in texts]
    english = analyzer("english")
    terms = {word: english.query(word)[0] for word in [*COLOURS, "filler3", "absent"]}

    n, df = TextStatistics(store).document_frequencies("english", list(terms.values()))

    assert n == len(every)
    assert {word: df[term] for word, term in terms.items()} == {
        word: sum(word in text for text in every) for word in terms
    }

    hidden = Filter().but_not(Match("generation", (generation(3).id,)))
    n, df = TextStatistics(store).document_frequencies("english", [terms["filler3"]], hidden)
    assert (n, df[terms["filler3"]]) == (len(every) - 20, 0)
    store.close()


def test_scores_are_the_same_in_one_shard_and_over_many(tmp_path):
    found = []
    for folder, head_points in (("one", 20_000), ("many", 64)):
        store = library(tmp_path / folder, head_points)
        fill(store, VIDEOS)
        query = TextStatistics(store).query("the yellow and green filler7")
        hits = store.query("words", query.vector, where=where(kind="passage"), limit=100)
        found.append([(hit.id, pytest.approx(hit.score, rel=1e-6)) for hit in hits])
        shards = store.info().shards
        assert (shards == 1) == (folder == "one")
        store.close()
    assert len(found[0]) == 100
    # Equal scores may come in either order, so what is compared is what each passage scored.
    scores = [score.expected for _, score in found[0]]
    assert scores == sorted(scores, reverse=True)
    cut = [[pair for pair in hits if pair[1].expected > scores[-1] * 1.000001] for hits in found]
    assert sorted(cut[0], key=lambda p: p[0]) == sorted(cut[1], key=lambda p: p[0])
    assert [s.expected for _, s in found[0]] == [s for _, s in found[1]]


def test_a_score_is_bm25_over_the_whole_library(tmp_path):
    store = library(tmp_path, 64)
    fill(store, VIDEOS)
    query = TextStatistics(store).query("blue")
    (hit,) = store.query("words", query.vector, where=where(kind="passage"), limit=1)
    every = [text.split() for texts in VIDEOS for text in texts]
    df = sum("blue" in text for text in every)
    idf = math.log(1 + (len(every) - df + 0.5) / (df + 0.5))
    best = max(
        text.count("blue") * (K1 + 1) / (text.count("blue") + K1 * (1 - B + B * len(text) / 5.0))
        for text in every
    )
    assert hit.score == pytest.approx(idf * best, rel=1e-5)
    store.close()


def test_a_query_searches_every_language_of_the_library_at_once(tmp_path):
    store = library(tmp_path, 20_000)
    assert TextStatistics(store).analyzers() == ()
    assert TextStatistics(store).query("house").vector.indices == ()
    fill(store, [["two houses", "one tree"]], "english")
    german = Generation("anders", 0, "speech", "f")
    cut = [
        Passage("anders", 0, "speech", german.id, 0.0, 1.0, "viele Häuser", "german", ("e",), "de"),
        Passage("anders", 0, "speech", german.id, 1.0, 2.0, "kein Wald", "german", ("f",), "de"),
    ]
    store.upsert([*map(passage_point, cut), *statistics_points(german, cut)])

    statistics = TextStatistics(store)
    assert set(statistics.analyzers()) == {"english", "german"}
    query = statistics.query("Haus house")
    hits = store.query("words", query.vector, where=where(kind="passage"), limit=10)
    assert {hit.payload["text"] for hit in hits} == {"two houses", "viele Häuser"}
    assert set(query.terms) == {"english", "german"}
    store.close()


class Metered:
    """A store that counts what it hands out."""

    def __init__(self, store):
        self._store = store
        self.hits = 0

    def query(self, *arguments, **options):
        found = self._store.query(*arguments, **options)
        self.hits += len(found)
        return found


def test_counting_a_word_that_is_everywhere_stays_cheap_and_near(tmp_path):
    store = library(tmp_path, 20_000)
    points = []
    videos = 2000
    for number in range(videos):
        cut = passages(number, ["everywhere sometimes"] * 3 + ["everywhere"] * (number % 7))
        if number == 1234:
            cut = passages(number, ["everywhere rarely"])
        points += statistics_points(generation(number), cut)
    for at in range(0, videos, 100):
        store.upsert(points[at : at + 100])
    metered = Metered(store)
    english = analyzer("english")
    terms = [english.query(word)[0] for word in ("everywhere", "sometimes", "rarely")]

    n, df = TextStatistics(metered).document_frequencies("english", terms[:2])
    assert df[terms[0]] == n
    assert n == pytest.approx(12_000, rel=0.25)
    assert df[terms[1]] / n == pytest.approx(0.5, rel=0.15)
    assert metered.hits < videos / 2

    _, df = TextStatistics(metered).document_frequencies("english", terms[2:])
    assert df[terms[2]] == 1
    store.close()


def test_a_rare_word_weighs_more_and_an_absent_one_nothing():
    vector = query_vector([1, 2, 3], {1: 5.0, 2: 500.0, 3: 0.0}, 1000.0)
    weights = dict(zip(vector.indices, vector.values, strict=True))
    assert weights[1] > weights[2] > 0
    assert 3 not in weights


def test_heavy_libraries_wait_until_they_are_needed():
    code = (
        "import sys, index.text, index.passages, ingest.subtitles, ingest.identity, "
        "ingest.channels.speech\n"
        "heavy = {'qdrant_edge', 'py3langid', 'pysubs2', 'av', 'charset_normalizer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
