"""Channel `object`: which of the configured things each picture shows, how many and where.

Only pictures that differ from the last one looked at are looked at; in between, what was seen
stays. A class that is seen in following samples of a shot in the same number is one evidence: from
the first sample to the next one with another number, or to the cut between them. One sample's
change of number is bridged within a shot, but for a class that was not seen before it.

Evidence: text is the class as configured, with its number where there are several ("person",
"bottle × 3": stemming makes "bottles" find it, and "3 bottles" a little better); attributes are
`label`, `count`, `boxes` and `confidence` (the surest box's) of the sample that showed them surest,
and `language`, "en", which is what the detectors' text towers know.

How a run resumes. Spans end at cuts, and where `seal_seconds` have gone by, and there all state is
dropped: what follows is a function of the samples from there on. Pictures are looked at in batches;
the watermark is the last such sample at which a batch was closed, so that a resumed run has the
same pictures in the same batches, and the same bits. At most a batch of pictures is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from index.schema import Evidence, Generation, Video
from ingest.channel import PictureChannel, Sample, evidence_of
from ingest.channels.settings import ObjectSettings
from ingest.models.detector import Detection

_CODE_VERSION = 1
"""Raised when a change in this file changes what the evidence is."""

_LANGUAGE = "en"


class Detector(Protocol):
    """What finds things; ingest.models.detector.OpenVocabularyDetector is the real one."""

    def detect(
        self,
        images: Sequence[np.ndarray],
        classes: Sequence[str],
        *,
        threshold: float | None = None,
    ) -> list[list[Detection]]: ...


class ObjectChannel(PictureChannel):
    """See the module.

    detector: makes the detector; called once, when the first run is opened, and never where no
        classes are configured. Raises ModelMissingError where weights or packages are missing.
    describe: of the detector, as ingest.models.detector.describe_detector gives it.
    """

    name = "object"
    slow = True

    def __init__(
        self,
        settings: ObjectSettings | None,
        detector: Callable[[], Detector],
        describe: Mapping[str, Any],
    ):
        self._settings = settings or ObjectSettings()
        self._make = detector
        self._describe = dict(describe)
        self._loading = threading.Lock()
        self._loaded: Detector | None = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "detector": self._describe,
            # The model is described above, whoever chose it. The batch is about speed (and, in the
            # last bit or two, about rounding).
            "settings": self._settings.model_dump(mode="json", exclude={"model", "batch"}),
            "code": _CODE_VERSION,
        }

    def open(self, video: Video, generation: Generation, from_seconds: float) -> ObjectRun:
        if not self._settings.classes:
            return ObjectRun(generation, from_seconds, self._settings, None)
        with self._loading:
            if self._loaded is None:
                self._loaded = self._make()
        return ObjectRun(generation, from_seconds, self._settings, self._loaded)


@dataclass(slots=True)
class _Seen:
    """A sample, and which picture of the group tells what it shows. end_seconds: where what it
    shows ends at the latest, for the last sample before state is dropped."""

    time_seconds: float
    picture: int
    end_seconds: float | None = None


class ObjectRun:
    """One pass over one video. Implements ingest.channel.PictureRun.

    Samples are gathered into stretches, which end where state is dropped, and stretches into a
    group, which ends when it has filled a batch, or has lasted `seal_seconds`.
    """

    def __init__(
        self,
        generation: Generation,
        from_seconds: float,
        settings: ObjectSettings,
        detector: Detector | None,
    ):
        self._generation = generation
        self._settings = settings
        self._detector = detector
        self._watermark_seconds = from_seconds
        self._last_seconds = from_seconds
        self._still: Any = None
        self._stretch_seconds = from_seconds
        self._group: list[_Seen] = []
        self._pictures: list[np.ndarray] = []  # of the group, not looked at yet
        self._found: list[list[Detection]] = []  # in those that were, in order

    @property
    def watermark_seconds(self) -> float:
        return self._watermark_seconds

    def push(self, sample: Sample) -> list[Evidence]:
        now, previous_seconds = sample.time_seconds, self._last_seconds
        self._last_seconds = now
        if self._detector is None:
            self._watermark_seconds = now
            return []
        ended: list[Evidence] = []
        if self._group:
            cut = sample.shot_start_seconds > previous_seconds
            if cut or now - self._stretch_seconds >= self._settings.seal_seconds:
                self._group[-1].end_seconds = sample.shot_start_seconds if cut else now
                if self._full(now):
                    ended = self._close()
                    self._watermark_seconds = now
                self._begin(now)
        else:
            self._begin(now)
        if self._still.changed(sample.image):
            self._pictures.append(sample.image)
        self._group.append(_Seen(now, len(self._found) + len(self._pictures) - 1))
        if len(self._pictures) == self._settings.batch:
            self._look()
        return ended

    def close(self) -> None:
        pass

    def still_open(self, at_seconds: float) -> list[Evidence]:
        return []  # a group is looked at when it has ended

    def finish(self, end_seconds: float) -> list[Evidence]:
        end_seconds = max(end_seconds, self._last_seconds)
        if self._group:
            self._group[-1].end_seconds = end_seconds
        ended = self._close()
        self._watermark_seconds = end_seconds
        return ended

    def _begin(self, now: float) -> None:
        from ingest.sampling import StillFilter

        self._still = StillFilter(self._settings.still)
        self._stretch_seconds = now

    def _full(self, now: float) -> bool:
        pictures = len(self._found) + len(self._pictures)
        since = now - self._watermark_seconds
        return pictures >= self._settings.batch or since >= self._settings.seal_seconds

    def _look(self) -> None:
        if not self._pictures:
            return
        assert self._detector is not None
        settings = self._settings
        self._found += self._detector.detect(
            self._pictures, settings.classes, threshold=settings.minimum_confidence
        )
        self._pictures = []

    def _close(self) -> list[Evidence]:
        """The group's evidence, by start."""
        self._look()
        group, found = self._group, self._found
        self._group, self._found = [], []
        ended: list[Evidence] = []
        stretch: list[_Seen] = []
        for seen in group:
            stretch.append(seen)
            if seen.end_seconds is not None:
                ended += self._evidence(stretch, found)
                stretch = []
        order = {label: n for n, label in enumerate(self._settings.classes)}
        return sorted(ended, key=lambda e: (e.start_seconds, order.get(e.attributes["label"], 0)))

    def _evidence(self, stretch: list[_Seen], found: list[list[Detection]]) -> list[Evidence]:
        """stretch: samples of one shot; the last has its end."""
        boxes: dict[str, list[list[Detection]]] = {}
        for at, seen in enumerate(stretch):
            for one in found[seen.picture]:
                boxes.setdefault(one.label, [[] for _ in stretch])[at].append(one)
        times = [seen.time_seconds for seen in stretch] + [stretch[-1].end_seconds or 0.0]
        return [
            self._piece(label, times[start], times[end], count, shown[start:end])
            for label, shown in boxes.items()
            for start, end, count in spans([len(each) for each in shown])
        ]

    def _piece(
        self,
        label: str,
        start_seconds: float,
        end_seconds: float,
        count: int,
        shown: list[list[Detection]],
    ) -> Evidence:
        # Samples that were bridged show another number.
        of_count = [each for each in shown if len(each) == count]
        best = max(of_count, key=lambda each: sum(one.confidence for one in each))
        generation = self._generation
        return evidence_of(
            generation,
            start_seconds,
            end_seconds,
            text=label if count == 1 else f"{label} × {count}",
            attributes={
                "label": label,
                "count": count,
                "boxes": [[round(side, 4) for side in one.box] for one in best],
                "confidence": round(max(one.confidence for one in best), 4),
                "language": _LANGUAGE,
            },
            key=label,
        )


def spans(counts: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, end, count) of the stretches with one number other than 0.

    A single differing number between two that are alike, and not 0, is taken for a slip of the
    detector's.
    """
    level = list(counts)
    for i in range(1, len(level) - 1):
        if level[i - 1] == level[i + 1] != 0:
            level[i] = level[i - 1]
    found, start = [], 0
    for i in range(1, len(level) + 1):
        if i == len(level) or level[i] != level[start]:
            if level[start]:
                found.append((start, i, level[start]))
            start = i
    return found
