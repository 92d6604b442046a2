"""Typed text in recorded terminals: what was typed, in few pieces, in time. benchmarks/ocr.py
measures all recordings; these are the small ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import tapes
from clips import DATA

from ingest.channels.screen_text import ScreenTextChannel
from ingest.models.ocr import OcrReader

VHS = DATA / "video" / "vhs"
RECORDINGS = (
    "bubbletea__chat.gif",
    "bubbletea__result.gif",
    "cli-ui__nested-frames.gif",
    "cli-ui__symbols.gif",
    "commands__type.gif",
    "demo.gif",
    "gh-cli__gh-pr.gif",
    "tutorial.webm",
)


def test_a_script_says_what_is_typed_and_when(tmp_path: Path) -> None:
    script = tmp_path / "a.tape"
    script.write_text(
        'Output a.gif\nSet TypingSpeed 100ms\n# Type "not me"\n'
        'Hide\nType "secret" Enter\nShow\n'
        "Type@500ms \"echo 'hi'\" Sleep 1s Enter\n"
        'Type "make all" Left 3 Type "over" Space Ctrl+E Type "!"\n'
    )
    tape = tapes.read_tape(script)
    assert [(line.text, round(line.start_seconds, 3)) for line in tape.lines] == [
        ("echo 'hi'", 0.0),
        ("make over all!", 5.6),
    ]
    assert tape.duration_seconds == pytest.approx(5.6 + 0.8 + 0.3 + 0.4 + 0.1 + 0.1 + 0.1)


def test_only_a_prompt_may_stand_before_what_was_typed() -> None:
    assert tapes.edits("git status", "> git status") == 0
    assert tapes.edits("git status", "> git statusX") == 1
    assert tapes.edits("git status", "git stat") == 2


@pytest.mark.skipif(not VHS.exists(), reason="shared/data is not here")
def test_typed_lines_are_read_well_once_and_in_time() -> None:
    channel = ScreenTextChannel(reader=OcrReader(threads=2))
    found = []
    for name in RECORDINGS:
        evidence, end_seconds = tapes.index(channel, VHS / name)
        tape = tapes.read_tape(VHS / f"{name}.tape")
        found += tapes.look_for(tape, evidence, VHS / name, end_seconds)
    figures = tapes.score(found)
    assert figures["lines"] >= 15
    assert figures["character_error_rate"] <= 0.10
    assert figures["evidence_per_line"] <= 1.5
    assert figures["late_seconds_worst"] <= tapes.STEP_SECONDS
    assert figures["late_seconds_best"] >= -tapes.STEP_SECONDS
