"""A vocabulary of 250,000 pieces without reading it.

The tokenizer of a multilingual encoder (a unigram model, Kudo 2018) takes 0.6 s to load, most of
what a cold search would take. How it cuts a short text depends only on those of its pieces that
occur in that text, so those are looked up in a file that is mapped into memory, and a tokenizer of
just them is made, which takes milliseconds. It is the same library's own tokenizer, so the tokens
are the same; `prepare` checks that, and where the trick does not apply the whole one is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError

SKELETON = "vocabulary.json"
INDEX = "vocabulary.npy"
PIECES = "vocabulary.bin"

_ROW = np.dtype(
    [("hash", "<u8"), ("score", "<f8"), ("id", "<i4"), ("start", "<u4"), ("length", "<u2")]
)
_MOST_CHARACTERS = 2000
"""Of a text; beyond it the whole tokenizer is the quicker way."""


def write_vocabulary(tokenizer_json: Path, folder: Path) -> bool:
    """Writes the three files of `PieceTokenizer` for that tokenizer into `folder`; False where it
    is of another kind (then it loads fast, or the trick does not apply)."""
    whole = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    model = whole["model"]
    if model.get("type") != "Unigram":
        return False
    vocabulary: list[tuple[str, float]] = [(piece, score) for piece, score in model["vocab"]]
    added = {token["content"]: token["id"] for token in whole.get("added_tokens", ())}
    # Always there: special tokens, the bytes that unknown characters fall back to, the unknown
    # token, and the least likely piece, from which the unknown token's score follows.
    fixed: dict[str, tuple[float, int]] = {}
    least = min(range(len(vocabulary)), key=lambda at: vocabulary[at][1])
    for at, (piece, score) in enumerate(vocabulary):
        byte = model.get("byte_fallback") and len(piece) == 6 and piece.startswith("<0x")
        if piece in added or byte or at in (least, model.get("unk_id")):
            fixed[piece] = (score, at)
    for piece, at in added.items():
        fixed.setdefault(piece, (0.0, at))
    ids = {at: new for new, (_, at) in enumerate(fixed.values())}
    processor = whole.get("post_processor")
    if not _renumber(processor, ids):
        return False
    skeleton = {
        **whole,
        "truncation": None,
        "padding": None,
        "post_processor": processor,
        "added_tokens": [
            {**token, "id": ids[token["id"]]}
            for token in sorted(whole.get("added_tokens", ()), key=lambda t: ids[t["id"]])
        ],
        "model": {
            **model,
            "unk_id": None if model.get("unk_id") is None else ids[model["unk_id"]],
            "vocab": [[piece, score] for piece, (score, _) in fixed.items()],
        },
    }
    record = {"tokenizer": skeleton, "ids": [at for _, at in fixed.values()]}
    record["longest"] = max(len(piece) for piece, _ in vocabulary)
    rows = np.zeros(len(vocabulary), _ROW)
    start = 0
    with (folder / PIECES).open("wb") as pieces:
        for at, (piece, score) in enumerate(vocabulary):
            encoded = piece.encode()
            rows[at] = (_hash(encoded), score, at, start, len(encoded))
            pieces.write(encoded)
            start += len(encoded)
    np.save(folder / INDEX, np.sort(rows, order="hash"))
    (folder / SKELETON).write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return True


class PieceTokenizer:
    """Tokens of short texts, by the files of `write_vocabulary` in `folder`.

    Raises ModelMissingError where they cannot be read.
    """

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        try:
            record = json.loads((folder / SKELETON).read_text(encoding="utf-8"))
            self._rows = np.load(folder / INDEX, mmap_mode="r")
            self._pieces = np.memmap(folder / PIECES, mode="r")
        except (OSError, ValueError) as error:
            raise ModelMissingError(
                f"The vocabulary in {folder} cannot be read ({error}). `longtake models prepare` "
                "makes it anew."
            ) from error
        self._hashes = self._rows["hash"]
        self._longest: int = record["longest"]
        self._ids: list[int] = record["ids"]
        skeleton = record["tokenizer"]
        self._model: dict[str, Any] = skeleton["model"]
        self._added = [token["content"] for token in skeleton["added_tokens"]]
        self._tokenizer = Tokenizer.from_str(json.dumps(skeleton))

    def encode(self, text: str, max_tokens: int) -> list[int] | None:
        """The text's tokens, special ones included, at most `max_tokens`; None where only the
        whole tokenizer can tell."""
        tokenizer = self._tokenizer
        normalized = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        if len(normalized) > _MOST_CHARACTERS or any(
            token in text or token in normalized for token in self._added
        ):
            return None
        words = (
            [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]
            if tokenizer.pre_tokenizer
            else [normalized]
        )
        found = self._find(words)
        self._use(found)
        tokenizer.enable_truncation(max_tokens)
        ids = [*self._ids, *(at for _, _, at in found)]
        return [ids[new] for new in tokenizer.encode(text).ids]

    def _use(self, found: Sequence[tuple[str, float, int]]) -> None:
        from tokenizers.models import Unigram

        fixed = [(piece, score) for piece, score in self._model["vocab"]]
        self._tokenizer.model = Unigram(
            [*fixed, *((piece, score) for piece, score, _ in found)],
            unk_id=self._model["unk_id"],
            byte_fallback=bool(self._model.get("byte_fallback")),
        )

    def _find(self, words: Iterable[str]) -> list[tuple[str, float, int]]:
        """(piece, score, id) of every piece that occurs in one of the words."""
        parts = {
            word[start:end]
            for word in words
            for start in range(len(word))
            for end in range(start + 1, min(len(word), start + self._longest) + 1)
        }
        parts -= {piece for piece, _ in self._model["vocab"]}
        encoded = [(part, part.encode()) for part in sorted(parts)]
        wanted = np.array([_hash(raw) for _, raw in encoded], np.uint64)
        places = np.searchsorted(self._hashes, wanted)
        found = []
        for (part, raw), place, hashed in zip(encoded, places, wanted, strict=True):
            while place < len(self._rows) and self._hashes[place] == hashed:
                row = self._rows[place]
                start = int(row["start"])
                if self._pieces[start : start + int(row["length"])].tobytes() == raw:
                    found.append((part, float(row["score"]), int(row["id"])))
                    break
                place += 1
        return found


def _hash(piece: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(piece, digest_size=8).digest(), "little")


def _renumber(processor: Any, ids: dict[int, int]) -> bool:
    """Gives the special tokens in a post-processor their new ids; False for an unknown kind."""
    if processor is None:
        return True
    kind = processor.get("type")
    if kind == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            if any(at not in ids for at in token["ids"]):
                return False
            token["ids"] = [ids[at] for at in token["ids"]]
        return True
    if kind in ("BertProcessing", "RobertaProcessing"):
        for name in ("sep", "cls"):
            piece, at = processor[name]
            if at not in ids:
                return False
            processor[name] = [piece, ids[at]]
        return True
    return False
