"""Tiny Video-LLMs of the real families, with random weights, saved as the hub has them."""

from __future__ import annotations

from pathlib import Path

from ingest.models.files import ModelFiles

QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
SMOL_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<video>",
    "<global-img>",
)
LLAVA_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for content in message['content'] %}"
    "{% if content['type'] in ('image', 'video') %}<{{ content['type'] }}>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

BYTES = 256


def build(family: str, folder: Path, *, context: int = 32768, hidden: int = 32) -> ModelFiles:
    """family: "qwen2_5_vl", "qwen3_vl", "llava_onevision" or "smolvlm". hidden: width of a layer, a
    multiple of 32."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(7)
    model, processor = _BUILDERS[family](context, hidden)
    # The library's small random weights say one token for ever, whatever they are shown. Larger
    # ones, and a head for letters only, chatter about it.
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight.data, std=0.3)
    head = model.get_output_embeddings().weight.data
    letters = processor.tokenizer.convert_tokens_to_ids([*"abcdefghijklmnopqrstuvwxyz", "Ġ", "."])
    head.zero_()
    head[letters] = torch.randn(len(letters), head.shape[1])
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return ModelFiles(f"tiny/{family}", folder, "0" * 16, folder / "prepared")


def _tokenizer(special: tuple[str, ...], end: str, **named: str):
    """One token a byte, as byte-level BPE is before its merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=special[0],
        additional_special_tokens=[token for token in special[1:] if token != end],
        **({"extra_special_tokens": named} if named else {}),
    )
    assert len(fast) == BYTES + len(special)
    return fast


def _text_sizes(context: int, tokenizer, hidden: int) -> dict:
    return {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }


def _qwen2_5(context: int, hidden: int):
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _tokenizer(QWEN_SPECIAL, "<|im_end|>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL}
    text = _text_sizes(context, tokenizer, hidden)
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [hidden // 32, hidden // 32, hidden // 16],
    }
    config = Qwen2_5_VLConfig(
        text_config=text | {"rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "tokens_per_second": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 64}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=QWEN_TEMPLATE,
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3(context: int, hidden: int):
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = _tokenizer(QWEN_SPECIAL, "<|im_end|>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL}
    text = _text_sizes(context, tokenizer, hidden)
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [hidden // 16, hidden // 32, hidden // 32],
        "mrope_interleaved": True,
    }
    config = Qwen3VLConfig(
        text_config=text | {"head_dim": hidden // 4, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    size = {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 64}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=size, patch_size=16),
        tokenizer,
        Qwen3VLVideoProcessor(size=size, cap_pixels_per_frame=False),
        chat_template=QWEN_TEMPLATE,
    )
    return Qwen3VLForConditionalGeneration(config), processor


def _llava(context: int, hidden: int):
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = _tokenizer(LLAVA_SPECIAL, "<|im_end|>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in LLAVA_SPECIAL}
    text = _text_sizes(context, tokenizer, hidden)
    config = LlavaOnevisionConfig(
        text_config=text | {"model_type": "qwen2"},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=[[56, 56], [56, 112], [112, 56]],
    )
    size = {"height": 56, "width": 56}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=config.image_grid_pinpoints),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _smolvlm(context: int, hidden: int):
    """Needs the package num2words, as the real ones do."""
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    tokenizer = _tokenizer(SMOL_SPECIAL, "<end_of_utterance>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SMOL_SPECIAL}
    text = _text_sizes(context, tokenizer, hidden)
    config = SmolVLMConfig(
        text_config=text | {"model_type": "llama"},
        vision_config={
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=ids["<image>"],
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    size, largest = {"longest_edge": 56}, {"longest_edge": 56}
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size=size, max_image_size=largest),
        tokenizer,
        SmolVLMVideoProcessor(size=size, max_image_size=largest, num_frames=8, fps=1),
        image_seq_len=4,
        chat_template=DEFAULT_CHAT_TEMPLATE,
    )
    return SmolVLMForConditionalGeneration(config), processor


_BUILDERS = {
    "qwen2_5_vl": _qwen2_5,
    "qwen3_vl": _qwen3,
    "llava_onevision": _llava,
    "smolvlm": _smolvlm,
}
