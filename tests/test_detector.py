"""Things in pictures by their names: the library's own boxes, in 0..1 of the picture whatever the
model pads, and what they say in words. The models are tiny and random, built by the library."""

from __future__ import annotations

import shutil

import clips
import numpy as np
import pytest
from tiny_detectors import tiny_grounding_dino, tiny_owlv2

from index.errors import ModelMissingError
from ingest.models.detector import (
    Detection,
    OpenVocabularyDetector,
    describe_detector,
    suppress,
)
from ingest.models.files import ModelFiles
from ingest.models.places import as_text, number_and_place, place

CLASSES = ("person", "red car", "bottle")


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def owlv2(tmp_path_factory) -> ModelFiles:
    return tiny_owlv2(tmp_path_factory.mktemp("owlv2") / "model")


@pytest.fixture(scope="module")
def dino(tmp_path_factory) -> ModelFiles:
    return tiny_grounding_dino(tmp_path_factory.mktemp("dino") / "model")


@pytest.fixture(scope="module", params=["owlv2", "dino"])
def detector(request) -> OpenVocabularyDetector:
    files = request.getfixturevalue(request.param)
    return OpenVocabularyDetector(files, device="cpu", overlap=1.0)


def pictures() -> list[np.ndarray]:
    """Wide, high and square: the padding differs."""
    sizes = ((160, 90), (90, 160), (64, 64))
    return [clips.noise_picture(n, *size) for n, size in enumerate(sizes)]


def test_owlv2_finds_what_the_library_finds(owlv2):
    import torch
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    processor = Owlv2Processor.from_pretrained(owlv2.folder)
    model = Owlv2ForObjectDetection.from_pretrained(owlv2.folder).eval()
    detector = OpenVocabularyDetector(owlv2, device="cpu", overlap=1.0)
    for image in pictures():
        prompts = [[f"a photo of a {name}" for name in CLASSES]]
        inputs = processor(text=prompts, images=[image], return_tensors="pt", truncation=True)
        with torch.inference_mode():
            outputs = model(**inputs)
        (expected,) = processor.post_process_grounded_object_detection(
            outputs, threshold=0.0, target_sizes=[image.shape[:2]], text_labels=[CLASSES]
        )
        height, width = image.shape[:2]
        boxes = expected["boxes"].numpy() / np.array([width, height, width, height])
        kept = np.clip(boxes, 0, 1)
        kept = (kept[:, 2] > kept[:, 0]) & (kept[:, 3] > kept[:, 1])
        assert_same(
            detector.detect([image], CLASSES, threshold=0.0)[0],
            np.array(expected["text_labels"])[kept],
            boxes[kept],
            expected["scores"].numpy()[kept],
        )


def test_grounding_dino_finds_what_the_library_finds(dino):
    import torch
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    processor = GroundingDinoProcessor.from_pretrained(dino.folder)
    model = GroundingDinoForObjectDetection.from_pretrained(dino.folder).eval()
    detector = OpenVocabularyDetector(dino, device="cpu", overlap=1.0)
    for image in pictures():
        inputs = processor(images=[image], text=[list(CLASSES)], return_tensors="pt")
        # [CLS] person . red car . bottle . [SEP]
        assert inputs["input_ids"].tolist() == [
            [101, 1030, 1012, 1031, 1032, 1012, 1033, 1012, 102]
        ]
        with torch.inference_mode():
            outputs = model(**inputs)
        (expected,) = processor.post_process_grounded_object_detection(
            outputs, threshold=0.0, target_sizes=[image.shape[:2]]
        )
        height, width = image.shape[:2]
        boxes = expected["boxes"].numpy() / np.array([width, height, width, height])
        tokens = torch.sigmoid(outputs.logits)[0].numpy()
        scores = np.stack([tokens[:, 1], tokens[:, 3:5].max(1), tokens[:, 6]], 1)
        assert (scores.max(1) <= expected["scores"].numpy() + 1e-6).all()
        assert_same(
            detector.detect([image], CLASSES, threshold=0.0)[0],
            np.array(CLASSES)[scores.argmax(1)],
            boxes,
            scores.max(1),
        )


def assert_same(found: list[Detection], labels, boxes, scores) -> None:
    """To 1e-4, in any order of what is equally sure."""
    assert len(found) == len(labels) > 5
    boxes = np.clip(boxes, 0, 1)
    theirs = sorted(
        (label, *map(float, box), float(score))
        for label, box, score in zip(labels, boxes, scores, strict=True)
    )
    ours = sorted((one.label, *one.box, one.confidence) for one in found)
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    np.testing.assert_allclose(
        np.array([row[1:] for row in ours]), np.array([row[1:] for row in theirs]), atol=1e-4
    )
    assert [one.confidence for one in found] == sorted(scores, reverse=True) or np.allclose(
        [one.confidence for one in found], sorted(scores, reverse=True), atol=1e-4
    )


def test_a_batch_finds_what_pictures_of_one_size_give_one_by_one(detector):
    images = [clips.noise_picture(n, 160, 90) for n in range(4)]
    together = detector.detect(images, CLASSES, threshold=0.0)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image], CLASSES, threshold=0.0)
        assert_same(
            found,
            [one.label for one in alone],
            np.array([one.box for one in alone]),
            np.array([one.confidence for one in alone]),
        )


def test_pictures_of_any_size_go_into_one_batch(detector):
    odd = [*pictures(), clips.solid((0, 0, 0), 1, 1), clips.solid((9, 9, 9), 300, 20)]
    found = detector.detect(odd, CLASSES, threshold=0.0)
    assert len(found) == 5
    for one in (one for each in found for one in each):
        x0, y0, x1, y1 = one.box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and 0 <= one.confidence <= 1


def test_a_threshold_keeps_what_is_surer(detector):
    (everything,) = detector.detect(pictures()[:1], CLASSES, threshold=0.0)
    least = everything[len(everything) // 2].confidence
    (some,) = detector.detect(pictures()[:1], CLASSES, threshold=least)
    assert some == [one for one in everything if one.confidence > least]
    assert detector.detect(pictures(), CLASSES, threshold=1.0) == [[], [], []]


def test_no_classes_or_no_pictures_find_nothing(detector):
    assert detector.detect(pictures(), ()) == [[], [], []]
    assert detector.detect(pictures(), ("", "  ")) == [[], [], []]
    assert detector.detect([], CLASSES) == []


def test_more_classes_than_one_caption_holds_are_all_asked_for(dino):
    detector = OpenVocabularyDetector(dino, device="cpu", overlap=1.0)
    many = [f"thing {letter}{letter}" for letter in "abcdefgh"] + ["person"]
    few = detector.detect(pictures()[:1], many[:2], threshold=0.0)[0]
    found = detector.detect(pictures()[:1], many, threshold=0.0)[0]
    assert len(found) > len(few)  # every caption proposes boxes of its own
    assert {one.label for one in found} <= set(many)
    longer = detector.detect(pictures()[:1], ["word " * 200, "person"], threshold=0.0)
    assert longer[0]


def test_a_full_stop_does_not_cut_a_class_in_two(dino):
    detector = OpenVocabularyDetector(dino, device="cpu", overlap=1.0)
    (plain,) = detector.detect(pictures()[:1], ["red car", "person"], threshold=0.0)
    (dotted,) = detector.detect(pictures()[:1], ["Red. Car?", "PERSON"], threshold=0.0)
    assert [(one.box, one.confidence) for one in plain] == [
        (one.box, one.confidence) for one in dotted
    ]
    assert {one.label for one in dotted} <= {"Red. Car?", "PERSON"}


def test_boxes_of_one_thing_found_twice_become_one():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.02, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0.5, 0.5]])
    labels = np.array([0, 0, 0, 1])
    kept = suppress(boxes, labels, np.array([1, 0, 2, 3]), 0.6)
    assert kept.tolist() == [1, 2, 3]
    assert suppress(boxes, labels, np.arange(4), 1.0).tolist() == [0, 1, 2, 3]
    assert suppress(boxes, labels, np.arange(0), 0.6).tolist() == []


# What boxes say


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((0.0, 0.0, 0.2, 0.2), "top left"),
        ((0.4, 0.4, 0.6, 0.6), "center"),
        ((0.0, 0.3, 1.0, 0.7), "center"),
        ((0.9, 0.4, 1.0, 0.6), "right"),
        ((0.3, 0.9, 0.7, 1.0), "bottom"),
        ((1.0, 1.0, 1.0, 1.0), "bottom right"),
    ],
)
def test_a_place_has_a_word(box, word):
    assert place(box) == word


def test_number_and_place_of_each_thing():
    seen = [
        Detection("bottle", (0.4, 0.4, 0.6, 0.6), 0.9),
        Detection("person", (0.0, 0.3, 0.2, 0.7), 0.8),
        Detection("bottle", (0.8, 0.0, 1.0, 0.2), 0.3),
    ]
    bottles, person = number_and_place(seen)
    assert (bottles.label, bottles.count, bottles.places) == ("bottle", 2, ("center", "top right"))
    assert (person.label, person.count, person.places) == ("person", 1, ("left",))
    assert as_text(seen) == "bottle × 2 (center, top right); person × 1 (left)"
    assert as_text([]) == ""


# What is not there


@pytest.fixture
def spoilt(owlv2, tmp_path) -> ModelFiles:
    folder = shutil.copytree(owlv2.folder, tmp_path / "model")
    return ModelFiles(owlv2.name, folder, owlv2.digest, tmp_path / "prepared")


def test_a_pickle_is_refused_with_the_reason(spoilt):
    (spoilt.folder / "model.safetensors").unlink()
    (spoilt.folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelMissingError, match=r"pytorch_model\.bin, a pickle"):
        OpenVocabularyDetector(spoilt)


def test_another_kind_of_model_is_refused_by_name(spoilt):
    (spoilt.folder / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ModelMissingError, match=r"'detr'.*owlv2 or grounding-dino"):
        OpenVocabularyDetector(spoilt)


def test_what_is_missing_is_named(spoilt):
    for name in ("tokenizer.json", "vocab.json"):
        (spoilt.folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelMissingError, match=r"no tokenizer.*longtake models pull tiny/owlv2"):
        OpenVocabularyDetector(spoilt)


def test_what_it_will_be_is_known_without_loading_it(owlv2, dino):
    assert describe_detector(owlv2)["family"] == "owlv2"
    assert describe_detector(dino)["family"] == "grounding-dino"
    assert describe_detector(dino)["digest"] == dino.digest
