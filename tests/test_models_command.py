"""`longtake models` as a user meets it: what is printed where, and exit statuses."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import fake_hub
import pytest
from fake_hub import COMMIT, text_model

from cli.main import main
from cli.models import wanted_models
from cli.senses import Senses
from cli.settings import Settings
from index.errors import ModelMissingError
from ingest.models.catalogue import CATALOGUE
from ingest.models.depot import Depot

ROOT = Path(__file__).resolve().parents[1]
REPO = "acme/tiny"

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def hub(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with fake_hub.serving() as hub:
        hub.repos[REPO] = text_model()
        monkeypatch.setenv("LONGTAKE_MODELS__ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def models(tmp_path, monkeypatch) -> Depot:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LONGTAKE_MODELS__DIR", str(tmp_path / "models"))
    monkeypatch.setenv("LONGTAKE_MODELS__DEVICE", "cpu")
    return Depot(tmp_path / "models")


@pytest.fixture
def run(models, capfd):
    """run(*arguments) -> (exit status, stdout lines, stderr) of `longtake models`."""

    def run_(*arguments: str) -> tuple[int, list[str], str]:
        status = main(["models", *arguments])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err

    return run_


@pytest.fixture
def pulled(run, hub) -> None:
    assert run("pull", REPO, "--kind", "text")[0] == 0


def test_ls_shows_what_is_wanted_and_what_is_a_default(run):
    status, lines, err = run("ls", "--set", 'channels.enabled=["text"]')
    assert status == 0 and "more are known" in err
    (line,) = [line for line in lines if "multilingual-e5-small" in line]
    assert "missing" in line and "614241f6" in line and "wanted: text" in line
    assert "MiB" in line
    assert not any("english_g2" in line for line in lines)
    assert any("english_g2" in line for line in run("ls", "--all")[1])


def test_ls_json_lists_the_whole_catalogue_and_nothing_else_on_stdout(run):
    status, lines, err = run("ls", "--json", "--set", 'channels.enabled=["frame"]')
    records = [json.loads(line) for line in lines]
    assert (status, err) == (0, "")
    assert [record["name"] for record in records] == [spec.name for spec in CATALOGUE]
    assert {record["state"] for record in records} == {"missing"}
    assert [r["wanted_by"] for r in records if r["wanted_by"]] == [["frame"]]
    unknown = [record for record in records if record["size_bytes"] is None]
    assert unknown and all(record["revision"] is None or unknown for record in unknown)


def test_what_is_wanted_follows_the_settings():
    def wanted(**channels) -> dict[str, str]:
        settings = Settings.model_validate({"channels": channels, "models": {"device": "cpu"}})
        return {one.channel: f"{one.kind}:{one.name}" for one in wanted_models(settings)}

    assert wanted(enabled=["screen_text", "fingerprint"]) == {}
    text = {"enabled": ["text"]}
    assert wanted(**text) == {"text": f"text:{Depot.default('text', 'cpu')}"}
    assert wanted(**text, text={"model": "acme/e5"}) == {"text": "text:acme/e5"}
    assert wanted(enabled=["object"]) == {}  # nothing to look for
    assert "object" in wanted(enabled=["object"], object={"classes": ["dog"]})
    assert wanted(enabled=["speech"], recognition={"enabled": False}) == {}
    served = {"backend": "openai", "base_url": "http://localhost/v1", "model": "m"}
    assert wanted(enabled=["caption"], caption=served) == {}
    searches = Settings.model_validate({"retrieve": {"rerank": {"model": "acme/judge"}}})
    assert ("search", "reranker", "acme/judge") in {
        (one.channel, one.kind, one.name) for one in wanted_models(searches)
    }
    assert not wanted_models(searches, ())  # indexing does without
    assert wanted(enabled=["caption"], caption={"backend": "transformers"})["caption"].startswith(
        "videollm:"
    )


def test_the_vectors_of_words_that_come_along_can_be_left_out_as_the_message_says(tmp_path):
    def check(enabled: list[str], names: list[str]) -> None:
        channels = {"enabled": enabled, "recognition": {"enabled": False}}
        models = {"device": "cpu", "dir": tmp_path}
        settings = Settings.model_validate({"channels": channels, "models": models})
        Senses(settings, names).check_models()

    with pytest.raises(ModelMissingError, match="text, the vectors of words") as caught:
        check(["speech", "text"], ["speech"])
    assert """--set 'channels.enabled=["speech"]'""" in str(caught.value)
    check(["speech"], ["speech"])
    with pytest.raises(ModelMissingError) as caught:
        check(["speech", "text"], ["text"])
    assert "comes with them" not in str(caught.value)


def test_pull_says_what_came_and_what_it_is_pinned_to(run, hub, models):
    status, lines, err = run("pull", REPO, "--kind", "text")
    assert (status, lines) == (0, [])
    assert REPO in err and COMMIT[:8] in err and "kept to from now on" in err
    assert models.find("text", REPO)
    status, lines, err = run("pull", REPO)  # its kind is known now
    assert (status, lines) == (0, []) and "is here already" in err
    (line,) = [line for line in run("ls")[1] if REPO in line]
    assert "here" in line and "first use" in line


def test_pull_without_a_name_takes_what_the_channels_want(run, hub, models):
    enabled = ("--set", 'channels.enabled=["text"]', "--set", f"channels.text.model={REPO}")
    assert run("pull", "--json", *enabled)[0] == 0
    assert models.find("text", REPO)
    status, lines, err = run("pull", "--set", 'channels.enabled=["fingerprint"]')
    assert (status, lines) == (0, []) and "want no model" in err


def test_one_model_that_fails_does_not_keep_the_others(run, hub, models):
    status, lines, err = run("pull", "acme/none", REPO, "--kind", "text", "--json")
    first, second = map(json.loads, lines)
    assert status == 1 and "hub has no acme/none" in err
    assert "hub has no" in first["error"] and second["state"] == "here"
    assert models.find("text", REPO)


def test_a_hub_out_of_reach_is_a_sentence_and_no_traceback(run, monkeypatch):
    monkeypatch.setenv("LONGTAKE_MODELS__ENDPOINT", "http://127.0.0.1:9")
    status, lines, err = run("pull", "multilingual-e5-small")
    assert (status, lines) == (1, [])
    assert "cannot be reached" in err and "Traceback" not in err


def test_a_name_that_nobody_knows_needs_its_kind(run):
    for command in ("pull", "prepare", "verify", "rm"):
        status, lines, err = run(command, "acme/unknown")
        assert (status, lines) == (2, []) and "--kind" in err
    assert run("pull", "acme/unknown", "--kind", "clop")[0] == 2
    assert run("rm")[0] == 2


def test_verify_reports_each_file_and_fails_for_one(run, pulled, models):
    status, lines, _ = run("verify", REPO)
    assert status == 0 and len(lines) == 5 and all(line.endswith("ok") for line in lines)
    path = models.files("text", REPO).folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    status, lines, err = run("verify", "--json")
    records = [json.loads(line) for line in lines]
    assert status == 1 and "longtake models pull" in err
    assert [r["path"] for r in records if not r["ok"]] == ["model.safetensors"]


def test_rm_says_how_much_it_freed(run, pulled, models):
    folder = models.files("text", REPO).folder
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    status, lines, _ = run("rm", REPO, "--json")
    assert status == 0 and json.loads(lines[0])["freed_bytes"] == size
    assert not folder.exists()
    assert "was not here" in run("rm", "multilingual-e5-small")[2]


def test_what_needs_no_preparing_is_said(run, models):
    folder = models.folder / "whisper" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.bin").write_bytes(fake_hub.whisper_weights())
    status, lines, err = run("prepare", "mine")
    assert (status, lines) == (0, []) and "nothing to prepare" in err


def test_preparing_what_is_missing_says_how_to_get_it(run):
    status, lines, err = run("prepare", "multilingual-e5-small")
    assert (status, lines) == (1, []) and "models pull multilingual-e5-small" in err


def save_small_bert(folder: Path) -> None:
    """A real, tiny text encoder."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.set_num_threads(2)
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: at for at, word in enumerate(words)}
    tokenizer = Tokenizer(kinds.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
        )
    ).save_pretrained(folder)  # fmt: skip


def test_prepare_makes_a_copy_that_ls_knows(run, models):
    """Through the exporter that the channel uses."""
    save_small_bert(models.folder / "text" / "small-bert")
    status, lines, err = run("prepare", "small-bert", "--json")
    assert status == 0, err
    record = json.loads(lines[0])
    assert record["size_bytes"] > 0 and list(Path(record["prepared"]).glob("*.onnx"))
    (entry,) = [entry for entry in models.listing() if entry.name == "small-bert"]
    assert entry.state == "prepared"
    _, _, err = run("prepare", "small-bert", "--int8")
    assert re.search(r"8-bit weights its vectors have a cosine of at least [01]\.\d{4} ", err)


def test_one_model_that_cannot_be_prepared_does_not_keep_the_others(run, models):
    broken = models.folder / "text" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_bytes(b"{}")
    save_small_bert(models.folder / "text" / "small-bert")
    status, lines, err = run("prepare", "broken", "small-bert", "--json")
    assert status == 1 and "broken cannot be used" in err
    records = [json.loads(line) for line in lines]
    assert [record["name"] for record in records] == ["broken", "small-bert"]
    assert "error" in records[0] and records[1]["size_bytes"] > 0


def test_the_command_that_is_told_prepares_a_model_that_lies_elsewhere(run, models, tmp_path):
    """It has a name that no command knows, so the path and the kind are in it."""
    from ingest.models.text_onnx import OnnxTextEncoder

    folder = tmp_path / "my models" / "bert"
    save_small_bert(folder)
    files = models.files("text", str(folder))
    with pytest.raises(ModelMissingError) as told:
        OnnxTextEncoder(files)
    command = re.search("`longtake models (.*?)`", str(told.value))[1]
    status, _, err = run(*shlex.split(command))
    assert status == 0, err
    assert OnnxTextEncoder(files).size == 32


def test_a_terminal_gets_a_bar_on_stderr_and_a_pipe_gets_none(hub, models):
    hub.repos[REPO] = {"config.json": b"{}", "model.safetensors": fake_hub.weights(3_000_000)}
    here, there = pty.openpty()
    command = [sys.executable, "-m", "cli.main", "models", "pull", REPO, "--kind", "text"]
    ran = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=there, env={**os.environ, "TERM": "xterm"}
    )
    os.close(there)
    shown = b""
    while True:
        try:
            piece = os.read(here, 65536)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        shown += piece
    out, _ = ran.communicate(timeout=60)
    os.close(here)
    assert ran.returncode == 0 and out == b""
    assert "━".encode() in shown and b"MB" in shown


def test_the_page_on_models_lists_them_all():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for spec in CATALOGUE:
        assert f"`{spec.name}`" in page
        for device in spec.default_for:
            line = next(line for line in page.splitlines() if f"| `{spec.name}` |" in line)
            assert device.upper() in line.split("|")[5]
