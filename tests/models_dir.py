"""A models folder with a small model for every channel, in the formats that the hub has them in,
and a profile that uses them all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import minilm
from tiny_clap import tiny_clap
from tiny_clip import CLIP, save_clip
from tiny_detectors import tiny_owlv2
from whisper_models import make_whisper

WORDS_IN_PICTURES = ("a lighthouse", "a harbour", "noise", "a gray wall", "a sheet of paper")


def fill(folder: Path) -> Path:
    """Makes the models below `folder`/models; returns the profile's path."""
    made, models = folder / "made", folder / "models"
    made.mkdir(parents=True)
    pictures = {"mean": [0.5] * 3, "std": [0.25] * 3}
    small = save_clip(made, "small", CLIP, pictures)
    wide = save_clip(made, "wider", {**CLIP, "embed_dim": 48}, pictures)
    for kind, name, source in (
        ("clip", "small", small.folder),
        ("clip", "wider", wide.folder),
        ("clap", "clap", tiny_clap(made / "clap").folder),
        ("detector", "owl", tiny_owlv2(made / "owl").folder),
        ("whisper", "whisper", make_whisper(made / "whisper").folder),
    ):
        shutil.copytree(source, models / kind / name)
    tags = folder / "tags.txt"
    tags.write_text("\n".join(WORDS_IN_PICTURES), encoding="utf-8")
    text = minilm.minilm_files(folder / "unused").folder
    profile = folder / "every-channel.toml"
    profile.write_text(
        f"""
[models]
dir = {json.dumps(str(models))}
device = "cpu"
threads = 1

[channels.frame]
model = "small"

[channels.recognition]
model = "whisper"
# A network that was never trained is sure of nothing; what it writes must not be dropped for that.
no_speech = 1.0
log_probability = -100.0
compression = 1000.0

[channels.sound]
model = "clap"
window_seconds = 2.0
step_seconds = 1.0

[channels.object]
model = "owl"
classes = ["person", "bottle"]
minimum_confidence = 0.0

[channels.caption]
words = {json.dumps(str(tags))}
tag_confidence = 0.01

[channels.text]
model = {json.dumps(str(text))}
""",
        encoding="utf-8",
    )
    return profile
