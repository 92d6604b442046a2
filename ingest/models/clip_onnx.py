"""Pictures and words in one space without torch: ONNX Runtime over what `longtake models prepare`
made of an open_clip model (ingest/models/clip_export.py says how, and which files there are).

Same space and same vectors as OpenClipEncoder to a cosine over .999, which preparing has checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ingest.models import prepared
from ingest.models.clip_pictures import Preprocess
from ingest.models.clip_tokens import ClipTokenizer, TokenRules
from ingest.models.encoders import space_name
from ingest.models.files import ModelFiles

FORMAT = 2
"""Of the prepared folder; raised when a change makes older ones unusable."""
RECORD_FILE = "prepared.json"
_BATCH = 16


def graph_file(tower: str, int8: bool) -> str:
    """tower: "image" or "text"."""
    return f"{tower}.int8.onnx" if int8 else f"{tower}.onnx"


class _Tower:
    """What the two encoders share: the record of the preparation, and one session."""

    def __init__(self, files: ModelFiles, tower: str, int8: bool, threads: int, once: bool = False):
        self._record = read_record(files)
        path = files.prepared / graph_file(tower, int8)
        if not path.is_file():
            raise prepared.unprepared(files, f"{path} is not there", int8)
        self._session = prepared.open_session(files, path, threads, once)
        self.space = space_name("frame", files.name, files.digest, int8=int8)
        self.size = int(self._record["size"])

    def _run(self, inputs: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"input": inputs})[0]


class OnnxImageEncoder(_Tower):
    """An ImageEncoder on the CPU. Opens its session when it is built.

    int8: take the network with 8-bit weights; its vectors lie near those of the float one, in a
        space of their own. threads: 0 is as many as this process may run on. batch: pictures at
        once.

    Raises ModelMissingError where the model is not prepared.
    """

    def __init__(
        self, files: ModelFiles, *, int8: bool = False, threads: int = 0, batch: int = _BATCH
    ):
        super().__init__(files, "image", int8, threads)
        self.preprocess = Preprocess.from_json(self._record["image"])
        self.batch = batch

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """images: uint8 of shape (height, width, 3), RGB, of any sizes. Returns float32 of shape
        (len(images), size), unit length."""
        vectors = np.empty((len(images), self.size), dtype=np.float32)
        for start in range(0, len(images), self.batch):
            stop = start + self.batch
            vectors[start:stop] = self._run(self.preprocess.stack(images[start:stop]))
        return vectors


class OnnxTextEncoder(_Tower):
    """A TextEncoder on the CPU, for queries. Opens its session when it is built. What the float
    tower says may be compared with pictures of the 8-bit one, too.

    cosine_range: of models that were trained to tell matching pairs by a sigmoid (SigLIP), the
        cosines at which that says .001 and .9; None of others, which only rank.
    int8, threads: as in OnnxImageEncoder. once: open sooner and run slower, for a process that
        encodes a query or two and ends.

    Raises ModelMissingError where the model is not prepared.
    """

    def __init__(
        self, files: ModelFiles, *, int8: bool = False, threads: int = 0, once: bool = False
    ):
        super().__init__(files, "text", int8, threads, once)
        rules = TokenRules.from_json(self._record["text"])
        self.cosine_range = _cosine_range(self._record["sigmoid"])
        try:
            self.tokenize = ClipTokenizer(files.prepared, rules)
        except OSError as error:
            raise prepared.unprepared(files, str(error), int8) from error

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 of shape (len(texts), size), unit length."""
        if not texts:
            return np.empty((0, self.size), dtype=np.float32)
        return np.concatenate(
            [
                self._run(self.tokenize(texts[start : start + _BATCH]))
                for start in range(0, len(texts), _BATCH)
            ]
        )


def _cosine_range(sigmoid: Mapping[str, float] | None) -> tuple[float, float] | None:
    """Where sigmoid(scale * cosine + bias) is .001 and where it is .9."""
    if sigmoid is None:
        return None
    unlikely, likely = (
        (math.log(p / (1 - p)) - sigmoid["bias"]) / sigmoid["scale"] for p in (0.001, 0.9)
    )
    return unlikely, likely


def has_int8(files: ModelFiles) -> bool:
    """Whether preparing has made the picture tower with 8-bit weights."""
    return (files.prepared / graph_file("image", int8=True)).is_file()


def read_record(files: ModelFiles) -> dict[str, Any]:
    """What preparing has written about the model. Raises ModelMissingError where it is not
    prepared, or was with other weights or by another Longtake."""
    return prepared.read_record(files, RECORD_FILE, FORMAT)
