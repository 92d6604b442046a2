"""The defaults of standing questions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rag.settings import LookSettings

KINDS = ("words", "frame", "sound", "picture")
"""Of sightings. Each has scores, and so a threshold, of its own."""


class AlertSettings(BaseModel):
    """When a standing question speaks up, and how it is sent.

    words: share of the question's words that what is said or written must hold. frame, sound: score
        of a picture or a sound, as in searches (retrieve.frame, retrieve.sound). picture: of a
        picture against the one that was given, 1 - the share of its bits that differ.
    hysteresis: what is judged by a cosine needs only this share of the threshold to go on.
    in_a_row: looks in a row that must see it, where it is judged by a cosine; what stays on screen
        counts once a second. Words and pictures that are the same need but one.
    refractory_seconds: what comes back within that time is the same event.
    check: a Video-LLM that looks at the pictures of an event before anybody is told. Off without
        one. check_floor: it must be this sure (the probability of "yes" as its first word).
        check_wait_seconds: how long pictures that are not on the disk yet are waited for.
    attempts: to deliver; waits between them grow from first_wait_seconds up to
        longest_wait_seconds. timeout_seconds: of one, from the call to the answer.
    history_events: so many, the newest, are kept of each question; history_seconds: for how long;
        None: for ever. What is still on its way is kept in any case, and what came behind it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: float = Field(0.8, gt=0, le=1)
    frame: float = Field(0.5, gt=0, le=1)
    sound: float = Field(0.5, gt=0, le=1)
    picture: float = Field(0.8, gt=0, le=1)
    hysteresis: float = Field(0.8, gt=0, le=1)
    in_a_row: int = Field(2, ge=1)
    refractory_seconds: float = Field(5.0, gt=0)
    check: LookSettings = Field(default_factory=LookSettings)
    check_floor: float = Field(0.5, ge=0, le=1)
    check_wait_seconds: float = Field(3.0, ge=0)
    attempts: int = Field(8, ge=1)
    first_wait_seconds: float = Field(1.0, gt=0)
    longest_wait_seconds: float = Field(60.0, gt=0)
    timeout_seconds: float = Field(10.0, gt=0)
    history_events: int = Field(10_000, ge=1)
    history_seconds: float | None = Field(None, gt=0)

    def threshold(self, kind: str) -> float:
        """kind: one of KINDS."""
        return getattr(self, kind)
