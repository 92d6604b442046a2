"""Where somebody speaks: Silero's voice activity network, from faster-whisper's wheel.

The network is run with ONNX Runtime, without importing faster-whisper (which brings CTranslate2).
It is the model of https://github.com/snakers4/silero-vad, recurrent over windows of 512 samples.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.errors import ModelMissingError
from ingest.models.files import INSTALL_MODELS

SAMPLE_RATE = 16_000
WINDOW = 512
"""Samples that one probability is for: 32 ms."""

_CONTEXT = 64
_STATE = 128


class VoiceState(NamedTuple):
    """What the network carries from window to window. hidden, cell: float32 of shape (1, 1, 128);
    context: the last 64 samples, float32."""

    hidden: np.ndarray
    cell: np.ndarray
    context: np.ndarray


def fresh_state() -> VoiceState:
    zeros = np.zeros((1, 1, _STATE), np.float32)
    return VoiceState(zeros, zeros, np.zeros(_CONTEXT, np.float32))


class SileroVoice:
    """Probability of speech by window. Loads the network at the first call; may be shared.

    Raises ModelMissingError, then, where faster-whisper is not installed.
    """

    def probabilities(
        self, samples: np.ndarray, state: VoiceState
    ) -> tuple[np.ndarray, VoiceState]:
        """samples: float32 of shape (windows x 512,), 16 kHz. Returns float32 of shape (windows,)
        and the state after them."""
        windows = samples.reshape(-1, WINDOW)
        before = np.vstack([state.context[None], windows[:-1, -_CONTEXT:]])
        # One thread: others only wait on it, and the sums come out alike however many cores.
        speech, hidden, cell = self._session.run(
            None,
            {
                "input": np.concatenate([before, windows], axis=1),
                "h": state.hidden,
                "c": state.cell,
            },
        )
        return speech.reshape(-1), VoiceState(hidden, cell, windows[-1, -_CONTEXT:].copy())

    @cached_property
    def name(self) -> str:
        """Of the network's file, which has its version in it."""
        return self._path.stem

    @cached_property
    def _path(self) -> Path:
        spec = find_spec("faster_whisper")
        for folder in spec.submodule_search_locations if spec is not None else ():
            found = sorted(Path(folder, "assets").glob("silero_vad*.onnx"))
            if found:
                return found[-1]
        raise ModelMissingError(
            "speech cannot be recognised, because the package faster-whisper "
            + ("is not installed" if spec is None else "lacks its voice activity model")
            + f": {INSTALL_MODELS}, or leave the recognition of speech out"
        )

    @cached_property
    def _session(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(
            str(self._path), providers=["CPUExecutionProvider"], sess_options=options
        )
