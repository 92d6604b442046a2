"""`longtake doctor`: says what is broken and the way out, whatever state the machine is in."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import fake_hub
import msgspec
import pytest
from test_videollm_openai import asking

from cli import machine
from cli.checkup import disk, examine_library
from cli.doctor import run_doctor
from cli.finding import Finding
from cli.servers import served_models
from cli.settings import Settings
from index.access import open_store
from index.errors import ConfigError
from index.library import Library
from index.schema import FileStat, Generation, Video
from index.settings import StoreSettings
from index.text import SPACES
from ingest.models import catalogue, depot_missing
from ingest.models.depot import Depot
from ingest.models.depot_record import read_record, write_record
from ingest.models.device import check_device

ROOT = Path(__file__).resolve().parents[1]


def settings_for(library: Path, **index) -> Settings:
    return Settings.model_validate(
        {
            "library": library,
            "index": {"compact": False, **index},
            "models": {"dir": library.parent / "models", "device": "cpu"},
        }
    )


def make_library(path: Path, *, finished: bool = True, media: Path | None = None) -> None:
    """One video with one channel."""
    with open_store(path, settings=StoreSettings(compact=False)) as store:
        store.ensure_spaces(SPACES)
        library = Library(store)
        file = FileStat(str(media or path / "manifest.json"), 1, 2, 3)
        library.put_video(Video("v1", "A walk", files=(file,), duration_seconds=10.0))
        generation = library.begin(Generation("v1", 0, "speech", "f"))
        if finished:
            library.finish([(generation, (), ())])


@pytest.fixture
def library(tmp_path) -> Path:
    make_library(tmp_path / "library")
    return tmp_path / "library"


def findings(path: Path, **index) -> list[Finding]:
    return list(examine_library(settings_for(path, **index)))


def broken(found: list[Finding]) -> list[str]:
    return [f"{finding.text} {finding.remedy}" for finding in found if finding.status == "broken"]


def text_of(found: list[Finding]) -> str:
    return "\n".join(f"{finding.status}: {finding.text}" for finding in found)


# --- the library ----------------------------------------------------------------------------


def test_a_healthy_library_is_counted(library):
    found = findings(library)
    assert not broken(found), text_of(found)
    assert "1 video," in text_of(found)
    assert "opened and read" in text_of(found)


def test_no_library_yet_is_no_fault(tmp_path):
    found = findings(tmp_path / "none")
    assert not broken(found)
    assert any(finding.remedy == "longtake index FOLDER makes one." for finding in found)
    assert not (tmp_path / "none").exists()


def test_a_damaged_shard_is_named(library):
    for file in (library / "shards").rglob("*"):
        if file.is_file() and file.name != "edge_config.json":
            os.truncate(file, file.stat().st_size // 2)
    (problem,) = broken(findings(library))
    assert str(library) in problem
    assert "backup" in problem


def test_a_manifest_that_is_no_json_is_named(library):
    (library / "manifest.json").write_text("{")
    (problem,) = broken(findings(library))
    assert str(library / "manifest.json") in problem


def test_shards_without_a_manifest_are_broken(library):
    (library / "manifest.json").unlink()
    (problem,) = broken(findings(library))
    assert "manifest.json is missing" in problem


def test_a_library_of_a_newer_longtake_is_refused_and_left_as_it_is(library):
    manifest = json.loads((library / "manifest.json").read_text())
    written = json.dumps({**manifest, "schema_version": 99})
    (library / "manifest.json").write_text(written)
    (problem,) = broken(findings(library))
    assert "99" in problem and "Upgrade Longtake" in problem
    assert (library / "manifest.json").read_text() == written


def _as_nobody(path, answers):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    answers.put(broken(findings(path)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_library_that_cannot_be_written_is_broken(library):
    for folder in [library, *library.parents]:
        if folder == Path("/tmp"):
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    context = multiprocessing.get_context("fork")  # the interpreter may lie where nobody can look
    answers = context.Queue()
    child = context.Process(target=_as_nobody, args=(library, answers))
    child.start()
    (problem,) = answers.get(timeout=30)
    child.join()
    assert "cannot be written" in problem and "--library" in problem


@pytest.fixture
def owner(library):
    """Another process that has the library open."""
    code = (
        "import sys\n"
        "from index.access import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "store.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(library)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "open\n"
        yield process
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        process.wait(timeout=30)


def test_a_library_in_use_is_asked_through_its_owner(library, owner):
    found = findings(library)
    assert not broken(found), text_of(found)
    assert f"process {owner.pid}" in text_of(found)
    assert "1 video," in text_of(found)


def test_an_owner_that_does_not_answer_is_named(library, owner, monkeypatch):
    monkeypatch.setattr("cli.checkup.PATIENCE_SECONDS", 0.2)
    owner.send_signal(signal.SIGSTOP)
    (problem,) = broken(findings(library))
    assert str(owner.pid) in problem and "does not answer" in problem


def test_work_begun_and_not_finished_is_a_warning(tmp_path):
    make_library(tmp_path / "library", finished=False)
    found = findings(tmp_path / "library")
    assert not broken(found)
    assert "warning: Not indexed to the end: A walk (speech)" in text_of(found)


def test_a_file_that_has_gone_is_a_warning(tmp_path):
    make_library(tmp_path / "library", media=tmp_path / "gone.mp4")
    found = findings(tmp_path / "library")
    assert not broken(found)
    assert f"warning: Files that are not there any more: {tmp_path / 'gone.mp4'}" in text_of(found)


def test_a_disk_below_the_reserve_is_broken(tmp_path):
    finding = disk(settings_for(tmp_path / "library", reserve_bytes=2**60))
    assert finding.status == "broken"
    assert "nothing can be indexed" in finding.text and finding.remedy
    assert disk(settings_for(tmp_path / "library", reserve_bytes=0)).status == "ok"


# --- the machine ----------------------------------------------------------------------------


def test_this_machine_passes(tmp_path):
    found = list(machine.examine_machine(settings_for(tmp_path / "library")))
    assert not broken(found)
    assert {finding.area for finding in found} == {
        "packages", "device", "models", "video",
    }  # fmt: skip


def test_a_missing_core_package_is_broken_and_a_missing_extra_is_not(monkeypatch):
    installed = machine._installed
    monkeypatch.setattr(
        machine, "_installed", lambda name: None if name in ("av", "torch") else installed(name)
    )
    found = list(machine.packages())
    assert [finding.text for finding in found if finding.status == "broken"] == [
        "av is not installed."
    ]
    (extra,) = [finding for finding in found if "[models]" in finding.text]
    assert extra.status == "info" and "torch" in extra.text


def test_a_package_outside_its_bounds_is_broken(monkeypatch):
    installed = machine._installed
    monkeypatch.setattr(
        machine, "_installed", lambda name: "0.8.9" if "edge" in name else installed(name)
    )
    (found,) = [finding for finding in machine.packages() if finding.status == "broken"]
    assert "qdrant-edge-py 0.8.9" in found.text and "==" in found.text


def test_a_module_that_does_not_load_is_broken(monkeypatch, tmp_path):
    (tmp_path / "unloadable.py").write_text("raise ImportError('libodd.so.1: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(machine, "NATIVE", ("unloadable",))
    (found,) = machine.native_modules()
    assert found.status == "broken"
    assert "libodd" in found.text and found.remedy


def test_a_cv2_that_others_have_overwritten_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))  # a folder with only scraps in it
    found = machine.opencv()
    assert found.status == "broken"
    assert "opencv-python-headless" in found.text


# --- the models ------------------------------------------------------------------------------


def with_models(tmp_path, channels: list[str], **models) -> Settings:
    given = {"dir": tmp_path / "models", "device": "cpu", **models}
    return Settings.model_validate({"channels": {"enabled": channels}, "models": given})


@pytest.fixture
def pulled(tmp_path, monkeypatch) -> Path:
    """The default text encoder, as far as the doctor looks. Returns its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = replace(catalogue.known("multilingual-e5-small"), files=())
    monkeypatch.setattr(catalogue, "CATALOGUE", (spec,))
    folder = tmp_path / "models" / "text" / spec.name
    folder.mkdir(parents=True)
    for path, content in fake_hub.text_model().items():
        if "/" not in path:
            (folder / path).write_bytes(content)
    Depot(tmp_path / "models").files("text", spec.name)
    record = read_record(folder)
    write_record(folder, msgspec.structs.replace(record, origin="hub", repo=spec.repo))
    return folder


def test_a_model_that_is_not_here_is_a_statement_with_the_way_out(tmp_path):
    (found,) = machine.pulled_models(with_models(tmp_path, ["text"]))
    assert found.status == "info"  # on a new machine none is here, and nothing is broken
    assert "text: multilingual-e5-small is missing (about" in found.text
    assert found.remedy == "longtake models pull multilingual-e5-small"
    assert list(machine.pulled_models(with_models(tmp_path, ["screen_text"]))) == []


def test_a_model_that_is_here_is_told_with_who_wants_it(tmp_path, pulled):
    (found,) = machine.pulled_models(with_models(tmp_path, ["text"]))
    assert found.status == "ok" and "multilingual-e5-small is here" in found.text
    (pulled / "prepared").mkdir()
    (pulled / "prepared" / "model.onnx").touch()
    (found,) = machine.pulled_models(with_models(tmp_path, ["text"]))
    assert found.status == "ok" and "is prepared" in found.text
    (found,) = machine.pulled_models(with_models(tmp_path, ["fingerprint"]))
    assert found.status == "info" and "Also in" in found.text


def test_a_model_whose_packages_are_missing_is_told(tmp_path, pulled, monkeypatch):
    monkeypatch.setattr(depot_missing, "lacking_packages", lambda kind: ("torch",))
    (found,) = machine.pulled_models(with_models(tmp_path, ["text"]))
    assert found.status == "info" and "torch is not installed" in found.text
    assert "'.[models]'" in found.remedy


def test_a_damaged_model_is_broken_if_a_channel_wants_it(tmp_path, pulled):
    (pulled / "config.json").write_bytes(b"{")
    (found,) = machine.pulled_models(with_models(tmp_path, ["text"]))
    assert found.status == "broken" and "config.json" in found.text
    assert found.remedy == "longtake models pull multilingual-e5-small"
    (found,) = machine.pulled_models(with_models(tmp_path, ["fingerprint"]))
    assert found.status == "warning"


def test_a_gpu_that_is_asked_for_and_not_there_is_broken(monkeypatch):
    monkeypatch.setattr("ingest.models.device.nvidia_gpus", lambda: ())
    assert machine.device("cuda").status == "broken"
    assert machine.device("auto").detail["device"] == "cpu"
    monkeypatch.setattr("ingest.models.device.nvidia_gpus", lambda: ("NVIDIA Something",))
    found = machine.device("cuda")
    assert found.status == "ok" and "models run on cuda" in found.text
    check_device("cuda")


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_gpu_that_is_not_there_stops_a_run_before_it_begins(wanted, monkeypatch):
    """Else each library that loads a model would say something else, and none that it is this."""
    monkeypatch.setattr("ingest.models.device.nvidia_gpus", lambda: ())
    monkeypatch.setattr("ingest.models.device._torch_has_cuda", lambda: False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ConfigError, match=f"asks for {wanted}, and no such GPU.*auto or cpu"):
        check_device(wanted)
    check_device("auto")
    check_device("cpu")


# --- servers --------------------------------------------------------------------------------


def asked(library, group: str, **given) -> list[Finding]:
    """What is found out about the server of that group of settings."""
    tree = value = {}
    for name in group.split("."):
        tree[name] = tree = {}
    tree.update(given)
    settings = Settings.model_validate(value | {"library": library})
    return list(served_models(settings))


def test_a_server_that_answers_is_well_and_one_without_the_model_is_told(library):
    with asking(lambda *_: None) as (_client, server):
        (found,) = asked(library, "ask", model="good", base_url=server.url)
        assert found.status == "ok" and f"good at {server.url}" in found.text
        (found,) = asked(library, "retrieve.look", model="better", base_url=server.url)
        assert found.status == "warning"
        assert "better" in found.text and "lists: good" in found.text
        assert not server.bodies  # nothing was generated, which may cost money


@pytest.mark.parametrize(
    "group", ["channels.caption", "ask", "retrieve.planner", "retrieve.look", "alert.check"]
)
def test_a_server_that_nobody_named_or_that_does_not_answer_is_broken(library, group, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    by = {"backend": "openai"} if group in ("channels.caption", "ask") else {}
    (found,) = asked(library, group, model="good", **by)
    assert found.status == "broken" and "none is named. Set base_url" in found.text
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        (found,) = asked(library, group, model="good", base_url=url, **by)
    assert found.status == "broken" and f"No server answers at {url}" in found.text
    assert group in found.text and group in found.remedy


def test_no_server_is_asked_where_the_settings_name_none(library):
    assert asked(library, "channels", enabled=("speech",), caption={"backend": "openai"}) == []
    assert asked(library, "ask", base_url="http://127.0.0.1:9/v1") == []
    (found,) = asked(library, "channels.caption", backend="openai", base_url="http://127.0.0.1:9")
    assert found.status == "broken" and "channels.caption.model names none" in found.text


# --- the command ----------------------------------------------------------------------------


def test_the_exit_status_and_the_table_say_that_something_is_broken(library, capsys):
    assert run_doctor(settings_for(library), False) == 0
    shown = capsys.readouterr().out
    assert "✓" in shown and "✗" not in shown and "Nothing is broken." in shown
    (library / "manifest.json").write_text("{")
    assert run_doctor(settings_for(library), False) == 1
    shown = capsys.readouterr().out
    assert "✗" in shown and "1 thing is broken." in shown


def test_json_is_one_finding_a_line(library, capsys):
    assert run_doctor(settings_for(library), True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["area"] for line in lines} >= {"packages", "device", "disk", "library"}
    assert {line["status"] for line in lines} <= {"ok", "info", "warning"}


def test_the_doctor_does_not_load_torch(library):
    code = (
        "import sys\n"
        "from cli.main import main\n"
        f"main(['doctor', '--library', {str(library)!r}])\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
