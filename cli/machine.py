"""The half of `longtake doctor` that looks at the machine: packages, device, models, decoders."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from cli.finding import Finding
from ingest.models.files import INSTALL_MODELS

if TYPE_CHECKING:
    from cli.settings import Settings
    from ingest.models.depot import Place

NATIVE = ("av", "onnxruntime", "qdrant_edge")
"""Modules with machine code inside, which can be installed and still not load. They are only
loaded here, behind ingest.models, which keeps onnxruntime from reporting to its maker; OpenCV has a
check of its own."""

DECODERS = ("h264", "hevc", "vp9", "av1", "aac", "opus", "mp3")

_REINSTALL = (
    "Install Longtake again, in the folder that it came in: `make clean demo`, or "
    "`pip install --constraint constraints.txt .`"
)


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Looks at everything that does not depend on a library."""
    from cli.servers import served_models

    yield from packages()
    yield from native_modules()
    yield opencv()
    yield device(settings.models.device)
    yield packaged_models()
    yield from pulled_models(settings)
    yield from served_models(settings)
    yield video()


def packages() -> Iterator[Finding]:
    """Every requirement of the installed distribution, and the extra."""
    area = "packages"
    python = platform.python_version()
    try:
        version, required = metadata.version("longtake"), metadata.requires("longtake") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            area, "warning", f"Python {python}; Longtake runs from its source, not installed.",
            "pip install -e . puts the `longtake` command on the path.",
        )  # fmt: skip
        return
    core: dict[str, str | None] = {}
    extra: dict[str, str | None] = {}
    for requirement in required:
        name, wanted, marker = _parse(requirement)
        installed = _installed(name)
        if "extra" in marker:
            extra[name] = installed
            continue
        core[name] = installed
        if installed is None:
            yield Finding(area, "broken", f"{name} is not installed.", _REINSTALL)
        elif not _satisfies(installed, wanted):
            text = f"{name} {installed} is installed, and Longtake needs {wanted}."
            yield Finding(area, "broken", text, _REINSTALL)
    if None not in core.values():
        text = f"Longtake {version} on Python {python}, with all {len(core)} packages it needs."
        yield Finding(area, "ok", text, detail={"longtake": version, "python": python, **core})
    missing = [name for name, installed in extra.items() if installed is None]
    if not missing:
        yield Finding(area, "ok", "The extra [models] is installed.", detail=extra)
    else:
        yield Finding(
            area, "info", f"The extra [models] is not there (missing: {', '.join(missing)}). "
            "Channels that need a model need it.", INSTALL_MODELS, extra,
        )  # fmt: skip


def native_modules() -> Iterator[Finding]:
    """Loads what holds machine code: a missing system library shows only then."""
    loaded = []
    for name in NATIVE:
        try:
            importlib.import_module(name)
        except Exception as error:  # anything may come out of a broken binary
            text = f"{name} does not load: {_first_line(error)}"
            yield Finding("packages", "broken", text, _REINSTALL)
        else:
            loaded.append(name)
    if len(loaded) == len(NATIVE):
        yield Finding("packages", "ok", f"Machine code loads: {', '.join(loaded)}.")


def opencv() -> Finding:
    """Several packages install the one folder `cv2`, and overwrite each other's files."""
    from cli.environment import opencv_problem

    problem = opencv_problem()
    if problem is not None:
        return Finding("packages", "broken", problem)
    import cv2

    return Finding("packages", "ok", f"OpenCV {cv2.__version__} works.")


def device(wanted: str = "auto") -> Finding:
    """CPU cores, memory and GPUs, and which of them models run on. Asks the driver, not torch,
    which takes seconds to load. wanted: the setting models.device."""
    from ingest.models.device import likely_device, nvidia_gpus

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail: dict[str, object] = {"cores": cores, "machine": platform.machine()}
    text = f"{cores} CPU core{'' if cores == 1 else 's'} ({platform.machine()})"
    try:
        import psutil
    except ImportError:
        pass  # reported with the packages
    else:
        detail["memory_bytes"] = memory = psutil.virtual_memory().total
        text += f", {memory / 2**30:.0f} GiB of memory"
    gpus = list(nvidia_gpus())
    if sys.platform == "darwin" and platform.machine() == "arm64":
        gpus = ["Apple GPU"]
    detail["gpus"] = gpus
    detail["torch"] = torch = importlib.util.find_spec("torch") is not None
    if not gpus:
        text += ", no GPU found"
    else:
        text += f", {', '.join(gpus)}" + ("" if torch else " (unused: torch is not installed)")
    detail["device"] = chosen = likely_device(wanted)
    if wanted == "cuda" and not gpus:
        text += "; models.device asks for a GPU that is not there."
        return Finding("device", "broken", text, "Set models.device to auto or cpu.", detail)
    text += f"; models run on {'the CPU' if chosen == 'cpu' else chosen}."
    return Finding("device", "ok", text, detail=detail)


def packaged_models() -> Finding:
    """The weights that come inside RapidOCR's wheel: detection and recognition of text."""
    from index.errors import ModelMissingError
    from ingest.models.ocr import OcrReader

    try:
        described = OcrReader().describe()
    except ModelMissingError as error:
        return Finding("models", "broken", _sentence(str(error)))
    names = [name.partition(":")[0] for name in described["models"].values()]
    text = f"Screen text: {' and '.join(names)} of RapidOCR {described['version']} are here."
    return Finding("models", "ok", text, detail=described)


def pulled_models(settings: Settings) -> Iterator[Finding]:
    """The models that enabled channels want: here, prepared, missing or damaged. Only a damaged
    one is broken: on a new machine none is here, and that is as it should be."""
    from cli.models import wanted_models
    from index.disk import human_bytes
    from ingest.models.depot import Depot
    from ingest.models.depot_missing import lacking_packages, size_text

    depot = Depot(settings.models.dir, settings.models.packages)
    wanted: dict[Place, list[str]] = {}
    for one in wanted_models(settings):
        wanted.setdefault(depot.place(one.kind, one.name), []).append(one.channel)
    entries = {(entry.kind, entry.folder): entry for entry in depot.listing()}
    for place, channels in wanted.items():
        kind, folder = place.kind, str(place.folder)
        entry = entries.pop((kind, place.folder), None) or depot.entry(place)
        who = ", ".join(channels)
        detail = {
            "name": entry.name, "kind": kind, "state": entry.state, "channels": channels,
            "size_bytes": entry.size, "revision": entry.revision, "folder": folder,
        }  # fmt: skip
        fetch = f"longtake models pull {entry.name}" if place.ours else f"copy it to {folder}"
        if entry.state == "damaged":
            text = f"{who}: {entry.name} is damaged: {entry.problem}."
            yield Finding("models", "broken", text, fetch, detail)
        elif entry.state in ("missing", "partly pulled"):
            text = f"{who}: {entry.name} is {entry.state} ({size_text(entry.size)})."
            yield Finding("models", "info", text, fetch, detail)
        elif (lacking := lacking_packages(kind)) and entry.state != "prepared":
            text = f"{who}: {entry.name} is here, and {', '.join(lacking)} is not installed."
            yield Finding("models", "info", text, INSTALL_MODELS, detail)
        else:
            text = f"{who}: {entry.name} is {entry.state} ({human_bytes(entry.size or 0)})."
            yield Finding("models", "ok", text, detail=detail)
    others = [e for e in entries.values() if e.state not in ("missing", "partly pulled")]
    for entry in others:
        if entry.state == "damaged":  # nobody asks for it now
            text = f"{entry.name} is damaged: {entry.problem}."
            yield Finding("models", "warning", text, f"longtake models rm {entry.name}")
    if whole := [entry for entry in others if entry.state != "damaged"]:
        names = ", ".join(entry.name for entry in whole)
        size = human_bytes(sum(entry.size or 0 for entry in whole))
        text = f"Also in {depot.folder}: {names} ({size})."
        yield Finding("models", "info", text, detail={"names": [entry.name for entry in whole]})


def video() -> Finding:
    """Encodes a second of video in memory and decodes it again."""
    try:
        import av
        import numpy as np

        missing = [name for name in DECODERS if name not in av.codecs_available]
        clip = io.BytesIO()
        with av.open(clip, "w", format="matroska") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for shade in range(10):
                picture = np.full((48, 64, 3), 20 * shade, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        clip.seek(0)
        with av.open(clip) as container:
            frames = sum(1 for _ in container.decode(video=0))
    except Exception as error:
        text = f"Video cannot be decoded: {_first_line(error)}"
        return Finding("video", "broken", text, _REINSTALL)
    if frames != 10:
        text = f"Of 10 frames encoded, {frames} came back."
        return Finding("video", "broken", text, _REINSTALL)
    ffmpeg = getattr(av, "ffmpeg_version_info", "?")
    detail = {"av": av.__version__, "ffmpeg": ffmpeg, "missing": missing}
    if missing:
        text = f"PyAV {av.__version__} decodes, but not {', '.join(missing)}."
        hint = "pip install --force-reinstall av brings the complete build."
        return Finding("video", "warning", text, hint, detail)
    text = f"PyAV {av.__version__} decodes ({', '.join(DECODERS)} and more)."
    return Finding("video", "ok", text, detail=detail)


def _parse(requirement: str) -> tuple[str, str, str]:
    """A requirement as its name, version bounds and marker."""
    bounds, _, marker = requirement.partition(";")
    name = re.match(r"[A-Za-z0-9._-]+", bounds)[0]
    return name, bounds[len(name) :].strip(" ()"), marker


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _satisfies(installed: str, wanted: str) -> bool:
    """Whether a version keeps the bounds that pyproject.toml uses, >= and ==."""

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])

    for operator, version in re.findall(r"(>=|==)\s*([\w.]+)", wanted):
        if operator == ">=" and numbers(installed) < numbers(version):
            return False
        if operator == "==" and numbers(installed) != numbers(version):
            return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
