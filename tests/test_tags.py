"""Tags: words from a list, by the vectors that the frame channel has stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import talks
from fakes import TableStore

import configs
from index.errors import ConfigError
from index.library import Library
from index.schema import Generation, Segment
from ingest.channels.settings import CaptionSettings
from ingest.channels.tags import TEMPLATES, TagChannel, read_words

WORDS = ("a dog", "a beach", "a person running", "a car", "snow")
SPACE = "frame.letters.00000000"


class Axes:
    """A text tower with an axis for each word; phrases of one word lie near to each other."""

    space = SPACE
    size = 16

    def __init__(self):
        self.asked: list[str] = []

    def encode_queries(self, texts):
        self.asked += texts
        vectors = []
        for text in texts:
            (at,) = [n for n, word in enumerate(WORDS) if word in text]
            template = [form.format(WORDS[at]) for form in TEMPLATES].index(text)
            vector = np.zeros(self.size, np.float32)
            vector[at], vector[8 + template] = 1.0, 0.3
            vectors.append(vector / np.linalg.norm(vector))
        return np.stack(vectors)


def seen(**amounts: float) -> dict:
    """The vector of a picture that shows so much of each word."""
    vector = np.zeros(Axes.size, np.float32)
    vector[15] = 1.0  # what has no word
    for word, amount in amounts.items():
        vector[[name.split()[-1] for name in WORDS].index(word)] = amount
    return {SPACE: vector / np.linalg.norm(vector)}


@pytest.fixture
def library(tmp_path):
    library = Library(TableStore(tmp_path / "library"))
    yield library
    library.store.close()


def put_film(library, pictures, segments, duration=60.0):
    """pictures: (start, end, vectors)."""
    video = talks.put_video(library, "Film", duration_seconds=duration)
    cut = [Segment(video.id, 0, "", start, end) for start, end in segments]
    talks.put_channel(library, video, "shot", [], segments=cut)
    lines = [(start, end, "") for start, end, _ in pictures]
    vectors = [vector for _, _, vector in pictures]
    talks.put_channel(library, video, "frame", lines, language=None, vectors=vectors)
    return video


def run(library, video, encoder=None, *, from_seconds=0.0, words=WORDS, **settings):
    channel = TagChannel(
        CaptionSettings(**settings), SPACE, lambda: encoder or Axes(), words, language="en"
    )
    generation = Generation(video.id, 0, "caption", "1")
    path = Path("/nowhere/never/opened.mp4")
    return list(channel.run(path, video, generation, from_seconds, library))


def evidence(batches):
    return [each for batch in batches for each in batch.evidence]


def test_a_segment_gets_the_words_that_stand_out_best_first(library):
    pictures = [
        (0.0, 5.0, seen(dog=0.30, beach=0.29)),
        (5.0, 10.0, seen(dog=0.30, beach=0.28)),
        (10.0, 20.0, seen(snow=0.4)),
    ]
    video = put_film(library, pictures, [(0.0, 10.0), (10.0, 60.0)])
    first, second = evidence(run(library, video))
    assert (first.text, second.text) == ("dog, beach", "snow")
    assert (first.start_seconds, first.end_seconds) == (0.0, 10.0)
    words = [word for word, _ in first.attributes["tags"]]
    shares = [share for _, share in first.attributes["tags"]]
    assert words == ["dog", "beach"]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 1
    assert first.attributes["confidence"] == shares[0]
    assert first.attributes["language"] == "en"
    plain = TagChannel(CaptionSettings(), SPACE, Axes, WORDS)
    generation = Generation(video.id, 0, "caption", "1")
    (batch,) = plain.run(Path("x"), video, generation, 0.0, library)
    assert not any("language" in each.attributes for each in batch.evidence)


def test_shares_are_the_softmax_over_the_whole_list(library):
    video = put_film(library, [(0.0, 60.0, seen(dog=0.3, car=0.28))], [(0.0, 60.0)])
    (found,) = evidence(run(library, video, tag_confidence=1e-6))
    picture = seen(dog=0.3, car=0.28)[SPACE]
    encoder = Axes()
    means = []
    for word in WORDS:
        mean = encoder.encode_queries([form.format(word) for form in TEMPLATES]).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    weights = np.exp(100 * np.stack(means) @ picture)
    expected = dict(zip(WORDS, weights / weights.sum(), strict=True))
    assert dict(found.attributes["tags"])["dog"] == pytest.approx(expected["a dog"], abs=1e-3)
    assert dict(found.attributes["tags"])["car"] == pytest.approx(expected["a car"], abs=1e-3)


def test_what_is_shown_longer_counts_more(library):
    pictures = [(0.0, 9.0, seen(dog=0.5)), (9.0, 10.0, seen(car=0.5))]
    video = put_film(library, pictures, [(0.0, 10.0)])
    (found,) = evidence(run(library, video, tag_confidence=0.05))
    assert dict(found.attributes["tags"]) == pytest.approx({"dog": 0.9, "car": 0.1}, abs=0.01)


def test_a_still_picture_counts_in_every_segment_that_it_reaches_into(library):
    pictures = [(0.0, 58.0, seen(snow=0.5)), (58.0, 58.0, seen(dog=0.5))]
    video = put_film(library, pictures, [(0.0, 20.0), (20.0, 40.0), (58.0, 60.0)])
    assert [e.text for e in evidence(run(library, video))] == ["snow", "snow", "dog"]


def test_where_nothing_stands_out_there_is_no_tag(library):
    video = put_film(library, [(0.0, 60.0, seen())], [(0.0, 60.0)])
    (batch,) = run(library, video, tag_confidence=0.5)
    assert (batch.evidence, batch.watermark_seconds) == ((), 60.0)


def test_frames_of_another_model_are_an_error_and_no_empty_result(library):
    """What was found with the other model's own words must not be replaced by nothing."""
    other = {"frame.other.11111111": np.ones(4, np.float32)}
    video = put_film(library, [(0.0, 60.0, other)], [(0.0, 60.0)])
    with pytest.raises(ConfigError, match=r"frame\.other\.11111111"):
        run(library, video)


def test_no_more_tags_than_wanted(library):
    showing = seen(dog=0.3, beach=0.3, car=0.3, snow=0.3)
    video = put_film(library, [(0.0, 60.0, showing)], [(0.0, 60.0)])
    (found,) = evidence(run(library, video, tags=2))
    assert len(found.attributes["tags"]) == len(found.text.split(", ")) == 2


def test_a_run_from_any_watermark_finds_the_same(library):
    words = ["dog", "beach", "car", "snow"]
    pictures = [(10.0 * n, 10.0 * n + 25, seen(**{words[n % 4]: 0.4})) for n in range(120)]
    segments = [(12.0 * n, 12.0 * n + 12) for n in range(100)]
    video = put_film(library, pictures, segments, duration=1200.0)
    whole = run(library, video)
    assert len(whole) > 3 and len(evidence(whole)) == 100
    for batch in whole[:-1]:
        at = batch.watermark_seconds
        rest = evidence(run(library, video, from_seconds=at))
        assert rest == [each for each in evidence(whole) if each.start_seconds >= at]
        assert all(each.start_seconds < at for each in batch.evidence)


def test_the_list_is_encoded_once(library):
    video = put_film(library, [(0.0, 60.0, seen(dog=0.4))], [(0.0, 30.0), (30.0, 60.0)])
    encoder = Axes()
    channel = TagChannel(CaptionSettings(), SPACE, lambda: encoder, WORDS)
    for _ in range(2):
        list(channel.run(Path("x"), video, Generation(video.id, 0, "caption", "1"), 0, library))
    assert len(encoder.asked) == len(WORDS) * len(TEMPLATES)


def test_the_fingerprint_follows_the_words_and_loads_nothing():
    def described(words=WORDS, space=SPACE):
        return TagChannel(CaptionSettings(), space, pytest.fail, words).describe()

    assert described() == described()
    assert described() != described(words=WORDS[:-1])
    assert described() != described(space="frame.other.11111111")


def test_a_list_is_read_without_comments_and_repetitions():
    assert read_words("# animals\na dog\n\n  a   cat \na dog\n") == ("a dog", "a cat")
    with pytest.raises(ConfigError, match="two words"):
        TagChannel(CaptionSettings(), SPACE, Axes, read_words("# empty\n"))


def test_the_packaged_list_is_a_good_size():
    path = Path(configs.__file__).parent / "words" / "tags.txt"
    words = read_words(path.read_text(encoding="utf-8"))
    assert 300 <= len(words) <= 1000
    assert len({word.casefold() for word in words}) == len(words)
