"""Segments by meaning, out of what the library knows of shots and frames."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import talks
from clips import DATA

from index.records import segment_from
from index.schema import Chapter, Evidence, Generation, Segment, Video
from index.store import VectorSpace
from ingest.analysis import VideoAnalysis
from ingest.channels.frame import FrameRun
from ingest.channels.segment import SegmentChannel
from ingest.channels.settings import FrameSettings
from ingest.picture_events import Sample, ShotEnded
from ingest.segments import Segmenter, fixed_windows
from ingest.settings import SegmentSettings, StitchSettings
from ingest.stitch import FrameVector, stitch
from ingest.thumbnails import Thumbnails

SPACE = VectorSpace("frame.test.0", 3)
BIG_BUCK_BUNNY = DATA / "video" / "bbb_360p.mp4"


def generation_of(video: Video, channel: str, **fields) -> Generation:
    fields = {"complete": True, **fields}
    return Generation(video.id, 0, channel, fields.pop("fingerprint", "1"), **fields)


def put(library, generation: Generation, spans, vectors=None) -> None:
    evidence = [
        Evidence(
            generation.video_id,
            0,
            generation.channel,
            generation.id,
            start,
            end,
            vectors={} if vectors is None else {SPACE.name: vectors[at]},
        )
        for at, (start, end) in enumerate(spans)
    ]
    library.commit_all([(generation, evidence, [])])


def hour(seed: int, end: float = 3600.0):
    """(shots, frames): shots of all lengths, some of which look like the one before; stills."""
    rng = np.random.default_rng(seed)
    cuts, at = [], 0.0
    while (at := at + float(rng.choice([1.5, 4.0, 9.0, 45.0, 200.0]))) < end:
        cuts.append(at)
    shots = list(pairwise([0.0, *cuts, end]))
    spans, vectors, direction = [], [], rng.normal(size=3)
    for start, stop in shots:
        if rng.random() < 0.6:
            direction = rng.normal(size=3)
        time = start + 0.2
        while time < stop:
            until = min(time + float(rng.choice([1.0, 1.0, 1.0, 30.0])), stop)
            seen = direction + rng.normal(0, 0.1, 3)
            vectors.append((seen / np.linalg.norm(seen)).astype(np.float32))
            spans.append((time, until))
            time = until
    return shots, spans, vectors


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """(library, video, what stitching the whole at once gives), for tests that write nothing."""
    library = talks.open_library_at(tmp_path_factory.mktemp("film") / "library")
    library.store.ensure_spaces([SPACE])
    chapters = (Chapter(0.0, 700.5, "Setting out"), Chapter(700.5, 3600.0, "At sea"))
    video = talks.put_video(library, "Voyage", 3601.0, chapters=chapters)
    shots, spans, vectors = hour(0)
    put(library, generation_of(video, "shot"), shots)
    put(library, generation_of(video, "frame"), spans, vectors)
    # As the store gives them back: it makes the vectors unit ones once more.
    stored = library.evidence(video.id, channel="frame", with_vectors=True)
    frames = [FrameVector(e.start_seconds, e.end_seconds, e.vectors[SPACE.name]) for e in stored]
    yield library, video, stitch(shots, frames, chapters)
    library.store.close()


def run(library, video, from_seconds: float = 0.0, page_seconds: float = 300.0):
    """[(segments of the batch, batch)]."""
    generation = generation_of(video, "segment", complete=False)
    channel = SegmentChannel(page_seconds=page_seconds)
    batches = list(channel.run(Path("film.mp4"), video, generation, from_seconds, library))
    told = []
    for batch in batches:
        assert batch.evidence == ()
        assert all(point.payload["generation"] == generation.id for point in batch.points)
        told.append(([segment_from(point.payload) for point in batch.points], batch))
    return told


def spans_of(told) -> list[tuple[float, float]]:
    return [(s.start_seconds, s.end_seconds) for segments, _ in told for s in segments]


def test_segments_are_those_of_stitching_the_whole(film):
    library, video, expected = film
    told = run(library, video)
    assert spans_of(told) == expected
    assert len(expected) > 100
    titles = {s.title: s for segments, _ in told for s in segments}
    assert titles["Setting out"].end_seconds == 700.5 and titles["At sea"].end_seconds == 3600.0
    assert told[-1][1].watermark_seconds == told[-1][1].analysed_seconds == 3600.0


def test_the_video_is_read_page_by_page_and_the_pages_change_nothing(film, monkeypatch):
    library, video, expected = film
    most, read = 0, library.evidence

    def counting(*arguments, **options):
        nonlocal most
        found = read(*arguments, **options)
        most = max(most, len(found))
        return found

    monkeypatch.setattr(library, "evidence", counting)
    assert spans_of(run(library, video, page_seconds=61.0)) == expected
    assert most <= 70


def test_a_run_resumed_at_any_watermark_goes_on_as_if_nothing_was(film):
    library, video, expected = film
    told = run(library, video)
    before = []
    for segments, batch in told:
        before += [(s.start_seconds, s.end_seconds) for s in segments]
        assert all(end <= batch.watermark_seconds for _, end in before)
        assert before + spans_of(run(library, video, batch.watermark_seconds)) == expected


def test_a_resume_knows_what_was_on_the_screen_when_it_was_stopped(library):
    library.store.ensure_spaces([SPACE])
    video = talks.put_video(library, "Slides", 60.0)
    put(library, generation_of(video, "shot"), [(0.0, 34.0), (34.0, 60.0)])
    vectors = [np.array([1, 0, 0], np.float32), np.array([0.8, 0.6, 0], np.float32)]
    put(library, generation_of(video, "frame"), [(0.2, 45.0), (45.0, 60.0)], vectors)
    assert spans_of(run(library, video)) == [(0, 30), (30, 60)]
    assert spans_of(run(library, video, from_seconds=30.0)) == [(30, 60)]


def test_only_what_searchers_see_is_read(library):
    library.store.ensure_spaces([SPACE])
    video = talks.put_video(library, "Swapped", 20.0)
    put(library, generation_of(video, "shot"), [(0.0, 5.0), (5.0, 20.0)])
    spans = [(float(i), i + 1.0) for i in range(20)]
    alike = [np.array([1, 0, 0], np.float32)] * 20
    put(library, generation_of(video, "frame"), spans, alike)
    building = generation_of(video, "frame", fingerprint="2", state="building", complete=False)
    put(library, building, spans, [alike[0] if i < 5 else -alike[0] for i in range(20)])
    assert spans_of(run(library, video)) == [(0, 20)]


def test_without_frames_the_shots_are_the_segments(library):
    video = talks.put_video(library, "Plain", 20.0)
    put(library, generation_of(video, "shot"), [(0.0, 5.0), (5.0, 6.0), (6.0, 20.0)])
    assert spans_of(run(library, video)) == [(0, 5), (5, 20)]


def test_without_pictures_the_windows_are_fixed(library):
    video = talks.put_video(library, "Radio", 95.0)
    assert spans_of(run(library, video)) == fixed_windows(95)


def test_what_shapes_the_segments_is_described():
    plain = SegmentChannel().describe()
    assert plain == SegmentChannel(page_seconds=7).describe()
    assert plain != SegmentChannel(segments=SegmentSettings(max_seconds=20)).describe()


# Their pictures


def test_a_segment_of_another_cutting_has_the_picture_nearest_to_it(tmp_path):
    thumbnails = Thumbnails(tmp_path / "thumbnails")
    at = Segment("v", 0, "shots", 0.0, 1.0)
    assert thumbnails.nearest(at) is None
    for start in (0.0, 4.0, 9.5, 30.0):
        segment = replace(at, start_seconds=start, end_seconds=start + 1)
        thumbnails.write(segment, str(start).encode())
    (tmp_path / "thumbnails" / "v" / "7000000.part").touch()

    def shown(start: float, end: float) -> bytes:
        segment = Segment("v", 0, "stitched", start, end)
        return thumbnails.nearest(segment).read_bytes()

    assert shown(4.0, 40.0) == b"4.0"
    assert shown(3.0, 12.0) == b"4.0"  # the first that begins inside it
    assert shown(10.0, 20.0) == b"9.5"  # none does: what was shown there
    assert shown(50.0, 60.0) == b"30.0"
    (tmp_path / "thumbnails" / "v" / "0.jpg").unlink()
    assert shown(0.0, 2.0) == b"4.0"


# On a real film


class Colours:
    """An ImageEncoder: a histogram of hue and saturation, square roots, unit length."""

    space, size = "frame.colours.0", 128

    def encode_images(self, images):
        vectors = []
        for image in images:
            hsv = cv2.cvtColor(cv2.resize(image, (160, 90)), cv2.COLOR_RGB2HSV)
            counts = cv2.calcHist([hsv], [0, 1], None, [16, 8], [0, 180, 0, 256])
            vectors.append(np.sqrt(counts / counts.sum()).ravel())
        return np.array(vectors, np.float32)


@pytest.mark.skipif(not os.path.exists(BIG_BUCK_BUNNY), reason="the real material is not here")
def test_of_a_real_film_there_are_fewer_segments_than_shots_and_each_is_of_one_scene():
    end = 180.0
    frames_run = FrameRun(Generation("v", 0, "frame", "1"), 0.0, FrameSettings(), Colours())
    shots, evidence = [], []
    with VideoAnalysis(BIG_BUCK_BUNNY) as analysis:
        for event in analysis:
            if isinstance(event, ShotEnded):
                shots.append((event.start_seconds, min(event.end_seconds, end)))
                if event.end_seconds >= end:
                    break
            elif isinstance(event, Sample) and event.time_seconds < end:
                evidence += frames_run.push(event)
    evidence += frames_run.finish(end)
    frames = [
        FrameVector(e.start_seconds, e.end_seconds, e.vectors[Colours.space]) for e in evidence
    ]
    segments = stitch(shots, frames)
    by_cuts = Segmenter()
    plain = [s for shot in shots for s in by_cuts.push(*shot)] + by_cuts.finish(end)
    assert len(shots) / 2 < len(segments) < len(plain) < len(shots)
    looser = stitch(shots, frames, settings=StitchSettings(join_cosine=0.6))
    assert len(looser) < 0.8 * len(segments)
    assert segments[0][0] == 0 and segments[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(segments))
    assert all(2 <= stop - start <= 30 for start, stop in segments)
    # A border lies at a cut, unless a long shot was divided.
    cuts = {start for start, _ in shots}
    assert sum(start in cuts for start, _ in segments) >= len(segments) - 2

    def mean_cosine(pairs) -> float:
        return float(np.mean([a.vector @ b.vector for a, b in pairs]))

    def home(frame) -> int:
        return sum(start <= frame.start_seconds for start, _ in segments)

    inside = [(a, b) for a in frames for b in frames if a is not b and home(a) == home(b)]
    across = [(a, b) for a in frames for b in frames if home(b) == home(a) + 1]
    assert mean_cosine(inside) > mean_cosine(across) + 0.1
