"""What is prepared of a model is whole, or what was there before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from index.errors import ModelMissingError
from ingest.models.files import ModelFiles
from ingest.models.preparing import whole_folder


def files(prepared: Path) -> ModelFiles:
    return ModelFiles("small", prepared.parent, "digest", prepared)


def test_the_new_folder_replaces_the_old_one_at_the_end(tmp_path):
    place = tmp_path / "model" / "prepared"
    for text in ("first", "second"):
        with whole_folder(files(place)) as folder:
            (folder / "graph").write_text(text)
            assert text == "first" or (place / "graph").read_text() == "first"
        assert (place / "graph").read_text() == text
    assert os.listdir(place.parent) == ["prepared"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelMissingError("no")])
def test_what_breaks_off_leaves_the_old_one(tmp_path, error):
    place = tmp_path / "prepared"
    with whole_folder(files(place)) as folder:
        (folder / "graph").write_text("first")
    raised = pytest.raises((KeyboardInterrupt, ModelMissingError))
    with raised, whole_folder(files(place)) as folder:
        (folder / "graph").write_text("second")
        raise error
    assert (place / "graph").read_text() == "first"
    assert os.listdir(tmp_path) == ["prepared"]


def test_where_it_cannot_be_written_the_models_folder_is_named(tmp_path):
    """And not a library, of which there need not be one."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(ModelMissingError, match=r"file.*cannot be written.*models\.dir"),
        whole_folder(files(tmp_path / "file" / "prepared")),
    ):
        pass
    with (
        pytest.raises(ModelMissingError, match=r"free some space.*models\.dir"),
        whole_folder(files(tmp_path / "prepared")),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path, monkeypatch):
    """Also where the next one has its number, as in containers."""
    monkeypatch.setattr("ingest.models.preparing.shutil.rmtree", lambda *_, **__: None)
    place = tmp_path / "prepared"
    for text in ("first", "second", "third"):
        with whole_folder(files(place)) as folder:
            (folder / "graph").write_text(text)
        assert (place / "graph").read_text() == text
