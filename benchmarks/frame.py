"""What the channel `frame` costs beside its encoder, and how many times real time it runs.

Usage: python benchmarks/frame.py [FILE] [--models ViT-B-32,...] [--seconds 60] [--rounds 3]
                                  [--batch 0] [--folder DIR]

FILE: a video (default: the film in ../shared/data). Each model has the true shape of the image
tower that open_clip knows by that name, and random weights, on which speed does not depend. (Its
text tower, which takes no part, is a stub.) On a CPU it is prepared by the product and run by ONNX
Runtime; where torch sees a GPU, the same is measured with torch on it as well.

In one run, in turns, on the first seconds of the video, with a picture a second and one after each
cut; the median of the rounds:

* `ready`   the bare network on the pictures that the channel encodes, resized and stacked before
            the clock starts: the encoder's own time, to which all else is held
* `raw`     the encoder on those pictures as they were decoded: with resizing
* `fed`     the channel on samples that are all in memory: with finding stills, queue and thread
* `shared`  the analysis alone: decoding every picture, finding cuts, taking samples; which happens
            once for all picture channels, and without any of them
* `bare`    PyAV decoding the same seconds and doing nothing with them: what nobody who looks at
            the pictures can do without
* `whole`   the analysis with the channel at its end, as indexing does it

`own_overhead` = fed / ready - 1 is what the channel itself adds to its encoder. `total_overhead` =
whole / ready - 1 has the shared decoding in it, as if it were for this channel alone; it cannot be
less than `limit` = bare / ready. All are of wall time; with `_cpu`, of processor time, because on
few cores decoding and encoding overlap only as far as there are cores left, and because it says
more on a machine that does other things too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np

from index.schema import Generation, Video
from ingest.analysis import VideoAnalysis
from ingest.channel import Sample
from ingest.channels.frame import FrameChannel
from ingest.channels.settings import FrameSettings
from ingest.models import prepared
from ingest.models.clip import OpenClipEncoder
from ingest.models.clip_export import prepare
from ingest.models.clip_onnx import OnnxImageEncoder, graph_file
from ingest.models.files import ModelFiles

FILM = Path(__file__).resolve().parents[2] / "shared" / "data" / "video" / "bbb_360p.mp4"
VIDEO, GENERATION = Video("v", "v"), Generation("v", 0, "frame", "1")
GPU_PICTURES = 4096


def make_model(name: str, folder: Path) -> ModelFiles:
    """The image tower that open_clip knows by that name, with random weights and a stub of a text
    tower, in open_clip's format, prepared."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    files = ModelFiles(name, folder / name / "model", "0" * 64, folder / name / "prepared")
    if files.prepared.exists():
        return files
    files.folder.mkdir(parents=True, exist_ok=True)
    known = open_clip.get_model_config(name)
    if known is None:
        raise SystemExit(f"open_clip knows no model {name}.")
    stub = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    config = {"embed_dim": known["embed_dim"], "vision_cfg": known["vision_cfg"], "text_cfg": stub}
    if known.get("custom_text"):
        config["custom_text"] = True
    torch.manual_seed(1)
    record = {"model_cfg": config, "preprocess_cfg": {}}
    (files.folder / "open_clip_config.json").write_text(json.dumps(record), encoding="utf-8")
    model = open_clip.create_model(f"local-dir:{files.folder}", load_weights=False)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, files.folder / "open_clip_model.safetensors")
    del model, weights
    prepare(files)
    return files


def analyse(path: Path, seconds: float, take: Callable[[Sample], Any]) -> None:
    """Gives the samples of the first seconds to `take`."""
    with VideoAnalysis(path) as analysis:
        for event in analysis:
            if isinstance(event, Sample):
                if event.time_seconds >= seconds:
                    return
                take(event)


def decode(path: Path, seconds: float) -> None:
    """Decodes the pictures of the first seconds, as many at once as there are cores."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= seconds:
                return


class Counting:
    """An encoder that only keeps what it was given."""

    space, size, batch = "frame.none.0", 1, 1

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.images.extend(images)
        return np.ones((len(images), 1), np.float32)


def run_channel(encoder: Any, batch: int, feed: Callable[[Callable], Any]) -> int:
    """Feeds a run of the channel; returns how many evidences came out."""
    run = FrameChannel(FrameSettings(batch=batch), lambda: encoder, {}).open(VIDEO, GENERATION, 0.0)
    found, last = 0, 0.0

    def take(sample: Sample) -> None:
        nonlocal found, last
        last = sample.time_seconds
        found += len(run.push(sample))

    feed(take)
    return found + len(run.finish(last + 1))


def feed_all(samples: Sequence[Sample]) -> Callable[[Callable], None]:
    def feed(take: Callable) -> None:
        for sample in samples:
            take(sample)

    return feed


def timed(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """name -> (wall, processor) seconds, medians; in turns, so that what else the machine does
    falls on all of them."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {
        name: tuple(statistics.median(column) for column in zip(*each, strict=True))
        for name, each in taken.items()
    }


def on_cpu(files: ModelFiles, path: Path, seconds: float, rounds: int, batch: int) -> dict:
    encoder = OnnxImageEncoder(files)
    batch = batch or encoder.batch
    samples: list[Sample] = []
    analyse(path, seconds, samples.append)
    kept = Counting()
    run_channel(kept, 1, feed_all(samples))
    images = kept.images
    parts = [images[at : at + batch] for at in range(0, len(images), batch)]
    tensors = [encoder.preprocess.stack(part) for part in parts]
    session = prepared.open_session(files, files.prepared / graph_file("image", int8=False))
    session.run(None, {"input": tensors[0]})

    def ready() -> None:
        for tensor in tensors:
            session.run(None, {"input": tensor})

    def raw() -> None:
        for part in parts:
            encoder.encode_images(part)

    def whole() -> None:
        run_channel(encoder, batch, lambda take: analyse(path, seconds, take))

    took = timed(
        {
            "ready": ready,
            "raw": raw,
            "fed": lambda: run_channel(encoder, batch, feed_all(samples)),
            "shared": lambda: analyse(path, seconds, lambda _: None),
            "bare": lambda: decode(path, seconds),
            "whole": whole,
        },
        rounds,
    )
    wall = {name: each[0] for name, each in took.items()}
    processor = {name: each[1] for name, each in took.items()}
    return {
        "device": "cpu",
        "batch": batch,
        "samples": len(samples),
        "encoded": len(images),
        "seconds": {name: round(each, 3) for name, each in wall.items()},
        "processor_seconds": {name: round(each, 3) for name, each in processor.items()},
        "encoder_pictures_per_second": round(len(images) / wall["ready"], 2),
        "resizing": round(wall["raw"] / wall["ready"] - 1, 4),
        "own_overhead": round(wall["fed"] / wall["ready"] - 1, 4),
        "own_overhead_cpu": round(processor["fed"] / processor["ready"] - 1, 4),
        "total_overhead": round(wall["whole"] / wall["ready"] - 1, 4),
        "total_overhead_cpu": round(processor["whole"] / processor["ready"] - 1, 4),
        "limit": round(wall["bare"] / wall["ready"], 4),
        "limit_cpu": round(processor["bare"] / processor["ready"], 4),
        "load_average": round(os.getloadavg()[0], 1),
        "times_real_time": round(seconds / wall["whole"], 2),
    }


def on_gpu(files: ModelFiles, path: Path, seconds: float, rounds: int, batch: int) -> dict:
    """The channel, fed from memory with more pictures than the film has (each differs from the
    one before it), against the bare network on tensors that are on the card already."""
    import torch

    encoder = OpenClipEncoder(files, device="cuda", precision="bf16", batch=batch)
    found: list[Sample] = []
    analyse(path, seconds, found.append)
    kept = Counting()
    run_channel(kept, 1, feed_all(found))
    images = [kept.images[at % len(kept.images)] for at in range(GPU_PICTURES)]
    samples = [Sample(float(at), 0.0, image) for at, image in enumerate(images)]
    shape = (encoder.batch, 3, encoder.preprocess.height, encoder.preprocess.width)
    tensor = torch.rand(shape, device="cuda", dtype=torch.bfloat16)
    batches = GPU_PICTURES // encoder.batch

    def ready() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                encoder.model.encode_image(tensor)
        torch.cuda.synchronize()

    def fed() -> None:
        count = run_channel(encoder, encoder.batch, feed_all(samples))
        assert count > 0.9 * GPU_PICTURES, count

    ready(), fed()
    took = timed(
        {"ready": ready, "fed": fed, "shared": lambda: analyse(path, seconds, lambda _: None)},
        rounds,
    )
    bare = batches * encoder.batch / took["ready"][0]
    ours = GPU_PICTURES / took["fed"][0]
    decoded = len(found) / took["shared"][0]
    return {
        "device": torch.cuda.get_device_name(),
        "batch": encoder.batch,
        "bare_pictures_per_second": round(bare, 1),
        "channel_pictures_per_second": round(ours, 1),
        "share_of_bare": round(ours / bare, 4),
        # One decode of one film at one picture a second; what feeds the channel in indexing.
        "sampled_pictures_per_second": round(decoded, 1),
        "times_real_time": round(seconds * min(ours, decoded) / len(found), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=FILM)
    parser.add_argument("--models", default="ViT-B-32,ViT-B-16-SigLIP,ViT-SO400M-14-SigLIP")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=0, help="0: the encoder's own")
    parser.add_argument("--folder", type=Path, help="where to keep the models; default: nowhere")
    options = parser.parse_args()
    if not options.file.exists():
        print(f"{options.file} is not there; name a video.", file=sys.stderr)
        return 1
    import torch

    result: dict[str, Any] = {
        "file": options.file.name,
        "seconds": options.seconds,
        "cores": len(os.sched_getaffinity(0)),
        "rounds": options.rounds,
        "models": {},
    }
    with tempfile.TemporaryDirectory(prefix="frame-bench-") as temporary:
        for name in options.models.split(","):
            files = make_model(name, options.folder or Path(temporary))
            ways = [on_cpu, *([on_gpu] if torch.cuda.is_available() else [])]
            measured = [
                way(files, options.file, options.seconds, options.rounds, options.batch)
                for way in ways
            ]
            result["models"][name] = measured
            print(f"{name}: {json.dumps(measured)}", flush=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
