"""Text encoders through transformers: any sentence-embedding model of the Hugging Face format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index.errors import ConfigError, ModelMissingError
from ingest.models.encoders import space_name
from ingest.models.files import INSTALL_MODELS, ModelFiles
from ingest.models.text_batches import clean, encode_by_length
from ingest.models.text_recipe import MOST_TOKENS, TextRecipe, read_recipe

CPU_TOKENS = 4096
GPU_TOKENS = 65536
"""Tokens of a batch. More gain nothing on two cores; on a GPU they fill it."""


class TransformersTextEncoder:
    """A `PassageEncoder` on torch, for indexing.

    Weights are read from `files.folder` (safetensors only, code that comes with them is never
    run) with the files of sentence-transformers beside them; see `ingest.models.text_recipe`. On a
    GPU it works in bfloat16, where a vector depends on its batch by some 1e-3; on a CPU in float32.

    device: as torch names it; None takes a GPU where there is one. The other arguments: see
    `read_recipe`.

    Raises ModelMissingError where packages or weights are missing, or cannot be read, and
    ConfigError for a model of a kind that is not known here.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        max_tokens: int = MOST_TOKENS,
    ):
        self.recipe = read_recipe(
            files,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            max_tokens=max_tokens,
        )
        try:
            import torch
        except ImportError as error:
            raise _needs_packages(files) from error
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        on_gpu = torch.device(device).type != "cpu"
        self._device = device
        self._most_tokens = GPU_TOKENS if on_gpu else CPU_TOKENS
        self.tokenizer = load_tokenizer(files)
        self.module = load_module(
            files, self.recipe, dtype=torch.bfloat16 if on_gpu else torch.float32
        ).to(device)
        self.space = space_name("text", files.name, files.digest)
        self.size = self.recipe.size

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(texts, self.recipe.query_prefix)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(texts, self.recipe.passage_prefix)

    def _encode(self, texts: Sequence[str], prefix: str) -> np.ndarray:
        recipe = self.recipe
        if not texts:
            return np.zeros((0, self.size), np.float32)
        texts = [prefix + clean(text) for text in texts]
        if recipe.lower_case:
            texts = [text.lower() for text in texts]
        ids = self.tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
        return encode_by_length(
            ids, self._forward, size=self.size, pad=pad_of(self), most_tokens=self._most_tokens
        )

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            vectors = self.module(
                torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
            )
        return vectors.float().cpu().numpy()


def pad_of(encoder: TransformersTextEncoder) -> int:
    """The id that pads; whichever, where the tokenizer knows none, since it is masked out."""
    pad = encoder.tokenizer.pad_token_id
    return 0 if pad is None else int(pad)


def load_tokenizer(files: ModelFiles):
    """The model's own tokenizer, a fast one. Raises ModelMissingError."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise _needs_packages(files) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _cannot_load(files, error) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"The text encoder {files.name} has a tokenizer that the tokenizers library cannot "
            "run. Another model is needed: [channels.text] model = NAME."
        )
    return tokenizer


def load_module(files: ModelFiles, recipe: TextRecipe, *, dtype=None, attention: str | None = None):
    """The model with its pooling and what follows it, as one torch module: (input ids, attention
    mask), int64 of shape (texts, tokens), to (texts, size), unit length.

    attention: how transformers computes it ("eager", "sdpa"); None leaves that to it.
    """
    try:
        import transformers
    except ImportError as error:
        raise _needs_packages(files) from error
    log = transformers.utils.logging
    log.disable_progress_bar()  # its bars would run through ours
    verbosity = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)  # it reports every weight that is left over
    options = {"attn_implementation": attention} if attention else {}
    try:
        config = transformers.AutoConfig.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )
        # Of a T5 only the encoder.
        kind = (
            transformers.AutoModelForTextEncoding
            if getattr(config, "is_encoder_decoder", False)
            else transformers.AutoModel
        )
        model, loaded = kind.from_pretrained(
            files.folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _cannot_load(files, error) from error
    finally:
        log.set_verbosity(verbosity)
    # BERT's own pooler is often left out of the file, and nothing here uses it.
    missing = sorted(key for key in loaded["missing_keys"] if "pooler" not in key)
    if missing:
        what = f"its weights lack {missing[0]} and {len(missing) - 1} more."
        raise _cannot_load(files, ValueError(what))
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return _pooled(files, model, recipe)


def _pooled(files: ModelFiles, model, recipe: TextRecipe):
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.layers = torch.nn.ModuleList(_steps(files, recipe, model.dtype))

        def forward(self, input_ids, attention_mask):
            tokens = self.model(input_ids=input_ids, attention_mask=attention_mask)[0].float()
            vectors = _pool(tokens, attention_mask, recipe.pooling)
            for step, layer in zip(recipe.steps, self.layers, strict=True):
                if step.kind == "normalize":
                    vectors = torch.nn.functional.normalize(vectors, p=2.0, dim=-1)
                else:
                    vectors = layer(vectors)
            return torch.nn.functional.normalize(vectors, p=2.0, dim=-1)

    return Pooled().eval()


def _pool(tokens, attention_mask, pooling: Sequence[str]):
    """tokens: float32 (texts, tokens, size), mask: int64 (texts, tokens), padding behind."""
    import torch

    mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
    count = mask.sum(1).clamp(min=1e-9)
    found = []
    for name in pooling:
        if name == "cls":
            found.append(tokens[:, 0])
        elif name == "max":
            found.append(tokens.masked_fill(mask == 0, float("-inf")).max(1).values)
        elif name == "mean":
            found.append((tokens * mask).sum(1) / count)
        elif name == "mean_sqrt_len_tokens":
            found.append((tokens * mask).sum(1) / count.sqrt())
        elif name == "weightedmean":
            weights = mask.cumsum(1) * mask  # 1 for the first token, 2 for the second, ...
            found.append((tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9))
        else:  # the last one that is no padding
            last = (attention_mask.sum(1) - 1).clamp(min=0).view(-1, 1, 1)
            found.append(tokens.gather(1, last.expand(-1, 1, tokens.shape[-1])).squeeze(1))
    return torch.cat(found, -1)


def _steps(files: ModelFiles, recipe: TextRecipe, dtype):
    """One module a step; a dense layer with its weights, in float32 as it is small."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for step in recipe.steps:
        if step.kind == "normalize":
            yield torch.nn.Identity()
            continue
        path = files.folder / step.folder / "model.safetensors"
        try:
            weights = load_file(path)
            weight, bias = weights["linear.weight"], weights.get("linear.bias")
        except (OSError, KeyError, SafetensorError) as error:
            raise _cannot_load(files, error) from error
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        yield torch.nn.Sequential(linear.float(), getattr(torch.nn, step.activation)())


def _needs_packages(files: ModelFiles) -> ModelMissingError:
    return ModelMissingError(
        f"The text encoder {files.name} needs torch and transformers: {INSTALL_MODELS}."
    )


def _cannot_load(files: ModelFiles, error: Exception) -> ModelMissingError:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelMissingError(
        f"The text encoder {files.name} cannot be loaded from {files.folder}: {first.strip()} "
        f"To have it whole: {files.fetching}."
    )
