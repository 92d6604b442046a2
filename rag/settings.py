"""The defaults of retrieval and of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_MOMENTS = 1000
"""More than a search ever returns. Ten thousand candidates are what a store fetches at ease."""


class CosineScale(BaseModel):
    """What cosines are worth as scores: a straight line, cut off at 0 and 1.

    zero: the cosine of what has nothing to do with the query; full: that of a sure match.
    floor: the score below which it is no find by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    zero: float = Field(ge=-1, lt=1)
    full: float = Field(gt=-1, le=1)
    floor: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.full <= self.zero:
            raise ValueError("full must be above zero")
        return self

    def score(self, cosine: float) -> float:
        """0..1."""
        return min(max((cosine - self.zero) / (self.full - self.zero), 0.0), 1.0)

    @property
    def floor_cosine(self) -> float:
        """The cosine whose score is the floor."""
        return self.zero + self.floor * (self.full - self.zero)

    def with_zero(self, zero: float) -> CosineScale:
        """The scale of a model whose unrelated things have that cosine."""
        zero = min(max(zero, -1.0), self.full - 0.02)  # a model without training has about 1
        return self.model_copy(update={"zero": zero})

    def with_range(self, zero: float, full: float) -> CosineScale:
        """The scale of a model that knows both of its ends."""
        if not -1 <= zero < full <= 1:  # one that was never trained
            return self
        return self.model_copy(update={"zero": zero, "full": full})


class OrderSettings(BaseModel):
    """How results of a question that asks for an order are ranked.

    anchors: finds of the anchor that count, the best ones. near_best: each scores at least this
    share of the best one's score. targets: results looked at, at least. weight: of the order in a
    result's score, beside how well it matches by itself. half_life_seconds: between the anchor and
    a result, halves what the order counts. window_seconds: how much of what happens right before
    or after is shown where nothing else is asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Chosen on tutorials, train, put together in pairs (benchmarks/understanding.py).
    anchors: int = Field(20, ge=1, le=100)
    near_best: float = Field(0.5, ge=0, le=1)
    targets: int = Field(50, ge=1, le=MOST_MOMENTS)
    weight: float = Field(0.5, ge=0, le=1)
    half_life_seconds: float = Field(300.0, gt=0)
    window_seconds: float = Field(30.0, gt=0)


class PlannerSettings(BaseModel):
    """A language model that takes questions apart before they are searched for. Off without one.

    model: as the server calls it. base_url: of the server, with its version
        ("http://localhost:8000/v1"). key_variable: environment variable that holds its key.
    timeout_seconds: for its answer; then the question is searched for without it.
    max_tokens: of its answer. prompt: a file with the instructions; None for the packaged one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout_seconds: float = Field(10.0, gt=0)
    max_tokens: int = Field(400, ge=50)
    prompt: Path | None = None


class RerankSettings(BaseModel):
    """A cross-encoder that reads the question together with each of the best results. Off without
    one.

    model: name of a reranker, as `longtake models ls --all` lists them. depth: results that it
    judges. max_tokens: of a question and a text together; longer ones are cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    depth: int = Field(20, ge=1, le=MOST_MOMENTS)
    max_tokens: int = Field(512, ge=32, le=512)


class LookSettings(BaseModel):
    """A Video-LLM that looks at the best results, after the cross-encoder where there is one. Off
    without one.

    model: as the server calls it. base_url: of the server, with its version
        ("http://localhost:8000/v1"). key_variable: environment variable that holds its key.
    depth: results that it looks at. frames: pictures of each. picture_side: pixels; larger ones are
        reduced. text_characters: of what is said or written there that it is told.
    concurrency: requests on their way at once. timeout_seconds: how long the server may be silent.
    prompt: a file with the instructions; None for the packaged one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    depth: int = Field(5, ge=1, le=MOST_MOMENTS)
    frames: int = Field(4, ge=1, le=64)
    picture_side: int = Field(448, ge=56, le=4096)
    text_characters: int = Field(600, ge=0)
    concurrency: int = Field(4, ge=1, le=256)
    timeout_seconds: float = Field(30.0, gt=0)
    prompt: Path | None = None


class GroupSettings(BaseModel):
    """How videos are ranked by their moments.

    event_gap_seconds: moments this close together are one event. further_events: what each further
    event of a video counts, as a share of the one before it. moments: asked for, for each video
    wanted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_gap_seconds: float = Field(5.0, ge=0)
    further_events: float = Field(0.4, ge=0, le=1)
    moments: int = Field(10, ge=1, le=MOST_MOMENTS)


class GroundSettings(BaseModel):
    """Where moments begin and end.

    usual_share: of a video's length that a moment usually has. shortest_seconds: a usual one has at
    least this length. short_video_seconds: in a video of up to this length a moment lasts at most
    longest_in_short_seconds, in a longer one longest_seconds.
    level, sharpness: what a piece must have of the best one's relevance to speak for being in the
    moment, and how much its relevance says. spread: standard deviation of the logarithm of lengths.
    early: how fast the belief in a span falls the later its best piece lies in it.
    proposals_share: of the vote that those of published methods have together.
    length_weight: what a length that is e times the usual one, or a part of it, costs a proposal.
    histogram_weight, window_weight: of the proposals of that method, and of the ranked window,
    beside those of contrast.
    histogram_gap: pieces below the threshold that a run reaches over. suppression: proposals that
    overlap by more (intersection over union) are one. proposals: most by contrast.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usual_share: float = Field(0.15, gt=0, le=1)
    shortest_seconds: float = Field(15.0, gt=0)
    short_video_seconds: float = Field(600.0, ge=0)
    longest_in_short_seconds: float = Field(60.0, gt=0)
    longest_seconds: float = Field(300.0, gt=0)
    level: float = Field(0.35, ge=0, le=1)
    sharpness: float = Field(0.8, ge=0)
    spread: float = Field(0.6, gt=0)
    early: float = Field(2.0, ge=0)
    proposals_share: float = Field(0.2, ge=0, le=1)
    length_weight: float = Field(1.0, ge=0)
    histogram_weight: float = Field(0.3, ge=0)
    window_weight: float = Field(1.0, ge=0)
    histogram_gap: int = Field(1, ge=0)
    suppression: float = Field(0.7, gt=0, le=1)
    proposals: int = Field(8, ge=1)


class RankSettings(BaseModel):
    """How stretches of what is said are ranked.

    sentences: in a stretch of a short video; a longer one's grow with its usual moment.
    peak, mean: what its best sentence and all of them together count in its meaning, at most 1.
    spoken_peak: share of the best window in its words, the rest being the mean.
    words_weight: of its words beside its meaning.
    sentence_weight: of the share of the query's words that one sentence of it holds. title_weight:
    of the share that its video's title holds.
    read: stretches for each result wanted whose vectors are read to tell how cohesive they are.
    regions: looked at closely, beyond the results asked for. candidates: passages asked of the
    store for each of them, by words and by meaning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sentences: int = Field(7, ge=1)
    peak: float = Field(0.75, ge=0, le=1)
    mean: float = Field(0.25, ge=0, le=1)
    spoken_peak: float = Field(0.4, ge=0, le=1)
    words_weight: float = Field(0.9, ge=0, le=1)
    sentence_weight: float = Field(0.1, ge=0, le=1)
    title_weight: float = Field(0.1, ge=0, le=1)
    read: int = Field(2, ge=1, le=100)
    regions: int = Field(14, ge=0)
    candidates: int = Field(8, ge=1, le=100)


class PresenceSettings(BaseModel):
    """Whether a collection holds what is asked for at all: the mean score of the best sentences
    (see `rag.presence`) must reach a floor, which rises with their number.

    floor: among a thousand sentences. rise: for each e-fold of them. rare_passages: where no
    sentence is near enough, a stretch that holds all of the query's words as they were typed is
    shown all the same if one of them is in at most so many passages. translated: so much lower is
    the floor where the question is surely in another language than all that lies nearest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: float = Field(0.357, ge=0, le=1)
    rise: float = Field(0.037, ge=0, le=1)
    rare_passages: int = Field(4, ge=0)
    translated: float = Field(0.13, ge=0, le=1)


class RetrieveSettings(BaseModel):
    """How moments are found.

    limit: moments a search returns unless it says otherwise.
    candidates: passages asked of the store for each moment wanted. Passages overlap and several
        of one video become one moment, so it takes more of them than moments.
    floor: share of the query's weight (sum of idf) that a moment's words must hold; below it,
        only words that occur everywhere matched.
    about_floor: the same for titles and summaries, which hold some word of most questions.
    join_gap_seconds: matching evidence of one channel this close together is one stretch.
    merge_gap_seconds: results of one video this close together are one moment.
    longest_moment_seconds: merging never makes a moment longer than this.
    narrow_share: a passage that was found by its meaning is narrowed to the sentences that hold
        words of the query where those hold this share of the query's weight; else it is one find.
    cosine_margin: pictures and sounds this much further from the query than the nearest one are no
        finds.
    planner: takes questions apart. rerank, look: judge the best results. group: how videos are
        ranked. order: how questions that ask for an order are answered. rank, ground: how what is
        said is ranked, and where moments in it begin and end. presence: whether it is there at all.
    text, frame, sound: what cosines between a query and passages, pictures and sounds are worth;
        picture: between two pictures. docs/models-text.md says what they were chosen by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(10, ge=1, le=MOST_MOMENTS)
    candidates: int = Field(8, ge=1, le=100)
    floor: float = Field(0.15, ge=0, le=1)
    about_floor: float = Field(0.5, ge=0, le=1)
    join_gap_seconds: float = Field(4.0, ge=0)
    merge_gap_seconds: float = Field(2.0, ge=0)
    longest_moment_seconds: float = Field(60.0, gt=0)
    planner: PlannerSettings = Field(default_factory=PlannerSettings)
    rerank: RerankSettings = Field(default_factory=RerankSettings)
    look: LookSettings = Field(default_factory=LookSettings)
    group: GroupSettings = Field(default_factory=GroupSettings)
    order: OrderSettings = Field(default_factory=OrderSettings)
    rank: RankSettings = Field(default_factory=RankSettings)
    ground: GroundSettings = Field(default_factory=GroundSettings)
    presence: PresenceSettings = Field(default_factory=PresenceSettings)
    narrow_share: float = Field(0.9, ge=0, le=1)  # of .3, .5, .7, .9, 1: best on tutorials, train
    cosine_margin: float = Field(0.06, ge=0, le=2)
    # Chosen with all-MiniLM-L6-v2 on the tutorials' transcripts: the floor, there a cosine of .40,
    # keeps 94% of their own questions (train) and refuses 94% of those about lectures.
    text: CosineScale = CosineScale(zero=0.08, full=1.0, floor=0.35)
    # Not measured here, for want of trained weights: CLIP's cosines of captions and pictures run
    # from about 0 to .4 (CLIPScore, Hessel et al. 2021), and LAION kept pairs from .28 on.
    frame: CosineScale = CosineScale(zero=0.15, full=0.4, floor=0.25)
    picture: CosineScale = CosineScale(zero=0.5, full=1.0, floor=0.7)
    # Not measured here either: a third of the way from nothing in common to the same.
    sound: CosineScale = CosineScale(zero=0.0, full=0.75, floor=0.33)

    def with_misses(self) -> RetrieveSettings:
        """Without floors for what is said and written: the nearest misses are results too."""
        return self.model_copy(
            update={
                "floor": 0.0,
                "about_floor": 0.0,
                "text": self.text.model_copy(update={"floor": 0.0}),
                "presence": PresenceSettings(floor=0.0, rise=0.0),
            }
        )

    def scale_of(self, kind: str) -> CosineScale:
        """kind: "text", "frame", "sound" or "picture"."""
        scales = {"text": self.text, "frame": self.frame, "sound": self.sound}
        return (scales | {"picture": self.picture})[kind]


class AnswerSettings(BaseModel):
    """How questions are answered without a language model.

    quotes: at most this many quotes make an answer.
    floor: share of the question's weight (sum of idf) that a quote must hold.
    near_best: a quote scores at least this share of the best one's score.
    quote_characters: a quote is cut to whole sentences around the match up to this length.
    videos: at most this many are listed where the question is about the collection.
    mention_floor: share of the weight that a moment of each must hold where it is to mention it.
    same_words: two quotes that share this much of their words say the same; the better one stays.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quotes: int = Field(3, ge=1, le=100)
    floor: float = Field(0.5, ge=0, le=1)
    near_best: float = Field(0.5, ge=0, le=1)
    videos: int = Field(10, ge=1, le=100)
    mention_floor: float = Field(0.8, ge=0, le=1)
    quote_characters: int = Field(320, ge=40)
    same_words: float = Field(0.8, gt=0, le=1)
