"""The two towers of an open_clip model as torch modules that can be exported: uint8 pictures, or
token ids, in; unit vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from ingest.models.clip import OpenClipEncoder


class ImageTower(nn.Module):
    """uint8 (n, height, width, 3), RGB, to float32 (n, size)."""

    def __init__(self, encoder: OpenClipEncoder):
        super().__init__()
        self.model = encoder.model
        for name in ("mean", "std"):
            value = torch.tensor(getattr(encoder.preprocess, name), dtype=torch.float32)
            self.register_buffer(name, value.view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        scaled = pictures.permute(0, 3, 1, 2).to(torch.float32) / 255
        return normalize(self.model.encode_image((scaled - self.mean) / self.std), dim=-1)


class TextTower(nn.Module):
    """int64 (n, tokens) to float32 (n, size). short: `tokens` may be fewer than the context's."""

    def __init__(self, encoder: OpenClipEncoder, short: bool):
        super().__init__()
        self.model = encoder.model
        self.short = short

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = self._causal(tokens) if self.short else self.model.encode_text(tokens)
        return normalize(vectors, dim=-1)

    def _causal(self, tokens: Tensor) -> Tensor:
        """open_clip's CLIP.encode_text (TextTransformer.forward is the same), with positions and
        mask cut to the length of the text."""
        from open_clip.transformer import text_global_pool

        tower = _text_tower(self.model)
        length = tokens.shape[1]
        states = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        states = tower.transformer(states, attn_mask=tower.attn_mask[:length, :length])
        pooled = text_global_pool(tower.ln_final(states), tokens, "argmax")
        projection = tower.text_projection
        if projection is None:
            return pooled
        return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection


def takes_short_texts(model: nn.Module) -> bool:
    """Whether padding can be left out: each token sees only those before it, and the vector is
    taken at the end token, so what comes after it never counts."""
    tower = _text_tower(model)
    pooling = getattr(model, "text_pool_type", None) or getattr(tower, "pool_type", None)
    return (
        type(model).__name__ in ("CLIP", "CustomTextCLIP")
        and getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and pooling == "argmax"
        and hasattr(tower, "token_embedding")
    )


def _text_tower(model: nn.Module) -> nn.Module:
    """open_clip's CLIP has its text tower's parts itself; CustomTextCLIP has a tower."""
    return getattr(model, "text", model)
