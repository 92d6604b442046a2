"""Keys and values of the stream on the device: a slab of fixed size that the model writes to as to
any other cache of the transformers library, and what is copied out of it and back. Importing it
loads torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Of some tokens in all layers. keys, values: of shape (layers, heads, tokens, head_size); keys
    as the model wrote them, turned by their positions."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class _Layer(CacheLayerMixin):
    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.keys, self.values = keys, values
        self.length = 0
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise RuntimeError("the slab is there from the start")

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args, **_kw
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, end = self.length, self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            raise RuntimeError(f"a slab of {self.keys.shape[-2]} tokens has no room for {end}")
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.keys.shape[-2]


class Slab(Cache):
    """Room for `capacity` tokens, taken once: what the model writes never takes more memory."""

    def __init__(
        self,
        layers: int,
        heads: int,
        capacity: int,
        head_size: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ):
        shape = (layers, 1, heads, capacity, head_size)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        super().__init__(
            layers=[_Layer(k, v) for k, v in zip(self._keys, self._values, strict=True)]
        )

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    @property
    def capacity(self) -> int:
        return self._keys.shape[3]

    @property
    def length(self) -> int:
        return self.layers[0].length

    def cut(self, length: int) -> None:
        """Forgets what was written behind the first `length` tokens."""
        for layer in self.layers:
            layer.length = length

    def read(self, start: int, end: int) -> KeyValues:
        """A view, not a copy."""
        return KeyValues(self._keys[:, 0, :, start:end], self._values[:, 0, :, start:end])

    def write(self, pieces: Iterable[KeyValues]) -> None:
        """Puts them behind what is there."""
        end = self.length
        for piece in pieces:
            start, end = end, end + piece.tokens
            if end > self.capacity:
                raise RuntimeError(f"a slab of {self.capacity} tokens has no room for {end}")
            self._keys[:, 0, :, start:end] = piece.keys
            self._values[:, 0, :, start:end] = piece.values
        self.cut(end)

    def drop(self, start: int, end: int) -> None:
        """Takes tokens out; those behind them move up."""
        left = self.length - (end - start)
        for layer in range(len(self.layers)):  # one at a time, for the copy's sake
            for whole in (self._keys[layer], self._values[layer]):
                whole[:, :, start:left] = whole[:, :, end : self.length].clone()
        self.cut(left)
