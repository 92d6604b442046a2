"""Runs a Video-LLM here, through the transformers library: Qwen3-VL, Qwen2.5-VL, LLaVA-OneVision,
SmolVLM2, and whatever else AutoModelForImageTextToText loads.

With `ingest.models.videollm.streamer` and the files of a session the only one for Video-LLMs that
touches torch and transformers. It never reaches into the network, runs no code that comes with a
model, and loads safetensors only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from index.errors import ModelMissingError
from ingest.models.files import INSTALL_MODELS, ModelFiles
from ingest.models.videollm import (
    ContextOverflowError,
    Piece,
    Prompt,
    VideoLLMError,
    until_stop,
)
from ingest.models.videollm.families import Chat, arrange, tidy_placeholders

if TYPE_CHECKING:
    from ingest.models.videollm.session import VideoSession
    from ingest.models.videollm.session_settings import SessionSettings

_CODE_VERSION = 1
"""Raised when a change in this file, or in how frames are arranged, changes the answers."""


class TransformersVideoLLM:
    """A VideoLLM on this machine. May be shared among threads, which take turns.

    files: a folder as the hub has it (config.json, *.safetensors, processor and tokenizer files).
    device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one. dtype: "float32",
        "bfloat16" or "float16"; None takes bfloat16 on a GPU and float32 elsewhere. four_bit: holds
        the weights in 4 bits (NF4: Dettmers et al. 2023), which takes the package bitsandbytes.
        threads: of the CPU; 0 leaves torch's choice.
    """

    remote = False

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str | None = None,
        dtype: str | None = None,
        four_bit: bool = False,
        threads: int = 0,
    ):
        self._files = files
        self._wanted_device = device
        self._wanted_dtype = dtype
        self._four_bit = four_bit
        self._threads = threads
        self._model: Any = None
        self._processor: Any = None
        self._lock = threading.Lock()

    def describe(self) -> Mapping[str, Any]:
        return {
            "backend": "transformers",
            "model": self._files.name,
            "digest": self._files.digest,
            "dtype": self._wanted_dtype,
            **({"four_bit": True} if self._four_bit else {}),
            "code": _CODE_VERSION,
        }

    def load(self) -> None:
        with self._lock:
            if self._model is None:
                self._load()

    def close(self) -> None:
        with self._lock:
            self._model = self._processor = None

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] | None = None,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        self.load()
        pieces = self._stream(prompt, max_tokens, temperature, logprobs)
        return until_stop(pieces, stop) if stop else pieces

    def generate_batch(self, prompts: Sequence[Prompt], *, max_tokens: int = 512) -> list[Piece]:
        """The whole answers, the likeliest token at each step, in the prompts' order.

        Prompts whose pictures are alike in number and size go through the model together.
        """
        self.load()
        answers: dict[int, Piece] = {}
        alike: dict[Any, list[int]] = {}
        for at, prompt in enumerate(prompts):
            alike.setdefault(tuple(f.image.shape for f in prompt.frames), []).append(at)
        for places in alike.values():
            with self._lock:
                inputs = self._inputs([prompts[at] for at in places], max_tokens)
                output = self._run(inputs, max_tokens, 0.0)
            start = inputs["input_ids"].shape[1]
            for at, tokens in zip(places, output[:, start:], strict=True):
                text = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
                ended = bool(set(tokens.tolist()) & self._ends)
                answers[at] = Piece(text, (), "stop" if ended else "length")
        return [answers[at] for at in range(len(prompts))]

    def count_tokens(self, prompt: Prompt) -> int:
        """How much of the context the prompt takes, pictures as this model counts them."""
        self.load()
        with self._lock:
            return int(self._encoded([prompt])["input_ids"].shape[1])

    def count_text(self, text: str) -> int:
        """Tokens of a text by itself."""
        self.load()
        with self._lock:
            return len(
                self._processor.tokenizer.encode(self._plain(text), add_special_tokens=False)
            )

    @property
    def context_tokens(self) -> int | None:
        """Of prompt and answer together; None where the model does not say."""
        self.load()
        return getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def session_tokens(self) -> int:
        """The most that a session puts beside a question: what its frames end with."""
        from ingest.models.videollm.session_layout import LOCATED, layout_of

        self.load()
        layout = layout_of(self._model_type, self._files.name)
        late = 360_000.0  # seconds, of many digits
        return self.count_text(layout.behind([late + at for at in range(2 * LOCATED)])) + 1

    def session(self, settings: SessionSettings | None = None) -> VideoSession:
        """A memory of a stream, for this model. Raises ModelMissingError for a family that cannot
        keep one, ContextOverflowError where the bounds leave no room."""
        from ingest.models.videollm.session import VideoSession
        from ingest.models.videollm.session_model import StreamModel

        self.load()
        model = StreamModel(self._model, self._processor, self._files.name, self._plain)
        return VideoSession(model, self._ends, self._lock, settings)

    def _load(self) -> None:
        files = self._files
        _check_folder(files)
        try:
            import torch
            from safetensors import SafetensorError
            from transformers import AutoModelForImageTextToText, AutoProcessor
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelMissingError(
                f"{files.name} needs torch and transformers, which do not load ({error}): "
                f"{INSTALL_MODELS}"
            ) from error
        disable_progress_bar()
        device = self._wanted_device or ("cuda" if torch.cuda.is_available() else "cpu")
        default = "bfloat16" if torch.device(device).type == "cuda" else "float32"
        dtype = getattr(torch, self._wanted_dtype or default)
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            processor = AutoProcessor.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=False
            )
            model = AutoModelForImageTextToText.from_pretrained(
                files.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                **(_in_four_bits(files.name, device, dtype) if self._four_bit else {}),
            )
            self._model = (model if self._four_bit else model.to(device)).eval()
        except ImportError as error:
            raise ModelMissingError(
                f"{files.name} needs a package that is not installed: {_line(error)}"
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelMissingError(
                f"{files.name} in {files.folder} cannot be loaded ({_line(error)}): "
                f"`longtake models verify {files.name}`, then pull it again"
            ) from error
        self._processor = processor
        self._model_type = model.config.model_type
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])
        tokenizer = processor.tokenizer
        # Words that are written like a control token would be one.
        marks = {token for token in tokenizer.get_added_vocab() if token.startswith(("<", "["))}
        self._control = sorted({*tokenizer.all_special_tokens, *marks}, key=len, reverse=True)
        pictures = getattr(processor, "video_processor", None)
        if getattr(pictures, "cap_pixels_per_frame", True) is None:
            pictures.cap_pixels_per_frame = True  # as Qwen's own code does it

    def _plain(self, text: str) -> str:
        for token in self._control:
            if token in text:
                text = text.replace(token, " ".join(token))
        return text

    def _inputs(self, prompts: Sequence[Prompt], max_tokens: int) -> Any:
        """Raises ContextOverflowError."""
        inputs = self._encoded(prompts)
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        length = inputs["input_ids"].shape[1]
        if limit is not None and length + max_tokens > limit:
            raise ContextOverflowError(
                f"The prompt has {length} tokens; {self._files.name} takes {limit}, answer "
                "included. Show it fewer or smaller frames."
            )
        return inputs.to(self._model.device, self._model.dtype)

    def _encoded(self, prompts: Sequence[Prompt]) -> Any:
        from transformers.video_utils import VideoMetadata

        chats: list[Chat] = [arrange(self._model_type, p, self._plain) for p in prompts]
        images = [image for chat in chats for image in chat.images]
        videos = [video for chat in chats for video in chat.videos]
        texts = [
            tidy_placeholders(
                self._model_type,
                self._processor.apply_chat_template(
                    chat.messages, tokenize=False, add_generation_prompt=True
                ),
            )
            for chat in chats
        ]
        pictures: dict[str, Any] = {}
        if images:
            pictures["images"] = images
        if videos:
            pictures["videos"] = [video.frames for video in videos]
            pictures["do_sample_frames"] = False
            pictures["video_metadata"] = [
                VideoMetadata(
                    total_num_frames=video.total,
                    fps=video.rate,
                    duration=video.duration_seconds,
                    frames_indices=list(video.indices),
                    height=video.frames.shape[1],
                    width=video.frames.shape[2],
                )
                for video in videos
            ]
        return self._processor(
            text=texts, padding=True, padding_side="left", return_tensors="pt", **pictures
        )

    def _run(self, inputs: Any, max_tokens: int, temperature: float, **more: Any) -> Any:
        import torch

        if temperature > 0:
            choice = {"do_sample": True, "temperature": temperature}
        else:
            # The model's own sampling settings mean nothing then, and the library warns of them.
            choice = dict.fromkeys(("temperature", "top_p", "top_k"), None) | {"do_sample": False}
        try:
            with torch.inference_mode():
                return self._model.generate(**inputs, max_new_tokens=max_tokens, **choice, **more)
        except torch.OutOfMemoryError as error:
            raise ContextOverflowError(
                f"{self._files.name} does not fit into the memory of {self._model.device} with "
                "this prompt. Show it fewer or smaller frames, or name a smaller model."
            ) from error

    def _stream(
        self, prompt: Prompt, max_tokens: int, temperature: float, logprobs: bool
    ) -> Iterator[Piece]:
        from ingest.models.videollm.streamer import Streamer, stopping_when

        with self._lock:
            inputs = self._inputs([prompt], max_tokens)
            streamer = Streamer(self._processor.tokenizer, self._ends, with_logprobs=logprobs)
            stopped = threading.Event()

            def work() -> None:
                try:
                    self._run(
                        inputs,
                        max_tokens,
                        temperature,
                        streamer=streamer,
                        stopping_criteria=stopping_when(stopped),
                        logits_processor=streamer.processors,
                    )
                except BaseException as error:
                    streamer.fail(error)

            thread = threading.Thread(target=work, name="generate", daemon=True)
            thread.start()
            try:
                yield from streamer.pieces()
            except VideoLLMError:
                raise
            except RuntimeError as error:
                raise VideoLLMError(
                    f"{self._files.name} failed: {_line(error)}", mid_stream=True
                ) from error
            finally:
                stopped.set()
                thread.join()


def _in_four_bits(name: str, device: str, dtype: Any) -> dict[str, Any]:
    """What loads weights so. Raises ModelMissingError where the package is not there."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelMissingError(
            f"{name} in 4 bits needs the package bitsandbytes: `pip install bitsandbytes`, or "
            "leave four_bit off"
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _check_folder(files: ModelFiles) -> None:
    """Raises ModelMissingError with the way out."""
    folder, name = files.folder, files.name
    if not (folder / "config.json").is_file():
        raise ModelMissingError(
            f"{name} is not here (no config.json in {folder}): {files.fetching}"
        )
    if next(folder.glob("*.safetensors"), None) is None:
        pickled = next(folder.glob("*.bin"), None)
        raise ModelMissingError(
            f"{name} in {folder} has its weights as a pickle ({pickled.name}), which could run any "
            "code when it is loaded: name a model with safetensors"
            if pickled
            else f"{name} in {folder} has no weights: {files.fetching}"
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
