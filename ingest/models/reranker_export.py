"""Preparing a cross-encoder for use without torch: its ONNX graph, checked against torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.preparing import (
    Progress,
    export_graph,
    need_exporter,
    whole_folder,
    write_facts,
)
from ingest.models.reranker import TransformersReranker
from ingest.models.reranker_onnx import FORMAT, RECORD, OnnxReranker
from ingest.models.text_export import SAMPLES, SUBJECTS, optimise, quantize
from ingest.models.text_onnx import GRAPH, TOKENIZER

MOST_DIFFERENCE = 1e-3
"""Between the scores of torch and of the graph; above it the graph is refused."""
MOST_INT8_DIFFERENCE = 0.15
"""The same with weights of eight bits. What it really is, is written down in reranker.json."""


def prepare(
    files: ModelFiles, *, int8: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Writes `files.prepared`: model.onnx and its weights, tokenizer.json and reranker.json. It
    appears whole or not at all, and replaces what was there. Returns what reranker.json says, of
    which `difference` is the greatest between the scores of torch and of what was prepared.

    Raises ModelMissingError where packages are missing, the weights cannot be read, or the result
    does not agree with torch, or cannot be written; ConfigError for a model that is no reranker.
    """
    say = progress or (lambda text: None)
    need_exporter(files)
    say(f"loading {files.name}")
    reranker = TransformersReranker(files, device="cpu")
    with whole_folder(files) as building:
        say("exporting the graph")
        _export(files, reranker, building / GRAPH)
        if int8:
            say("quantizing")
            quantize(building)
        say("optimising the graph")
        optimise(building)
        tokenizer = reranker.tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(building / TOKENIZER), pretty=False)
        record: dict[str, Any] = {
            "format": FORMAT,
            "name": files.name,
            "digest": files.digest,
            "int8": int8,
            "pad": reranker.pad,
            "typed": reranker.typed,
            "max_tokens": reranker.max_tokens,
        }
        write_facts(building, record, RECORD)
        say("comparing with torch")
        record["difference"] = _compare(files, reranker, building, int8)
        write_facts(building, record, RECORD)
    return record


def _export(files: ModelFiles, reranker: TransformersReranker, path: Path) -> None:
    """One graph from token ids to logits, of shape (pairs,)."""
    import torch

    model = reranker.module
    model.set_attn_implementation("eager")  # exports to plain matrix products

    class Scoring(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids=None):
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            given = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
            return given.logits[:, 0].float()

    ids = torch.tensor([[7, 5, 6, 8, 5], [7, 6, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    types = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask}
    if reranker.typed:
        inputs["token_type_ids"] = types
    pairs, tokens = torch.export.Dim("pairs"), torch.export.Dim("tokens")
    axes = [{0: pairs, 1: tokens}] * len(inputs)
    export_graph(files, Scoring(), inputs, axes, path, output="logits")


def _compare(files: ModelFiles, reranker: TransformersReranker, folder: Path, int8: bool) -> float:
    """The greatest difference over the samples; raises ModelMissingError where it is too great."""
    ours = OnnxReranker(ModelFiles(files.name, files.folder, files.digest, folder))
    texts = (*SAMPLES, *SUBJECTS)
    greatest = max(
        float(np.abs(reranker.scores(query, texts) - ours.scores(query, texts)).max())
        for query in SAMPLES[:4]
    )
    allowed = MOST_INT8_DIFFERENCE if int8 else MOST_DIFFERENCE
    if not greatest <= allowed:
        ways = "Prepare it without int8." if int8 else "It runs with torch as it is."
        raise ModelMissingError(
            f"The reranker {files.name} gives other scores once prepared: {greatest:.4f} from "
            f"those of torch, where at most {allowed} is allowed. {ways}"
        )
    return round(greatest, 6)
