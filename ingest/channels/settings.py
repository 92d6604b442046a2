"""Settings of the channels. Defaults live here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.settings import StillSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScreenTextSettings(_Settings):
    """Text in the picture.

    engine: "rapidocr" needs nothing besides; "easyocr" reads more scripts, with weights of its own.
    languages: BCP 47; () is what the engine's model reads (English with easyocr). They choose
        EasyOCR's network; RapidOCR reads all that its model knows, and they are only checked.
    minimum_confidence: of a reading, 0..1. minimum_characters: letters and digits of a line.
    detection_side: pixels; larger pictures are reduced to it to find text, not to read it.
    recognition_batch: lines read at once. threads: 0 is as many as there are cores, four at most.
    detection_model, recognition_model: other PP-OCR models in ONNX format than those packaged.
        These, the batch, the threads and detection_side are for RapidOCR alone.
    seal_seconds: text that stays longer becomes several pieces of evidence of about this length
        (up to twice it, where that spares cutting short-lived lines), so that it can be searched
        and a resumed run need not go back to where it began.
    still: which pictures look like the one before, and are not read again.
    """

    engine: Literal["rapidocr", "easyocr"] = "rapidocr"
    languages: tuple[str, ...] = ()
    minimum_confidence: float = Field(0.5, ge=0, le=1)
    minimum_characters: int = Field(2, ge=1)
    detection_side: int = Field(960, ge=64, le=8192)
    recognition_batch: int = Field(1, ge=1, le=256)
    threads: int = Field(0, ge=0)
    detection_model: Path | None = None
    recognition_model: Path | None = None
    seal_seconds: float = Field(60.0, gt=0)
    still: StillSettings = Field(default_factory=StillSettings)


class FingerprintSettings(_Settings):
    """What a picture looks like.

    still_distance: bits, of 256. Following pictures this near to the first are one evidence.
    minimum_quality: 0..100; pictures with fewer features (blank ones) get no vector, since they
        would all match each other.
    seal_seconds: the longest that one evidence lasts.
    """

    still_distance: int = Field(16, ge=0, le=128)
    minimum_quality: int = Field(50, ge=0, le=100)
    seal_seconds: float = Field(60.0, gt=0)


class FrameSettings(_Settings):
    """What each picture means.

    model: name of an open_clip model, as `longtake models ls` lists them; None chooses by device.
    int8: run the network with 8-bit weights, on the CPU: faster, and less exact by what preparing
        the model says. Its vectors have a space of their own.
    batch: pictures encoded at once; 0 chooses by device.
    still: which pictures look like the one before, and share its vector.
    seal_seconds: the longest that one evidence lasts.
    """

    model: str | None = None
    int8: bool = False
    batch: int = Field(0, ge=0, le=4096)
    seal_seconds: float = Field(60.0, gt=0)
    still: StillSettings = Field(default_factory=StillSettings)


class RecognitionSettings(_Settings):
    """Speech where there are no subtitles.

    enabled: whether anything is recognised; else only subtitles are read.
    model: name of a faster-whisper model; None chooses by device.
    language: as Whisper calls it ("en"), where all videos speak one; None finds each chunk's.
    beam_size: hypotheses that the decoder follows.
    chunk_seconds: the longest stretch of sound that is recognised at once.
    sentence_seconds: the longest that one evidence lasts.
    no_speech, log_probability, compression: from when on text is not believed: the probability that
        nobody speaks together with the average log probability of the tokens, the latter alone
        where it is half as bad again, and how well the text can be compressed.
    seal_seconds: about this much is recognised again where a run was killed.
    device: "cpu" or "cuda"; None is the GPU where there is one. compute_type: CTranslate2's name of
        the arithmetic; None chooses by device. batch: chunks recognised at once; 0 chooses by
        device. threads: on a CPU; 0 is as many as there are cores.
    """

    enabled: bool = True
    model: str | None = None
    language: str | None = None
    beam_size: int = Field(5, ge=1, le=20)
    chunk_seconds: float = Field(30.0, ge=5, le=30)
    sentence_seconds: float = Field(15.0, ge=2, le=60)
    no_speech: float = Field(0.6, ge=0, le=1)
    log_probability: float = Field(-1.0, le=0)
    compression: float = Field(2.4, gt=1)
    seal_seconds: float = Field(60.0, gt=0)
    device: Literal["cpu", "cuda"] | None = None
    compute_type: str | None = None
    batch: int = Field(0, ge=0, le=256)
    threads: int = Field(0, ge=0)


class SoundSettings(_Settings):
    """What is heard besides speech.

    model: name of a CLAP model, as `longtake models ls` lists them; None chooses the default.
    window_seconds: of sound, that one vector describes; at most what the model hears at once (ten
        seconds). step_seconds: from the start of a window to that of the next.
    batch: windows encoded at once.
    silence_decibels: of full scale. A window whose loudest sample is below is silence, and gets no
        vector: all silence would match all other.
    same_cosine: following windows whose vectors are this near to the first's are one evidence.
    seal_seconds: the longest that one evidence lasts (to the next window's end).
    """

    model: str | None = None
    window_seconds: float = Field(10.0, gt=0, le=60)
    step_seconds: float = Field(5.0, gt=0)
    batch: int = Field(8, ge=1, le=1024)
    silence_decibels: float = Field(-60.0, le=0)
    same_cosine: float = Field(0.98, ge=0)
    seal_seconds: float = Field(60.0, gt=0)

    @model_validator(mode="after")
    def _leaves_no_holes(self) -> Self:
        if self.step_seconds > self.window_seconds:
            raise ValueError("step_seconds must be at most window_seconds")
        return self


class ObjectSettings(_Settings):
    """Which things are looked for. Without classes the channel has nothing to do.

    model: name of an OWLv2 or Grounding DINO model, as `longtake models ls` lists them; None
        chooses the default. classes: as one would say them, in English ("person", "red car").
    minimum_confidence: 0..1; None takes what the model's authors do.
    overlap: of two boxes' intersection over union; more is one thing found twice.
    batch: pictures looked at at once.
    seal_seconds: the longest that one evidence lasts.
    still: which pictures look like the one before, and are not looked at again.
    """

    model: str | None = None
    classes: tuple[str, ...] = ()
    minimum_confidence: float | None = Field(None, ge=0, le=1)
    overlap: float = Field(0.6, gt=0, le=1)
    batch: int = Field(4, ge=1, le=256)
    seal_seconds: float = Field(30.0, gt=0)
    still: StillSettings = Field(default_factory=StillSettings)


class CaptionSettings(_Settings):
    """What each segment shows, in a sentence or two; in tags where there is no captioner.

    backend: "openai" is any server that speaks that protocol, "transformers" a model on this
        machine; None: tags from a word list, by the frame channel's model.
    model: as the server calls it, or as `longtake models ls` does.
    base_url: of the server, with its version ("http://localhost:8000/v1").
    key_variable: environment variable that holds the server's key; need not be set.
    frames: pictures of a segment that the model is shown. picture_side: pixels; larger ones are
        reduced. snap: whether a key frame near by may stand for the wanted picture.
    prompt: a file with the instructions; None for the packaged one.
    speech_characters: of a segment's speech that the model is told; the rest is left out.
    max_tokens: of a caption.
    concurrency: requests on their way at once (openai). batch: segments in one go (transformers).
    retries: of a request, by the client, waiting longer each time. timeout_seconds: how long the
        server may be silent. give_up_after: failed segments in a row that stop the channel.
    device, dtype: of a local model; None chooses. four_bit: its weights in 4 bits, where the
        package bitsandbytes is there.
    words: a file with one tag a line; None for the packaged list.
    tags: the most of a segment. tag_confidence: 0..1, of one that is kept.
    """

    backend: Literal["openai", "transformers"] | None = None
    model: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    frames: int = Field(4, ge=1, le=64)
    picture_side: int = Field(448, ge=56, le=4096)
    snap: bool = True
    prompt: Path | None = None
    speech_characters: int = Field(1200, ge=0)
    max_tokens: int = Field(160, ge=8)
    concurrency: int = Field(4, ge=1, le=256)
    batch: int = Field(4, ge=1, le=256)
    retries: int = Field(3, ge=0, le=20)
    timeout_seconds: float = Field(120.0, gt=0)
    give_up_after: int = Field(8, ge=1)
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    four_bit: bool = False
    words: Path | None = None
    tags: int = Field(5, ge=1, le=50)
    tag_confidence: float = Field(0.1, gt=0, lt=1)


class TextSettings(_Settings):
    """What passages mean.

    model: name of a text encoder; None chooses the default.
    query_prefix, passage_prefix: put before each; None takes what the model wants.
    max_tokens: longer text is cut.
    threads: for queries, and for indexing on a CPU; 0 is as many as there are cores.
    """

    model: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    max_tokens: int = Field(512, ge=16, le=512)
    threads: int = Field(0, ge=0)
