"""Text encoders: the library's own vectors, whatever runs them and whatever shares their batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minilm import minilm_files
from tiny_text import LINES, tiny_encoder

from index.errors import ConfigError, ModelMissingError
from ingest.models import text_export
from ingest.models.files import ModelFiles
from ingest.models.text_encoder import TransformersTextEncoder
from ingest.models.text_export import prepare
from ingest.models.text_onnx import OnnxTextEncoder
from ingest.models.text_recipe import read_recipe
from ingest.models.text_tokens import PieceTokenizer

ROOT = Path(__file__).resolve().parents[1]

TEXTS = [*LINES, "lamp", "", "Every stone. " * 30, "月亮 und \udcff the moon ½"]


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def e5(tmp_path_factory) -> ModelFiles:
    """Of the shape of multilingual-e5: its tokenizer is a unigram model, its prefixes are in no
    file but follow from the name."""
    files = tiny_encoder(
        tmp_path_factory.mktemp("e5"), "xlm-roberta", name="intfloat/multilingual-e5-tiny-base"
    )
    prepare(files)
    return files


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> ModelFiles:
    files = minilm_files(tmp_path_factory.mktemp("minilm") / "prepared")
    prepare(files)
    return files


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_hand(files: ModelFiles, text: str, pooling: str = "mean", most: int = 24) -> np.ndarray:
    """One text through transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModel.from_pretrained(files.folder, dtype=torch.float32).eval()
    clean = text.encode(errors="replace").decode()
    inputs = tokenizer(clean, truncation=True, max_length=most, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state[0]
    pooled = {
        "mean": tokens.mean(0),
        "cls": tokens[0],
        "max": tokens.max(0).values,
        "lasttoken": tokens[-1],
        "mean_sqrt_len_tokens": tokens.sum(0) / len(tokens) ** 0.5,
    }[pooling]
    return (pooled / pooled.norm()).numpy()


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("bert", "mean"),
        ("bert", "max"),
        ("bert", "mean_sqrt_len_tokens"),
        ("xlm-roberta", "cls"),
        ("qwen3", "lasttoken"),
    ],
)
def test_vectors_are_those_of_transformers_and_its_pooling(tmp_path, kind, pooling):
    files = tiny_encoder(tmp_path, kind, pooling=pooling)
    encoder = TransformersTextEncoder(files, device="cpu")
    vectors = encoder.encode_passages(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), encoder.size)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.abs(vector - by_hand(files, text, pooling)).max() < 1e-4


@pytest.mark.parametrize("options", [{"dense": 20}, {"pooling": ("cls", "mean")},
                                     {"pooling": "weightedmean"}])  # fmt: skip
def test_vectors_are_those_of_sentence_transformers(tmp_path, options):
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "ask: ", "document": "told: "}
    files = tiny_encoder(tmp_path, **options, prompts=prompts)
    encoder = TransformersTextEncoder(files, device="cpu")
    theirs = SentenceTransformer(str(files.folder), device="cpu")
    assert np.abs(encoder.encode_queries(LINES) - theirs.encode_query(LINES)).max() < 1e-4
    assert np.abs(encoder.encode_passages(LINES) - theirs.encode_document(LINES)).max() < 1e-4


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_what_was_prepared_gives_the_same_vectors(tmp_path, kind):
    pooling = "lasttoken" if kind == "qwen3" else "mean"
    files = tiny_encoder(tmp_path, kind, pooling=pooling, dense=20)
    record = prepare(files)
    assert record["cosine"] > 0.9999
    torch_one, ours = TransformersTextEncoder(files, device="cpu"), OnnxTextEncoder(files)
    assert (ours.space, ours.size) == (torch_one.space, torch_one.size)
    assert np.abs(torch_one.encode_queries(TEXTS) - ours.encode_queries(TEXTS)).max() < 1e-4
    assert np.abs(torch_one.encode_passages(TEXTS) - ours.encode_passages(TEXTS)).max() < 1e-4


def test_a_vector_does_not_depend_on_what_shares_its_batch(e5):
    for encoder in (TransformersTextEncoder(e5, device="cpu"), OnnxTextEncoder(e5)):
        together = encoder.encode_passages(TEXTS)
        alone = np.concatenate([encoder.encode_passages([text]) for text in TEXTS])
        assert np.abs(together - alone).max() < 1e-4
        assert np.abs(encoder.encode_passages(TEXTS[::-1])[::-1] - together).max() < 1e-4
        assert encoder.encode_passages([]).shape == (0, encoder.size)


def test_little_of_a_batch_is_padding():
    from ingest.models.text_batches import encode_by_length

    lengths = np.random.default_rng(0).integers(3, 200, 500)
    computed = 0

    def forward(ids, mask):
        nonlocal computed
        computed += ids.size
        assert ids.size <= 2048
        return mask.sum(1, keepdims=True).astype(np.float32)

    encode_by_length([[1] * n for n in lengths], forward, size=1, pad=0, most_tokens=2048)
    assert computed < 1.1 * lengths.sum()


# Prefixes


@pytest.mark.parametrize(
    ("name", "query", "passage"),
    [
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("BAAI/bge-m3", "", ""),
        ("BAAI/bge-base-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("Snowflake/snowflake-arctic-embed-m", 
         "Represent this sentence for searching relevant passages: ", ""),
        ("thenlper/gte-base", "", ""),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
    ],
)  # fmt: skip
def test_a_family_gets_the_prefixes_it_was_trained_with(tmp_path, name, query, passage):
    # Saving with sentence-transformers leaves empty prompts behind; they say nothing.
    files = tiny_encoder(tmp_path, name=name, prompts={"query": "", "document": ""})
    recipe = read_recipe(files)
    assert (recipe.query_prefix, recipe.passage_prefix) == (query, passage)


def test_instructions_come_before_the_query_alone(tmp_path):
    for name in ("intfloat/multilingual-e5-large-instruct", "Qwen/Qwen3-Embedding-0.6B"):
        recipe = read_recipe(tiny_encoder(tmp_path / name, name=name))
        assert recipe.query_prefix.startswith("Instruct: Given a web search query")
        assert recipe.passage_prefix == ""


def test_the_models_own_prompts_come_before_the_family_and_the_settings_before_both(tmp_path):
    prompts = {"query": "ask: ", "document": "told: "}
    files = tiny_encoder(tmp_path, name="intfloat/e5-small", prompts=prompts)
    assert read_recipe(files).query_prefix == "ask: "
    recipe = read_recipe(files, query_prefix="", passage_prefix="said: ")
    assert (recipe.query_prefix, recipe.passage_prefix) == ("", "said: ")
    encoder = TransformersTextEncoder(files, device="cpu")
    plain = TransformersTextEncoder(files, device="cpu", query_prefix="", passage_prefix="")
    assert np.allclose(
        encoder.encode_queries(["the moon"]), plain.encode_queries(["ask: the moon"]), atol=1e-5
    )
    assert np.allclose(
        encoder.encode_passages(["the moon"]), plain.encode_passages(["told: the moon"]), atol=1e-5
    )


# Tokens without the whole vocabulary


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.sampled_from("abcdehilmnorstuwyACé ▁:.,?½月ﬁ\n'-")), st.integers(4, 30))
def test_pieces_looked_up_give_the_tokens_of_the_whole_tokenizer(e5, text, most):
    from tokenizers import Tokenizer

    pieces = PieceTokenizer(e5.prepared)
    whole = Tokenizer.from_file(str(e5.prepared / "tokenizer.json"))
    whole.enable_truncation(most)
    for asked in (text, f"query: {text}", f"The lighthouse{text}"):
        assert pieces.encode(asked, most) == whole.encode(asked).ids


def test_special_tokens_in_a_query_are_left_to_the_whole_tokenizer(e5):
    assert PieceTokenizer(e5.prepared).encode("what is </s> in HTML?", 24) is None
    ours, theirs = OnnxTextEncoder(e5), TransformersTextEncoder(e5, device="cpu")
    query = ["what is </s> in HTML?"]
    assert np.abs(ours.encode_queries(query) - theirs.encode_queries(query)).max() < 1e-4


# Real weights


PARAPHRASES = [
    ("A man is playing the guitar on a stage.", "Somebody makes music with a stringed instrument."),
    ("The stock market fell sharply today.", "Share prices dropped a lot."),
    ("How do I take a screenshot?", "Capturing an image of your display."),
    ("The doctor examined the child.", "A physician looked at a young patient."),
]  # fmt: skip


def test_real_weights_put_paraphrases_nearer_than_strangers(minilm):
    encoder = OnnxTextEncoder(minilm)
    queries = encoder.encode_queries([one for one, _ in PARAPHRASES])
    passages = encoder.encode_passages([other for _, other in PARAPHRASES])
    cosines = queries @ passages.T
    assert (cosines.argmax(1) == np.arange(len(PARAPHRASES))).all()
    related = np.diag(cosines)
    unrelated = cosines[~np.eye(len(PARAPHRASES), dtype=bool)]
    assert related.min() > unrelated.max()
    assert abs(encoder.unrelated_cosine) < 0.15


def test_real_weights_without_torch_are_those_with_it(minilm):
    texts = [*text_export.SAMPLES, *text_export.SUBJECTS]
    with_torch = TransformersTextEncoder(minilm, device="cpu").encode_passages(texts)
    without = OnnxTextEncoder(minilm).encode_passages(texts)
    assert np.abs(with_torch - without).max() < 1e-4


def test_eight_bits_are_a_quarter_of_the_size_and_their_loss_is_written_down(minilm, tmp_path):
    small = ModelFiles(minilm.name, minilm.folder, minilm.digest, tmp_path / "small")
    record = prepare(small, int8=True)
    assert 0.95 < record["cosine"] < 1.0
    assert json.loads((small.prepared / "encoder.json").read_text())["cosine"] == record["cosine"]
    whole = (minilm.prepared / "model.onnx.data").stat().st_size
    assert (small.prepared / "model.onnx.data").stat().st_size < 0.3 * whole
    texts = text_export.SUBJECTS
    eight = OnnxTextEncoder(small).encode_queries(texts)
    assert np.sum(eight * OnnxTextEncoder(minilm).encode_queries(texts), axis=1).min() > 0.95


LOADED = """
import json, sys
from pathlib import Path
from ingest.models.files import ModelFiles
from ingest.models.text_onnx import OnnxTextEncoder
name, folder, digest, prepared = sys.argv[1:]
encoder = OnnxTextEncoder(ModelFiles(name, Path(folder), digest, Path(prepared)))
encoder.encode_queries(["the moon"])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_query_needs_neither_torch_nor_transformers(e5):
    arguments = [e5.name, str(e5.folder), e5.digest, str(e5.prepared)]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stdout)) & {"torch", "transformers", "onnx"}


# What goes wrong


def test_a_graph_that_disagrees_with_torch_is_refused_and_the_old_one_stays(
    e5, tmp_path, monkeypatch
):
    files = ModelFiles(e5.name, e5.folder, e5.digest, tmp_path / "prepared")
    files.prepared.mkdir()
    (files.prepared / "mark").touch()
    monkeypatch.setattr(text_export, "LEAST_COSINE", 1.1)  # which no cosine exceeds
    with pytest.raises(ModelMissingError, match="other vectors once prepared"):
        prepare(files)
    assert os.listdir(tmp_path) == ["prepared"]
    assert os.listdir(files.prepared) == ["mark"]


def test_what_is_missing_is_named_with_the_way_out(tmp_path, e5):
    nowhere = ModelFiles("somebody/gone", tmp_path / "gone", "00", tmp_path / "prepared")
    with pytest.raises(ModelMissingError, match="longtake models pull somebody/gone"):
        TransformersTextEncoder(nowhere)
    with pytest.raises(ModelMissingError, match="longtake models prepare somebody/gone"):
        OnnxTextEncoder(nowhere)
    others = ModelFiles(e5.name, e5.folder, "ffff", e5.prepared)
    with pytest.raises(ModelMissingError, match="other weights"):
        OnnxTextEncoder(others)


def test_weights_that_are_not_all_there_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    files = tiny_encoder(tmp_path)
    path = files.folder / "model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if "layer.1" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, path, {"format": "pt"})
    with pytest.raises(ModelMissingError, match="lack"):
        TransformersTextEncoder(files, device="cpu")


def test_pickled_weights_are_refused(tmp_path):
    import torch
    from safetensors.torch import load_file

    files = tiny_encoder(tmp_path)
    path = files.folder / "model.safetensors"
    torch.save(load_file(path), files.folder / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(ModelMissingError, match="safetensors"):
        TransformersTextEncoder(files, device="cpu")


def test_damage_to_what_was_prepared_is_told(e5, tmp_path):
    import shutil

    for name in ("encoder.json", "model.onnx", "vocabulary.npy"):
        files = ModelFiles(e5.name, e5.folder, e5.digest, tmp_path / name)
        shutil.copytree(e5.prepared, files.prepared)
        (files.prepared / name).write_bytes(b"nonsense")
        with pytest.raises(ModelMissingError, match="longtake models prepare"):
            OnnxTextEncoder(files)


def test_a_model_with_an_unknown_part_is_refused_by_name(tmp_path):
    files = tiny_encoder(tmp_path)
    modules = json.loads((files.folder / "modules.json").read_text())
    modules[-1]["type"] = "sentence_transformers.models.LSTM"
    (files.folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match="LSTM"):
        read_recipe(files)
