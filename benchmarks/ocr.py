"""How well, and how fast, text in pictures is read.

Usage: python benchmarks/ocr.py [--seconds N] [--only terminals,pictures,speed] [--easyocr FOLDER]

Against what is known: terminal recordings beside the scripts that they were typed from (character
error rate, pieces of evidence for each typed line, error of the start; tests/tapes.py says how),
photographs and receipts with their words. Speed, on several stretches and in the same run: the
channel, reading every changed picture whole, and RapidOCR as it comes on every sample. --easyocr
reads by EasyOCR instead, with the English weights in that folder. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

import av
import cv2
import numpy as np
import tapes

from index.schema import Evidence, Generation, Video
from ingest.channel import Sample
from ingest.channels.screen_text import ScreenTextChannel, TextReader, build_reader
from ingest.channels.settings import ScreenTextSettings
from ingest.models.files import ModelFiles
from ingest.models.ocr import OcrReader
from ingest.sampling import StillFilter

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VIDEO = DATA / "video"


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


# What was typed


def terminals(channel: ScreenTextChannel) -> dict[str, float]:
    """See tests/tapes.py for what the figures mean."""
    found: list[tapes.Found] = []
    for path in tapes.recordings(VIDEO / "vhs"):
        tape = tapes.read_tape(path.with_name(f"{path.name}.tape"))
        evidence, end_seconds = tapes.index(channel, path)
        of_it = tapes.look_for(tape, evidence, path, end_seconds)
        for line in of_it:
            if line.evidence is None:
                print(f"  {path.name}: “{line.typed.text}” not found")
            elif line.edits or line.pieces > 1 or abs(line.late_seconds) > tapes.STEP_SECONDS:
                print(
                    f"  {path.name}: “{line.typed.text}” read “{line.evidence.text}”, "
                    f"{line.pieces} pieces, {line.late_seconds:.2f} s late"
                )
        found += of_it
    return tapes.score(found)


# Photographs and receipts


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def words_in_pictures(
    reader: TextReader, pictures: list[tuple[Path, list[str]]]
) -> dict[str, float]:
    """Of words in any place: end to end without the boxes. unreadable: files that are no picture
    (they count as pictures without words). texts_recall: of texts as they were annotated, spaces
    and signs apart, which annotators leave out at will."""
    right = read = wanted = unreadable = texts = texts_right = 0
    for path, truth in pictures:
        image = cv2.imread(str(path))
        seen: Counter[str] = Counter()
        if image is None:
            unreadable += 1
        else:
            lines = reader.read(image[:, :, ::-1])
            sure = [line.text for line in lines if line.confidence >= 0.5]
            seen = _words(" ".join(sure))
            letters = "\n".join(map(_letters, sure))
            texts_right += sum(_letters(text) in letters for text in truth if _letters(text))
        true_words = _words(" ".join(truth))
        right += (true_words & seen).total()
        read += seen.total()
        wanted += true_words.total()
        texts += sum(bool(_letters(text)) for text in truth)
    recall, precision = right / wanted, right / max(1, read)
    return {
        "pictures": len(pictures),
        "unreadable": unreadable,
        "words": wanted,
        "word_recall": round(recall, 4),
        "word_precision": round(precision, 4),
        "texts_recall": round(texts_right / texts, 4),
        "f1": round(2 * recall * precision / (recall + precision), 4),
    }


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def photographs() -> list[tuple[Path, list[str]]]:
    folder = DATA / "images" / "mmocr"
    found = []
    for number in range(1, 11):
        truth = (folder / "icdar2015_gt" / f"gt_img_{number}.txt").read_text("utf-8-sig")
        texts = [row.split(",", 8)[8] for row in truth.splitlines() if row.strip()]
        legible = [text for text in texts if text != "###"]
        image = folder / "tests/data/det_toy_dataset/imgs/test" / f"img_{number}.jpg"
        found.append((image, legible))
    return [*found, (folder / "tests" / "data" / "broken.jpg", [])]


def receipts() -> list[tuple[Path, list[str]]]:
    folder = DATA / "images" / "mmocr" / "tests" / "data" / "kie_toy_dataset" / "wildreceipt"
    rows = [json.loads(row) for row in (folder / "data.txt").read_text("utf-8").splitlines()]
    return [
        (folder / Path(row["file_name"]).name, [a["text"] for a in row["annotations"]])
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


def speed(
    channel: ScreenTextChannel, reader: TextReader, seconds: float
) -> dict[str, dict[str, float]]:
    stretches = {
        "film": samples(VIDEO / "bbb_360p.mp4", 60.0, seconds),
        "credits": samples(VIDEO / "bbb_360p.mp4", 560.0, seconds / 2),
        # Six seconds of dialogue: the nearest thing to a talk that there is.
        "talk": samples(VIDEO / "mdn" / "friday.mp4", 0.0, seconds),
        "screencast": samples(VIDEO / "screencast.mp4", 0.0, seconds),
        "terminal": samples(VIDEO / "vhs" / "demo.gif", 0.0, seconds),
    }
    bare = bare_rapidocr()
    bare(stretches["film"][0].image)
    result = {}
    for name, pictures in stretches.items():
        run = channel.open(Video("v", "v"), Generation("v", 0, "screen_text", "f"), 0.0)
        found: list[Evidence] = []
        still = StillFilter()
        ours, whole, theirs = np.zeros(2), np.zeros(2), np.zeros(2)

        def follow(sample: Sample, run=run, found=found) -> None:
            found += run.push(sample)

        def read_whole(sample: Sample, still=still) -> None:
            if still.changed(sample.image):
                reader.read(sample.image)

        for number, sample in enumerate(pictures[:-1]):
            # In turn, so that whatever else the machine does hits all of them, and so does what
            # the one before leaves behind.
            turn = [(follow, ours), (read_whole, whole)]
            for work, total in turn if number % 2 else turn[::-1]:
                began = _clocks()
                work(sample)
                total += _clocks() - began
            began = _clocks()
            bare(sample.image)
            theirs += _clocks() - began
            time.sleep(0.05)  # its threads go on spinning, at the expense of who comes next
        found += run.finish(pictures[-1].time_seconds)
        minutes = (pictures[-1].time_seconds - pictures[0].time_seconds + 0.2) / 60
        result[name] = {
            "samples": len(pictures) - 1,
            "evidence": len(found),
            "seconds_per_minute": round(float(ours[0]) / minutes, 2),
            "cpu_seconds_per_minute": round(float(ours[1]) / minutes, 2),
            "whole_cpu_seconds_per_minute": round(float(whole[1]) / minutes, 2),
            "vs_bare_rapidocr": round(float(ours[0] / theirs[0]), 3),
            "vs_bare_rapidocr_cpu": round(float(ours[1] / theirs[1]), 3),
        }
        print(f"  {name}: {result[name]}")
    return result


def easyocr_reader(folder: Path) -> TextReader:
    files = ModelFiles("english_g2", folder, "measured", folder / "prepared", "easyocr")
    return build_reader(ScreenTextSettings(engine="easyocr"), files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of each stretch that speed is measured on"
    )
    parser.add_argument("--only", default="terminals,pictures,speed", help="parts, with commas")
    parser.add_argument("--easyocr", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is not here; this benchmark reads the recordings in it")

    reader = easyocr_reader(options.easyocr) if options.easyocr else OcrReader()
    channel = ScreenTextChannel(reader=reader)
    reader.load()
    figures: dict[str, object] = {}
    if "terminals" in options.only:
        print("terminal recordings")
        figures["terminals"] = terminals(channel)
        print(f"  {figures['terminals']}")
    if "pictures" in options.only:
        for name, pictures in (("photographs", photographs()), ("receipts", receipts())):
            figures[name] = words_in_pictures(reader, pictures)
            print(f"{name}: {figures[name]}")
    if "speed" in options.only:
        print("speed")
        figures["speed"] = speed(channel, reader, options.seconds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
