"""Text read by EasyOCR: the same as by its own reader, from weights that cannot run code."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import rapidocr

from index.errors import ConfigError, ModelMissingError
from ingest.channels.screen_text import ScreenTextChannel, build_reader
from ingest.channels.settings import ScreenTextSettings
from ingest.models.easyocr import DETECTOR, EasyOcrReader, known_languages, recogniser_for
from ingest.models.files import ModelFiles
from ingest.models.ocr import LANGUAGES


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of EasyOCR's own classes with random weights, under the names and with the keys of
    those that it publishes. The detector's last layer sees letters in whatever is bright, so that
    there is something to recognise."""
    import torch
    from easyocr.config import recognition_models
    from easyocr.craft import CRAFT
    from easyocr.model.vgg_model import Model

    torch.set_num_threads(2)
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    detector = CRAFT().eval()
    with torch.no_grad():
        _, feature = detector(_prepared(picture()))
        inside = _inside(picture(), feature.shape[-2:])
        wanted = torch.stack([inside.flatten(), 0 * inside.flatten()])
        head = detector.conv_cls
        for layer in list(head)[:-1]:
            if hasattr(layer, "weight"):
                torch.nn.init.dirac_(layer.weight)
                torch.nn.init.zeros_(layer.bias)
        passed = detector.conv_cls[:-1](feature)[0].flatten(1)
        grid = torch.cat([passed, torch.ones(1, passed.shape[1])])
        solved = torch.linalg.lstsq(grid.T.double(), wanted.T.double()).solution.T.float()
        head[-1].weight.copy_(solved[:, :-1, None, None])
        head[-1].bias.copy_(solved[:, -1])
    _save(detector, folder / DETECTOR)
    known = recognition_models["gen2"]["english_g2"]
    recogniser = Model(1, 256, 256, len(known["characters"]) + 1)
    with torch.no_grad():  # sure of itself, and of something else at every place
        for name, weight in recogniser.named_parameters():
            if "weight_ih" in name:
                torch.nn.init.normal_(weight, std=30.0)
            elif "linear.weight" in name:
                torch.nn.init.normal_(weight, std=1.0)
        torch.nn.init.normal_(recogniser.Prediction.weight, std=1.0)
    _save(recogniser, folder / known["filename"])
    return folder


def _save(network, path: Path) -> None:
    import torch

    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)


def _prepared(image: np.ndarray):
    import torch
    from easyocr.imgproc import normalizeMeanVariance

    return torch.from_numpy(normalizeMeanVariance(image).transpose(2, 0, 1)[None])


def _inside(image: np.ndarray, size):
    """1 where text stands, 0 elsewhere."""
    import torch

    words = cv2.dilate((image[:, :, 0] > 100).astype(np.uint8), np.ones((5, 31), np.uint8))
    return torch.from_numpy(cv2.resize(words, size[::-1]).astype(np.float32))


def picture() -> np.ndarray:
    """Gray: of colours EasyOCR makes other grays (by one) from a file than from an array."""
    image = np.full((128, 320, 3), 30, np.uint8)
    cv2.putText(image, "Longtake", (30, 50), 0, 1.0, (230, 230, 230), 2, cv2.LINE_AA)
    cv2.putText(image, "reads", (60, 100), 0, 1.0, (230, 230, 230), 2, cv2.LINE_AA)
    return image


def files_in(folder: Path) -> ModelFiles:
    return ModelFiles("english_g2", folder, "0123abcd", folder / "prepared")


@pytest.fixture(scope="module")
def reader(weights: Path) -> EasyOcrReader:
    return EasyOcrReader(files_in(weights))


def test_our_reading_is_easyocrs_own(
    weights: Path, reader: EasyOcrReader, tmp_path: Path, monkeypatch
) -> None:
    import easyocr
    from easyocr import config

    for models in (config.detection_models, config.recognition_models["gen2"]):
        for model in models.values():  # it compares with what it publishes
            if (path := weights / model["filename"]).exists():
                monkeypatch.setitem(model, "md5sum", hashlib.md5(path.read_bytes()).hexdigest())
    file = tmp_path / "picture.png"
    cv2.imwrite(str(file), picture()[:, :, ::-1])
    theirs = easyocr.Reader(
        ["en"], gpu=False, model_storage_directory=str(weights), download_enabled=False,
        user_network_directory=str(tmp_path), verbose=False,
    ).readtext(str(file))  # fmt: skip
    theirs = [(corners, " ".join(text.split()), sure) for corners, text, sure in theirs]
    theirs = [found for found in theirs if found[1]]
    ours = reader.read(picture())
    assert len(ours) == len(theirs) >= 2
    assert all(len(line.text) > 3 and line.confidence > 0.01 for line in ours)
    by_text = sorted(theirs, key=lambda found: found[1])
    for line, (corners, text, confidence) in zip(
        sorted(ours, key=lambda line: line.text), by_text, strict=True
    ):
        assert line.text == text
        assert line.confidence == pytest.approx(confidence, abs=1e-4)
        (x0, y0), (x1, y1) = np.min(corners, axis=0), np.max(corners, axis=0)
        assert line.box == pytest.approx((x0 / 320, y0 / 128, x1 / 320, y1 / 128), abs=1e-4)


def test_a_band_of_rows_is_read_alone(reader: EasyOcrReader) -> None:
    top = [line for line in reader.read(picture(), (0, 64))]
    assert top and all((line.box[1] + line.box[3]) / 2 < 0.5 for line in top)
    assert reader.read(np.zeros((8, 200, 3), np.uint8)) == []


def test_weights_that_would_run_code_are_refused(weights: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for path in weights.glob("*.pth"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / DETECTOR).open("wb") as file:
        pickle.dump({"module.x": Evil()}, file, protocol=2)
    with pytest.raises(ModelMissingError, match=DETECTOR):
        EasyOcrReader(files_in(tmp_path)).load()
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_named_with_the_way_out(tmp_path: Path) -> None:
    reader = EasyOcrReader(files_in(tmp_path), languages=["de"])
    with pytest.raises(ModelMissingError, match=r"latin_g2\.pth.*longtake models pull latin_g2"):
        reader.load()


@pytest.mark.parametrize(
    ("languages", "network"),
    [
        (["en"], "english_g2"),
        (["de", "en"], "latin_g2"),
        (["ru", "en"], "cyrillic_g2"),
        (["sr", "bg"], "cyrillic_g2"),
        (["sr-Latn"], "latin_g2"),
        (["zh"], "zh_sim_g2"),
        (["zh-Hant", "en"], "zh_tra_g1"),
        (["hi"], "devanagari_g1"),
    ],
)
def test_languages_choose_the_network(languages: list[str], network: str) -> None:
    assert recogniser_for(languages) == network


def test_an_unknown_language_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"xx.*Known: .*cyrillic"):
        EasyOcrReader(files_in(tmp_path), languages=["xx"])
    with pytest.raises(ConfigError, match=r"ja.*together with.*ko"):
        recogniser_for(["ja", "ko"])
    assert {"en", "zh", "ru", "hi"} <= set(known_languages())


def test_the_languages_that_rapidocr_is_said_to_read_are_in_its_alphabet() -> None:
    """Held against EasyOCR's lists of letters: at most one of 200 may be missing (rare signs)."""
    import easyocr
    import onnxruntime

    model = next((Path(rapidocr.__file__).parent / "models").glob("*_rec_*.onnx"))
    session = onnxruntime.InferenceSession(str(model))
    known = set("".join(session.get_modelmeta().custom_metadata_map["character"].splitlines()))
    lists = Path(easyocr.__file__).parent / "character"
    for language in set(LANGUAGES) & set(known_languages()) | {"zh", "zh-Hant"}:
        code = {"zh": "ch_sim", "zh-Hant": "ch_tra"}.get(language, language)
        if (file := lists / f"{code}_char.txt").exists():
            letters = set("".join(file.read_text("utf-8-sig").splitlines()))
            assert len(letters - known) <= len(letters) / 200, language


def test_every_network_that_languages_lead_to_can_be_pulled() -> None:
    from ingest.models.catalogue import known

    for language in known_languages():
        assert known(recogniser_for([language]), "easyocr") is not None


def test_the_engine_is_chosen_by_configuration(weights: Path) -> None:
    files = files_in(weights)
    settings = ScreenTextSettings(engine="easyocr", languages=("en",))
    channel = ScreenTextChannel(settings, reader=build_reader(settings, files))
    assert channel.describe()["reader"]["engine"] == "easyocr"
    assert channel.describe()["reader"]["models"]["digest"] == "0123abcd"
    assert ScreenTextChannel().describe()["reader"]["engine"] == "rapidocr"
    with pytest.raises(ModelMissingError, match="longtake models pull english_g2"):
        ScreenTextChannel(settings)
    with pytest.raises(ConfigError, match=r"ru.*Known: .*engine"):
        ScreenTextChannel(ScreenTextSettings(languages=("en", "ru")))
