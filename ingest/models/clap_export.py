"""Exports CLAP's text tower to ONNX, so that a search for a sound needs no torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.clap import ClapEncoder
from ingest.models.clap_onnx import FACTS, FORMAT, NETWORK, TOKENIZER, OnnxClapText
from ingest.models.files import ModelFiles
from ingest.models.preparing import (
    Progress,
    export_graph,
    need_exporter,
    quantize_graph,
    whole_folder,
    write_facts,
)

LEAST_COSINE = 0.999
"""Of the exported tower's vectors with torch's, in float32."""

PROBES = (
    "applause",
    "glass breaking",
    "a dog barks in the distance while cars pass by",
    "someone plays the piano, softly, then a crowd begins to clap and cheer",
    "the sound of rain on a tin roof",
    "siren",
    "¿dónde está el perro?",
    "an engine idles; " * 60,
)
"""Texts that the two are compared on: short, long, odd, and longer than the model reads."""


def prepare(
    files: ModelFiles,
    *,
    int8: bool = False,
    progress: Progress | None = None,
) -> Mapping[str, Any]:
    """Writes the text tower, its tokenizer and their facts into `files.prepared`, which appears
    whole or not at all, and replaces what was there.

    int8: weights as 8-bit integers, a quarter of the size; what that costs is in
    the facts returned (`cosine`, the lowest over PROBES) and is not refused. progress: told what is
    being done.

    Raises ModelMissingError where the weights, torch or the exporter are missing, or where the
    export, in float32, does not agree with torch.
    """
    tell = progress or (lambda step: None)
    need_exporter(files)
    tell(f"loading {files.name}")
    encoder = ClapEncoder(files, device="cpu")
    with whole_folder(files) as made:
        tell(f"exporting the text tower of {files.name}")
        _export(files, encoder, made / NETWORK)
        encoder.tokenizer.backend_tokenizer.save(str(made / TOKENIZER))
        if int8:
            tell(f"quantizing the text tower of {files.name}")
            _quantize(made / NETWORK)
        facts = {
            "format": FORMAT,
            "digest": files.digest,
            "size": encoder.size,
            "max_tokens": encoder.max_tokens,
            "pad_id": encoder.tokenizer.pad_token_id,
            "pad_token": encoder.tokenizer.pad_token,
            "int8": int8,
        }
        tell(f"checking the text tower of {files.name} against torch")
        facts["cosine"] = _check(files, encoder, made, facts)
        if not int8 and facts["cosine"] < LEAST_COSINE:
            raise ModelMissingError(
                f"the export of {files.name} does not agree with torch (cosine "
                f"{facts['cosine']:.5f}): nothing was kept. Search with torch instead, and tell us"
            )
    return facts


def _export(files: ModelFiles, encoder: ClapEncoder, path: Path) -> None:
    import torch

    class TextTower(torch.nn.Module):
        def __init__(self, model: Any):
            super().__init__()
            self.text_model, self.text_projection = model.text_model, model.text_projection

        def forward(self, input_ids, attention_mask):
            seen = self.text_model(input_ids=input_ids, attention_mask=attention_mask)
            return torch.nn.functional.normalize(self.text_projection(seen.pooler_output), dim=-1)

    tokens = encoder.tokenizer(list(PROBES[:2]), padding=True, return_tensors="pt")
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    axes = [{0: batch, 1: length}] * 2
    export_graph(files, TextTower(encoder.model), inputs, axes, path, external_data=False)


def _quantize(path: Path) -> None:
    whole = path.with_suffix(".float32")
    shutil.move(path, whole)
    quantize_graph(whole, path)
    whole.unlink()


def _check(files: ModelFiles, encoder: ClapEncoder, made: Path, facts: Mapping[str, Any]) -> float:
    """The lowest cosine over PROBES; writes the facts."""
    write_facts(made, dict(facts), FACTS)
    exported = OnnxClapText(ModelFiles(files.name, files.folder, files.digest, made))
    cosines = np.sum(exported.encode_queries(PROBES) * encoder.encode_queries(PROBES), axis=1)
    lowest = float(cosines.min())
    write_facts(made, {**facts, "cosine": lowest}, FACTS)
    return lowest
