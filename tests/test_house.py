"""The house keeps its shape: which way imports go, what starts up light, what is packaged."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("index", "ingest", "rag", "cli")
"""Each may import those before it."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
MODULES = sorted(path for floor in (*FLOORS, "configs") for path in (ROOT / floor).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere in it, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_one_way(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | {"tests", "benchmarks"}
    if floor != "cli":
        above.add("configs")
    upward = {
        str(path.relative_to(ROOT)): sorted(imported(path) & above)
        for path in (ROOT / floor).rglob("*.py")
        if imported(path) & above
    }
    assert not upward


@pytest.mark.parametrize("library", ["qdrant_edge", "qdrant_client", "torch", "scenedetect"])
def test_one_part_of_the_house_touches_a_heavy_library(library):
    floors = {path.relative_to(ROOT).parts[0] for path in MODULES if library in imported(path)}
    assert len(floors - {"cli"}) <= 1


def test_only_the_package_that_turns_its_reporting_off_loads_onnxruntime():
    outside = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if "onnxruntime" in imported(path) and ROOT / "ingest" / "models" not in path.parents
    }
    assert not outside


def test_onnxruntime_keeps_no_id_of_the_user(tmp_path):
    """It makes one when it is loaded, for the reports to its maker that are on by default."""
    program = "import ingest.models.ocr, onnxruntime; onnxruntime.SessionOptions()"
    kept = []
    for number, more in enumerate(({}, {"ORT_DISABLE_TELEMETRY": "0"})):
        home = tmp_path / str(number)
        home.mkdir()
        nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **nowhere, **more},
            check=True,
            timeout=120,
        )
        kept.append(list(home.rglob("deviceid")))
    assert not kept[0]
    if sys.platform == "linux":
        assert kept[1], "it keeps its id elsewhere now: this test looks in the wrong place"


def test_whatever_is_imported_is_asked_for():
    """A package that only comes along with another one may stop coming."""
    asked = {
        re.match(r"[\w.-]+", each)[0].lower().replace("_", "-")
        for each in (
            *PROJECT["project"]["dependencies"],
            *PROJECT["project"]["optional-dependencies"]["models"],
        )
    }
    ours = {*FLOORS, "configs", *sys.stdlib_module_names}
    from_where = packages_distributions()
    undeclared = {
        module
        for path in MODULES
        for module in imported(path) - ours
        # One of [models] that is not installed here goes by its own name.
        if not {name.lower().replace("_", "-") for name in from_where.get(module, [module])} & asked
    }
    assert not undeclared


HEAVY = (
    "av",
    "cv2",
    "faster_whisper",
    "numpy",
    "onnxruntime",
    "open_clip",
    "pydantic",
    "qdrant_client",
    "qdrant_edge",
    "rapidocr",
    "scenedetect",
    "torch",
    "transformers",
)

LOADED = """
import json, sys
sys.argv = ["longtake", "--help"]
from cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & set(HEAVY)


def test_every_package_and_every_file_in_one_is_packaged():
    assert sorted(PACKAGES) == sorted(
        {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES}
    )
    data = PROJECT["tool"]["setuptools"]["package-data"]
    missing = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package.replace(".", "/")).iterdir()
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(fnmatch(path.name, pattern) for pattern in data.get(package, ()))
    ]
    assert not missing


def test_modules_stay_small():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert not {path: length for path, length in lengths.items() if length > 400}


def constraints() -> dict[str, list[str]]:
    """name -> versions, of which there are several where they depend on the platform."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pin = re.fullmatch(r"([a-z0-9-]+)==([\w.!+]+)( ; [^/]+)?", line)
            assert pin, f"not a name and a version: {line}"
            found.setdefault(pin[1], []).append(pin[2])
    return found


def test_constraints_pin_all_that_is_asked_for():
    asked = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["models"],
        *PROJECT["dependency-groups"]["dev"],
    ]
    names = {re.match(r"[\w.-]+", each)[0].lower().replace("_", "-") for each in asked}
    assert not names - set(constraints())


def test_only_the_headless_opencv_is_ever_installed():
    opencv = [name for name in constraints() if name.startswith("opencv")]
    assert opencv == ["opencv-python-headless"]
