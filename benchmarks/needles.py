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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from distractors import (  # noqa: E402
    DATA,
    Fingerprints,
    Made,
    Sentence,
    Speaker,
    read_talks,
    scenes_of,
    video_of,
)

from cli.compose import build_retriever, open_library  # noqa: E402
from cli.settings import Settings, load  # noqa: E402
from index.library import Library  # noqa: E402
from index.schema import Moment  # noqa: E402
from index.text import analyzer  # noqa: E402
from ingest.models.pdq import (  # noqa: E402
    NEAR_PICTURE_DISTANCE,
    fingerprint,
    hamming,
    to_vector,
)
from rag.retrieve import Retriever  # noqa: E402

FILM = DATA / "video" / "bbb_360p.mp4"
NEEDLE_SECONDS = 2.0
STEP_SECONDS = 1.0
"""How often the picture is sampled."""
SENTENCES, CUES = 20, 20
ORDER = {"after", "before", "then", "followed"}
"""A question with one of these asks for an order."""
PHOTOS = ("images/mmocr/tests/data/det_toy_dataset/imgs/test", "images/mmocr/demo")
FOOTAGE = ("video/intel", "video/torchcodec", "video/mdn", "video/odd/sintel_5s.mp4",
           "video/screencast.mp4", "video/pyscenedetect/testvideo.mp4")  # fmt: skip
LEAST_QUALITY = 50


@dataclass(frozen=True)
class Needle:
    """kind: "text", "picture" or "subtitle". image: uint8 (height, width, 3), RGB."""

    kind: str
    start_seconds: float
    text: str = ""
    image: np.ndarray | None = None

    @property
    def end_seconds(self) -> float:
        return self.start_seconds + NEEDLE_SECONDS


# --- the haystack and what is put into it --------------------------------------------------------


def foreign_pictures(width: int, height: int) -> list[np.ndarray]:
    """Photos, and a picture from the middle of each piece of footage, cut to the film's shape; of
    those that are nearly the same (some footage is there in several codecs), one."""
    found = []
    for folder in PHOTOS:
        for path in sorted((DATA / folder).glob("*.jp*g")):
            found.append(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    for name in FOOTAGE:
        place = DATA / name
        for path in sorted(place.glob("*.mp4")) if place.is_dir() else [place]:
            with av.open(str(path)) as container:
                if container.duration:
                    container.seek(container.duration // 2)
                found.append(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    kept, seen = [], []
    for image in (_filled(image, width, height) for image in found):
        one = fingerprint(image)
        alike = any(hamming(one.bits, other.bits) <= NEAR_PICTURE_DISTANCE for other in seen)
        if one.quality >= LEAST_QUALITY and not alike:
            kept.append(image)
            seen.append(one)
    return kept


def _filled(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of the picture, as large as fits that shape, scaled to it."""
    there_height, there_width = image.shape[:2]
    scale = max(width / there_width, height / there_height)
    wide, high = round(width / scale), round(height / scale)
    x, y = (there_width - wide) // 2, (there_height - high) // 2
    part = image[y : y + high, x : x + wide]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)


def make_needles(seconds: float, pictures: Sequence[np.ndarray], speaker: Speaker, real: str):
    """At random times, none within two seconds of another. real: all that is said anywhere else."""
    draw = random.Random(0)
    count = SENTENCES + CUES + len(pictures)
    slot = NEEDLE_SECONDS + 2.0
    gaps = sorted(draw.uniform(0, seconds - 10 - count * slot) for _ in range(count))
    starts = [round(5 + gap + at * slot, 3) for at, gap in enumerate(gaps)]
    draw.shuffle(starts)
    sentences: list[str] = []
    while len(sentences) < SENTENCES + CUES:
        text = speaker.sentences(draw, 1, words=6)[0]
        words = [word for word in text.split() if word.isalpha()]
        text = " ".join(words)
        content = analyzer("english").query(text)
        unusable = len(content) < 3 or ORDER & set(text.casefold().split())
        if not unusable and text.casefold() not in real and len(text) <= 48:
            sentences.append(text)
    needles = [
        Needle("text" if at < SENTENCES else "subtitle", starts.pop(), text)
        for at, text in enumerate(sentences)
    ]
    return needles + [Needle("picture", starts.pop(), image=image) for image in pictures]


def burn(needles: Sequence[Needle], target: Path) -> None:
    """The film anew, with the sentences and the pictures in it. Its sound is left out."""
    shown = sorted((n for n in needles if n.kind != "subtitle"), key=lambda n: n.start_seconds)
    font = ImageFont.load_default(24)
    with av.open(str(FILM)) as source, av.open(str(target), "w") as output:
        given = source.streams.video[0]
        given.thread_type = "AUTO"
        made = output.add_stream("libx264", rate=given.average_rate)
        made.width, made.height, made.pix_fmt = given.width, given.height, "yuv420p"
        made.time_base = made.codec_context.time_base = Fraction(1, 90_000)
        made.options = {"preset": "veryfast", "crf": "26"}
        start = source.start_time / av.time_base if source.start_time else 0.0
        for frame in source.decode(video=0):
            at = frame.time - start
            while shown and at >= shown[0].end_seconds:
                shown.pop(0)
            if shown and at >= shown[0].start_seconds:
                image = frame.to_ndarray(format="rgb24")
                picture = shown[0].image
                if picture is None:
                    picture = _written(image, shown[0].text, font)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = round(at * 90_000), made.time_base
            frame.pict_type = av.video.frame.PictureType.NONE
            output.mux(made.encode(frame))
        output.mux(made.encode())


def _written(image: np.ndarray, text: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """White letters with a black edge, as films have their subtitles."""
    picture = Image.fromarray(image)
    width, height = picture.size
    ImageDraw.Draw(picture).text(
        (width / 2, height * 0.88), text, font=font, fill="white", anchor="mm",
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return np.asarray(picture)


def write_subtitles(needles: Sequence[Needle], talk: Sequence[Sentence], target: Path) -> None:
    """The needles among what was really said elsewhere."""
    cues = [(n.start_seconds, n.end_seconds, n.text) for n in needles if n.kind == "subtitle"]
    free = [one for one in talk if all(one[1] <= start or one[0] >= end for start, end, _ in cues)]
    blocks = [
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(sorted([*cues, *free]), 1)
    ]
    target.write_text("\n".join(blocks))


def _clock(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{thousandths:03}"


def add_hours(
    library: Library, hours: float, talks: list[list[Sentence]], prints: Fingerprints,
    speaker: Speaker,
) -> float:  # fmt: skip
    """Writes videos until so much is there; returns the hours that are. Takes their talks from the
    end of `talks`."""
    there = sum(video.duration_seconds or 0 for video in library.videos()) / 3600
    while there < hours and talks:
        talk, number = talks.pop(), len(talks)
        draw, random_ = random.Random(number), np.random.default_rng(number)
        seconds = min(talk[-1][1] + 1.0, max((hours - there) * 3600, 30.0))
        made = Made(video_of(f"needles {number}", f"Talk {number}", seconds))
        for start, end, text in talk:
            if end <= seconds:
                made.put("speech", start, end, text=text, attributes={"language": "en"})
        pictures = max(round(seconds / 2.5), 2)
        bits = prints.video(random_, scenes_of(random_, pictures, mean=2))
        starts = [0.0, *np.sort(random_.random(pictures - 1) * seconds).tolist()]
        for start, end, one in zip(starts, [*starts[1:], seconds], bits, strict=True):
            made.put(
                "fingerprint", start, end, key=np.packbits(one).tobytes().hex(),
                vectors={"fingerprint": to_vector(one)}, attributes={"quality": 100},
            )  # fmt: skip
        lines = speaker.sentences(draw, max(round(seconds / 10), 1), words=5)
        for start, text in zip(sorted(draw.uniform(0, seconds) for _ in lines), lines, strict=True):
            attributes = {"language": "en", "confidence": 0.95, "boxes": [[0.1, 0.8, 0.9, 0.9]]}
            made.put("screen_text", start, start + 4.0, text=text, attributes=attributes)
        points = list(made.points())
        for at in range(0, len(points), 500):
            library.store.upsert(points[at : at + 500])
        there += seconds / 3600
    library.store.flush()
    return there


def real_bits(count: int = 400) -> np.ndarray:
    """Fingerprints of pictures of real films, bool of shape (n, 256)."""
    bits = []
    for path in (FILM, *sorted((DATA / "video" / "intel").glob("*.mp4"))):
        with av.open(str(path)) as container:
            step = max(container.duration // (count // 3), 1)
            for at in range(0, container.duration, step):
                container.seek(at)
                frame = next(container.decode(video=0), None)
                if frame is not None:
                    seen = fingerprint(frame.to_ndarray(format="rgb24"))
                    if seen.quality >= LEAST_QUALITY:
                        bits.append(seen.bits)
    return np.stack(bits)


# --- asking --------------------------------------------------------------------------------------


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


def prepare(folder: Path, needles: Sequence[Needle], talk: Sequence[Sentence]) -> None:
    """The film with needles, indexed; kept from run to run."""
    film, library = folder / "film.mp4", folder / "indexed"
    if library.exists():
        return
    burn(needles, folder / "film.part.mp4")
    (folder / "film.part.mp4").rename(film)
    write_subtitles(needles, talk, folder / "film.en.srt")
    subprocess.run(
        [
            sys.executable, "-m", "cli.main", "index", str(film), "--profile", "packaged",
            "--library", str(folder / "making"),
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    (folder / "making").rename(library)


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
