"""Asks any server that speaks OpenAI's chat completions: llama.cpp, Ollama, vLLM, SGLang, LM
Studio, `transformers serve`, hosted ones.

The only file that touches the openai package, which waits between its retries longer each time
(0.5 s doubling to 8 s, or as the server says).
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from index.errors import ConfigError, ModelMissingError
from ingest.models.videollm import (
    ContextOverflowError,
    Frame,
    Piece,
    Prompt,
    VideoLLMError,
    VideoLLMRefusedError,
    VideoLLMUnreachableError,
)

_CODE_VERSION = 1
"""Raised when a change in this file changes what the model is shown."""

_JPEG_QUALITY = 88
_CONNECT_SECONDS = 10.0
_NO_KEY = "none"
"""Sent where no key is set: the client insists on one, servers without keys ignore it."""

_OPTIONAL = ("temperature", "logprobs", "stop", "max_tokens", "stream_options")
"""What some models refuse; they are then asked without it (or by its newer name)."""

_CONTEXT = re.compile(
    r"context.?(length|window|size)|maximum context|max_model_len|prompt is too long|too many "
    r"tokens|exceeds? the (available |model'?s? )?(context|maximum)|maximum (input|sequence|model) "
    r"length|input (is )?too long|reduce the length|token limit",
    re.IGNORECASE,
)
_TOO_MANY_PICTURES = re.compile(r"at most \d+ (image|multi)|too many (images|pictures)", re.I)
_NO_VISION = re.compile(
    r"image input is not supported|mmproj|not (a )?multi-?modal|at most 0 image|no vision|"
    r"(do|does)(es)? ?n[o']t support (image|vision|multi-?modal|picture)|"
    r"(images?|vision|image_url|multi-?modal)[^.]{0,40}(is|are) (not|only) (supported|enabled)|"
    r"without (vision|image)|(unknown|invalid|unsupported)[^.]{0,40}(image_url|image)|"
    r"text-only|cannot (read|process) images?|missing data required for image",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system[^.]{0,30}not (supported|allowed)|not support[^.]{0,30}system|"
    r"only user and assistant roles|roles must alternate",
    re.IGNORECASE,
)
"""Chat templates say so, some of Gemma and Mistral among them: with a status of 400, or of 500."""

_WRONG_MODEL = re.compile(
    r"model_not_found|invalid model|pinned to|"
    r"(model|engine)\b[^.\n]{0,120}\b(not found|does not exist|"
    r"unknown|not exist|not available|not loaded|is not served)|unknown model|no such model",
    re.IGNORECASE,
)


class OpenAIVideoLLM:
    """A VideoLLM on a server. May be shared among threads.

    model: as the server calls it. base_url: with the version, "http://localhost:8000/v1"; None
        where OPENAI_BASE_URL in the environment names it. key_variable: environment variable with
        the key, read when the first question is asked; servers without keys need none.
    retries: of a request that failed before the answer began. timeout_seconds: how long the server
        may be silent, before the first word or between two.

    Raises ConfigError where no server is named: the client would ask OpenAI's, and what is in
    somebody's videos goes nowhere that nobody has named.
    """

    remote = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        retries: int = 3,
        timeout_seconds: float = 120.0,
    ):
        if not (base_url or os.environ.get("OPENAI_BASE_URL")):
            raise ConfigError(
                f"The model “{model}” is to be asked on a server, and none is named. Set base_url "
                "beside it, as in http://localhost:8000/v1; OpenAI's own is "
                "https://api.openai.com/v1."
            )
        self._model = model
        self._base_url = base_url
        self._key_variable = key_variable
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._client: Any = None
        self._refused: frozenset[str] = frozenset()
        self._system = True  # whether instructions may be a message of their own

    def describe(self) -> Mapping[str, Any]:
        """Not where the server is: the same model elsewhere says the same."""
        return {"backend": "openai", "model": self._model, "code": _CODE_VERSION}

    def load(self) -> None:
        if self._client is not None:
            return
        try:
            # openai looks whether httpx is there, and fails where another thread is importing it.
            import httpx  # noqa: F401
            from openai import OpenAI, Timeout
        except ImportError as error:
            raise ModelMissingError(
                f"a server cannot be asked, because the package openai does not load ({error}): "
                "install Longtake's requirements again"
            ) from error
        self._client = OpenAI(
            api_key=os.environ.get(self._key_variable) or _NO_KEY,
            base_url=self._base_url,
            max_retries=self._retries,
            timeout=Timeout(self._timeout_seconds, connect=_CONNECT_SECONDS),
        )

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] | None = None,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        import openai

        self.load()
        request = {
            "model": self._model,
            "messages": _messages(prompt, self._system),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream_options": {"include_usage": True},
        }
        if stop:
            request["stop"] = list(stop)
        if logprobs:
            request["logprobs"] = True
        finish, spent, begun = None, None, False
        try:
            with self._open(request) as stream:
                for chunk in stream:
                    if chunk.usage is not None:
                        spent = chunk.usage.completion_tokens
                    if not chunk.choices:  # how many tokens there were, and nothing else
                        continue
                    choice = chunk.choices[0]
                    finish = choice.finish_reason or finish
                    text = (choice.delta.content if choice.delta else None) or ""
                    known = _logprobs(choice)
                    if text or known:
                        begun = begun or bool(text)
                        yield Piece(text, known)
        except openai.OpenAIError as error:
            raise self._translated(error, begun, bool(prompt.frames)) from error
        except ValueError as error:  # no JSON in an event of the stream: the client lets it through
            raise VideoLLMError(
                f"What the server at {self.where} answers cannot be read ({error}). Does base_url "
                "name one that speaks OpenAI's chat completions?",
                mid_stream=True,
            ) from error
        if finish is None:
            raise VideoLLMError(
                f"The server at {self.where} broke off in the middle of its answer. Look at its "
                "log; ask again.",
                mid_stream=True,
            )
        yield Piece("", (), finish, spent)

    def served(self) -> list[str]:
        """The names of the server's models; none where it does not list them.

        Raises VideoLLMUnreachableError, VideoLLMRefusedError (of the key), VideoLLMError.
        """
        import openai

        self.load()
        try:
            return self._listed(self._timeout_seconds)
        except (openai.NotFoundError, AttributeError, TypeError, ValueError):
            return []  # the client checks nothing: an answer of another form breaks it
        except openai.OpenAIError as error:
            raise self._translated(error, begun=False, with_frames=False) from error

    def _listed(self, timeout_seconds: float) -> list[str]:
        client = self._client.with_options(max_retries=0, timeout=timeout_seconds)
        return [model.id for model in client.models.list().data]

    def _open(self, request: dict[str, Any]):
        """The stream of an answer; asks again without what this model does not take."""
        import openai

        while True:
            kept = {
                ("max_completion_tokens" if name == "max_tokens" else name): value
                for name, value in request.items()
                if name in self._refused and name == "max_tokens"
            } | {name: value for name, value in request.items() if name not in self._refused}
            try:
                return self._client.chat.completions.create(stream=True, **kept)
            except (
                openai.BadRequestError,
                openai.UnprocessableEntityError,
                openai.InternalServerError,
            ) as error:
                first, *others = request["messages"]
                if others and _NO_SYSTEM.search(_said(error)):
                    self._system = False
                    request["messages"] = [_joined(first, *others)]
                    continue
                name = _refused_setting(error)
                if isinstance(error, openai.InternalServerError) or name not in kept:
                    raise
                self._refused |= {name}

    @property
    def where(self) -> str:
        """The server's address."""
        return str(self._base_url or getattr(self._client, "base_url", "")).rstrip("/")

    def _translated(self, error: Exception, begun: bool, with_frames: bool) -> VideoLLMError:
        import openai

        where, said = self.where, _said(error)
        # Where packets are swallowed nobody answers either. (By name: which HTTP library the
        # client uses, httpx or httpx2, is its own affair.)
        connecting = type(error.__cause__).__name__ == "ConnectTimeout"
        if isinstance(error, openai.APITimeoutError) and not connecting:
            return VideoLLMError(
                f"The server at {where} was silent for {self._timeout_seconds:g} s. It may be "
                "loading the model, or too slow: raise timeout_seconds or send fewer frames.",
                mid_stream=begun,
            )
        if isinstance(error, openai.APIConnectionError):
            if begun:
                return VideoLLMError(
                    f"The connection to the server at {where} broke off in the middle of its "
                    "answer. Look at its log; ask again.",
                    mid_stream=True,
                )
            return VideoLLMUnreachableError(
                f"No server answers at {where} ({_reason(error)}). Start it, or correct base_url."
            )
        status = getattr(error, "status_code", None)
        code = getattr(error, "code", None) or ""
        if status in (401, 403):
            return VideoLLMRefusedError(
                f"The server at {where} refused the key ({said}). Put a valid one into the "
                f"environment variable {self._key_variable}."
            )
        if _CONTEXT.search(f"{code} {said}") or status == 413:
            return ContextOverflowError(
                f"The prompt is longer than {self._model} at {where} takes ({said}). Send fewer or "
                "smaller frames, or serve the model with a larger context."
            )
        if _TOO_MANY_PICTURES.search(said) and not _NO_VISION.search(said):
            return ContextOverflowError(
                f"{self._model} at {where} takes fewer pictures at once ({said}). Send fewer "
                "frames, or let the server allow more."
            )
        if with_frames and _NO_VISION.search(said):
            return VideoLLMRefusedError(
                f"{self._model} at {where} takes no pictures ({said}). Name a model with vision, "
                "or start the server with the model's vision part."
            )
        if status == 404 or _WRONG_MODEL.search(f"{code} {said}"):
            return VideoLLMRefusedError(self._wrong_model(said))
        if "quota" in f"{code} {said}":
            return VideoLLMRefusedError(
                f"The server at {where} says that the quota is spent ({said}). Pay, or wait."
            )
        if status == 429:
            return VideoLLMError(
                f"The server at {where} is busy ({said}). Lower the concurrency, or wait."
            )
        if status is not None and status < 500:
            return VideoLLMRefusedError(f"The server at {where} refused the request: {said}")
        return VideoLLMError(f"The server at {where} failed: {said}", mid_stream=begun)

    def _wrong_model(self, said: str) -> str:
        try:
            names = self._listed(_CONNECT_SECONDS)[:8]
        except Exception:  # only to be helpful, and many servers do not list
            names = []
        if self._model in names or not names:
            return (
                f"The server at {self.where} has no model {self._model} ({said}). Correct the "
                "model's name, or base_url, which mostly ends in /v1."
            )
        return f"The server at {self.where} has no model {self._model}. It has: {', '.join(names)}."


def jpeg_url(image: np.ndarray) -> str:
    """image: uint8 of shape (height, width, 3), RGB. Returns a data URL."""
    import cv2

    bgr = np.ascontiguousarray(image[:, :, ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _messages(prompt: Prompt, system: bool) -> list[dict[str, Any]]:
    """Each frame follows its time, in words: the protocol has no field for it. system: whether
    instructions are a message of their own."""
    content: list[dict[str, Any]] = []
    for part in prompt.parts:
        if isinstance(part, Frame):
            label = f"Frame at {part.time_seconds:.1f} seconds:"
            content.append({"type": "text", "text": label})
            content.append({"type": "image_url", "image_url": {"url": jpeg_url(part.image)}})
        else:
            content.append({"type": "text", "text": part})
    if not prompt.frames:
        # Servers of models without vision take nothing but a string.
        content = "\n".join(part["text"] for part in content)
    messages = [{"role": "user", "content": content}]
    if prompt.system:
        first = {"role": "system", "content": prompt.system}
        messages = [first, *messages] if system else [_joined(first, *messages)]
    return messages


def _joined(system: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """The user's message with the instructions before it."""
    said, content = system["content"], user["content"]
    if isinstance(content, str):
        return user | {"content": f"{said}\n\n{content}"}
    return user | {"content": [{"type": "text", "text": said}, *content]}


def _logprobs(choice: Any) -> tuple[float, ...]:
    given = getattr(choice, "logprobs", None)
    return tuple(token.logprob for token in (given.content or ())) if given else ()


def _said(error: Exception) -> str:
    """What the server said, in one line."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(inner, Mapping):
        inner = inner.get("message") or inner.get("detail") or inner
    text = " ".join(str(inner or getattr(error, "message", error)).split())
    return text[:300].rstrip(".")


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _refused_setting(error: Any) -> str | None:
    named = getattr(error, "param", None)
    said = _said(error)
    for name in _OPTIONAL:
        if re.search(rf"\b{name}\b", said) or named == name:
            unsupported = (
                r"unsupported|not supported|does not support|not allowed|not permitted"
                r"|unrecognized|unknown|unexpected"
            )
            return name if re.search(unsupported, said, re.IGNORECASE) else None
    return None
