"""Whisper models with random weights in their real format: made by transformers, converted by
CTranslate2, with a byte-level tokenizer that has Whisper's special tokens."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

from ingest.models.files import ModelFiles

_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
_TIMESTAMPS = 1501


def make_whisper(
    folder: Path, *, width: int = 32, layers: int = 2, heads: int = 2, text_tokens: int = 1665
) -> ModelFiles:
    """A multilingual Whisper as faster-whisper loads it. Width 512, 6 layers, 8 heads and 50,257
    text tokens are the shape of whisper-base."""
    import torch
    import transformers
    from ctranslate2.converters import TransformersConverter

    tokenizer = _tokenizer(text_tokens)
    ids = tokenizer.get_vocab()
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=len(ids) + _TIMESTAMPS,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            decoder_ffn_dim=4 * width,
            # Wide enough in a narrow network that the sound makes a difference.
            init_std=0.2 if width < 128 else 0.02,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=start,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    settings = model.generation_config
    settings._from_model_config = False  # else what is set here is not read back
    settings.lang_to_id = {f"<|{code}|>": ids[f"<|{code}|>"] for code in _languages()}
    settings.suppress_tokens = []
    settings.begin_suppress_tokens = [ids["Ġ"], end]
    model.save_pretrained(folder / "transformers")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    ).save_pretrained(folder / "transformers")
    transformers.WhisperFeatureExtractor().save_pretrained(folder / "transformers")
    converter = TransformersConverter(
        str(folder / "transformers"), copy_files=["tokenizer.json", "preprocessor_config.json"]
    )
    converter.convert(str(folder / "converted"))
    return ModelFiles("tiny-random", folder / "converted", "0123abcd", folder / "prepared")


def _languages() -> list[str]:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    return [code for code in _LANGUAGE_CODES if code != "yue"]  # which large-v3 added


def _tokenizer(text_tokens: int):
    """Byte-level BPE whose merges spell letter groups, with a space before or not."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = text_tokens - len(alphabet) - 1
    merges: list[tuple[str, str]] = []
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            word = "".join(letters)
            merges.append(("Ġ" + word[:-1], word[-1]))
            if length > 1:
                merges.append((word[:-1], word[-1]))
        if len(merges) >= room:
            break
    merges = merges[:room]
    # The empty token is how CTranslate2 tells a multilingual Whisper.
    tokens = [*alphabet, *(first + second for first, second in merges), ""]
    tokenizer = tokenizers.Tokenizer(
        models.BPE({token: number for number, token in enumerate(tokens)}, merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *_languages(), *_TASKS]
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names]
    )
    return tokenizer
