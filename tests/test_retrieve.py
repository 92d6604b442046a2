"""Searching: what is found, where it lies, how channels agree, and what is never shown."""

from __future__ import annotations

import string
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import talks
from talks import put_channel, put_video

from index.errors import MediaError, UsageError, VideoNotFoundError
from index.library import Library
from index.store import where
from index.text import Analyzer
from rag.retrieve import Retriever
from rag.settings import RetrieveSettings


def search(library: Library, text: str = "", **options):
    return Retriever(library).search(text, **options)


def found(library: Library, text: str = "", **options) -> list[tuple[str, float, float]]:
    moments = search(library, text, **options).moments
    return [(m.title, m.start_seconds, m.end_seconds) for m in moments]


def test_a_moment_is_the_sentence_that_matches_not_the_passage_around_it(films):
    moment = search(films, "clockwork").moments[0]
    assert (moment.title, moment.start_seconds, moment.end_seconds) == ("Lighthouse", 12.0, 15.0)
    assert [moment.text[a:b] for a, b in moment.highlights] == ["clockwork"]
    assert moment.path == "/films/Lighthouse.mp4"
    assert moment.coverage == {"speech": 1.0}
    assert 0 < moment.score <= 1


def test_inflected_words_match(films):
    assert found(films, "inventing lenses")[0] == ("Lighthouse", 30.0, 34.0)


def test_matching_neighbours_are_one_moment(films):
    assert found(films, "lens beam")[0] == ("Lighthouse", 30.0, 38.0)


def test_a_moment_that_holds_more_of_the_query_comes_first(films):
    assert found(films, "moon ocean")[:2] == [("Tides", 3.5, 8.0), ("Tides", 20.0, 26.0)]


def test_nothing_found_is_an_answer(films):
    result = search(films, "helicopter")
    assert result.moments == () and result.more == 0


def test_a_library_without_words_finds_nothing(library):
    assert found(library, "anything") == []
    put_video(library, "silent")
    assert found(library, "anything") == []


def test_only_the_asked_videos_and_channels(writable):
    put_channel(writable, writable.find("Tides"), "screen_text", [(1, 5, "WATER")], language=None)
    assert {title for title, *_ in found(writable, "water")} == {"Lighthouse", "Tides"}
    assert {title for title, *_ in found(writable, "water", videos=["Lighthouse"])} == {
        "Lighthouse"
    }
    assert found(writable, "water", channels=["screen_text"]) == [("Tides", 1.0, 5.0)]
    with pytest.raises(VideoNotFoundError):
        search(writable, "water", videos=["Volcano"])
    with pytest.raises(UsageError, match="speech, screen_text"):
        search(writable, "water", channels=["speach"])


def test_a_limit_leaves_the_best_and_says_how_many_more(films):
    result = search(films, "water", limit=1)
    assert len(result.moments) == 1 and result.more == 1
    with pytest.raises(UsageError):
        search(films, "water", limit=0)


@pytest.mark.parametrize("text", ["", "   ", "?!", "...", "—"])
def test_a_query_without_a_word_is_refused(films, text):
    with pytest.raises(UsageError):
        search(films, text)


def test_a_query_of_stop_words_says_so(films):
    result = search(films, "the of and")
    assert result.moments == ()
    assert "too common" in result.notes[0]


def test_stop_words_count_for_nothing_in_text_of_no_known_language_either(writable):
    put_channel(
        writable, writable.find("Tides"), "screen_text", [(40, 42, "The end")], language=None
    )
    for alone in ("the", "the a of"):
        result = search(writable, alone)
        assert result.moments == ()
        assert "too common to search for in English" in result.notes[0]
    assert found(writable, "the clockwork") == [("Lighthouse", 12.0, 15.0)]
    assert found(writable, "the end") == [("Tides", 40.0, 42.0)]


def test_bytes_that_are_no_text_do_no_harm(films):
    assert found(films, "clockwork \udcff") == [("Lighthouse", 12.0, 15.0)]
    with pytest.raises(UsageError, match="no word"):
        search(films, "\udcff\udcfe")


def lookups(library: Library, text: str, monkeypatch) -> int:
    """Questions that a search puts to the store, and to the tokenizers."""
    asked = 0

    def counted(original):
        def call(*arguments, **options):
            nonlocal asked
            asked += 1
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(library.store, "query", counted(library.store.query))
        patch.setattr(Analyzer, "query", counted(Analyzer.query))
        search(library, text)
    return asked


def test_a_long_query_costs_no_more_than_its_length(films, monkeypatch):
    words = [f"{a}{b}{c}word" for a in "bdfgk" for b in "aeiou" for c in string.ascii_lowercase]
    short = lookups(films, " ".join(words[:30]), monkeypatch)
    long = lookups(films, " ".join(words[30:630]), monkeypatch)
    assert long < 25 * short
    assert lookups(films, "clockwork " * 3000, monkeypatch) < short
    result = search(films, " ".join(["clockwork", *words[:600]]), explain=True)
    assert "first 256 different words" in result.notes[0]
    assert "clockwork" in {term.word for term in result.terms}


def test_words_of_a_script_without_spaces_are_named_each(writable):
    video = put_video(writable, "潮汐")
    put_channel(writable, video, "speech", [(5, 9, "月亮的引力引起海水的潮汐。")], language="zh")
    terms = search(writable, "月亮引力潮汐", explain=True).terms
    assert {"月亮", "引力", "潮汐"} <= {term.word for term in terms}


def test_an_image_that_is_no_file_is_told(films, tmp_path):
    with pytest.raises(MediaError, match="check the spelling"):
        search(films, image=tmp_path / "missing.png")
    with pytest.raises(MediaError, match="is a folder"):
        search(films, image=tmp_path)


def test_an_enormous_limit_is_refused(films):
    with pytest.raises(UsageError, match="at most 1000"):
        search(films, "water", limit=99999999999999999999)


def test_one_query_searches_every_language(writable):
    german = put_video(writable, "Gezeiten")
    lines = [(0, 4, "Der Leuchtturm steht auf einem Felsen."), (50, 54, "Die Häuser am Meer.")]
    put_channel(writable, german, "speech", lines, language="de")
    chinese = put_video(writable, "潮汐")
    put_channel(writable, chinese, "speech", [(5, 9, "月亮的引力引起海水的潮汐。")], language="zh")
    assert found(writable, "Haus") == [("Gezeiten", 50.0, 54.0)]
    assert found(writable, "clockwork") == [("Lighthouse", 12.0, 15.0)]
    moment = search(writable, "月亮").moments[0]
    assert (moment.title, moment.start_seconds) == ("潮汐", 5.0)
    assert [moment.text[a:b] for a, b in moment.highlights] == ["月亮"]


def test_channels_that_agree_are_one_moment_and_rank_higher(writable):
    tides = writable.find("Tides")
    put_channel(writable, tides, "screen_text", [(4.0, 9.0, "OCEAN WATER")], language="en")
    alone = search(writable, "water", videos=["Lighthouse"]).moments[0]
    moment = search(writable, "water").moments[0]
    assert (moment.start_seconds, moment.end_seconds) == (3.5, 9.0)
    assert {hit.channel for hit in moment.hits} == {"speech", "screen_text"}
    assert moment.score > alone.score
    assert moment.score > max(search(writable, "water", channels=[c]).moments[0].score
                              for c in ("speech", "screen_text"))  # fmt: skip
    for hit in moment.hits:
        assert hit.rank >= 1 and hit.score > 0 and hit.evidence


def test_a_slide_that_stays_does_not_stretch_what_is_said_over_it(library):
    video = put_video(library, "Lecture", 700.0)
    put_channel(library, video, "screen_text", [(0, 600, "Eigenvalues")], language="en")
    put_channel(library, video, "speech", [(300, 304, "Eigenvalues are roots.")], language="en")
    assert found(library, "eigenvalues") == [("Lecture", 300.0, 304.0)]


def test_a_word_in_every_sentence_makes_no_endless_moment(library):
    video = put_video(library, "Lecture", 900.0)
    lines = [(t, t + 3, f"A vector again, number {t}.") for t in range(0, 900, 4)]
    put_channel(library, video, "speech", lines)
    moments = search(library, "vector").moments
    assert moments
    assert max(m.end_seconds - m.start_seconds for m in moments) <= 60.0
    ordered = sorted(moments, key=lambda m: m.start_seconds)
    for one, other in pairwise(ordered):
        overlap = one.end_seconds - other.start_seconds
        shorter = min(m.end_seconds - m.start_seconds for m in (one, other))
        assert overlap < 0.5 * shorter


def test_times_of_words_narrow_a_long_stretch_of_speech_to_the_sentence(library):
    text = "First we talk about boats. Then the anchor drops. At last everybody sleeps."
    words = [[float(at), at + 0.9, word] for at, word in enumerate(text.split())]
    video = put_video(library, "Boats")
    put_channel(library, video, "speech", [(0, 14, text)], attributes=[{"words": words}])
    moment = search(library, "anchor").moments[0]
    assert (moment.start_seconds, moment.end_seconds) == (5.0, 8.9)
    assert moment.text == "Then the anchor drops."
    assert [moment.text[a:b] for a, b in moment.highlights] == ["anchor"]


def test_word_times_that_do_not_fit_the_text_are_passed_over(library):
    put_channel(
        library,
        put_video(library, "Boats"),
        "speech",
        [(0, 14, "Boats. Then the anchor drops.")],
        attributes=[{"words": [[0.0, 1.0, "something"], [1.0, 2.0, "else"]]}],
    )
    assert found(library, "anchor") == [("Boats", 0.0, 14.0)]


def test_a_generation_being_built_is_not_seen_until_the_flip(writable):
    video = writable.find("Tides")
    lines = [(0.0, 3.0, "Volcanoes instead.")]
    new = put_channel(writable, video, "speech", lines, fingerprint="2", state="building")
    assert found(writable, "volcanoes") == []
    assert found(writable, "moon")
    writable.finish([(new, (), ())])
    assert found(writable, "volcanoes") == [("Tides", 0.0, 3.0)]
    assert found(writable, "moon") == []


class FlipDuring:
    """The library's store, under which a new generation takes over while a search runs."""

    def __init__(self, library: Library, new):
        self._library, self._new = library, new

    def __getattr__(self, name: str):
        return getattr(self._library.store, name)

    def query(self, space, *args, **kwargs):
        hits = self._library.store.query(space, *args, **kwargs)
        if space == "words" and self._new is not None:
            self._library.finish([(self._new, (), ())])
            self._new = None
        return hits


def test_a_flip_during_a_search_shows_the_new_and_nothing_of_the_old(writable):
    lines = [(40.0, 43.0, "The moon shows only one face.")]
    new = put_channel(
        writable, writable.find("Tides"), "speech", lines, fingerprint="2", state="building"
    )
    library = Library(FlipDuring(writable, new))
    assert found(library, "moon") == [("Tides", 40.0, 43.0)]


def test_evidence_that_vanished_under_its_passages_is_passed_over(writable):
    writable.store.delete(where(kind="evidence", video_id=writable.find("Tides").id))
    assert found(writable, "moon") == []
    assert found(writable, "water") == [("Lighthouse", 4.5, 8.0)]


def test_a_video_that_was_removed_meanwhile_is_passed_over(writable):
    writable.store.delete(where(kind="video", video_id=writable.find("Tides").id))
    assert found(writable, "moon") == []


def test_words_that_occur_everywhere_do_not_make_a_result_alone(library):
    video = put_video(library, "Lecture", 2000.0)
    lines = [(t, t + 5, f"Slide {t} shows a picture.") for t in range(0, 2000, 40)]
    lines[25] = (1000, 1005, "Slide 1000 shows the zeppelin.")
    put_channel(library, video, "speech", lines)
    result = search(library, "slide zeppelin", explain=True)
    assert [m.start_seconds for m in result.moments] == [1000.0]
    assert "floor" in result.dropped[0].reason


def test_explain_names_words_weights_and_what_was_merged(writable):
    put_channel(
        writable, writable.find("Tides"), "screen_text", [(4.0, 9.0, "MOON")], language="en"
    )
    result = search(writable, "moon", explain=True)
    assert len(result.explanations) == len(result.moments)
    channels = {find.channel for find in result.explanations[0].finds}
    assert channels == {"speech", "screen_text"}
    term = result.explanations[0].finds[0].terms[0]
    assert term.word == "moon" and term.idf > 0 and 0 < term.passages <= term.of
    assert search(writable, "moon").explanations == ()


def test_settings_bound_the_length_of_a_moment(films):
    short = Retriever(films, RetrieveSettings(longest_moment_seconds=5.0))
    found = short.search("lens beam").moments
    assert found and all(m.end_seconds - m.start_seconds <= 5.0 for m in found)


# Pictures


def picture(seed: int) -> np.ndarray:
    """uint8 (180, 320, 3): large soft shapes, as pictures have."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, (320, 180), interpolation=cv2.INTER_CUBIC)


def save(path: Path, image: np.ndarray, quality: int = 95) -> Path:
    import cv2

    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Library:
    import cv2

    from ingest.models.pdq import fingerprint, to_vector

    library = talks.films_at(tmp_path_factory.mktemp("pictures") / "library")
    for at, title in enumerate(["Lighthouse", "Tides"]):
        lines = [(0.0, 9.0, ""), (9.0, 30.0, "")]
        rgb = [cv2.cvtColor(picture(10 * at + n), cv2.COLOR_BGR2RGB) for n in range(2)]
        vectors = [{"fingerprint": to_vector(fingerprint(image).bits)} for image in rgb]
        video = library.find(title)
        put_channel(library, video, "fingerprint", lines, language=None, vectors=vectors)
    yield library
    library.store.close()


def test_the_same_picture_is_found_where_it_stands(pictures, tmp_path):
    moments = search(pictures, image=save(tmp_path / "p.png", picture(11))).moments
    assert [(m.title, m.start_seconds, m.end_seconds) for m in moments] == [("Tides", 9.0, 30.0)]
    assert moments[0].text == "same picture" and moments[0].score > 0.95


def test_a_smaller_darker_recompressed_copy_is_found_and_another_picture_is_not(pictures, tmp_path):
    import cv2

    copy = cv2.resize((picture(0) * 0.8).astype(np.uint8), (200, 113))
    moments = search(pictures, image=save(tmp_path / "copy.jpg", copy, 40)).moments
    assert [(m.title, m.start_seconds) for m in moments] == [("Lighthouse", 0.0)]
    result = search(pictures, image=save(tmp_path / "other.png", picture(99)), explain=True)
    assert result.moments == ()
    assert "bits differ" in result.dropped[0].reason


def test_words_and_a_picture_together_agree(pictures, tmp_path):
    image = save(tmp_path / "p.png", picture(11))
    moment = search(pictures, "spring tide", image=image).moments[0]
    assert moment.title == "Tides"
    assert {hit.channel for hit in moment.hits} == {"speech", "fingerprint"}
    assert moment.text == "A spring tide comes with the full moon."


def test_a_picture_that_cannot_be_read_is_named(pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    for path in (broken, tmp_path / "missing.png"):
        with pytest.raises(MediaError, match=path.name):
            search(pictures, image=path)


def test_a_plain_surface_is_warned_about(pictures, tmp_path):
    black = save(tmp_path / "black.png", np.zeros((90, 160, 3), np.uint8))
    assert "so little" in search(pictures, image=black).notes[0]
