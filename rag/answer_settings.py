"""The defaults of answers by a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ingest.models.videollm.session_settings import SessionSettings

CONTEXTS = ("retrieved", "uniform", "subtitles", "none")
"""What a model may be shown: what was found, pictures spread evenly, all that was said, nothing."""


class CheckSettings(BaseModel):
    """How sentences of an answer are held against the words that they cite.

    floor: of the support score, 0..1, below which a sentence is unsupported. coverage_weight: of
    shared words beside nearness in meaning, where there is an encoder. lacking_number,
    lacking_name, other_negation: what the score is multiplied by where a number, every name, or the
    negation of a sentence is not that of its source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: float = Field(0.45, ge=0, le=1)
    coverage_weight: float = Field(0.6, ge=0, le=1)
    lacking_number: float = Field(0.4, ge=0, le=1)
    lacking_name: float = Field(0.6, ge=0, le=1)
    other_negation: float = Field(0.4, ge=0, le=1)


class AskSettings(BaseModel):
    """A language model that answers questions. Without one, answers are quotations.

    backend: "openai" is any server that speaks that protocol, "transformers" a model on this
        machine. model: as the server calls it, or as `longtake models ls` does; None: no model.
    base_url: of the server, with its version ("http://localhost:8000/v1"). key_variable:
        environment variable with its key. retries: of a request that failed before its answer
        began. timeout_seconds: how long the server may be silent.
    device, dtype: of a local model; None chooses. four_bit: its weights in 4 bits, where the
        package bitsandbytes is there.
    prompt, part_prompt, rewrite_prompt, chapter_prompt, choice_prompt, kind_prompt: files with the
        instructions, for answers, for notes on parts, for writing a follow-up so that it stands by
        itself, for the titles of chapters, for multiple choice and for telling questions apart;
        None for the packaged ones.
    kind: who tells whether a question is about a moment, a count or the whole: "rules", or the
        "model" where no rule knows it, which costs a call a question.

    budget_tokens: of prompt and answer together. answer_tokens: of the answer. picture_tokens: what
        a picture counts, for a server; None goes by the model's name. picture_share: of what is
        left for sources, 0..1, that pictures may take; what they leave is for words, and the other
        way round. picture_side: pixels; larger pictures are reduced. frames: the most.
    small_side: where more pictures are wanted than fit, all but the first large_share of them, the
        most relevant ones, are reduced to it if that lets more in. None: all are of one size.
    detect: an object detector (`channels.object.model`) looks on these pictures for the things that
        the question names, and the model is told their number and place.
    context_seconds: shown around what was found. moments: found ones that an attempt is shown.
    stretches: that a global question is shown of. parts: calls, at most, that read a long video
        part by part before it is answered about; 1: what does not fit is left out. concurrency: of
        these on their way at once, to a server.
    attempts: with further moments each, while the model does not find the answer, or a token of it
        is less likely than `confidence` (0..1; None: however likely).
    context: what the model is shown: see `rag.contexts`.
    session: the memory of a local model that watches a video (`longtake chat --watch`), in which
        session.question_tokens is the budget. watch_seconds: between the pictures that it is shown.
    temperature: 0 takes the likeliest token. strict: sentences without support are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["openai", "transformers"] = "openai"
    model: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    retries: int = Field(3, ge=0, le=20)
    timeout_seconds: float = Field(120.0, gt=0)
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    four_bit: bool = False
    prompt: Path | None = None
    part_prompt: Path | None = None
    rewrite_prompt: Path | None = None
    chapter_prompt: Path | None = None
    choice_prompt: Path | None = None
    kind_prompt: Path | None = None
    kind: Literal["rules", "model"] = "rules"

    budget_tokens: int = Field(16_000, ge=256)
    answer_tokens: int = Field(800, ge=16)
    picture_tokens: int | None = Field(None, ge=1)
    picture_share: float = Field(0.6, ge=0, le=1)
    picture_side: int = Field(448, ge=56, le=4096)
    frames: int = Field(64, ge=0, le=2000)
    small_side: int | None = Field(None, ge=28, le=4096)
    large_share: float = Field(0.25, ge=0, le=1)
    detect: bool = False
    context_seconds: float = Field(8.0, ge=0)
    moments: int = Field(6, ge=1, le=100)
    stretches: int = Field(24, ge=1, le=500)
    parts: int = Field(8, ge=1, le=200)
    concurrency: int = Field(4, ge=1, le=256)
    attempts: int = Field(2, ge=1, le=10)
    confidence: float | None = Field(None, gt=0, lt=1)
    context: Literal["retrieved", "uniform", "subtitles", "none"] = "retrieved"
    temperature: float = Field(0.0, ge=0, le=2)
    session: SessionSettings = Field(default_factory=lambda: SessionSettings(question_tokens=6144))
    watch_seconds: float = Field(1.0, gt=0)
    strict: bool = False
    check: CheckSettings = Field(default_factory=CheckSettings)
