"""open_clip models with random weights in their real format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ingest.models.files import ModelFiles

CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 100_200,  # over 100,000 transformers asks the hub about a tokenizer
        "hf_tokenizer_name": "some/where",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"},
    },
}


def save_clip(
    folder: Path, name: str, config: dict, pictures: dict, text_folder: Path | None = None
):
    """A model with random weights in open_clip's format; `files` for it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = folder / name
    folder.mkdir()
    settings = {"model_cfg": config, "preprocess_cfg": pictures}
    (folder / "open_clip_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(3)
    built = json.loads(json.dumps(config))
    if text_folder is not None:
        shutil.copytree(text_folder, folder, dirs_exist_ok=True)
        built["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    custom = built.pop("custom_text", False) or text_folder is not None
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**built)
    with torch.no_grad():
        for weights in model.parameters():
            # Fresh layers are near nothing; like this, what goes in shows in what comes out.
            weights.add_(torch.randn_like(weights) * 0.05)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return ModelFiles(
        name, folder, f"{len(name):02x}" * 32, folder.parent / f"{folder.name}-prepared"
    )
