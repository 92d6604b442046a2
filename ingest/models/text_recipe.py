"""How a text encoder of the Hugging Face format is to be used: what the files beside its weights
say (those that the sentence-transformers library writes), and what they leave unsaid.

Read without loading a model or any library, because a channel's fingerprint needs it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from index.errors import ConfigError, ModelMissingError
from ingest.models.files import ModelFiles

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Ways from the tokens' vectors to one, by their names in 1_Pooling/config.json; several at once
are laid end to end in this order."""

MOST_TOKENS = 512
"""Longer text is cut there, whatever the model takes. A passage of six sentences has about 100
tokens, and attention over thousands would cost memory for nothing."""

_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
_REPRESENT = "Represent this sentence for searching relevant passages: "

FAMILIES: tuple[tuple[str, str, str], ...] = (
    (r"e5-.*-instruct", _INSTRUCT + "Query: ", ""),
    (r"(^|/|-)e5-(small|base|large)", "query: ", "passage: "),
    (r"bge-(small|base|large)-en", _REPRESENT, ""),
    (r"bge-(small|base|large)-zh", "为这个句子生成表示以用于检索相关文章：", ""),
    (r"arctic-embed-.*v2", "query: ", ""),
    (r"arctic-embed", _REPRESENT, ""),
    (r"mxbai-embed-large", _REPRESENT, ""),
    (r"gte-qwen2", _INSTRUCT + "Query: ", ""),
    (r"qwen3-embedding", _INSTRUCT + "Query:", ""),
    (r"nomic-embed-text", "search_query: ", "search_document: "),
    (r"embeddinggemma", "task: search result | query: ", "title: none | text: "),
)
"""(pattern of the model's name, what comes before a query, before a passage), as the model cards
of these families ask for it; the first that matches counts. They are for models whose files do not
say it, as those of E5 and BGE do not. Others (GTE, BGE-M3, the sentence-transformers models) want
nothing. docs/models-text.md has the sources."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a text's vector after pooling.

    kind: "dense" (a linear layer and its activation) or "normalize". folder: where the layer's
    weights lie, below the model's folder. activation: name of a class in torch.nn.
    """

    kind: str
    folder: str = ""
    activation: str = "Identity"


@dataclass(frozen=True, slots=True)
class TextRecipe:
    """max_tokens: of a text, special tokens included; what is longer is cut. pooling: some of
    POOLINGS. steps: in their order. query_prefix, passage_prefix: put before the text as they are.
    lower_case: before the tokenizer. size: of the vectors that come out.
    """

    max_tokens: int
    pooling: tuple[str, ...]
    steps: tuple[Step, ...]
    query_prefix: str
    passage_prefix: str
    lower_case: bool
    size: int


def read_recipe(
    files: ModelFiles,
    *,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
    max_tokens: int = MOST_TOKENS,
) -> TextRecipe:
    """What the model's files say. A prefix that is given counts instead of theirs.

    Without modules.json the tokens' mean is taken, as sentence-transformers does.

    Raises ModelMissingError where there is no such model, and ConfigError where it needs something
    that is not known here.
    """
    folder = files.folder
    config = _json(files, "config.json")
    if config is None:
        raise ModelMissingError(
            f"No text encoder at {folder}: it holds no config.json. To have it: {files.fetching}."
        )
    pooling: tuple[str, ...] = ("mean",)
    steps: list[Step] = []
    size = _hidden_size(config)
    for module in _json(files, "modules.json") or []:
        kind = str(module["type"]).rpartition(".")[2]
        path = module["path"]
        if kind == "Pooling":
            pooling = _pooling(files, _json(files, f"{path}/config.json") or {})
            size *= len(pooling)
        elif kind == "Dense":
            dense = _json(files, f"{path}/config.json") or {}
            steps.append(_dense(files, path, dense))
            size = int(dense["out_features"])
        elif kind == "Normalize":
            steps.append(Step("normalize"))
        elif kind not in ("Transformer", "Dropout"):
            raise ConfigError(
                f"The text encoder {files.name} has a part “{kind}”, which Longtake does not know. "
                "Another model is needed: [channels.text] model = NAME."
            )
    transformer = _transformer(files)
    own_query, own_passage = _prefixes(files)
    return TextRecipe(
        max_tokens=min(max_tokens, longest_text(files, config, transformer)),
        pooling=pooling,
        steps=tuple(steps),
        query_prefix=own_query if query_prefix is None else query_prefix,
        passage_prefix=own_passage if passage_prefix is None else passage_prefix,
        lower_case=bool(transformer.get("do_lower_case")),
        size=size,
    )


def recipe_record(recipe: TextRecipe) -> dict[str, Any]:
    """JSON-like, for the fingerprint and for what is prepared."""
    record = {name: getattr(recipe, name) for name in TextRecipe.__slots__}
    steps = [{name: getattr(step, name) for name in Step.__slots__} for step in recipe.steps]
    return record | {"pooling": list(recipe.pooling), "steps": steps}


def recipe_from(record: dict[str, Any]) -> TextRecipe:
    """Of what `recipe_record` made."""
    steps = tuple(Step(**step) for step in record["steps"])
    known = {name: record[name] for name in TextRecipe.__slots__}
    return TextRecipe(**(known | {"pooling": tuple(record["pooling"]), "steps": steps}))


def with_overrides(
    recipe: TextRecipe, query_prefix: str | None, passage_prefix: str | None, max_tokens: int
) -> TextRecipe:
    """The recipe with what the settings say instead; None says nothing."""
    return replace(
        recipe,
        query_prefix=recipe.query_prefix if query_prefix is None else query_prefix,
        passage_prefix=recipe.passage_prefix if passage_prefix is None else passage_prefix,
        max_tokens=min(recipe.max_tokens, max_tokens),
    )


def _json(files: ModelFiles, name: str) -> Any:
    """None where there is no such file."""
    path = files.folder / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(files, path, error) from error


def _damaged(files: ModelFiles, path: Path, error: Exception) -> ModelMissingError:
    return ModelMissingError(
        f"{path} of the text encoder {files.name} cannot be read ({error}). "
        f"To have it whole: {files.fetching}."
    )


def _hidden_size(config: dict[str, Any]) -> int:
    """T5 and DistilBERT have their own names for it; models that also see nest the text's part."""
    for place in (config, config.get("text_config") or {}):
        for name in ("hidden_size", "d_model", "dim", "n_embd"):
            if name in place:
                return int(place[name])
    raise ConfigError("This text encoder's config.json does not say how long its vectors are.")


def _pooling(files: ModelFiles, config: dict[str, Any]) -> tuple[str, ...]:
    if not config.get("include_prompt", True):
        raise ConfigError(
            f"The text encoder {files.name} leaves its prefix out of the mean, which Longtake "
            "cannot do. Another model is needed: [channels.text] model = NAME."
        )
    chosen = config.get("pooling_mode")
    if chosen is None:  # as written before sentence-transformers 5.3 or so: a flag for each
        flags = {
            "cls": "pooling_mode_cls_token",
            "max": "pooling_mode_max_tokens",
            "mean": "pooling_mode_mean_tokens",
            "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
            "weightedmean": "pooling_mode_weightedmean_tokens",
            "lasttoken": "pooling_mode_lasttoken",
        }
        chosen = [name for name, flag in flags.items() if config.get(flag)] or ["mean"]
    chosen = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    unknown = [name for name in chosen if name not in POOLINGS]
    if unknown:
        raise ConfigError(
            f"The text encoder {files.name} pools by “{unknown[0]}”. Known: {', '.join(POOLINGS)}."
        )
    return chosen


def _dense(files: ModelFiles, path: str, config: dict[str, Any]) -> Step:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    reads = config.get("module_input_name", "sentence_embedding")
    if (
        not activation.startswith("torch.nn.modules.")
        or config.get("use_residual")
        or reads != "sentence_embedding"
    ):
        raise ConfigError(
            f"The text encoder {files.name} has a dense layer of a kind that Longtake does not "
            f"know ({files.folder / path}/config.json)."
        )
    return Step("dense", path, activation.rpartition(".")[2])


def _transformer(files: ModelFiles) -> dict[str, Any]:
    names = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    for name in names:
        found = _json(files, f"sentence_{name}_config.json")
        if found:
            return found
    return {}


def longest_text(files: ModelFiles, config: dict[str, Any], transformer: dict[str, Any]) -> int:
    """Tokens that a model takes, special ones included. config: its config.json. transformer: what
    sentence-transformers wrote beside it, {} for nothing."""
    limits = [transformer.get("max_seq_length")]
    if limits[0] is None:
        limits.append((_json(files, "tokenizer_config.json") or {}).get("model_max_length"))
    positions = config.get("max_position_embeddings")
    if positions and positions > 0:
        # The RoBERTa family counts positions from the one after the padding token's.
        shifted = re.search("roberta|camembert|mpnet", str(config.get("model_type")))
        limits.append(positions - (int(config.get("pad_token_id", 1)) + 1 if shifted else 0))
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < 10**9]
    return min(known, default=MOST_TOKENS)


def _prefixes(files: ModelFiles) -> tuple[str, str]:
    """Before a query, before a passage."""
    config = _json(files, "config_sentence_transformers.json") or {}
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    passages = [prompts[name] for name in ("document", "passage", "corpus") if name in prompts]
    if "query" in prompts or passages:
        return prompts.get("query", ""), passages[0] if passages else ""
    default = prompts.get(config.get("default_prompt_name") or "")
    if default:
        return default, default
    for pattern, query, passage in FAMILIES:
        if re.search(pattern, files.name.lower()):
            return query, passage
    return "", ""
