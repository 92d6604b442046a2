"""Makes of an open_clip model what searches and CPUs run without torch: `longtake models prepare`.

Into `files.prepared`, all at once or not at all:

    prepared.json         what the encoders of clip_onnx.py read first: sizes, how pictures and
                          texts are treated, what the checks found
    image.onnx, text.onnx the two towers, their graphs already optimised; the weights lie beside
                          them in .data files, which are mapped, not read
    *.int8.onnx           the same with 8-bit weights, where asked for
    tokenizer.json

Inputs are pictures as uint8 (n, height, width, 3) and token ids as int64 (n, tokens); outputs are
float32 (n, size) of unit length. An export whose vectors are not open_clip's to a cosine of
`LEAST_COSINE` is not kept.

An int8 tower's vectors are the float ones with noise, whose size preparing measures and records.
They are kept in a space of their own, so that no library holds some of each; queries go through the
float text tower either way.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.clip import OpenClipEncoder
from ingest.models.clip_onnx import (
    FORMAT,
    RECORD_FILE,
    OnnxImageEncoder,
    OnnxTextEncoder,
    graph_file,
)
from ingest.models.clip_tokens import TOKENIZER_FILE, ClipTokenizer, TokenRules
from ingest.models.files import ModelFiles
from ingest.models.preparing import (
    Progress,
    export_graph,
    need_exporter,
    optimise_graph,
    quantize_graph,
    whole_folder,
    write_facts,
)

LEAST_COSINE = 0.999
LEAST_INT8_COSINE = 0.9
"""Below this the weights do not bear rounding to 8 bits at all, and what is left is no search."""
_OPSET = 20

PROBES = (
    "",
    "a dog",
    "A man in a red coat walks past the café's window, talking on the phone.",
    "isn't it what they'd said: we'll go, I'm sure you've 3 tickets @ £4.50?!",
    "ein Hund läuft über die Straße",
    "un chien qui court dans la neige, l'été dernier",
    "собака бежит по улице",
    "一只狗在街上奔跑",
    "犬が走っている。カタカナ",
    "كلب يجري في الشارع",
    "सड़क पर दौड़ता कुत्ता",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🙂",
    "Ｆｕｌｌ ｗｉｄｔｈ “quotes” — ﬁne &amp; &lt;b&gt; \t tabs\nand lines",
    "snake_case under_scores: C++, 1/2, 100%, [brackets] {braces}",
    "schÃ¶n mojibake â€” broken",
    "supercalifragilisticexpialidocious " * 40,
    "a very long sentence about a street at night " * 20,
)
"""Texts on which the tokens of the export must be open_clip's."""


@dataclass(frozen=True, slots=True)
class Check:
    """How near an exported tower comes to open_clip on the probes: cosines. `of`: how many."""

    least: float
    mean: float
    of: int


def prepare(
    files: ModelFiles, *, int8: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Exports both towers of the model in `files.folder` to `files.prepared`, replacing what is
    there once the new one has passed its checks. Returns what prepared.json says: `checks` holds a
    `Check` each of the towers `image`, `text` and, where asked for, `image_int8` and `text_int8`.

    int8: make 8-bit towers besides. progress: told what is being done.

    Raises ModelMissingError where packages or weights are missing, where the export's vectors are
    not the model's, and where it cannot be written.
    """
    tell = progress or (lambda _: None)
    need_exporter(files)
    tell(f"loading {files.name}")
    encoder = OpenClipEncoder(files, device="cpu", precision="fp32")
    with whole_folder(files) as folder:
        rules = _write_tokenizer(encoder, folder)
        _check_tokens(encoder, ClipTokenizer(folder, rules))
        record = {
            "format": FORMAT,
            "name": files.name,
            "digest": files.digest,
            "size": encoder.size,
            "image": encoder.preprocess.to_json(),
            "text": rules.to_json(),
            "sigmoid": _sigmoid(encoder),
        }
        write_facts(folder, record, RECORD_FILE)
        for tower in ("image", "text"):
            tell(f"exporting the {tower} tower")
            _export(files, encoder, tower, rules, folder)
            if int8:
                tell(f"rounding the {tower} tower to 8 bits")
                _quantize(folder, tower)
        tell("checking against open_clip")
        made = ModelFiles(files.name, files.folder, files.digest, folder)
        checks = _check(encoder, made, _probe_pictures(), int8)
        record["checks"] = {name: asdict(check) for name, check in checks.items()}
        write_facts(folder, record, RECORD_FILE)
    return record


def _sigmoid(encoder: OpenClipEncoder) -> dict[str, float] | None:
    """What a model with a sigmoid loss multiplies cosines by and adds to them."""
    bias = getattr(encoder.model, "logit_bias", None)
    if bias is None:
        return None
    return {"scale": float(encoder.model.logit_scale.detach().exp()), "bias": float(bias.detach())}


# -- graphs -------------------------------------------------------------------------------------


def _export(
    files: ModelFiles, encoder: OpenClipEncoder, tower: str, rules: TokenRules, folder: Path
) -> None:
    """Writes the tower's graph, optimised, with its weights beside it."""
    import torch

    from ingest.models.clip_towers import ImageTower, TextTower

    batch = torch.export.Dim("n", min=1)
    # Two of everything: an axis of length one would be taken for a constant.
    if tower == "image":
        shape = (2, encoder.preprocess.height, encoder.preprocess.width, 3)
        module, inputs = ImageTower(encoder), torch.zeros(shape, dtype=torch.uint8)
        dynamic = {0: batch}
    else:
        module, length = TextTower(encoder, rules.short), min(16, rules.context_length)
        inputs = torch.ones((2, length if rules.short else rules.context_length)).to(torch.int64)
        dynamic = {0: batch}
        if rules.short:
            dynamic[1] = torch.export.Dim("tokens", min=2, max=rules.context_length)
    raw = folder / "raw"
    raw.mkdir()
    graph = raw / "tower.onnx"
    export_graph(files, module, {"input": inputs}, [dynamic], graph, opset_version=_OPSET)
    optimise_graph(graph, folder / graph_file(tower, int8=False))
    shutil.rmtree(raw)


def _quantize(folder: Path, tower: str) -> None:
    """8-bit weights by output channel, activations rounded as they come. Only matrix products:
    convolutions and look-ups gain nothing on a CPU."""
    quantize_graph(
        folder / graph_file(tower, int8=False),
        folder / graph_file(tower, int8=True),
        op_types_to_quantize=["MatMul", "Gemm"],
        use_external_data_format=True,
    )


# -- tokens -------------------------------------------------------------------------------------


def _write_tokenizer(encoder: OpenClipEncoder, folder: Path) -> TokenRules:
    """Writes tokenizer.json; returns what else has to be known."""
    from open_clip.tokenizer import SimpleTokenizer

    from ingest.models.clip_towers import takes_short_texts

    tokenizer = encoder.tokenizer
    length = tokenizer.context_length
    clean = tokenizer.clean_fn.__name__.removeprefix("_clean_")
    if isinstance(tokenizer, SimpleTokenizer):
        text = _byte_pairs(tokenizer)
        rules = TokenRules(
            context_length=length,
            clean=clean,
            start=tokenizer.sot_token_id,
            end=tokenizer.eot_token_id,
            short=takes_short_texts(encoder.model),
        )
    else:
        inner = tokenizer.tokenizer
        backend = getattr(inner, "backend_tokenizer", None)
        if backend is None:
            raise ModelMissingError(
                f"the tokenizer of this model ({type(inner).__name__}) exists in Python only and "
                "cannot be used without transformers; choose a model whose folder has a "
                f"{TOKENIZER_FILE}"
            )
        if tokenizer.tokenizer_mode == "clips":
            backend.no_padding()
            backend.no_truncation()
            rules = TokenRules(
                context_length=length,
                clean=clean,
                start=inner.bos_token_id,
                end=inner.eos_token_id,
                pad=inner.pad_token_id,
                cls=inner.cls_token_id,
            )
        else:
            tokenizer(["to fit"])  # sets how the backend cuts and pads, which is saved with it
            zeroed = inner.sep_token_id if tokenizer.strip_sep_token else None
            rules = TokenRules(context_length=length, clean=clean, zeroed=zeroed)
        text = backend.to_str()
    (folder / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    return rules


def _byte_pairs(tokenizer: Any) -> str:
    """CLIP's own byte pair encoding, which open_clip runs in Python, for the tokenizers library."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    model = models.BPE(dict(tokenizer.encoder), merges, end_of_word_suffix="</w>")
    result = Tokenizer(model)
    pattern = Regex("(?i)" + tokenizer.pat.pattern)
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = [tokenizer.decoder[each] for each in tokenizer.all_special_ids]
    result.add_special_tokens([AddedToken(each, normalized=False) for each in special])
    return result.to_str()


def _check_tokens(encoder: OpenClipEncoder, tokenize: ClipTokenizer) -> None:
    expected = encoder.tokenizer(list(PROBES)).numpy()
    got = tokenize(PROBES)
    wider = ((0, 0), (0, expected.shape[1] - got.shape[1]))
    if not np.array_equal(np.pad(got, wider), expected):
        raise ModelMissingError(
            "the exported tokenizer cuts texts otherwise than open_clip's; the export was not kept"
        )


# -- checks -------------------------------------------------------------------------------------


def _check(
    encoder: OpenClipEncoder, made: ModelFiles, pictures: Sequence[np.ndarray], int8: bool
) -> dict[str, Check]:
    """Raises ModelMissingError where a tower is not the model's."""
    images, texts = encoder.encode_images(pictures), encoder.encode_queries(PROBES)
    checks: dict[str, Check] = {}
    for rounded in (False, True)[: 1 + int8]:
        ending = "_int8" if rounded else ""
        image = OnnxImageEncoder(made, int8=rounded)
        text = OnnxTextEncoder(made, int8=rounded)
        checks[f"image{ending}"] = _compare(images, image.encode_images(pictures))
        # One by one too: a text must not depend on what it is encoded with.
        alone = np.concatenate([text.encode_queries([probe]) for probe in PROBES])
        checks[f"text{ending}"] = min(
            _compare(texts, text.encode_queries(PROBES)), _compare(texts, alone), key=_least
        )
    for name, check in checks.items():
        least = LEAST_INT8_COSINE if name.endswith("int8") else LEAST_COSINE
        # Written so that it fails where the cosine is no number.
        if not check.least >= least:
            raise ModelMissingError(
                f"the exported {name.replace('_', ' ')} tower of {made.name} does not give the "
                f"model's vectors (cosine {check.least:.5f}, at least {least} is asked for); the "
                "export was not kept"
            )
    return checks


def _least(check: Check) -> float:
    return check.least


def _compare(expected: np.ndarray, got: np.ndarray) -> Check:
    cosines = np.einsum("ij,ij->i", expected.astype(np.float64), got.astype(np.float64))
    return Check(float(cosines.min()), float(cosines.mean()), len(cosines))


def _probe_pictures() -> list[np.ndarray]:
    """Pictures of several shapes with edges, gradients and noise, the same each time."""
    random = np.random.default_rng(7)
    pictures = []
    for height, width in ((360, 640), (480, 270), (300, 300), (90, 160)):
        down, across = np.mgrid[0:height, 0:width].astype(np.float32)
        waves = [
            np.sin(down / random.uniform(5, 60) + across / random.uniform(5, 60)) for _ in "rgb"
        ]
        picture = np.stack(waves, axis=-1) * 80 + 128 + random.normal(0, 12, (height, width, 3))
        top, left = height // 4, width // 3
        picture[top : top + height // 3, left : left + width // 4] = random.uniform(0, 255, 3)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures
