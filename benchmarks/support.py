"""How well `rag.support` tells a sentence's true source from others, on real transcripts.

Usage: python benchmarks/support.py [--data DIR] [--sentences N] [--seed N] [--embed]

Sentences of the transcripts are held against six sentences of speech: those they were taken from
(true), the next six of the same video (adjacent), and six of another video (random). Then changed
ones are held against their true source: another number, a negation put in or taken out. To be less
easy than a quotation, sentences are also tried with any other word in the place of 3 in 10 of their
content words ("reworded": what is lost where a model uses words of its own), and, instead of
sentences, the chapter titles that the author of the lectures wrote and the questions about the
tutorials, which are no sentences of the transcript at all.

Prints the area under the ROC curve of true against each, and which share is called supported at the
floor in the settings. Of the sentences, those are taken that say something that can be looked for;
how many do not is printed. Nothing is learned from the data but what words weigh (inverse document
frequency over the windows), as in a library. --embed adds all-MiniLM-L6-v2 (needs the development
package that carries it). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from index.text import analyzer, analyzer_for  # noqa: E402
from rag.answer_settings import CheckSettings  # noqa: E402
from rag.numbers import numbers_in  # noqa: E402
from rag.support import SupportScorer  # noqa: E402

WINDOW = 6
CHANGED_WORDS = 0.3

Window = tuple[str, ...]
Case = tuple[str, Window]


def windows_of(sentences: Sequence[str]) -> list[Window]:
    return [tuple(sentences[at : at + WINDOW]) for at in range(0, len(sentences), WINDOW)]


def area(true: Sequence[float], other: Sequence[float]) -> float:
    """P(true > other) + P(equal) / 2."""
    a, b = np.sort(np.asarray(true)), np.asarray(other)
    below = np.searchsorted(a, b, side="left")
    through = np.searchsorted(a, b, side="right")
    return float(1 - (below + through).mean() / 2 / len(a))


def other_number(sentence: str, rng: random.Random) -> str | None:
    """Another number in the place of one of the sentence's."""
    digits = list(re.finditer(r"\d+", sentence))
    if digits:
        match = rng.choice(digits)
        value = int(match[0])
        new = str(value + rng.choice([1, 2, 3, 10]))
        return sentence[: match.start()] + new + sentence[match.end() :]
    words = "two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    spelt = list(re.finditer(rf"\b({'|'.join(words)})\b", sentence, re.IGNORECASE))
    if not spelt:
        return None
    match = rng.choice(spelt)
    new = rng.choice([word for word in words if word != match[0].lower()])
    return sentence[: match.start()] + new + sentence[match.end() :]


def other_negation(sentence: str) -> str | None:
    """Negated where it was not, and the other way round."""
    taken = re.sub(r"\bcan't\b", "can", sentence, count=1)
    taken = taken if taken != sentence else re.sub(r"n't\b", "", sentence, count=1)
    taken = taken if taken != sentence else re.sub(r"\b(not|never) ", "", sentence, count=1)
    if taken != sentence:
        return taken
    put = re.sub(
        r"\b(is|are|was|were|can|will|would|should|could|must|does|did|has|have)\b",
        r"\1 not", sentence, count=1,
    )  # fmt: skip
    return put if put != sentence else None


def reworded(sentence: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    """Some of its content words in other words."""
    model = analyzer(analyzer_for("en"))

    def other(match: re.Match[str]) -> str:
        word = match[0]
        kept = not model.tokens(word) or word[0].isupper() or rng.random() >= CHANGED_WORDS
        return word if kept else rng.choice(vocabulary)

    return re.sub(r"[A-Za-z]+(?:'[a-z]+)?", other, sentence)


def weigher(windows: Sequence[Window]) -> Callable[[str, Sequence[int]], dict[int, float]]:
    model = analyzer(analyzer_for("en"))
    counts: Counter[int] = Counter()
    for window in windows:
        counts.update(set().union(*(model.tokens(w) for t in window for w in t.split())))
    total = len(windows)

    def weigh(_name: str, terms: Sequence[int]) -> dict[int, float]:
        return {t: math.log(1 + (total - counts[t] + 0.5) / (counts[t] + 0.5)) for t in terms}

    return weigh


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Collection:
    def __init__(self, folder: Path):
        self.name = folder.name
        self.videos = read_lines(folder / "transcripts.jsonl")
        self.windows = {
            video["video_id"]: windows_of([text for _, _, text in video["sentences"]])
            for video in self.videos
        }
        self.all = [window for own in self.windows.values() for window in own]

    def cases(self, rng: random.Random, count: int) -> list[tuple[str, Window, Window, Window]]:
        """(sentence, true, adjacent, random)."""
        places = [
            (video, at, line)
            for video, own in self.windows.items()
            for at, window in enumerate(own)
            for line in range(len(window))
            if len(own) > 1
        ]
        found = []
        for video, at, line in rng.sample(places, min(count, len(places))):
            own = self.windows[video]
            beside = own[at + 1] if at + 1 < len(own) else own[at - 1]
            found.append((own[at][line], own[at], beside, self.elsewhere(video, rng)))
        return found

    def elsewhere(self, video: str, rng: random.Random) -> Window:
        other = rng.choice([name for name, own in self.windows.items() if name != video and own])
        return rng.choice(self.windows[other])

    def spans(self, rng: random.Random) -> list[tuple[str, Window, Window]]:
        """(title or question, what is said in its span, as much of another video)."""
        by_name = {video["video_id"]: video for video in self.videos}
        found = []
        for path, key in (("chapters_dev.jsonl", "query"), ("train.jsonl", "query")):
            asked = self.folder_lines(path)
            for one in asked:
                video = by_name.get(str(one.get("vid", one.get("video_id"))))
                if video is None or one.get("generic"):
                    continue
                start, end = one["relevant_windows"][0]
                said = tuple(t for a, b, t in video["sentences"] if b > start and a < end)
                other = by_name[rng.choice([n for n in by_name if n != video["video_id"]])]
                at = rng.randrange(max(1, len(other["sentences"]) - len(said)))
                there = tuple(t for _, _, t in other["sentences"][at : at + len(said)])
                if said and there:
                    found.append((one[key], said, there))
        return found

    def folder_lines(self, name: str) -> list[dict]:
        path = FOLDER / self.name / name
        return read_lines(path) if path.exists() else []


def measure(collection: Collection, embed, count: int, seed: int) -> dict:
    rng = random.Random(seed)
    scorer = SupportScorer(weigh=weigher(collection.all), embed=embed)
    floor = CheckSettings().floor
    vocabulary = sorted(
        {w for window in collection.all for t in window for w in re.findall(r"\b[a-z]{4,}\b", t)}
    )
    cases = collection.cases(rng, count)
    scores: dict[str, list[float]] = {}
    skipped = 0
    seconds = 0.0

    def score(kind: str, sentence: str, window: Window) -> float | None:
        nonlocal seconds
        started = time.perf_counter()
        found = scorer.score(sentence, window).score
        seconds += time.perf_counter() - started
        if found is not None:
            scores.setdefault(kind, []).append(found)
        return found

    for sentence, true, beside, other in cases:
        if score("true", sentence, true) is None:
            skipped += 1
            continue
        score("adjacent", sentence, beside)
        score("random", sentence, other)
        changed = reworded(sentence, vocabulary, rng)
        score("reworded", changed, true)
        score("reworded, adjacent", changed, beside)
        score("reworded, random", changed, other)
        # A changed number may stand in the source too: then it is no lie that could be seen.
        number = other_number(sentence, rng)
        if number is not None and numbers_in(number) != numbers_in(sentence):
            score("number, unchanged", sentence, true)
            score("number, changed", number, true)
        negated = other_negation(sentence)
        if negated is not None:
            score("negation, unchanged", sentence, true)
            score("negation, changed", negated, true)
    for title, said, other in collection.spans(rng)[:count]:
        if score("title or question", title, said) is not None:
            score("title or question, random", title, other)
    pairs = [
        ("true", "random"), ("true", "adjacent"), ("reworded", "reworded, random"),
        ("reworded", "reworded, adjacent"), ("number, unchanged", "number, changed"),
        ("negation, unchanged", "negation, changed"),
        ("title or question", "title or question, random"),
    ]  # fmt: skip
    areas = {f"{a} / {b}": round(area(scores[a], scores[b]), 4) for a, b in pairs if b in scores}
    supported = {
        kind: round(float(np.mean([s >= floor for s in own])), 3) for kind, own in scores.items()
    }
    return {
        "collection": collection.name,
        "cases": {kind: len(own) for kind, own in scores.items()},
        "say nothing to look for": round(skipped / len(cases), 3),
        "area": areas,
        "supported": supported,
        "milliseconds a sentence": round(1000 * seconds / sum(map(len, scores.values())), 2),
    }


def encoder():
    from cli.senses import Senses
    from cli.settings import load
    from ingest.models.text_onnx import OnnxTextEncoder

    settings, _ = load({}, "eval-minilm")
    senses = Senses(settings, ["text"])
    senses.check_models()
    senses.prepare_models(print)
    made = OnnxTextEncoder(senses.depot.files(*senses.models["text"]), threads=1)
    return made.encode_queries


def main() -> None:
    global FOLDER
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sentences", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embed", action="store_true")
    given = parser.parse_args()
    FOLDER = given.data / "transcripts"
    embed = encoder() if given.embed else None
    report = []
    for name in ("tutorialvqa", "3b1b"):
        found = measure(Collection(FOLDER / name), embed, given.sentences, given.seed)
        report.append(found)
        print(f"\n{name}: {found['say nothing to look for']:.1%} say nothing to look for, "
              f"{found['milliseconds a sentence']} ms a sentence")  # fmt: skip
        for pair, value in found["area"].items():
            print(f"  area {value:.3f}  {pair}")
        for kind, share in found["supported"].items():
            print(f"  supported {share:6.1%} of {found['cases'][kind]:5}  {kind}")
    print(json.dumps({"embed": given.embed, "collections": report}))


FOLDER = Path()

if __name__ == "__main__":
    main()
