"""Standing questions over a made stream: of 50 planted events among 500 look-alikes, how many are
reported, how soon, how many falsely; across a reconnection and a `kill -9`.

A sender plays 550 short scenes at their own pace over TCP on loopback, half of them with a text on
the screen, half with a subtitle. `longtake watch` (packaged profile) looks at them in a process of
its own; its webhook is this process. A quarter of the way through, the sender hangs up and is
called again; in the middle, a second after a planted event, the watching process is killed and
begun anew.

    python benchmarks/alerts.py                          # 15 minutes
    python benchmarks/alerts.py --planted 6 --others 60  # two

Prints what was reported and, beside the aims, the time from a scene's being sent to its notice.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
QUESTION = "exit sign blocked"
PLANTED = "Exit sign blocked at gate {n}"
LOOK_ALIKES = (
    "Exit sign clear at gate {n}",
    "Exit sign unblocked at gate {n}",
    "Road sign blocked at gate {n}",
    "Exit door blocked at gate {n}",
    "The sign says exit at gate {n}",
    "Blocked drain near gate {n}",
    "Exit {n} has no sign",
)
RATE = 10
SHOWN_SECONDS, PAUSE_SECONDS = 1.2, 0.4
APART = 5
"""Scenes between two planted ones, at least: more than an event's refractory time."""
WIDTH, HEIGHT = 640, 360


@dataclass(frozen=True)
class Scene:
    text: str
    planted: bool
    spoken: bool


def scenes(planted: int, others: int, seed: int) -> list[Scene]:
    """In an order of chance."""
    rng = random.Random(seed)
    gates = rng.sample(range(100, 1000), planted + others)
    rest = [
        Scene(LOOK_ALIKES[at % len(LOOK_ALIKES)].format(n=gates[at]), False, at % 2 == 0)
        for at in range(others)
    ]
    rng.shuffle(rest)
    slots = sorted(rng.sample(range(others - APART * planted + 1), planted))
    for at, slot in enumerate(slots):
        scene = Scene(PLANTED.format(n=gates[others + at]), True, at % 2 == 0)
        rest.insert(slot + at * (APART + 1), scene)
    return rest


def picture(scene: Scene | None, seed: int) -> np.ndarray:
    """uint8 (360, 640, 3), RGB: a street in the fog, with the text where it is not spoken."""
    coarse = np.random.default_rng(seed).integers(60, 120, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    if scene is not None and not scene.spoken:
        cv2.rectangle(image, (20, 150), (620, 210), (255, 255, 255), -1)
        at = (30, 190)
        cv2.putText(image, scene.text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.95, (0, 0, 0), 2)
    return image


class Sender:
    """Plays the scenes to whoever calls, again and again where the caller is gone. sent: text ->
    time of day when its scene was begun."""

    def __init__(self, shown: list[Scene], hang_up_before: int, pause_behind: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._shown = shown
        self._hang_up = hang_up_before
        self._pause = pause_behind
        self.sent: dict[str, float] = {}
        self.paused, self.go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        self._at = 0
        while self._at < len(self._shown):
            try:
                self._to_one_caller()
            except (av.FFmpegError, OSError):  # the caller was killed
                continue

    def _to_one_caller(self) -> None:
        url = f"tcp://127.0.0.1:{self.port}?listen=1"
        options = {
            "cluster_time_limit": "100",
            "flush_packets": "1",
            "max_interleave_delta": "50000",  # no waiting for the next subtitle
        }
        with av.open(url, "w", format="matroska", container_options=options) as output:
            video = output.add_stream("libx264", rate=RATE)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.gop_size, video.max_b_frames = RATE, 0
            video.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20"}
            words = output.add_mux_stream("subrip")
            words.time_base = Fraction(1, 1000)
            output.start_encoding()  # returns when somebody has called
            began, frame = time.time(), 0
            first = self._at
            while self._at < len(self._shown):
                at = self._at
                if at == self._hang_up and first < at:
                    return
                scene = self._shown[at]
                self._at += 1
                self.sent[scene.text] = began + frame / RATE
                if scene.spoken:
                    packet = av.Packet(scene.text.encode())
                    packet.stream, packet.time_base = words, words.time_base
                    packet.pts = packet.dts = round(1000 * frame / RATE)
                    packet.duration = round(1000 * SHOWN_SECONDS)
                    output.mux(packet)
                for shown, seconds in ((scene, SHOWN_SECONDS), (None, PAUSE_SECONDS)):
                    image = picture(shown, 2 * at + (shown is None))
                    for _ in range(round(seconds * RATE)):
                        time.sleep(max(0.0, began + frame / RATE - time.time()))
                        one = av.VideoFrame.from_ndarray(image, format="rgb24")
                        one.pts, one.time_base = frame, Fraction(1, RATE)
                        output.mux(video.encode(one))
                        frame += 1
                if at == self._pause:
                    self.paused.set()
                    self.go_on.wait()
                    return


class Receiver:
    """The webhook. got: (time of day, payload)."""

    def __init__(self) -> None:
        self.got: list[tuple[float, dict]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((time.time(), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()


def watch(library: Path, port: int) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable, "-m", "cli.main", "watch", f"tcp://127.0.0.1:{port}", "--name", "gates",
            "--library", str(library), "--profile", "packaged", "--json",
            "--set", "live.retry_most_seconds=1",
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--others", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.others < (APART + 1) * given.planted:
        parser.error(f"--others: {APART + 1} times those that are planted at least")
    shown = scenes(given.planted, given.others, given.seed)
    middle = next(at for at in range(len(shown) // 2, len(shown)) if shown[at].planted)
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        subprocess.run(
            [
                sys.executable, "-m", "cli.main", "alert", "add", QUESTION, "--webhook",
                receiver.url, "--library", str(library),
            ],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        sender = Sender(shown, len(shown) // 4, middle)
        process = watch(library, sender.port)
        states: list[dict] = []

        def read(lines) -> None:
            states.extend(json.loads(line) for line in lines)

        threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
        sender.paused.wait()
        time.sleep(1.0)
        process.kill()
        process.wait()
        process = watch(library, sender.port)
        threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
        sender.go_on.set()
        sender.thread.join()
        time.sleep(5.0)
        process.terminate()
        process.wait()
    report(shown, sender, receiver, states)


def report(shown: list[Scene], sender: Sender, receiver: Receiver, states: list[dict]) -> None:
    planted = {scene.text.casefold(): scene for scene in shown if scene.planted}
    ids: dict[str, set[str]] = {}
    delays: list[float] = []
    false: set[str] = set()
    for at, payload in receiver.got:
        gate = "".join(filter(str.isdigit, payload["text"]))
        scene = planted.get(PLANTED.format(n=gate).casefold())
        if scene is None:
            false.add(payload["id"])
            continue
        if gate not in ids:
            delays.append(at - sender.sent[scene.text])
        ids.setdefault(gate, set()).add(payload["id"])
    twice = sum(len(each) > 1 for each in ids.values())
    dropped = max((state.get("dropped", 0) for state in states), default=0)
    told = {
        "planted": len(planted),
        "look_alikes": len(shown) - len(planted),
        "reported": len(ids),
        "aim_reported": 48,
        "false_alarms": len(false),
        "aim_false_alarms": 2,
        "under_two_ids": twice,
        "notice_p50_seconds": round(statistics.median(delays), 2) if delays else None,
        "notice_p95_seconds": round(float(np.quantile(delays, 0.95)), 2) if delays else None,
        "notice_most_seconds": round(max(delays), 2) if delays else None,
        "deliveries": len(receiver.got),
        "dropped": dropped,
        "load": round(psutil.getloadavg()[0], 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
