"""What is said comes from the best subtitles there are, once for each language."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
from clips import RED, solid, truncated, write_clip
from recognisers import SCRIPTED_FILES, Loudness, Scripted

from index.errors import ModelMissingError
from index.schema import Evidence, Generation, Stream, Video
from ingest.channels.settings import RecognitionSettings
from ingest.channels.speech import SpeechChannel
from ingest.cues import Cue
from ingest.identity import content_id
from ingest.media import probe
from ingest.models.files import ModelFiles
from ingest.recognition import Recognition
from ingest.subtitles import Track

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "video"

ENGLISH = "1\n00:00:00,500 --> 00:00:01,500\nHello there\n\n2\n00:00:02,000 --> 00:00:03,000\nOK\n"
GERMAN = "1\n00:00:00,600 --> 00:00:01,500\nHallo du\n\n2\n00:00:02,000 --> 00:00:03,000\nOK\n"


def clip(path: Path, subtitles: dict[str, Path] | None = None, seconds: int = 4) -> Path:
    """A small film with silent sound; subtitles: language -> file whose stream is put into it."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width, video.height = 64, 48
        audio = output.add_stream("aac", rate=8000, layout="mono")
        inputs = []
        for language, source in (subtitles or {}).items():
            given = av.open(str(source))
            stream = output.add_stream_from_template(given.streams[0])
            stream.metadata["language"] = language
            inputs.append((given, stream))
        for _ in range(seconds * 10):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        silence = np.zeros((1, 1024), np.float32)
        for n in range(seconds * 8000 // 1024):
            sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            sound.rate, sound.pts = 8000, n * 1024
            output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
        for given, stream in inputs:
            for packet in given.demux(given.streams[0]):
                if packet.pts is not None:
                    packet.stream = stream
                    output.mux(packet)
            given.close()
    return path


def video_of(path: Path) -> Video:
    info = probe(path)
    return Video(
        content_id(path), path.stem, duration_seconds=info.duration_seconds, streams=info.streams
    )


def listen(
    path: Path, video: Video | None = None, channel: SpeechChannel | None = None, start: float = 0.0
) -> tuple[list[Evidence], list[str], float]:
    """(evidence, notes, last watermark); checks what every run promises."""
    video = video or video_of(path)
    generation = Generation(video.id, 0, "speech", "fingerprint")
    evidence: list[Evidence] = []
    notes: list[str] = []
    watermark = start
    for batch in (channel or SpeechChannel()).run(path, video, generation, start):
        assert all(e.start_seconds >= watermark for e in batch.evidence)
        assert batch.watermark_seconds >= watermark
        watermark = batch.watermark_seconds
        assert all(e.start_seconds < watermark for e in batch.evidence)
        evidence.extend(batch.evidence)
        notes.extend(batch.notes)
    assert [e.start_seconds for e in evidence] == sorted(e.start_seconds for e in evidence)
    assert len({e.id for e in evidence}) == len(evidence)
    return evidence, notes, watermark


def heard(evidence: list[Evidence]) -> list[tuple[str, str, str]]:
    return [(e.text, e.attributes["language"], e.attributes["source"]) for e in evidence]


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """plain.mkv without subtitles; inside.mkv with English and German ones."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "en.srt").write_text(ENGLISH)
    (folder / "de.srt").write_text(GERMAN)
    clip(folder / "plain.mkv")
    clip(folder / "inside.mkv", {"eng": folder / "en.srt", "ger": folder / "de.srt"})
    return folder


def put(films: Path, name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes((films / name).read_bytes())
    return path


def test_real_captions_beside_a_real_film():
    if not DATA.exists():
        pytest.skip("the shared data is not here")
    evidence, notes, watermark = listen(DATA / "mdn" / "friday.mp4")
    assert heard(evidence)[:2] == [
        ("Hildy!", "en", "friday.vtt"),
        ("How are you?", "en", "friday.vtt"),
    ]
    assert (len(evidence), notes) == (5, [])
    assert watermark == pytest.approx(6.166, abs=0.01)


def test_streams_inside_the_container_are_read_on_the_videos_clock(films, tmp_path):
    evidence, notes, _ = listen(put(films, "inside.mkv", tmp_path))
    assert heard(evidence) == [
        ("Hello there", "en", "stream 2"),
        ("Hallo du", "de", "stream 3"),
        ("OK", "en", "stream 2"),
        ("OK", "de", "stream 3"),
    ]
    assert evidence[0].start_seconds == pytest.approx(0.5, abs=0.002)
    assert evidence[0].end_seconds == pytest.approx(1.5, abs=0.002)
    assert notes == []


def test_a_sidecar_wins_over_a_stream_in_its_language_and_says_so(films, tmp_path):
    path = put(films, "inside.mkv", tmp_path)
    (tmp_path / "inside.en.srt").write_text(ENGLISH.replace("Hello there", "Hello, corrected"))
    evidence, notes, _ = listen(path)
    assert {e.attributes["source"] for e in evidence} == {"inside.en.srt", "stream 3"}
    assert evidence[0].text == "Hello, corrected"
    assert len(notes) == 1
    assert "stream 2" in notes[0]

    (tmp_path / "inside.de.srt").write_text(GERMAN)
    evidence, notes, _ = listen(path)
    assert {e.attributes["source"] for e in evidence} == {"inside.en.srt", "inside.de.srt"}
    assert "stream 2, stream 3" in notes[0]


def test_forced_subtitles_serve_only_where_there_are_no_others(films, tmp_path):
    path = put(films, "inside.mkv", tmp_path)
    (tmp_path / "inside.en.forced.srt").write_text(ENGLISH.replace("Hello there", "[in Klingon]"))
    assert {e.attributes["source"] for e in listen(path)[0]} == {"stream 2", "stream 3"}

    plain = put(films, "plain.mkv", tmp_path)
    (tmp_path / "plain.en.forced.srt").write_text(ENGLISH)
    assert {e.attributes["source"] for e in listen(plain)[0]} == {"plain.en.forced.srt"}


def test_the_language_is_detected_where_nothing_names_it(films, tmp_path):
    path = put(films, "plain.mkv", tmp_path)
    text = ENGLISH.replace("Hello there", "Good morning, how did you sleep last night?")
    (tmp_path / "plain.srt").write_text(text)
    assert {e.attributes["language"] for e in listen(path)[0]} == {"en"}


def test_speakers_are_kept(films, tmp_path):
    path = put(films, "plain.mkv", tmp_path)
    (tmp_path / "plain.en.vtt").write_text(
        "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Anna>Good day\n\n00:02.000 --> 00:03.000\nYes\n"
    )
    evidence, _, _ = listen(path)
    assert [e.attributes.get("speaker") for e in evidence] == ["Anna", None]


def test_without_subtitles_there_is_one_empty_batch_and_a_note(films):
    path = films / "plain.mkv"
    video = video_of(path)
    batches = list(SpeechChannel().run(path, video, Generation(video.id, 0, "speech", "f"), 0.0))
    assert len(batches) == 1
    assert batches[0].evidence == ()
    assert batches[0].analysed_seconds == pytest.approx(video.duration_seconds)
    assert "no subtitles" in batches[0].notes[0]

    silent = dataclasses.replace(
        video, streams=tuple(s for s in video.streams if s.kind == "video")
    )
    assert listen(path, silent)[1] == []


def test_a_broken_sidecar_is_a_note_and_the_rest_is_heard(films, tmp_path):
    path = put(films, "inside.mkv", tmp_path)
    (tmp_path / "inside.fr.srt").write_bytes(b"\x00\x01\x02" * 100)
    evidence, notes, _ = listen(path)
    assert len(evidence) == 4
    assert "inside.fr.srt" in notes[0]
    assert "UTF-8" in notes[0]


def test_subtitles_that_are_pictures_are_told(films):
    path = films / "plain.mkv"
    video = video_of(path)
    pictures = Stream(7, "subtitle", "hdmv_pgs_subtitle", "eng")
    video = dataclasses.replace(video, streams=(*video.streams, pictures))
    _, notes, _ = listen(path, video)
    assert "stream 7" in notes[0]
    assert "pictures, not text" in notes[0]


def test_an_added_or_changed_sidecar_changes_the_description(films, tmp_path):
    path = put(films, "inside.mkv", tmp_path)
    channel, video = SpeechChannel(), video_of(path)
    seen = [channel.describe(path, video)]
    (tmp_path / "inside.en.srt").write_text(ENGLISH)
    seen.append(channel.describe(path, video))
    (tmp_path / "inside.en.srt").write_text(ENGLISH + "\n")
    seen.append(channel.describe(path, video))
    seen.append(channel.describe(path, dataclasses.replace(video, streams=())))
    assert all(a != b for n, a in enumerate(seen) for b in seen[:n])
    assert channel.describe(path, video) == seen[2]


def test_a_resumed_run_hears_what_an_uninterrupted_one_does(films, tmp_path):
    path = put(films, "plain.mkv", tmp_path)
    long = dataclasses.replace(video_of(path), duration_seconds=4000.0)
    for language, word in (("en", "word"), ("de", "Wort")):
        (tmp_path / f"plain.{language}.srt").write_text(
            "".join(
                f"00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\n"
                f"{word} {n}\n\n"
                for n in range(1500)
            )
        )
    generation = Generation(long.id, 0, "speech", "fingerprint")
    whole, _, _ = listen(path, long)
    assert len(whole) == 3000
    batches = list(SpeechChannel().run(path, long, generation, 0.0))
    assert len(batches) > 3
    for batch in batches:
        rest, _, _ = listen(path, long, start=batch.watermark_seconds)
        before = [e for e in whole if e.start_seconds < batch.watermark_seconds]
        assert before + rest == whole


class Recogniser:
    """Stands for a source that listens: it speaks up only where nothing was written."""

    def describe(self, path, video):
        return {"model": "tiny"}

    def covers(self, path, video):
        return False

    def tracks(self, path, video, covered):
        heard = Track("en", "recognition", (Cue(1.0, 2.0, "guessed"),))
        return ([] if covered else [heard]), []


def test_sources_are_asked_in_order(films, tmp_path):
    channel = SpeechChannel([*SpeechChannel()._sources, Recogniser()])
    path = put(films, "plain.mkv", tmp_path)
    assert heard(listen(path, channel=channel)[0]) == [("guessed", "en", "recognition")]
    (tmp_path / "plain.en.srt").write_text(ENGLISH)
    assert {e.attributes["source"] for e in listen(path, channel=channel)[0]} == {"plain.en.srt"}


# --- Where nobody wrote it down -------------------------------------------------------------


def listening(load=None, **settings) -> SpeechChannel:
    """The channel with a recogniser that names the seconds in which it is loud."""
    recognition = Recognition(
        SCRIPTED_FILES,
        RecognitionSettings(**settings),
        load=load or (lambda files: Scripted()),
        voice=Loudness(),
    )
    return SpeechChannel(recognizer=recognition)


def never(files: ModelFiles):
    raise AssertionError("recognised what was written down")


@pytest.fixture(scope="module")
def loud(tmp_path_factory) -> Path:
    """A film of 100 s with a tone that begins after two and lasts for 90."""
    path = tmp_path_factory.mktemp("loud") / "loud.mkv"
    return write_clip(path, [solid(RED)] * 500, rate=5, audio_seconds=90.0, audio_start_seconds=2.0)


def test_what_nobody_wrote_down_is_recognised(loud):
    evidence, notes, watermark = listen(loud, channel=listening())
    assert notes == []
    assert watermark == pytest.approx(video_of(loud).duration_seconds)
    said = " ".join(e.text for e in evidence).split()
    assert said[0] == "S2x1"
    assert len(said) == pytest.approx(90, abs=4)
    for each in evidence:
        assert each.attributes["source"] == "recognized by scripted"
        assert each.attributes["language"] == "en"
        assert 0 < each.attributes["confidence"] <= 1
        words = each.attributes["words"]
        assert " ".join(text for _, _, text in words) == each.text
        assert words[0][0] == pytest.approx(each.start_seconds, abs=1e-3)
        assert words[-1][1] == pytest.approx(each.end_seconds, abs=1e-3)
        assert "speaker" not in each.attributes


def test_whoever_tells_speakers_apart_is_believed(loud):
    class Two(Scripted):
        def _one(self, chunk, together):
            found = super()._one(chunk, together)
            words = [
                dataclasses.replace(word, speaker="AB"[int(word.start_seconds) // 10 % 2])
                for utterance in found.utterances
                for word in utterance.words
            ]
            return dataclasses.replace(
                found, utterances=(dataclasses.replace(found.utterances[0], words=tuple(words)),)
            )

    evidence, _, _ = listen(loud, channel=listening(lambda files: Two()))
    assert {e.attributes["speaker"] for e in evidence} == {"A", "B"}
    for each in evidence:
        tens = {int(start) // 10 % 2 for start, _, _ in each.attributes["words"]}
        assert tens == {"AB".index(each.attributes["speaker"])}


def test_nothing_is_recognised_where_there_are_subtitles(films, tmp_path):
    path = put(films, "inside.mkv", tmp_path)
    assert {e.attributes["source"] for e in listen(path, channel=listening(never))[0]} == {
        "stream 2",
        "stream 3",
    }
    path = put(films, "plain.mkv", tmp_path)
    (tmp_path / "plain.ja.srt").write_text(ENGLISH)
    assert len(listen(path, channel=listening(never))[0]) == 2
    silent = dataclasses.replace(video_of(path), streams=())
    (tmp_path / "plain.ja.srt").unlink()
    assert listen(path, silent, listening(never))[:2] == ([], [])


def test_forced_subtitles_are_kept_beside_what_is_recognised(loud, tmp_path):
    path = tmp_path / "loud.mkv"
    path.write_bytes(loud.read_bytes())
    (tmp_path / "loud.en.forced.srt").write_text(
        "1\n00:00:30,000 --> 00:00:32,000\n[in Klingon]\n\n"
        "2\n00:01:37,000 --> 00:01:38,000\nThe End\n"
    )
    channel = listening(seal_seconds=20)
    whole, _, _ = listen(path, channel=channel)
    assert [e.text for e in whole if "forced" in e.attributes["source"]] == [
        "[in Klingon]",
        "The End",
    ]
    assert sum(e.attributes["source"] == "recognized by scripted" for e in whole) > 5
    resumed_equally(channel, path, whole)


def resumed_equally(channel: SpeechChannel, path: Path, whole: list[Evidence]) -> None:
    video = video_of(path)
    generation = Generation(video.id, 0, "speech", "fingerprint")
    marks = {batch.watermark_seconds for batch in channel.run(path, video, generation, 0.0)}
    assert len(marks) > 3
    for mark in sorted(marks):
        rest, _, _ = listen(path, channel=channel, start=mark)
        assert [e for e in whole if e.start_seconds < mark] + rest == whole


def test_a_resumed_run_recognises_what_an_uninterrupted_one_does(loud):
    channel = listening(seal_seconds=15)
    whole, _, _ = listen(loud, channel=channel)
    resumed_equally(channel, loud, whole)


def test_another_model_concerns_only_videos_without_subtitles(films, loud, tmp_path):
    def descriptions(path: Path) -> list:
        video = video_of(path)
        other = ModelFiles("scripted", Path("nowhere"), "beef", Path("nowhere"))
        channels = [
            SpeechChannel(recognizer=Recognition(files, voice=Loudness()))
            for files in (SCRIPTED_FILES, other)
        ]
        return [channel.describe(path, video) for channel in (SpeechChannel(), *channels)]

    none, one, another = descriptions(loud)
    assert none != one != another != none
    inside = put(films, "inside.mkv", tmp_path)
    none, one, another = descriptions(inside)
    assert none == one == another
    plain = put(films, "plain.mkv", tmp_path)
    (tmp_path / "plain.en.forced.srt").write_text(ENGLISH)
    none, one, another = descriptions(plain)
    assert one != another
    (tmp_path / "plain.de.srt").write_text(GERMAN)
    none, one, another = descriptions(plain)
    assert none == one == another


def test_damaged_sound_is_a_note_and_the_rest_is_recognised(loud, tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4",
        [solid(RED)] * 25,
        audio_seconds=60.0,
        container_options={"movflags": "faststart"},
    )
    path = truncated(whole, tmp_path / "cut.mp4", 0.6)
    video = video_of(path)
    generation = Generation(video.id, 0, "speech", "f")
    batches = list(listening().run(path, video, generation, 0.0))
    assert batches[-1].damaged
    assert "breaks off" in " ".join(note for batch in batches for note in batch.notes)
    assert sum(len(batch.evidence) for batch in batches) >= 2


def test_a_model_that_is_not_here_is_told(loud):
    def absent(files):
        raise ModelMissingError("scripted is not here")

    with pytest.raises(ModelMissingError):
        listen(loud, channel=listening(absent))


def test_real_speech_through_real_voice_activity_and_a_real_format(tmp_path_factory):
    """With random weights: what is said is nonsense, but where and by whom is right."""
    jfk = DATA.parent / "audio" / "faster-whisper" / "jfk.flac"
    if not jfk.exists():
        pytest.skip("the shared data is not here")
    import torch
    from whisper_models import make_whisper

    torch.set_num_threads(2)
    files = make_whisper(tmp_path_factory.mktemp("whisper"))
    settings = RecognitionSettings(
        device="cpu", threads=1, log_probability=-100.0, compression=100.0
    )
    channel = SpeechChannel(recognizer=Recognition(files, settings))
    evidence, notes, watermark = listen(jfk, channel=channel)
    assert evidence
    assert notes == []
    assert watermark == pytest.approx(11.0, abs=0.01)
    assert all(e.attributes["source"] == "recognized by tiny-random" for e in evidence)
    assert all(0 <= e.start_seconds <= e.end_seconds <= 11.01 for e in evidence)
    assert listen(jfk, channel=channel)[0] == evidence
