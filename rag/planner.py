"""A question taken apart by a language model: what to ask of each channel, in one call.

The query decoupling of Video-RAG (Luo et al. 2024, "Video-RAG: Visually-aligned
Retrieval-Augmented Long Video Comprehension"). What the model answers is checked strictly; an
answer that is not as it should be, or comes too late, is no answer.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from index.errors import ConfigError, LongtakeError
from ingest.models.videollm import Prompt, VideoLLM
from rag.order import Order
from rag.query import Ask
from rag.settings import PlannerSettings

Words = Annotated[str, Meta(min_length=1, max_length=500)]
Name = Annotated[str, Meta(min_length=1, max_length=80)]
Number = Annotated[int, Meta(ge=1, le=1000)]


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """number: how many of it. place: where, or in what relation to others."""

    name: Name
    number: Number | None = None
    place: Words | None = None

    @property
    def text(self) -> str:
        """As the channel `object` writes what it finds: `bottle × 3`."""
        return self.name if self.number in (None, 1) else f"{self.name} × {self.number}"


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    relation: Literal["after", "before"]
    anchor: Words


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model makes of a question. None, or nothing, where a channel need not be asked."""

    speech: Words | None
    screen: Words | None
    picture: Words | None
    objects: Annotated[list[Thing], Meta(max_length=20)]
    order: Anchor | None


class PlanError(LongtakeError):
    """There is no plan; why is in the message."""


QUESTION = "{question}"
"""Stands in the instructions where the question goes."""


class Planner:
    """Keeps its connection between questions. instructions: with QUESTION in them, else ConfigError
    is raised. Safe to share between threads where the model is."""

    def __init__(self, model: VideoLLM, instructions: str, settings: PlannerSettings):
        if QUESTION not in instructions:
            raise ConfigError(f"The instructions for taking questions apart lack {QUESTION}.")
        self._model = model
        self._instructions = instructions
        self._settings = settings

    def plan(self, question: str) -> Plan:
        """One call. Raises PlanError, whatever goes wrong."""
        prompt = Prompt((self._instructions.replace(QUESTION, question),))
        try:
            return read_plan(self._answer(prompt))
        except PlanError:
            raise
        except LongtakeError as error:
            raise PlanError(str(error)) from error

    def _answer(self, prompt: Prompt) -> str:
        limit = self._settings.timeout_seconds
        deadline = time.monotonic() + limit
        said = ""
        pieces = self._model.generate(prompt, max_tokens=self._settings.max_tokens)
        try:
            for piece in pieces:
                said += piece.text
                if time.monotonic() > deadline:
                    raise PlanError(f"The model took longer than {limit:g} s.")
        finally:
            pieces.close()
        return said


def read_plan(said: str) -> Plan:
    """The plan in a model's answer, with or without thoughts, words and a fence around it. Raises
    PlanError."""
    said = said.rpartition("</think>")[2]
    start, end = said.find("{"), said.rfind("}")
    if start < 0 or end < start:
        raise PlanError("The model answered without a JSON object.")
    try:
        plan = msgspec.json.decode(said[start : end + 1], type=Plan)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise PlanError(f"The model's answer is not what was asked for: {error}.") from error
    if not any((plan.speech, plan.screen, plan.picture, plan.objects)):
        raise PlanError("The model's answer looks for nothing.")
    return plan


def order_of(plan: Plan, question: str) -> Order | None:
    """The order in time that the plan sees in the question, if any."""
    return plan.order and Order(question, plan.order.relation, plan.order.anchor)


def asks_of(plan: Plan, question: str) -> list[Ask]:
    """What each channel is asked, in the plan's words; sounds, of which no plan speaks, and
    captions where no picture is described, as the question stands."""
    pictured = plan.picture
    if pictured is None and plan.objects:
        pictured = ", ".join(
            thing.text if thing.place is None else f"{thing.text} {thing.place}"
            for thing in plan.objects
        )
    words = {
        ("speech",): plan.speech,
        ("screen_text",): plan.screen,
        ("object",): ", ".join(thing.text for thing in plan.objects),
        ("frame",): pictured,
        ("caption",): pictured or question,
        ("sound",): question,
    }
    return [Ask(text, channels) for channels, text in words.items() if text]
