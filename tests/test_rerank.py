"""A second look at the best results: what it decides, and that nothing hangs on it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import talks
from talks import put_channel, put_video
from tiny_reranker import tiny_reranker

from cli.compose import build_rerankers
from cli.main import main
from cli.settings import load
from index.errors import ModelMissingError
from index.library import Library
from ingest.models.depot import Depot
from ingest.models.reranker import TransformersReranker
from ingest.models.reranker_export import prepare
from rag.fuse import Find, Fused
from rag.rerank import Candidate, CrossEncoder, rerank
from rag.retrieve import Retriever
from rag.settings import RetrieveSettings

pytestmark = pytest.mark.usefixtures("own_places")


class Judge:
    """Scores a text by a table of words; the rest it cannot tell."""

    name = "judge"

    def __init__(self, scores: dict[str, float], depth: int = 20):
        self.table = scores
        self.depth = depth
        self.asked: list[tuple[str, Sequence[Candidate]]] = []

    def scores(self, query, candidates):
        self.asked.append((query, candidates))
        return [
            next((score for word, score in self.table.items() if word in one.text), None)
            for one in candidates
        ]


def group(text: str, score: float) -> Fused:
    return Fused(0.0, 5.0, [Find("v", 0, "speech", 0.0, 5.0, 1.0, score, text)])


def order(groups: Sequence[Fused], judge) -> list[tuple[str, float]]:
    judged, note = rerank(groups, "query", judge)
    assert note is None
    return [(one.best.text, round(one.score, 6)) for one in judged]


def test_the_judge_decides_and_its_score_is_the_results():
    groups = [group("a", 0.9), group("b", 0.5), group("c", 0.1)]
    assert order(groups, Judge({"a": 0.2, "b": 0.1, "c": 0.8})) == [
        ("c", 0.8), ("a", 0.2), ("b", 0.1)
    ]  # fmt: skip


def test_what_it_cannot_tell_keeps_its_score():
    groups = [group("a", 0.9), group("", 0.5), group("c", 0.1)]
    assert order(groups, Judge({"a": 0.2, "c": 0.8})) == [("c", 0.8), ("", 0.5), ("a", 0.2)]


def test_what_it_does_not_look_at_stays_behind():
    groups = [group("a", 0.9), group("b", 0.8), group("c", 0.7), group("d", 0.1)]
    judge = Judge({"a": 0.3, "b": 0.6, "c": 1.0}, depth=2)
    assert order(groups, judge) == [("b", 0.6), ("a", 0.3), ("c", 0.3), ("d", 0.1)]
    assert [one.text for one in judge.asked[0][1]] == ["a", "b"]


def test_one_judge_after_the_other(films):
    first, second = Judge({"full moon": 0.9, "pulls": 0.6}), Judge({"full moon": 0.4}, depth=1)
    result = Retriever(films, rerankers=[first, second]).search("moon ocean", explain=True)
    assert [(m.start_seconds, m.score) for m in result.moments][:2] == [(20.0, 0.4), (3.5, 0.4)]
    assert result.explanations[0].judged.startswith("judge: 0.900, then judge: 0.400; before 0.")


def test_a_search_is_judged_before_its_limit_cuts(films):
    judge = Judge({"full moon": 0.95, "pulls": 0.05})
    plain = Retriever(films).search("moon ocean", limit=1)
    assert plain.moments[0].start_seconds == 3.5
    judged = Retriever(films, rerankers=[judge]).search("moon ocean", limit=1, explain=True)
    assert (judged.moments[0].start_seconds, judged.moments[0].score) == (20.0, 0.95)
    assert judged.more == 1
    assert judged.explanations[0].judged.startswith("judge: 0.950; before 0.")
    query, candidates = judge.asked[0]
    assert query == "moon ocean" and all(one.text and one.video_id for one in candidates)


def test_a_judge_that_fails_changes_nothing(films):
    def missing():
        raise ModelMissingError("It is not here: `longtake models pull judge`.")

    plain = Retriever(films).search("moon ocean")
    result = Retriever(films, rerankers=[CrossEncoder("judge", missing, 20)]).search("moon ocean")
    assert result.moments == plain.moments
    assert "not judged by judge" in result.notes[0] and "models pull judge" in result.notes[0]


def test_nothing_to_judge_asks_nobody(films):
    judge = Judge({})
    assert Retriever(films, rerankers=[judge]).search("helicopter").moments == ()
    assert not judge.asked


def test_a_cross_encoder_loads_once_and_passes_over_what_has_no_text():
    loads = []

    class Reader:
        name = "reader"

        def scores(self, query, texts):
            import numpy as np

            return np.array([len(text) / 10 for text in texts], np.float32)

    def make():
        loads.append(1)
        return Reader()

    encoder = CrossEncoder("reader", make, 20)
    candidates = [Candidate(text, "v", 0.0, 1.0) for text in ("abc", "", "a")]
    assert encoder.scores("q", candidates) == [pytest.approx(0.3), None, pytest.approx(0.1)]
    encoder.scores("q", candidates)
    assert len(loads) == 1


# Put together from the settings


def configured(**rerank):
    given = {"retrieve": {"rerank": rerank}, "models": {"device": "cpu"}}
    return load(given, None)[0]


def test_it_is_off_until_it_has_a_name():
    assert RetrieveSettings().rerank.model is None
    assert RetrieveSettings().look.model is None
    assert build_rerankers(configured(), None) == []


def test_a_real_model_judges_with_torch_or_without(tmp_path, library: Library):
    files = tiny_reranker(tmp_path)
    lines = [(at * 20, at * 20 + 4, text) for at, (*_, text) in enumerate(talks.LIGHTHOUSE)]
    put_channel(library, put_video(library, "Lighthouse", 300.0), "speech", lines)
    settings = configured(model=str(files.folder))
    query = "lighthouse stone clockwork lens"
    plain = Retriever(library).search(query).moments
    wanted = TransformersReranker(files, device="cpu").scores(query, [m.text for m in plain])
    for _ in range(2):
        rerankers = build_rerankers(settings, library)
        moments = Retriever(library, settings.retrieve, rerankers=rerankers).search(query).moments
        scores = {moment.text: moment.score for moment in moments}
        for moment, score in zip(plain, wanted, strict=True):
            assert scores[moment.text] == pytest.approx(float(score), abs=1e-3)
        assert [m.score for m in moments] == sorted((m.score for m in moments), reverse=True)
        prepare(Depot(settings.models.dir).files("reranker", str(files.folder)))


def test_from_the_command_line(tmp_path, capfd):
    talks.films_at(tmp_path / "library").store.close()
    files = tiny_reranker(tmp_path)
    options = ("--library", str(tmp_path / "library"), "--json", "--explain", "--set")
    model = f"retrieve.rerank.model={files.folder}"
    assert main(["search", "moon ocean", *options, model]) == 0
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert "judged" not in err and records[0]["explanation"]["judged"]
    missing = "retrieve.rerank.model=bge-reranker-v2-m3"
    assert main(["search", "moon ocean", *options, missing, "--set", f"models.dir={tmp_path}"]) == 0
    out, err = capfd.readouterr()
    assert "longtake models pull bge-reranker-v2-m3" in err and len(out.splitlines()) > 1
