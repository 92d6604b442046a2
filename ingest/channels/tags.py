"""What each segment shows, in words from a list: the channel `caption` where there is no captioner.

Zero-shot classification as in CLIP (Radford et al. 2021): each word in a few phrases ("a photo of
{}") goes through the frame channel's text tower, and the mean is compared with the vectors that the
frame channel has stored. A picture's cosines become shares of one by a softmax over the whole list,
a segment's shares are the mean of its pictures', by how long each is shown.

Evidence: the words over the segment, "dog, beach", best first. Attributes: `tags` ([word, share]
pairs), `confidence` (the best share), `language` ("en" of the packaged list, of another none),
`model` (the vector space). A segment for which no word stands out has none. The scale and the least
share are CLIP's habit and a guess, not tuned on any trained weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from index.errors import ConfigError
from index.library import Library
from index.schema import Evidence, Generation, Segment, Video
from ingest.channel import Batch, DerivedChannel, evidence_of
from ingest.channels.settings import CaptionSettings
from ingest.models.encoders import TextEncoder
from ingest.writer import segments_between

if TYPE_CHECKING:
    from ingest.segment_frames import Media

TEMPLATES = ("a photo of {}.", "a video of {}.", "{}")

_REVISION = 1
"""Raised when the same vectors come out as other tags."""

_LOGIT_SCALE = 100.0
"""What CLIP's cosines are multiplied by before the softmax; its trained temperature ends there."""

_BATCH_SECONDS = 300.0
_REACH_SECONDS = 600.0
"""How long before a segment a picture that is shown in it may have come; longer than the frame
channel lets one last."""


_ARTICLE = re.compile(r"^(an?|the) (?=\S)")


def read_words(text: str) -> tuple[str, ...]:
    """One a line; blank lines and those that begin with # are passed over, as are repetitions."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


class TagChannel(DerivedChannel):
    """A DerivedChannel, of the name `caption`.

    space: the vector space of the frame channel. encoder: makes the text tower of that space when
    the first segment is due. words: the list, as they fit into "a photo of {}" (an English article
    goes before they become tags); language: the one that it is in.

    Raises ConfigError for a list of fewer than two words.
    """

    name = "caption"
    sources = ("frame", "shot", "segment")

    def __init__(
        self,
        settings: CaptionSettings,
        space: str,
        encoder: Callable[[], TextEncoder],
        words: Sequence[str],
        *,
        language: str | None = None,
    ):
        if len(words) < 2:
            where = f" ({settings.words})" if settings.words else ""
            raise ConfigError(f"The list of tags{where} needs two words at least, one a line.")
        self._settings = settings
        self._space = space
        self._encoder = encoder
        self._words = tuple(words)
        self._language = language
        self._vectors: np.ndarray | None = None

    def describe(self) -> Mapping[str, Any]:
        words = json.dumps(self._words).encode()
        return {
            "revision": _REVISION,
            "space": self._space,
            "words": hashlib.blake2b(words, digest_size=16).hexdigest(),
            "templates": list(TEMPLATES),
            "scale": _LOGIT_SCALE,
            "tags": self._settings.tags,
            "tag_confidence": self._settings.tag_confidence,
            "language": self._language,
        }

    def run(
        self,
        path: Media,
        video: Video,
        generation: Generation,
        from_seconds: float,
        library: Library,
        until_seconds: float | None = None,
    ) -> Iterator[Batch]:
        """A batch every few minutes of video. Raises ModelMissingError, ConfigError."""
        segments = segments_between(library, generation, from_seconds, until_seconds)
        end_seconds = video.duration_seconds or from_seconds
        if until_seconds is not None:
            end_seconds = segments[-1].end_seconds if segments else from_seconds
        for group in _grouped(segments):
            pictures = self._pictures(library, video, group)
            found = (self._evidence(generation, segment, pictures) for segment in group)
            evidence = tuple(each for each in found if each is not None)
            until = group[-1].end_seconds
            if group[-1] is not segments[-1]:
                yield Batch(evidence, until, until)
            else:
                yield Batch(evidence, end_seconds, end_seconds)
        if not segments:
            yield Batch((), end_seconds, end_seconds)

    def _pictures(
        self, library: Library, video: Video, group: Sequence[Segment]
    ) -> list[tuple[float, float, np.ndarray]]:
        """(start, end, shares of the words) of what is shown in a group of segments."""
        stored = library.evidence(
            video.id,
            channel="frame",
            start_seconds=max(0.0, group[0].start_seconds - _REACH_SECONDS),
            end_seconds=group[-1].end_seconds,
            with_vectors=True,
        )
        shown = [
            each
            for each in stored
            if self._space in each.vectors and each.end_seconds > group[0].start_seconds
        ]
        if not shown and any(each.vectors for each in stored):
            (other, *_) = next(each.vectors for each in stored if each.vectors)
            raise ConfigError(
                f"{video.title}: its frames are in {other}, and the tags would look in "
                f"{self._space}. Set channels.frame.model to the model of the frames, or run "
                "`longtake reindex --channel frame`."
            )
        if not shown:
            return []
        vectors = np.stack([each.vectors[self._space] for each in shown])
        shares = _shares(vectors, self._encoded())
        return [(e.start_seconds, e.end_seconds, s) for e, s in zip(shown, shares, strict=True)]

    def _evidence(
        self,
        generation: Generation,
        segment: Segment,
        pictures: Sequence[tuple[float, float, np.ndarray]],
    ) -> Evidence | None:
        start, end = segment.start_seconds, segment.end_seconds
        inside = [(min(e, end) - max(s, start), share) for s, e, share in pictures]
        # A picture at an instant still counts.
        inside = [
            (max(length, 1e-3), share)
            for (length, share), (s, e, _) in zip(inside, pictures, strict=True)
            if length > 0 or start <= s == e < end
        ]
        if not inside:
            return None
        lengths = np.array([length for length, _ in inside])
        shares = lengths @ np.stack([share for _, share in inside]) / lengths.sum()
        best = np.argsort(-shares, kind="stable")[: self._settings.tags]
        tags = [
            [_ARTICLE.sub("", self._words[at]), round(float(shares[at]), 4)]
            for at in best
            if shares[at] >= self._settings.tag_confidence
        ]
        if not tags:
            return None
        attributes: dict[str, Any] = {
            "tags": tags,
            "confidence": tags[0][1],
            "model": self._space,
        }
        if self._language:
            attributes["language"] = self._language
        return evidence_of(
            generation,
            start,
            end,
            text=", ".join(word for word, _ in tags),
            attributes=attributes,
            key="",
        )

    def _encoded(self) -> np.ndarray:
        """float32 of shape (words, size), unit length."""
        if self._vectors is None:
            encoder = self._encoder()
            phrases = [form.format(word) for word in self._words for form in TEMPLATES]
            vectors = encoder.encode_queries(phrases)
            means = vectors.reshape(len(self._words), len(TEMPLATES), -1).mean(axis=1)
            self._vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return self._vectors


def _shares(pictures: np.ndarray, words: np.ndarray) -> np.ndarray:
    """float64 of shape (pictures, words); each row sums to one."""
    pictures = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    logits = _LOGIT_SCALE * (pictures.astype(np.float64) @ words.T.astype(np.float64))
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True)


def _grouped(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Runs of segments of some minutes each."""
    group: list[Segment] = []
    for segment in segments:
        if group and segment.end_seconds - group[0].start_seconds > _BATCH_SECONDS:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
