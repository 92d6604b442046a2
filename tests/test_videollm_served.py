"""The OpenAI client against a server of someone else's making: `transformers serve`, with a tiny
random Video-LLM. Skips where the server's packages (fastapi, uvicorn) are not installed."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_videollm
from clips import noise_picture, write_clip
from talks import LIGHTHOUSE, put_channel, put_video

from cli.compose import build_answerer
from cli.settings import load
from index.schema import FileStat, Stream, Token
from ingest.models.videollm import Frame, Prompt, VideoLLMRefusedError
from ingest.models.videollm.openai import OpenAIVideoLLM, jpeg_url
from ingest.models.videollm.transformers import TransformersVideoLLM


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"`transformers serve` needs {package}")
    folder = tmp_path_factory.mktemp("model")
    files = tiny_videollm.build("qwen2_5_vl", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", str(folder)]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    log = []
    for line in process.stderr:
        log.append(line)
        if "Uvicorn running" in line:
            break
    else:
        pytest.fail("".join(log))
    yield files, f"http://127.0.0.1:{port}/v1"
    process.kill()
    process.wait()
    process.stderr.close()


def test_it_answers_as_the_same_model_does_here(served):
    files, url = served
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(noise, (64, 48), interpolation=cv2.INTER_CUBIC)
    client = OpenAIVideoLLM(str(files.folder), base_url=url, retries=0)
    prompt = Prompt(("Watch this.", Frame(7.0, image), "What is seen?"))
    remote = list(client.generate(prompt, max_tokens=20))
    data = base64.b64decode(jpeg_url(image).partition(",")[2])
    received = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    prompt = Prompt(("Watch this.", Frame(7.0, received), "What is seen?"))
    local = TransformersVideoLLM(files, device="cpu").generate(prompt, max_tokens=20)
    assert "".join(piece.text for piece in remote) == "".join(piece.text for piece in local)
    assert len(remote) > 5
    assert remote[-1].finish == "length"


def test_a_wrong_model_is_told(served):
    _, url = served
    client = OpenAIVideoLLM("another/model", base_url=url, retries=0)
    with pytest.raises(VideoLLMRefusedError, match="has no model another/model"):
        list(client.generate(Prompt(("Hello?",))))


@pytest.mark.usefixtures("own_places")
def test_a_question_is_answered_through_it(served, library, tmp_path):
    files, url = served
    path = write_clip(tmp_path / "film.mp4", [noise_picture(at) for at in range(40)], rate=1)
    video = put_video(library, "Lighthouse", 40.0)
    streams = (Stream(0, "video", "h264", width=64, height=48, frame_rate=1.0),)
    library.put_video(
        dataclasses.replace(video, files=(FileStat(str(path), 1, 1, 1),), streams=streams)
    )
    put_channel(library, video, "speech", LIGHTHOUSE)
    given = {"model": str(files.folder), "base_url": url, "retries": 0, "answer_tokens": 24,
             "picture_tokens": 80, "frames": 3, "attempts": 1}  # fmt: skip
    answerer = build_answerer(load({"ask": given}, None)[0], library)
    events = list(answerer.ask("Who invented the lens?"))
    said = "".join(event.text for event in events if isinstance(event, Token))
    assert len(said) >= 16 and events[-1].found
    assert events[-1].detail["pictures"] == 3 and "error" not in events[-1].detail
