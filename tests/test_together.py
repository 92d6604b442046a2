"""Words and a picture, or words and a clip: where both hold comes before where one does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import talks
from clips import panning, write_clip
from talks import put_channel, put_video

from index.library import Library
from ingest.models.pdq import fingerprint, to_vector
from rag.fuse import Find
from rag.retrieve import Retriever
from rag.together import ask_again

DRAW = panning(7, 320, 180)
"""A shot that is searched for, by one of its pictures or as a clip."""


def vectors_of(images) -> list[dict]:
    return [{"fingerprint": to_vector(fingerprint(image).bits)} for image in images]


def put_shot(library: Library, title: str, starts: list[float], alter=lambda image: image) -> None:
    """The shot, 8 s of it from each start on."""
    video = library.find(title)
    lines = [(start + n + 0.2, start + n + 1.2, "") for start in starts for n in range(8)]
    shown = [alter(DRAW(n + 0.2)) for _ in starts for n in range(8)]
    vectors = vectors_of(np.ascontiguousarray(image) for image in shown)
    put_channel(library, video, "fingerprint", lines, language=None, vectors=vectors)


def nearly(image: np.ndarray) -> np.ndarray:
    return image[4:-4, 7:-7]


@pytest.fixture
def library(tmp_path):
    """`Exact` shows the very shot and says other things; `Words` says just the words; `Both` shows
    nearly the shot while the words are said among many others."""
    library = talks.open_library_at(tmp_path / "library")
    for title in ("Exact", "Words", "Both"):
        put_video(library, title, 300.0)
    put_shot(library, "Exact", [100.0])
    put_shot(library, "Both", [40.0, 200.0], nearly)
    other = [(start, start + 8, "Nothing of that kind is said here.") for start in (100.0, 150.0)]
    put_channel(library, library.find("Exact"), "speech", other)
    put_channel(library, library.find("Words"), "speech", [(60.0, 64.0, "Clockwork lamps.")])
    long = "Whatever else there was in the tower, and there was a lot, it had a clockwork as well."
    put_channel(library, library.find("Both"), "speech", [(200.5, 207.5, long)])
    yield library
    library.store.close()


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), cv2.cvtColor(DRAW(3.2), cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    pictures = [DRAW(n / 12) for n in range(96)]
    return write_clip(tmp_path / "clip.mp4", pictures, rate=12)


def order(result) -> list[str]:
    return list(dict.fromkeys(moment.title for moment in result.moments))


@pytest.mark.parametrize("by", ["image", "clip"])
def test_where_words_and_pictures_hold_comes_first(library, picture, clip, by):
    given = {"image": picture} if by == "image" else {"clip": str(clip)}
    search = Retriever(library).search
    assert order(search("clockwork lamps"))[0] == "Words"
    assert order(search(**given))[0] == "Exact"

    result = search("clockwork lamps", **given)
    best, *others = result.moments
    assert best.title == "Both" and {hit.channel for hit in best.hits} == {"speech", "fingerprint"}
    assert best.start_seconds < 207.5 and best.end_seconds > 200.5
    assert {moment.title for moment in others} == {"Exact", "Words", "Both"}  # elsewhere in it
    assert best.score >= 0.5 >= max(moment.score for moment in others)


def test_a_moment_of_words_in_the_clip_says_which_part_of_the_clip_it_is(library, clip):
    best = Retriever(library).search("clockwork lamps", clip=str(clip)).moments[0]
    assert (best.clip.start_seconds, best.clip.end_seconds) == pytest.approx(
        (best.start_seconds - 200, best.end_seconds - 200), abs=0.3
    )


@pytest.mark.parametrize("by", ["image", "clip"])
def test_words_that_are_said_better_all_over_the_library_do_not_hide_those_at_the_picture(
    library, picture, clip, by
):
    given = {"image": picture} if by == "image" else {"clip": str(clip)}
    lines = [(30.0 * n, 30.0 * n + 4, "Clockwork.") for n in range(90)]
    put_channel(library, put_video(library, "Talk", 3000.0), "speech", lines)
    retriever = Retriever(library)
    words = retriever.search("clockwork", limit=2, explain=True)
    assert "Both" not in order(words)
    result = retriever.search("clockwork", limit=2, **given)
    assert result.moments[0].title == "Both"
    assert {hit.channel for hit in result.moments[0].hits} == {"speech", "fingerprint"}


def test_a_picture_that_is_shown_all_over_the_library_is_found_where_the_words_are(
    library, picture
):
    put_video(library, "Series", 3000.0)
    put_shot(library, "Series", [60.0 * n for n in range(40)])
    result = Retriever(library).search("clockwork lamps", image=picture, limit=2)
    assert result.moments[0].title == "Both"
    assert {hit.channel for hit in result.moments[0].hits} == {"speech", "fingerprint"}


def test_everything_that_is_said_in_a_long_clip_is_said_in_the_clip(library, clip):
    """The clip is one find and joins one of them; it holds for the others as well."""
    video = library.find("Exact")
    lines = [(101.0, 102.0, "Clockwork."), (106.5, 107.5, "The clockwork again.")]
    put_channel(library, video, "screen_text", lines, language="en")
    from rag.settings import RetrieveSettings

    short = RetrieveSettings(longest_moment_seconds=3.0)
    moments = Retriever(library, short).search("clockwork", clip=str(clip)).moments
    both = [m for m in moments if m.title == "Exact" and m.clip and "lockwork" in m.text]
    assert sorted(round(m.start_seconds) for m in both) == [101, 106]
    assert all(m.score > 0.5 for m in both)


def find(channel: str, start: float, end: float, score: float = 0.5, text: str = "") -> Find:
    return Find("v", 0, channel, start, end, 1.0, score, text)


def test_a_part_is_asked_again_only_where_it_found_nothing():
    asked: list[tuple[str, float]] = []

    def ask(name: str):
        def in_place(place):
            (begins,) = [c.gte for c in place.must if getattr(c, "key", "") == "end_seconds"]
            asked.append((name, begins))
            of = find("speech", begins, begins + 1)
            long = {"start_us": 0, "end_seconds": 9000.0}  # what has stood for long is there, too
            assert place.passes({"video_id": of.video_id, "epoch": of.epoch, **long})
            return [find("speech", begins, begins + 1), find("speech", 900, 901)], []

        return in_place

    finds = [
        find("speech", 10, 12), find("fingerprint", 11, 13), find("fingerprint", 50, 52, 0.9),
        find("fingerprint", 53, 54, 0.8), find("screen_text", 70, 72, 0.8),
    ]  # fmt: skip
    again = ask_again(finds, ask("words"), ask("image"))
    assert asked == [("words", 50), ("image", 70)]  # neighbours are one place
    assert [one.start_seconds for one in again] == [50, 70]  # and nothing of elsewhere
    assert ask_again([], ask("words"), ask("image")) == []
