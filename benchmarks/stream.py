"""Does a streaming session answer a long stream as soon as a short one, in the memory that it is
given?

Usage: python benchmarks/stream.py [--data DIR] [--minutes 10 60] [--rounds N] [--families F ...]

Watches Big Buck Bunny, a picture a second, over again where the stream is longer than the film,
with a tiny model of random weights of each family, which knows as many places as the real one.
Both streams stay open, and are asked in turn, round by round, so that a busy machine slows down
both: the time to the first token, once with frames chosen by what the question asks for, once with
a span from the beginning too. This with three bounds of the host's memory: one that holds both
streams, one that holds the short stream and a third of the long one, and one so small that nearly
all of both lies on disk. Prints each stream's median, the ratio of long to short (the median of
each round's), by the clock and, for busy machines, by what the thread computed; and the bytes held.
The last lines are JSON, one a family.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import tiny_videollm  # noqa: E402

from ingest.models.videollm.session_settings import SessionSettings  # noqa: E402
from ingest.models.videollm.transformers import TransformersVideoLLM  # noqa: E402
from ingest.segment_frames import FrameReader  # noqa: E402

SIDE = 128
CONTEXT = {
    "qwen3_vl": 262_144,
    "qwen2_5_vl": 128_000,
    "llava_onevision": 32_768,
    "smolvlm": 8_192,
}
"""Places that Qwen3-VL, Qwen2.5-VL 7B, LLaVA-OneVision 7B and SmolVLM2 know."""

DEVICE_BYTES = dict.fromkeys(CONTEXT, 4 << 20) | {"llava_onevision": 1_400_000}
"""So that the short stream, too, has more than a question looks back at: a picture is 4 tokens to
that tiny LLaVA-OneVision, and about 25 to the others."""

HOST_SHARES = {"in memory": 256, "the rest on disk": 2, "on disk": 0.25}
"""Of what the device may hold."""

QUESTION = "What does the rabbit do with the apple, and who is watching?"


def pictures(film: Path) -> list[np.ndarray]:
    """One a second, uint8 of shape (height, width, 3)."""
    with FrameReader(film, max_side=SIDE) as reader:
        wanted = [float(second) for second in range(590)]
        return [image for _, image in reader.read(wanted, 0.0, 590.0, snap=False)]


def watch(model, shown, minutes: float, settings: SessionSettings):
    session = model.session(settings)
    began, peak = time.perf_counter(), 0
    count = round(minutes * 60)
    for at in range(0, count, 8):
        times = range(at, min(at + 8, count))
        session.append_frames([shown[t % len(shown)] for t in times], [float(t) for t in times])
        peak = max(peak, session.device_bytes)
    return session, (time.perf_counter() - began) / count, peak


def first_token(session, **how) -> tuple[float, float]:
    """By the clock, and what this thread computed of it."""
    began, computed = time.perf_counter(), time.thread_time()
    list(session.ask(QUESTION, max_tokens=1, **how))
    return time.perf_counter() - began, time.thread_time() - computed


def measure(model, shown, lengths, rounds: int, settings: SessionSettings) -> dict:
    report: dict = {"streams": {}}
    sessions = {}
    for minutes in lengths:
        session, each, peak = watch(model, shown, minutes, settings)
        sessions[minutes] = session
        report["streams"][f"{minutes:g} minutes"] = {
            "frames": len(session.times),
            "tokens": sum(block.tokens for block in session._blocks),
            "looked_back_at_tokens": session.context_tokens,
            "seconds_a_frame": round(each, 4),
            "device_bytes": peak,
            "host_bytes": session.host_bytes,
            "disk_bytes": session.disk_bytes,
            "summary_bytes": session._summaries.nbytes,
        }
    ways = {"similar": {}, "similar and a span": {"spans": [(30.0, 60.0)]}}
    taken = {name: {minutes: [] for minutes in sessions} for name in ways}
    for at in range(rounds + 2):
        for name, how in ways.items():
            for minutes in sorted(sessions, reverse=bool(at % 2)):
                seconds = first_token(sessions[minutes], **how)
                if at >= 2:  # the first ones warm up
                    taken[name][minutes].append(seconds)
    for name, by in taken.items():
        report[name] = {}
        for at, key in enumerate(("", "computing_")):
            pairs = [(a[at], b[at]) for a, b in zip(*map(by.get, lengths), strict=True)]
            report[name][f"{key}ratio"] = round(statistics.median(b / a for a, b in pairs), 3)
            report[name][f"{key}seconds"] = {
                f"{minutes:g}": round(statistics.median(pair[which] for pair in pairs), 4)
                for which, minutes in enumerate(lengths)
            }
    for session in sessions.values():
        session.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--minutes", type=float, nargs=2, default=(10, 60))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--families", nargs="+", default=list(CONTEXT), choices=list(CONTEXT))
    given = parser.parse_args()
    shown = pictures(given.data / "video" / "bbb_360p.mp4")
    reports = []
    for family in given.families:
        with tempfile.TemporaryDirectory() as folder:
            files = tiny_videollm.build(family, Path(folder) / "model", context=CONTEXT[family])
            model = TransformersVideoLLM(files, device="cpu", threads=1)
            report = {"family": family, "device_bound": DEVICE_BYTES[family]}
            for name, share in HOST_SHARES.items():
                host_bytes = int(share * DEVICE_BYTES[family])
                settings = SessionSettings(
                    device_bytes=DEVICE_BYTES[family], host_bytes=host_bytes, folder=Path(folder)
                )
                report[name] = measure(model, shown, given.minutes, given.rounds, settings)
                print(f"{family}, {name}: {json.dumps(report[name], indent=1)}", flush=True)
        report["resident_bytes"] = psutil.Process().memory_info().rss
        reports.append(report)
    print("\n".join(map(json.dumps, reports)))


if __name__ == "__main__":
    main()
