"""Reads the text in a picture, with EasyOCR: for scripts that the models in RapidOCR's wheel do not
know (Cyrillic, Korean, Arabic, Devanagari, Thai, ...).

The only file that touches easyocr, but for the fetching of weights. EasyOCR's weights exist as .pth
alone, that is as pickles, which its own loader runs whatever is in them; here its networks are
built by its own classes and filled with `torch.load(weights_only=True)`. What it was published as
is checked when it is pulled, so EasyOCR's own check of the MD5 is not repeated, and other weights
in its format work too. Nothing is ever downloaded.

A picture goes to EasyOCR as one that it loads from a file itself: colours in the order that its
detector was trained with (it leaves arrays as they are, whatever their order).
"""

from __future__ import annotations

import pickle
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ConfigError, ModelMissingError
from ingest.models.files import INSTALL_MODELS, ModelFiles
from ingest.models.ocr import Line, reading_order
from ingest.models.pull_easyocr import easyocr_config

DETECTOR = "craft_mlt_25k.pth"
_CANVAS_SIDE = 2560
"""Pixels. Larger pictures are reduced to it to find text: EasyOCR's default."""
_SMALLEST_SIDE = 16
_CONTEXT = 48
"""Pixels above and below a band of rows that the detector sees too."""
_CODE_VERSION = 1
"""Raised when a change in this file changes what is read."""

_CODES = {
    "zh": "ch_sim", "zh-hans": "ch_sim", "zh-hant": "ch_tra", "sr": "rs_cyrillic",
    "sr-cyrl": "rs_cyrillic", "sr-latn": "rs_latin", "nb": "no", "fil": "tl",
}  # fmt: skip
"""BCP 47 to EasyOCR's own codes, where they differ."""

_WITH_ENGLISH = {
    "th": "thai_g1", "ch_tra": "zh_tra_g1", "ch_sim": "zh_sim_g2", "ja": "japanese_g2",
    "ko": "korean_g2", "ta": "tamil_g1", "te": "telugu_g2", "kn": "kannada_g2",
}  # fmt: skip
"""Languages whose network knows English besides and nothing else."""


def known_languages() -> tuple[str, ...]:
    """EasyOCR's codes, and the BCP 47 tags that stand for some of them. Raises ModelMissingError
    where easyocr is not installed."""
    return tuple(sorted({*easyocr_config().all_lang_list, *_CODES}))


def recogniser_for(languages: Sequence[str]) -> str:
    """The network that EasyOCR reads these languages with ("latin_g2"): the name of the model in
    the catalogue. Does not import easyocr.

    Raises ConfigError where a language is unknown, or where no network knows all of them, and
    ModelMissingError where easyocr is not installed.
    """
    config = easyocr_config()
    codes = set(_codes(languages))
    if codes == {"en"}:
        return "english_g2"
    groups = [({one}, network) for one, network in _WITH_ENGLISH.items()]
    groups += [
        (set(config.bengali_lang_list), "bengali_g1"),
        (set(config.arabic_lang_list), "arabic_g1"),
        (set(config.devanagari_lang_list), "devanagari_g1"),
        (set(config.cyrillic_lang_list), "cyrillic_g2"),
    ]
    for group, network in groups:
        if codes & group:
            if others := codes - group - {"en"}:
                raise ConfigError(
                    f"EasyOCR has no network that reads {', '.join(sorted(codes & group))} "
                    f"together with {', '.join(sorted(others))}; only English goes with all."
                )
            return network
    return "latin_g2"


def _codes(languages: Sequence[str]) -> list[str]:
    codes = [_CODES.get(language.lower(), language) for language in languages]
    known = known_languages()
    if unknown := [code for code in codes if code not in known]:
        raise ConfigError(
            f"EasyOCR does not read the language {', '.join(unknown)}. Known: {', '.join(known)}."
        )
    return codes


class EasyOcrReader:
    """Text in pictures, with the interface of ingest.models.ocr.OcrReader. Loads nothing until
    `load` or the first `read`; safe to share among threads, which take turns.

    files: of the detector and the recogniser. languages: BCP 47, or EasyOCR's codes. device: "cpu",
    "cuda" or "mps". On a CPU the recogniser's recurrent layers have weights of 8 bits, as EasyOCR
    has it by default.

    Raises ConfigError for languages; see `recogniser_for`.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        languages: Sequence[str] = ("en",),
        device: str = "cpu",
    ):
        self._files = files
        self._folder = files.folder
        self._languages = _codes(languages)
        self._network = recogniser_for(languages)
        self._device = device
        self._quantize = device == "cpu"
        self._reader: Any = None
        self._lock = threading.Lock()

    def describe(self) -> Mapping[str, Any]:
        """What shapes the readings: models by name and digest. Loads no model."""
        return {
            "engine": "easyocr",
            "version": metadata.version("easyocr"),
            "models": {"network": self._network, "digest": self._files.digest},
            "languages": self._languages,
            "quantized": self._quantize,
            "code": _CODE_VERSION,
        }

    def load(self) -> None:
        """Loads the models, once. Raises ModelMissingError."""
        with self._lock:
            if self._reader is None:
                self._reader = self._build()

    def read(self, image: np.ndarray, rows: tuple[int, int] | None = None) -> list[Line]:
        """As ingest.models.ocr.OcrReader.read."""
        import cv2

        height, width = image.shape[:2]
        if min(height, width) < _SMALLEST_SIDE:
            return []
        self.load()
        first, last = (0, height)
        if rows is not None:
            first, last = max(0, rows[0] - _CONTEXT), min(height, rows[1] + _CONTEXT)
        band = np.ascontiguousarray(image[first:last])
        canvas = max(32, round(_CANVAS_SIDE * max(band.shape[:2]) / max(height, width)))
        gray = cv2.cvtColor(band, cv2.COLOR_RGB2GRAY)
        with self._lock:
            upright, slanted = self._reader.detect(band, canvas_size=canvas, reformat=False)
            found = self._reader.recognize(
                gray,
                upright[0],
                slanted[0],
                batch_size=1 if self._device == "cpu" else 16,
                reformat=False,
            )
        scale = np.array([width, height], dtype=np.float64)
        lines = []
        for corners, text, confidence in found:
            text = " ".join(text.split())
            corners = np.asarray(corners, dtype=np.float64) + np.array([0, first])
            middle = (corners[:, 1].min() + corners[:, 1].max()) / 2
            if not text or (rows is not None and not rows[0] <= middle < rows[1]):
                continue
            corners = np.clip(corners / scale, 0.0, 1.0)
            (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
            box = (round(x0, 5), round(y0, 5), round(x1, 5), round(y1, 5))
            lines.append(Line(text, tuple(map(float, box)), float(np.clip(confidence, 0, 1))))
        return reading_order(lines)

    def _paths(self) -> tuple[Path, Path]:
        """Detector and recogniser."""
        networks = easyocr_config().recognition_models
        model = {**networks["gen1"], **networks["gen2"]}[self._network]
        paths = (self._folder / DETECTOR, self._folder / model["filename"])
        if missing := [path.name for path in paths if not path.is_file()]:
            raise ModelMissingError(
                f"{' and '.join(missing)} of EasyOCR are not in {self._folder}: "
                f"`longtake models pull {self._network}`, or put them there."
            )
        return paths

    def _build(self) -> Any:
        detector, recogniser = self._paths()
        try:
            import torch
            from easyocr import Reader
            from easyocr.craft import CRAFT
            from easyocr.detection import get_textbox
            from easyocr.utils import CTCLabelConverter
        except ImportError as error:
            raise ModelMissingError(
                f"easyocr does not load ({error}): {INSTALL_MODELS}, or set "
                'channels.screen_text.engine to "rapidocr".'
            ) from error
        # Its loader asks for pinned memory whether there is a GPU or not.
        warnings.filterwarnings("ignore", message=".*pin_memory", category=UserWarning)
        searched = list(sys.path)
        try:
            reader = Reader(
                self._languages,
                gpu=False if self._device == "cpu" else self._device,
                model_storage_directory=str(self._folder),
                user_network_directory=str(self._folder),
                download_enabled=False,
                detector=False,
                recognizer=False,
                verbose=False,
            )
        finally:
            sys.path[:] = searched  # it would import networks of users from among the weights
        reader.get_textbox = get_textbox
        reader.detector = self._filled(CRAFT(), detector)
        reader.converter = CTCLabelConverter(reader.character, {}, {})
        reader.recognizer = self._filled(
            self._recogniser(len(reader.converter.character)), recogniser
        )
        if self._quantize:
            try:
                torch.ao.quantization.quantize_dynamic(
                    reader.recognizer, dtype=torch.qint8, inplace=True
                )
            except (AttributeError, NotImplementedError, RuntimeError):
                pass  # EasyOCR goes on without, too: not every processor has the kernels
        return reader

    def _recogniser(self, classes: int) -> Any:
        """The network as EasyOCR builds it, empty."""
        if self._network in easyocr_config().recognition_models["gen1"]:
            from easyocr.model.model import Model

            return Model(1, 512, 512, classes)
        from easyocr.model.vgg_model import Model

        return Model(1, 256, 256, classes)

    def _filled(self, network: Any, path: Path) -> Any:
        import torch

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = {key.removeprefix("module."): value for key, value in state.items()}
            network.load_state_dict(state)
        except (AttributeError, EOFError, OSError, RuntimeError, pickle.UnpicklingError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelMissingError(
                f"{path} does not hold the weights that EasyOCR's {self._network} needs, and "
                f"nothing else ({why}): `longtake models pull {self._network}` again."
            ) from error
        return network.to(self._device).eval()
