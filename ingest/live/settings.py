"""Settings of live sources. Defaults live only here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LiveSettings(BaseModel):
    """How streams are read and written.

    commit_seconds: of wall-clock time between commits, where there is something to commit.
    commit_evidence: so many new pieces of evidence are committed at once.
    open_timeout_seconds, read_timeout_seconds: after so long without anything a source counts as
        not there, or as lost; what comes as pieces (HLS) needs longer than a piece lasts.
    retry_seconds, retry_most_seconds: before the first try to connect again, doubled until it works
        up to the latter.
    settle_seconds: a piece in a folder that nothing was written to for so long is whole.
    gap_seconds: a jump of the timestamps by more than that begins a new epoch.
    epoch_seconds: an epoch that has lasted so long is followed by another, without a gap: what is
        written of one is counted, and let go of, together.
    drop_after_seconds: pictures that have waited so long to be looked at are dropped.
    record: whether the stream itself is kept, as it comes, in pieces. piece_seconds: a piece ends
        with the first key frame after so long. spare_bytes: of the disk, beyond the library's own
        reserve (index.reserve_bytes), that recordings leave to the index; pieces that are being
        written come out of it.
    keep_seconds: how much of the source's time is kept, of evidence and of media; keep_bytes: of
        recorded media, for each source. None: all. keep_check_seconds: how often that is looked at.
    follow_seconds: how often what is made out of other channels' evidence (captions, segments by
        meaning, vectors of words) is brought up to these.
    held_bytes: of pictures that wait for a captioner; what is over it is dropped.
    waiting_bytes: of pictures that wait to be looked at; what is over it is dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    commit_seconds: float = Field(1.0, gt=0)
    commit_evidence: int = Field(100, ge=1)
    open_timeout_seconds: float = Field(15.0, gt=0)
    read_timeout_seconds: float = Field(20.0, gt=0)
    retry_seconds: float = Field(0.5, gt=0)
    retry_most_seconds: float = Field(30.0, gt=0)
    settle_seconds: float = Field(3.0, gt=0)
    gap_seconds: float = Field(5.0, gt=0)
    epoch_seconds: float = Field(3600.0, gt=0)
    drop_after_seconds: float = Field(5.0, gt=0)
    record: bool = False
    piece_seconds: float = Field(60.0, ge=1)
    spare_bytes: int = Field(2**30, ge=0)
    keep_seconds: float | None = Field(None, gt=0)
    keep_bytes: int | None = Field(None, ge=0)
    keep_check_seconds: float = Field(60.0, gt=0)
    follow_seconds: float = Field(5.0, gt=0)
    held_bytes: int = Field(32 * 2**20, ge=2**20)
    waiting_bytes: int = Field(128 * 2**20, ge=2**20)
