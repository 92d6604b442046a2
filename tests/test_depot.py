"""Models on this machine: what is there, what is pinned, what is refused, and how it gets here."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import fake_hub
import pytest
from fake_hub import COMMIT, Hub, text_model, weights, whisper_weights

from index.errors import ConfigError, ModelMissingError
from ingest.models import catalogue, depot, depot_record
from ingest.models.catalogue import CATALOGUE, KINDS, FileSpec, ModelSpec
from ingest.models.depot import Depot, pulling
from ingest.models.pull import pull

ROOT = Path(__file__).resolve().parents[1]
REPO = "acme/tiny"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def models(tmp_path) -> Depot:
    return Depot(tmp_path / "models")


@pytest.fixture
def hub():
    with fake_hub.serving() as hub:
        hub.repos[REPO] = text_model()
        yield hub


@pytest.fixture
def pulled(models, hub) -> Depot:
    get(models, hub)
    return models


def get(models: Depot, hub: Hub, name: str = REPO, kind: str = "text", **more) -> bool:
    return pull(models, models.place(kind, name), endpoint=hub.url, **more)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def catalogued(monkeypatch, **known) -> None:
    spec = ModelSpec("tiny", "text", REPO, size=1000, default_for=("cpu",), **known)
    for module in (catalogue, depot):
        monkeypatch.setattr(module, "CATALOGUE", (spec,))


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The files that are read through, as they are."""
    names: list[str] = []
    real = depot_record.hash_file
    monkeypatch.setattr(
        depot_record,
        "hash_file",
        lambda path, *a, **k: names.append(path.name) or real(path, *a, **k),
    )
    return names


# --- the catalogue --------------------------------------------------------------------------


def test_every_kind_has_a_default_for_every_device_except_where_the_user_decides():
    for kind in set(KINDS) - {"easyocr", "reranker"}:
        for device in ("cpu", "cuda", "mps"):
            assert catalogue.known(Depot.default(kind, device), kind)
    with pytest.raises(ConfigError, match="name one"):
        Depot.default("easyocr", "cpu")


def test_names_are_unique_and_hashes_have_their_form():
    names = [spec.name.casefold() for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in CATALOGUE:
        assert spec.kind in KINDS
        assert spec.revision is None or len(bytes.fromhex(spec.revision)) == 20
        assert spec.repo is None or spec.repo.rpartition("/")[2] == spec.name
        for file in spec.files:
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
            assert file.md5 is None or len(bytes.fromhex(file.md5)) == 16


def test_the_size_of_every_model_that_is_asked_for_unasked_is_known():
    for spec in CATALOGUE:
        assert spec.size or not (spec.default_for or spec.kind == "easyocr"), spec.name


def test_easyocr_s_sizes_are_those_of_its_networks():
    import torch
    from easyocr.config import recognition_models
    from easyocr.craft import CRAFT
    from easyocr.model.model import Model as FirstGeneration
    from easyocr.model.vgg_model import Model

    def size(network) -> int:
        return sum(each.numel() * each.element_size() for each in network.state_dict().values())

    networks = {"gen1": (FirstGeneration, 512), "gen2": (Model, 256)}
    by_name = {spec.name: spec for spec in CATALOGUE if spec.kind == "easyocr"}
    checked = 0
    with torch.device("meta"):
        detector = CRAFT(pretrained=False)
        for generation, (network, width) in networks.items():
            for name, published in recognition_models[generation].items():
                if name in by_name:
                    recogniser = network(1, width, width, len(published["characters"]) + 1)
                    expected = size(detector) + size(recogniser)
                    assert by_name[name].size == pytest.approx(expected, rel=0.01)
                    checked += 1
    assert checked == len(by_name)


def test_easyocr_s_hashes_are_those_of_the_installed_package():
    from ingest.models.pull_easyocr import easyocr_config

    config = easyocr_config()
    groups = [config.detection_models, *config.recognition_models.values()]
    published = {m["filename"]: m["md5sum"] for group in groups for m in group.values()}
    files = [file for spec in CATALOGUE if spec.kind == "easyocr" for file in spec.files]
    assert files and all(published[file.path] == file.md5 for file in files)


# --- what is here ---------------------------------------------------------------------------


def test_a_missing_model_is_told_with_its_size_and_both_ways_out(models):
    assert models.find("text", "multilingual-e5-small") is None
    with pytest.raises(ModelMissingError) as told:
        models.files("text", "multilingual-e5-small")
    for part in (
        "multilingual-e5-small", "MiB", "longtake models pull multilingual-e5-small", "models.dir",
        str(models.folder / "text" / "multilingual-e5-small"),
    ):  # fmt: skip
        assert part in str(told.value)


def test_a_name_that_nobody_knows_is_told_with_ways_to_one_that_is_known(models):
    with pytest.raises(ModelMissingError) as told:
        models.files("videollm", "nothere")
    assert "longtake models ls --all" in str(told.value) and "models pull" not in str(told.value)


def test_all_that_is_missing_is_told_at_once(models, monkeypatch):
    real = depot.lacking_packages
    monkeypatch.setattr(
        depot, "lacking_packages", lambda kind: ("open_clip",) if kind == "clip" else real(kind)
    )
    clip, text = Depot.default("clip", "cpu"), Depot.default("text", "cpu")
    with pytest.raises(ModelMissingError) as told:
        models.check_present([("clip", clip), ("text", text), ("clip", clip)])
    message = str(told.value)
    assert message.count(f"model {clip} is not here") == 1 and f"model {text} is not" in message
    assert f"longtake models pull {clip} {text}" in message
    assert "Not installed: open_clip" in message and "'.[models]'" in message
    models.check_present([])


def test_a_model_that_lacks_only_its_packages_is_told_unless_it_is_prepared(pulled, monkeypatch):
    monkeypatch.setattr(depot, "lacking_packages", lambda kind: ("torch",))
    with pytest.raises(ModelMissingError, match="Not installed: torch") as told:
        pulled.check_present([("text", REPO)])
    assert "models pull" not in str(told.value)
    files = pulled.files("text", REPO)
    write(files.prepared, {"text.onnx": b"", "facts.json": b'{"digest": "another"}'})
    assert not pulled.prepared(files)  # made of other weights
    write(files.prepared, {"facts.json": f'{{"digest": "{files.digest}"}}'.encode()})
    pulled.check_present([("text", REPO)])


@pytest.mark.parametrize("name", ["a b", "../../etc", "x/y/z", "", "tiny.pulling", "a\\b"])
def test_odd_names_lead_nowhere(models, name, hub):
    try:
        place = models.place("text", name)
    except ConfigError:
        return
    assert not place.ours  # a path, which nothing is written to
    with pytest.raises(ModelMissingError):
        pull(models, place, endpoint=hub.url)


def test_an_unknown_kind_lists_the_known(models):
    with pytest.raises(ConfigError, match="clip, whisper, text"):
        models.place("clop", "x")


# --- a folder that somebody copied here -----------------------------------------------------


def test_a_copied_folder_is_a_model_and_hashed_once(models, hashed):
    write(models.folder / "text" / "mine", text_model())
    files = models.files("text", "mine")
    assert hashed.count("model.safetensors") == 1
    assert models.find("text", "mine") == files == Depot(models.folder).find("text", "mine")
    assert hashed.count("model.safetensors") == 1
    assert {"README.md", "pytorch_model.bin", "model.onnx"}.isdisjoint(hashed)


def test_the_same_weights_have_the_same_digest_wherever_they_came_from(pulled, tmp_path):
    copy = write(tmp_path / "elsewhere", text_model())
    other = write(tmp_path / "other", text_model(seed=1))
    digest = pulled.files("text", REPO).digest
    assert pulled.files("text", str(copy)).digest == digest
    assert pulled.files("text", str(other)).digest != digest


def test_what_changes_the_outputs_changes_the_digest(models):
    folder = write(models.folder / "text" / "mine", text_model())
    before = models.files("text", "mine").digest
    write(folder, {"README.md": b"# Another"})
    assert models.files("text", "mine").digest == before
    write(folder, {"tokenizer.json": b'{"a": 1}'})
    assert models.files("text", "mine").digest != before


def test_a_copy_of_a_whole_depot_stays_pinned_and_is_hashed_once(pulled, tmp_path, hashed):
    """Copying changes times; the record of what was pulled comes along."""
    target = tmp_path / "usb" / "text" / "acme--tiny"
    target.mkdir(parents=True)
    for path in pulled.files("text", REPO).folder.rglob("*.*"):
        write(target, {str(path.relative_to(pulled.files("text", REPO).folder)): path.read_bytes()})
    hashed.clear()
    copied = Depot(tmp_path / "usb")
    assert copied.files("text", REPO).digest == pulled.files("text", REPO).digest
    assert hashed.count("model.safetensors") == 1
    copied.files("text", REPO)
    assert hashed.count("model.safetensors") == 1
    (entry,) = [entry for entry in copied.listing() if entry.name == REPO]
    assert entry.pinned == "first use" and entry.revision == COMMIT


def test_the_record_goes_to_the_cache_where_the_folder_takes_none(
    models, hashed, monkeypatch, tmp_path
):
    folder = write(models.folder / "text" / "mine", text_model())
    (folder / "model.json").mkdir()  # as good as not writable, for root too
    first = models.files("text", "mine")
    assert models.files("text", "mine") == first
    assert hashed.count("model.safetensors") == 1
    assert list((tmp_path / "cache").rglob("*.json"))


def test_a_folder_of_the_user_s_is_taken_and_left_as_it_is_found(models, tmp_path):
    folder = write(tmp_path / "my models" / "e5", text_model())
    files = models.files("text", str(folder))
    assert files.folder == folder and files.name == "e5"
    assert models.folder in files.prepared.parents
    with pytest.raises(ConfigError, match="remove it yourself"):
        models.remove(models.place("text", str(folder)))
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == set(text_model())


def test_a_folder_of_the_user_s_is_hashed_once_too(models, tmp_path, hashed):
    folder = write(tmp_path / "e5", text_model())
    assert models.files("text", str(folder)) == models.files("text", str(folder))
    assert hashed.count("model.safetensors") == 1


def test_pickles_are_not_weights(models):
    write(models.folder / "text" / "old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(ModelMissingError, match=r"pytorch_model\.bin is a pickle"):
        models.files("text", "old")


def test_a_pickle_by_another_name_is_no_weights_either(models):
    write(
        models.folder / "text" / "sly",
        {"config.json": b"{}", "model.safetensors": b"\x80\x04x" * 9},
    )
    with pytest.raises(ModelMissingError, match="no safetensors file"):
        models.files("text", "sly")
    write(
        models.folder / "whisper" / "sly",
        {"config.json": b"{}", "model.bin": b"PK\3\4" + bytes(90)},
    )
    with pytest.raises(ModelMissingError, match="no CTranslate2"):
        models.files("whisper", "sly")
    write(
        models.folder / "whisper" / "good", {"config.json": b"{}", "model.bin": whisper_weights()}
    )
    assert models.files("whisper", "good")


def test_another_file_under_a_name_of_the_catalogue_is_refused(models, monkeypatch):
    catalogued(monkeypatch, files=(FileSpec("model.safetensors", sha256="00" * 32),))
    write(models.folder / "text" / "tiny", text_model())
    with pytest.raises(ModelMissingError, match="not the file that the catalogue knows"):
        models.files("text", "tiny")


def test_one_set_of_weights_is_chosen_as_the_library_chooses():
    both = ["model.safetensors", "open_clip_model.safetensors", "open_clip_config.json"]
    assert depot_record.relevant("clip", both) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "model.safetensors.index.json"
    fp16 = ["model.fp16.safetensors", "onnx/model.onnx", "x/y/z.json"]
    assert depot_record.relevant("videollm", [*shards, index, *fp16]) == sorted([*shards, index])


# --- pulling --------------------------------------------------------------------------------


def test_only_what_is_needed_is_fetched_and_then_it_is_here(models, hub):
    seen: list[tuple[int, int | None]] = []
    assert get(models, hub, progress=lambda done, total: seen.append((done, total)))
    assert sorted(path for path, _ in hub.asked) == [
        "1_Pooling/config.json", "config.json", "model.safetensors", "sentencepiece.bpe.model",
        "tokenizer.json",
    ]  # fmt: skip
    files = models.files("text", REPO)
    assert (files.folder / "model.safetensors").read_bytes() == hub.repos[REPO]["model.safetensors"]
    done = [done for done, _ in seen]
    assert done == sorted(done) and seen[-1][0] == seen[-1][1]
    assert (
        not list(models.folder.rglob("*.p*")) and not pulling(models.place("text", REPO)).exists()
    )


def test_a_model_that_is_here_is_not_asked_for_again(pulled, hub):
    hub.asked.clear()
    hub.listed.clear()
    assert not get(pulled, hub)
    assert not hub.asked and not hub.listed


def test_the_first_pull_pins_the_commit(pulled, hub):
    folder = pulled.files("text", REPO).folder
    (folder / "model.safetensors").unlink()
    hub.commits["main"] = "f" * 40  # it has moved on
    hub.commits["then"] = COMMIT
    hub.asked.clear()
    hub.listed.clear()
    assert get(pulled, hub)
    assert hub.listed == [COMMIT]
    assert [path for path, _ in hub.asked].count("model.safetensors") == 1


def test_a_hub_that_gives_out_other_weights_at_the_pinned_commit_is_refused(pulled, hub):
    folder = pulled.files("text", REPO).folder
    (folder / "model.safetensors").unlink()
    hub.repos[REPO] = text_model(seed=7)
    hub.asked.clear()
    with pytest.raises(ModelMissingError, match="not the file that is pinned"):
        get(pulled, hub)
    assert not hub.asked  # known from the list, before a byte was fetched


def test_a_revision_may_be_named_and_is_another_model(pulled, hub):
    hub.commits["refs/pr/3"] = "3" * 40
    assert get(pulled, hub, f"{REPO}@refs/pr/3")
    names = {entry.name: entry.revision for entry in pulled.listing() if entry.origin}
    assert names == {REPO: COMMIT, f"{REPO}@refs/pr/3": "3" * 40}


def test_the_catalogue_s_commit_is_the_one_asked_for(models, hub, monkeypatch):
    catalogued(monkeypatch, revision="a" * 40)
    hub.commits["a"] = "a" * 40
    assert get(models, hub, "tiny")
    assert hub.listed == ["a" * 40]
    assert models.listing()[0].pinned == "catalogue"


def test_bytes_that_do_not_hash_to_what_the_hub_says_are_not_kept(models, hub):
    for path in ("config.json", "model.safetensors"):  # by git's id, and by SHA-256
        hub.corrupt = {path}
        with pytest.raises(ModelMissingError, match=f"{path} of {REPO} is not the file"):
            get(models, hub)
        assert models.find("text", REPO) is None
        assert not (pulling(models.place("text", REPO)) / path).exists()
    hub.corrupt = set()
    assert get(models, hub) and models.find("text", REPO)


def test_a_hash_of_the_catalogue_outdoes_what_the_hub_says(models, hub, monkeypatch):
    catalogued(monkeypatch, files=(FileSpec("config.json", sha256="00" * 32),))
    with pytest.raises(ModelMissingError, match="not the file that is pinned"):
        get(models, hub, "tiny")


def test_a_repo_with_pickles_alone_is_refused_with_the_reason(models, hub):
    hub.repos[REPO] = {"config.json": b"{}", "pytorch_model.bin": b"x", "README.md": b""}
    with pytest.raises(ModelMissingError, match=r"pickle, which runs whatever.*safetensors only"):
        get(models, hub)
    assert not hub.asked


def test_a_repo_of_another_kind_is_refused(models, hub):
    with pytest.raises(ModelMissingError, match="no clip model"):
        get(models, hub, kind="clip")


def test_a_file_outside_of_the_folder_is_not_written(models, hub, tmp_path):
    hub.repos[REPO] |= {"../evil.json": b"{}", "/evil.json": b"{}"}
    assert get(models, hub)
    assert not list(tmp_path.rglob("evil.json"))


@pytest.fixture
def large(hub) -> Hub:
    """Weights of more than two of the pieces that the library writes at once."""
    hub.repos[REPO] = {"config.json": b"{}", "model.safetensors": weights(25_000_000)}
    return hub


def test_a_connection_that_breaks_is_taken_up_again(models, large):
    large.break_after = 15_000_000
    assert get(models, large)
    starts = [asked for path, asked in large.asked if path == "model.safetensors"]
    first, again = starts
    assert first is None and int(again[6:-1]) > 10_000_000


class Stopped(BaseException): ...


def stop(done: int, _total: int | None) -> None:
    if done > 12_000_000:
        raise Stopped


def test_an_interrupted_pull_goes_on_where_it_stopped_even_if_the_hub_has_moved(models, large):
    with pytest.raises(Stopped):
        get(models, large, progress=stop)
    assert models.find("text", REPO) is None
    large.commits["main"] = "e" * 40
    large.asked.clear()
    large.listed.clear()
    assert get(models, large)
    assert not large.listed
    ((path, start),) = large.asked
    assert path == "model.safetensors" and start and int(start[6:-1]) >= 10_000_000
    (entry,) = [entry for entry in models.listing() if entry.name == REPO]
    assert entry.revision == COMMIT


KILLED = """
import os, signal, sys
from pathlib import Path
from ingest.models.depot import Depot
from ingest.models.pull import pull
depot = Depot(Path(sys.argv[1]))
def kill(done, total):
    if done > 12_000_000:
        os.kill(os.getpid(), signal.SIGKILL)
pull(depot, depot.place("text", sys.argv[2]), endpoint=sys.argv[3], progress=kill)
"""


def test_a_killed_pull_goes_on_where_it_was(models, large):
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(models.folder), REPO, large.url], cwd=ROOT, timeout=60
    )
    assert ran.returncode == -signal.SIGKILL
    assert models.find("text", REPO) is None
    large.asked.clear()
    assert get(models, large)
    assert models.files("text", REPO)
    ((path, start),) = large.asked
    assert path == "model.safetensors" and start and int(start[6:-1]) > 10_000_000


def test_two_pulls_of_one_model_do_not_meet(models, hub):
    place = models.place("text", REPO)

    def another(done: int, _total: int | None) -> None:
        if done:
            with pytest.raises(ModelMissingError, match="Another process"):
                pull(models, place, endpoint=hub.url)

    assert get(models, hub, progress=another)


def test_an_unreachable_hub_is_told_with_the_ways_out_and_leaves_nothing(models, hub):
    with pytest.raises(ModelMissingError, match="cannot be reached") as told:
        pull(models, models.place("text", REPO), endpoint="http://127.0.0.1:9")
    assert "copy its files from another machine" in str(told.value)
    assert not pulling(models.place("text", REPO)).exists()


def test_no_such_repo_no_such_revision_and_a_licence_to_accept(models, hub):
    with pytest.raises(ModelMissingError, match="hub has no acme/none"):
        get(models, hub, "acme/none")
    with pytest.raises(ModelMissingError, match="no revision v9"):
        get(models, hub, f"{REPO}@v9")
    hub.gated = {REPO}
    with pytest.raises(ModelMissingError, match="licence accepted"):
        get(models, hub)
    with pytest.raises(ModelMissingError, match="catalogue has no text model “other”"):
        get(models, hub, "other")


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(models, hub, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=0))
    with pytest.raises(ModelMissingError, match=r"needs .* more, and the disk"):
        get(models, hub)
    assert not hub.asked


def test_pulling_keeps_what_was_prepared_of_the_same_weights(pulled, hub):
    files = pulled.files("text", REPO)
    write(files.prepared, {"text.onnx": b"made"})
    (files.folder / "tokenizer.json").unlink()
    assert pulled.find("text", REPO) is None
    assert get(pulled, hub)
    assert (files.prepared / "text.onnx").read_bytes() == b"made"


# --- EasyOCR --------------------------------------------------------------------------------


@pytest.fixture
def releases(hub, monkeypatch, tmp_path):
    """The package's list, with its addresses on loopback and hashes of small files."""
    from ingest.models import pull_easyocr

    config = pull_easyocr.easyocr_config()
    content = {"craft_mlt_25k.pth": b"detector" * 99, "english_g2.pth": b"recogniser" * 99}
    hub.repos["ocr"] = {}
    for model in (
        config.detection_models["craft"],
        config.recognition_models["gen2"]["english_g2"],
    ):
        archive = tmp_path / "archive.zip"
        with zipfile.ZipFile(archive, "w") as out:
            out.writestr(model["filename"], content[model["filename"]])
            out.writestr("../escaped.txt", b"")
        hub.repos["ocr"][model["filename"]] = archive.read_bytes()
        model["url"] = f"{hub.url}/elsewhere/ocr/resolve/main/{model['filename']}"
    monkeypatch.setattr(pull_easyocr, "easyocr_config", lambda: config)
    files = tuple(
        FileSpec(name, md5=hashlib.md5(data, usedforsecurity=False).hexdigest())
        for name, data in content.items()
    )
    spec = ModelSpec("english_g2", "easyocr", None, files=files)
    for module in (catalogue, depot):
        monkeypatch.setattr(module, "CATALOGUE", (spec,))
    return spec


def test_easyocr_s_weights_come_from_its_releases_and_are_held_against_its_hashes(
    models, hub, releases, tmp_path
):
    assert get(models, hub, "english_g2", "easyocr")
    folder = models.files("easyocr", "english_g2").folder
    assert {path.name for path in folder.iterdir()} == {
        "craft_mlt_25k.pth", "english_g2.pth", "model.json",
    }  # fmt: skip
    assert not list(tmp_path.rglob("escaped.txt"))


def test_easyocr_s_weights_with_another_hash_are_refused(models, hub, releases, monkeypatch):
    wrong = replace(releases, files=(replace(releases.files[0], md5="0" * 32), *releases.files[1:]))
    monkeypatch.setattr(catalogue, "CATALOGUE", (wrong,))
    with pytest.raises(ModelMissingError, match="not the file that EasyOCR publishes"):
        get(models, hub, "english_g2", "easyocr")
    assert models.find("easyocr", "english_g2") is None


# --- verify and remove ----------------------------------------------------------------------


def test_verify_finds_what_size_and_time_hide(pulled):
    place = pulled.place("text", REPO)
    assert [problem for _, problem in pulled.verify(place)] == [""] * 5
    path = place.folder / "model.safetensors"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert pulled.find("text", REPO)  # nothing to be seen without reading it
    wrong = dict(pulled.verify(place))
    assert "hashes to" in wrong.pop("model.safetensors") and set(wrong.values()) == {""}


def test_what_verify_finds_is_damage_from_then_on_and_pulling_mends_it(pulled, hub):
    place = pulled.place("text", REPO)
    path = place.folder / "model.safetensors"
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    list(pulled.verify(place))
    with pytest.raises(ModelMissingError, match="not the file that was pulled"):
        pulled.files("text", REPO)
    assert get(pulled, hub)
    assert path.read_bytes() == content and pulled.files("text", REPO)


def test_how_a_model_is_had_anew_is_something_that_helps(pulled):
    """`pull` alone leaves what has its hashes, and a folder of one's own is nowhere else."""
    assert f"models rm {REPO}`, then `longtake" in pulled.files("text", REPO).fetching
    folder = write(pulled.folder / "text" / "mine", text_model())
    assert pulled.files("text", "mine").fetching == f"copy the model to {folder} anew"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissingError, match=r"no weights.*Copy its files there anew"):
        pulled.files("text", "mine")


def test_a_pulled_file_that_became_another_one_is_damage_and_pulling_mends_it(pulled, hub):
    path = pulled.files("text", REPO).folder / "config.json"
    path.write_bytes(b'{"model_type": "gpt2"}')  # of the same length
    with pytest.raises(ModelMissingError, match="not the file that was pulled"):
        pulled.files("text", REPO)
    (entry,) = [entry for entry in pulled.listing() if entry.name == REPO]
    assert entry.state == "damaged"
    hub.asked.clear()
    assert get(pulled, hub)
    assert pulled.files("text", REPO)
    assert "model.safetensors" not in [name for name, _ in hub.asked]  # that one was whole


def test_remove_says_what_it_frees(pulled):
    place = pulled.place("text", REPO)
    write(place.folder / "prepared", {"text.onnx": bytes(1000)})
    write(pulling(place), {"model.safetensors.part": bytes(500)})
    size = sum(path.stat().st_size for path in place.folder.rglob("*") if path.is_file())
    assert pulled.remove(place) == size + 500
    assert not place.folder.exists() and pulled.find("text", REPO) is None
    assert pulled.remove(place) == 0


# --- what it costs --------------------------------------------------------------------------


def test_looking_for_a_model_loads_nothing_heavy(pulled):
    code = (
        "import sys\nfrom pathlib import Path\nfrom ingest.models.depot import Depot\n"
        f"depot = Depot(Path({str(pulled.folder)!r}))\n"
        f"assert depot.find('text', {REPO!r})\ndepot.listing()\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "transformers", "open_clip", "huggingface_hub", "numpy", "onnxruntime"}
    assert not heavy & set(ran.stdout.split())


# --- carried by a package -------------------------------------------------------------------


@pytest.fixture
def carried(tmp_path, monkeypatch) -> Path:
    """A Python package that holds a text encoder, and cannot be imported."""
    package = tmp_path / "site" / "carrier_of_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    write(package / "made", text_model())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return package / "made"


PACKAGES = {"multilingual-e5-base": "carrier_of_weights/made"}


def test_a_model_that_a_package_carries_is_found_by_its_name(tmp_path, carried):
    depot = Depot(tmp_path / "models", PACKAGES)
    files = depot.files("text", "multilingual-e5-base")
    assert files.name == "multilingual-e5-base"
    assert files.folder == carried
    assert not (carried / "model.json").exists()
    assert tmp_path / "models" in files.prepared.parents  # nothing is written into the package
    assert depot.place("text", "multilingual-e5-base").called == "multilingual-e5-base"
    assert Depot(tmp_path / "models").find("text", "multilingual-e5-base") is None


def test_what_a_package_carries_must_be_the_weights_that_the_catalogue_knows(tmp_path, carried):
    depot = Depot(tmp_path / "models", {"all-MiniLM-L6-v2": "carrier_of_weights/made"})
    with pytest.raises(ModelMissingError, match="not the file that the catalogue knows"):
        depot.files("text", "all-MiniLM-L6-v2")


def test_a_pulled_model_comes_before_a_carried_one(tmp_path, carried):
    depot = Depot(tmp_path / "models", PACKAGES)
    (tmp_path / "models" / "text" / "multilingual-e5-base").mkdir(parents=True)
    assert depot.place("text", "multilingual-e5-base").ours


@pytest.mark.parametrize("where", ["no_such_package/model", "carrier_of_weights/other", "", "."])
def test_a_package_that_is_not_installed_changes_nothing(tmp_path, carried, where):
    depot = Depot(tmp_path / "models", {"multilingual-e5-base": where})
    place = depot.place("text", "multilingual-e5-base")
    assert place.ours and place.repo == "intfloat/multilingual-e5-base"
