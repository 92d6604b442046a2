"""What preparations of models share: what they need, a folder that is whole or not there, and ONNX
Runtime's passes over a graph."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from index.errors import ModelMissingError
from ingest.models.files import INSTALL_MODELS, ModelFiles

Progress = Callable[[str], None]
"""Is told what is being done, in a few words."""


def need_exporter(files: ModelFiles) -> None:
    """Raises ModelMissingError where packages are missing that torch's exporter and the quantizer
    need, and which they would ask for late."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelMissingError(
            f"Preparing {files.name} needs the packages onnx and onnxscript ({error}): "
            f"{INSTALL_MODELS}."
        ) from error


@contextmanager
def whole_folder(files: ModelFiles) -> Iterator[Path]:
    """A folder to fill, which takes the place of `files.prepared` at the end. Nothing is left of it
    where that does not come; a kill leaves the old one in its place, or aside, never half of one.

    Whoever has the old one's files open keeps them. Raises ModelMissingError where the disk is full
    or may not be written.
    """
    place = files.prepared
    # No process's number: in containers all have the same, and what was killed left its folders.
    mark = secrets.token_hex(4)
    building = place.with_name(f"{place.name}.{mark}.new")
    try:
        building.mkdir(parents=True)
        yield building
        old = place.with_name(f"{place.name}.{mark}.old")
        if place.exists():
            place.rename(old)
        building.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        out = "free some space" if full else "let this user write there"
        raise ModelMissingError(
            f"{place} cannot be written ({error.strerror or error}): {out}, or choose another "
            "folder (the setting models.dir)."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def write_facts(folder: Path, record: dict[str, Any], name: str) -> None:
    """What was made, as JSON beside it."""
    (folder / name).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def export_graph(
    files: ModelFiles,
    module: Any,
    inputs: Mapping[str, Any],
    axes: Sequence[Mapping[int, Any]],
    path: Path,
    *,
    output: str = "vectors",
    instead: str = "It runs with torch as it is.",
    **options: Any,
) -> None:
    """Writes the graph of a torch module, its weights beside it, so that they are mapped and only
    what a query touches is read.

    inputs: name -> an example. axes: of each of them, axis -> the torch.export.Dim that it is free
    in. instead: what to do where that fails. options: torch.onnx.export's.

    Raises ModelMissingError where the exporter fails.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        try:
            torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=tuple(axes),
                dynamo=True,
                verbose=False,
                **{"external_data": True, **options},
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise ModelMissingError(
                f"{files.name} cannot be exported for use without torch: "
                f"{str(error).splitlines()[0]} {instead}"
            ) from error


def quantize_graph(source: Path, target: Path, **options: Any) -> None:
    """Weights to eight bits, a scale for each column; what flows between them stays float32.
    options: quantize_dynamic's."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Seven of the eight bits. Processors without VNNI add two products of eight in sixteen,
        # which overflows unnoticed: scores are then three times as far off, there only.
        reduce_range=True,
        **options,
    )


def optimise_graph(source: Path, target: Path) -> None:
    """Fuses what opening a session would fuse each time; weights lie beside the graph, so that they
    are mapped and not read. Not what is for one processor's layouts: the folder may be carried to
    another machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    entry = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{entry}_file_name", f"{target.name}.data")
    options.add_session_config_entry(f"{entry}_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
