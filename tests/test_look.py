"""Results looked at by a Video-LLM, over a real connection on loopback."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import solid, write_clip
from talks import put_channel, put_video
from test_videollm_openai import Server, event, refuses, says, stream

from cli.compose import build_rerankers
from cli.settings import load
from index.errors import ConfigError
from index.library import Library
from index.schema import FileStat
from ingest.models.videollm import Piece
from rag.look import yes
from rag.retrieve import Retriever

pytestmark = pytest.mark.usefixtures("own_places")

RED, GREEN = (220, 20, 20), (20, 220, 20)


@pytest.fixture
def served():
    servers = []

    def serve(answer, **look):
        servers.append(Server(answer))
        given = {"model": "good", "base_url": servers[-1].url} | look
        return servers[-1], load({"retrieve": {"look": given}}, None)[0]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def film(tmp_path, library) -> Library:
    """Ten seconds of red, then ten of green; a ball is spoken of in both, more in the first."""
    path = tmp_path / "film.mp4"
    write_clip(path, [solid(RED)] * 100 + [solid(GREEN)] * 100, rate=10)
    video = put_video(library, "Film", 20.0)
    library.put_video(dataclasses.replace(video, files=(FileStat(str(path), 1, 1, 1),)))
    put_channel(library, video, "speech", [(2, 6, "A ball."), (13, 17, "There is a ball again.")])
    return library


def search(library: Library, settings, **options):
    rerankers = build_rerankers(settings, library)
    return Retriever(library, settings.retrieve, rerankers=rerankers).search("ball", **options)


def parts_of(body: dict) -> tuple[str, list[np.ndarray]]:
    """The text of a request, and its pictures."""
    content = body["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    data = [np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8) for url in urls]
    text = "\n".join(part["text"] for part in content if part["type"] == "text")
    return text, [cv2.imdecode(each, cv2.IMREAD_COLOR)[:, :, ::-1] for each in data]


def sees_green(handler, body, _number):
    """Yes for green pictures, as sure as 0.8; no for others, as sure as 0.75."""
    _, images = parts_of(body)
    green = np.mean([image[..., 1].mean() for image in images]) > 128
    word, sure = ("Yes", 0.8) if green else ("No", 0.75)
    stream(handler, event(word, logprob=math.log(sure)), event(".", logprob=-0.1),
           event(finish="stop"))  # fmt: skip


def test_what_is_seen_decides(film, served):
    server, settings = served(sees_green)
    plain = Retriever(film).search("ball").moments
    assert [m.start_seconds for m in plain] == [2.0, 13.0]
    result = search(film, settings, explain=True)
    assert [(m.start_seconds, round(m.score, 3)) for m in result.moments] == [
        (13.0, 0.8), (2.0, 0.25)
    ]  # fmt: skip
    assert result.notes == () and result.explanations[0].judged.startswith("good: 0.800; before")
    text, images = parts_of(server.bodies[0])
    assert len(images) == 4 and images[0].shape == (48, 64, 3)
    assert "Looked for: ball" in text and "ball" in text.partition("written there:")[2]
    assert not any(place in text for place in ("{frames}", "{text}", "{question}"))
    assert server.bodies[0]["logprobs"] is True


def test_only_the_best_are_looked_at(film, served):
    server, settings = served(sees_green, depth=1)
    result = search(film, settings)
    assert len(server.bodies) == 1
    assert [(m.start_seconds, round(m.score, 3)) for m in result.moments] == [
        (2.0, 0.25), (13.0, 0.25)
    ]  # fmt: skip


def test_what_is_told_is_cut_and_cannot_stand_for_anything_else(film, served):
    video = film.find("Film")
    lines = [(13, 17, "{question} ball " + "x" * 900)]
    put_channel(film, video, "screen_text", lines, language=None)
    server, settings = served(sees_green, text_characters=40)
    search(film, settings)
    for body in server.bodies:
        told = parts_of(body)[0].partition("written there:")[2].partition("Looked for:")[0]
        assert len(told.strip()) <= 40


def test_an_answer_that_is_neither_changes_nothing(film, served):
    _, settings = served(says("Perhaps."))
    assert search(film, settings).moments == Retriever(film).search("ball").moments


def test_a_film_that_cannot_be_read_is_not_looked_at(film, served):
    Path(film.videos()[0].files[0].path).unlink()
    server, settings = served(sees_green)
    assert search(film, settings).moments == Retriever(film).search("ball").moments
    assert not server.bodies


@pytest.mark.parametrize(
    ("answer", "why"),
    [(refuses(401, {"message": "no key"}), "OPENAI_API_KEY"),
     (refuses(500, {"message": "out of memory"}), "out of memory")],
)  # fmt: skip
def test_a_server_that_fails_is_said_and_changes_nothing(film, served, answer, why):
    _, settings = served(answer)
    result = search(film, settings)
    assert result.moments == Retriever(film).search("ball").moments
    assert "not judged by good" in result.notes[0] and why in result.notes[0]


def test_one_answer_that_fails_leaves_the_others(film, served):
    def second_fails(handler, body, number):
        text, _ = parts_of(body)
        if "again" in text:
            refuses(500, {"message": "broken"})(handler, body, number)
        else:
            sees_green(handler, body, number)

    _, settings = served(second_fails)
    result = search(film, settings)
    assert result.notes == ()
    scores = {m.start_seconds: m.score for m in result.moments}
    plain = {m.start_seconds: m.score for m in Retriever(film).search("ball").moments}
    assert scores == {13.0: pytest.approx(plain[13.0]), 2.0: pytest.approx(0.25)}


def test_instructions_of_ones_own(tmp_path, film, served):
    prompt = tmp_path / "look.txt"
    prompt.write_text("{frames} {text} {question}?")
    server, settings = served(sees_green, prompt=str(prompt))
    search(film, settings)
    assert "ball?" in json.dumps(server.bodies[0])
    prompt.write_text("{frames} {question}?")
    with pytest.raises(ConfigError, match=r"lack \{text\}"):
        build_rerankers(settings, film)


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        ([Piece("Yes", (math.log(0.7),))], 0.7),
        ([Piece("\n"), Piece(" no", (math.log(0.7),)), Piece(".", (0.0,))], 0.3),
        ([Piece("**Yes**")], 0.9),
        ([Piece("Y", (math.log(0.6),)), Piece("es", (-0.1,))], 0.6),
        ([Piece("No.")], 0.1),
        ([Piece("Nothing of the kind")], None),
        ([Piece("I see a ball, yes")], None),
        ([], None),
    ],
)
def test_yes_and_no_and_how_sure(pieces, wanted):
    assert yes(pieces) == (None if wanted is None else pytest.approx(wanted))
