"""Servers that speak OpenAI's protocol, on loopback: how they fail, and what a user is told."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from index.errors import ConfigError
from ingest.models.videollm import (
    ContextOverflowError,
    Frame,
    Prompt,
    VideoLLMError,
    VideoLLMRefusedError,
    VideoLLMUnreachableError,
    answer_text,
)
from ingest.models.videollm.openai import OpenAIVideoLLM

PICTURE = cv2.resize(
    np.array([[[250, 10, 10], [10, 250, 10]]], np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST
)
PROMPT = Prompt(("Before.", Frame(3.25, PICTURE), "After."), system="Be brief.")


class Server:
    """answer: called with (handler, request body, number of the request from 0)."""

    def __init__(self, answer: Callable):
        self.bodies: list[dict] = []
        self.headers: list = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                models = {"object": "list", "data": [{"id": "good", "object": "model"}]}
                reply(self, 200, models)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.headers.append(self.headers)
                answer(self, body, len(server.bodies) - 1)

            def log_message(self, *_args):
                pass

        self.handler = Handler
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


def reply(handler, status: int, body, **headers: str):
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def begin_stream(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def send(handler, data: str):
    raw = data.encode()
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
    handler.wfile.flush()


def event(text: str | None = None, finish: str | None = None, logprob: float | None = None) -> str:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}}
    choice["finish_reason"] = finish
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": text, "logprob": logprob, "top_logprobs": []}]}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "good"}
    return f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n"


def stream(handler, *events: str):
    begin_stream(handler)
    for each in events:
        send(handler, each)
    send(handler, "data: [DONE]\n\n")
    send(handler, "")


def says(*words: str):
    def answer(handler, _body, _number):
        stream(handler, *map(event, words), event(finish="stop"))

    return answer


def refuses(status: int, error, **headers: str):
    return lambda handler, _body, _number: reply(handler, status, {"error": error}, **headers)


@contextmanager
def asking(answer, model: str = "good", **options):
    server = Server(answer)
    options = {"retries": 0, "timeout_seconds": 20.0} | options
    client = OpenAIVideoLLM(model, base_url=server.url, **options)
    try:
        yield client, server
    finally:
        client.close()
        server.close()


def test_without_a_server_that_is_named_nobody_is_asked(monkeypatch):
    """The client's own default is a stranger's, and a prompt holds what is in the videos."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "for something else")
    with pytest.raises(ConfigError, match=r"good.*base_url"):
        OpenAIVideoLLM("good")
    server = Server(says("yes"))
    try:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        client = OpenAIVideoLLM("good", retries=0)
        assert "".join(piece.text for piece in client.generate(PROMPT)) == "yes"
        client.close()
    finally:
        server.close()


def error_of(answer, *, kind=VideoLLMError, prompt=PROMPT, **options) -> str:
    with asking(answer, **options) as (client, _), pytest.raises(kind) as caught:
        list(client.generate(prompt))
    assert type(caught.value) is kind
    return str(caught.value)


def test_the_prompt_goes_over_in_order_with_times_and_pictures():
    with asking(says("A ", "dog.")) as (client, server):
        pieces = list(client.generate(PROMPT, max_tokens=9, stop=["\n"], logprobs=True))
    assert [piece.text for piece in pieces] == ["A ", "dog.", ""]
    assert pieces[-1].finish == "stop"
    body = server.bodies[0]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("good", 9, 0.0)
    assert (body["stop"], body["logprobs"], body["stream"]) == (["\n"], True, True)
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    before, label, image, after = user["content"]
    assert [part["text"] for part in (before, label, after)] == [
        "Before.",
        "Frame at 3.2 seconds:",
        "After.",
    ]
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(seen.astype(int) - PICTURE).mean() < 6


def test_probabilities_come_along_where_the_server_gives_them():
    def answer(handler, _body, _number):
        stream(handler, event("yes", logprob=-0.25), event(finish="length"))

    with asking(answer) as (client, _):
        pieces = list(client.generate(PROMPT, logprobs=True))
    assert pieces[0].logprobs == (-0.25,)
    assert pieces[-1].finish == "length"


def test_the_key_comes_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    with asking(says("ok"), key_variable="MY_KEY") as (client, server):
        assert answer_text(client.generate(PROMPT)) == "ok"
    assert server.headers[0]["Authorization"] == "Bearer s3cret"


def test_servers_without_keys_need_none(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with asking(says("ok")) as (client, _):
        assert answer_text(client.generate(PROMPT)) == "ok"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(status):
    error = {"message": "Incorrect API key provided", "code": "invalid_api_key"}
    message = error_of(refuses(status, error), kind=VideoLLMRefusedError, key_variable="MY_KEY")
    assert "MY_KEY" in message and "Incorrect API key" in message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": "The model `bad` does not exist.", "code": 404}),  # vLLM
        (404, {"message": 'model "bad" not found, try pulling it first'}),  # Ollama
        (404, {"message": "no such thing", "code": "model_not_found"}),
        (400, {"message": "Invalid model identifier: unknown model bad"}),
    ],
)
def test_a_wrong_model_names_those_there_are(status, error):
    message = error_of(refuses(status, error), kind=VideoLLMRefusedError, model="bad")
    assert "has no model bad" in message and "good" in message


@pytest.mark.parametrize(
    "said",
    [
        "image input is not supported - hint: you may need to provide the mmproj",  # llama.cpp
        "bad is not a multimodal model",  # vLLM
        "At most 0 image(s) may be provided in one request.",  # vLLM
        "This model does not support image inputs",
        "Invalid content type. image_url is only supported by certain models.",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_model_without_eyes_is_said_to_be_one(said, status):
    message = error_of(refuses(status, {"message": said}), kind=VideoLLMRefusedError)
    assert "takes no pictures" in message and "with vision" in message


@pytest.mark.parametrize(
    "error",
    [
        {"message": "This model's maximum context length is 4096 tokens. However, ..."},
        {"message": "too long", "code": "context_length_exceeded"},
        {
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
        },
        {"message": "The decoder prompt (length 9000) is longer than the maximum model length"},
    ],
)
def test_a_prompt_that_is_too_long_is_told_apart(error):
    assert "fewer or smaller frames" in error_of(refuses(400, error), kind=ContextOverflowError)


def test_too_many_pictures_are_too_long_a_prompt():
    error = {"message": "At most 2 image(s) may be provided in one prompt."}
    assert "fewer frames" in error_of(refuses(400, error), kind=ContextOverflowError)


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    client = OpenAIVideoLLM("good", base_url=url, retries=0)
    with pytest.raises(VideoLLMUnreachableError, match="Start it, or correct base_url"):
        list(client.generate(PROMPT))


def test_an_address_that_swallows_packets_is_nobody_there(monkeypatch):
    monkeypatch.setattr("ingest.models.videollm.openai._CONNECT_SECONDS", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # and accepts none: what comes after the first gets no answer
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        client = OpenAIVideoLLM("good", base_url=url, retries=0)
        with pytest.raises(VideoLLMUnreachableError, match=f"No server answers at {url}"):
            list(client.generate(PROMPT))


def test_what_a_server_has_is_asked_for(monkeypatch):
    with asking(says("Yes.")) as (client, server):
        assert client.served() == ["good"]
        for body in ("<html>Welcome!</html>", {"hello": 1}, [1, 2]):
            monkeypatch.setattr(
                server.handler, "do_GET", lambda self, body=body: reply(self, 200, body)
            )
            assert client.served() == []


def test_an_answer_that_cannot_be_read_is_told():
    def answer(handler, _body, _number):
        begin_stream(handler)
        send(handler, "data: {no json\n\n")

    assert "cannot be read" in error_of(answer)


def test_silence_is_not_waited_out():
    gone = threading.Event()

    def answer(_handler, _body, _number):
        gone.wait(20)

    message = error_of(answer, timeout_seconds=0.3)
    gone.set()
    assert "silent for 0.3 s" in message


def test_silence_in_the_middle_is_not_waited_out_and_what_was_said_is_kept():
    gone = threading.Event()

    def answer(handler, _body, _number):
        begin_stream(handler)
        send(handler, event("Half of"))
        gone.wait(20)

    with asking(answer, retries=3, timeout_seconds=0.3) as (client, server):
        pieces = client.generate(PROMPT)
        assert next(pieces).text == "Half of"
        with pytest.raises(VideoLLMError, match=r"silent for 0\.3 s") as caught:
            next(pieces)
        gone.set()
    assert caught.value.mid_stream and len(server.bodies) == 1


def test_a_server_that_recovers_is_asked_again():
    def answer(handler, _body, number):
        if number < 2:
            reply(handler, 503, {"error": {"message": "loading"}}, retry_after_ms="1")
        else:
            stream(handler, event("ok"), event(finish="stop"))

    with asking(answer, retries=2) as (client, server):
        assert answer_text(client.generate(PROMPT)) == "ok"
    assert len(server.bodies) == 3


def test_a_server_that_keeps_failing_is_given_up():
    assert "CUDA error" in error_of(refuses(500, {"message": "CUDA error"}))
    assert "busy" in error_of(refuses(429, {"message": "slow down"}))


@pytest.mark.parametrize("politely", [True, False])
def test_what_came_before_it_broke_off_is_kept(politely):
    def answer(handler, _body, _number):
        begin_stream(handler)
        send(handler, event("Half of"))
        if politely:
            send(handler, "")
        handler.close_connection = True

    with asking(answer) as (client, _):
        pieces = client.generate(PROMPT)
        assert next(pieces).text == "Half of"
        with pytest.raises(VideoLLMError, match="middle of its answer") as caught:
            next(pieces)
        assert caught.value.mid_stream


def test_an_error_inside_the_stream_is_an_error():
    def answer(handler, _body, _number):
        begin_stream(handler)
        send(handler, event("Half"))
        send(handler, 'data: {"error": {"message": "out of memory"}}\n\n')
        send(handler, "")

    assert "out of memory" in error_of(answer)


def test_the_server_tells_what_was_spent_behind_the_end_or_with_it():
    usage = {"prompt_tokens": 40, "completion_tokens": 17, "total_tokens": 57}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "good"}

    def behind(handler, body, _number):
        assert body["stream_options"] == {"include_usage": True}
        last = f"data: {json.dumps(chunk | {'choices': [], 'usage': usage})}\n\n"
        stream(handler, event("Yes"), event(finish="stop"), last)

    def along(handler, _body, _number):
        choice = {"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop"}
        stream(handler, f"data: {json.dumps(chunk | {'choices': [choice], 'usage': usage})}\n\n")

    for answer in (behind, along):
        with asking(answer) as (client, _):
            *before, last = client.generate(PROMPT)
        assert "".join(p.text for p in before) == "Yes" and not any(p.finish for p in before)
        assert (last.text, last.finish, last.spent) == ("", "stop", 17)
    with asking(says("Yes")) as (client, _):
        assert [piece.spent for piece in client.generate(PROMPT)] == [None, None]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[
            (name, f"Unsupported parameter: '{name}' is not supported with this model.")
            for name in ("max_tokens", "temperature", "logprobs", "stop", "stream_options")
        ],
        ("stream_options", 'json: unknown field "stream_options"'),
        ("stream_options", "got an unexpected keyword argument 'stream_options'"),
    ],
)
def test_what_a_model_does_not_take_is_left_out(name, said):
    def answer(handler, body, _number):
        if name in body:
            reply(handler, 400, {"error": {"message": said, "param": None}})
        else:
            stream(handler, event("ok"), event(finish="stop"))

    with asking(answer) as (client, server):
        for _ in range(2):
            answered = client.generate(PROMPT, max_tokens=7, stop=["x"], logprobs=True)
            assert answer_text(answered) == "ok"
    assert len(server.bodies) == 3  # it is found out once
    if name == "max_tokens":
        assert server.bodies[-1]["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "System role not supported"),  # Gemma 2's, through a server that fails on it
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Only user and assistant roles are supported!"),
    ],
)
def test_where_no_system_role_is_taken_the_instructions_go_before_the_rest(status, said):
    def answer(handler, body, _number):
        if body["messages"][0]["role"] == "system":
            reply(handler, status, {"error": {"message": said}})
        else:
            stream(handler, event("ok"), event(finish="stop"))

    with asking(answer) as (client, server):
        for _ in range(2):
            assert answer_text(client.generate(PROMPT)) == "ok"
        assert answer_text(client.generate(Prompt(("Hello?",), system="Be brief."))) == "ok"
    assert len(server.bodies) == 4  # it is found out once
    for body in server.bodies[1:3]:
        (user,) = body["messages"]
        told = [part.get("text") for part in user["content"]]
        assert told == ["Be brief.", "Before.", "Frame at 3.2 seconds:", None, "After."]
    assert server.bodies[3]["messages"] == [{"role": "user", "content": "Be brief.\n\nHello?"}]


def test_closing_the_answer_hangs_up():
    hung_up = threading.Event()

    def answer(handler, _body, _number):
        begin_stream(handler)
        try:
            for _ in range(100_000):
                send(handler, event("word " * 200))
        except OSError:
            hung_up.set()

    with asking(answer) as (client, _):
        pieces = client.generate(PROMPT)
        next(pieces)
        pieces.close()
        assert hung_up.wait(20)
