"""Whatever is asked of whatever library, no prompt exceeds the budget, as the model counts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from clips import panning, write_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talks import make_video, open_library_at, put_channel

import configs
from index.errors import UsageError
from index.schema import Chapter, Done
from ingest.models.detector import Detection
from ingest.models.videollm import ContextOverflowError, Piece, Prompt
from ingest.models.videollm.transformers import TransformersVideoLLM
from rag.answer_settings import CONTEXTS, AskSettings
from rag.detected import Finder
from rag.generate import ModelAnswerer
from rag.prompt import PromptBuilder
from rag.question_kind import opinion_of
from rag.retrieve import Retriever
from rag.tokens import ModelTokens

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "llava_onevision", "smolvlm")
ANSWER_TOKENS = 48
SECONDS = 40


def instructions(name: str) -> str:
    return (Path(configs.__file__).parent / "prompts" / f"{name}.txt").read_text()


class Recording:
    """Counts as the real model does, and says what it is told to; keeps what it was asked.

    said: its answers, one after another. too_long: the first prompt is refused.
    """

    remote = False

    def __init__(self, model: TransformersVideoLLM, said: list[str], too_long: bool):
        self._model = model
        self._said = said
        self._too_long = too_long
        self.asked: list[tuple[Prompt, int]] = []

    def generate(self, prompt, *, max_tokens=512, **_given):
        self.asked.append((prompt, max_tokens))
        if self._too_long:
            self._too_long = False
            raise ContextOverflowError("too long")
        yield Piece(self._said[len(self.asked) % len(self._said)], (), "stop")

    def count_tokens(self, prompt):
        return self._model.count_tokens(prompt)

    def count_text(self, text):
        return self._model.count_text(text)

    @property
    def context_tokens(self):
        return self._model.context_tokens


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    draw = panning(3, 64, 48)
    pictures = [draw(at * 4.0) for at in range(SECONDS * 2)]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, rate=2)


VOCABULARY = (
    *("light", "lens", "keeper", "stone", "the", "glass", "not", "42", "1822"),
    *("<<<", ">>>", "[3]", "<|im_end|>", "灯塔", "naïve", "x" * 30),
)
QUESTIONS = (
    *("What is the light of the lens?", "Summarise this video", "What are the main points?"),
    *("How many stones are on the glass?", "How many times does he see a stone?"),
    *("Where is the keeper?", "What colour is the lens next to the stone?"),
    *("How many times is the lens said?", "What does the keeper do with the stone?"),
    *("Glass 灯塔 " * 9, "lens " * 400),
)
ANSWERS = (
    "The lens is of stone [1]. ",
    "The light is not of glass [2], and the keeper knows it [3].\n" * 25,
    "NOT IN THESE VIDEOS",
    "whole",
)


class Crowd:
    """Finds any number of what it is asked for, anywhere."""

    def __init__(self, random: Random):
        self._random = random

    def detect(self, images, classes, **_given):
        def box():
            x, y = self._random.uniform(0, 0.9), self._random.uniform(0, 0.9)
            return x, y, x + 0.1, y + 0.1

        return [
            [Detection(name, box(), 0.5) for name in classes
             for _ in range(self._random.choice([0, 1, 40]))]
            for _ in images
        ]  # fmt: skip


def random_library(folder: Path, random: Random, clip: Path):
    """Up to three films with random words; and where they have pictures, those."""
    library = open_library_at(folder)
    paths = {}

    def lines() -> list[tuple[float, float, str]]:
        starts = sorted(random.uniform(0, SECONDS - 1) for _ in range(random.randint(0, 14)))
        return [
            (start, min(start + random.uniform(0.2, 15), SECONDS),
             " ".join(random.choices(VOCABULARY, k=random.randint(1, 25))))
            for start in starts
        ]  # fmt: skip

    for at in range(random.randint(1, 3)):
        chapters = (
            (Chapter(0, 22, "Lens"), Chapter(22, 40, "Keeper")) if random.random() < 0.5 else ()
        )
        video = make_video(f"Film {at}", float(SECONDS), chapters=chapters)
        library.put_video(video)
        for channel in ("speech", "screen_text", "caption"):
            if said := lines():
                put_channel(library, video, channel, said)
        if random.random() < 0.5:
            put_channel(library, video, "fingerprint", [(0, 15, ""), (15, 28, ""), (28, 40, "")])
        if random.random() < 0.8:
            paths[video.id] = clip
    return library, paths


@pytest.mark.parametrize("family", FAMILIES)
@given(random=st.randoms(use_true_random=False))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_prompt_exceeds_the_budget(videollms, clip, family, random):
    real = videollms(family)
    least = real.count_tokens(Prompt((instructions("answer"),))) + ANSWER_TOKENS
    with tempfile.TemporaryDirectory() as folder:
        library, paths = random_library(Path(folder) / "library", random, clip)
        try:
            for question in random.sample(QUESTIONS, 5):
                model = Recording(real, random.choices(ANSWERS, k=3), random.random() < 0.3)
                ask = AskSettings(
                    model="m", budget_tokens=least + random.randint(-300, 2500),
                    answer_tokens=ANSWER_TOKENS, context=random.choice([*CONTEXTS, "retrieved"]),
                    picture_share=random.random(), small_side=random.choice([None, 28, 40]),
                    frames=6, stretches=5, moments=3, parts=4, attempts=2,
                )  # fmt: skip
                finder = Finder(lambda: Crowd(random), batch=2)
                _ask(question, library, paths, model, ask, finder)
                for prompt, most in model.asked:
                    assert real.count_tokens(prompt) + most <= ask.budget_tokens
        finally:
            library.store.close()


def _ask(
    question: str,
    library,
    paths: dict[str, Path],
    model: Recording,
    ask: AskSettings,
    finder: Finder,
):
    tokens = ModelTokens(model)
    build, noting = (
        PromptBuilder(instructions(name), tokens, ask, paths.get, finder=finder)
        for name in ("answer", "part")
    )
    opinion = opinion_of(model, instructions("kind"), build.fits)
    answerer = ModelAnswerer(Retriever(library), model, build, ask, noting=noting, opinion=opinion)
    try:
        *_, done = answerer.ask(question)
        assert isinstance(done, Done)
    except (UsageError, ContextOverflowError):
        pass  # not even the question fits, which is said
