"""`longtake eval qa`: multiple choice, in the layouts of benchmarks and in several contexts."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import tiny_videollm
from talks import LIGHTHOUSE, TIDES, put_channel, put_video
from test_generate import pictures, user_text
from test_videollm_openai import Server, event, refuses, stream

from cli.compose import build_prompt_builder, build_retriever, build_video_llm
from cli.evaluate_qa import verdict
from cli.main import main
from cli.settings import load
from index.errors import UsageError
from rag.answer_settings import CONTEXTS
from rag.evaluate.choices import choice_of, lettered
from rag.evaluate.datasets import Question, read_questions
from rag.evaluate.qa import Chosen, Examiner, as_record, compare, figures, length_of
from rag.tokens import ServerTokens

pytestmark = pytest.mark.usefixtures("own_places")

OPTIONS = ("Edison", "Fresnel", "The moon", "A keeper")


@pytest.fixture
def served():
    servers = []

    def serve(answer, **ask):
        servers.append(Server(answer))
        given = {"model": "good", "base_url": servers[-1].url, "retries": 0, "frames": 0} | ask
        return servers[-1], load({"ask": given}, "packaged")[0]

    yield serve
    for server in servers:
        server.close()


def reading(handler, body, _number):
    """Chooses the option that stands in the sources; the first where none does."""
    text = user_text(body)
    sources, _, asked = text.rpartition("The sources end here")
    options = re.findall(r"^([A-Z])\. (.+)$", asked or text, re.MULTILINE)
    letter = next((letter for letter, option in options if option in sources), "A")
    stream(handler, event(f"The answer is ({letter})."), event(finish="stop"))


def ask(library, settings, question: Question) -> Chosen:
    model = build_video_llm(settings)
    builder = build_prompt_builder(settings, library, "choice", model)
    return Examiner(build_retriever(settings, library), model, builder, settings.ask).ask(question)


def about_the_lens(library, **fields) -> Question:
    given = {"windows": ((30.0, 34.0),), "options": OPTIONS, "answer": 1} | fields
    return Question("1", "Who invented the lens?", library.find("Lighthouse").id, **given)


# Layouts

MME_ROW = {
    "video_id": "001", "duration": "short", "domain": "Knowledge",
    "sub_category": "Humanity & History", "url": "https://www.youtube.com/watch?v=fFjv93ACGo8",
    "videoID": "fFjv93ACGo8", "question_id": "001-1", "task_type": "Counting Problem",
    "question": "What is shown?", "options": ["A. Apples.", "B. Candles.", "C. Berries."],
    "answer": "C",
}  # fmt: skip


def read(tmp_path, records, lines: bool = False):
    path = tmp_path / "questions.json"
    path.write_text("\n".join(map(json.dumps, records)) if lines else json.dumps(records))
    return read_questions(path)


@pytest.mark.parametrize("lines", [False, True])
def test_video_mme_as_rows(tmp_path, lines):
    (one, other) = read(tmp_path, [MME_ROW, MME_ROW | {"question_id": "001-2"}], lines)
    assert (one.id, one.video, one.category) == ("001-1", "fFjv93ACGo8", "Counting Problem")
    assert one.options == ("Apples.", "Candles.", "Berries.") and one.answer == 2
    assert one.duration == "short" and other.id == "001-2"


def test_video_mme_as_its_own_evaluation_takes_it(tmp_path):
    asked = {key: MME_ROW[key] for key in ("question_id", "task_type", "question", "options")}
    video = {key: MME_ROW[key] for key in ("video_id", "duration", "domain", "sub_category")}
    (one,) = read(tmp_path, [video | {"questions": [asked | {"answer": "B"}]}])
    assert (one.video, one.answer, one.duration) == ("001", 1, "short")


def test_mlvu(tmp_path):
    record = {
        "video": "movie101_66.mp4", "duration": 480.0, "question": "What colour?",
        "candidates": ["Yellow", "Red"], "answer": "Red", "question_type": "plotQA",
    }  # fmt: skip
    told = {"video": "x.mp4", "question": "Tell it.", "answer": "…", "question_type": "summary"}
    (one,) = read(tmp_path, [record, told])
    assert (one.video, one.options[one.answer], one.category) == (
        "movie101_66.mp4",
        "Red",
        "plotQA",
    )
    assert length_of(one, None) == "2 to 15 min"
    with pytest.raises(UsageError, match="none of the options"):
        read(tmp_path, [record | {"answer": "Green"}])


def test_longvideobench_tells_its_groups(tmp_path):
    record = {"video_id": "86", "id": "86_0", "question": "?", "candidates": ["a", "b"],
              "correct_choice": 1, "duration_group": 600, "question_category": "TOS"}  # fmt: skip
    (one,) = read(tmp_path, [record])
    assert one.duration == 600 and length_of(one, None) == "2 to 15 min"


def test_labels_of_ones_own_may_have_options(tmp_path):
    record = {"query": "Who?", "vid": "film.mp4", "relevant_windows": [["0:30", "0:34"]],
              "options": ["Ann", "Bob"], "answer": "B", "category": "people"}  # fmt: skip
    (one,) = read(tmp_path, [record])
    assert (one.options, one.answer, one.windows) == (("Ann", "Bob"), 1, ((30.0, 34.0),))
    assert one.category == "people"
    with pytest.raises(UsageError, match="no option 3"):
        read(tmp_path, [record | {"answer": "D"}])
    del record["relevant_windows"]  # whoever only wants answers rated has no spans
    (one,) = read(tmp_path, [record])
    assert (one.options, one.answer, one.windows) == (("Ann", "Bob"), 1, ())


# Choices


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("B", 1),
        ("(B)", 1),
        ("B. Fresnel", 1),
        ("**C**", 2),
        ("b", None),
        ("The best option is B.", 1),
        ("The answer is: (D)", 3),
        ("I think it was A, but the answer is B", 1),
        ("A keeper", 3),
        ("A man walks in, so it must be fresnel.", 1),
        ("Fresnel", 1),
        ("It was Fresnel or Edison", None),
        ("E", None),
        ("", None),
        ("NOT IN THESE VIDEOS", None),
        ("So (C) it is.", 2),
    ],
)
def test_what_a_model_has_chosen(said, choice):
    assert choice_of(said, OPTIONS) == choice


def test_options_are_shown_as_data():
    text = lettered("Who?", ["one\nB. two", "<<<SOURCE 9", "x"])
    assert text.splitlines() == ["Who?", "A. one / B. two", "B. ‹‹‹SOURCE 9", "C. x"]


# Contexts


def test_the_right_sources_give_the_right_choice(films, served):
    server, settings = served(reading)
    chosen = ask(films, settings, about_the_lens(films))
    assert chosen.right and chosen.found and chosen.choice == 1
    assert chosen.tokens > 50 and chosen.answer_tokens >= 1 and chosen.pictures == 0
    assert chosen.shown_seconds > 0 and chosen.model_seconds > 0
    prompt = user_text(server.bodies[0])
    assert "B. Fresnel" in prompt and prompt.count("<<<") == prompt.count(">>>") >= 1
    assert "spring tide" not in prompt  # of another video


@pytest.mark.parametrize(
    ("context", "right", "found"),
    [("retrieved", True, True), ("subtitles", True, None), ("none", False, None)],
)
def test_contexts_show_what_they_say(films, served, context, right, found):
    server, settings = served(reading, context=context)
    chosen = ask(films, settings, about_the_lens(films))
    assert (chosen.right, chosen.found, chosen.context) == (right, found, context)
    prompt = user_text(server.bodies[0])
    assert ("nobody lives there" in prompt) == (context == "subtitles")
    assert ("<<<" in prompt) == (context != "none")


def test_a_stream_is_shown_nothing_of_what_comes_later(films, served):
    for context in ("retrieved", "subtitles"):
        server, settings = served(reading, context=context)
        chosen = ask(films, settings, about_the_lens(films, asked_seconds=20.0))
        assert not chosen.right
        assert server.bodies
        assert all("Fresnel invented" not in user_text(body) for body in server.bodies)
        # Of what was found nothing lies before that.
        assert [end for _, end in chosen.spans] == ([] if context == "retrieved" else [10.0, 20.0])


def test_what_is_shown_too_long_is_halved_once(library, served):
    from test_videollm_openai import reply

    video = put_video(library, "Lighthouse", 600.0)
    lines = [
        (n * 5.0, n * 5.0 + 4.0, f"Sentence {n} about the lens of Fresnel.") for n in range(100)
    ]
    put_channel(library, video, "speech", lines)

    def answer(handler, body, number):
        if number == 0:
            message = "This model's maximum context length is 100 tokens"
            error = {"message": message, "code": "context_length_exceeded"}
            reply(handler, 400, {"error": error})
        else:
            reading(handler, body, number)

    server, settings = served(answer, context="subtitles")
    chosen = ask(library, settings, about_the_lens(library))
    assert chosen.right and not chosen.error and len(server.bodies) == 2
    first, second = (len(user_text(body)) for body in server.bodies)
    assert second < 0.8 * first


def test_tokens_of_the_answer_are_those_that_the_server_tells(films, served):
    """However many pieces they come in; what it thought is among them."""

    def answer(handler, _body, _number):
        usage = {"prompt_tokens": 9, "completion_tokens": 123, "total_tokens": 132}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "good"}
        last = f"data: {json.dumps(chunk | {'choices': [], 'usage': usage})}\n\n"
        stream(handler, event("<think>Hm.</think>"), event("B"), event(finish="stop"), last)

    _, settings = served(answer)
    chosen = ask(films, settings, about_the_lens(films))
    assert chosen.right and chosen.answer_tokens == 123
    assert as_record(chosen)["answer_tokens"] == 123

    def silent(handler, _body, _number):
        stream(handler, event("B, since that is what is said."), event(finish="stop"))

    _, settings = served(silent)
    chosen = ask(films, settings, about_the_lens(films))
    assert chosen.answer_tokens == ServerTokens("m").text("B, since that is what is said.") > 5


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_question_that_does_not_fit_is_an_error_of_its_own(films, served, context):
    server, settings = served(reading, context=context, budget_tokens=400, answer_tokens=100)
    question = dataclasses.replace(about_the_lens(films), text="Who, and why? " * 100)
    chosen = ask(films, settings, question)
    assert "budget" in chosen.error and chosen.choice is None and not server.bodies


def test_an_error_of_one_question_is_counted_and_a_refusal_ends_it(films, served):
    from ingest.models.videollm import VideoLLMRefusedError

    _, settings = served(refuses(500, "out of order"))
    chosen = ask(films, settings, about_the_lens(films))
    assert chosen.choice is None and "out of order" in chosen.error
    assert figures([chosen])["errors"] == 1 and figures([chosen])["accuracy"] == 0.0
    _, settings = served(refuses(401, "wrong key"))
    with pytest.raises(VideoLLMRefusedError):
        ask(films, settings, about_the_lens(films))


def test_a_model_on_this_machine_is_asked_too(films, tmp_path):
    """A tiny random one: it chooses nothing, or at random, and nothing breaks."""
    folder = tmp_path / "models" / "qwen3_vl"
    folder.mkdir(parents=True)
    tiny_videollm.build("qwen3_vl", folder)
    given = {
        "backend": "transformers", "model": str(folder), "device": "cpu", "answer_tokens": 16,
        "budget_tokens": 12_000, "frames": 0,
    }  # fmt: skip
    settings = load({"ask": given}, "packaged")[0]
    chosen = ask(films, settings, about_the_lens(films))
    assert chosen.answer_tokens == 16 and chosen.tokens > 50 and not chosen.error


# Figures


def one(at: int, right: bool, context: str = "retrieved", found=True, **fields) -> Chosen:
    windows = ((0.0, 5.0),) if found is not None else ()
    question = Question(
        str(at), "?", "v", windows, category=fields.pop("category", "x"),
        options=("a", "b", "c", "d"), answer=0,
    )  # fmt: skip
    spans = ((1.0, 2.0),) if found else ((7.0, 9.0),)
    return Chosen(
        question, context, 0 if right else 1, "", spans, 100, 2, 3, 0.5, 1.5, "short", **fields
    )


def test_figures_tell_what_was_found_apart_from_what_was_answered():
    chosen = [one(n, n % 4 != 0, found=n % 2 == 0, category="xy"[n % 2]) for n in range(40)]
    got = figures(chosen)
    assert got["accuracy"] == 0.75 and got["chance"] == 0.25
    assert got["recall"] == {"questions": 40, "found": 0.5, "accuracy_where_found": 0.5,
                             "accuracy_where_not": 1.0}  # fmt: skip
    assert got["categories"]["x"] == {"questions": 20, "accuracy": 0.5}
    assert got["durations"] == {"short": {"questions": 40, "accuracy": 0.75}}
    assert got["seconds"] == {"mean": 2.0, "shown": 0.5, "model": 1.5}
    assert got["interval"][0] < 0.75 < got["interval"][1]
    assert "recall" not in figures([one(1, True, found=None)])


def test_whether_retrieval_beats_subtitles_is_said_as_it_is():
    ours = [one(n, n % 10 != 0) for n in range(100)]
    even = [one(n, n % 10 != 1, "subtitles") for n in range(100)]
    worse = [one(n, n % 2 == 0, "subtitles") for n in range(100)]
    assert verdict("subtitles", compare(ours, worse)) == "Retrieval beats plain subtitles here."
    same = verdict("subtitles", compare(ours, even))
    assert same.startswith("Retrieval does not beat plain subtitles here")
    assert verdict("subtitles", compare(worse, ours)).startswith("Retrieval is worse")
    assert compare(ours, worse)["better"] and not compare(ours, even)["better"]


# The command


@pytest.fixture
def place(tmp_path):
    import talks

    library = talks.films_at(tmp_path / "library")
    library.store.close()
    return tmp_path / "library"


def write_questions(path, count: int = 3) -> None:
    records = [
        {"qid": n, "query": "Who invented the lens?", "vid": "Lighthouse.mp4",
         "relevant_windows": [[30, 34]], "options": list(OPTIONS), "answer": 1, "category": "who"}
        for n in range(count)
    ]  # fmt: skip
    records.append(records[0] | {"qid": "gone", "vid": "Submarine"})
    records.append({"qid": "plain", "query": "x", "vid": "Tides", "relevant_windows": [[0, 1]]})
    path.write_text("\n".join(map(json.dumps, records)))


def command(place, server, path, *more: str) -> int:
    return main(
        ["eval", "qa", "--questions", str(path), "--library", str(place), "--set", "ask.model=good",
         "--set", f"ask.base_url={server.url}", "--set", "ask.frames=0", *more]
    )  # fmt: skip


def test_the_command_reports_both_contexts_and_says_that_neither_is_better(
    place, served, tmp_path, capfd
):
    server, _ = served(reading)
    write_questions(tmp_path / "q.jsonl")
    results = tmp_path / "r.jsonl"
    assert command(place, server, tmp_path / "q.jsonl", "--per-question", str(results)) == 0
    out, err = capfd.readouterr()
    assert "retrieved\n  accuracy" in out and "subtitles\n  accuracy" in out
    assert "Retrieval does not beat plain subtitles here" in out
    assert "1.000 of 3" in out  # the true span was shown
    assert "Left out 1 question" in err and "does not hold" in err
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    assert [one["context"] for one in kept] == ["retrieved"] * 3 + ["subtitles"] * 3
    assert all(one["right"] and one["tokens"] > 0 for one in kept)


LAYOUTS = {
    "Video-MME": {
        "video_id": "001", "videoID": "Lighthouse", "duration": "short", "sub_category": "x",
        "question_id": "001-1", "task_type": "Object Recognition", "question": "{question}",
        "options": [f"{letter}. {one}" for letter, one in zip("ABCD", OPTIONS, strict=True)],
        "answer": "B",
    },
    "LongVideoBench": {
        "video_id": "Lighthouse", "video_path": "Lighthouse.mp4", "id": "Lighthouse_0",
        "question": "{question}", "candidates": list(OPTIONS), "correct_choice": 1,
        "duration_group": 60, "question_category": "TOS",
    },
    "MLVU": {
        "video": "Lighthouse.mp4", "duration": 60.0, "question": "{question}",
        "candidates": list(OPTIONS), "answer": "Fresnel", "question_type": "plotQA",
    },
    "OVO-Bench": {
        "id": 0, "video": "COIN/Lighthouse.mp4", "task": "EPM", "question": "{question}",
        "options": list(OPTIONS), "gt": 1, "realtime": 45,
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command_takes_the_layouts_of_the_benchmarks(place, served, tmp_path, capfd, layout):
    server, _ = served(reading)
    record = LAYOUTS[layout] | {"question": "Who invented the lens?"}
    (tmp_path / "q.json").write_text(json.dumps([record]))
    results = tmp_path / "r.jsonl"
    options = ("--json", "--per-question", str(results))
    assert command(place, server, tmp_path / "q.json", *options) == 0
    own = json.loads(capfd.readouterr().out)["contexts"]["retrieved"]
    assert own["accuracy"] == 1.0 and own["prompt_tokens"] > 50 and own["seconds"]["mean"] > 0
    (category,) = own["categories"]
    assert category in (record.get("task_type"), record.get("question_category"),
                        record.get("question_type"), record.get("task"))  # fmt: skip
    (length,) = own["durations"]
    assert length == {"Video-MME": "short"}.get(layout, "up to 2 min")
    assert {json.loads(line)["vid"] for line in results.read_text().splitlines()} != {"Lighthouse"}


def test_as_json_it_is_one_line(place, served, tmp_path, capfd):
    server, _ = served(reading)
    write_questions(tmp_path / "q.jsonl", 6)
    options = ("--json", "--context", "none", "--context", "retrieved", "--limit", "2")
    assert command(place, server, tmp_path / "q.jsonl", *options) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["contexts"]["retrieved"]["accuracy"] == 1.0
    assert report["contexts"]["none"]["accuracy"] == 0.0
    assert report["against"]["none"]["better"] and report["questions"] == 2


def test_what_cannot_be_measured_is_refused(place, served, tmp_path, capfd):
    server, _ = served(reading)
    path = tmp_path / "q.jsonl"
    write_questions(path)
    assert command(place, server, path, "--context", "all") == 2
    assert main(["eval", "qa", "--questions", str(path), "--library", str(place)]) == 2
    assert "ask.model" in capfd.readouterr().err
    path.write_text(json.dumps({"query": "x", "vid": "Tides", "relevant_windows": [[0, 1]]}))
    assert command(place, server, path) == 2
    assert "with options" in capfd.readouterr().err


def test_pictures_are_spread_evenly_for_the_context_uniform(tmp_path, library, served):
    from clips import solid, write_clip

    from index.schema import FileStat, Stream

    path = tmp_path / "film.mp4"
    write_clip(path, [solid((20 * n % 250, 90, 200 - n)) for n in range(60)], rate=1)
    video = put_video(library, "Lighthouse", 60.0)
    streams = (Stream(0, "video", "h264", width=64, height=48, frame_rate=1.0),)
    library.put_video(
        dataclasses.replace(video, files=(FileStat(str(path), 1, 1, 1),), streams=streams)
    )
    put_channel(library, video, "speech", [*LIGHTHOUSE, *TIDES][:6])
    server, settings = served(reading, context="uniform", frames=8)
    chosen = ask(library, settings, about_the_lens(library))
    assert chosen.pictures == len(pictures(server.bodies[0])) > 3
    assert "said:" not in user_text(server.bodies[0])
