"""Needles in hours of video, in the manner of VideoNIAH (Zhao et al. 2024, "Needle In A Video
Haystack"): are they found, and where they are?

    python benchmarks/needles.py [--hours 1 10 50] [--folder KEPT] [--json]

Puts needles into the full film at random times, two seconds each: sentences burnt into the picture,
foreign pictures in place of the film's, and cues among real subtitles. The film goes through
`longtake index` with the packaged profile, and is searched among as many hours of other videos,
which have real transcripts and drawn fingerprints (see benchmarks/distractors.py). Asked for are
the sentences, as they stand and in quotes, and copies of the pictures. Found is a needle whose
moment is the first result and begins within one sample step (a second) of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from distractors import Fingerprints, Speaker, read_talks  # noqa: E402
from haystack import (  # noqa: E402
    FILM,
    Needle,
    add_hours,
    foreign_pictures,
    make_needles,
    prepare,
    real_bits,
)

from cli.compose import build_retriever, open_library  # noqa: E402
from cli.settings import Settings, load  # noqa: E402
from index.schema import Moment  # noqa: E402
from rag.retrieve import Retriever  # noqa: E402

STEP_SECONDS = 1.0
"""How often the picture is sampled."""


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def _scaled(image: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it was": lambda image: image,
    "jpeg quality 30": lambda image: _jpeg(image, 30),
    "half size": lambda image: _scaled(image, 0.5),
    "a quarter, jpeg quality 50": lambda image: _jpeg(_scaled(image, 0.25), 50),
    "twice the size, jpeg quality 60": lambda image: _jpeg(_scaled(image, 2.0), 60),
}


@dataclass
class Tally:
    """How a kind of question went. ranks: of the right moment, 0 where there is none among ten.
    errors: in seconds, of those that are there."""

    ranks: list[int]
    errors: list[float]
    missed: list[str]
    milliseconds: list[float]

    def result(self) -> dict:
        count = len(self.ranks)
        return {
            "asked": count,
            "recall_1": sum(rank == 1 for rank in self.ranks) / count,
            "recall_5": sum(1 <= rank <= 5 for rank in self.ranks) / count,
            "within_a_step": sum(e <= STEP_SECONDS for e in self.errors) / count,
            "worst_seconds": max(self.errors, default=None),
            "p50_ms": statistics.median(self.milliseconds),
        }


def ask(
    retriever: Retriever, film: str, needles: Sequence[Needle], folder: Path
) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}

    def note(kind: str, needle: Needle, label: str, **query) -> None:
        started = time.perf_counter()
        moments = retriever.search(**query, limit=10).moments
        tally = tallies.setdefault(kind, Tally([], [], [], []))
        tally.milliseconds.append((time.perf_counter() - started) * 1000)
        right = [
            (rank, moment)
            for rank, moment in enumerate(moments, 1)
            if moment.video_id == film
            and moment.start_seconds < needle.end_seconds + STEP_SECONDS
            and moment.end_seconds > needle.start_seconds - STEP_SECONDS
        ]
        rank, error = 0, None
        if right:
            rank, error = right[0][0], abs(told(right[0][1]) - needle.start_seconds)
            tally.errors.append(error)
        tally.ranks.append(rank)
        if rank != 1 or error > STEP_SECONDS:
            best = f"{moments[0].title} {moments[0].text!r}" if moments else "nothing"
            tally.missed.append(
                f"{needle.start_seconds:.1f} s {label}: rank {rank}, off by {error}; first: {best}"
            )

    for at, needle in enumerate(needles):
        if needle.kind != "picture":
            note(f"{needle.kind}, as typed", needle, needle.text, text=needle.text)
            note(f"{needle.kind}, in quotes", needle, needle.text, text=f'"{needle.text}"')
            continue
        for label, copy in COPIES.items():
            path = folder / "query.png"
            cv2.imwrite(str(path), copy(needle.image)[..., ::-1])
            note(f"picture, {label}", needle, f"picture {at}", image=path)
    return tallies


def told(moment: Moment) -> float:
    """When it says that the thing is to be seen or heard."""
    return moment.text_start_seconds


def show(hours: float, tallies: dict[str, Tally], verbose: bool) -> None:
    print(f"\n{hours:.1f} hours; load {os.getloadavg()[0]:.1f}")
    for kind, tally in tallies.items():
        one = tally.result()
        worst = "-" if one["worst_seconds"] is None else f"{one['worst_seconds']:.2f}"
        print(
            f"  {kind:40} {one['asked']:4}  R@1 {one['recall_1']:.3f}  R@5 {one['recall_5']:.3f}  "
            f"within a step {one['within_a_step']:.3f}  worst {worst:>5} s  {one['p50_ms']:.0f} ms"
        )
        for line in tally.missed if verbose else ():
            print(f"      {line}")
    sys.stdout.flush()


def settings_of(library: Path) -> Settings:
    return load({"library": str(library)}, "packaged")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, nargs="+", default=(1.0, 10.0, 50.0))
    parser.add_argument("--folder", type=Path, help="where to keep the film; default: nowhere")
    parser.add_argument("--missed", action="store_true", help="print what was not found, and why")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    talks = read_talks()
    speaker = Speaker(talks)
    with av.open(str(FILM)) as container:
        shape = container.streams.video[0].width, container.streams.video[0].height
        seconds = container.duration / av.time_base
    random.Random(1).shuffle(talks)
    haystack = next(talk for talk in talks if talk[-1][1] > seconds)
    talks.remove(haystack)
    haystack = [one for one in haystack if one[1] < seconds]
    real = " ".join(" ".join(one[2] for one in talk) for talk in [haystack, *talks]).casefold()
    needles = make_needles(seconds, foreign_pictures(*shape), speaker, real)
    prints = Fingerprints(real_bits())
    results = []
    with tempfile.TemporaryDirectory(prefix="needles-") as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, needles, haystack)
        library_folder = Path(scratch) / "library"
        shutil.copytree(folder / "indexed", library_folder)
        settings = settings_of(library_folder)
        with open_library(settings) as library:
            (film,) = library.videos()
            retriever = build_retriever(settings, library)
            for hours in sorted(arguments.hours):
                there = add_hours(library, hours, talks, prints, speaker)
                tallies = ask(retriever, film.id, needles, Path(scratch))
                show(there, tallies, arguments.missed)
                points = library.store.info().points
                results.append(
                    {"hours": round(there, 1), "points": points}
                    | {kind: tally.result() for kind, tally in tallies.items()}
                )
    texts = [r[k] for r in results for k in r if k.startswith(("text", "subtitle"))]
    pictures = [r[k] for r in results for k in r if k.startswith("picture")]
    result = {
        "hours": results,
        "exact_text_recall": min(one["recall_1"] for one in texts),
        "picture_recall": min(one["recall_1"] for one in pictures),
        "within_a_step": min(one["within_a_step"] for one in texts + pictures),
        "load_average": round(os.getloadavg()[0], 1),
    }
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
