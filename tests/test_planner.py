"""Questions taken apart by a language model, asked over a real connection on loopback."""

from __future__ import annotations

import json
import threading

import pytest
import talks
from talks import put_channel, put_video
from test_videollm_openai import Server, begin_stream, event, refuses, says, send

from cli.compose import build_planner
from cli.main import main
from cli.settings import load
from index.errors import ConfigError
from index.library import Library
from rag.planner import Plan, PlanError, Thing, asks_of, read_plan
from rag.query import Ask
from rag.retrieve import Retriever

PLAN = {
    "speech": "what he says about masks",
    "screen": None,
    "picture": None,
    "objects": [],
    "order": None,
}

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def served():
    """served(answer) -> a running server and settings that name it."""
    servers = []

    def serve(answer, **planner):
        servers.append(Server(answer))
        given = {"model": "good", "base_url": servers[-1].url} | planner
        return servers[-1], load({"retrieve": {"planner": given}}, None)[0]

    yield serve
    for server in servers:
        server.close()


def plans(plan: dict | str):
    return says(plan if isinstance(plan, str) else json.dumps(plan))


def test_without_a_model_nobody_is_asked():
    assert build_planner(load({}, None)[0]) is None


def test_one_call_asks_what_the_prompt_says(served):
    server, settings = served(plans(PLAN))
    assert build_planner(settings).plan("What about masks?") == Plan(
        "what he says about masks", None, None, [], None
    )
    (body,) = server.bodies
    (message,) = body["messages"]
    assert message["role"] == "user" and message["content"].rstrip().endswith("What about masks?")
    assert "{question}" not in message["content"] and body["max_tokens"] == 400


@pytest.mark.parametrize(
    "around", ["{}", "```json\n{}\n```", "<think>Is it {{so}}?</think>Here it is:\n{}", "{}\nDone."]
)
def test_what_stands_around_the_answer_does_no_harm(around):
    assert read_plan(around.format(json.dumps(PLAN))).speech == PLAN["speech"]


@pytest.mark.parametrize(
    "wrong",
    [
        "I cannot do that.",
        "{",
        "}{",
        json.dumps(PLAN)[:-1],
        json.dumps(PLAN | {"answer": "42"}),
        json.dumps({"speech": "masks"}),
        json.dumps(PLAN | {"speech": 7}),
        json.dumps(PLAN | {"speech": ""}),
        json.dumps(PLAN | {"speech": "masks " * 100}),
        json.dumps(PLAN | {"speech": None}),
        json.dumps(PLAN | {"objects": ["man"]}),
        json.dumps(PLAN | {"objects": [{"name": "man", "number": -1}]}),
        json.dumps(PLAN | {"objects": [{"name": "man"}] * 21}),
        json.dumps(PLAN | {"order": {"relation": "during", "anchor": "the demo"}}),
        json.dumps(PLAN | {"order": {"relation": "after"}}),
        "",
    ],
)
def test_an_answer_that_is_not_as_asked_for_is_none(wrong):
    with pytest.raises(PlanError):
        read_plan(wrong)


def test_every_channel_is_asked_with_its_own_words():
    things = [Thing("man", 2, "at the door"), Thing("door")]
    plan = Plan("who is there", "ACME", None, things, None)
    assert asks_of(plan, "who stands at the door of acme") == [
        Ask("who is there", ("speech",)),
        Ask("ACME", ("screen_text",)),
        Ask("man × 2, door", ("object",)),
        Ask("man × 2 at the door, door", ("frame",)),
        Ask("man × 2 at the door, door", ("caption",)),
        Ask("who stands at the door of acme", ("sound",)),
    ]
    spoken = asks_of(Plan("masks", None, None, [], None), "what are masks")
    assert [ask.channels for ask in spoken] == [("speech",), ("caption",), ("sound",)]


@pytest.fixture
def shop(library) -> Library:
    video = put_video(library, "Shop", 600.0)
    put_channel(library, video, "speech", [(10, 14, "We sell bottles."), (200, 204, "Good bye.")])
    put_channel(library, video, "object", [(300, 310, "bottle × 2"), (400, 410, "dog")])
    put_channel(library, video, "screen_text", [(200, 206, "GOOD BYE")], language=None)
    return library


def search(library: Library, settings, text: str, **options):
    planner = build_planner(settings)
    return Retriever(library, settings.retrieve, planner=planner).search(text, **options)


def starts(result) -> list[float]:
    return [moment.start_seconds for moment in result.moments]


def test_the_plan_decides_what_is_looked_for_where(shop, served):
    typed = "where do two bottles stand"
    plan = PLAN | {"speech": None, "objects": [{"name": "bottle", "number": 2}]}
    server, settings = served(plans(plan))
    result = search(shop, settings, typed)
    assert starts(result) == [300.0] and result.notes == ()
    assert 10.0 in starts(Retriever(shop).search(typed))
    assert len(server.bodies) == 1


def test_channels_that_agree_in_their_own_words_are_one_moment(shop, served):
    _, settings = served(plans(PLAN | {"speech": "good", "screen": "bye"}))
    moment = search(shop, settings, "where does it end then").moments[0]
    assert {hit.channel for hit in moment.hits} == {"speech", "screen_text"}


def test_the_plans_order_counts(shop, served):
    order = {"relation": "after", "anchor": "good bye"}
    objects = [{"name": "dog"}, {"name": "bottle"}]
    _, settings = served(plans(PLAN | {"speech": None, "objects": objects, "order": order}))
    result = search(shop, settings, "which things come up when all is over", explain=True)
    assert starts(result)[0] in (300.0, 400.0)
    assert "after “good bye”" in result.explanations[0].order
    assert "after “good bye”" in result.notes[0]


def test_filters_and_phrases_still_hold(shop, served):
    plan = PLAN | {"speech": "bottles", "objects": [{"name": "bottle"}]}
    server, settings = served(plans(plan))
    assert starts(search(shop, settings, "where are the bottles after:1:00")) == [300.0]
    assert starts(search(shop, settings, 'where are the "sell bottles"')) == [10.0]
    assert starts(search(shop, settings, "where are the bottles channel:speech")) == [10.0]
    assert "after:" not in server.bodies[0]["messages"][0]["content"].rpartition("Question:")[2]


def test_a_word_or_two_need_no_model(shop, served):
    server, settings = served(plans(PLAN))
    assert starts(search(shop, settings, "bottles"))
    assert not server.bodies


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says("Sorry, no."), "without a JSON object"),
        (plans(PLAN | {"speech": None}), "looks for nothing"),
        (refuses(500, {"message": "out of memory"}), "out of memory"),
        (refuses(401, {"message": "no key"}), "OPENAI_API_KEY"),
    ],
)
def test_without_a_plan_the_rules_do_what_they_can(shop, served, answer, why):
    _, settings = served(answer)
    result = search(shop, settings, "after we sell bottles, good bye")
    assert starts(result) == starts(Retriever(shop).search("after we sell bottles, good bye"))
    assert why in result.notes[0] and "as it was typed" in result.notes[0]


def test_nobody_at_the_address_is_said(shop, served):
    server, settings = served(plans(PLAN))
    server.close()
    result = search(shop, settings, "where are the bottles")
    assert starts(result) and "No server answers" in result.notes[0]


def test_a_model_that_is_slow_is_not_waited_for(shop, served):
    let_go = threading.Event()

    def silent(handler, _body, _number):
        begin_stream(handler)
        let_go.wait(30)

    def dripping(handler, _body, _number):
        begin_stream(handler)
        while not let_go.wait(0.05):
            try:
                send(handler, event("{"))
            except OSError:
                return

    try:
        for answer, why in ((silent, "silent for"), (dripping, "took longer than")):
            _, settings = served(answer, timeout_seconds=0.4)
            result = search(shop, settings, "where are the bottles")
            assert starts(result) and why in result.notes[0]
    finally:
        let_go.set()


def test_instructions_of_ones_own(tmp_path, served):
    prompt = tmp_path / "plan.txt"
    prompt.write_text("Plan this: {question}")
    server, settings = served(plans(PLAN), prompt=str(prompt))
    build_planner(settings).plan("Masks?")
    assert server.bodies[0]["messages"][0]["content"] == "Plan this: Masks?"
    prompt.write_text("Plan!")
    with pytest.raises(ConfigError, match="lack"):
        build_planner(settings)


def test_from_the_command_line(tmp_path, served, capfd):
    server, _ = served(plans(PLAN | {"speech": "clockwork"}))
    path = tmp_path / "library"
    talks.films_at(path).store.close()
    status = main([
        "search", "what does the keeper do", "--library", str(path),
        "--set", "retrieve.planner.model=good", "--set", f"retrieve.planner.base_url={server.url}",
    ])  # fmt: skip
    out, err = capfd.readouterr()
    assert status == 0 and "as it was typed" not in err and "clockwork" in out
