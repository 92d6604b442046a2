"""Preparing a text encoder for use without torch: its ONNX graph, checked against torch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.preparing import (
    Progress,
    export_graph,
    need_exporter,
    optimise_graph,
    quantize_graph,
    whole_folder,
    write_facts,
)
from ingest.models.text_encoder import TransformersTextEncoder
from ingest.models.text_onnx import FORMAT, GRAPH, RECORD, TOKENIZER, OnnxTextEncoder
from ingest.models.text_recipe import recipe_record
from ingest.models.text_tokens import INDEX, PIECES, SKELETON, write_vocabulary

LEAST_COSINE = 0.999
"""Between what torch and what the graph makes of the same text; below it the graph is refused."""
LEAST_INT8_COSINE = 0.9
"""The same with weights of eight bits. What it really is, is written down in encoder.json."""


def prepare(
    files: ModelFiles, *, int8: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Writes `files.prepared`: model.onnx and its weights, tokenizer.json and encoder.json (and,
    for a large vocabulary, what finds its pieces without loading it). It appears whole or not at
    all, and replaces what was there. Returns what encoder.json says, of which `cosine` is the
    least over `SAMPLES` between torch and what was prepared, and `unrelated_cosine` the mean
    between one of `SUBJECTS` as a query and another as a passage.

    int8: weights of the matrices, and of the words' table, in eight bits: a quarter of the size.

    Raises ModelMissingError where packages are missing, the weights cannot be read, or the result
    does not agree with torch, or cannot be written; ConfigError for an unknown kind of model.
    """
    say = progress or (lambda text: None)
    need_exporter(files)
    say(f"loading {files.name}")
    encoder = TransformersTextEncoder(files, device="cpu")
    with whole_folder(files) as building:
        say("exporting the graph")
        _export(files, encoder, building / GRAPH)
        if int8:
            say("quantizing")
            quantize(building)
        say("optimising the graph")
        optimise(building)
        say("writing the tokenizer")
        _write_tokenizer(encoder, building)
        record: dict[str, Any] = {
            "format": FORMAT,
            "name": files.name,
            "digest": files.digest,
            "int8": int8,
            "pad": encoder.tokenizer.pad_token_id or 0,
            "recipe": recipe_record(encoder.recipe),
            "unrelated_cosine": _unrelated(encoder),
        }
        write_facts(building, record, RECORD)
        say("comparing with torch")
        record["cosine"] = _compare(files, encoder, building, int8)
        write_facts(building, record, RECORD)
    return record


def _export(files: ModelFiles, encoder: TransformersTextEncoder, path: Path) -> None:
    """One graph from token ids to unit vectors."""
    import torch

    from ingest.models.text_encoder import load_module

    # Plain attention exports to plain matrix products, which ONNX Runtime fuses by itself.
    module = load_module(files, encoder.recipe, dtype=torch.float32, attention="eager")
    ids = torch.tensor([[7, 5, 6, 8, 5], [7, 6, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens")
    export_graph(
        files,
        module,
        {"input_ids": ids, "attention_mask": mask},
        [{0: texts, 1: tokens}] * 2,
        path,
        instead="Another model is needed: [channels.text] model = NAME.",
    )


def quantize(folder: Path) -> None:
    """The weights of the graph, and of its table of words, to eight bits."""
    whole = _aside(folder)
    quantize_graph(
        whole / GRAPH,
        folder / GRAPH,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        use_external_data_format=True,
        extra_options={"DefaultTensorType": 1},
    )
    shutil.rmtree(whole)


def optimise(folder: Path) -> None:
    """The graph, with what opening a session would fuse each time fused."""
    whole = _aside(folder)
    optimise_graph(whole / GRAPH, folder / GRAPH)
    shutil.rmtree(whole)


def _aside(folder: Path) -> Path:
    """Moves the graph and its weights into a folder of their own, for a next one made of it."""
    whole = folder / "whole"
    whole.mkdir()
    for path in folder.glob(f"{GRAPH}*"):
        path.rename(whole / path.name)
    return whole


def _write_tokenizer(encoder: TransformersTextEncoder, folder: Path) -> None:
    tokenizer = encoder.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    if write_vocabulary(folder / TOKENIZER, folder) and not _same_tokens(encoder, folder):
        for name in (SKELETON, INDEX, PIECES):
            (folder / name).unlink()


def _same_tokens(encoder: TransformersTextEncoder, folder: Path) -> bool:
    from ingest.models.text_tokens import PieceTokenizer

    pieces = PieceTokenizer(folder)
    most = encoder.recipe.max_tokens
    for text in SAMPLES:
        found = pieces.encode(text, most)
        whole = encoder.tokenizer(text, truncation=True, max_length=most)["input_ids"]
        if found is not None and found != whole:
            return False
    return True


def _compare(
    files: ModelFiles, encoder: TransformersTextEncoder, folder: Path, int8: bool
) -> float:
    """The least cosine over the samples, as queries and as passages; raises ModelMissingError
    where it is too low."""
    ours = OnnxTextEncoder(ModelFiles(files.name, files.folder, files.digest, folder))
    least = 1.0
    for one, other in (
        (encoder.encode_queries(SAMPLES), ours.encode_queries(SAMPLES)),
        (encoder.encode_passages(SAMPLES), ours.encode_passages(SAMPLES)),
    ):
        least = min(least, float(np.min(np.sum(one * other, axis=1))))
    wanted = LEAST_INT8_COSINE if int8 else LEAST_COSINE
    if not least > wanted:
        ways = "Prepare it without int8." if int8 else "Another model is needed."
        raise ModelMissingError(
            f"The text encoder {files.name} gives other vectors once prepared: a cosine of "
            f"{least:.4f} to those of torch, where more than {wanted} is needed. {ways}"
        )
    return round(least, 6)


def _unrelated(encoder: TransformersTextEncoder) -> float:
    cosines = encoder.encode_queries(SUBJECTS) @ encoder.encode_passages(SUBJECTS).T
    return round(float(cosines[~np.eye(len(SUBJECTS), dtype=bool)].mean()), 6)


SAMPLES = (
    "clockwork",
    "when does the goal fall",
    "How do I add a layer mask without deleting anything?",
    "So the idea here is that the derivative tells you how sensitive the output is to tiny "
    "changes of the input. And that is all there is to it. Now let us look at what happens when "
    "we put one function inside another, because that is where most people get lost.",
    "Der Leuchtturm steht auf einem Felsen, und jeden Abend zog der Wärter das Uhrwerk auf.",
    "La marée monte et descend deux fois par jour; c’est la Lune qui attire l’eau de l’océan.",
    "¿Dónde está la biblioteca? Al fondo a la derecha.",
    "Луна притягивает воду океана, поэтому дважды в день бывает прилив.",
    "月亮的引力引起海水的潮汐。",
    "潮の満ち引きは月の引力によって起こる。",
    "القمر يجذب مياه المحيط.",
    "चंद्रमा समुद्र के पानी को खींचता है।",
    "$ git commit --amend -m 'fix: off-by-one in parse_row()'  # 3 files changed, 41 insertions(+)",
    "The lighthouse on Bishop Rock was built by hand. Every stone was carried across the water. "
    * 12,
)
"""What the graph is compared with torch on: short and long, of many scripts, code too."""

SUBJECTS = (
    "How do I keep tomato plants from rotting in a wet summer?",
    "The referee blew the whistle and pointed at the penalty spot.",
    "Interest rates rose by half a percent this quarter.",
    "Hold the bow loosely and let the string ring.",
    "The enzyme cuts the protein where it folds.",
    "Click the layer's icon and drag it below the background.",
    "In the fourteenth century the bridge was the only way across the river.",
    "Add the flour slowly, or the dough will clump.",
    "A matrix with determinant zero squashes space onto a line.",
    "The train to the airport leaves every ten minutes from platform two.",
    "Her grandmother had kept the letters in a tin under the bed.",
    "Tighten the chain until it gives about a finger's width.",
)
"""Sentences of which no two are about the same thing."""
