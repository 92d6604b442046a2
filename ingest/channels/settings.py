"""Settings of the channels. Defaults live here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ingest.settings import StillSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScreenTextSettings(_Settings):
    """Text in the picture.

    minimum_confidence: of a reading, 0..1. minimum_characters: letters and digits of a line.
    detection_side: pixels; larger pictures are reduced to it to find text, not to read it.
    recognition_batch: lines read at once. threads: 0 is as many as there are cores, four at most.
    detection_model, recognition_model: other PP-OCR models in ONNX format than those packaged.
    seal_seconds: text that stays longer becomes several pieces of evidence of about this length
        (up to twice it, where that spares cutting short-lived lines), so that it can be searched
        and a resumed run need not go back to where it began.
    still: which pictures look like the one before, and are not read again.
    """

    minimum_confidence: float = Field(0.5, ge=0, le=1)
    minimum_characters: int = Field(2, ge=1)
    detection_side: int = Field(960, ge=64, le=8192)
    recognition_batch: int = Field(6, ge=1, le=256)
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
    batch: pictures encoded at once; 0 chooses by device.
    still: which pictures look like the one before, and share its vector.
    seal_seconds: the longest that one evidence lasts.
    """

    model: str | None = None
    batch: int = Field(0, ge=0, le=4096)
    seal_seconds: float = Field(60.0, gt=0)
    still: StillSettings = Field(default_factory=StillSettings)


class RecognitionSettings(_Settings):
    """Speech where there are no subtitles.

    model: name of a faster-whisper model; None chooses by device.
    """

    model: str | None = None


class SoundSettings(_Settings):
    """What is heard besides speech."""

    model: str | None = None


class ObjectSettings(_Settings):
    """Which things are looked for. Without classes the channel has nothing to do."""

    model: str | None = None
    classes: tuple[str, ...] = ()


class CaptionSettings(_Settings):
    """What each segment shows, in a sentence or two; in tags where there is no captioner."""


class TextSettings(_Settings):
    """What passages mean.

    model: name of a text encoder; None chooses the default.
    """

    model: str | None = None
