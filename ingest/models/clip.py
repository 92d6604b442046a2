"""Pictures and words in one space, by open_clip: CLIP, SigLIP, PE, MobileCLIP and their kin.

The only file besides clip_export.py that touches open_clip. Weights come from a local folder
(open_clip's `local-dir:`), as safetensors; nothing is downloaded, and a pickle is refused, because
reading one may run what is in it.

Pictures go to the network as uint8 and are normalised there. On a GPU: bfloat16, pinned memory,
copies that nobody waits for, and the next pictures are resized while the card works on the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.clip_pictures import Preprocess
from ingest.models.encoders import space_name
from ingest.models.files import INSTALL_MODELS, ModelFiles

CONFIG_FILE = "open_clip_config.json"
_PREFERRED_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""What open_clip takes before any pickle that lies beside it."""

_BATCH = {"cuda": 256}
"""Pictures. By arithmetic, never run on a card: the widest activations of a ViT-SO400M of 384
pixels at bfloat16 are 256 * 576 * 4304 * 2 bytes, 1.3 GB. Halved where the card has less."""
_BATCH_ELSEWHERE = 16


class OpenClipEncoder:
    """An ImageEncoder and a TextEncoder. Loads the weights when it is built.

    files: a folder with open_clip_config.json, safetensors and, for models with a Hugging Face
        tokenizer, its files. device: as torch names it; None is the GPU where there is one.
    precision: of open_clip: "fp32", "bf16", "pure_bf16", "fp16", "pure_fp16"; None is bf16 on a GPU
        and fp32 elsewhere. batch: pictures at once; 0 chooses by device.
    model, preprocess, tokenizer: open_clip's model, how it wants its pictures, and open_clip's
        tokenizer.

    Raises ModelMissingError where open_clip or the weights are missing, damaged or a pickle.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str | None = None,
        precision: str | None = None,
        batch: int = 0,
    ):
        config = _read_config(files)
        _check_weights(files)
        try:
            import open_clip
            import torch
            from open_clip.model import get_input_dtype
            from timm.utils import reparameterize_model
        except ImportError as error:
            raise ModelMissingError(
                f"{files.name} needs open_clip, which does not load ({error}): "
                f"install it with {INSTALL_MODELS}"
            ) from error
        self._torch = torch
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._on_gpu = self.device.startswith("cuda")
        text_config = _text_config(files, config)
        if precision is None:
            # open_clip's bf16 keeps layer norms at float32 in its own towers only; a Hugging Face
            # tower would mix the two and fail.
            low = "pure_bf16" if text_config else "bf16"
            precision = low if self._on_gpu else "fp32"
        self._input_dtype = get_input_dtype(precision) or torch.float32
        try:
            self.model = open_clip.create_model(
                f"local-dir:{files.folder}",
                precision=precision,
                device=self.device,
                require_pretrained=True,
                **({"text_cfg": text_config} if text_config else {}),
            ).eval()
            if precision == "fp32" and hasattr(self.model.visual, "trunk"):
                # Branches that only training needs (MobileCLIP's) become one: same function, less
                # work. Summing them at bfloat16 would lose digits.
                self.model.visual = reparameterize_model(self.model.visual, inplace=True)
            self.tokenizer = _tokenizer(open_clip, files, config)
        except (
            Exception
        ) as error:  # open_clip, timm, transformers and safetensors have no common one
            raise ModelMissingError(
                f"{files.folder} cannot be loaded as an open_clip model "
                f"({type(error).__name__}: {error}); {files.fetching}"
            ) from error
        self.preprocess = Preprocess.from_open_clip(self.model.visual.preprocess_cfg)
        stats = (self.preprocess.mean, self.preprocess.std)
        self._mean, self._std = (
            torch.tensor(each, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)
            for each in stats
        )
        self.batch = batch or _BATCH.get(self.device.partition(":")[0], _BATCH_ELSEWHERE)
        self.space = space_name("frame", files.name, files.digest)
        self.size = int(config["model_cfg"]["embed_dim"])

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """images: uint8 of shape (height, width, 3), RGB, of any sizes. Returns float32 of shape
        (len(images), size), unit length."""
        return self.start_images(images)()

    def start_images(self, images: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        """`encode_images` in two steps: on a GPU this one returns while the card still works, and
        the function that it returns waits for the vectors. On a CPU the second does nothing."""
        torch = self._torch
        parts: list[Any] = []
        start = 0
        while start < len(images):
            chunk = images[start : start + self.batch]
            try:
                parts.append(self._launch(chunk))
            except torch.OutOfMemoryError as error:
                if len(chunk) == 1:
                    raise ModelMissingError(
                        f"{self.device} has too little memory for this model: choose a smaller "
                        "one for the channel frame, or the CPU"
                    ) from error
                self.batch = max(1, len(chunk) // 2)
                torch.cuda.empty_cache()
                continue
            start += len(chunk)

        def finish() -> np.ndarray:
            if not parts:
                return np.empty((0, self.size), dtype=np.float32)
            return torch.cat(parts).cpu().numpy()

        return finish

    @property
    def fit(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Cuts a picture to the network's size, where a large batch is to wait for a GPU. Doing it
        again changes nothing."""
        return self.preprocess.fit if self._on_gpu else None

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        if not texts:
            return np.empty((0, self.size), dtype=np.float32)
        torch = self._torch
        with torch.inference_mode():
            features = self.model.encode_text(self.tokenizer(list(texts)).to(self.device))
            return _unit(torch, features).cpu().numpy()

    def _launch(self, images: Sequence[np.ndarray]) -> Any:
        """Unit vectors of one batch, on the device."""
        torch = self._torch
        shape = (len(images), self.preprocess.height, self.preprocess.width, 3)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._on_gpu)
        self.preprocess.stack(images, out=pixels.numpy())
        with torch.inference_mode():
            on_device = pixels.to(self.device, non_blocking=True)
            # The order of open_clip's transform, so that the values are the same to the bit.
            scaled = on_device.permute(0, 3, 1, 2).to(torch.float32) / 255
            scaled = ((scaled - self._mean) / self._std).contiguous()
            return _unit(torch, self.model.encode_image(scaled.to(self._input_dtype)))


def _unit(torch: Any, features: Any) -> Any:
    """Float32 whatever the network's precision: rounded coordinates are no unit vector."""
    return torch.nn.functional.normalize(features.to(torch.float32), dim=-1)


def _read_config(files: ModelFiles) -> dict[str, Any]:
    path = files.folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["embed_dim"], config["model_cfg"]["text_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelMissingError(
            f"{path} is not there or not open_clip's ({type(error).__name__}); {files.fetching}"
        ) from error
    return config


def _check_weights(files: ModelFiles) -> None:
    """Raises ModelMissingError where open_clip would find no weights, or take a pickle."""
    if any((files.folder / name).is_file() for name in _PREFERRED_WEIGHTS):
        return
    pickles = sorted(
        path.name for suffix in ("bin", "pth", "pt") for path in files.folder.glob(f"*.{suffix}")
    )
    if pickles:
        raise ModelMissingError(
            f"{files.folder / pickles[0]} is a pickle, and reading one may run whatever is in it, "
            f"so it is not loaded. The model's {_PREFERRED_WEIGHTS[0]} is wanted instead: "
            f"{files.fetching}"
        )
    if not any(files.folder.glob("*.safetensors")):
        raise ModelMissingError(
            f"there are no weights (safetensors) in {files.folder}; {files.fetching}"
        )


def _text_config(files: ModelFiles, config: dict[str, Any]) -> dict[str, Any] | None:
    """The settings of a Hugging Face text tower, made to read its architecture from the folder:
    open_clip would ask the hub for it by name. None for open_clip's own towers."""
    text_config = config["model_cfg"]["text_cfg"]
    if not text_config.get("hf_model_name"):
        return None
    if not (files.folder / "config.json").is_file():
        raise ModelMissingError(
            f"{files.folder} lacks the config.json of its text tower "
            f"({text_config['hf_model_name']}): put that model's there"
        )
    return {**text_config, "hf_model_name": str(files.folder), "hf_model_pretrained": False}


def _tokenizer(open_clip: Any, files: ModelFiles, config: dict[str, Any]) -> Any:
    hugging_face = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    # Without it transformers looks large vocabularies up on the hub, local as the folder is.
    options = {"local_files_only": True} if hugging_face else {}
    return open_clip.get_tokenizer(f"local-dir:{Path(files.folder)}", **options)
