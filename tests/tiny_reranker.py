"""Tiny cross-encoders of the real formats, random weights, tokenizers trained on the fly."""

from __future__ import annotations

from pathlib import Path

from tiny_text import SIZE, _special_tokens_of, _unigram, _word_pieces

from ingest.models.files import ModelFiles


def tiny_reranker(folder: Path, kind: str = "bert", *, labels: int = 1) -> ModelFiles:
    """Saves a sequence classifier below `folder`. kind: "bert", as ms-marco-MiniLM, or
    "xlm-roberta", as bge-reranker-v2-m3."""
    import torch
    import transformers
    from tokenizers import processors

    torch.manual_seed(0)
    bert = kind == "bert"
    tokenizer = _word_pieces() if bert else _unigram()
    first, last = ("[CLS]", "[SEP]") if bert else ("<s>", "</s>")
    pair = f"{first} $A {last} $B:1 {last}:1" if bert else f"{first} $A {last} {last} $B {last}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if bert else [])]
    words = {f"{role}_token": token for role, token in _special_tokens_of(kind).items()}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, model_input_names=inputs, **words
    )
    make = transformers.BertConfig if bert else transformers.XLMRobertaConfig
    config = make(
        vocab_size=len(fast),
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        pad_token_id=fast.pad_token_id,
        max_position_embeddings=64 if bert else 66,
        type_vocab_size=2 if bert else 1,
        num_labels=labels,
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():  # fresh weights are so small that all texts look alike
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(64 if "classifier" in name else 8)
    place = folder / "model"
    model.save_pretrained(place)
    fast.save_pretrained(place)
    return ModelFiles("somebody/tiny", place, "0123456789abcdef", folder / "prepared")
