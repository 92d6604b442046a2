"""What documents and comments name is there: files, modules, commands, options, settings."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import BaseModel

from cli.main import app
from cli.settings import NOT_SETTINGS, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path
    for folder in ("cli", "index", "ingest", "rag", "tests", "benchmarks", "configs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".toml", ".txt")
]
TO_BE_MADE = ("ingest/channels/NAME.py", "ingest/models/LIBRARY.py")

FILE = re.compile(
    r"(?<![\w./-])(?:cli|index|ingest|rag|tests|benchmarks|configs|docs)/[\w./-]+\.(?:py|md|toml)"
)
MODULE = re.compile(r"[`( ](?:cli|ingest|rag)(?:\.[a-z_]+)+")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
COMMAND = re.compile(r"\blongtake ((?:[a-z]+ ?)+)([^`|#\n]*)")
SETTING = re.compile(r"`([a-z_]+(?:\.(?!py`)[a-z_0-9]+)+)`")
VARIABLE = re.compile(r"LONGTAKE_[A-Z_]+[A-Z]")
NO_SETTINGS = (*NOT_SETTINGS, "LONGTAKE_EVENT_ID")
"""Neither is what a receiver of alerts is given."""


def test_files_that_are_named_are_there():
    missing = {
        f"{path.relative_to(ROOT)}: {named}"
        for path in (*PAGES, *SOURCES)
        for named in FILE.findall(path.read_text(encoding="utf-8"))
        if named not in TO_BE_MADE and not (ROOT / named).exists()
    }
    assert not missing


def test_modules_that_are_named_are_there():
    missing = set()
    for path in SOURCES:
        for named in MODULE.findall(path.read_text(encoding="utf-8")):
            parts = named[1:].split(".")
            places = [ROOT.joinpath(*parts[:n]) for n in range(len(parts), 1, -1)]
            if not any(place.is_dir() or place.with_suffix(".py").exists() for place in places):
                missing.add(f"{path.relative_to(ROOT)}: {named[1:]}")
    assert not missing


def test_every_module_says_what_it_is_and_has_a_place_in_the_plan_of_the_house():
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    groups = [re.escape(named).replace(r"\*", ".*") for named in re.findall(r"`(\w+\*)\.py`", plan)]
    modules = [path for path in SOURCES if path.suffix == ".py" and path.stem != "__init__"]
    for path in modules:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
    lost = {
        str(path.relative_to(ROOT))
        for path in modules
        if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks")
        and not path.stem.endswith("_app")
        and not re.search(rf"\b{path.stem}\b", plan)
        and not any(re.fullmatch(group, path.stem) for group in groups)
    }
    assert not lost, "docs/architecture.md names them nowhere"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    linked = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in linked if not (page.parent / link).exists()]


def commands() -> dict[tuple[str, ...], set[str]]:
    """The words of each command -> the options it takes."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(command, words: tuple[str, ...]) -> None:
        named = [option for each in command.params for option in each.opts + each.secondary_opts]
        found[words] = {"--help", "--version", *named}
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documents_exist_and_take_their_options(page):
    known, wrong = commands(), []
    for line in page.read_text(encoding="utf-8").splitlines():
        for words, rest in COMMAND.findall(line):
            given = tuple(words.split())
            command = max((given[:n] for n in range(len(given) + 1) if given[:n] in known), key=len)
            options = re.findall(r"(?<![\w-])--[a-z][\w-]+", rest)
            if options and (not command or set(options) - known[command]):
                wrong.append(line.strip())
    assert not wrong


@pytest.mark.parametrize("name", sorted(words[0] for words in commands() if len(words) == 1))
def test_every_command_is_in_the_documents(name):
    pages = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert re.search(rf"longtake {name}\b|`{name}\b", pages)


def settings(model: type[BaseModel] = Settings, before: str = "") -> set[str]:
    """Dotted names, of groups too."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(before + name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names |= settings(kind, f"{before}{name}.")
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_documents_are_settings(page):
    known, text = settings(), page.read_text(encoding="utf-8")
    dotted = {name for name in SETTING.findall(text) if name.partition(".")[0] in known}
    assert not dotted - known
    variables = {name for name in VARIABLE.findall(text) if not name.startswith(NO_SETTINGS)}
    prefix = len("LONGTAKE_")
    assert not {name for name in variables if name[prefix:].lower().replace("__", ".") not in known}
