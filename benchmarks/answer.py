"""How long an answer waits for us before the model is called, and what goes into its prompt.

Usage: python benchmarks/answer.py [--data DIR] [--rounds N] [--embed] [--steps]

Makes a film of 720p with 10 s between key frames (a minute of Big Buck Bunny, enlarged, encoded
once and its packets put behind each other) of 10 minutes, 1 hour and 10 hours, and gives each the
speech of real lectures. Then, in one warm process over the embedded store:

* steps: for a local question about the hour, with 16 pictures and a budget of 16,000 tokens: the
  search, the gathering of words, and the choosing and decoding of pictures and the prompt; median
  and worst of the rounds, with titles of chapters of those lectures as questions, and the process's
  memory
* contents: what a local and a global question put into a prompt for Qwen2.5-VL by its formula, at
  4,000, 16,000 and 64,000 tokens

Words are BM25's alone, unless --embed gives each sentence its vector by all-MiniLM-L6-v2 (needs the
development package that carries it): the search then embeds the question, too, and finds spans by
meaning. --steps leaves the contents out. The last line is JSON. No language model is called.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av  # noqa: E402
import cv2  # noqa: E402
import psutil  # noqa: E402
from talks import open_library_at, put_channel  # noqa: E402

from index.schema import FileStat, Generation, Space, Stream, Video, make_id  # noqa: E402
from ingest.channels.text import PassageVectorChannel  # noqa: E402
from rag.answer_settings import AskSettings  # noqa: E402
from rag.contexts import evidence_for  # noqa: E402
from rag.material import Gatherer  # noqa: E402
from rag.prompt import PromptBuilder  # noqa: E402
from rag.retrieve import Retriever  # noqa: E402
from rag.tokens import ServerTokens  # noqa: E402
from rag.vectors import QueryEncoders  # noqa: E402

RATE = 24
GOP_SECONDS = 10
LENGTHS = {"10 minutes": 600, "1 hour": 3600, "10 hours": 36_000}
BUDGETS = (4_000, 16_000, 64_000)
GLOBAL = "What are the main points of this video?"
MODEL = "Qwen2.5-VL-7B-Instruct"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def encode_minute(source: Path, path: Path) -> None:
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.gop_size = RATE * GOP_SECONDS
        stream.options = {"preset": "veryfast", "sc_threshold": "0"}
        film.seek(120 * av.time_base)
        for number, frame in enumerate(film.decode(video=0)):
            if number == 60 * RATE:
                break
            image = cv2.resize(frame.to_ndarray(format="rgb24"), (1280, 720))
            large = av.VideoFrame.from_ndarray(image, "rgb24")
            large.pts, large.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(large))
        out.mux(stream.encode(None))


def repeated(minute: Path, path: Path, seconds: int) -> None:
    """Its packets, again and again."""
    with av.open(str(minute)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        base = packets[0].time_base
        with av.open(str(path), "w") as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            length = round(60 / base)
            data = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
            for turn in range(seconds // 60):
                for raw, pts, dts, duration, key in data:
                    packet = av.Packet(raw)
                    packet.pts, packet.dts = pts + turn * length, dts + turn * length
                    packet.duration, packet.time_base, packet.is_keyframe = duration, base, key
                    packet.stream = stream
                    out.mux(packet)


def spoken(folder: Path, seconds: int) -> tuple[list[tuple[float, float, str]], list[str]]:
    """Sentences of lectures behind each other, and titles of chapters in them."""
    titles: dict[str, list[str]] = {}
    for line in (folder / "chapters_dev.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if not one.get("generic"):
            titles.setdefault(str(one["vid"]), []).append(one["query"])
    lectures = [
        json.loads(line)
        for line in (folder / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    lectures.sort(key=lambda lecture: lecture["video_id"] not in titles)
    lines: list[tuple[float, float, str]] = []
    asked: list[str] = []
    at = 0.0
    for lecture in lectures:
        if at + 60 > seconds:
            break
        asked += titles.get(lecture["video_id"], [])
        lines += [
            (at + a, min(at + b, seconds), text)
            for a, b, text in lecture["sentences"]
            if at + a < seconds - 1
        ]
        at += lecture["duration"]
    return lines, asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--embed", action="store_true")
    parser.add_argument("--steps", action="store_true")
    given = parser.parse_args()
    encoder = text_encoder() if given.embed else None
    report: dict = {"embed": given.embed, "steps": {}, "contents": []}
    with tempfile.TemporaryDirectory() as folder:
        minute = Path(folder) / "minute.mp4"
        encode_minute(given.data / "video" / "bbb_360p.mp4", minute)
        for name, seconds in LENGTHS.items():
            if given.steps and name != "1 hour":
                continue
            path = Path(folder) / f"{seconds}.mp4"
            repeated(minute, path, seconds)
            lines, asked = spoken(given.data / "transcripts" / "3b1b", seconds)
            library = open_library_at(Path(folder) / f"library-{seconds}")
            stream = Stream(0, "video", "h264", width=1280, height=720, frame_rate=float(RATE))
            files = (FileStat(str(path), 1, 1, 1),)
            id = make_id("benchmark", name)
            video = Video(id, name, files, duration_seconds=float(seconds), streams=(stream,))
            library.put_video(video)
            put_channel(library, video, "speech", lines)
            if name == "1 hour":
                retriever = Retriever(library)
                if encoder is not None:
                    embed(library, video, encoder)
                    retriever = Retriever(library, encoders=QueryEncoders(lambda _space: encoder))
                report["steps"] = steps(retriever, path, asked, given.rounds)
            for budget in () if given.steps else BUDGETS:
                for kind, question in (("local", asked[0]), ("global", GLOBAL)):
                    report["contents"].append(
                        {"video": name, "budget": budget, "question": kind}
                        | contents(Retriever(library), path, question, budget)
                    )
                    print(report["contents"][-1])
            library.store.close()
    print(json.dumps(report))


def text_encoder():
    from cli.senses import Senses
    from cli.settings import load
    from ingest.models.text_onnx import OnnxTextEncoder

    senses = Senses(load({}, "eval-minilm")[0], ["text"])
    senses.check_models()
    senses.prepare_models(print)
    return OnnxTextEncoder(senses.depot.files(*senses.models["text"]))


def embed(library, video: Video, encoder) -> None:
    channel = PassageVectorChannel("speech", lambda: encoder, {"model": encoder.space})
    generation = Generation(video.id, 0, channel.name, "1", complete=True)
    library.add_space(Space(encoder.space, "text", MINILM, encoder.size), generation.id)
    for batch in channel.run(Path("film.mp4"), video, generation, 0.0, library):
        library.commit_all([(generation, (), batch.points)])


def parts(retriever, path: Path, question: str, settings: AskSettings, clock: dict | None = None):
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        if clock is not None:
            clock.setdefault(name, []).append(now - started)
        started = now

    evidence = evidence_for(question, retriever, settings, ())
    lap("search")
    gatherer = Gatherer(
        retriever.library,
        context_seconds=0.0 if evidence.covers else settings.context_seconds,
        side=settings.picture_side,
        spread=evidence.covers,
    )
    scenes = gatherer.scenes(evidence.batches[0]) if evidence.batches else []
    lap("gather")
    instructions = (ROOT / "configs" / "prompts" / "answer.txt").read_text(encoding="utf-8")
    builder = PromptBuilder(instructions, ServerTokens(MODEL), settings, lambda _video: path)
    built = builder.build(question, scenes)
    lap("pictures and prompt")
    return scenes, built


def steps(retriever, path: Path, asked: list[str], rounds: int) -> dict:
    settings = AskSettings(model=MODEL, frames=16)
    parts(retriever, path, asked[0], settings)  # warm
    before = psutil.Process().memory_info().rss
    clock: dict[str, list[float]] = {}
    total, most, pictures = [], 0, []
    for at in range(rounds):
        started = time.perf_counter()
        _, built = parts(retriever, path, asked[at % len(asked)], settings, clock)
        total.append(time.perf_counter() - started)
        pictures.append(built.frames)
        most = max(most, psutil.Process().memory_info().rss)
    found = {
        name: {"p50": round(statistics.median(all_), 3), "worst": round(max(all_), 3)}
        for name, all_ in (clock | {"all": total}).items()
    }
    found["pictures"] = statistics.median(pictures)
    found["resident MiB"] = round(most / 2**20)
    found["resident MiB more"] = round((most - before) / 2**20)
    for name, value in found.items():
        print(f"{name}: {value}")
    return found


def contents(retriever, path: Path, question: str, budget: int) -> dict:
    settings = AskSettings(model=MODEL, budget_tokens=budget, frames=2000)
    scenes, built = parts(retriever, path, question, settings)
    lines = sum(map(len, built.words.values()))
    return {
        "tokens": built.tokens,
        "stretches": len(scenes),
        "pictures": built.frames,
        "lines": lines,
        "left_out": built.left_out,
    }


if __name__ == "__main__":
    main()
