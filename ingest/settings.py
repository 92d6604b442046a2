"""Settings of the picture stages: shots, sampling, segments. Defaults live only here."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShotSettings(_Settings):
    """How cuts are found. The thresholds are PySceneDetect's, one set for each of its detectors.

    min_shot_seconds: a shot is at least this long (to the nearest frame at the average rate).
    min_shot_frames: the same in frames; where given, it counts instead, as in PySceneDetect's API.
    """

    detector: str = "adaptive"
    min_shot_seconds: float = Field(0.6, ge=0)
    min_shot_frames: int | None = Field(None, ge=0)
    adaptive_threshold: float = Field(3.0, gt=0)
    adaptive_window_frames: int = Field(2, ge=1, le=60)
    adaptive_min_content: float = Field(15.0, ge=0)
    content_threshold: float = Field(27.0, gt=0)
    black_threshold: float = Field(12.0, ge=0, le=255)
    hash_threshold: float = Field(0.35, gt=0, le=1)
    analysis_width: int = Field(128, ge=32, le=4096)


class SamplingSettings(_Settings):
    """Which pictures are looked at.

    offset_seconds: the first sample of a shot is what is shown this long after its cut, past
        the blend of two pictures that many cuts begin with.
    interval_seconds: then one every so often, for as long as the shot lasts.
    """

    offset_seconds: float = Field(0.2, ge=0)
    interval_seconds: float = Field(1.0, gt=0)


class StillSettings(_Settings):
    """When a picture counts as changed: see ingest.sampling.StillFilter.

    width_pixels: the pictures are compared at this width.
    block_pixels: side of the square blocks of that comparison.
    threshold: mean absolute difference, 0..255, of the block that changed most.
    """

    width_pixels: int = Field(320, ge=32, le=4096)
    block_pixels: int = Field(8, ge=2, le=64)
    threshold: float = Field(8.0, ge=0, le=255)


class SegmentSettings(_Settings):
    """How shots become segments: see ingest.segments.Segmenter."""

    min_seconds: float = Field(2.0, gt=0)
    max_seconds: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _two_of_the_shortest_fit(self) -> Self:
        if self.max_seconds < 2 * self.min_seconds:
            raise ValueError("max_seconds must be at least twice min_seconds")
        return self


class StitchSettings(_Settings):
    """How shots are stitched by meaning: see ingest.stitch. The constants are those of the papers,
    which had other encoders; measure again for yours.

    join_cosine: neighbouring shots at least this alike are one event, and what changes inside a
        shot must fall as far below its surroundings to be a border.
    edge_share: which pictures stand for a shot's two ends, as a share of its length (of
        `long_shot_seconds` at most).
    long_shot_seconds: shots up to this length are never divided.
    deviations: a border inside a shot is this many standard deviations deeper than the average.
    calm_seconds: how near a change must be to disturb a place where only length forces a cut.
    """

    join_cosine: float = Field(0.82, ge=-1, le=1)
    edge_share: float = Field(0.05, ge=0, lt=0.5)
    long_shot_seconds: float = Field(7.0, gt=0)
    deviations: float = Field(0.5, ge=0)
    calm_seconds: float = Field(2.0, gt=0)


class IngestSettings(_Settings):
    """commit_seconds: of wall-clock time between commits while pictures are looked at; what a
    kill costs at most."""

    commit_seconds: float = Field(5.0, ge=0)
    shots: ShotSettings = Field(default_factory=ShotSettings)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    segments: SegmentSettings = Field(default_factory=SegmentSettings)
    stitch: StitchSettings = Field(default_factory=StitchSettings)
