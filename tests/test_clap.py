"""Sounds and words by CLAP: the library's own vectors, the same every time, without torch for
queries. The models are tiny and random, built by the library's own classes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_clap import RATE, WORDS, tiny_clap

from index.errors import ModelMissingError
from ingest.models.clap import ClapEncoder, describe_clap
from ingest.models.clap_export import PROBES, prepare
from ingest.models.clap_onnx import OnnxClapText
from ingest.models.files import ModelFiles

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> ModelFiles:
    return tiny_clap(tmp_path_factory.mktemp("clap") / "model")


@pytest.fixture(scope="module")
def fused(tmp_path_factory) -> ModelFiles:
    return tiny_clap(tmp_path_factory.mktemp("fused") / "model", fused=True)


@pytest.fixture(scope="module")
def encoder(files) -> ClapEncoder:
    return ClapEncoder(files, device="cpu")


@pytest.fixture(scope="module", params=["unfused", "fused"])
def either(request) -> tuple[ModelFiles, ClapEncoder]:
    files = request.getfixturevalue("files" if request.param == "unfused" else "fused")
    return files, ClapEncoder(files, device="cpu")


@pytest.fixture(scope="module")
def prepared(files) -> tuple[ModelFiles, dict, list[str]]:
    steps: list[str] = []
    return files, dict(prepare(files, progress=steps.append)), steps


@pytest.fixture
def spoilt(prepared, tmp_path) -> ModelFiles:
    """A copy of what was prepared, to be spoilt."""
    files, _, _ = prepared
    return ModelFiles(
        files.name, files.folder, files.digest, shutil.copytree(files.prepared, tmp_path / "made")
    )


def sounds() -> list[np.ndarray]:
    """Whole windows, shorter ones, and one of a single sample."""
    random = np.random.default_rng(1)
    lengths = (2 * RATE, 2 * RATE, RATE, 30_001, 1)
    return [random.normal(0, 0.2, n).astype(np.float32) for n in lengths]


def test_the_vectors_are_the_librarys_own(either):
    import torch
    from transformers import ClapModel, ClapProcessor

    files, encoder = either
    model = ClapModel.from_pretrained(files.folder).eval()
    processor = ClapProcessor.from_pretrained(files.folder)
    inputs = processor(audio=sounds(), sampling_rate=RATE, return_tensors="pt")
    inputs["is_longer"] = torch.zeros((len(sounds()), 1), dtype=torch.bool)
    with torch.inference_mode():
        expected = model.get_audio_features(**inputs).pooler_output.numpy()
        tokens = processor(
            text=list(WORDS), return_tensors="pt", padding=True, truncation=True, max_length=64
        )
        words = model.get_text_features(**tokens).pooler_output.numpy()
    heard = encoder.encode_audio(sounds())
    assert heard.shape == (5, 24) and heard.dtype == np.float32
    np.testing.assert_allclose(heard, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(heard, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(WORDS), words, atol=1e-4)


def test_a_window_has_one_vector_whatever_it_is_encoded_with(either):
    """The library rolls dice here: over where to crop, and over which one counts as long."""
    _, encoder = either
    np.random.seed(None)
    alone = np.concatenate([encoder.encode_audio([sound]) for sound in sounds()])
    for _ in range(3):
        np.testing.assert_allclose(encoder.encode_audio(sounds()), alone, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-4


@pytest.mark.parametrize("shape", [(0,), (2 * RATE + 1,), (1, RATE)])
def test_a_window_of_another_length_is_refused(encoder, shape):
    with pytest.raises(ValueError, match="96000"):
        encoder.encode_audio([np.zeros(shape, np.float32)])


def test_nothing_in_nothing_out(encoder):
    assert encoder.encode_audio([]).shape == (0, 24)
    assert encoder.encode_queries([]).shape == (0, 24)


def test_what_it_will_be_is_known_without_loading_it(files, encoder):
    described = describe_clap(files)
    assert (described["space"], described["size"]) == (encoder.space, encoder.size)
    assert encoder.space == "sound.tiny-clap.01234567"
    assert (described["sample_rate"], described["window_seconds"]) == (RATE, 2.0)


# Queries without torch


def test_what_was_prepared_when_the_format_was_called_code_is_still_read(spoilt):
    path = spoilt.prepared / "clap_text.json"
    facts = json.loads(path.read_text())
    facts["code"] = facts.pop("format")
    path.write_text(json.dumps(facts))
    assert OnnxClapText(spoilt).encode_queries(WORDS).shape == (len(WORDS), 24)
    path.write_text(json.dumps({**facts, "code": 0}))
    with pytest.raises(ModelMissingError, match="was made by another Longtake"):
        OnnxClapText(spoilt)


def test_the_exported_tower_gives_the_same_vectors(prepared, encoder):
    files, facts, steps = prepared
    assert facts["cosine"] > 0.999 and not facts["int8"] and len(steps) == 3
    exported = OnnxClapText(files)
    assert (exported.space, exported.size) == (encoder.space, encoder.size)
    np.testing.assert_allclose(
        exported.encode_queries(WORDS), encoder.encode_queries(WORDS), atol=1e-4
    )
    assert exported.encode_queries(["applause"] * 70).shape == (70, 24)
    assert exported.encode_queries([]).shape == (0, 24)
    left = sorted(path.name for path in files.prepared.iterdir())
    assert left == ["clap_text.json", "clap_text.onnx", "clap_tokenizer.json"]


def test_eight_bits_are_smaller_and_say_what_they_cost(prepared, spoilt, encoder):
    whole = (spoilt.prepared / "clap_text.onnx").stat().st_size
    facts = prepare(spoilt, int8=True)
    assert (spoilt.prepared / "clap_text.onnx").stat().st_size < whole
    vectors = OnnxClapText(spoilt).encode_queries(PROBES)
    cosines = np.sum(vectors * encoder.encode_queries(PROBES), axis=1)
    assert facts["int8"] and facts["cosine"] == pytest.approx(cosines.min(), abs=1e-6)
    assert 0.9 < facts["cosine"] < 1


def test_what_was_prepared_from_other_weights_is_not_used(spoilt):
    other = ModelFiles(spoilt.name, spoilt.folder, "f" * 16, spoilt.prepared)
    with pytest.raises(ModelMissingError, match="longtake models prepare tiny/clap"):
        OnnxClapText(other)


def test_what_was_prepared_by_halves_is_not_used(spoilt):
    network = spoilt.prepared / "clap_text.onnx"
    network.write_bytes(network.read_bytes()[:1000])
    with pytest.raises(ModelMissingError, match="cannot be opened"):
        OnnxClapText(spoilt)
    (spoilt.prepared / "clap_text.json").unlink()
    with pytest.raises(ModelMissingError, match="is not prepared"):
        OnnxClapText(spoilt)


def test_a_query_loads_no_torch(prepared):
    files, _, _ = prepared
    program = f"""
import sys
from pathlib import Path
from ingest.models.clap_onnx import OnnxClapText
from ingest.models.files import ModelFiles
assert not {{"onnxruntime", "tokenizers"}} & set(sys.modules)
files = ModelFiles("tiny/clap", Path({str(files.folder)!r}), {files.digest!r},
                   Path({str(files.prepared)!r}))
assert OnnxClapText(files).encode_queries(["applause"]).shape == (1, 24)
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


# What is not there


@pytest.fixture
def copy(files, tmp_path) -> ModelFiles:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in files.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return ModelFiles(files.name, folder, files.digest, tmp_path / "prepared")


def test_a_pickle_is_refused_with_the_reason(copy):
    (copy.folder / "model.safetensors").unlink()
    (copy.folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(
        ModelMissingError, match=r"pytorch_model\.bin, a pickle.*runs whatever code"
    ):
        ClapEncoder(copy)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "preprocessor_config.json", "tokenizer"]
)
def test_a_missing_file_is_named_with_the_way_out(copy, name):
    lost = {"tokenizer": ("tokenizer.json", "vocab.json", "merges.txt")}.get(name, (name,))
    for path in lost:
        (copy.folder / path).unlink(missing_ok=True)
    with pytest.raises(ModelMissingError, match="longtake models pull tiny/clap"):
        ClapEncoder(copy)


def test_the_layout_that_the_library_saves_today_is_read_too(copy, encoder):
    from transformers import ClapProcessor

    ClapProcessor.from_pretrained(copy.folder).save_pretrained(copy.folder)
    (copy.folder / "preprocessor_config.json").unlink()
    again = ClapEncoder(copy, device="cpu")
    np.testing.assert_array_equal(again.encode_audio(sounds()), encoder.encode_audio(sounds()))


def test_weights_that_were_cut_short_do_not_load(copy):
    weights = copy.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelMissingError, match="do not load"):
        ClapEncoder(copy)


def test_weights_that_lack_a_part_are_not_filled_with_noise(copy):
    from safetensors.numpy import load_file, save_file

    path = copy.folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_projection.linear1.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelMissingError, match=r"lack 1 parts: text_projection\.linear1\.weight"):
        ClapEncoder(copy)


def test_another_kind_of_model_is_refused(copy):
    config = json.loads((copy.folder / "config.json").read_text())
    (copy.folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ModelMissingError, match=r"'bert', not a CLAP"):
        describe_clap(copy)
