"""Tiny text encoders of the real formats, with random weights and tokenizers made on the fly."""

from __future__ import annotations

import json
from pathlib import Path

from ingest.models.files import ModelFiles

LINES = (
    "The lighthouse on Bishop Rock was built by hand.",
    "Every stone was carried across the water.",
    "A keeper wound the clockwork of the lamp every evening.",
    "The moon pulls at the water of the ocean.",
    "Der Leuchtturm steht auf einem Felsen.",
    "La marée monte et descend deux fois par jour.",
    "query: passage: how do you say hello to a stranger, and why?",
)

SIZE = 32


def _special_tokens_of(kind: str) -> dict[str, str]:
    if kind == "bert":
        return dict(zip(("pad", "unk", "cls", "sep", "mask"), BERT, strict=True))
    return {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLM = ("<s>", "<pad>", "</s>", "<unk>")


def _words(tokenizer) -> list[str]:
    """What the tokenizer's first steps make of LINES, each once, in order.

    Vocabularies are written from it and not trained: the library's trainers break ties by chance,
    and a network would read other tokens in each run.
    """
    words = set()
    for line in LINES:
        text = tokenizer.normalizer.normalize_str(line)
        words |= {word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    return sorted(words)


def _word_pieces():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = _words(tokenizer)
    letters = sorted({letter for word in words for letter in word})
    pieces = dict.fromkeys([*BERT, *letters, *(f"##{letter}" for letter in letters), *words])
    pieces |= dict.fromkeys(f"[unused{n}]" for n in range(200 - len(pieces)))
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _unigram():
    """As XLM-R's: pieces by likelihood, special tokens first, the mask last."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(left=False, right=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    words = _words(tokenizer)
    letters = sorted({letter for word in words for letter in word} - set(words))
    pieces = [*((special, 0.0) for special in XLM), *((word, -4.0) for word in words)]
    tokenizer.model = models.Unigram(
        [*pieces, *((letter, -8.0) for letter in letters)], unk_id=XLM.index("<unk>")
    )
    tokenizer.add_special_tokens([*XLM, "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def tiny_encoder(
    folder: Path,
    kind: str = "bert",
    *,
    name: str = "somebody/tiny",
    pooling: str | tuple[str, ...] = "mean",
    dense: int = 0,
    prompts: dict[str, str] | None = None,
    max_seq_length: int | None = 24,
) -> ModelFiles:
    """Saves a model below `folder` with its side files as sentence-transformers writes them.

    kind: "bert", "xlm-roberta" or "qwen3". dense: size that a dense layer brings it to.
    """
    import torch
    import transformers
    from safetensors.torch import save_file
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = _word_pieces() if kind == "bert" else _unigram()
    words = {f"{role}_token": token for role, token in _special_tokens_of(kind).items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **words)
    sizes = {
        "vocab_size": len(fast),
        "hidden_size": SIZE,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "pad_token_id": fast.pad_token_id,
    }
    if kind == "bert":
        config = transformers.BertConfig(max_position_embeddings=64, **sizes)
    elif kind == "xlm-roberta":
        config = transformers.XLMRobertaConfig(max_position_embeddings=66, **sizes)
    else:
        config = transformers.Qwen3Config(
            max_position_embeddings=64, num_key_value_heads=2, head_dim=8, **sizes
        )
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():  # fresh weights are so small that all texts look alike
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    place = folder / "model"
    model.save_pretrained(place)
    fast.save_pretrained(place)

    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules += [("Dense", "2_Dense")] if dense else []
    modules += [("Normalize", f"{len(modules)}_Normalize")]
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(modules)
    ]
    _write(place / "modules.json", listed)
    several = (pooling,) if isinstance(pooling, str) else pooling
    flags = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    ways = ("mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    flags |= {way: way if way != "weightedmean" else "weightedmean_tokens" for way in ways}
    pooled = {f"pooling_mode_{flag}": way in several for way, flag in flags.items()}
    _write(place / "1_Pooling/config.json", {"word_embedding_dimension": SIZE, **pooled})
    if dense:
        layer = torch.nn.Linear(SIZE * len(several), dense)
        (place / "2_Dense").mkdir()
        weights = {f"linear.{key}": value for key, value in layer.state_dict().items()}
        save_file(weights, place / "2_Dense/model.safetensors")
        about = {"in_features": SIZE * len(several), "out_features": dense, "bias": True}
        about["activation_function"] = "torch.nn.modules.activation.Tanh"
        _write(place / "2_Dense/config.json", about)
    if max_seq_length:
        about = {"max_seq_length": max_seq_length, "do_lower_case": False}
        _write(place / "sentence_bert_config.json", about)
    if prompts is not None:
        _write(place / "config_sentence_transformers.json", {"prompts": prompts})
    return ModelFiles(name, place, "0123456789abcdef", folder / "prepared")


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
