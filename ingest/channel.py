"""What a channel is to the pipeline.

A channel perceives one kind of thing and turns it into evidence. Three shapes exist: a
`PictureChannel` is pushed the samples that the one video decode yields; a `FileChannel` reads the
file (its subtitles, its sound) by itself; a `DerivedChannel` works on what others have found. A
channel is a subclass of one of them; docs/architecture.md says what else a new one takes.

The resume rule that every channel keeps: evidence that starts before the watermark is final, and a
run that is opened at the watermark, and sees what follows it, emits exactly what an uninterrupted
run emits from there on. So the watermark is the earliest time that anything still undecided, or
any state that later evidence leans on, goes back to.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from index.library import Library
from index.schema import Evidence, Generation, Video
from index.store import Point, VectorSpace

if TYPE_CHECKING:
    from ingest.segment_frames import Media


def evidence_of(
    generation: Generation, start_seconds: float, end_seconds: float, **perceived: Any
) -> Evidence:
    """What a run of that generation perceived over a span. perceived: `text`, `attributes`,
    `vectors` and `key` of the Evidence."""
    return Evidence(
        generation.video_id,
        generation.epoch,
        generation.channel,
        generation.id,
        start_seconds,
        end_seconds,
        **perceived,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture chosen for perception.

    image: uint8 of shape (height, width, 3), RGB, fully decoded, upright (rotation applied) and
        with square pixels.
    time_seconds: when it is shown. shot_start_seconds: start of the shot it belongs to; where it
        lies after the previous sample, what was seen there ended at the cut at the latest.
    """

    time_seconds: float
    shot_start_seconds: float
    image: np.ndarray


class PictureRun(Protocol):
    """One pass of a picture channel over one video, from its watermark on."""

    def push(self, sample: Sample) -> list[Evidence]:
        """Takes the next sample in time order; returns the evidence that is now final."""
        ...

    def still_open(self, at_seconds: float) -> list[Evidence]:
        """Of a live stretch: what is being perceived, as if it ended there, without the rest of
        what `push` will return of it. Changes nothing; what becomes final has the same id. Empty
        where nothing can be said yet."""
        ...

    def finish(self, end_seconds: float) -> list[Evidence]:
        """The video ended there: closes every open span."""
        ...

    def close(self) -> None:
        """Gives back what the run holds (threads, say), finished or not."""
        ...

    @property
    def watermark_seconds(self) -> float:
        """See the resume rule above. Never decreases."""
        ...


class PictureChannel(Protocol):
    """Perceives in pictures. slow: whether that takes so long that others should not wait for it
    where pictures come as the world goes."""

    name: str
    spaces: tuple[VectorSpace, ...] = ()
    slow: bool = False

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Everything that shapes the evidence (model, its digest, settings, code constants), as
        JSON-like values. Its digest is the generation's fingerprint; it must not load the model."""
        ...

    @abstractmethod
    def open(self, video: Video, generation: Generation, from_seconds: float) -> PictureRun:
        """Starts a run at the watermark `from_seconds`. Samples before it are never pushed.

        Raises ModelMissingError where weights or packages are missing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Final evidence in time order, and how far the channel has come with it.

    notes: what the user should know. damaged: something that should have been read could not be;
    a note says what. points: what the channel keeps besides evidence; each has the generation's id
    in its payload and goes with it. uncovered_seconds: of the stretch that this batch adds, how
    much was tried and given up (a server that kept failing); it counts as not covered.
    """

    evidence: tuple[Evidence, ...]
    watermark_seconds: float
    analysed_seconds: float
    notes: tuple[str, ...] = ()
    damaged: bool = False
    points: tuple[Point, ...] = ()
    uncovered_seconds: float = 0.0


class FileChannel(Protocol):
    """Perceives by reading the file itself."""

    name: str
    spaces: tuple[VectorSpace, ...] = ()

    @abstractmethod
    def listens(self, path: Path, video: Video) -> bool:
        """Whether for this file it has to hear the sound, which takes long: then it runs when the
        text of every file of the batch has been read."""
        ...

    @abstractmethod
    def defers(self, path: Path, video: Video) -> bool:
        """Whether it lacks what it takes for this file (nothing is written, and it may not
        listen), so that what was heard by an earlier run stays."""
        ...

    @abstractmethod
    def describe(self, path: Path, video: Video) -> Mapping[str, Any]:
        """As in PictureChannel, for this file; includes the digest of any sidecar it will read."""
        ...

    @abstractmethod
    def run(
        self, path: Path, video: Video, generation: Generation, from_seconds: float
    ) -> Iterator[Batch]:
        """Yields batches from the watermark `from_seconds` to the end of the video.

        Trouble with one source (a broken subtitle file) is a note in a batch, not an exception,
        where anything else can still be read.
        """
        ...


STILL_WAITING = Batch((), 0.0, 0.0)
"""What a channel that waits for somebody else gives out now and then, so that it can be stopped.
It says nothing about how far the channel has come."""


class DerivedChannel(Protocol):
    """Works on what other channels have found in the video, and where it must on the file again.

    sources: the channels that it reads: the first must be there and complete, the others are read
    where they are; it runs when none of them is left to be run. waits: whether it mostly waits
    for somebody else (a server), so that other files go on meanwhile. looks: whether it looks at
    the video's pictures itself, `picture_side` pixels at the most. names_records: whether what it
    makes names what its sources have written, so that it is due again where that was only written
    anew.
    """

    name: str
    spaces: tuple[VectorSpace, ...] = ()
    sources: tuple[str, ...]
    waits: bool = False
    looks: bool = False
    picture_side: int = 0
    names_records: bool = False

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """As in PictureChannel. The generations of the sources go into the fingerprint by
        themselves: where one of them is replaced, this channel's runs again."""
        ...

    @abstractmethod
    def run(
        self,
        path: Media,
        video: Video,
        generation: Generation,
        from_seconds: float,
        library: Library,
        until_seconds: float | None = None,
    ) -> Iterator[Batch]:
        """As in FileChannel. It reads what searchers see of its sources, in the generation's epoch.

        until_seconds: of a stream that goes on, up to where all of its sources are final; more is
        to come. The last batch's watermark says from where on the next run begins. None: the video
        is whole.
        """
        ...
