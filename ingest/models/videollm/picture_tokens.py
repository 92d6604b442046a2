"""What a picture costs in the tokens of a model on a server, by the model's name.

The formulas are those of the families' own processors (transformers 5.23), with the settings that
their models are published with; a server may have been started with others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

UNKNOWN = 1024
"""Of a picture to a model whose name tells nothing: more than most take at the sizes sent."""


def picture_tokens(model: str, height: int, width: int) -> int:
    """height, width: pixels, as sent. With the marks around a picture, without its time."""
    name = model.lower().replace("_", "-")
    for known, count in _FAMILIES:
        if all(part in name for part in known):
            return count(height, width)
    return UNKNOWN


def qwen_pictures(
    height: int, width: int, *, factor: int, fewest_pixels: int, most_pixels: int
) -> int:
    """Qwen2-VL's `smart_resize`: sides to multiples of `factor`, one token for each square of that
    side, two marks."""
    tall = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if tall * wide > most_pixels:
        shrink = math.sqrt(height * width / most_pixels)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif tall * wide < fewest_pixels:
        grow = math.sqrt(fewest_pixels / (height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return (tall // factor) * (wide // factor) + 2


def _qwen2(height: int, width: int) -> int:
    return qwen_pictures(height, width, factor=28, fewest_pixels=3136, most_pixels=12_845_056)


def _qwen3(height: int, width: int) -> int:
    return qwen_pictures(height, width, factor=32, fewest_pixels=65_536, most_pixels=16_777_216)


def _smolvlm(height: int, width: int) -> int:
    """Tiles of 512 pixels of a picture whose longer side is made 2048, and all of it once more: 64
    tokens each and the marks around them."""
    scale = 2048 / max(height, width)
    tall, wide = (max(1, math.ceil(side * scale / 512)) for side in (height, width))
    tiles = tall * wide
    return 64 * (tiles + 1) + 12 * tiles + tall + 8


def _llava(height: int, width: int) -> int:
    """Tiles of 384 pixels, of 27 x 27 tokens, and all of it once more. A grid of at most 6 x 6 is
    chosen and shrunk to what 9 tiles hold; no padding is taken off, so this is the most."""
    tall, wide = (min(6, max(1, math.ceil(side / 384))) for side in (height, width))
    tokens = min(tall * wide, 9) * 729
    return 729 + tokens + math.ceil(math.sqrt(tokens)) * 2 + 4


def _gpt4(height: int, width: int) -> int:
    """85, and 170 for each tile of 512 pixels once the shorter side is at most 768."""
    scale = min(1.0, 2048 / max(height, width))
    height, width = height * scale, width * scale
    scale = min(1.0, 768 / min(height, width))
    return 85 + 170 * math.ceil(height * scale / 512) * math.ceil(width * scale / 512)


_FAMILIES: tuple[tuple[tuple[str, ...], Callable[[int, int], int]], ...] = (
    (("qwen3", "vl"), _qwen3),
    (("qwen3.5",), _qwen3),
    (("qwen2", "vl"), _qwen2),
    (("smolvlm",), _smolvlm),
    (("llava", "onevision"), _llava),
    (("gemma-3",), lambda _height, _width: 260),
    (("gemma3",), lambda _height, _width: 260),
    (("gpt-4o",), _gpt4),
    (("gpt-4.1",), _gpt4),
)
