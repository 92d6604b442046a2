"""The settings: where each comes from, which source wins, and what is said of a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from cli.options import parse_sets
from cli.settings import load
from index.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_home(own_places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def write(path: Path, limit: int) -> Path:
    path.write_text(f"[retrieve]\nlimit = {limit}\n")
    return path


def test_each_source_outdoes_the_ones_below_it(tmp_path, monkeypatch):
    def limit(profile=None, *sets):
        settings, origins = load(parse_sets(sets), profile)
        return settings.retrieve.limit, origins.get("retrieve.limit")

    assert limit() == (10, None)
    config = write(tmp_path / "config.toml", 11)
    monkeypatch.setenv("LONGTAKE_CONFIG", str(config))
    assert limit() == (11, str(config))
    profile = write(tmp_path / "mine.toml", 12)
    assert limit(str(profile)) == (12, str(profile))
    monkeypatch.setenv("LONGTAKE_RETRIEVE__LIMIT", "13")
    assert limit(str(profile)) == (13, "environment")
    assert limit(str(profile), "retrieve.limit=14") == (14, "command line")


def test_config_shows_that_a_value_comes_from_the_profile(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("LONGTAKE_CONFIG", str(write(tmp_path / "config.toml", 11)))
    profile = write(tmp_path / "mine.toml", 12)
    assert main(["config", "--profile", str(profile)]) == 0
    (line,) = [x for x in capfd.readouterr().out.splitlines() if x.startswith("retrieve.limit ")]
    assert line.split()[1:] == ["12", f"({profile})"]


def test_an_empty_variable_counts_as_unset(monkeypatch):
    usual = load({}, None)[0].library
    monkeypatch.setenv("LONGTAKE_LIBRARY", "")
    settings, origins = load({}, None)
    assert settings.library == usual and "library" not in origins


@pytest.mark.parametrize("given", ["", "  "])
def test_an_empty_library_is_not_the_current_folder(given, tmp_path, capfd):
    (tmp_path / "manifest.json").write_text("{}")
    for arguments in (["ls", "--library", given], ["ls", "--set", f"library={given}"]):
        assert main(arguments) == 2
        err = capfd.readouterr().err
        assert "library" in err and "empty path" in err
    assert main(["demo", "--library", given]) == 2
    assert not (tmp_path / "demo").exists()


def test_a_tilde_is_the_home_wherever_the_path_comes_from(tmp_path, monkeypatch):
    films = tmp_path / "home" / "films"
    assert load({"library": "~/films"}, None)[0].library == films
    monkeypatch.setenv("LONGTAKE_LIBRARY", "~/films")
    assert load({}, None)[0].library == films
    (tmp_path / "mine.toml").write_text('library = "~/films"\n')
    monkeypatch.delenv("LONGTAKE_LIBRARY")
    assert load({}, "mine.toml")[0].library == films
    with pytest.raises(ConfigError, match="home"):
        load({"library": "~nobody-of-that-name/films"}, None)


def test_a_config_file_that_is_named_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match=r"missing\.toml, which LONGTAKE_CONFIG names"):
        load({}, None)
    monkeypatch.delenv("LONGTAKE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing here"))
    load({}, None)


def test_a_config_file_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    for name, content in (("folder", None), ("bad.toml", b"a = "), ("latin.toml", b"# \xe9")):
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
        monkeypatch.setenv("LONGTAKE_CONFIG", str(path))
        with pytest.raises(ConfigError, match=name):
            load({}, None)


AS_NOBODY = """
import os, sys
from cli.main import main
import cli.render, cli.settings, msgspec.json, unicodedata
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
sys.exit(main(["config"]))
"""


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_config_file_that_may_not_be_read_is_an_error(closed, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    config = write(folder / "config.toml", 11)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    (config if closed == "file" else folder).chmod(0)
    ran = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        cwd=ROOT,
        env={**os.environ, "LONGTAKE_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    folder.chmod(0o755)
    assert ran.returncode == 2, ran.stderr
    assert f"{config} cannot be read: Permission denied" in ran.stderr


def test_a_profile_must_be_there():
    for name in ("", "nothing", "x" * 300 + ".toml"):
        with pytest.raises(ConfigError, match=r"Known: .*packaged"):
            load({}, name)


@pytest.mark.parametrize("name", ["LONGTAKE_INDEX", "LONGTAKE_CHANNELS__ENABLED"])
def test_a_variable_that_cannot_be_read_is_named_with_the_way_out(name, monkeypatch):
    monkeypatch.setenv("LONGTAKE_JOBS", "2")
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError) as caught:
        load({}, None)
    assert f"The environment variable {name} " in str(caught.value)
    assert "JSON" in str(caught.value) and "longtake config" in str(caught.value)


def test_unknown_variables_and_settings_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"retrieve\.limits \(from command line\) is no setting"):
        load({"retrieve": {"limits": 1}}, None)
    with pytest.raises(ConfigError, match=r"retrieve\.limit \(from command line\)"):
        load({"retrieve": {"limit": 10**20}}, None)
    monkeypatch.setenv("LONGTAKE_LIBARY", "/films")
    with pytest.raises(ConfigError, match=r"LONGTAKE_LIBARY is no setting; .*“library”\?"):
        load({}, None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("jbos = 3", "jbos (from {path}) is no setting; did you mean “jobs”?"),
        ("[channels.screen_txt]\nsize = 1", "did you mean “screen_text”?"),
        (
            "[server]\nurl = 'http://localhost'\nkeey = 'x'",
            "server.keey (from {path}) is no setting",
        ),
        ("[ingest]\nxyzzy = 1", "ingest.xyzzy (from {path}) is no setting. There are "),
        ("jobs = 'many'", "jobs (from {path}): Input should be a valid integer"),
        ("library = ''", "library (from {path}): An empty path names no folder."),
        ("index = 'big'", "index (from {path}) is a group of settings, as in index.NAME."),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_what_was_meant(tmp_path, monkeypatch, written, said):
    """`longtake config` is no way out: it reads the same file."""
    path = tmp_path / "config.toml"
    path.write_text(written)
    monkeypatch.setenv("LONGTAKE_CONFIG", str(path))
    with pytest.raises(ConfigError) as caught:
        load({}, None)
    assert said.format(path=path) in str(caught.value)
    assert "longtake config" not in str(caught.value)
