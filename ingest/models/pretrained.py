"""transformers models from a local folder: what has to lie there, and how it is loaded.

Nothing is ever fetched, no code that a repository brings is run, and weights are read from
safetensors alone: a pickle (pytorch_model.bin) runs whatever its maker wrote into it.
"""

from __future__ import annotations

import json
from typing import Any

from index.errors import ModelMissingError
from ingest.models.files import INSTALL_MODELS, ModelFiles


def read_json(files: ModelFiles, name: str) -> dict[str, Any]:
    """One of the model's JSON files, such as config.json. Raises ModelMissingError."""
    path = files.folder / name
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelMissingError(_missing(files, f"there is no {path}")) from error
    except (OSError, ValueError) as error:
        raise ModelMissingError(_missing(files, f"{path} cannot be read ({error})")) from error
    if not isinstance(read, dict):
        raise ModelMissingError(_missing(files, f"{path} is no table"))
    return read


def load_transformers() -> Any:
    """The library, quiet. Raises ModelMissingError where it is not installed."""
    try:
        import torch  # noqa: F401  (transformers loads without it, and fails much later)
        import transformers
    except ImportError as error:
        raise ModelMissingError(
            f"{error.name or error} is not installed: {INSTALL_MODELS}"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))


def load_part(files: ModelFiles, part: type, **options: Any) -> Any:
    """A processor with its tokenizer, by `part.from_pretrained`.

    Raises ModelMissingError where its files are missing or of another kind. The library would make
    do with a tokenizer that knows no word.
    """
    if not any(all((files.folder / n).is_file() for n in names) for names in _VOCABULARIES):
        raise ModelMissingError(_missing(files, f"there is no tokenizer in {files.folder}"))
    try:
        return part.from_pretrained(files.folder, local_files_only=True, **options)
    except Exception as error:  # whatever the library makes of files that are not as they should be
        raise ModelMissingError(
            _missing(files, f"{part.__name__} does not load from {files.folder} ({error})")
        ) from error


def load_weights(files: ModelFiles, model: type, device: str) -> Any:
    """The model in float32 on that device, ready to be asked.

    Raises ModelMissingError: no weights, weights that are only there as a pickle, or a file that
    does not hold them all (transformers would fill those that lack with noise).
    """
    import torch

    check_safetensors(files)
    try:
        loaded, report = model.from_pretrained(
            files.folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # truncated files, shapes that do not fit, unknown settings
        raise ModelMissingError(
            _missing(files, f"the weights in {files.folder} do not load ({error})")
        ) from error
    lacking = sorted(set(report["missing_keys"]) & {name for name, _ in loaded.named_parameters()})
    if lacking:
        raise ModelMissingError(
            _missing(
                files, f"the weights in {files.folder} lack {len(lacking)} parts: {lacking[0]}"
            )
        )
    return loaded.to(device).eval()


def check_safetensors(files: ModelFiles) -> None:
    """Raises ModelMissingError unless the folder holds weights as safetensors."""
    if any(files.folder.glob("*.safetensors")):
        return
    for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"):
        for pickle in files.folder.glob(pattern):
            raise ModelMissingError(
                f"the weights of {files.name} are there only as {pickle.name}, a pickle: loading "
                "one runs whatever code its maker put into it, so Longtake reads safetensors "
                "alone. Take a revision or a model that has model.safetensors"
            )
    raise ModelMissingError(_missing(files, f"there is no model.safetensors in {files.folder}"))


def choose_device(device: str | None) -> str:
    """`device`, or "cuda" where torch has it and "cpu" where it has not."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _missing(files: ModelFiles, what: str) -> str:
    return f"{files.name} is not complete: {what}; {files.fetching}"
