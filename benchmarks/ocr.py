"""How well, and how fast, text in pictures is read.

Usage: python benchmarks/ocr.py [--seconds N]

Against what is known: terminal recordings beside the scripts that they were typed from (character
error rate, pieces of evidence for each typed line, error of the start), photographs and receipts
with their words (word recall). Speed: the channel, against RapidOCR as it comes on every sample of
the same stretch, in the same run. The last line is JSON.

A typed line's error is that of the piece of evidence that comes nearest to it, other text in the
same row (the prompt) not counted; a line that nothing comes within half of is lost, and all of it
counts as errors. Times in the scripts leave out how long commands take to run, so only lines typed
before the first Enter count for the error of the start, and those that a recording begins with do
not.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import cv2
import numpy as np

from index.schema import Evidence, Generation, Video
from ingest.channel import Sample
from ingest.channels.screen_text import ScreenTextChannel
from ingest.models.ocr import OcrReader

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VIDEO = DATA / "video"
CLIPS = (
    "bubbletea__chat.gif",
    "bubbletea__list-fancy.gif",
    "bubbletea__result.gif",
    "bubbletea__table.gif",
    "bubbletea__tabs.gif",
    "cli-ui__nested-frames.gif",
    "cli-ui__symbols.gif",
    "commands__type.gif",
    "demo.gif",
    "gh-cli__gh-pr.gif",
    "neofetch__neofetch.mp4",
    "onefetch__onefetch.mp4",
    "tutorial.mp4",
)


def samples(path: Path, start_seconds: float = 0.0, seconds: float = 1e9) -> list[Sample]:
    """One picture a second, the first 0.2 s in; the last element only marks the end."""
    found, due, now = [], start_seconds + 0.2, 0.0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if start_seconds:
            container.seek(int(start_seconds * av.time_base))
        for frame in container.decode(stream):
            now = float(frame.time)
            if now >= start_seconds + seconds:
                break
            if now >= due:
                found.append(Sample(now, start_seconds, frame.to_ndarray(format="rgb24")))
                due += 1.0
    return [*found, Sample(now, start_seconds, np.empty((0, 0, 3), np.uint8))]


def index(channel: ScreenTextChannel, pictures: list[Sample]) -> list[Evidence]:
    run = channel.open(Video("v", "v"), Generation("v", 0, "screen_text", "f"), 0.0)
    found = [piece for sample in pictures[:-1] for piece in run.push(sample)]
    return found + run.finish(pictures[-1].time_seconds)


# What was typed


@dataclass
class Typed:
    text: str
    start_seconds: float
    exact_start: bool


def typed_lines(tape: Path) -> list[Typed]:
    """What a VHS script types while it records, line by line, as it stood when it was left."""
    now, speed, hidden, entered = 0.0, 0.05, False, False
    text, cursor, began = "", 0, 0.0
    lines: list[Typed] = []

    def leave() -> None:
        nonlocal text, cursor
        if text.strip() and not hidden:
            lines.append(Typed(text.strip(), began, not entered))
        text, cursor = "", 0

    for row in tape.read_text().splitlines():
        row = row.split("#")[0] if row.lstrip().startswith("#") else row
        lexer = shlex.shlex(row, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
        words = list(lexer)
        if words[:2] == ["Set", "TypingSpeed"]:
            speed = _seconds(words[2])
        if not words or words[0] in ("Set", "Output", "Require"):
            continue
        i = 0
        while i < len(words):
            command, _, pace = words[i].partition("@")
            each = _seconds(pace) if pace else speed
            argument = words[i + 1] if i + 1 < len(words) else ""
            if command in ("Hidden", "Hide", "Show"):
                hidden = argument == "Begin" or command == "Hide"
                i += command == "Hidden"
            elif command == "Type":
                if words[i + 1 : i + 2] and not re.search(r'["\']', row):
                    argument, i = " ".join(words[i + 1 :]), len(words) - 2
                began = began if text else now
                text = text[:cursor] + argument + text[cursor:]
                cursor += len(argument)
                now += 0 if hidden else each * len(argument)
                i += 1
            elif command == "Sleep":
                now += 0 if hidden else _seconds(argument)
                i += 1
            elif command in ("Enter", "Ctrl+U", "Ctrl+C", "Ctrl+L"):
                leave()
                entered |= command == "Enter" and not hidden
                now += 0 if hidden else each
            elif command == "Space":
                text, cursor = text[:cursor] + " " + text[cursor:], cursor + 1
                now += each
            else:
                times = int(argument) if argument.isdigit() else 1
                i += argument.isdigit()
                cursor = {"Left": max(0, cursor - times), "Ctrl+E": len(text)}.get(command, cursor)
                now += 0 if hidden else each * times
            i += 1
    leave()
    return lines


def _seconds(word: str) -> float:
    number = float(re.match(r"[\d.]+", word).group())
    return number / 1000 if word.endswith("ms") else number


def errors_within(wanted: str, text: str) -> int:
    """The least edits that turn some stretch of `text` into `wanted`."""
    row = [0] * (len(text) + 1)
    for n, letter in enumerate(wanted, 1):
        before, row = row, [n] + [0] * len(text)
        for m, other in enumerate(text, 1):
            row[m] = min(before[m - 1] + (letter != other), before[m] + 1, row[m - 1] + 1)
    return min(row)


def _same_row(a: Evidence, b: Evidence) -> bool:
    (_, a0, _, a1), (_, b0, _, b1) = a.attributes["boxes"][0], b.attributes["boxes"][0]
    return min(a1, b1) - max(a0, b0) > 0.5 * min(a1 - a0, b1 - b0)


def terminals(channel: ScreenTextChannel) -> dict[str, float]:
    """character_error_rate over all lines, lost ones included; evidence_per_line over the rest."""
    edits = characters = pieces = lines = lost = 0
    late: list[float] = []
    for name in CLIPS:
        found = index(channel, samples(VIDEO / "vhs" / name))
        for typed in typed_lines(VIDEO / "vhs" / f"{name}.tape"):
            if len(typed.text) < 4 or typed.text.startswith("$"):
                continue
            lines += 1
            characters += len(typed.text)
            best = min(found, key=lambda e: errors_within(typed.text, e.text), default=None)
            wrong = errors_within(typed.text, best.text) if best else len(typed.text)
            share = wrong / len(typed.text)
            edits += wrong if share <= 0.5 else len(typed.text)
            if best is None or share > 0.5:
                print(f"  {name}: lost “{typed.text}”")
                lost += 1
                continue
            of_it = [
                e
                for e in found
                if _same_row(e, best)
                and errors_within(e.text, typed.text + best.text) <= 0.3 * len(e.text)
            ]
            pieces += max(1, len(of_it))
            if typed.exact_start and typed.start_seconds > 0:
                late.append(abs(best.start_seconds - typed.start_seconds))
            if share > 0.05 or len(of_it) > 1:
                print(f"  {name}: “{typed.text}” read “{best.text}”, {len(of_it)} pieces")
    return {
        "lines": lines,
        "lost": lost,
        "character_error_rate": round(edits / characters, 4),
        "evidence_per_line": round(pieces / (lines - lost), 3),
        "starts_compared": len(late),
        "start_error_seconds_median": round(statistics.median(late), 3),
    }


# Photographs and receipts


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def word_recall(reader: OcrReader, pictures: list[tuple[Path, str]]) -> float:
    read = wanted = 0
    for path, truth in pictures:
        image = cv2.imread(str(path))[:, :, ::-1]
        seen = _words(" ".join(line.text for line in reader.read(image)))
        read += (_words(truth) & seen).total()
        wanted += _words(truth).total()
    return round(read / wanted, 4)


def photographs() -> list[tuple[Path, str]]:
    folder = DATA / "images" / "mmocr"
    found = []
    for number in range(1, 11):
        truth = (folder / "icdar2015_gt" / f"gt_img_{number}.txt").read_text("utf-8-sig")
        texts = [row.split(",", 8)[8] for row in truth.splitlines() if row.strip()]
        legible = " ".join(text for text in texts if text != "###")
        image = folder / "tests/data/det_toy_dataset/imgs/test" / f"img_{number}.jpg"
        found.append((image, legible))
    return found


def receipts() -> list[tuple[Path, str]]:
    folder = DATA / "images" / "mmocr" / "tests" / "data" / "kie_toy_dataset" / "wildreceipt"
    rows = [json.loads(row) for row in (folder / "data.txt").read_text("utf-8").splitlines()]
    return [
        (folder / Path(row["file_name"]).name, " ".join(a["text"] for a in row["annotations"]))
        for row in rows
        if (folder / Path(row["file_name"]).name).exists()
    ]


# Speed


def bare_rapidocr() -> Callable[[np.ndarray], object]:
    """RapidOCR as it comes, but for the paths of the packaged models, so that none is fetched."""
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    names = {"Det": "*_det_*.onnx", "Rec": "*_rec_*.onnx", "Cls": "*_cls_*.onnx"}
    params = {f"{part}.model_path": str(*folder.glob(name)) for part, name in names.items()}
    engine = rapidocr.RapidOCR(params={**params, "Global.log_level": "critical"})
    return lambda image: engine(np.ascontiguousarray(image[:, :, ::-1]))


def _clocks() -> np.ndarray:
    """Seconds on the wall and on the processors."""
    return np.array([time.perf_counter(), time.process_time()])


def speed(channel: ScreenTextChannel, seconds: float) -> dict[str, dict[str, float]]:
    stretches = {
        "film": samples(VIDEO / "bbb_360p.mp4", 60.0, seconds),
        "screencast": samples(VIDEO / "screencast.mp4", 0.0, seconds),
        "terminal": samples(VIDEO / "vhs" / "demo.gif", 0.0, seconds),
    }
    bare = bare_rapidocr()
    bare(stretches["film"][0].image)
    result = {}
    for name, pictures in stretches.items():
        run = channel.open(Video("v", "v"), Generation("v", 0, "screen_text", "f"), 0.0)
        found, ours, theirs = [], np.zeros(2), np.zeros(2)
        for sample in pictures[:-1]:  # in turn, so that whatever else the machine does hits both
            began = _clocks()
            found += run.push(sample)
            between = _clocks()
            bare(sample.image)
            ours += between - began
            theirs += _clocks() - between
        found += run.finish(pictures[-1].time_seconds)
        minutes = (pictures[-1].time_seconds - pictures[0].time_seconds + 0.2) / 60
        result[name] = {
            "samples": len(pictures) - 1,
            "evidence": len(found),
            "seconds_per_minute": round(float(ours[0]) / minutes, 2),
            "vs_bare_rapidocr": round(float(ours[0] / theirs[0]), 3),
            "vs_bare_rapidocr_cpu": round(float(ours[1] / theirs[1]), 3),
        }
        print(f"  {name}: {result[name]}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of each stretch that speed is measured on"
    )
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is not here; this benchmark reads the recordings in it")

    reader = OcrReader()
    channel = ScreenTextChannel(reader=reader)
    reader.load()
    print("terminal recordings")
    figures: dict[str, object] = {"terminals": terminals(channel)}
    print(f"  {figures['terminals']}")
    figures["photographs_word_recall"] = word_recall(reader, photographs())
    figures["receipts_word_recall"] = word_recall(reader, receipts())
    print(f"photographs: word recall {figures['photographs_word_recall']}")
    print(f"receipts: word recall {figures['receipts_word_recall']}")
    print("speed")
    figures["speed"] = speed(channel, options.seconds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
