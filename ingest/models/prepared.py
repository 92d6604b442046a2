"""Models as `longtake models prepare` has made them, to run without torch: their record, their
tokenizer, and ONNX Runtime over their graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from index.errors import ModelMissingError
from ingest.models.device import usable_cores
from ingest.models.files import ModelFiles


def read_record(files: ModelFiles, name: str, format: int) -> dict[str, Any]:
    """What preparing has written into `files.prepared` / name. Raises ModelMissingError where there
    is none, or one of other weights or another format."""
    path = files.prepared / name
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        # What was prepared for sounds said `code` at first.
        made = record["format"] if "format" in record else record["code"]
        digest = record["digest"]
    except FileNotFoundError as error:
        raise unprepared(files) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unprepared(files, f"{path} cannot be read ({error})") from error
    if made != format:
        raise unprepared(files, f"{files.prepared} was made by another Longtake")
    if digest != files.digest:
        raise unprepared(files, f"{files.prepared} was made of other weights")
    return record


def open_session(
    files: ModelFiles,
    path: Path,
    threads: int = 0,
    once: bool = False,
    *,
    optimised: bool = True,
) -> Any:
    """An onnxruntime.InferenceSession over the graph, on the CPU.

    threads: 0 is as many as this process may run on. once: opens sooner and runs slower, for a
    process that asks a query or two. optimised: whether the graph was when it was prepared.

    Raises ModelMissingError.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _not_installed("onnxruntime", error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the core that decodes the next pictures; and an owner
    # process keeps several sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights rearranged for the processor's caches run faster, but that reads and copies them all,
    # where a query alone touches few of the embeddings in the mapped file.
    options.add_session_config_entry("session.disable_prepacking", "1" if once else "0")
    if optimised:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's are of a hidden module and have no common base
        raise unprepared(files, f"{path} cannot be opened ({_first_line(error)})") from error


def open_tokenizer(files: ModelFiles, path: Path) -> Any:
    """A tokenizers.Tokenizer. Raises ModelMissingError."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise _not_installed("tokenizers", error) from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise unprepared(files, f"{path} cannot be opened ({_first_line(error)})") from error


def unprepared(files: ModelFiles, reason: str = "", int8: bool = False) -> ModelMissingError:
    """The error that says how to prepare the model. reason: why what is there does not do."""
    why = f" ({reason})" if reason else ""
    return ModelMissingError(
        f"The model {files.name} is not prepared to run without torch{why}: "
        f"{files.prepare_command(int8=int8)} does so."
    )


def _not_installed(package: str, error: ImportError) -> ModelMissingError:
    return ModelMissingError(
        f"the package {package} does not load ({error}): install Longtake's requirements again"
    )


def _first_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
