"""Highlights: a saliency for each two seconds, from the curves that spans are found on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import LIGHTHOUSE, put_channel, put_video

from cli.curve_line import bars, bracketed, numbered
from cli.main import main
from index.schema import Generation, Moment, Space
from rag.evaluate.qvhighlights import evaluate
from rag.highlights import _apart, find_highlights
from rag.query import parse
from rag.retrieve import Retriever
from rag.saliency import CLIP_SECONDS, ChannelCurve, CurveReader, relevance, saliency
from rag.scope import Scope
from rag.settings import CosineScale, RetrieveSettings
from rag.vectors import QueryEncoders


class Compass:
    """An encoder of directions."""

    space, size = "frame.compass.0", 2

    def encode_queries(self, texts):
        return np.array([(1.0, 0.0) for _ in texts], np.float32)


WIDE = RetrieveSettings(frame=CosineScale(zero=0.0, full=1.0, floor=0.5), cosine_margin=0.2)


def put_frames(library, video, cosines, seconds: float = 10.0) -> None:
    filler = Generation(video.id, 0, "frame", "1")
    library.add_space(Space(Compass.space, "frame", "compass", 2), filler.id)
    vectors = [{Compass.space: np.array([c, np.sqrt(1 - c * c)], np.float32)} for c in cosines]
    lines = [(seconds * n, seconds * (n + 1), "") for n in range(len(cosines))]
    put_channel(library, video, "frame", lines, language=None, vectors=vectors)


def seeing(library) -> Retriever:
    return Retriever(library, WIDE, QueryEncoders(lambda space: Compass()))


def test_there_is_a_value_for_each_two_seconds_and_it_peaks_where_it_is_said(films):
    found = find_highlights(Retriever(films), films.find("Lighthouse"), "lens")
    assert len(found.saliency) == 60 / CLIP_SECONDS
    assert found.channels == ("speech",) and found.stands_out
    (best,) = found.highlights
    assert (best.moment.start_seconds, best.moment.end_seconds) == (30.0, 34.0)
    assert set(np.flatnonzero(found.saliency == found.saliency.max())) <= {15, 16}
    assert found.saliency[:10].max() < found.saliency.max() / 2
    assert best.saliency == pytest.approx(found.saliency[15:17].mean())


def test_the_spoken_curve_is_the_one_that_spans_are_found_on(films):
    """The saliency of a clip inside one sentence is that sentence's relevance."""
    video = films.find("Lighthouse")
    query = parse("lens light")
    reader = CurveReader.of(query.text, films, None, Scope.of(query, films), RetrieveSettings())
    (curve,) = reader.read(video.id, 0, 0.0, 60.0)
    values = saliency([curve], 60.0)
    assert list(curve.starts) == [start for start, _, _ in LIGHTHOUSE]
    assert values[15] == pytest.approx(curve.values[3]) and values[15] > 0.3
    assert values[10] == 0.0  # nobody speaks


def test_a_slide_that_has_stood_for_long_is_on_the_curve_of_a_late_stretch(library):
    video = put_video(library, "Lecture", 4000.0)
    put_channel(library, video, "screen_text", [(100.0, 3000.0, "The zeppelin hangar")])
    query = parse("zeppelin")
    reader = CurveReader.of(query.text, library, None, Scope.of(query, library), RetrieveSettings())
    (curve,) = reader.read(video.id, 0, 2900.0, 2910.0)
    assert list(curve.starts) == [100.0] and curve.values[0] > 0.3
    assert reader.read(video.id, 0, 3100.0, 3110.0) == []


def test_channels_that_agree_add_up_as_independent_evidence(library):
    video = put_video(library, "Road", 40.0)
    put_frames(library, video, [0.0, 0.8, 0.1, 0.0])
    put_channel(library, video, "screen_text", [(12.0, 16.0, "TURN RIGHT")])
    query = parse("right")
    reader = CurveReader.of(
        query.text, library, QueryEncoders(lambda space: Compass()), Scope.of(query, library), WIDE
    )
    curves = {curve.channel: curve for curve in reader.read(video.id, 0, 0.0, 40.0)}
    assert set(curves) == {"frame", "screen_text"}
    assert list(curves["frame"].values) == pytest.approx([0.0, 0.8, 0.1, 0.0], abs=1e-3)
    (written,) = curves["screen_text"].values
    assert 0.3 < written < 1.0
    values = saliency(list(curves.values()), 40.0)
    assert values[5] == pytest.approx(0.8, abs=1e-3)
    assert values[6] == pytest.approx(1 - 0.2 * (1 - written), abs=1e-3)
    found = find_highlights(seeing(library), video, "right")
    assert found.highlights[0].moment.start_seconds == 10.0
    assert set(found.channels) == {"frame", "screen_text"}


def test_filters_hold_for_the_saliency_too(films):
    found = find_highlights(Retriever(films), films.find("Lighthouse"), "light after:33s")
    assert not found.saliency[:16].any() and found.saliency[17:19].all()
    none = find_highlights(Retriever(films), films.find("Lighthouse"), "light channel:frame")
    assert not none.saliency.any() and none.highlights == () and not none.stands_out


def test_where_all_is_alike_nothing_stands_out(library):
    video = put_video(library, "Road", 200.0)
    put_frames(library, video, [0.7] * 20)
    found = find_highlights(seeing(library), video, "right", limit=1)
    assert found.highlights and not found.stands_out
    other = put_video(library, "Bend", 200.0)
    put_frames(library, other, [0.1] * 10 + [0.9] + [0.1] * 9)
    assert find_highlights(seeing(library), other, "right", limit=1).stands_out


SPANS = st.tuples(st.floats(0, 100), st.floats(0.0, 40)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(SPANS, max_size=12))
def test_spans_never_overlap_and_the_best_stays_whole(spans):
    plain = Moment("v", 0, "", None, 0.0, 0.0, 1.0, "speech")
    moments = [replace(plain, start_seconds=a, end_seconds=b) for a, b in spans]
    kept = list(_apart(moments, 120.0))
    for at, one in enumerate(kept):
        assert 0 <= one.start_seconds < one.end_seconds <= 120.0
        for other in kept[:at]:
            assert one.end_seconds <= other.start_seconds or other.end_seconds <= one.start_seconds
    if spans and spans[0][1] - spans[0][0] > 0 and spans[0][1] <= 120:
        assert (kept[0].start_seconds, kept[0].end_seconds) == spans[0]


CURVES = st.lists(
    st.tuples(st.floats(-5, 60), st.floats(0, 30), st.floats(0, 1)), min_size=1, max_size=8
)


@given(st.lists(CURVES, max_size=3), st.floats(0.5, 60))
def test_saliency_is_a_share_for_each_clip(channels, duration):
    curves = [
        ChannelCurve(str(at), *np.array([(s, s + d, v) for s, d, v in rows]).T)
        for at, rows in enumerate(channels)
    ]
    values = saliency(curves, duration)
    assert len(values) == max(1, int(np.ceil(duration / 2 - 1e-6)))
    assert (values >= 0).all() and (values <= 1 + 1e-12).all()
    if not channels:
        assert not values.any()


def test_of_pieces_at_one_time_the_most_relevant_counts():
    curve = ChannelCurve(
        "screen_text", np.array([0.0, 2.0]), np.array([8.0, 4.0]), np.array([0.2, 0.6])
    )
    assert list(relevance([curve], 0.0, 8.0, 4)) == pytest.approx([0.2, 0.6, 0.2, 0.2])


def test_predictions_can_be_rated_as_qvhighlights_are(films):
    found = find_highlights(Retriever(films), films.find("Lighthouse"), "lens")
    true = {
        "qid": 1, "query": "lens", "vid": "x", "duration": 60,
        "relevant_windows": [[30, 34]], "relevant_clip_ids": [15, 16],
        "saliency_scores": [[4, 4, 4], [4, 4, 4]],
    }  # fmt: skip
    rated = evaluate([{"qid": 1, **found.predictions()}], [true])["brief"]
    assert rated["MR-full-R1@0.7"] == 100.0 and rated["HL-min-VeryGood-Hit1"] == 100.0


# On a terminal


def test_bars_show_the_highest_of_each_column(monkeypatch):
    monkeypatch.setattr("cli.curve_line.speaks_unicode", lambda: True)
    values = np.array([0.0, 0.0, 0.5, 0.0, 1.0, 1.0])
    assert bars(values, 3) == "▁▅█" and bars(values, 100) == "▁▁▅▁██"
    assert bars(values, 3, top=4.0) == "▁▂▃"
    assert bars(np.zeros(4), 2) == "▁▁"
    assert bracketed("▁▅█▁", [(1.0, 3.0)], 4.0) == "▁[▅█]▁"
    assert bracketed("▁▅█▁", [(0.0, 2.0), (2.0, 4.0)], 4.0) == "[▁▅][█▁]"
    assert numbered([(5.0, 9.0), (0.0, 2.0)], 10.0, 10) == "2─   1───"
    monkeypatch.setattr("cli.curve_line.speaks_unicode", lambda: False)
    assert bars(values, 3) == "_=#" and bars(values, 3).isascii()


@pytest.fixture
def run(tmp_path, own_places, capfd):
    import talks

    library = tmp_path / "library"
    talks.films_at(library).store.close()

    def run_(*arguments: str) -> tuple[int, list[str], str]:
        status = main(["highlights", *arguments, "--library", str(library)])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err

    return run_


def test_the_command_shows_the_whole_video_and_the_spans(run):
    status, lines, err = run("Lighthouse", "lens")
    assert (status, err) == (0, "")
    assert lines[0].startswith("Lighthouse  saliency up to 0.")
    assert lines[1].startswith("0:00 ") and lines[1].endswith(" 1:00")
    assert lines[2].index("1") == 5 + 15  # a column a clip
    assert lines[3].startswith("1. 0:30–0:34  ") and "saliency" in lines[3]
    assert lines[4].strip().startswith("Fresnel invented the lens")


def test_as_json_it_is_one_line_with_the_saliency(run):
    status, lines, _ = run("Lighthouse", "lens", "--json")
    (record,) = map(json.loads, lines)
    assert status == 0 and record["clip_seconds"] == 2.0
    assert len(record["pred_saliency_scores"]) == 30
    assert record["pred_relevant_windows"][0][:2] == [30.0, 34.0]
    assert record["highlights"][0]["text"].startswith("Fresnel") and record["stands_out"]


def test_what_is_not_there_is_said(run):
    status, lines, err = run("Lighthouse", "helicopter")
    assert (status, lines, err) == (0, [], "Nothing found.\n")
    status, lines, _ = run("Lighthouse", "helicopter", "--json")
    record = json.loads(lines[0])
    assert status == 0 and record["highlights"] == [] and not any(record["pred_saliency_scores"])
    assert run("Lighthouse", " ")[0] == 2
    assert run("Submarine", "lens")[0] == 1
