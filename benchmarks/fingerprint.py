"""How far apart fingerprints of the same and of different pictures are, and what one costs.

Usage: python benchmarks/fingerprint.py [FILE] [--step SECONDS]

Takes frames of a film, alters each in ways that copies are altered, and prints how many of the 256
bits change; then the distances between different frames of the film, more than a minute apart. The
last line is JSON: recall within the distances that `search --image` uses, and false matches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import cv2
import numpy as np

from ingest.models.pdq import (
    NEAR_PICTURE_DISTANCE,
    SAME_PICTURE_DISTANCE,
    fingerprint,
    hamming,
)

FILM = Path(__file__).resolve().parents[2] / "shared" / "data" / "video" / "bbb_360p.mp4"
LEAST_QUALITY = 50


def frames(path: Path, step_seconds: float) -> tuple[np.ndarray, list[np.ndarray]]:
    times, images = [], []
    with av.open(str(path)) as container:
        due = 0.0
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= due:
                times.append(frame.time)
                images.append(frame.to_ndarray(format="rgb24"))
                due += step_seconds
    return np.array(times), images


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def _scaled(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _cropped(image: np.ndarray, share: float) -> np.ndarray:
    dy, dx = (round(side * share / 2) for side in image.shape[:2])
    return image[dy : image.shape[0] - dy, dx : image.shape[1] - dx]


def _written(image: np.ndarray, text: str, x: float, y: float) -> np.ndarray:
    height, width = image.shape[:2]
    place = (round(x * width), round(y * height))
    return cv2.putText(image.copy(), text, place, 0, height / 360, (255, 255, 255), 3)


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _boxed(image: np.ndarray) -> np.ndarray:
    bar = image.shape[0] // 10
    return cv2.copyMakeBorder(image, bar, bar, 0, 0, cv2.BORDER_CONSTANT)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg quality 30": lambda i: _jpeg(i, 30),
    "jpeg quality 10": lambda i: _jpeg(i, 10),
    "half size": lambda i: _scaled(i, 0.5),
    "quarter size": lambda i: _scaled(i, 0.25),
    "double size": lambda i: _scaled(i, 2),
    "squeezed to 4:3": lambda i: cv2.resize(i, (640, 480)),
    "brighter by 30": lambda i: cv2.convertScaleAbs(i, beta=30),
    "noise, sigma 10": _noisy,
    "2% cut off": lambda i: _cropped(i, 0.02),
    "5% cut off": lambda i: _cropped(i, 0.05),
    "10% cut off": lambda i: _cropped(i, 0.10),
    "logo": lambda i: _written(i, "LOGO", 0.8, 0.15),
    "subtitle": lambda i: _written(i, "a subtitle burned into it", 0.2, 0.92),
    "black bars of 10%": _boxed,
    "mirrored": lambda i: i[:, ::-1],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=FILM)
    parser.add_argument("--step", type=float, default=4.0, help="seconds between frames")
    options = parser.parse_args()

    times, images = frames(options.file, options.step)
    before = time.process_time()
    prints = [fingerprint(image) for image in images]
    milliseconds = 1000 * (time.process_time() - before) / len(images)
    good = [i for i, seen in enumerate(prints) if seen.quality >= LEAST_QUALITY]
    print(f"{len(images)} frames of {options.file.name}, {len(images) - len(good)} of them blank")
    print(f"{milliseconds:.2f} ms of one core each\n")

    print(f"{'copy':<20}{'median':>8}{'95%':>6}{'most':>6}{'same':>8}{'near':>8}")
    recall: dict[str, dict[str, float]] = {}
    for name, alter in COPIES.items():
        distances = np.array(
            [hamming(prints[i].bits, fingerprint(alter(images[i])).bits) for i in good]
        )
        recall[name] = {
            "same": round(float((distances <= SAME_PICTURE_DISTANCE).mean()), 3),
            "near": round(float((distances <= NEAR_PICTURE_DISTANCE).mean()), 3),
        }
        median, high = np.percentile(distances, [50, 95])
        print(
            f"{name:<20}{median:>8.0f}{high:>6.0f}{distances.max():>6}"
            f"{recall[name]['same']:>8.3f}{recall[name]['near']:>8.3f}"
        )

    bits = np.array([prints[i].bits for i in good])
    distances = (bits[:, None] != bits[None]).sum(axis=2)
    apart = np.abs(times[good][:, None] - times[good][None]) > 60
    others = distances[apart]
    print(f"\nother frames, a minute apart: least {others.min()}, 0.1% below ", end="")
    print(f"{np.percentile(others, 0.1):.0f}, of {others.size // 2} pairs")
    print(
        json.dumps(
            {
                "milliseconds_per_picture": round(milliseconds, 3),
                "recall": recall,
                "others_least_distance": int(others.min()),
                "false_near": float((others <= NEAR_PICTURE_DISTANCE).mean()),
                "same_distance": SAME_PICTURE_DISTANCE,
                "near_distance": NEAR_PICTURE_DISTANCE,
            }
        )
    )


if __name__ == "__main__":
    main()
