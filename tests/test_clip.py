"""Picture and text encoders: open_clip's own vectors, with torch and without.

Models are tiny and random, made with open_clip's own classes and saved in its own format.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unicodedata import ucd_3_2_0

import numpy as np
import pytest
from tiny_clip import CLIP, SIGLIP, save_clip

from index.errors import ModelMissingError
from ingest.models import clip_export
from ingest.models.clip import OpenClipEncoder
from ingest.models.clip_export import PROBES, prepare
from ingest.models.clip_onnx import OnnxImageEncoder, OnnxTextEncoder
from ingest.models.clip_pictures import Preprocess
from ingest.models.files import ModelFiles
from ingest.models.preparing import whole_folder

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

SIGLIP_PICTURES = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}

TEXTS = (
    *PROBES,
    "don't you'll WE'VE O'Neill's  rock'n'roll",
    "x" * 300,
    "１２３ ²³ Ⅷ ½ 42nd",
    "ﷺ ︎\u200d\u00ad\ufeff zero\u200bwidth",
    "ça và où — naïve coöperation ĲSSEL straße İstanbul ſ",
    "<start_of_text> a dog <end_of_text>",
    "日本語とEnglishが混ざった文 한국어 ไทย ქართული Ελληνικά",
    "https://example.org/a?b=c&amp;d=%20 #tag @name $5",
    "\x00\x07 control \x1b[31mred\x1b[0m",
    "𝓕𝓪𝓷𝓬𝔂 𝕿𝖊𝖝𝖙 🤷🏿‍♂️ ✈️",
    "&lt;br&gt; &amp;amp; &eacute;t&eacute;",
    "   ",
)


def save_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer made like Gemma's, which SigLIP 2 uses: byte-pair with bytes to fall back on."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(PROBES[1:10], trainer)
    state = json.loads(tokenizer.to_str())
    known = state["model"]["vocab"]
    state["model"]["vocab"] |= {f"unused{i}": i for i in range(len(known), vocabulary)}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, ModelFiles]:
    import torch

    torch.set_num_threads(2)
    folder = tmp_path_factory.mktemp("models")
    files = {
        "clip": save_clip(folder, "tiny CLIP", CLIP, {}),
        "siglip": save_clip(folder, "tiny SigLIP", SIGLIP, SIGLIP_PICTURES),
    }
    save_tokenizer(files["siglip"].folder, SIGLIP["text_cfg"]["vocab_size"])
    return files


@pytest.fixture(scope="module")
def prepared(models) -> dict[str, ModelFiles]:
    for name, files in models.items():
        prepare(files, int8=name == "clip")
    return models


@pytest.fixture(scope="module")
def encoders(models) -> dict[str, OpenClipEncoder]:
    return {name: OpenClipEncoder(files, device="cpu") for name, files in models.items()}


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Several shapes, larger and smaller than what the networks take; sharp edges and noise."""
    random = np.random.default_rng(5)
    images = []
    for height, width in ((90, 160), (161, 91), (32, 32), (20, 47), (333, 250), (1, 9), (160, 160)):
        image = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        image[: height // 2, : width // 3] = (250, 10, 90)
        images.append(image)
    return images


NAMES = pytest.mark.parametrize("name", ["clip", "siglip"])


@NAMES
def test_vectors_are_open_clips_own(name, models, encoders, pictures):
    import open_clip
    import torch
    from PIL import Image

    location = f"local-dir:{models[name].folder}"
    model, _, transform = open_clip.create_model_and_transforms(location)
    model.eval()
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
        images = model.encode_image(batch, normalize=True).numpy()
        tokens = open_clip.get_tokenizer(location)(list(TEXTS))
        texts = model.encode_text(tokens, normalize=True).numpy()
    encoder = encoders[name]
    np.testing.assert_allclose(encoder.encode_images(pictures), images, atol=1e-4)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), texts, atol=1e-4)
    # Else the two lines above compare nothing.
    assert (images @ images.T).min() < 0.99 and (texts @ texts.T).min() < 0.99


def test_branches_that_only_training_needs_are_merged_without_a_trace(tmp_path, pictures):
    import open_clip
    import torch
    from PIL import Image

    vision = {"timm_model_name": "fastvit_t8", "image_size": 64, "timm_pool": "avg"}
    files = save_clip(tmp_path, "mobile", {**CLIP, "custom_text": True, "vision_cfg": vision}, {})
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{files.folder}")
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
        expected = model.eval().encode_image(batch, normalize=True).numpy()
    encoder = OpenClipEncoder(files, device="cpu")
    np.testing.assert_allclose(encoder.encode_images(pictures), expected, atol=1e-4)
    parts = [len(list(each.visual.modules())) for each in (encoder.model, model)]
    assert parts[0] < parts[1]


@NAMES
def test_without_torch_the_vectors_stay(name, prepared, encoders, pictures):
    image, text = OnnxImageEncoder(prepared[name], batch=3), OnnxTextEncoder(prepared[name])
    encoder = encoders[name]
    assert cosines(image.encode_images(pictures), encoder.encode_images(pictures)).min() > 0.9999
    assert cosines(text.encode_queries(TEXTS), encoder.encode_queries(TEXTS)).min() > 0.9999
    assert {image.space, text.space} == {encoder.space}
    assert image.size == text.size == encoder.size == image.encode_images(pictures).shape[1]


@NAMES
def test_without_torch_the_vectors_stay_on_real_pictures(name, prepared, encoders):
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    images = real_pictures()
    ours = OnnxImageEncoder(prepared[name]).encode_images(images)
    assert cosines(ours, encoders[name].encode_images(images)).min() > 0.999


@NAMES
def test_tokens_are_open_clips_own(name, prepared, encoders):
    random = np.random.default_rng(11)
    texts = list(TEXTS)
    for last in (0x7F, 0x24F, 0x3000, 0xD7FF, 0x1FFFF):
        for codes in random.integers(1, last, (8, 60)):
            # Newer letters are none yet to the one or the other's tables.
            known = [c for c in map(chr, codes) if ucd_3_2_0.category(c) not in ("Cn", "Cs")]
            texts.append("".join(known))
    tokenize = OnnxTextEncoder(prepared[name]).tokenize
    ours = tokenize(texts)
    expected = encoders[name].tokenizer(texts).numpy()
    for text, row, wanted in zip(texts, ours, expected, strict=True):
        assert row.tolist() == wanted[: len(row)].tolist(), repr(text)
        assert not wanted[len(row) :].any(), repr(text)


def test_a_short_query_is_not_padded(prepared, encoders):
    text = OnnxTextEncoder(prepared["clip"])
    assert text.tokenize(["a dog"]).shape == (1, 4)
    together = text.encode_queries(["a dog", PROBES[-1]])
    alone = text.encode_queries(["a dog"])
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


WITHOUT_TORCH = """
import json, sys
from pathlib import Path
import numpy as np
from ingest.models.clip_onnx import OnnxImageEncoder, OnnxTextEncoder
from ingest.models.files import ModelFiles
name, folder, digest, prepared = json.loads(sys.argv[1])
files = ModelFiles(name, Path(folder), digest, Path(prepared))
OnnxTextEncoder(files, once=True).encode_queries(["a dog"])
OnnxImageEncoder(files).encode_images([np.zeros((9, 16, 3), dtype=np.uint8)])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@NAMES
def test_a_query_loads_neither_torch_nor_open_clip(name, prepared):
    files = prepared[name]
    where = [files.name, str(files.folder), files.digest, str(files.prepared)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(where)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not {"torch", "open_clip", "transformers", "torchvision"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, (24, 40)])
def test_pictures_are_resized_as_open_clip_does(mode, interpolation, size):
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    settings = {
        "size": size,
        "resize_mode": mode,
        "interpolation": interpolation,
        "fill_color": 9,
        "mean": (0.5, 0.4, 0.3),
        "std": 0.25,
    }
    transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    ours = Preprocess.from_open_clip(settings)
    random = np.random.default_rng(1)
    shapes = ((90, 160), (160, 90), (33, 32), (32, 33), (10, 11), (77, 77), (48, 80))
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    for image, fitted in zip(images, ours.stack(images), strict=True):
        expected = transform(Image.fromarray(image)).permute(1, 2, 0).numpy()
        normalised = (fitted.astype(np.float32) / 255 - ours.mean) / ours.std
        np.testing.assert_allclose(normalised, expected, atol=1e-5)
        assert np.array_equal(ours.fit(fitted), fitted)
    assert Preprocess.from_json(json.loads(json.dumps(ours.to_json()))) == ours


def test_int8_vectors_lie_near_in_a_space_of_their_own(prepared, encoders, pictures):
    image = OnnxImageEncoder(prepared["clip"], int8=True)
    text = OnnxTextEncoder(prepared["clip"], int8=True)
    encoder = encoders["clip"]
    assert cosines(image.encode_images(pictures), encoder.encode_images(pictures)).min() > 0.98
    assert cosines(text.encode_queries(TEXTS), encoder.encode_queries(TEXTS)).min() > 0.98
    assert image.space == text.space == f"{encoder.space}.int8"
    record = json.loads((prepared["clip"].prepared / "prepared.json").read_text(encoding="utf-8"))
    assert 0.98 < record["checks"]["image_int8"]["least"] < record["checks"]["image"]["least"]


def test_bfloat16_vectors_lie_near_and_have_unit_length(models, encoders, pictures):
    for name, files in models.items():
        low = OpenClipEncoder(files, device="cpu", precision="bf16")
        for ours, exact in (
            (low.encode_images(pictures), encoders[name].encode_images(pictures)),
            (low.encode_queries(TEXTS), encoders[name].encode_queries(TEXTS)),
        ):
            assert cosines(ours, exact).min() > 0.99
            np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_nothing_to_encode_gives_no_vectors(prepared, encoders):
    files = prepared["clip"]
    for vectors in (
        encoders["clip"].encode_images([]),
        encoders["clip"].encode_queries([]),
        OnnxImageEncoder(files).encode_images([]),
        OnnxTextEncoder(files).encode_queries([]),
    ):
        assert vectors.shape == (0, 32) and vectors.dtype == np.float32


def test_a_card_with_too_little_memory_gets_smaller_batches(models, encoders, pictures):
    import torch

    class SmallCard(OpenClipEncoder):
        def _launch(self, images):
            if len(images) > 2:
                raise torch.OutOfMemoryError("no")
            return super()._launch(images)

    encoder = SmallCard(models["clip"], device="cpu", batch=16)
    expected = encoders["clip"].encode_images(pictures)
    np.testing.assert_allclose(encoder.encode_images(pictures), expected, atol=1e-5)
    assert encoder.batch in (1, 2)


def test_loading_asks_nobody_on_the_network(models, monkeypatch):
    asked = []

    def ask(*arguments, **_):
        asked.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.setattr(socket.socket, "connect", ask)
    for files in models.values():
        OpenClipEncoder(files, device="cpu")
    assert not asked


def test_a_hugging_face_text_tower_is_read_from_the_folder(tmp_path, monkeypatch):
    import open_clip
    import torch
    from transformers import RobertaConfig

    tower = tmp_path / "tower"
    RobertaConfig(
        vocab_size=700,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        pad_token_id=0,
    ).save_pretrained(tower)
    save_tokenizer(tower, 700)
    text = {"hf_model_name": "some/roberta", "hf_tokenizer_name": "some/roberta"}
    text |= {"context_length": 24, "hf_pooler_type": "mean_pooler"}
    files = save_clip(tmp_path, "roberta", {**CLIP, "text_cfg": text}, {}, text_folder=tower)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    encoder = OpenClipEncoder(files, device="cpu")
    tokens = open_clip.get_tokenizer(f"local-dir:{files.folder}")(["a dog", "ein Hund läuft"])
    with torch.inference_mode():
        expected = encoder.model.encode_text(tokens, normalize=True).numpy()
    ours = encoder.encode_queries(["a dog", "ein Hund läuft"])
    np.testing.assert_allclose(ours, expected, atol=1e-4)

    (files.folder / "config.json").unlink()
    with pytest.raises(ModelMissingError, match=r"config\.json.*some/roberta"):
        OpenClipEncoder(files, device="cpu")


def test_an_unprepared_model_says_how_to_prepare_it(models, prepared, tmp_path):
    nowhere = replace(models["clip"], prepared=tmp_path / "none")
    for build in (OnnxImageEncoder, OnnxTextEncoder):
        with pytest.raises(ModelMissingError, match="longtake models prepare 'tiny CLIP'"):
            build(nowhere)
        with pytest.raises(ModelMissingError, match=r"other weights.*longtake models prepare"):
            build(replace(models["clip"], digest="ff" * 32))
        with pytest.raises(ModelMissingError, match="prepare 'tiny SigLIP' --int8"):
            build(prepared["siglip"], int8=True)
        damaged = replace(models["clip"], prepared=tmp_path / build.__name__)
        shutil.copytree(models["clip"].prepared, damaged.prepared)
        for graph in damaged.prepared.glob("*.onnx"):
            graph.write_bytes(graph.read_bytes()[:999])
        with pytest.raises(ModelMissingError, match="cannot be opened"):
            build(damaged)


def test_weights_that_are_missing_damaged_or_a_pickle_are_refused(models, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(models["clip"].folder, folder)
    files = replace(models["clip"], folder=folder)
    weights = folder / "open_clip_model.safetensors"

    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelMissingError, match="longtake models pull 'tiny CLIP'"):
        OpenClipEncoder(files)
    weights.rename(folder / "model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelMissingError, match="is a pickle"):
        OpenClipEncoder(files)
    (folder / "open_clip_pytorch_model.bin").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissingError, match="no weights"):
        OpenClipEncoder(files)
    (folder / "open_clip_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelMissingError, match=r"open_clip_config\.json"):
        OpenClipEncoder(files)


def test_an_export_that_fails_its_check_is_not_kept(prepared, monkeypatch):
    files = prepared["clip"]
    before = sorted((path.name, path.stat().st_ino) for path in files.prepared.iterdir())
    beside = sorted(files.prepared.parent.iterdir())
    monkeypatch.setattr(clip_export, "LEAST_COSINE", 1.01)
    with pytest.raises(ModelMissingError, match=r"image tower.*cosine"):
        prepare(files)
    after = sorted((path.name, path.stat().st_ino) for path in files.prepared.iterdir())
    assert after == before
    assert sorted(files.prepared.parent.iterdir()) == beside


def test_preparing_anew_leaves_an_open_encoder_alone(prepared, models, pictures, tmp_path):
    files = replace(models["clip"], prepared=tmp_path / "prepared")
    shutil.copytree(models["clip"].prepared, files.prepared)
    image, text = OnnxImageEncoder(files), OnnxTextEncoder(files, once=True)
    before = image.encode_images(pictures), text.encode_queries(TEXTS)
    with whole_folder(files) as new:
        shutil.copytree(models["clip"].prepared, new, dirs_exist_ok=True)
    np.testing.assert_array_equal(image.encode_images(pictures), before[0])
    np.testing.assert_array_equal(text.encode_queries(TEXTS), before[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-4)
    return (a * b).sum(axis=1)


def real_pictures() -> list[np.ndarray]:
    import av

    images = []
    for name in ("bbb_360p.mp4", "screencast.mp4", "mdn/friday.mp4"):
        with av.open(str(DATA / "video" / name)) as container:
            for second in (5, 20):
                container.seek(second * av.time_base)
                images.append(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    return images


def test_a_model_with_a_sigmoid_says_which_cosines_match(prepared):
    """SigLIP's cosines are small; what they are worth is in its weights."""
    import torch

    encoder = OpenClipEncoder(prepared["siglip"], device="cpu")
    unlikely, likely = OnnxTextEncoder(prepared["siglip"]).cosine_range
    for cosine, probability in ((unlikely, 0.001), (likely, 0.9)):
        logit = encoder.model.logit_scale.exp() * cosine + encoder.model.logit_bias
        assert torch.sigmoid(logit).item() == pytest.approx(probability, abs=1e-4)
    assert OnnxTextEncoder(prepared["clip"]).cosine_range is None
