"""Pictures as a CLIP model wants them: open_clip's inference transform, without torch.

The resize is Pillow's, as in open_clip, so that the pixels are the same to the bit. Scaling to
0..1 and normalising by mean and deviation are left to the network's side (a GPU, or the first nodes
of an ONNX graph): what crosses over is uint8, a quarter of the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ingest.models.device import usable_cores

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """height, width: pixels, of what the network takes. mean, std: of the channels R, G, B in 0..1.

    interpolation: "bicubic" or "bilinear". resize_mode: "squash" (both sides at once), "shortest"
    (and cut off what sticks out) or "longest" (and pad with `fill`, 0..255).
    """

    height: int
    width: int
    mean: tuple[float, ...] = _OPENAI_MEAN
    std: tuple[float, ...] = _OPENAI_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill: int = 0

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Preprocess:
        """config: open_clip's `preprocess_cfg` of a model."""
        size = config.get("size", 224)
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        return cls(
            height=int(height),
            width=int(width),
            mean=_channels(config.get("mean") or _OPENAI_MEAN),
            std=_channels(config.get("std") or _OPENAI_STD),
            # "random" is for training; open_clip itself reads it as bicubic here.
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            resize_mode=config.get("resize_mode") or "shortest",
            fill=int(config.get("fill_color") or 0),
        )

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Preprocess:
        """The reverse of `to_json`."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON takes them."""
        return asdict(self)

    def fit(self, image: np.ndarray) -> np.ndarray:
        """image: uint8 of shape (height, width, 3), RGB, any size. Returns uint8 of shape
        (self.height, self.width, 3)."""
        from PIL import Image

        height, width = self._resized(*image.shape[:2])
        # A target that is not square takes the other branch in open_clip, which forgets the setting
        bicubic = self.interpolation == "bicubic" or (
            self.resize_mode == "shortest" and self.height != self.width
        )
        resample = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
        picture = Image.fromarray(np.ascontiguousarray(image))
        return self._crop_or_pad(np.asarray(picture.resize((width, height), resample)))

    def stack(self, images: Sequence[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        """`fit` of each, on all cores: Pillow lets go of the interpreter lock while it resizes.

        out: uint8 of shape (len(images), self.height, self.width, 3), contiguous; None makes one.
        """
        if out is None:
            out = np.empty((len(images), self.height, self.width, 3), dtype=np.uint8)

        def place(index: int) -> None:
            out[index] = self.fit(images[index])

        if len(images) > 1:
            for _ in self._pool.map(place, range(len(images))):
                pass
        elif len(images):
            place(0)
        return out

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_cores(), thread_name_prefix="clip-pictures")

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize and before the cut, rounded as open_clip does it."""
        if self.resize_mode == "squash":
            return self.height, self.width
        if self.resize_mode == "shortest" and self.height == self.width:
            short, long = sorted((height, width))
            longer = int(self.height * long / short)
            return (self.height, longer) if height <= width else (longer, self.height)
        choose = max if self.resize_mode == "longest" else min
        ratio = choose(height / self.height, width / self.width)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _crop_or_pad(self, image: np.ndarray) -> np.ndarray:
        """The middle of `image`, padded evenly where it is too small."""
        missing_rows = max(0, self.height - image.shape[0])
        missing_columns = max(0, self.width - image.shape[1])
        if missing_rows or missing_columns:
            rows = (missing_rows // 2, missing_rows - missing_rows // 2)
            columns = (missing_columns // 2, missing_columns - missing_columns // 2)
            image = np.pad(image, (rows, columns, (0, 0)), constant_values=self.fill)
        # Rounds half to even, as torchvision's center_crop does.
        top = round((image.shape[0] - self.height) / 2)
        left = round((image.shape[1] - self.width) / 2)
        return image[top : top + self.height, left : left + self.width]


def _channels(value: float | Sequence[float]) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(map(float, value))
