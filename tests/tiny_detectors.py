"""Detectors with random weights in their real formats."""

from __future__ import annotations

import json
from pathlib import Path

from ingest.models.files import ModelFiles


def tiny_owlv2(folder: Path) -> ModelFiles:
    import torch
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    folder.mkdir(parents=True)
    letters = "!abcdefghijklmnopqrstuvwxyz0123456789×"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: n for n, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=16, pad_token="!")
    torch.manual_seed(3)
    config = Owlv2Config(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 16,
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 48,
            "patch_size": 8,
        },
        projection_dim=32,
    )
    model = Owlv2ForObjectDetection(config)
    with torch.no_grad():  # else noise pushes every box to the edges
        for weights in model.box_head.parameters():
            weights *= 0.05
    model.save_pretrained(folder)
    pictures = Owlv2ImageProcessor(size={"height": 48, "width": 48})
    Owlv2Processor(pictures, tokenizer).save_pretrained(folder)
    return ModelFiles("tiny/owlv2", folder, "ab" * 8, folder.parent / "prepared")


def tiny_grounding_dino(folder: Path) -> ModelFiles:
    import torch
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder.mkdir(parents=True)
    # The model knows [CLS], [SEP], "." and "?" by the numbers that they have in BERT's vocabulary.
    vocabulary = [f"[unused{n}]" for n in range(1100)]
    known = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    known |= {1012: ".", 1029: "?", 1030: "person", 1031: "red", 1032: "car", 1033: "bottle"}
    known |= {1040 + n: letter for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    known |= {1070 + n: f"##{letter}" for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    for n, word in known.items():
        vocabulary[n] = word
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(5)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=32,
            max_position_embeddings=32,
        ),
        d_model=32,
        num_queries=15,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_text_len=32,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizer.from_pretrained(folder)
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 256})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return ModelFiles("tiny/grounding-dino", folder, "cd" * 8, folder.parent / "prepared")
