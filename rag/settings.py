"""The defaults of retrieval and of answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MOST_MOMENTS = 1000
"""More than a search ever returns. Ten thousand candidates are what a store fetches at ease."""


class RetrieveSettings(BaseModel):
    """How moments are found.

    limit: moments a search returns unless it says otherwise.
    candidates: passages asked of the store for each moment wanted. Passages overlap and several
        of one video become one moment, so it takes more of them than moments.
    floor: share of the query's weight (sum of idf) that a moment's words must hold; below it,
        only words that occur everywhere matched.
    join_gap_seconds: matching evidence of one channel this close together is one stretch.
    merge_gap_seconds: results of one video this close together are one moment.
    longest_moment_seconds: merging never makes a moment longer than this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(10, ge=1, le=MOST_MOMENTS)
    candidates: int = Field(8, ge=1, le=100)
    floor: float = Field(0.15, ge=0, le=1)
    join_gap_seconds: float = Field(4.0, ge=0)
    merge_gap_seconds: float = Field(2.0, ge=0)
    longest_moment_seconds: float = Field(60.0, gt=0)


class AnswerSettings(BaseModel):
    """How questions are answered without a language model.

    quotes: at most this many quotes make an answer.
    floor: share of the question's weight (sum of idf) that a quote must hold.
    near_best: a quote scores at least this share of the best one's score.
    quote_characters: a quote is cut to whole sentences around the match up to this length.
    same_words: two quotes that share this much of their words say the same; the better one stays.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quotes: int = Field(3, ge=1, le=100)
    floor: float = Field(0.5, ge=0, le=1)
    near_best: float = Field(0.5, ge=0, le=1)
    quote_characters: int = Field(320, ge=40)
    same_words: float = Field(0.8, gt=0, le=1)
