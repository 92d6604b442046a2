"""How soon a query is a vector, and how fast pictures become vectors, with and without torch.

Usage: python benchmarks/clip_query.py [--model NAME] [--pictures N] [--rounds N] [--folder DIR]

Makes open_clip's model of that name with random weights (speed does not depend on them), prepares
it, and measures in one run, each against its peer:

* cold: a process that imports, opens the text tower and encodes one query; ours without torch,
  against one that does the same through open_clip
* warm: encoding one short query, and one that fills the context
* pictures a second on the CPU, resizing included: ONNX float32 and int8 against open_clip in torch
  doing what its own transform and model do, in turns
* what int8 costs: cosines of its vectors with those of the float tower on frames of a film where
  ../shared/data is there, and whether pictures keep their nearest neighbours

Ratios are over 1 where ours is faster. Random weights: the loss of trained ones differs, and
`longtake models prepare --int8` measures it on them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ingest.models.files import ModelFiles

ROOT = Path(__file__).resolve().parents[1]
FILM = ROOT.parent / "shared" / "data" / "video" / "bbb_360p.mp4"
QUERY = "a man in a red coat walks past a window"

OURS = """
import sys, time
started = time.perf_counter()
sys.path.insert(0, {root!r})
from pathlib import Path
from ingest.models.clip_onnx import OnnxTextEncoder
from ingest.models.files import ModelFiles
files = ModelFiles({name!r}, Path({folder!r}), {digest!r}, Path({prepared!r}))
encoder = OnnxTextEncoder(files, once=True)
encoder.encode_queries([{query!r}])
print(time.perf_counter() - started, "torch" in sys.modules or "transformers" in sys.modules)
"""

THEIRS = """
import time
started = time.perf_counter()
import open_clip, torch
model = open_clip.create_model("local-dir:" + {folder!r}).eval()
tokenizer = open_clip.get_tokenizer("local-dir:" + {folder!r})
with torch.inference_mode():
    model.encode_text(tokenizer([{query!r}]), normalize=True)
print(time.perf_counter() - started, True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the model; default: nowhere")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{options.model}, random weights, {cores} cores")
    with tempfile.TemporaryDirectory(prefix="clip-query-") as temporary:
        files = make_model(options.model, options.folder or Path(temporary))
        result = {"model": options.model, "cores": cores}
        result |= cold(files, options.rounds)
        result |= warm(files)
        result |= pictures(files, options.pictures, options.rounds)
    print(
        json.dumps(
            {
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in result.items()
            }
        )
    )


def make_model(name: str, folder: Path) -> ModelFiles:
    """open_clip's architecture of that name with random weights, saved and prepared."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from ingest.models.clip_export import prepare

    torch.manual_seed(1)
    files = ModelFiles(name, folder / "model", "0" * 64, folder / "prepared")
    if files.prepared.exists():
        return files
    files.folder.mkdir(parents=True, exist_ok=True)
    config = open_clip.get_model_config(name)
    if config["text_cfg"].get("hf_tokenizer_name"):
        write_tokenizer(files.folder, config["text_cfg"]["vocab_size"])
    model = open_clip.create_model(name, pretrained_text=False)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, files.folder / "open_clip_model.safetensors")
    cfg = {"model_cfg": config, "preprocess_cfg": {}}
    (files.folder / "open_clip_config.json").write_text(json.dumps(cfg), encoding="utf-8")
    started = time.perf_counter()
    prepare(files, int8=True)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in files.prepared.iterdir())
    print(f"prepared in {seconds:.0f} s, {size / 1e6:.0f} MB")
    return files


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A byte-pair tokenizer with as many entries as the model's own, which is not to be had here.

    Its merges are nonsense, but opening it costs what opening one of that size does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 520)]
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += letters
    merges = []
    for first in letters:
        for second in letters:
            if len(names) >= vocabulary:
                break
            names.append(first + second)
            merges.append((first, second))
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


def cold(files: ModelFiles, rounds: int) -> dict[str, float]:
    """Seconds of whole processes, ours and open_clip's in turns."""
    values = {
        "root": str(ROOT), "name": files.name, "folder": str(files.folder), "digest": files.digest,
        "prepared": str(files.prepared), "query": QUERY,
    }  # fmt: skip
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for index in range(rounds):
        for who, script in (("ours", OURS), ("theirs", THEIRS)):
            if who == "theirs" and index > 1:
                continue
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", script.format(**values)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            seconds[who].append(time.perf_counter() - started)
            if who == "ours" and done.stdout.split()[1] != "False":
                sys.exit("a query loaded torch")
    ours, theirs = (statistics.median(seconds[who]) for who in ("ours", "theirs"))
    print(
        f"cold query, whole process: {ours:.2f} s, open_clip {theirs:.2f} s, {theirs / ours:.1f}x"
    )
    return {"cold_seconds": ours, "cold_against_open_clip": theirs / ours}


def warm(files: ModelFiles) -> dict[str, float]:
    """Seconds of one query in a process that has the model open."""
    from ingest.models.clip import OpenClipEncoder
    from ingest.models.clip_onnx import OnnxTextEncoder

    long = "a street at night with many people and a car " * 20
    torch_side = OpenClipEncoder(files, device="cpu")
    ways: dict[str, Callable[[], object]] = {}
    for label, encoder in (
        ("float", OnnxTextEncoder(files)),
        ("once", OnnxTextEncoder(files, once=True)),
        ("int8", OnnxTextEncoder(files, int8=True)),
        ("torch", torch_side),
    ):
        ways[f"{label} short"] = lambda encoder=encoder: encoder.encode_queries([QUERY])
        ways[f"{label} long"] = lambda encoder=encoder: encoder.encode_queries([long])
    seconds = in_turns(ways, 25)
    for way, value in seconds.items():
        print(f"warm query, {way:12} {value * 1000:7.1f} ms")
    return {
        "warm_short_milliseconds": seconds["float short"] * 1000,
        "warm_short_against_torch": seconds["torch short"] / seconds["float short"],
        "warm_long_against_torch": seconds["torch long"] / seconds["float long"],
        "int8_short_against_float": seconds["float short"] / seconds["int8 short"],
    }


def pictures(files: ModelFiles, count: int, rounds: int) -> dict[str, float]:
    """Pictures a second, and how near int8 is."""
    import open_clip
    import torch
    from PIL import Image

    from ingest.models.clip_onnx import OnnxImageEncoder

    images = frames(count)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{files.folder}")
    model.eval()
    chunk = 16

    def plain() -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), chunk):
                batch = [transform(Image.fromarray(each)) for each in images[start : start + chunk]]
                parts.append(model.encode_image(torch.stack(batch), normalize=True))
        return torch.cat(parts).numpy()

    exact, rounded = OnnxImageEncoder(files), OnnxImageEncoder(files, int8=True)
    seconds = in_turns(
        {
            "torch": plain,
            "float": lambda: exact.encode_images(images),
            "int8": lambda: rounded.encode_images(images),
            "resize": lambda: exact.preprocess.stack(images),
        },
        rounds,
    )
    for way, value in seconds.items():
        print(f"pictures, {way:7} {len(images) / value:8.1f} a second")
    theirs, ours, near = plain(), exact.encode_images(images), rounded.encode_images(images)
    agreement = float((theirs * ours).sum(axis=1).min())
    cosines = (ours * near).sum(axis=1)
    print(f"least cosine with open_clip: {agreement:.6f}")
    print(f"int8 with float: least {cosines.min():.4f}, mean {cosines.mean():.4f}; "
          f"nearest neighbour kept {neighbours_kept(ours, near):.0%} of {len(images)}")  # fmt: skip
    return {
        "pictures_per_second": len(images) / seconds["float"],
        "float_against_torch": seconds["torch"] / seconds["float"],
        "int8_against_float": seconds["float"] / seconds["int8"],
        "resize_share": seconds["resize"] / seconds["float"],
        "cosine_with_open_clip": agreement,
        "int8_least_cosine": float(cosines.min()),
        "int8_mean_cosine": float(cosines.mean()),
        "int8_neighbours_kept": neighbours_kept(ours, near),
    }


def neighbours_kept(exact: np.ndarray, near: np.ndarray) -> float:
    """Of how many pictures, encoded in 8 bits, the nearest other float picture stays the same."""
    nearest = []
    for vectors in (exact, near):
        cosines = vectors @ exact.T
        np.fill_diagonal(cosines, -1)
        nearest.append(cosines.argmax(axis=1))
    return float((nearest[0] == nearest[1]).mean())


def frames(count: int) -> Sequence[np.ndarray]:
    """Frames of a film, evenly spread; noise where it is not there."""
    if not FILM.is_file():
        print("../shared/data is not here: pictures are noise")
        random = np.random.default_rng(0)
        return [random.integers(0, 255, (360, 640, 3), dtype=np.uint8) for _ in range(count)]
    import av

    images = []
    with av.open(str(FILM)) as container:
        seconds = container.duration / av.time_base
        for index in range(count):
            container.seek(int(seconds * index / count * av.time_base))
            images.append(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    return images


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each; in turns, so that what else the machine does falls on all."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


if __name__ == "__main__":
    main()
