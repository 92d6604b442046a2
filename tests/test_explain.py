"""`--explain`: why each result is there, and how relevant what lies around it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import talks
from talks import put_channel, put_video

from cli.main import main
from rag.explain import PARTS, with_curves
from rag.query import parse
from rag.retrieve import Retriever
from rag.saliency import CurveReader, saliency
from rag.scope import Scope
from rag.settings import RetrieveSettings


def test_each_result_has_the_curve_around_it(films):
    result = Retriever(films).search("lens light", explain=True)
    for moment, why in zip(result.moments, result.explanations, strict=True):
        curve = why.curve
        assert len(curve.values) == PARTS and curve.channels == ("speech",)
        assert 0 <= curve.start_seconds < moment.start_seconds or moment.start_seconds == 0
        assert moment.end_seconds < curve.end_seconds <= 60.0
        step = (curve.end_seconds - curve.start_seconds) / PARTS
        middles = curve.start_seconds + (np.arange(PARTS) + 0.5) * step
        inside = (moment.start_seconds <= middles) & (middles < moment.end_seconds)
        values = np.array(curve.values)
        assert values[inside].mean() > values[~inside].mean()


def test_a_part_of_the_curve_is_the_curve_of_the_whole(library):
    """What is read around a result alone is what all of the video would give there."""
    video = put_video(library, "Comets", 2000.0)
    lines = [
        (t, t + 6.0, f"The comet number {t}." if t % 5 else "A tail of the comet.")
        for t in range(0, 1990, 7)
    ]
    put_channel(library, video, "speech", lines)
    query = parse("tail of a comet")
    scope = Scope.of(query, library)

    def read(start, end):
        settings = RetrieveSettings()
        reader = CurveReader.of(query.text, library, None, scope, settings)
        return {
            start: value
            for curve in reader.read(video.id, 0, start, end)
            for start, value in zip(curve.starts, curve.values, strict=True)
        }

    whole = read(0.0, 2000.0)
    for start, end in ((0.0, 100.0), (290.0, 330.0), (905.0, 1210.0)):
        part = read(start, end)
        inside = [time for time in whole if start - 6 < time < end]
        assert inside and all(part[time] == pytest.approx(whole[time]) for time in inside)
    assert saliency([], 10.0).shape == (5,)


def test_bounds_of_the_query_do_not_cut_the_curve(films):
    (why,) = Retriever(films).search("lens before:33s", explain=True).explanations
    assert why.curve.end_seconds > 40.0


def test_a_moment_of_a_video_that_went_has_no_curve(writable):
    retriever = Retriever(writable)
    result = retriever.search("lens", explain=True)
    writable.remove_video(result.moments[0].video_id)
    (why,) = with_curves(result, retriever, parse("lens"), (), ()).explanations
    assert why.finds and why.curve is not None  # as it was


@pytest.fixture
def run(tmp_path, own_places, capfd):
    place = tmp_path / "library"
    library = talks.open_library_at(place)
    video = put_video(library, "Lighthouse")
    put_channel(library, video, "speech", talks.LIGHTHOUSE)
    put_channel(library, video, "screen_text", [(29, 36, "THE LENS OF FRESNEL")], language="en")
    put_channel(
        library,
        put_video(library, "Optics"),
        "speech",
        [(0, 4, "A lens is made of glass and many other things that are hard to make well.")],
    )
    library.store.close()

    def run_(*arguments: str) -> list[str]:
        assert main(["search", *arguments, "--library", str(place)]) == 0
        return capfd.readouterr().out.splitlines()

    return run_


def test_it_shows_ranks_scores_the_curve_and_what_was_dropped(run):
    lines = run("Fresnel lens", "--explain", "--limit", "1")
    finds = [line for line in lines if "#" in line]
    assert any(line.startswith("    speech #1  0:30–0:34  score 0.") for line in finds)
    assert any(line.startswith("    screen_text #1  0:29–0:36  score 0.") for line in finds)
    assert all("BM25" in line for line in finds)
    (curve,) = [line for line in lines if "relevance up to 0." in line]
    assert curve.index("0:") < curve.index("[") < curve.index("]")
    lines = run("Fresnel invented a light for comets", "--explain")
    dropped = lines[lines.index("Dropped:") + 1 :]
    assert dropped and all(", score 0." in line and "floor" in line for line in dropped)


def test_as_json_it_is_all_there(run):
    record = json.loads(run("lens", "--explain", "--json", "--limit", "1")[0])
    why = record["explanation"]
    assert {"rank", "raw", "score", "terms"} <= why["finds"][0].keys()
    assert len(why["curve"]["values"]) == PARTS
    assert set(why["curve"]["channels"]) <= {"speech", "screen_text"}
    assert "explanation" not in json.loads(run("lens", "--json")[0])
