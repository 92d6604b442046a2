"""What a question is about, and what covers a video."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talks import make_video, put_channel, put_video

from index.schema import Chapter, Epoch, Generation, Segment, Video
from ingest.models.videollm.picture_tokens import UNKNOWN, picture_tokens
from rag.answer_settings import AskSettings
from rag.contexts import evidence_for
from rag.question_kind import question_kind
from rag.retrieve import Retriever
from rag.stretched import stretches
from rag.tokens import ServerTokens


def test_what_is_counted_is_searched_for_whatever_the_settings(films):
    settings = AskSettings(stretches=500, attempts=10)
    found = evidence_for("How often is water mentioned?", Retriever(films), settings, ())
    assert found.kind == "count" and found.covers


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who invented the lens?", "local"),
        ("When does the red car stop?", "local"),
        ("what is a layer mask", "local"),
        ("What is the main menu for?", "local"),
        ("What does he say about the whole cake?", "local"),
        ("Summarise what he says about masks", "local"),
        ("Give me the key points he explains about masks", "local"),
        ("How many people are at the table?", "local"),
        ("how many times does he mention Fresnel", "count"),
        ("How often does the phone ring?", "count"),
        ("Wie oft klingelt das Telefon?", "count"),
        ("Summarize this video", "global"),
        ("summary", "global"),
        ("Give me a summary of the lecture.", "global"),
        ("What is this video about?", "global"),
        ("What's the film about", "global"),
        ("What are the main points?", "global"),
        ("Give an outline of the talk", "global"),
        ("TL;DR", "global"),
        ("What happens throughout the film?", "global"),
        ("Worum geht es in dem Film?", "global"),
        ("De quoi parle cette vidéo ?", "global"),
        ("¿De qué trata el vídeo?", "global"),
        ("总结这个视频", "global"),
        ("word " * 400 + "summary", "local"),
    ],
)
def test_kinds_of_questions(question, kind):
    assert question_kind(question) == kind


@given(durations=st.lists(st.floats(5, 5000), min_size=1, max_size=6), count=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_stretches_cover_each_video_without_a_gap(durations, count):
    videos = [make_video(f"Film {at}", one) for at, one in enumerate(durations)]
    found = stretches(_Bare(), videos, count)
    covered = {moment.video_id for moment in found}
    assert len(covered) == min(count, len(videos)) and len(found) <= count
    for video in videos:
        own = [moment for moment in found if moment.video_id == video.id]
        if own:
            assert own[0].start_seconds == 0.0
            assert own[-1].end_seconds == pytest.approx(video.duration_seconds)
            for one, other in pairwise(own):
                assert one.end_seconds == other.start_seconds


class _Bare:
    def segments(self, _video_id):
        return []

    chapters = segments


def test_stretches_begin_with_chapters_and_segments_near_by(library):
    chapters = (Chapter(0, 27, "One"), Chapter(27, 100, "Two"))
    video = put_video(library, "Film", 100.0, chapters=chapters)
    segments = [Segment(video.id, 0, "", a, b) for a, b in ((0, 25), (25, 52), (52, 66), (66, 100))]
    put_channel(library, video, "shot", [(0, 100, "")], language=None, segments=segments)
    found = stretches(library, [video], 4)
    assert [moment.start_seconds for moment in found] == [0.0, 27.0, 52.0, 75.0]


def test_each_epoch_of_a_live_source_is_covered_as_far_as_it_has_come(library):
    epochs = (
        Epoch(0, 0.0, 1000.0, 100.0),
        Epoch(1, 150.0, 1150.0, 250.0),
        Epoch(2, 300.0, 1300.0),
    )
    video = Video("camera", "Camera", source="tcp://x", epochs=epochs, kept_from_seconds=50.0)
    library.put_video(video)
    library.begin(Generation("camera", 2, "speech", "1", analysed_seconds=330.0))
    found = stretches(library, [video], 7)
    spans = [(one.epoch, one.start_seconds, one.end_seconds) for one in found]
    assert spans[0][:2] == (0, 50.0) and spans[-1][::2] == (2, 330.0)
    assert {epoch for epoch, *_ in spans} == {0, 1, 2}
    for number, start, end in ((0, 50.0, 100.0), (1, 150.0, 250.0), (2, 300.0, 330.0)):
        own = [span for span in spans if span[0] == number]
        assert (own[0][1], own[-1][2]) == (start, end)
        assert all(one[2] == other[1] for one, other in pairwise(own))
    assert found[0].wall_clock_start == 1050.0
    assert stretches(library, [Video("new", "New", source="tcp://y")], 5) == []


# What pictures and words cost on servers


def test_picture_tokens_are_those_of_the_processors():
    pytest.importorskip("transformers")
    from transformers import Qwen2VLImageProcessor

    for height, width in ((252, 448), (448, 252), (448, 448), (1080, 1920), (60, 60), (33, 400)):
        qwen2 = Qwen2VLImageProcessor(
            size={"shortest_edge": 56 * 56, "longest_edge": 12_845_056}, patch_size=14
        )
        patches = qwen2.get_number_of_image_patches(height, width, {})
        assert picture_tokens("Qwen/Qwen2.5-VL-7B-Instruct", height, width) == patches // 4 + 2
        qwen3 = Qwen2VLImageProcessor(
            size={"shortest_edge": 65_536, "longest_edge": 16_777_216}, patch_size=16
        )
        patches = qwen3.get_number_of_image_patches(height, width, {})
        assert picture_tokens("qwen3-vl:8b", height, width) == patches // 4 + 2


def test_pictures_of_other_families():
    assert picture_tokens("gpt-4o-mini", 1024, 1024) == 85 + 4 * 170
    assert picture_tokens("gemma-3-4b-it", 500, 500) == 260
    assert picture_tokens("SmolVLM2-2.2B-Instruct", 288, 512) >= 64 * 13
    assert picture_tokens("LLaVA-OneVision-7B", 448, 448) >= 729 * 5
    assert picture_tokens("something new", 448, 448) == UNKNOWN
    assert ServerTokens("something new", picture=99).picture(448, 448) < 99 + 20


def test_words_are_counted_on_the_safe_side():
    tokens = ServerTokens("m")
    assert tokens.text("") == 0
    assert tokens.text("The lighthouse at 1822.") >= 1 + 3 + 1 + 4 + 1
    assert tokens.text("菲涅耳发明了透镜") >= 8
    assert tokens.text("🗼" * 4) >= 12


def test_the_estimate_is_not_below_a_small_vocabulary_by_more_than_a_tenth(tmp_path):
    """all-MiniLM's WordPiece has 30,522 pieces, a fifth of those of the models served."""
    from minilm import minilm_files
    from tokenizers import Tokenizer

    files = minilm_files(tmp_path)
    real = Tokenizer.from_file(str(files.folder / "tokenizer.json"))
    real.no_truncation()
    real.no_padding()
    tokens = ServerTokens("m")
    for text in (
        "Fresnel invented the lens that made the light reach so far.",
        "0:30 said: In my video on the circle division problem, I referenced Euler's formula.",
        "def f(x): return [x[1], x[2]] # 42",
        "https://example.com/a_b?c=d&e=1.5",
    ):
        assert tokens.text(text) >= len(real.encode(text, add_special_tokens=False).ids) * 0.9
