"""What a recogniser puts out becomes sentences with their words; what nobody said is left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clips import RED, solid, truncated, write_clip
from recognisers import SCRIPTED_FILES, Loudness, Scripted, Silent

from ingest.channels.settings import RecognitionSettings
from ingest.hallucinations import Guards, Limits
from ingest.models.files import ModelFiles
from ingest.models.silero import SAMPLE_RATE
from ingest.recognition import Heard, Recognition
from ingest.sentences import Sentence, SentenceBuilder
from ingest.transcripts import Transcript, Utterance, Word


def said(
    text: str, start: float = 0.0, word_seconds: float = 0.4, confidence: float = 0.9, **figures
) -> Utterance:
    """An utterance whose words follow one another without a pause."""
    words = []
    for word in text.split():
        words.append(Word(start, start + word_seconds, f" {word}", confidence))
        start += word_seconds
    return Utterance(tuple(words), **{"log_probability": -0.3, **figures})


def reason(utterance: Utterance, speech=((0.0, 30.0),)) -> str | None:
    return Guards().reason(utterance, speech)


# --- Guards: each with what it drops and a near one that it keeps ---------------------------


def test_silence_by_the_decoders_own_figures():
    text = "Thank you very much"
    assert reason(said(text, log_probability=-1.1, no_speech_probability=0.7)) == "no speech"
    assert reason(said(text, log_probability=-0.9, no_speech_probability=0.7)) is None
    assert reason(said(text, log_probability=-1.1, no_speech_probability=0.5)) is None


def test_text_that_the_decoder_does_not_believe_itself():
    assert reason(said("hardly a word of it", log_probability=-1.6)) == "unsure"
    assert reason(said("hardly a word of it", log_probability=-1.4)) is None


def test_text_that_compresses_too_well():
    assert reason(said("over and over it goes", compression_ratio=2.5)) == "compression"
    assert reason(said("over and over it goes", compression_ratio=2.3)) is None


def test_words_where_nobody_speaks():
    utterance = said("there was silence here all the time", start=10.0)
    assert reason(utterance, [(0.0, 9.0), (13.5, 20.0)]) == "silence"
    assert reason(utterance, [(11.0, 20.0)]) is None


def test_more_words_than_anybody_can_say():
    text = "seven words squeezed into hardly any time"
    assert reason(said(text, word_seconds=0.02)) == "rate"
    assert reason(said(text, word_seconds=0.2)) is None
    assert reason(said("quite short", word_seconds=0.02)) is None


def test_improbable_words_partly_outside_of_speech():
    odd = said("some very odd words here", start=5.0, confidence=0.1)
    assert reason(odd, [(0.0, 6.0)]) == "anomaly"
    assert reason(odd, [(0.0, 9.0)]) is None
    sure = said("some very odd words here", start=5.0)
    assert reason(sure, [(0.0, 6.0)]) is None


def test_a_group_of_words_over_and_over():
    assert reason(said("and so on " * 4)) == "loop"
    assert reason(said("and so on " * 3)) is None
    assert reason(said("no " * 8)) == "loop"
    assert reason(said("no " * 5)) is None
    assert reason(said("he said no no no no and then he left us standing there")) is None
    unspaced = Utterance(tuple(Word(n, n + 0.5, c) for n, c in enumerate("谢谢" * 5)))
    assert reason(unspaced) == "loop"


@pytest.mark.parametrize(
    "turns", [["Thank you."], ["Yes.", "No."], ["One", "two", "three", "four"]]
)
def test_the_same_utterances_for_the_third_time_also_across_chunks(turns):
    guards = Guards()
    found = [guards.reason(said(text), [(0.0, 30.0)]) for text in turns * 3]
    assert found[: len(turns) * 2] == [None] * (len(turns) * 2)
    assert found[-1] == "loop"
    assert guards.reason(said("Something else."), [(0.0, 30.0)]) is None
    assert guards.reason(said(turns[0]), [(0.0, 30.0)]) is None


@pytest.mark.parametrize(
    ("credit", "speech"),
    [
        ("Subtitles by the Amara.org community", "The community wrote subtitles for it"),
        ("Sous-titrage ST' 501", "Il fait le sous-titrage de mes films"),
        ("Untertitel im Auftrag des ZDF für funk", "Ein Untertitel im Auftrag der Kundin"),
        ("Субтитры сделал DimaTorzok", "Он сделал хорошие субтитры"),
        ("字幕由 Amara.org 社区提供", "这部电影有字幕"),
        ("Subtítulos realizados por la comunidad", "No leo los subtítulos"),
        ("Amara.org", "Thank you for watching"),
    ],
)
def test_credits_of_subtitling_services(credit, speech):
    assert reason(said(credit)) == "credit"
    assert reason(said(speech)) is None


def test_what_has_no_letters_is_nothing():
    assert reason(said("... ♪ ♪")) == "empty"


def test_limits_can_be_set():
    utterance = said("hardly a word of it", log_probability=-1.6)
    assert Guards(Limits(log_probability=-1.2)).reason(utterance, [(0.0, 9.0)]) is None


# --- Sentences ------------------------------------------------------------------------------


def sentences(*utterances: Utterance, language="en", longest=15.0) -> list[Sentence]:
    builder = SentenceBuilder(longest)
    done = [s for u in utterances for s in builder.push(u.words, language)]
    return done + builder.flush()


def texts(found: Sequence[Sentence]) -> list[str]:
    return [sentence.text for sentence in found]


def test_punctuation_ends_sentences_wherever_the_decoder_cut():
    first, second = said("Here it begins. And it"), said("goes on. Why? Because!", start=3.0)
    found = sentences(first, second)
    assert texts(found) == ["Here it begins.", "And it goes on.", "Why?", "Because!"]
    assert found[1].start_seconds == pytest.approx(1.2)
    assert found[1].end_seconds == pytest.approx(3.8)


def test_full_stops_inside_of_sentences_do_not_end_them():
    text = "Dr. Smith and J. R. Miller paid 3. 50 dollars, i.e. nothing... or so. Then they left."
    assert texts(sentences(said(text))) == [
        "Dr. Smith and J. R. Miller paid 3. 50 dollars, i.e. nothing... or so.",
        "Then they left.",
    ]


def test_pauses_languages_and_speakers_end_sentences():
    builder = SentenceBuilder()
    done = builder.push(said("no stop here").words, "en")
    done += builder.push(said("after a pause", start=3.0).words, "en")
    done += builder.push(said("en français", start=4.2).words, "fr")
    other = [Word(5.0, 5.5, " moi", 0.9, "B")]
    done += builder.push(other, "fr")
    assert builder.open
    assert builder.pause(6.5) == []
    done += builder.pause(7.1)
    assert not builder.open
    assert [(s.text, s.language, s.speaker) for s in done] == [
        ("no stop here", "en", None),
        ("after a pause", "en", None),
        ("en français", "fr", None),
        ("moi", "fr", "B"),
    ]


def test_speech_without_punctuation_is_cut_at_commas_and_pauses():
    commas = " ".join(f"part {n} of many," if n % 4 == 3 else f"part {n}" for n in range(60))
    found = sentences(said(commas))
    assert len(found) > 3
    assert all(s.end_seconds - s.start_seconds <= 15.0 for s in found)
    assert all(text.endswith(",") for text in texts(found)[:-1])

    words, at = [], 0.0
    for number in range(90):
        at += 0.7 if number % 20 == 0 else 0.0
        words.append(Word(at, at + 0.3, f" w{number}"))
        at += 0.3
    builder = SentenceBuilder(10.0)
    found = builder.push(words, "en") + builder.flush()
    assert [s.words[0].text for s in found[1:]] == [" w20", " w40", " w60"]


def test_scripts_without_spaces_are_joined_without_them():
    characters = "今天天气很好。我们去公园吧！"
    words = [Word(n * 0.2, n * 0.2 + 0.2, c) for n, c in enumerate(characters)]
    builder = SentenceBuilder()
    found = builder.push(words, "zh") + builder.flush()
    assert texts(found) == ["今天天气很好。", "我们去公园吧！"]


# --- The whole stream, with a scripted voice and recogniser ---------------------------------


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """Seven minutes in which it is loud in stretches of some seconds to two minutes."""
    import wave

    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    samples, loud = [], False
    for seconds in (3, 40, 1, 17, 7, 12, 2, 35, 12, 130, 1, 9, 30, 20, 1, 25, 6, 14, 1, 31, 11):
        level = 8000 if loud else 0
        samples.append((level * rng.uniform(-1, 1, seconds * SAMPLE_RATE)).astype(np.int16))
        loud = not loud
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.concatenate(samples).tobytes())
    return path


def recognition(recognizer=None, **settings) -> Recognition:
    return Recognition(
        SCRIPTED_FILES,
        RecognitionSettings(**settings),
        load=lambda files: recognizer or Scripted(),
        voice=Loudness(),
    )


def flat(heard: Sequence[Heard]) -> list[Sentence]:
    return [sentence for each in heard for sentence in each.sentences]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_run_from_any_watermark_hears_what_an_uninterrupted_one_does(talk, batch_size):
    make = lambda: recognition(Scripted(batch_size), seal_seconds=30)  # noqa: E731
    whole = list(make().run(talk))
    marks = sorted({each.watermark_seconds for each in whole})
    assert len(marks) > 4
    assert marks[-1] == whole[-1].analysed_seconds == pytest.approx(408, abs=0.1)
    assert len(flat(whole)) > 40
    for mark in marks[:-1]:
        rest = flat(list(make().run(talk, mark)))
        before = [s for s in flat(whole) if s.start_seconds < mark]
        assert before + rest == flat(whole)


def test_watermarks_and_sentences_go_forward(talk):
    watermark = 0.0
    for heard in recognition().run(talk):
        assert watermark <= heard.watermark_seconds <= heard.analysed_seconds
        assert all(watermark <= s.start_seconds < heard.watermark_seconds for s in heard.sentences)
        watermark = heard.watermark_seconds
    # Even with no end to a sentence, not much is done again: twice seal_seconds and a chunk.
    marks = [0.0, *(heard.watermark_seconds for heard in recognition().run(talk))]
    assert max(b - a for a, b in pairwise(marks)) <= 150


def test_sentences_go_on_across_the_ends_of_chunks(talk):
    recognizer = Scripted()
    found = flat(list(recognition(recognizer).run(talk)))
    assert all(s.end_seconds - s.start_seconds <= 15 for s in found)
    spoken = [word for sentence in found for word in sentence.words]
    assert len(spoken) == pytest.approx(333, abs=25)  # a word for every loud second
    ends = [end for end in recognizer.ends if 140 < end < 250]
    assert len(ends) >= 3
    assert any(s.start_seconds < end < s.end_seconds for s in found for end in ends)
    talked = [s for s in found if 140 < s.start_seconds < 190]
    assert [len(s.words) for s in talked].count(7) >= len(talked) - 2
    assert {s.language for s in found} == {"en", "fr"}


def test_chunks_are_recognised_in_batches_of_the_size_that_the_recogniser_asks_for(talk):
    recognizer = Scripted(4)
    list(recognition(recognizer).run(talk))
    assert set(recognizer.batches[:-1]) <= {4, 5}
    assert len(recognizer.batches) >= 3


def test_one_recogniser_serves_all_files_and_none_is_loaded_without_need(talk, tmp_path):
    loaded = []

    def load(files):
        loaded.append(files.name)
        return Scripted()

    shared = Recognition(SCRIPTED_FILES, load=load, voice=Loudness())
    shared.describe()
    silent = write_clip(tmp_path / "still.mkv", [solid(RED)], audio_seconds=0.2)
    voiceless = Recognition(SCRIPTED_FILES, load=load, voice=Silent())
    assert flat(list(voiceless.run(silent))) == []
    assert loaded == []
    for _ in range(2):
        assert flat(list(shared.run(talk)))
    assert loaded == ["scripted"]


def test_sound_that_breaks_off_is_recognised_up_to_there_and_told(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4",
        [solid(RED)] * 25,
        audio_seconds=20.0,
        container_options={"movflags": "faststart"},
    )
    *_, last = recognition().run(truncated(whole, tmp_path / "cut.mp4", 0.6))
    assert last.damaged
    assert "breaks off" in last.notes[0]
    assert flat([last])


def test_invented_text_is_left_out_also_across_chunks(talk):
    class Inventive(Scripted):
        def _one(self, chunk, together):
            thanks = [Word(chunk.start_seconds + 1, chunk.start_seconds + 2, " Thanks.")]
            found = super()._one(chunk, together)
            return Transcript("en", (Utterance(tuple(thanks)), *found.utterances[:0]))

    found = flat(list(recognition(Inventive(), seal_seconds=1000).run(talk)))
    assert [s.text for s in found] == ["Thanks.", "Thanks."]


def test_words_are_kept_within_their_chunk_and_in_order(talk):
    class Sloppy(Scripted):
        def _one(self, chunk, together):
            start, end = chunk.start_seconds, chunk.end_seconds
            times = [
                (start - 1, start + 1),
                (start + 3, start + 4),
                (start + 2, end + 3),
                (end, end),
            ]
            words = [Word(a, b, f" w{n}") for n, (a, b) in enumerate(times)]
            return Transcript("en", (Utterance(tuple(words)),))

    heard = list(recognition(Sloppy(), seal_seconds=20).run(talk))
    found = flat(heard)
    starts = [word.start_seconds for sentence in found for word in sentence.words]
    assert starts == sorted(starts)
    assert all(word.end_seconds >= word.start_seconds for s in found for word in s.words)
    watermark = 0.0
    for each in heard:
        assert all(watermark <= s.start_seconds < each.watermark_seconds for s in each.sentences)
        watermark = each.watermark_seconds


def test_the_description_has_what_shapes_sentences_and_not_where_they_are_made():
    plain = recognition().describe()
    assert plain["model"] == "scripted"
    assert plain == recognition(device="cpu", compute_type="int8", batch=4, threads=2).describe()
    assert plain != recognition(log_probability=-0.8).describe()
    other = ModelFiles("scripted", Path("nowhere"), "00fe", Path("nowhere"))
    assert plain != Recognition(other, voice=Loudness()).describe()
