"""Reads the text in a picture, with RapidOCR and the PP-OCR models inside its wheel.

The only file that touches rapidocr. Nothing is ever downloaded: RapidOCR fetches a model when it is
left to find one by name, so both model files are always handed to it by path, and a missing one is
an error before it is asked.

Text is found on the picture reduced to `detection_side` and read at full resolution. Measured
against RapidOCR's own sizes (small frames enlarged, large ones detected whole), in CPU seconds
a picture and words of three letters or more found: film credits at 640x360 1.6 s and 980 words
(2.8 s and 974), a dense screencast at 1616x1568 1.6 s and 396 words (2.6 s and 396), terminals at
about 1300x700 2.3 s and 614 words (2.5 s and 612), frames without text at 320x180 0.04 s (0.5 s).
Reducing to 736 or 1280 instead finds as many words in all of these.

Lines are read one at a time and the networks' threads sleep while they wait. Six lines at a time,
spinning, as RapidOCR does it, took 2.6 times the processor time on two cores (film credits of 76
lines: 4.5 s against 1.7 s; a terminal of 38: 2.2 s against 0.8 s), because a batch is padded to its
widest line. One at a time also makes a line's text depend on nothing but its own pixels.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ConfigError, ModelMissingError
from ingest.models.device import usable_cores

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in 0..1 of the picture's width and height."""

_DETECTION_CONFIDENCE = 0.4
"""Of what is taken for text, on average over its box. RapidOCR's .5 misses lines of which only the
first letters stand there yet; what is read badly is left out afterwards."""

_SMALLEST_SIDE = 16
"""Pixels. Pictures with a shorter side hold no legible text (and RapidOCR fails on some)."""

_DETECTION_STEP = 32
"""Pixels. The detection network takes sizes that are multiples of it."""

_WIDEST_ASPECT = 8
"""RapidOCR pads pictures that are wider than this many times their height."""

LANGUAGES = (
    "af", "az", "bs", "ca", "cs", "cy", "da", "de", "en", "es", "et", "eu", "fi", "fil", "fr",
    "fy", "ga", "gl", "hr", "hu", "id", "is", "it", "ja", "ku", "la", "lb", "lt", "lv", "mi",
    "ms", "mt", "nb", "nl", "nn", "no", "oc", "pl", "pt", "rm", "ro", "sk", "sl", "sq", "sr-Latn",
    "sv", "sw", "tl", "tr", "uz", "zh", "zh-Hans", "zh-Hant",
)  # fmt: skip
"""BCP 47; those whose letters the packaged model's alphabet holds: Latin, Chinese, Japanese."""

_CODE_VERSION = 3
"""Raised when a change in this file changes what is read."""


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text on one row, as read in one picture. confidence: 0..1."""

    text: str
    box: Box
    confidence: float


class OcrReader:
    """Text in pictures. Loads nothing until `load` or the first `read`; safe to share among
    threads, which take turns.

    detection_side: pixels; larger pictures are reduced to it to find text, not to read it.
    threads: for the networks; 0 is as many as this process may run on, four at most.
    detection_model, recognition_model: PP-OCR files in ONNX format, the latter with its alphabet
        inside; None for those in RapidOCR's wheel.
    languages: what is to be read. Only checked: the packaged model reads all of LANGUAGES at once,
        and of another model nothing is known. Raises ConfigError.
    """

    def __init__(
        self,
        *,
        detection_side: int = 960,
        recognition_batch: int = 1,
        threads: int = 0,
        detection_model: Path | None = None,
        recognition_model: Path | None = None,
        languages: Sequence[str] = (),
    ):
        known = {language.lower() for language in LANGUAGES}
        unknown = [language for language in languages if language.lower() not in known]
        if unknown and recognition_model is None:
            raise ConfigError(
                f"The model inside RapidOCR does not read the language {', '.join(unknown)}. "
                f"Known: {', '.join(LANGUAGES)}. For others set channels.screen_text.engine to "
                '"easyocr", or recognition_model to a PP-OCR model that reads them.'
            )
        self._detection_side = detection_side
        self._recognition_batch = recognition_batch
        self._threads = threads or min(4, usable_cores())
        self._models = {"det": detection_model, "rec": recognition_model}
        self._engine: Any = None
        self._lock = threading.Lock()

    def describe(self) -> Mapping[str, Any]:
        """What shapes the readings: models by name and digest, sizes. Loads no model, takes
        milliseconds. Raises ModelMissingError."""
        return {
            "engine": "rapidocr",
            "version": metadata.version("rapidocr"),
            "models": {task: _identify(task, path)[1] for task, path in self._models.items()},
            "detection_side": self._detection_side,
            "recognition_batch": self._recognition_batch,
            "code": _CODE_VERSION,
        }

    def load(self) -> None:
        """Loads the models, once. Raises ModelMissingError."""
        with self._lock:
            if self._engine is None:
                self._engine = self._build()

    def read(self, image: np.ndarray, rows: tuple[int, int] | None = None) -> list[Line]:
        """The text in `image` (uint8 of shape (height, width, 3), RGB), in reading order.

        rows: first and one past the last row of pixels of a band; only lines whose middle lies in
            it are read, at the same scale as in the whole picture. Boxes are of the whole picture.
        Raises ModelMissingError.
        """
        height, width = image.shape[:2]
        if min(height, width) < _SMALLEST_SIDE:
            return []
        self.load()
        first, last = (0, height) if rows is None else self._band(height, width, *rows)
        band = np.ascontiguousarray(image[first:last, :, ::-1])
        whole_side, side = max(height, width), max(band.shape[:2])
        with self._lock:
            self._engine.text_det.limit_side_len = self._detection_side * side / whole_side
            result = self._engine(band)
        texts = getattr(result, "txts", None)
        if texts is None or result.boxes is None:
            return []
        scale = np.array([width, height], dtype=np.float64)
        lines = []
        for corners, text, confidence in zip(result.boxes, texts, result.scores, strict=True):
            text = _narrow(" ".join(text.split()))
            if not text:
                continue
            corners = np.asarray(corners, dtype=np.float64) + np.array([0, first])
            middle = (corners[:, 1].min() + corners[:, 1].max()) / 2
            if rows is not None and not rows[0] <= middle < rows[1]:
                continue
            corners = np.clip(corners / scale, 0.0, 1.0)
            (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
            box = (round(x0, 5), round(y0, 5), round(x1, 5), round(y1, 5))
            lines.append(Line(text, tuple(map(float, box)), float(confidence)))
        return reading_order(lines)

    def _band(self, height: int, width: int, first: int, last: int) -> tuple[int, int]:
        """The rows with as many around them as let the networks see them like in the whole
        picture: some context, and a height that is not stretched to the detector's step."""
        ratio = min(1.0, self._detection_side / max(height, width))
        step = _DETECTION_STEP / ratio
        wanted = max(last - first + step / 2, width / _WIDEST_ASPECT + 1)
        length = min(height, round(math.ceil(wanted / step) * step))
        first = min(max(0, (first + last - length) // 2), height - length)
        return first, first + length

    def _build(self) -> Any:
        paths = {task: _identify(task, path)[0] for task, path in self._models.items()}
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise ModelMissingError(
                f"text in pictures cannot be read, because rapidocr does not load ({error}): "
                "install Longtake's requirements again, or leave out the channel screen_text"
            ) from error
        engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": 0.0,
                # Text is upright in nearly all video; the classifier only looks for upside down.
                "Global.use_cls": False,
                "Global.max_side_len": 1 << 16,
                "Det.limit_type": "max",
                "Det.limit_side_len": self._detection_side,
                "Det.box_thresh": _DETECTION_CONFIDENCE,
                "Rec.rec_batch_num": self._recognition_batch,
            }
        )
        try:
            for part, task in (("Det", "det"), ("Rec", "rec")):
                # RapidOCR takes sessions made elsewhere, but its own options refuse objects.
                options = type(engine.cfg)({**engine.cfg[part]}, flags={"allow_objects": True})
                options.session = self._session(paths[task])
                engine.cfg[part] = options
            # RapidOCR asks its models for what it needs at the first picture; a broken one should
            # show now.
            engine(np.zeros((64, 64, 3), dtype=np.uint8), use_rec=False)
            engine(np.zeros((48, 64, 3), dtype=np.uint8), use_det=False, use_rec=True)
            engine.update_params(use_det=True, use_rec=True)
        except Exception as error:  # whatever onnxruntime makes of a file that is no model
            raise ModelMissingError(
                f"cannot load {' and '.join(map(str, paths.values()))} for reading text "
                f"({type(error).__name__}): install rapidocr again, or correct the setting"
            ) from error
        return engine

    def _session(self, path: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self._threads
        # An arena keeps what the largest picture ever took: 200 MB for a tenth less time.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )


def reading_order(lines: list[Line]) -> list[Line]:
    """Rows from top to bottom, each from left to right. Two lines share a row where the middle of
    one lies within the other."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.box[1] + line.box[3], line.box, line.text)):
        middle = (line.box[1] + line.box[3]) / 2
        if rows and rows[-1][0].box[1] <= middle <= rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: (line.box, line.text))]


def _narrow(text: str) -> str:
    """Full-width Latin letters and punctuation as ASCII, where no CJK text surrounds them: the
    alphabet holds both and the network mixes them up."""
    if any("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3" for c in text):
        return text
    return "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)


def _identify(task: str, path: Path | None) -> tuple[Path, str]:
    """The model file for `task` ("det" or "rec") and "name:digest" of it."""
    if path is None:
        return _packaged(task)
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelMissingError(
            f"{path}: cannot read this text recognition model ({error.strerror}); correct the "
            "setting, or leave it out to use the model that comes with rapidocr"
        ) from error
    return path, f"{path.name}:{_digest(path, stat.st_size, stat.st_mtime_ns)}"


@lru_cache(maxsize=16)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """`size` and `modified_ns` only make the cache notice that the file has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2)
def _packaged(task: str) -> tuple[Path, str]:
    """The model as listed in the wheel's own record, which also holds its digest. Models that
    somebody's RapidOCR has downloaded into the same folder are in no record, hence never taken."""
    try:
        files = metadata.files("rapidocr") or []
    except metadata.PackageNotFoundError as error:
        raise ModelMissingError(
            "the package rapidocr is not installed, so text in pictures cannot be read: install "
            "it with `pip install rapidocr`, or leave out the channel screen_text"
        ) from error
    found = [f for f in files if f.suffix == ".onnx" and f"_{task}_" in f.name]
    if len(found) == 1:
        path = Path(found[0].locate())
        recorded = found[0]
        if path.is_file() and recorded.size in (None, path.stat().st_size):
            return path, f"{path.name}:{recorded.hash.value if recorded.hash else recorded.size}"
    raise ModelMissingError(
        f"the installed rapidocr {metadata.version('rapidocr')} lacks its packaged {task} model: "
        "reinstall it with `pip install --force-reinstall rapidocr`, or leave out the channel "
        "screen_text"
    )
