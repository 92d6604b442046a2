"""How soon a question is a vector, at the true shape of a multilingual text encoder.

Usage: python benchmarks/text_query.py [--rounds N] [--folder DIR]

Makes an encoder of the shape of multilingual-e5-small (12 layers, 384 wide, 250,037 pieces: 118
million parameters) with random weights and a made-up vocabulary (speed depends on neither),
prepares it in float32 and int8, and measures in one run:

* cold: whole processes that import, open and encode one query: ours, ours with the whole tokenizer,
  and transformers on torch; beside them a process that only imports numpy and onnxruntime, below
  which none can come
* sessions: seconds to open and run the first query by way of storing the graph (weights mapped from
  their own file, as prepared; inside the graph's file; not rearranged for the processor, `once`;
  int8)
* warm: one query in a process that has the model open, against transformers
* indexing: passages a second, sorted by length as they are, against a batch as they come

Ratios are over 1 where ours is faster. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ingest.models.files import ModelFiles  # noqa: E402

PIECES = 250_037
QUERY = "how do you tell when the dough has risen enough"

OURS = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from ingest.models.files import ModelFiles  # noqa: E402
from ingest.models.text_onnx import OnnxTextEncoder
files = ModelFiles({name!r}, Path({folder!r}), {digest!r}, Path({prepared!r}))
encoder = OnnxTextEncoder(files, once={once})
if {whole}:
    encoder._pieces = None
encoder.encode_queries([{query!r}])
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""

THEIRS = """
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModel.from_pretrained({folder!r}).eval()
with torch.inference_mode():
    found = model(**tokenizer([{query!r}], return_tensors="pt")).last_hidden_state.mean(1)
"""

BARE = "import numpy, onnxruntime"

SESSION = """
import sys, time
import numpy, onnxruntime
started = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {cores}
options.log_severity_level = 3
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
if {once}:
    options.add_session_config_entry("session.disable_prepacking", "1")
session = onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
ids = numpy.arange(1000, 14000, 1000)[None].astype(numpy.int64)
session.run(None, {{"input_ids": ids, "attention_mask": numpy.ones_like(ids)}})
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the model; default: nowhere")
    options = parser.parse_args()
    print(f"multilingual-e5-small's shape, random weights, {cores()} cores")
    with tempfile.TemporaryDirectory(prefix="text-query-") as temporary:
        files = make_model(options.folder or Path(temporary))
        result: dict[str, float] = {"cores": cores()}
        result |= cold(files, options.rounds)
        result |= sessions(files, options.rounds)
        result |= warm(files)
        result |= indexing(files)
    print(json.dumps({key: round(value, 4) for key, value in result.items()}))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def int8_of(files: ModelFiles) -> ModelFiles:
    return replace(files, prepared=files.prepared.with_name("int8"))


def make_model(folder: Path) -> ModelFiles:
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from ingest.models.text_export import prepare

    torch.manual_seed(0)
    name = "intfloat/multilingual-e5-small"
    files = ModelFiles(name, folder / "model", "0" * 64, folder / "prepared")
    if files.prepared.exists():
        return files
    config = BertConfig(
        vocab_size=PIECES, hidden_size=384, num_hidden_layers=12, num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=512, pad_token_id=1,
    )  # fmt: skip
    BertModel(config).save_pretrained(files.folder)
    words = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    PreTrainedTokenizerFast(
        tokenizer_object=made_up_tokenizer(),
        model_max_length=512,
        **{f"{role}_token": token for role, token in words.items()},
    ).save_pretrained(files.folder)
    for one, int8 in ((files, False), (int8_of(files), True)):
        started = time.perf_counter()
        record = prepare(one, int8=int8)
        size = sum(path.stat().st_size for path in one.prepared.iterdir()) / 1e6
        print(
            f"prepared {'int8' if int8 else 'float32'} in {time.perf_counter() - started:.0f} s, "
            f"{size:.0f} MB, least cosine {record['cosine']}"
        )
    return files


def made_up_tokenizer():
    """Of as many pieces as XLM-R's, which is not to be had here, and of its parts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéèñабвгдежзиклмнопрстуфхцчшщыэюя月水的潮の"
    pieces: dict[str, float] = dict.fromkeys(("<s>", "<pad>", "</s>", "<unk>"), 0.0)
    pieces |= dict.fromkeys("▁.,?!'-0123456789" + letters, -9.0)
    while len(pieces) < PIECES - 1:
        word = "".join(rng.choices(letters, k=rng.randint(2, 9)))
        pieces.setdefault(rng.choice(("", "▁")) + word, -8 - 6 * rng.random())
    pieces["<mask>"] = 0.0
    tokenizer = Tokenizer(models.Unigram(list(pieces.items()), unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


def cold(files: ModelFiles, rounds: int) -> dict[str, float]:
    values = {
        "root": str(ROOT), "name": files.name, "folder": str(files.folder), "digest": files.digest,
        "prepared": str(files.prepared), "query": QUERY, "once": False, "whole": False,
    }  # fmt: skip
    int8 = {**values, "prepared": str(int8_of(files).prepared)}
    scripts = {
        "ours": OURS.format(**values),
        "once": OURS.format(**values | {"once": True}),
        "int8": OURS.format(**int8),
        "whole tokenizer": OURS.format(**values | {"whole": True}),
        "transformers": THEIRS.format(**values),
        "imports alone": BARE,
    }
    seconds: dict[str, list[float]] = {label: [] for label in scripts}
    for at in range(rounds):
        for label, script in scripts.items():
            if label == "transformers" and at > 1:
                continue
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
            seconds[label].append(time.perf_counter() - started)
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    for label, value in medians.items():
        ratio = value / medians["ours"]
        print(f"cold, whole process, {label:16} {value:6.2f} s  ({ratio:.2f}x ours)")
    return {
        "cold_seconds": medians["ours"],
        "cold_against_transformers": medians["transformers"] / medians["ours"],
        "cold_against_whole_tokenizer": medians["whole tokenizer"] / medians["ours"],
        "cold_against_imports_alone": medians["imports alone"] / medians["ours"],
    }


def sessions(files: ModelFiles, rounds: int) -> dict[str, float]:
    import onnx

    graph, eight = files.prepared / "model.onnx", int8_of(files).prepared / "model.onnx"
    inside = files.prepared.with_name("inside.onnx")
    if not inside.exists():
        onnx.save(onnx.load(graph), inside)  # loading reads the weights in
    variants = {
        "as prepared": (graph, False),
        "once": (graph, True),
        "int8": (eight, False),
        "int8 once": (eight, True),
        "weights inside": (inside, False),
    }
    seconds: dict[str, list[float]] = {label: [] for label in variants}
    for _ in range(rounds):
        for label, (path, once) in variants.items():
            script = SESSION.format(path=str(path), once=once, cores=cores())
            done = subprocess.run(
                [sys.executable, "-c", script], check=True, capture_output=True, text=True
            )
            seconds[label].append(float(done.stdout))
    found = {label: statistics.median(times) for label, times in seconds.items()}
    for label, value in found.items():
        print(f"open and first query, {label:16} {value * 1000:7.0f} ms")
    return {f"session_{label.replace(' ', '_')}_seconds": value for label, value in found.items()}


def warm(files: ModelFiles) -> dict[str, float]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from ingest.models.text_onnx import OnnxTextEncoder

    torch.set_num_threads(cores())
    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModel.from_pretrained(files.folder).eval()

    def theirs() -> None:
        with torch.inference_mode():
            model(**tokenizer([QUERY], return_tensors="pt")).last_hidden_state.mean(1)

    ours, once = OnnxTextEncoder(files), OnnxTextEncoder(files, once=True)
    int8 = OnnxTextEncoder(int8_of(files))
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.encode_queries([QUERY]),
        "once": lambda: once.encode_queries([QUERY]),
        "int8": lambda: int8.encode_queries([QUERY]),
        "transformers": theirs,
    }
    seconds: dict[str, list[float]] = {label: [] for label in ways}
    for at in range(35):
        for label, way in ways.items():
            started = time.perf_counter()
            way()
            if at >= 5:
                seconds[label].append(time.perf_counter() - started)
    found = {label: statistics.median(times) for label, times in seconds.items()}
    for label, value in found.items():
        print(f"warm query, {label:12} {value * 1000:6.1f} ms ({value / found['ours']:.2f}x ours)")
    return {
        "warm_p50_milliseconds": found["ours"] * 1000,
        "warm_against_transformers": found["transformers"] / found["ours"],
    }


def indexing(files: ModelFiles) -> dict[str, float]:
    """Passages of a few words, as on screens, and of many; "as they come" pads 32 at a time."""
    from ingest.models.text_onnx import OnnxTextEncoder

    rng = random.Random(1)
    words = ["".join(rng.choices("abdeghiklmnoprstu", k=rng.randint(2, 7))) for _ in range(3000)]
    texts = [" ".join(rng.choices(words, k=rng.choice((4, 10, 25, 60)))) for _ in range(96)]
    ours, int8 = OnnxTextEncoder(files), OnnxTextEncoder(int8_of(files))
    tokens = [len(ids) for ids in ours._long(texts)]

    def as_they_come() -> None:
        import numpy as np

        all_ids = ours._long(texts)
        for start in range(0, len(texts), 32):
            batch = all_ids[start : start + 32]
            ids = np.ones((len(batch), max(map(len, batch))), np.int64)
            mask = np.zeros_like(ids)
            for row, one in enumerate(batch):
                ids[row, : len(one)], mask[row, : len(one)] = one, 1
            ours._forward(ids, mask)

    ways: dict[str, Callable[[], object]] = {
        "by length": lambda: ours.encode_passages(texts),
        "by length, int8": lambda: int8.encode_passages(texts),
        "as they come": as_they_come,
    }
    seconds: dict[str, list[float]] = {label: [] for label in ways}
    for _ in range(3):
        for label, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[label].append(time.perf_counter() - started)
    found = {label: len(texts) / min(times) for label, times in seconds.items()}
    print(f"passages of {statistics.mean(tokens):.0f} tokens on average")
    for label, value in found.items():
        print(f"indexing, {label:16} {value:6.1f} passages a second")
    return {
        "passages_a_second": found["by length"],
        "by_length_against_as_they_come": found["by length"] / found["as they come"],
        "int8_against_float": found["by length, int8"] / found["by length"],
    }


if __name__ == "__main__":
    main()
