"""What ranking videos by several events, and keeping to the order that is asked for, are worth.

    python benchmarks/understanding.py --transcripts T.jsonl --queries TRAIN.jsonl
        [--profile packaged] [--questions 300] [--pairs 120] [--json]

The transcripts are indexed as speech in a library that is thrown away. `videos`: for questions that
one video answers, how often that video comes first and among five, ranked by its best moment alone,
by its events as `search --group-by video` counts them, and with every event counted in full.
`order`: two questions of one video whose answers follow each other become "after ONE, OTHER" or
"before OTHER, ONE"; how often a right moment is first and among five, for the question as it
stands, for its target alone, and for the target placed against the anchor. The limit to beat is the
first of each; the same questions, from the same library, in one run. Under the packaged profile
searches go by words alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from cli.compose import build_retriever, build_thumbnails, open_library  # noqa: E402
from cli.senses import Senses  # noqa: E402
from cli.settings import Settings, load  # noqa: E402
from index.library import Library  # noqa: E402
from index.schema import Moment  # noqa: E402
from rag.evaluate.datasets import Question, read_questions  # noqa: E402
from rag.evaluate.transcripts import Unsynced, index_transcripts, read_transcripts  # noqa: E402
from rag.group import group_by_video  # noqa: E402
from rag.in_order import search_in_order  # noqa: E402
from rag.order import Order  # noqa: E402
from rag.query import ParsedQuery  # noqa: E402
from rag.retrieve import Retriever  # noqa: E402
from rag.scope import Scope  # noqa: E402
from rag.settings import GroupSettings  # noqa: E402

RANKS = (1, 5)
SEED = 3


def plain(text: str) -> str:
    """Without what the query language would take for something else than words."""
    return text.replace('"', " ").replace(" -", " ")


def recall(ranks: Sequence[int | None]) -> list[float]:
    return [round(sum(r is not None and r <= k for r in ranks) / len(ranks), 3) for k in RANKS]


def rank_of(found: Iterable[bool]) -> int | None:
    return next((at for at, right in enumerate(found, 1) if right), None)


def rank_videos(
    retriever: Retriever, questions: Sequence[Question], names: dict[str, str]
) -> dict[str, list[float]]:
    ways = {
        "best moment alone": GroupSettings(further_events=0.0),
        "events": retriever.settings.group,
        "every event in full": GroupSettings(further_events=1.0),
    }
    ranks: dict[str, list[int | None]] = {name: [] for name in ways}
    for question in questions:
        moments = retriever.search(plain(question.text), limit=100).moments
        for name, settings in ways.items():
            videos = group_by_video(moments, settings)
            ranks[name].append(rank_of(names[v.video_id] == question.video for v in videos))
    return {name: recall(own) for name, own in ranks.items()}


def in_pairs(questions: Sequence[Question], count: int) -> list[tuple[Order, Question]]:
    """Questions in order, each with the one whose answer is to be found."""
    draw = random.Random(SEED)
    of: dict[str, list[Question]] = {}
    for question in questions:
        of.setdefault(question.video, []).append(question)
    several = sorted(video for video in of if len(of[video]) > 1)
    found: list[tuple[Order, Question]] = []
    while len(found) < count:
        first, second = draw.sample(of[draw.choice(several)], 2)
        if first.windows[0][1] > second.windows[0][0]:
            continue
        relation, target, anchor = ("after", second, first)
        if draw.random() < 0.5:
            relation, target, anchor = ("before", first, second)
        found.append((Order(plain(target.text), relation, plain(anchor.text)), target))
    return found


def rank_ordered(
    retriever: Retriever, pairs: Sequence[tuple[Order, Question]], names: dict[str, str]
) -> dict[str, list[float]]:
    ranks: dict[str, list[int | None]] = {"as it stands": [], "target alone": [], "in order": []}
    scope = Scope()

    def find(text: str) -> Sequence[Moment]:
        return retriever._find(ParsedQuery(text), scope, 10).moments

    for order, target in pairs:
        whole = find(f"{order.relation} {order.anchor}, {order.target}")
        placed = search_in_order(
            order, ParsedQuery(order.target), retriever._find, retriever.library, scope, scope, 10,
            False, retriever.settings,
        )  # fmt: skip
        found = {
            "as it stands": whole,
            "target alone": find(order.target),
            "in order": whole if placed is None else placed.moments,
        }
        for name, moments in found.items():
            right = (names[m.video_id] == target.video and overlaps(m, target) for m in moments)
            ranks[name].append(rank_of(right))
    return {name: recall(own) for name, own in ranks.items()}


def overlaps(moment: Moment, question: Question) -> bool:
    return any(
        moment.start_seconds < end and start < moment.end_seconds for start, end in question.windows
    )


def measure(settings: Settings, options: argparse.Namespace) -> dict:
    said = read_transcripts(options.transcripts)
    questions = [q for q in read_questions(options.queries) if q.windows and not q.generic]
    names = {one.video_id: one.name for one in said}
    drawn = random.Random(SEED).sample(questions, min(options.questions, len(questions)))
    with open_library(settings, must_exist=False) as library:
        library = Library(Unsynced(library.store))
        channels = Senses(settings, ("speech",)).channels()
        thumbnails = build_thumbnails(settings)
        index_transcripts(library, options.transcripts, said, channels, thumbnails)
        retriever = build_retriever(settings, library)
        return {
            "questions": len(drawn),
            "videos": rank_videos(retriever, drawn, names),
            "pairs": options.pairs,
            "order": rank_ordered(retriever, in_pairs(questions, options.pairs), names),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transcripts", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--profile", default="packaged")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings, _ = load({"library": folder}, options.profile)
        found = measure(settings, options)
    if options.json:
        print(json.dumps(found))
        return
    for part, count in (("videos", found["questions"]), ("order", found["pairs"])):
        first = next(iter(found[part].values()))[0]
        for name, (one, five) in found[part].items():
            print(
                f"{part} ({count}): {name}: first {one:.3f} ({one / first:.2f} x), five {five:.3f}"
            )


if __name__ == "__main__":
    main()
