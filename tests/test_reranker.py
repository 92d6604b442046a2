"""Cross-encoders: the library's own scores, whatever runs them and whatever shares their batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_reranker import tiny_reranker
from tiny_text import LINES

from index.errors import ConfigError, ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.reranker import TransformersReranker
from ingest.models.reranker_export import prepare
from ingest.models.reranker_onnx import OnnxReranker

ROOT = Path(__file__).resolve().parents[1]
QUERY = "who built the lighthouse"
TEXTS = [*LINES, "lamp", "", "Every stone. " * 30, "月亮 und \udcff the moon ½"]


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def files(request, tmp_path_factory) -> ModelFiles:
    files = tiny_reranker(tmp_path_factory.mktemp(request.param), request.param)
    prepare(files)
    return files


def by_hand(files: ModelFiles, query: str, text: str) -> float:
    """One pair through transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        files.folder, dtype=torch.float32
    ).eval()
    text = text.encode(errors="replace").decode()
    inputs = tokenizer([query], [text], truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        return torch.sigmoid(model(**inputs).logits[0, 0]).item()


def test_scores_are_those_of_transformers(files):
    scores = TransformersReranker(files, device="cpu").scores(QUERY, TEXTS)
    assert scores.dtype == np.float32 and scores.shape == (len(TEXTS),)
    assert np.ptp(scores) > 0.1  # they do tell texts apart
    for text, score in zip(TEXTS, scores, strict=True):
        assert abs(score - by_hand(files, QUERY, text)) < 1e-4


def test_scores_are_those_of_sentence_transformers(files):
    import torch
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(files.folder), device="cpu", max_length=64)
    pairs = [(QUERY, text) for text in LINES]
    wanted = theirs.predict(pairs, activation_fn=torch.nn.Sigmoid())
    assert (
        np.abs(TransformersReranker(files, device="cpu").scores(QUERY, LINES) - wanted).max() < 1e-4
    )


def test_what_was_prepared_gives_the_same_scores(files):
    ours = OnnxReranker(files)
    assert ours.name == files.name
    wanted = TransformersReranker(files, device="cpu").scores(QUERY, TEXTS)
    assert np.abs(ours.scores(QUERY, TEXTS) - wanted).max() < 1e-4
    assert ours.scores(QUERY, []).shape == (0,)
    short = TransformersReranker(files, device="cpu", max_tokens=16).scores(QUERY, TEXTS)
    assert np.abs(OnnxReranker(files, max_tokens=16).scores(QUERY, TEXTS) - short).max() < 1e-4


def test_a_score_does_not_depend_on_what_shares_its_batch(files):
    for reranker in (TransformersReranker(files, device="cpu"), OnnxReranker(files)):
        together = reranker.scores(QUERY, TEXTS)
        alone = np.concatenate([reranker.scores(QUERY, [text]) for text in TEXTS])
        assert np.abs(together - alone).max() < 1e-4


def test_eight_bits_are_near(tmp_path):
    files = tiny_reranker(tmp_path)
    assert prepare(files, int8=True)["difference"] < 0.15
    wanted = TransformersReranker(files, device="cpu").scores(QUERY, TEXTS)
    assert np.abs(OnnxReranker(files).scores(QUERY, TEXTS) - wanted).max() < 0.15


def test_a_model_of_several_classes_is_no_reranker(tmp_path):
    files = tiny_reranker(tmp_path, labels=3)
    with pytest.raises(ConfigError, match="3 classes"):
        TransformersReranker(files, device="cpu")


def test_what_is_missing_is_named_with_the_way_out(tmp_path):
    files = tiny_reranker(tmp_path)
    with pytest.raises(ModelMissingError, match="longtake models prepare"):
        OnnxReranker(files)
    prepare(files)
    other = ModelFiles(files.name, files.folder, "another", files.prepared)
    with pytest.raises(ModelMissingError, match="other weights"):
        OnnxReranker(other)
    (files.prepared / "reranker.json").write_text("{")
    with pytest.raises(ModelMissingError, match="longtake models prepare"):
        OnnxReranker(files)
    (files.folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissingError, match="longtake models pull"):
        TransformersReranker(files, device="cpu")


def test_what_was_prepared_runs_without_torch(files):
    code = f"""
import json, sys
from pathlib import Path
from ingest.models.files import ModelFiles
from ingest.models.reranker_onnx import OnnxReranker
files = ModelFiles({files.name!r}, Path({str(files.folder)!r}), {files.digest!r}, Path({str(files.prepared)!r}))
OnnxReranker(files).scores("a", ["b"])
print(json.dumps([name for name in ("torch", "transformers") if name in sys.modules]))
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr
