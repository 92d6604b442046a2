"""A loaded model as a stream needs it: frames to features, tokens to places, a step at a time, and
keys turned to other places. Importing it loads torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from index.errors import ModelMissingError
from ingest.models.videollm import Frame
from ingest.models.videollm.session_layout import layout_of
from ingest.models.videollm.session_slab import Slab

_QUESTION = "\x1fquestion\x1f"


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens to be read. embeddings: of shape (tokens, size). places: of shape (axes, tokens), from
    0 on; `width` places from the first to behind the last. seen: of shape (tokens,), which of them
    are pictures; deep: what is added to those in the first layers, where the model does that."""

    embeddings: torch.Tensor
    places: torch.Tensor
    width: int
    seen: torch.Tensor | None = None
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.embeddings)

    @property
    def nbytes(self) -> int:
        own = (self.embeddings, self.places, *self.deep)
        return sum(each.nbytes for each in own) + (0 if self.seen is None else self.seen.nbytes)


class StreamModel:
    """model, processor: of `AutoModelForImageTextToText` and `AutoProcessor`. plain: takes control
    tokens out of a text. Raises ModelMissingError for what it cannot stream with."""

    def __init__(self, model: Any, processor: Any, name: str, plain: Any):
        self._model, self._processor, self._plain = model, processor, plain
        self.layout = layout_of(model.config.model_type, name)
        inner = model.model
        self._language = inner.text_model if hasattr(inner, "text_model") else inner.language_model
        self._layers = self._language.layers
        config = model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        rope = self._language.rotary_emb.rope_type
        if kinds != {"full_attention"} or rope in ("dynamic", "longrope"):
            raise ModelMissingError(
                f"{name} forgets by itself or moves its places ({', '.join(sorted(kinds))}, rope "
                f"“{rope}”), so its memory of a stream cannot be kept. Name another model."
            )
        self._axes = 3 if hasattr(inner, "get_rope_index") else 1
        self.layers = config.num_hidden_layers
        self.heads = config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.context_tokens: int | None = getattr(config, "max_position_embeddings", None)
        self.device, self.dtype = model.device, model.dtype
        self.tokenizer = processor.tokenizer
        self._pad = self.tokenizer.convert_tokens_to_ids(self.layout.pad)
        self._seen_tokens: dict[tuple[int, ...], int] = {}
        eyes = getattr(model.config, "vision_config", None)
        deep = len(getattr(eyes, "deepstack_visual_indexes", None) or ())
        self.step_bytes = (1 + deep) * config.hidden_size * self.dtype.itemsize + 8 * self._axes + 1
        """The most that one token of a step takes on the device."""

    @property
    def token_bytes(self) -> int:
        """That the keys and values of one token take."""
        return 2 * self.layers * self.heads * self.head_size * self.dtype.itemsize

    def slab(self, capacity: int) -> Slab:
        shape = (self.layers, self.heads, capacity, self.head_size)
        return Slab(*shape, dtype=self.dtype, device=self.device)

    # Tokens

    def surroundings(self) -> tuple[str, str]:
        """The prompt's text before the stream and, with the question's place in it, behind it."""
        kind = self.layout.kind
        content = [{"type": kind}, {"type": "text", "text": _QUESTION}]
        whole = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        before, mark, behind = whole.partition(self.layout.mark)
        if not mark or _QUESTION not in behind:
            raise ModelMissingError(
                f"The model's chat template puts no {self.layout.mark} before the question, so a "
                "stream has no place in it."
            )
        return before + self.layout.opening, behind

    def asked(self, behind: str, question: str, times: Sequence[float]) -> tuple[Step, int, int]:
        """What is read behind the stream, and the first and last token of the question in it."""
        before, _, after = behind.partition(_QUESTION)
        before = self.layout.behind(times) + before
        words = self._plain(question)
        ids = self._ids(before + words + after)
        first = len(self._ids(before))
        last = max(first + 1, len(ids) - len(self._ids(after)))
        step = self.token_step(ids)
        if self.layout.newline and times:
            line = self._model.model.image_newline.to(step.embeddings)[None]
            step = self._plainly(torch.cat([line, step.embeddings]))
            first, last = first + 1, last + 1
        return step, first, last

    def text(self, text: str) -> Step:
        return self.token_step(self._ids(text))

    def token_step(self, ids: Sequence[int]) -> Step:
        table = self._language.get_input_embeddings()
        return self._plainly(table(torch.tensor(ids, dtype=torch.long, device=self.device)))

    def frame_tokens(self, frame: Frame) -> int | None:
        """That it takes; None where no frame of its size has been seen yet."""
        seen = self._seen_tokens.get(frame.image.shape)
        if seen is None:
            return None
        return seen + sum(len(self._ids(text)) for text in self.layout.around(frame.time_seconds))

    def blocks(self, frames: Sequence[Frame]) -> list[Step]:
        """One for each frame."""
        steps: list[Step] = []
        for _, run in groupby(frames, key=lambda frame: frame.image.shape):
            alike = list(run)
            features, deeps, grids = self._features([frame.image for frame in alike])
            self._seen_tokens[alike[0].image.shape] = len(features[0])
            for at, frame in enumerate(alike):
                deep = tuple(each[at] for each in deeps)
                steps.append(self._block(frame, features[at], deep, grids and grids[at]))
        return steps

    def _block(self, frame: Frame, features: torch.Tensor, deep: tuple, grid: Any) -> Step:
        before, after = self.layout.around(frame.time_seconds)
        head, tail = self._ids(before), self._ids(after)
        ids = torch.tensor([*head, *[self._pad] * len(features), *tail], device=self.device)
        seen = torch.zeros(len(ids), dtype=torch.bool, device=self.device)
        seen[len(head) : len(head) + len(features)] = True
        embeddings = self._language.get_input_embeddings()(ids)
        embeddings[seen] = features.to(embeddings)
        if grid is None:
            return self._plainly(embeddings)
        kinds = seen.int() * (2 if self.layout.kind == "video" else 1)
        named = {f"{self.layout.kind}_grid_thw": torch.as_tensor([grid], device=self.device)}
        places, _ = self._model.model.get_rope_index(ids[None], kinds[None], **named)
        places = places[:, 0]
        return Step(embeddings, places, int(places.max()) + 1, seen, deep)

    def _plainly(self, embeddings: torch.Tensor) -> Step:
        count = len(embeddings)
        places = torch.arange(count, device=self.device).expand(self._axes, -1)
        return Step(embeddings, places, count)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []

    # Pictures

    def _features(self, images: list[np.ndarray]) -> tuple[list, list[list], list | None]:
        """Each image's features of shape (tokens, size), what each deep layer adds to them, and
        the grids, in the family's way. All are of one size."""
        model = self._model.model
        if self.layout.kind == "image":
            given = self._to(self._processor.image_processor(images=images, return_tensors="pt"))
            grid = given["image_grid_thw"]
            found = model.get_image_features(given["pixel_values"], grid)
            return list(found.pooler_output), [], grid.tolist()
        repeat = self.layout.repeat
        if self._axes == 3:  # a video each: the budget of pixels is then one frame's
            videos = [np.stack([image] * repeat) for image in images]
            given = self._videos(videos)
            grid = given["video_grid_thw"]
            found = model.get_video_features(given["pixel_values_videos"], grid)
            deep = [list(each) for each in found.deepstack_features or ()]
            return list(found.pooler_output), deep, grid.tolist()
        given = self._videos([np.stack(images)])
        if "pixel_values_videos" in given:
            found = model.get_video_features(given["pixel_values_videos"]).pooler_output[0, :-1]
            return list(found.reshape(len(images), -1, found.shape[-1])), [], None
        found = model.get_image_features(
            given["pixel_values"], given.get("pixel_attention_mask")
        ).pooler_output
        return list(torch.cat(list(found)).reshape(len(images), -1, found[0].shape[-1])), [], None

    def _videos(self, videos: list[np.ndarray]) -> Any:
        read = self._processor.video_processor(
            videos=videos, do_sample_frames=False, return_tensors="pt"
        )
        return self._to(read)

    def _to(self, given: Any) -> Any:
        return given.to(self.device, self.dtype)

    # Steps

    def read(
        self, steps: Sequence[Step], start: int, cache: Any, mask: torch.Tensor
    ) -> torch.Tensor:
        """Reads them from place `start` on, and writes their keys and values to the cache. mask:
        bool of shape (tokens, tokens in the cache and these), what each may look at. Returns
        what the last layer has of them, of shape (tokens, size)."""
        embeddings = torch.cat([step.embeddings for step in steps])
        places, at = [], start
        for step in steps:
            places.append(step.places + at)
            at += step.width
        position_ids = torch.cat(places, dim=1)[:, None]
        more: dict[str, Any] = {}
        if any(step.deep for step in steps):
            seen = [
                torch.zeros(step.tokens, dtype=torch.bool, device=self.device)
                if step.seen is None
                else step.seen
                for step in steps
            ]
            more["visual_pos_masks"] = torch.cat(seen)[None]
            deep = zip(*(step.deep for step in steps if step.deep), strict=True)
            more["deepstack_visual_embeds"] = [torch.cat(layer) for layer in deep]
        floats = torch.zeros(mask.shape, dtype=self.dtype, device=self.device)
        floats.masked_fill_(~mask, torch.finfo(self.dtype).min)
        output = self._language(
            inputs_embeds=embeddings[None],
            position_ids=position_ids if self._axes == 3 else position_ids[0],
            attention_mask=floats[None, None],
            past_key_values=cache,
            use_cache=True,
            **more,
        )
        return output.last_hidden_state[0]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 of shape (..., vocabulary)."""
        return self._model.get_output_embeddings()(hidden).float()

    # Keys

    def turned(self, keys: torch.Tensor, by: int) -> torch.Tensor:
        """Keys as they would have been written `by` places further on (or back, below 0). keys: of
        shape (..., tokens, head_size)."""
        places = torch.full((self._axes, 1), abs(by), device=self.device)
        cos, sin = self._rotation(places)
        return _rotate(keys.float(), cos, sin if by >= 0 else -sin).to(keys.dtype)

    def unturned_mean(self, keys: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The mean over tokens of keys as they were before they were turned. keys: of shape
        (layers, heads, tokens, head_size). Returns float32 of shape (layers, heads, head_size)."""
        cos, sin = self._rotation(places)
        return _rotate(keys.float(), cos, -sin).mean(dim=2)

    def _rotation(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos, sin: float32 of shape (tokens, head_size)."""
        wide = torch.zeros(1, dtype=torch.float32, device=self.device)
        ids = places[:, None] if self._axes == 3 else places
        rotary = self._language.rotary_emb
        cos, sin = rotary(wide, ids)
        scale = rotary.attention_scaling
        return cos[0] / scale, sin[0] / scale

    @contextmanager
    def listening(self) -> Iterator[list[torch.Tensor]]:
        """Collects what each layer asks for of the tokens read meanwhile: queries before they are
        turned, of shape (tokens, query heads, head_size), in the layers' order."""
        heard: list[torch.Tensor] = []

        def hear(_module: Any, _given: Any, output: torch.Tensor) -> None:
            heard.append(output.reshape(output.shape[1], -1, self.head_size).float())

        hooks = []
        try:
            for layer in self._layers:
                attention = layer.self_attn
                asked = getattr(attention, "q_norm", None) or attention.q_proj
                hooks.append(asked.register_forward_hook(hear))
            yield heard
        finally:
            for hook in hooks:
                hook.remove()


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    swapped = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos + swapped * sin
