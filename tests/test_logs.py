"""The log file: there for whoever looks, and in nobody's way."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from cli.logs import start_logging

LOG = logging.getLogger("index.somewhere")


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "state" / "longtake.log"
    monkeypatch.setenv("LONGTAKE_LOG", str(path))
    return path


def test_what_goes_wrong_is_in_the_log(path, capfd):
    start_logging(verbose=False)
    LOG.warning("Refused user %s", 7)
    assert path.read_text().endswith("WARNING index.somewhere: Refused user 7\n")
    assert capfd.readouterr().err == ""


def test_a_folder_that_is_gone_costs_the_log_and_nothing_else(path, capfd):
    start_logging(verbose=False)
    shutil.rmtree(path.parent)
    LOG.warning("Refused user %s", 7)
    path.parent.mkdir()
    LOG.warning("Refused user %s", 8)
    assert path.read_text().endswith("Refused user 8\n")
    assert capfd.readouterr().err == ""


def test_a_full_disk_under_the_log_is_not_the_users_business(monkeypatch, capfd):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setenv("LONGTAKE_LOG", str(full))
    start_logging(verbose=False)
    LOG.warning("Refused user %s", 7)
    assert capfd.readouterr().err == ""
