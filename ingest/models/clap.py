"""Sounds and words in one space: CLAP, with transformers.

"Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation" (Wu et al. 2023, arXiv 2211.06687). Any checkpoint of transformers' ClapModel:
laion/clap-htsat-unfused, clap-htsat-fused, larger_clap_general and their like. Queries need only
the text tower, which ingest.models.clap_onnx runs without torch.

The library's feature extractor rolls dice in two places: it crops sound that is longer than the
model's window at random, and for a fused model it declares one of the windows at random to be
a long one. Here a longer window is an error, and no window is ever declared to be long; the vector
of a window depends on nothing but the window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.encoders import space_name
from ingest.models.files import ModelFiles
from ingest.models.pretrained import (
    choose_device,
    load_part,
    load_transformers,
    load_weights,
    read_json,
)

CODE_VERSION = 1
"""Raised when a change here changes the vectors."""


def describe_clap(files: ModelFiles) -> Mapping[str, Any]:
    """What the encoder will be, from its settings alone: `model`, `digest`, `space`, `size`,
    `sample_rate`, `window_seconds`, `code`. Loads neither torch nor the weights.

    Raises ModelMissingError where the folder holds no CLAP.
    """
    config = read_json(files, "config.json")
    if config.get("model_type") != "clap":
        raise ModelMissingError(
            f"{files.name} is {config.get('model_type')!r}, not a CLAP model: choose one for "
            "channels.sound.model, for example laion/clap-htsat-unfused"
        )
    sound = read_sound_settings(files)
    return {
        "model": files.name,
        "digest": files.digest,
        "space": space_name("sound", files.name, files.digest),
        "size": int(config.get("projection_dim", 512)),
        "sample_rate": int(sound.get("sampling_rate", 48_000)),
        "window_seconds": float(sound.get("max_length_s", 10)),
        "code": CODE_VERSION,
    }


class ClapEncoder:
    """Both towers of CLAP, by transformers. Implements ingest.models.encoders.TextEncoder.

    device: as torch calls it; None takes CUDA where it is there. The arithmetic is float32.
    space, size: of the vectors. sample_rate: hertz. window_seconds: the longest sound that one
    vector describes; shorter ones are repeated to fill it, as in training.

    model, tokenizer, extractor: transformers' own, for ingest.models.clap_export.

    Raises ModelMissingError.
    """

    def __init__(self, files: ModelFiles, *, device: str | None = None):
        described = describe_clap(files)
        transformers = load_transformers()
        self.space: str = described["space"]
        self.size: int = described["size"]
        self.sample_rate: int = described["sample_rate"]
        self.window_seconds: float = described["window_seconds"]
        processor = load_part(files, transformers.ClapProcessor)
        self.extractor = processor.feature_extractor
        self.tokenizer = processor.tokenizer
        self._device = choose_device(device)
        self.model = load_weights(files, transformers.ClapModel, self._device)
        self._most_samples = self.extractor.nb_max_samples
        self.max_tokens = max_tokens(self.model.config.text_config)

    def encode_audio(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """windows: float32 of shape (n,) in -1..1 at `sample_rate`, one channel, each of at least
        one and at most `window_seconds * sample_rate` samples. Returns float32 of shape
        (len(windows), size), unit length. Raises ValueError for a window of another length."""
        import torch

        for window in windows:
            if window.ndim != 1 or not 0 < len(window) <= self._most_samples:
                raise ValueError(f"a window of shape {window.shape}: 1 to {self._most_samples}")
        if not len(windows):
            return np.zeros((0, self.size), np.float32)
        features = self.extractor(
            list(windows), sampling_rate=self.sample_rate, return_tensors="np"
        )["input_features"]
        with torch.inference_mode():
            mel = torch.from_numpy(np.asarray(features, dtype=np.float32)).to(self._device)
            longer = torch.zeros((len(windows), 1), dtype=torch.bool, device=self._device)
            vectors = self.model.get_audio_features(input_features=mel, is_longer=longer)
        return _as_array(vectors)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        import torch

        if not len(texts):
            return np.zeros((0, self.size), np.float32)
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            vectors = self.model.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
        return _as_array(vectors)


def read_sound_settings(files: ModelFiles) -> Mapping[str, Any]:
    """How sound is prepared. transformers 5 saves it with the rest of the processor, models on the
    hub have it in a file of its own."""
    if (files.folder / "preprocessor_config.json").exists():
        return read_json(files, "preprocessor_config.json")
    return read_json(files, "processor_config.json").get("feature_extractor", {})


def max_tokens(text_config: Any) -> int:
    """The longest text that the positions last for; RoBERTa begins to count behind the padding's
    id."""
    return text_config.max_position_embeddings - text_config.pad_token_id - 1


def _as_array(features: Any) -> np.ndarray:
    """transformers 5 hands the (already normalised) vectors over as `pooler_output`."""
    vectors = getattr(features, "pooler_output", features)
    return np.ascontiguousarray(vectors.float().cpu().numpy())
