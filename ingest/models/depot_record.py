"""What lies in a model's folder: which files count, their hashes, and the record of both.

The record, model.json beside the weights, says where they came from and what each file hashed to.
With it a model's digest is known by looking at sizes and times alone; a file whose size or time
has changed is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import msgspec
import platformdirs

from ingest.models.catalogue import ModelSpec

FILE_NAME = "model.json"
FORMAT = 1

_CONFIGURATION = ("*.json", "*.txt", "*.jinja", "*.model", "[0-9]_*/config.json")
_NOT_CONFIGURATION = (
    FILE_NAME,
    "*.bin.index.json",
    "tf_*",
    "flax_*",
    "*requirements*.txt",
    "trainer_state.json",
)
_SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "[0-9]_*/model.safetensors")
_WEIGHTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "clip": (
        ("open_clip_model.safetensors",),
        ("open_clip_pytorch_model.safetensors",),
        ("model.safetensors",),
    ),
    "whisper": (("model.bin",),),
    "easyocr": (("*.pth", "*.pt"),),
}
"""Per kind, which files hold the weights; where there are several patterns, the first that any
file matches is the one that the library takes."""

_WHISPER_ONLY = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_MAIN_CONFIGURATION = {"clip": "open_clip_config.json", "easyocr": None}
_CHUNK = 1 << 20


class FileRecord(msgspec.Struct, frozen=True):
    """One file. path: relative, with slashes. sha256: hexadecimal. mtime_ns: when it was hashed.
    checked: what the hash was held against, "" for nothing: it was taken as it was found."""

    path: str
    size: int
    sha256: str
    mtime_ns: int = 0
    checked: str = ""


class Record(msgspec.Struct, frozen=True):
    """A model as it lies in its folder.

    origin: "hub", "release" (EasyOCR's) or "folder" (somebody put it there). revision: what was
    asked for, commit: what that was; both "" where unknown.
    """

    kind: str
    name: str
    origin: str
    files: tuple[FileRecord, ...]
    repo: str = ""
    revision: str = ""
    commit: str = ""
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Of the contents and names of all files; nothing else goes into it, so the same weights
        have the same digest wherever they came from."""
        lines = sorted(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def relevant(kind: str, paths: Iterable[str]) -> list[str]:
    """Which of a repo's or a folder's files a model of that kind consists of: one set of weights,
    and what configures them. Nothing that runs code when it is read, EasyOCR's apart."""
    paths = sorted(paths)
    chosen: list[str] = []
    for patterns in _WEIGHTS.get(kind, (_SAFETENSORS,)):
        chosen = [path for path in paths if _any(path, patterns)]
        if chosen:
            break
    if kind == "easyocr":
        return chosen
    wanted = _WHISPER_ONLY if kind == "whisper" else _CONFIGURATION
    chosen += [
        path
        for path in paths
        if _any(path, wanted) and not _any(path, _NOT_CONFIGURATION) and path not in chosen
    ]
    return sorted(chosen)


def weights(kind: str, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that hold weights."""
    every = [pattern for patterns in _WEIGHTS.get(kind, (_SAFETENSORS,)) for pattern in patterns]
    return [path for path in paths if _any(path, every)]


def pickles(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if _any(path, _PICKLES)]


def incomplete(kind: str, paths: Sequence[str]) -> str | None:
    """What a folder lacks to be a model of that kind; None where nothing obvious is missing."""
    if not weights(kind, paths):
        wanted = {"whisper": "model.bin", "easyocr": "*.pth"}.get(kind, "*.safetensors")
        return f"no weights ({wanted})"
    config = _MAIN_CONFIGURATION.get(kind, "config.json")
    return None if config is None or config in paths else f"no {config}"


def _any(path: str, patterns: Iterable[str]) -> bool:
    """fnmatch's * also matches slashes, which is not meant here."""
    depth = path.count("/")
    return any(depth == p.count("/") and fnmatch(path, p) for p in patterns)


def safe_relative(path: str) -> bool:
    """Whether a name that a hub gave stays inside the folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path


def list_folder(kind: str, folder: Path) -> list[str]:
    """The files of a model that lie in `folder`, at most one level down."""
    found = []
    for entry in os.scandir(folder):
        if entry.is_file():
            found.append(entry.name)
        elif entry.is_dir() and fnmatch(entry.name, "[0-9]_*"):
            found += [f"{entry.name}/{inner.name}" for inner in os.scandir(entry.path)]
    return relevant(kind, found)


def hash_file(
    path: Path, algorithm: str = "sha256", moved: Callable[[int], None] | None = None
) -> str:
    """Hexadecimal. algorithm: of hashlib, or "git" for the id that git gives the content.
    moved: called with the bytes of each piece."""
    if algorithm == "git":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            if moved is not None:
                moved(len(piece))
    return digest.hexdigest()


def wrong_format(kind: str, path: Path) -> str | None:
    """Why a file cannot be what its name says; None where its beginning looks right."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        size = path.stat().st_size
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if path.suffix == ".safetensors":
        length = struct.unpack("<Q", head[:8])[0] if len(head) >= 9 else 0
        if not 2 <= length <= size - 8 or head[8:9] != b"{":
            return "it is no safetensors file"
    elif kind == "whisper" and path.name == "model.bin":
        # CTranslate2's own format: version, then the length and the name of the specification.
        version, length = struct.unpack("<IH", head[:6]) if len(head) >= 6 else (0, 0)
        if not 1 <= version < 100 or head[6 : 6 + min(length, 7)] != b"Whisper":
            return "it is no CTranslate2 Whisper model (a pickle perhaps)"
    return None


def unchanged(folder: Path, file: FileRecord) -> bool:
    """By size and time alone."""
    try:
        stat = os.stat(folder / file.path)
    except OSError:
        return False
    return stat.st_size == file.size and stat.st_mtime_ns == file.mtime_ns


def record_file(folder: Path, path: str, checked: str = "") -> FileRecord:
    """Hashes one file. Raises OSError."""
    stat = os.stat(folder / path)
    sha256 = hash_file(folder / path)
    return FileRecord(path, stat.st_size, sha256, stat.st_mtime_ns, checked)


def against_catalogue(spec: ModelSpec | None, folder: Path, file: FileRecord) -> str | None:
    """Holds a file against what the catalogue knows of it. Returns what it was held against, "" if
    nothing is known of it, None where it is another file."""
    known = next((f for f in spec.files if f.path == file.path), None) if spec else None
    if known is None:
        return ""
    if known.sha256:
        return "catalogue" if known.sha256 == file.sha256 else None
    if known.md5:
        same = hash_file(folder / file.path, "md5") == known.md5
        return "catalogue (md5)" if same else None
    return ""


def read_record(folder: Path) -> Record | None:
    """What model.json says, or its copy in the user's cache where the folder cannot be written."""
    for path in (folder / FILE_NAME, _elsewhere(folder)):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, ValueError):
            continue
        if record.format == FORMAT and all(safe_relative(f.path) for f in record.files):
            return record
    return None


def write_record(folder: Path, record: Record, *, beside: bool = True) -> None:
    """Beside the weights if that may and can be, else in the user's cache, else nowhere: then the
    files are hashed again the next time."""
    data = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    for path in (folder / FILE_NAME, _elsewhere(folder))[0 if beside else 1 :]:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            temporary.write_bytes(data)
            os.replace(temporary, path)
            return


def _elsewhere(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]
    cache = platformdirs.user_cache_path("longtake", appauthor=False)
    return cache / "models" / f"{name}.json"
