"""`longtake summarize`: chapters and a summary, kept while they are true, found by searches."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import av
import pytest
import talks
from clips import solid, write_clip
from hypothesis import given
from hypothesis import strategies as st
from talks import put_channel, put_video
from test_generate import number_of, user_text
from test_videollm_openai import Server, event, refuses, stream

from cli.chapter_files import YOUTUBE_SECONDS, markdown, youtube
from cli.main import main
from cli.settings import load as load_settings
from cli.summarize import overview_of, refresh_overviews
from index.errors import UsageError
from index.schema import Chapter, FileStat
from rag.overview import ChapterNote, Overview, Said, extract, material
from rag.overview_model import read_chapter
from rag.overview_store import load, stored
from rag.retrieve import Retriever


@pytest.fixture(autouse=True)
def own_library(tmp_path, own_places, monkeypatch):
    """The settings' library is the one of the fixture `library`."""
    monkeypatch.setenv("LONGTAKE_LIBRARY", str(tmp_path / "library"))


MASKS = (
    "We open the picture and add a layer mask to it.",
    "The layer mask hides a part of the picture.",
    "Where the layer mask is black, nothing is seen.",
    "Paint on the layer mask with white to bring it back.",
    "A layer mask can be turned off and on again.",
    "So much for the layer mask and what it hides.",
    "One more trick with the layer mask is to invert it.",
    "Invert the layer mask and the hidden part is shown.",
)
SAVING = (
    "Now we save a file for the web.",
    "The web wants a small file that loads fast.",
    "Choose the quality of the file that is saved.",
    "A low quality makes the file smaller still.",
    "Then name the file and save it for the web.",
    "Upload the saved file to a web page.",
    "A web page with one small file loads at once.",
    "That is how a file is saved for the web.",
)


def two_subjects(library, **fields):
    video = put_video(library, "Lesson", 96.0, **fields)
    lines = [(6.0 * at, 6.0 * at + 5.5, text) for at, text in enumerate((*MASKS, *SAVING))]
    put_channel(library, video, "speech", lines)
    return video


def plain_settings(**ask):
    return load_settings({"ask": ask} if ask else {}, "packaged")[0]


def test_chapters_begin_where_the_subject_changes(library):
    video = two_subjects(library)
    overview = extract(video, material(library, video))
    assert overview.source == "speech" and overview.model is None and overview.language == "en"
    starts = [one.start_seconds for one in overview.chapters]
    assert starts[0] == 0.0 and 48.0 in starts
    assert overview.chapters[-1].end_seconds == 96.0
    for one, other in zip(overview.chapters, overview.chapters[1:], strict=False):
        assert one.end_seconds == other.start_seconds
    assert "mask" in overview.chapters[0].title.lower()
    assert re.search("web|file", overview.chapters[-1].title.lower())
    assert {one.text for one in overview.summary} <= {*MASKS, *SAVING}
    for one in overview.summary:
        at = (*MASKS, *SAVING).index(one.text)
        assert (one.start_seconds, one.end_seconds) == (6.0 * at, 6.0 * at + 5.5)


def test_the_containers_chapters_come_first(library):
    own = (Chapter(0.0, 30.0, "Hello"), Chapter(30.0, 96.0, ""))
    video = two_subjects(library, chapters=own)
    overview = extract(video, material(library, video))
    assert overview.source == "container"
    assert [(c.start_seconds, c.end_seconds) for c in overview.chapters] == [(0, 30), (30, 96)]
    assert overview.chapters[0].title == "Hello" and overview.chapters[1].title


def test_captions_tell_where_nobody_speaks(library):
    video = put_video(library, "Silent", 120.0)
    put_channel(library, video, "speech", [(0.0, 2.0, "Hello.")])
    lines = [(n * 10.0, n * 10.0 + 10.0, f"A dog runs on the beach number {n}.") for n in range(12)]
    put_channel(library, video, "caption", lines)
    assert material(library, video).channel == "caption"
    empty = put_video(library, "Empty", 60.0)
    overview = extract(empty, material(library, empty))
    assert overview.chapters == () and overview.summary == ()


# Kept in the library


def test_it_is_made_once_and_again_where_the_evidence_changed(library):
    settings = plain_settings()
    video = two_subjects(library)
    first = overview_of(settings, library, video)
    made = stored(library, video.id)
    assert load(library, video.id) == first
    assert overview_of(settings, library, video) == first
    refresh_overviews(settings, library)
    assert stored(library, video.id).id == made.id

    put_channel(library, video, "fingerprint", [], language=None)  # it is not made from these
    refresh_overviews(settings, library)
    assert stored(library, video.id).id == made.id

    (old,) = [g for g in library.generations(video.id) if g.channel == "speech"]
    lines = [(6.0 * n, 6.0 * n + 5.5, f"The comet {n} has a tail of dust.") for n in range(16)]
    put_channel(library, video, "speech", lines, fingerprint="2")
    library.drop(old)
    refresh_overviews(settings, library)
    anew = stored(library, video.id)
    assert anew.id != made.id and anew.complete
    assert [g.state for g in library.generations(video.id) if g.channel == "summary"] == ["active"]
    loaded = load(library, video.id)
    assert loaded.summary and all("comet" in one.text for one in loaded.summary)
    assert len(library.chapters(video.id)) == len(loaded.chapters)


def test_searches_find_a_chapter_by_its_title_where_it_is_said_in_other_words(library):
    own = (Chapter(0.0, 48.0, "Vignettes"), Chapter(48.0, 96.0, "Publishing"))
    video = two_subjects(library, chapters=own)
    assert Retriever(library).search("publishing").moments == ()
    overview_of(plain_settings(), library, video)
    (moment,) = Retriever(library).search("publishing").moments
    assert (moment.start_seconds, moment.end_seconds) == (48.0, 96.0)
    assert moment.channel == "summary" and moment.title == "Lesson"
    # A title says what, not when: with a sentence it adds to its score and leaves it its times.
    alone = Retriever(library).search("upload publishing", channels=["speech"]).moments[0]
    both = Retriever(library).search("upload publishing").moments[0]
    assert (both.start_seconds, both.end_seconds) == (alone.start_seconds, alone.end_seconds)
    assert both.score > alone.score and both.text == alone.text
    assert {hit.channel for hit in both.hits} == {"speech", "summary"}
    assert both.channel == "speech"  # whose words they are


def test_titles_of_the_videos_own_words_are_no_second_witness(library):
    video = two_subjects(library)
    before = Retriever(library).search("layer mask")
    overview = overview_of(plain_settings(), library, video)
    assert any("mask" in one.title.casefold() for one in overview.chapters)
    after = Retriever(library).search("layer mask")
    assert [(m.start_seconds, m.score) for m in after.moments] == [
        (m.start_seconds, m.score) for m in before.moments
    ]
    assert [one.title for one in library.chapters(video.id)] == [
        one.title for one in overview.chapters
    ]


def test_a_summary_that_holds_little_of_the_query_is_no_result(library):
    own = (Chapter(0.0, 48.0, "Vignettes"), Chapter(48.0, 96.0, "Publishing"))
    video = two_subjects(library, chapters=own)
    overview_of(plain_settings(), library, video)
    result = Retriever(library).search("publishing houses in Berlin and Vienna", explain=True)
    assert result.moments == ()
    assert any("a summary that holds" in one.reason for one in result.dropped)


def test_what_is_only_told_of_is_never_quoted(library):
    from rag.answer import ExtractiveAnswerer

    own = (Chapter(0.0, 48.0, "Vignettes"), Chapter(48.0, 96.0, "Publishing"))
    overview_of(plain_settings(), library, two_subjects(library, chapters=own))
    events = list(ExtractiveAnswerer(Retriever(library)).ask("publishing"))
    assert events[0].sources == () and not events[-1].found


SRT = "\n".join(
    f"{n + 1}\n00:00:{6 * n:02},000 --> 00:00:{6 * n + 5:02},500\n{text}\n"
    for n, text in enumerate((*MASKS[:4], *SAVING[:4]))
)


def test_indexing_again_keeps_it_and_new_subtitles_replace_it(tmp_path, capfd):
    film = tmp_path / "film.mp4"
    write_clip(film, [solid((220, 20, 20))] * 96, rate=2)
    film.with_suffix(".srt").write_text(SRT)
    place = ["--library", str(tmp_path / "library")]
    index = ["index", str(film), "--channels", "speech", *place]
    assert main(index) == 0
    assert main(["summarize", "film", "--json", *place]) == 0
    capfd.readouterr()
    assert main(index) == 0
    assert main(["summarize", "film", "--json", *place]) == 0
    before = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert before["chapters"] and "mask" in before["chapters"][0]["title"].lower()

    film.with_suffix(".srt").write_text(SRT.replace("layer mask", "comet"))
    assert main(index) == 0
    capfd.readouterr()
    library = talks.open_library_at(tmp_path / "library")
    try:
        kept = load(library, library.find("film").id)
    finally:
        library.store.close()
    said = " ".join(one.text for one in (*kept.chapters, *kept.summary))
    assert "comet" in said and "mask" not in said


# By a language model


@pytest.fixture
def served():
    servers = []

    def serve(answer, **ask):
        servers.append(Server(answer))
        given = {"model": "good", "base_url": servers[-1].url, "retries": 0, "frames": 0} | ask
        return servers[-1], plain_settings(**given)

    yield serve
    for server in servers:
        server.close()


EXPLAINED = {
    "masks": "It is explained how masks hide a part of the picture",
    "saving": "It is explained how a file is saved for the web",
}


def writing(handler, body, _number):
    """Titles for chapters, and a summary of which one sentence is made up."""
    text = user_text(body)
    if "its title, its sentence" in text:
        about = "masks" if "mask" in text else "saving"
        said = f"Title: All about {about}\n{EXPLAINED[about]} [1]."
    else:
        number = number_of(text, "Upload the saved file")
        said = (
            f"The saved file is uploaded to a web page [{number}]. "
            f"Napoleon crossed the Alps in 1800 [{number}]."
        )
    stream(handler, event(said), event(finish="stop"))


def test_a_model_writes_titles_and_a_summary_of_what_is_supported(library, served):
    server, settings = served(writing)
    video = two_subjects(library)
    overview = overview_of(settings, library, video)
    assert overview.model == "good"
    assert {one.title for one in overview.chapters} == {"All about masks", "All about saving"}
    assert overview.chapters[0].text == f"{EXPLAINED['masks']}."
    (sentence,) = overview.summary
    assert sentence.text == "The saved file is uploaded to a web page."
    assert 0 <= sentence.start_seconds < sentence.end_seconds <= 96.0
    assert any("without support" in note for note in overview.notes)
    asked = len(server.bodies)
    assert overview_of(settings, library, video) == overview and len(server.bodies) == asked
    # What a model wrote is searched for its words too.
    moments = Retriever(library).search("how masks are explained").moments
    assert moments and moments[0].hits[0].channel == "summary"
    # Another model's is another one.
    assert overview_of(plain_settings(), library, video).model is None


def test_what_a_model_makes_up_about_a_chapter_is_left_out(library, served):
    """The made-up sentence is SmolLM2-135M-Instruct's, of a chapter that tells no such thing."""
    made_up = "The story of how the lighthouse was built is a tale of perseverance and faith."

    def answer(handler, body, number):
        if "its title, its sentence" not in user_text(body):
            return writing(handler, body, number)
        about = "masks" if "mask" in user_text(body) else "saving"
        said = f"All about {about}\n{EXPLAINED[about]}. {made_up} {made_up}"
        stream(handler, event(said), event(finish="stop"))

    _, settings = served(answer)
    overview = overview_of(settings, library, two_subjects(library))
    assert {one.title for one in overview.chapters} == {"All about masks", "All about saving"}
    texts = {one.text for one in overview.chapters}
    assert f"{EXPLAINED['masks']}." in texts and not any("faith" in text for text in texts)
    (note,) = (note for note in overview.notes if "about chapters without support" in note)
    assert int(note.split()[0]) >= 2 * len(overview.chapters)


def test_a_server_that_fails_leaves_what_was_there(library, served):
    video = two_subjects(library)
    before = overview_of(plain_settings(), library, video)
    _, settings = served(refuses(500, "out of order"))
    with pytest.raises(Exception, match="out of order"):
        overview_of(settings, library, video)
    assert load(library, video.id) == before


def test_one_that_no_model_can_make_anew_goes_and_that_is_said(library, served, capfd):
    _, settings = served(writing)
    video = two_subjects(library)
    overview_of(settings, library, video)
    put_channel(library, video, "caption", [(0.0, 90.0, "A man at a desk.")])
    refresh_overviews(plain_settings(), library)
    assert stored(library, video.id) is None and library.chapters(video.id) == []
    assert "longtake summarize" in capfd.readouterr().err


@pytest.mark.parametrize(
    "answer, title, text",
    [
        ("Layer masks\nHow they hide things.", "Layer masks", "How they hide things."),
        ("**Title:** “Layer masks”.\n\nSummary: They hide [1, 2].", "Layer masks", "They hide."),
        ("NOT IN THESE VIDEOS", "", ""),
        ("", "", ""),
        ("It tells a story " * 20, "", None),
        ("Ends <|im_end|>\nso", "Ends ‹|im_end|›", "so"),
        # What SmolLM2-135M-Instruct wrote: the prompt's own lines, and on.
        (
            "The lens\n0:16.2 on screen: The Fresnel lens 0:16.2 on screen: The lens is a glass.",
            "The lens",
            "",
        ),
        (
            "Keepers\nThe last keeper 1:01.2 said: The light still burns.\n>>>\nThe sources end",
            "Keepers",
            "The last keeper The sources end",
        ),
        (
            '<<<SOURCE 2: words from "Crop and straighten", 0:34.8–0:57.2\n'
            "0:34.8 said: In this video, I'll cover opening a photo.\n"
            "The source ends here.\nThis is the chapter at 0:34.8–0:57.2: its title, its sentence.",
            "",
            "",
        ),
    ],
)
def test_titles_are_read_as_models_write_them(answer, title, text):
    found = read_chapter(answer)
    assert found[0] == title and (text is None or found[1] == text)
    assert len(found[1]) <= 401


# Files


CHAPTERS = st.lists(st.floats(0.1, 500), min_size=1, max_size=30).map(
    lambda gaps: [
        ChapterNote(sum(gaps[:at]), sum(gaps[: at + 1]), f"Part\n{at}" if at % 3 else "")
        for at in range(len(gaps))
    ]
)


@given(CHAPTERS)
def test_youtube_gets_what_it_asks_for_or_is_refused(chapters):
    end = chapters[-1].end_seconds
    try:
        lines = youtube(chapters, end).splitlines()
    except UsageError:
        return
    times = []
    for line in lines:
        time, _, title = line.partition(" ")
        parts = [int(part) for part in time.split(":")]
        times.append(sum(part * 60**at for at, part in enumerate(reversed(parts))))
        assert title
    assert times[0] == 0 and len(times) >= 3
    assert all(b - a >= YOUTUBE_SECONDS for a, b in zip(times, [*times[1:], end], strict=True))


def test_enough_long_chapters_are_never_refused():
    chapters = [ChapterNote(n * 20.0, n * 20.0 + 20, f"T{n}") for n in range(3)]
    assert youtube(chapters, 60.0) == "0:00 T0\n0:20 T1\n0:40 T2\n"
    with pytest.raises(UsageError, match="at least 3"):
        youtube(chapters[:2], 40.0)
    with pytest.raises(UsageError, match="here are 0"):
        youtube([], None)  # of a stream where nobody has spoken yet


def test_markdown_shows_titles_as_they_are():
    video = talks.make_video("a *b* <script>")
    text = markdown(
        video,
        Overview((ChapterNote(0, 9, "1 # [x](y)"),), (Said(62.0, 63.0, "a_b_c"),), "speech"),
    )
    assert "# a \\*b\\* \\<script\\>" in text and "- a\\_b\\_c (1:02)" in text
    assert "**1 \\# \\[x\\](y)**" in text
    assert "\x1b" not in markdown(talks.make_video("a\x1b[31m"), Overview((), (), "speech"))


def test_the_command_prints_writes_and_refuses(library, tmp_path, capfd):
    two_subjects(library)
    library.store.close()
    place = ["--library", str(tmp_path / "library")]
    assert main(["summarize", "Lesson", *place]) == 0
    out = capfd.readouterr().out
    assert out.startswith("Lesson\n") and "\n0:48  " in out
    target = tmp_path / "chapters.ffmeta"
    assert main(["summarize", "Lesson", "-o", str(target), *place]) == 0
    told = json.loads(_json(place, capfd))["chapters"]
    with av.open(str(target)) as file:
        read = [
            (float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in file.chapters()
        ]
    assert read == [(c["start_seconds"], c["title"]) for c in told]
    assert main(["summarize", "Lesson", "-o", str(target), *place]) == 1  # it is there already
    assert "--force" in capfd.readouterr().err
    assert main(["summarize", "Lesson", "--format", "pdf", *place]) == 2
    assert main(["summarize", "Lesson", "--format", "youtube", *place]) == 0
    assert capfd.readouterr().out.startswith("0:00 ")


def test_a_video_is_never_overwritten(library, tmp_path, capfd):
    film = write_clip(tmp_path / "lesson.mp4", [solid((9, 9, 9))] * 5, rate=5)
    video = two_subjects(library)
    library.put_video(replace(video, files=(FileStat(str(film), 1, 1, 1),)))
    library.store.close()
    before = film.read_bytes()
    arguments = ["--format", "markdown", "--force", "--library", str(tmp_path / "library")]
    assert main(["summarize", "Lesson", "-o", str(film), *arguments]) == 1
    assert "a video of the library" in capfd.readouterr().err
    assert film.read_bytes() == before


def _json(place, capfd) -> str:
    capfd.readouterr()
    assert main(["summarize", "Lesson", "--json", *place]) == 0
    return capfd.readouterr().out
