"""A chat whose model watches the video first: its pictures are read once, and each question looks
back at those of its sources."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import talks
import tiny_videollm
from clips import noise_picture, write_clip
from talks import LIGHTHOUSE, put_channel, put_video

from cli.main import main
from index.schema import FileStat, Moment, Stream
from ingest.models.videollm import Frame, Prompt
from ingest.models.videollm.session_settings import SessionSettings
from ingest.models.videollm.transformers import TransformersVideoLLM
from ingest.models.videollm.watching import WatchingModel
from rag.answer_settings import AskSettings
from rag.material import Gatherer, Line, Look, Scene
from rag.prompt import PromptBuilder
from rag.tokens import ModelTokens

pytestmark = pytest.mark.usefixtures("own_places")

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava_onevision", "smolvlm")
SESSION = {"device_bytes": 16 << 20, "question_tokens": 3000}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """family -> the folder of a tiny one, built when first asked for."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            tiny_videollm.build(family, made[family])
        return made[family]

    return get


@pytest.fixture(scope="module")
def tiny(families) -> Path:
    return families("qwen3_vl")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A minute, another picture every five seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    pictures = [noise_picture(at // 10, 64, 48) for at in range(120)]
    return write_clip(path, pictures, rate=2, key_frame_every=10)


@pytest.fixture
def lighthouse(tmp_path, film) -> Path:
    library = talks.open_library_at(tmp_path / "library")
    video = put_video(library, "Lighthouse", 60.0)
    streams = (Stream(0, "video", "h264", width=64, height=48, frame_rate=2.0),)
    files = (FileStat(str(film), 1, 1, 1),)
    library.put_video(dataclasses.replace(video, files=files, streams=streams))
    put_channel(library, video, "speech", LIGHTHOUSE)
    put_channel(library, put_video(library, "Unrecorded", 60.0), "speech", LIGHTHOUSE)
    library.store.close()
    return tmp_path / "library"


def watching(tiny: Path) -> WatchingModel:
    from ingest.models.files import ModelFiles

    files = ModelFiles("tiny", tiny, "0" * 16, tiny / "prepared", None)
    model = TransformersVideoLLM(files, device="cpu", threads=1)
    return WatchingModel(model, SessionSettings(**SESSION))


def test_pictures_are_read_once_and_answers_are_from_the_memory(tiny, film):
    model = watching(tiny)
    try:
        assert model.watch(film, [float(at) for at in range(60)], 56) == 60
        assert model.watched == pytest.approx(list(range(60)))
        assert model.watch(film, [10.0, 59.0, 59.5], 56) == 1  # what is new of it
        asked = Prompt(("What is shown?",), "Be brief.", ((20.0, 25.0),))
        session = model._session
        before = session.times
        text = "".join(p.text for p in model.generate(asked, max_tokens=12, temperature=0.0))
        direct = session.ask("Be brief.\n\nWhat is shown?", spans=[(20.0, 25.0)], max_tokens=12)
        assert text and text == "".join(piece.text for piece in direct)
        assert session.times == before
        plain = "".join(p.text for p in model.generate(Prompt(("Hello?",)), max_tokens=12))
        alone = model._model.generate(Prompt(("Hello?",)), max_tokens=12)
        assert plain == "".join(piece.text for piece in alone)
    finally:
        model.close()
    assert model.watched == ()


def test_ctrl_c_keeps_what_was_watched_by_then(tiny, film):
    def enough(seconds: float) -> None:
        if seconds > 20:
            raise KeyboardInterrupt

    model = watching(tiny)
    with pytest.raises(KeyboardInterrupt):
        model.watch(film, [float(at) for at in range(60)], 56, seen=enough)
    assert 20 < len(model.watched) < 50
    model.close()


def test_what_was_watched_is_a_source_beside_what_was_said(tiny, lighthouse):
    library = talks.open_library_at(lighthouse)
    model = watching(tiny)
    settings = AskSettings(budget_tokens=3000, answer_tokens=100)
    try:
        video = library.find("Lighthouse")
        moments = [
            dataclasses.replace(_moment(video), start_seconds=30.0, end_seconds=38.0),
            dataclasses.replace(_moment(video), start_seconds=20.0, end_seconds=25.0),
        ]
        scenes = Gatherer(library, context_seconds=0.0, side=56).scenes(moments)
        builder = PromptBuilder(
            "{sources} {question}", ModelTokens(model), settings, lambda id: None, watched=True
        )
        built = builder.build("Who invented the lens?", scenes)
        assert not [part for part in built.prompt.parts if isinstance(part, Frame)]
        kinds = [(s.number, s.moment.channel, s.moment.start_seconds) for s in built.sources]
        assert kinds == [(1, "frame", 20.0), (2, "speech", 30.0), (3, "frame", 30.0)]
        assert built.prompt.spans == ((20.0, 25.0), (30.0, 38.0), (30.0, 38.0))
        text = "\n".join(built.prompt.parts)
        assert "SOURCE 3: what you watched of" in text and "Fresnel" in text
        assert set(built.words) == {2}
        small = builder.build("Who invented the lens?", scenes, budget=100 + 330)
        assert small.tokens <= 330 and small.sources
    finally:
        model.close()
        library.store.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_prompt_fits_beside_what_was_watched(families, family, film):
    """LLaVA-OneVision is told all the times of its frames behind them."""
    model = watching(families(family))
    settings = AskSettings(budget_tokens=9000, answer_tokens=40)
    try:
        model.watch(film, [float(at) for at in range(60)], 56)
        lines = [Line("speech", at, at + 0.5, f"Sheep {at}.", 0.5) for at in range(300)]
        moment = Moment("v", 0, "Film", None, 0.0, 300.0, 1.0, "speech")
        scene = Scene(moment, 1.0, tuple(lines), (Look(20.0, 1.0),), (42, 56))
        builder = PromptBuilder(
            "{sources} {question}", ModelTokens(model), settings, lambda id: None, watched=True
        )
        built = builder.build("What?", [scene])
        assert built.left_out > 100 and built.tokens > 2000
        assert "".join(p.text for p in model.generate(built.prompt, max_tokens=40))
    finally:
        model.close()


def _moment(video):
    return Moment(video.id, 0, video.title, video.files[0].path, 0.0, 60.0, 1.0, "segment")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chat_watches_first_and_then_answers_with_sources(
    families, family, lighthouse, monkeypatch, capsys
):
    tiny = families(family)
    given = {
        "ask.backend": "transformers", "ask.model": str(tiny), "ask.device": "cpu",
        "ask.answer_tokens": 24, "ask.budget_tokens": 3000, "ask.picture_side": 56,
        "ask.session": SESSION, "ask.attempts": 1, "index.reserve_bytes": 0,
    }  # fmt: skip
    sets = [x for name, value in given.items() for x in ("--set", f"{name}={json.dumps(value)}")]

    def chat(*lines: str, arguments=("--video", "Lighthouse", "--watch")) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        status = main(["chat", "--library", str(lighthouse), *sets, *arguments])
        return status, *capsys.readouterr()

    status, out, err = chat("Who invented the lens?", "/sources", "/video")
    assert status == 0, err
    assert "half as much" not in err  # its sources fit beside what it has seen
    assert "60 pictures, up to 0:59" in err
    assert "[frame]" in out and "[speech]" in out and "Looks in Lighthouse." in out
    status, _, err = chat("/video Unrecorded")
    assert status == 1 and "without --watch" in err
    status, _, err = chat("x", arguments=("--watch",))
    assert status == 2 and "--video" in err
    status, _, err = chat("x", arguments=("--video", "Unrecorded", "--watch"))
    assert status == 1 and "Unrecorded" in err
    sets = ["--set", "index.reserve_bytes=0"]
    status, _, err = chat("x")
    assert status == 2 and "ask.backend" in err
