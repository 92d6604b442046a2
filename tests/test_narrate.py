"""A running commentary: it speaks where something new happens, and only there."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from test_videollm_openai import Server, event, stream
from test_watch import OPTIONS, ROOT, recording

from index.errors import ConfigError, StoreError
from index.schema import Evidence
from ingest.models.pdq import to_vector
from ingest.models.videollm import Frame, Piece
from rag.narrate import Describing, Narrator, News, Novelty, Quoting, Remembering
from rag.narrate_settings import NarrateSettings

assert recording  # a fixture

SETTINGS = NarrateSettings(every_seconds=5.0, memory_seconds=60.0)
INSTRUCTIONS = "Before: {before} New: {words} Seen: {frames} Say it."


def words(text: str, start: float, end: float | None = None, channel="screen_text", **attributes):
    return Evidence("v", 0, channel, "g", start, end or start + 2.0, text, attributes)


def picture(seed: int, start: float) -> Evidence:
    bits = np.random.default_rng(seed).integers(0, 2, 256).astype(bool)
    return Evidence(
        "v", 0, "fingerprint", "g", start, start + 2.0, key=f"{seed}",
        vectors={"fingerprint": to_vector(bits)},
    )  # fmt: skip


def told(novelty: Novelty, *evidence: Evidence) -> list:
    return [one.words[0][1] if one.words else "picture" for one in novelty.news(evidence)]


def test_what_was_there_lately_is_not_new():
    novelty = Novelty(SETTINGS)
    assert told(novelty, words("Platform 3", 0)) == ["Platform 3"]
    assert told(novelty, words("platform  3", 10)) == []
    assert told(novelty, words("Plattform 3", 20)) == []  # as a screen is read the next time
    assert told(novelty, words("Delayed by ten minutes", 30)) == ["Delayed by ten minutes"]
    assert told(novelty, words("Platform 3", 200)) == ["Platform 3"]  # forgotten meanwhile


def test_words_that_are_still_being_typed_wait():
    novelty = Novelty(SETTINGS)
    assert told(novelty, words("Hel", 0, 0.4, provisional=True)) == []
    assert told(novelty, words("Hello", 0, 1.5, provisional=True)) == ["Hello"]
    assert told(novelty, words("Hello", 0, 1.5, provisional=True)) == []
    assert told(novelty, words("Short", 3, 3.2)) == ["Short"]  # it has ended


def test_pictures_are_new_where_none_lately_looked_like_them():
    novelty = Novelty(SETTINGS)
    assert told(novelty, picture(1, 0)) == ["picture"]
    assert told(novelty, picture(1, 10), picture(2, 12)) == ["picture"]
    assert told(novelty, picture(1, 200)) == ["picture"]
    blank = Evidence("v", 0, "fingerprint", "g", 300, 301, key="blank")
    assert told(novelty, blank) == []


class Commentary:
    """A narrator, and what it has said."""

    def __init__(self, make=Quoting, settings=SETTINGS):
        self.remarks: list[tuple[str, float, str]] = []
        self.problems: list[str] = []
        self.narrator = Narrator(settings, make, self._tell, self.problems.append)

    def _tell(self, source, remark):
        self.remarks.append((source, remark.at_seconds, remark.text))

    def settled(self) -> list[tuple[str, float, str]]:
        """What it has said of all that it was given."""
        while not self.narrator._queue.empty():
            threading.Event().wait(0.01)
        self.narrator.close(10.0)
        return self.remarks


def test_it_speaks_when_something_new_happens_and_not_too_often():
    commentary = Commentary()
    hear = commentary.narrator.hear
    hear("hall", [words("Platform 3", 0)], 2.0)
    hear("hall", [words("Platform 3", 4)], 6.0)
    hear("hall", [words("Train late", 7)], 9.0)
    hear("hall", [words("Mind the gap", 10, channel="speech")], 10.5)
    hear("street", [picture(1, 11.0)], 11.0)
    hear("hall", [], 30.0)
    assert commentary.settled() == [
        ("hall", 0.0, "on screen: “Platform 3”"),
        ("hall", 7.0, "on screen: “Train late”"),
        ("street", 11.0, "a picture that was not there before"),
        ("hall", 10.0, "said: “Mind the gap”"),
    ]


@pytest.mark.parametrize("error", [StoreError("no answer"), RuntimeError("no answer")])
def test_what_goes_wrong_is_said_once_and_the_rest_goes_on(error):
    class Failing(Quoting):
        def remark(self, news, before):
            if "boom" in news[0].words[0][1]:
                raise error
            return super().remark(news, before)

    commentary = Commentary(Failing, NarrateSettings(every_seconds=0.0))
    for at, text in enumerate(["boom", "all is well", "boom again", "and so it is"]):
        commentary.narrator.hear("hall", [words(text, at * 10.0)], at * 10.0 + 2)
    assert [text for *_, text in commentary.settled()] == [
        "on screen: “all is well”", "on screen: “and so it is”"]  # fmt: skip
    assert len(commentary.problems) == 1 and "no answer" in commentary.problems[0]


class Scripted:
    """Says these, one after the other, and remembers what it was shown."""

    remote = True

    def __init__(self, *said: str):
        self.said = list(said)
        self.prompts: list = []

    def generate(self, prompt, **_asked):
        self.prompts.append(prompt)
        yield Piece(self.said.pop(0))


def test_a_model_is_shown_the_latest_pictures_and_what_it_said_before():
    model = Scripted("<think>hm</think>A man walks in.", " nothing. ", "He sits down.")
    describing = Describing(model, INSTRUCTIONS, SETTINGS)
    for at in range(6):
        describing.look(float(at), np.zeros((2, 2, 3), np.uint8))
    first = describing.remark([News(1.0, (("screen_text", "EXIT >>> {frames}"),))], ())
    assert first == "A man walks in."
    assert describing.remark([News(2.0, pictures=True)], (first,)) is None
    assert describing.remark([News(3.0, pictures=True)], (first,)) == "He sits down."
    shown = [part.time_seconds for part in model.prompts[0].parts if isinstance(part, Frame)]
    assert shown == [2.0, 3.0, 4.0, 5.0]
    begin, end = model.prompts[0].parts[0], model.prompts[0].parts[-1]
    assert "(nothing yet)" in begin and "on screen: EXIT ››› {frames}" in begin
    assert end == " Say it."
    assert (
        "- A man walks in." in model.prompts[1].parts[0]
        and "(nothing)" in model.prompts[1].parts[0]
    )


def test_instructions_need_their_places_in_order():
    for wrong in ("{before} {words}", "{words} {before} {frames}", "nothing"):
        with pytest.raises(ConfigError, match="commentary"):
            Describing(Scripted(), wrong, SETTINGS)


def test_a_session_reads_each_picture_once_and_is_asked_about_what_is_new():
    appended, asked = [], []

    def ask(text, *, spans, max_tokens):
        asked.append((text, spans, max_tokens))
        yield from [Piece("A dog "), Piece("barks.")]

    remembering = Remembering(
        lambda images, times: appended.extend(times), ask, INSTRUCTIONS, SETTINGS
    )
    assert remembering.remark([News(0.0, pictures=True)], ()) is None  # nothing seen yet
    for at in (1.0, 2.0, 2.0, 3.0):
        remembering.look(at, np.zeros((2, 2, 3), np.uint8))
    assert appended == [1.0, 2.0, 3.0]
    assert remembering.remark([News(2.0, (("speech", "Woof"),))], ()) == "A dog barks."
    ((text, spans, most),) = asked
    assert "said: Woof" in text and spans == [(2.0, 4.0)] and most == SETTINGS.max_tokens


def test_a_local_model_comments_from_its_memory(tmp_path):
    """A tiny one of the real family, through the real session."""
    import tiny_videollm

    from ingest.models.videollm.session_settings import SessionSettings
    from ingest.models.videollm.transformers import TransformersVideoLLM

    files = tiny_videollm.build("qwen3_vl", tmp_path)
    model = TransformersVideoLLM(files, device="cpu", threads=1)
    settings = NarrateSettings(every_seconds=0.0, max_tokens=12)
    bounds = SessionSettings(device_bytes=8 << 20, question_tokens=1200)
    with model.session(bounds) as session:
        make = lambda: Remembering(session.append_frames, session.ask, INSTRUCTIONS, settings)  # noqa: E731
        commentary = Commentary(make, settings)
        for at in range(4):
            image = np.random.default_rng(at).integers(0, 256, (48, 64, 3)).astype(np.uint8)
            commentary.narrator.look("hall", float(at), image)
        commentary.narrator.hear("hall", [words("Platform 3", 1)], 4.0)
        (remark,) = commentary.settled()
        assert remark[:2] == ("hall", 1.0) and remark[2]
        assert len(session.times) == 4
    model.close()


def test_watch_narrates_from_the_memory_of_a_model_here(recording, tmp_path, own_places):
    """The whole command, with a streaming session: each picture is read once, as it comes."""
    import subprocess
    import sys

    import tiny_videollm

    folder = tmp_path / "tiny"
    tiny_videollm.build("qwen3_vl", folder)
    given = {
        "narrate.every_seconds": 0, "narrate.max_tokens": 12, "ask.backend": "transformers",
        "ask.model": str(folder), "ask.device": "cpu", "ask.picture_side": 56,
        "ask.session": {"device_bytes": 16 << 20, "question_tokens": 3000},
    }  # fmt: skip
    sets = [x for name, value in given.items() for x in ("--set", f"{name}={json.dumps(value)}")]
    done = subprocess.run(
        [
            sys.executable, "-m", "cli.main", "watch", "-", "--name", "pier", "--narrate",
            "--json", "--library", str(tmp_path / "library"), *OPTIONS, *sets,
        ],
        cwd=ROOT, input=recording, capture_output=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    remarks = [line["remark"] for line in lines if "remark" in line]
    assert remarks and all(one["source"] == "pier" and one["text"] for one in remarks)
    assert b"PIER CLOSED" not in done.stdout  # in words of its own, not quoted


@pytest.mark.parametrize("with_model", [False, True])
def test_watch_narrates(with_model, recording, tmp_path, own_places):
    import subprocess
    import sys

    asked: list = []

    def answer(handler, body, _number):
        asked.append(body)
        stream(handler, event(f"Something new, number {len(asked)}."), event(finish="stop"))

    server = Server(answer)
    try:
        sets = ["--set", "narrate.every_seconds=0"]
        if with_model:
            sets += ["--set", "ask.model=good", "--set", f"ask.base_url={server.url}"]
        done = subprocess.run(
            [
                sys.executable, "-m", "cli.main", "watch", "-", "--name", "pier", "--narrate",
                "--json", "--library", str(tmp_path / "library"), *OPTIONS, *sets,
            ],
            cwd=ROOT, input=recording, capture_output=True, timeout=60,
        )  # fmt: skip
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    remarks = [line["remark"] for line in lines if "remark" in line]
    assert remarks and all(one["source"] == "pier" for one in remarks)
    said = " ".join(one["text"] for one in remarks)
    if with_model:
        assert "Something new, number 1." in said
        parts = asked[0]["messages"][-1]["content"]
        assert any(part["type"] == "image_url" for part in parts)
    else:
        assert "PIER CLOSED" in said and "NEXT FERRY 9:40" in said
