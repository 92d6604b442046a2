"""Search by meaning: what shares no word is found, agreement counts, and nothing stale shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import talks
from minilm import minilm_files
from talks import put_channel, put_video

from index.errors import ModelMissingError
from index.library import Library
from index.schema import Generation, Space, Video
from index.store import where
from ingest.channels.settings import TextSettings
from ingest.channels.text import PassageVectorChannel, describe_encoder
from ingest.models.text_encoder import TransformersTextEncoder
from rag.retrieve import Retriever, SearchResult
from rag.settings import CosineScale, PresenceSettings, RetrieveSettings
from rag.vectors import QueryEncoders

MODEL = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    import torch

    torch.set_num_threads(2)
    return TransformersTextEncoder(minilm_files(tmp_path_factory.mktemp("prepared")), device="cpu")


def embed(
    library: Library,
    video: Video,
    encoder,
    source: str = "speech",
    *,
    fingerprint: str = "1",
    state: str = "active",
) -> Generation:
    """Gives the passages of a channel their vectors, as indexing does."""
    channel = PassageVectorChannel(source, lambda: encoder, {"model": MODEL})
    generation = Generation(video.id, 0, channel.name, fingerprint, state=state, complete=True)
    library.add_space(Space(encoder.space, "text", MODEL, encoder.size), generation.id)
    for batch in channel.run(Path("film.mp4"), video, generation, 0.0, library):
        library.commit_all([(generation, (), batch.points)])
    return generation


def embed_films(path: Path, encoder) -> Library:
    library = talks.films_at(path)
    for title in ("Lighthouse", "Tides"):
        embed(library, library.find(title), encoder)
    return library


@pytest.fixture(scope="module")
def films(tmp_path_factory, encoder) -> Library:
    library = embed_films(tmp_path_factory.mktemp("films") / "library", encoder)
    yield library
    library.store.close()


@pytest.fixture
def writable(tmp_path, encoder) -> Library:
    library = embed_films(tmp_path / "library", encoder)
    yield library
    library.store.close()


def search(
    library: Library, encoder, text: str = "", settings: RetrieveSettings | None = None, **options
) -> SearchResult:
    encoders = QueryEncoders(lambda space: encoder)
    return Retriever(library, settings, encoders).search(text, **options)


def titles(result: SearchResult) -> list[str]:
    return [moment.title for moment in result.moments]


# What was said and written


def test_what_shares_no_word_with_the_query_is_found_by_its_meaning(films, encoder):
    query = "lunar gravity makes sea levels go up"
    assert Retriever(films).search(query).moments == ()
    result = search(films, encoder, query, explain=True)
    assert titles(result) == ["Tides"]
    moment = result.moments[0]
    assert "The moon pulls at the water of the ocean." in moment.text
    # A stretch of what is about it, and in that the time of the sentence itself.
    assert 0.0 <= moment.start_seconds <= moment.text_start_seconds
    assert moment.text_start_seconds < moment.text_end_seconds <= moment.end_seconds <= 60.0
    find = result.explanations[0].finds[0]
    assert find.cosine == pytest.approx(find.raw) and 0.3 < find.cosine < 1.0
    assert f"cosine {find.cosine:.3f} ({MODEL})" in find.reason()
    assert result.moments[0].hits[0].score == find.raw


def test_a_word_that_matches_narrows_what_the_meaning_found(films, encoder):
    moment = search(films, encoder, "clockwork").moments[0]
    assert (moment.title, moment.text_start_seconds, moment.text_end_seconds) == (
        "Lighthouse",
        12.0,
        15.0,
    )
    assert moment.start_seconds <= 12.0 and moment.end_seconds >= 15.0
    assert [moment.text[a:b] for a, b in moment.highlights] == ["clockwork"]


def test_words_and_meaning_that_agree_score_higher_than_either(films, encoder):
    query = "the moon pulls the ocean"
    by_words = Retriever(films).search(query).moments[0]
    both = search(films, encoder, query).moments[0]
    assert both.title == by_words.title == "Tides"
    assert by_words.score < both.score <= 1.0


def test_nothing_found_stays_an_answer(films, encoder):
    result = search(films, encoder, "quarterly revenue of a software company", explain=True)
    assert result.moments == ()
    assert "nothing is near enough" in result.dropped[0].reason
    nearest = search(films, encoder, "quarterly revenue of a software company", misses=True)
    assert nearest.moments


def test_where_nothing_is_near_a_rare_word_counts_as_it_was_typed(films, encoder):
    strict = RetrieveSettings(presence=PresenceSettings(floor=1.0))
    assert titles(search(films, encoder, "Clockwork", strict)) == ["Lighthouse"]
    assert search(films, encoder, "clockworks", strict).moments == ()  # the same to a stemmer
    assert titles(search(films, encoder, "clock-work", strict)) == ["Lighthouse"]
    common = PresenceSettings(floor=1.0, rare_passages=0)
    assert search(films, encoder, "clockwork", RetrieveSettings(presence=common)).moments == ()


def test_a_single_letter_counts_where_it_is_a_word(writable, encoder):
    for title, language, line in (
        ("Cats", "zh", "一只猫坐在灯塔上。"), ("Axes", "en", "Here the axis x ends."),
    ):  # fmt: skip
        video = put_video(writable, title)
        put_channel(writable, video, "speech", [(0.0, 5.0, line)], language=language)
        embed(writable, video, encoder)
    strict = RetrieveSettings(presence=PresenceSettings(floor=1.0))
    assert titles(search(writable, encoder, "猫", strict)) == ["Cats"]
    assert search(writable, encoder, "x", strict).moments == ()


def test_of_two_that_say_the_same_the_one_whose_title_says_more_comes_first(writable, encoder):
    for name in ("Apollo", "Mountains", "Zoo"):
        video = put_video(writable, name)
        put_channel(writable, video, "speech", [(0.0, 5.0, "Here one of them erupts at last.")])
        embed(writable, video, encoder)
    first, *others = search(writable, encoder, "it erupts in the mountains").moments
    assert first.title == "Mountains"
    assert first.score > max(moment.score for moment in others)


def test_a_query_of_stop_words_is_asked_by_its_meaning(films, encoder):
    assert not search(films, encoder, "what is it about").notes


def test_only_the_asked_channels_and_videos(writable, encoder):
    tides = writable.find("Tides")
    lines = [(40.0, 45.0, "Sea levels follow lunar gravity")]
    put_channel(writable, tides, "screen_text", lines)
    embed(writable, tides, encoder, "screen_text")
    query = "why does the water rise because of the moon"
    found = search(writable, encoder, query, channels=["screen_text"])
    assert [(m.title, m.start_seconds) for m in found.moments] == [("Tides", 40.0)]
    found = search(writable, encoder, query, videos=["Lighthouse"])
    assert set(titles(found)) <= {"Lighthouse"}


def test_the_cosine_of_what_words_found_is_exact_however_few_neighbours_are_asked(films, encoder):
    narrow = RetrieveSettings(candidates=1)
    query = "moon lighthouse"
    few = search(films, encoder, query, narrow, limit=1, explain=True)
    many = search(films, encoder, query, limit=10, explain=True)
    best = few.explanations[0].finds[0]
    same = next(
        find
        for explanation in many.explanations
        for find in explanation.finds
        if find.evidence == best.evidence
    )
    assert best.cosine == pytest.approx(same.cosine, abs=1e-5)
    assert best.score == pytest.approx(same.score, abs=1e-5)


# What must not show


def test_vectors_whose_passages_have_gone_find_nothing(writable, encoder):
    tides = writable.find("Tides")
    lines = [(0.0, 3.0, "Volcanoes instead.")]
    new = put_channel(writable, tides, "speech", lines, fingerprint="2", state="building")
    query = "lunar gravity makes sea levels go up"
    assert titles(search(writable, encoder, query)) == ["Tides"]
    writable.finish([(new, (), ())])  # the old passages go; their vectors are still there
    assert writable.store.count(where(kind="embedding", video_id=tides.id))
    assert search(writable, encoder, query).moments == ()
    assert titles(search(writable, encoder, "volcanoes")) == ["Tides"]


def test_passages_being_built_are_not_seen(writable, encoder):
    tides = writable.find("Tides")
    lines = [(0.0, 3.0, "Lava flows from a volcano.")]
    new = put_channel(writable, tides, "speech", lines, fingerprint="2", state="building")
    embed(writable, tides, encoder, fingerprint="2", state="building")
    query = "an eruption of magma"
    assert search(writable, encoder, query).moments == ()
    writable.finish([(new, (), ())])
    embed(writable, tides, encoder, fingerprint="3")
    assert titles(search(writable, encoder, query)) == ["Tides"]


class Turned:
    """Another model's vectors in the same space: everything the other way round."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.space, self.size = encoder.space, encoder.size

    def encode_passages(self, texts):
        return -self._encoder.encode_passages(texts)


def test_vectors_being_built_are_not_seen_until_the_flip(writable, encoder):
    query = "lunar gravity makes sea levels go up"
    tides = writable.find("Tides")
    new = embed(writable, tides, Turned(encoder), fingerprint="2", state="building")
    before = search(writable, encoder, query, explain=True)
    assert titles(before) == ["Tides"]
    by_words = search(writable, encoder, "spring tide", explain=True).explanations[0].finds[0]
    assert by_words.cosine > 0
    writable.finish([(new, (), ())])
    assert search(writable, encoder, query).moments == ()
    by_words = search(writable, encoder, "spring tide", explain=True).explanations[0].finds[0]
    assert by_words.cosine < 0


# Models that are not here


def test_a_library_without_spaces_asks_for_no_model(tmp_path):
    def refuse(space):
        raise AssertionError("asked for a model")

    library = talks.films_at(tmp_path / "library")
    retriever = Retriever(library, encoders=QueryEncoders(refuse, refuse))
    assert retriever.search("clockwork") == Retriever(library).search("clockwork")
    library.store.close()


def test_a_model_that_is_not_here_leaves_words_and_says_so(films):
    result = Retriever(films, encoders=QueryEncoders(lambda space: None)).search("clockwork")
    assert titles(result) == ["Lighthouse"]
    assert f"`longtake models pull {MODEL}`" in result.notes[0]

    def missing(space):
        raise ModelMissingError("It is not prepared: `longtake models prepare it`.")

    asked = Retriever(films, encoders=QueryEncoders(missing)).search("clockwork")
    assert "`longtake models prepare it`" in asked.notes[0]
    wordless = Retriever(films, encoders=QueryEncoders(missing))
    assert wordless.search("clockwork", channels=["frame"]).notes == ()


def test_an_encoder_is_built_once_and_kept(films, encoder):
    built = []

    def build(space):
        built.append(space.name)
        return encoder

    retriever = Retriever(films, encoders=QueryEncoders(build))
    retriever.search("moon")
    retriever.search("lamp")
    assert built == [encoder.space]


# Pictures and sounds


class Compass:
    """Words and pictures as directions of a plane: "right" is (1, 0), and a picture that is
    brighter on the right likewise. Stands in for CLIP, whose pictures need no real weights here."""

    space, size = "frame.compass.0", 2
    ways = {"right": (1.0, 0.0), "up": (0.0, 1.0), "left": (-1.0, 0.0)}  # noqa: RUF012

    def encode_queries(self, texts):
        return np.array([self.ways[text] for text in texts], np.float32)

    def encode_images(self, images):
        return np.array([self.ways["right"] for _ in images], np.float32)


def at(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


WIDE = RetrieveSettings(
    frame=CosineScale(zero=0.0, full=1.0, floor=0.5), cosine_margin=0.2
)  # as Compass needs it


def put_frames(library: Library, title: str, degrees: list[float], **fields) -> Video:
    video = put_video(library, title, 600.0)
    lines = [(10.0 * n, 10.0 * n + 10.0, "") for n in range(len(degrees))]
    vectors = [{Compass.space: at(one)} for one in degrees]
    filler = Generation(video.id, 0, "frame", "1")
    library.add_space(Space(Compass.space, "frame", "compass", 2), filler.id)
    put_channel(library, video, "frame", lines, language=None, vectors=vectors, **fields)
    return video


def test_neighbouring_frames_that_show_it_are_one_moment(library):
    put_frames(library, "Road", [90, 5, 0, 10, 90, 90, 12])
    result = search(library, Compass(), "right", WIDE, explain=True)
    spans = [(m.start_seconds, m.end_seconds) for m in result.moments]
    assert spans == [(10.0, 40.0), (60.0, 70.0)]
    find = result.explanations[0].finds[0]
    assert find.raw == find.cosine == pytest.approx(1.0)
    assert len(find.evidence) == 3
    assert all(moment.channel == "frame" for moment in result.moments)


def test_frames_that_are_merely_less_unlike_are_no_result(library):
    put_frames(library, "Road", [90, 70, 65])
    result = search(library, Compass(), "right", WIDE, explain=True)
    assert result.moments == ()
    assert "too far" in result.dropped[0].reason


def test_frames_far_behind_the_best_are_no_result(library):
    put_frames(library, "Road", [0, 90, 90, 50])
    result = search(library, Compass(), "right", WIDE)
    assert [m.start_seconds for m in result.moments] == [0.0]


def test_long_scenes_do_not_become_endless_moments(library):
    put_frames(library, "Road", [0.0] * 40)
    moments = search(library, Compass(), "right", WIDE).moments
    assert moments and max(m.end_seconds - m.start_seconds for m in moments) <= 60.0


def test_what_is_seen_and_what_is_said_agree(library):
    video = put_frames(library, "Road", [90, 20, 90])
    put_channel(library, video, "speech", [(12.0, 15.0, "Now we turn right.")])
    alone = search(library, Compass(), "right", WIDE, channels=["frame"]).moments[0]
    result = search(library, Compass(), "right", WIDE)
    assert {hit.channel for hit in result.moments[0].hits} == {"frame", "speech"}
    assert result.moments[0].score > alone.score
    assert result.moments[0].text == "Now we turn right."


def test_frames_being_built_are_not_seen(library):
    put_frames(library, "Road", [90], fingerprint="1")
    put_frames(library, "Road", [0], fingerprint="2", state="building")
    assert search(library, Compass(), "right", WIDE).moments == ()


def test_a_model_names_the_cosine_of_what_has_nothing_in_common(library):
    """E5's cosines all lie above .7: on another model's scale everything would be a match."""
    put_frames(library, "Road", [20, 0])

    class Crowded(Compass):
        unrelated_cosine = 0.9

    result = search(library, Crowded(), "right", WIDE, explain=True)
    assert [m.start_seconds for m in result.moments] == [10.0]
    assert result.moments[0].score == pytest.approx(1.0)


def test_a_picture_finds_its_like_after_its_own_fingerprint(library, tmp_path):
    import cv2

    from ingest.models.pdq import fingerprint, to_vector

    coarse = np.random.default_rng(3).integers(0, 256, (9, 16, 3), np.uint8)
    image = cv2.resize(coarse, (320, 180), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "p.png"), image)
    put_frames(library, "Alike", [90, 15])
    same = put_video(library, "Same", 600.0)
    bits = to_vector(fingerprint(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).bits)
    put_channel(
        library, same, "fingerprint", [(3, 9, "")], language=None, vectors=[{"fingerprint": bits}]
    )
    compass = Compass()
    encoders = QueryEncoders(lambda space: compass, lambda space: compass)
    result = Retriever(library, encoders=encoders).search(image=tmp_path / "p.png")
    assert [(m.title, m.channel) for m in result.moments] == [
        ("Same", "fingerprint"),
        ("Alike", "frame"),
    ]
    assert result.moments[1].text == "similar picture"


def test_scales_are_checked():
    with pytest.raises(ValueError, match="above zero"):
        CosineScale(zero=0.5, full=0.4, floor=0.1)
    scale = CosineScale(zero=0.2, full=0.4, floor=0.5)
    assert scale.score(0.1) == 0.0 and scale.score(0.5) == 1.0
    assert scale.score(scale.floor_cosine) == pytest.approx(scale.floor)
    assert 0.0 <= scale.with_zero(0.99).score(1.0) <= 1.0


def test_the_packaged_description_needs_no_weights(tmp_path):
    files = minilm_files(tmp_path)
    described = describe_encoder(files, TextSettings())
    assert described["model"].endswith(MODEL) and described["size"] == 384
