"""A film with needles in it, and the hours of other videos that it is hidden among (needles.py)."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from distractors import DATA, Fingerprints, Made, Sentence, Speaker, scenes_of, video_of
from PIL import Image, ImageDraw, ImageFont

from index.library import Library
from index.text import analyzer
from ingest.models.pdq import NEAR_PICTURE_DISTANCE, fingerprint, hamming, to_vector

ROOT = Path(__file__).resolve().parents[1]
FILM = DATA / "video" / "bbb_360p.mp4"
NEEDLE_SECONDS = 2.0
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
