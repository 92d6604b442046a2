"""A CLAP with random weights in its real format."""

from __future__ import annotations

from pathlib import Path

from ingest.models.files import ModelFiles

RATE = 48_000
WORDS = (
    "applause",
    "glass breaking",
    "a dog barks far away, then closer",
    "",
    "Hundegebell",
    "rain " * 90,
)


def tiny_clap(folder: Path, *, fused: bool = False) -> ModelFiles:
    """A CLAP of a few thousand parameters in the hub's format, with a tokenizer trained on the spot
    and windows of two seconds."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapTextConfig,
        RobertaTokenizer,
    )

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([*WORDS, "thunder and wind"], 320, special_tokens=specials)
    folder.mkdir(parents=True)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(folder, model_max_length=64)
    torch.manual_seed(7)
    audio = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        depths=[1, 1],
        num_attention_heads=[2, 2],
        patch_embeds_hidden_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
    )
    text = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
    )
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=24)
    extractor = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=RATE,
        max_length_s=2,
        truncation="fusion" if fused else "rand_trunc",
        hop_length=480,
    )
    ClapModel(config).save_pretrained(folder, safe_serialization=True)
    extractor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelFiles("tiny/clap", folder, "0123456789abcdef", folder.parent / "prepared")
