"""What the channel `sound` adds to the encoder: decoding, resampling, windows, features.

    python benchmarks/sound.py [RECORDING]

A CLAP of the true shapes (laion/clap-htsat-unfused) with random weights; no figure depends on what
the weights are. Three ways over one recording, in one run on two threads: the tower alone on ready
features, the encoder on ready windows, the channel on the file. In CPU seconds of all threads,
since the machine may have other work. Then, what 8-bit weights cost the text tower.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

RECORDING = ROOT.parent / "shared" / "data" / "audio" / "lucier" / "lucier.wav"
RATE, WINDOW, STEP = 48_000, 480_000, 240_000
BATCH = 8
ROUNDS = 3


def clap_folder(folder: Path):
    """A model of the true shapes. Its tokenizer knows letters only, which nothing here reads."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

    from ingest.models.files import ModelFiles

    torch.manual_seed(0)
    ClapModel(ClapConfig()).save_pretrained(folder)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(["a"], 270, special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    trained.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return ModelFiles("true-shapes", folder, "00" * 8, folder / "prepared")


def seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    import torch

    from index.schema import Generation, Stream, Video
    from ingest.audio import read_audio
    from ingest.channels.settings import SoundSettings
    from ingest.channels.sound import SoundChannel
    from ingest.models.clap import ClapEncoder, describe_clap
    from ingest.models.clap_export import prepare

    torch.set_num_threads(2)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDING
    heard = np.concatenate([block.samples for block in read_audio(path, sample_rate=RATE)])
    starts = range(0, max(1, len(heard) - WINDOW + STEP), STEP)  # the channel's windows
    windows = [heard[at : at + WINDOW] for at in starts]
    with tempfile.TemporaryDirectory() as folder:
        files = clap_folder(Path(folder))
        encoder = ClapEncoder(files, device="cpu")
        batches = [windows[at : at + BATCH] for at in range(0, len(windows), BATCH)]
        extractor = encoder.extractor
        ready = [
            torch.from_numpy(
                np.asarray(
                    extractor(batch, sampling_rate=RATE, return_tensors="np")["input_features"],
                    dtype=np.float32,
                )
            )
            for batch in batches
        ]

        def tower() -> None:
            with torch.inference_mode():
                for mel in ready:
                    longer = torch.zeros((len(mel), 1), dtype=torch.bool)
                    encoder.model.get_audio_features(input_features=mel, is_longer=longer)

        def encode() -> None:
            for batch in batches:
                encoder.encode_audio(batch)

        channel = SoundChannel(SoundSettings(batch=BATCH), lambda: encoder, describe_clap(files))
        video = Video("v", "a recording", streams=(Stream(0, "audio", "pcm"),))

        def run() -> None:
            for _ in channel.run(path, video, Generation("v", 0, "sound", "f"), 0.0):
                pass

        tower()  # once unmeasured: threads, memory
        # By turns, so that what else the machine does falls on all three; the best of each counts.
        times = np.array([[seconds_of(way) for way in (tower, encode, run)] for _ in range(ROUNDS)])
        rounded = prepare(files, int8=True)["cosine"]
    each = times.min(axis=0) / len(windows)
    print(f"{len(windows)} windows of {len(heard) / RATE:.0f} s, torch {torch.__version__}")
    for name, one in zip(("tower on ready features", "encoder", "channel"), each, strict=True):
        print(f"{name:26} {one:7.3f} s a window   x {one / each[0]:.2f}")
    print(f"text tower with 8-bit weights: cosine {rounded:.4f} at least")


if __name__ == "__main__":
    main()
