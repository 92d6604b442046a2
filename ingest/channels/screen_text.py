"""Channel `screen_text`: what is written in the picture.

Only pictures that differ from the last one read are read, and of those only the rows that changed
(ingest/channels/lines_changed.py); in between, what was read stays. A line
that is shown for many samples is one piece of evidence: from the first sample that shows it to the
next one without it, or to the cut between them. One sample's drop-out is bridged within a shot.

Evidence: text is the reading seen most often (for typed text the longest); attributes are
`boxes` (that reading's), `confidence` and, where a detector is given and sure, `language`.

How a run resumes. State is dropped wholly at certain samples, so that all that follows is a
function of the samples from there on: where nothing that was shown before is still shown, which
costs nothing where the picture was read as a whole, and else is only worth the rest of it after
some seconds; else, when `seal_seconds` have gone by, there all open lines end and begin anew, and
the picture is read even where it has not changed. Among samples then, one is preferred at which no
young line is cut in two. The watermark is the last such sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from index.errors import ModelMissingError
from index.schema import Evidence, Generation, Video
from ingest.channel import PictureChannel, Sample, evidence_of
from ingest.channels import lines_changed
from ingest.channels.lines import EndedLine, LineTracker, code_constants, legible_lines
from ingest.channels.lines_changed import ChangedReader
from ingest.channels.settings import ScreenTextSettings
from ingest.models.files import ModelFiles
from ingest.models.ocr import Line, OcrReader, reading_order

WORTH_READING_SECONDS = 10.0
"""So much is gained by reading a whole picture only to resume there."""

_READERS_SETTINGS = {
    "engine",
    "languages",
    "detection_side",
    "recognition_batch",
    "threads",
    "detection_model",
    "recognition_model",
}
"""What shapes a reading is in the reader's own description; the rest of these is how fast."""

_CODE_VERSION = 2
"""Raised when a change in this file changes what the evidence is."""


class TextReader(Protocol):
    """What reads the pictures; ingest.models.ocr.OcrReader is the real one."""

    def describe(self) -> Mapping[str, Any]: ...

    def load(self) -> None:
        """Raises ModelMissingError."""
        ...

    def read(self, image: np.ndarray, rows: tuple[int, int] | None = None) -> list[Line]: ...


def build_reader(
    settings: ScreenTextSettings, easyocr_files: ModelFiles | None = None, *, device: str = "cpu"
) -> TextReader:
    """The reader that the settings ask for.

    easyocr_files: the model that `ingest.models.easyocr.recogniser_for(languages)` names; not
        needed by RapidOCR. device: "cpu", "cuda" or "mps", for EasyOCR.
    Raises ConfigError for languages that the engine does not read, and ModelMissingError.
    """
    if settings.engine == "rapidocr":
        return OcrReader(
            detection_side=settings.detection_side,
            recognition_batch=settings.recognition_batch,
            threads=settings.threads,
            detection_model=settings.detection_model,
            recognition_model=settings.recognition_model,
            languages=settings.languages,
        )
    from ingest.models.easyocr import EasyOcrReader, recogniser_for

    languages = settings.languages or ("en",)
    if easyocr_files is None:
        raise ModelMissingError(
            f"EasyOCR's weights for {', '.join(languages)} are not here: "
            f"`longtake models pull {recogniser_for(languages)}`."
        )
    return EasyOcrReader(easyocr_files, languages=languages, device=device)


class ScreenTextChannel(PictureChannel):
    """See the module.

    reader: None is `build_reader(settings)`. It is shared by all runs.
    detect_language: text -> BCP 47 primary tag, or None where it is not sure.
    """

    name = "screen_text"

    def __init__(
        self,
        settings: ScreenTextSettings | None = None,
        *,
        reader: TextReader | None = None,
        detect_language: Callable[[str], str | None] | None = None,
    ):
        self._settings = settings or ScreenTextSettings()
        self._reader: TextReader = reader or build_reader(self._settings)
        self._detect_language = detect_language

    def describe(self) -> Mapping[str, Any]:
        return {
            "reader": dict(self._reader.describe()),
            "settings": self._settings.model_dump(
                mode="json",
                exclude=_READERS_SETTINGS,
            ),
            "lines": code_constants() | lines_changed.code_constants(),
            "worth_reading_seconds": WORTH_READING_SECONDS,
            "language": self._detect_language is not None,
            "code": _CODE_VERSION,
        }

    def open(self, video: Video, generation: Generation, from_seconds: float) -> ScreenTextRun:
        self._reader.load()
        return ScreenTextRun(
            generation, from_seconds, self._settings, self._reader.read, self._detect_language
        )


class ScreenTextRun:
    """One pass over one video. Implements ingest.channel.PictureRun."""

    def __init__(
        self,
        generation: Generation,
        from_seconds: float,
        settings: ScreenTextSettings,
        read: Callable[[np.ndarray, tuple[int, int] | None], list[Line]],
        detect_language: Callable[[str], str | None] | None = None,
    ):
        self._generation = generation
        self._settings = settings
        self._pictures = ChangedReader(read, settings.still)
        self._detect_language = detect_language
        self._tracker = LineTracker()
        self._still: Any = None
        self._watermark_seconds = from_seconds
        self._last_seconds: float | None = None

    @property
    def watermark_seconds(self) -> float:
        return self._watermark_seconds

    def push(self, sample: Sample) -> list[Evidence]:
        now = sample.time_seconds
        if self._last_seconds is None:
            self._begin(sample, self._pictures.whole(sample.image))
            return []
        cut = sample.shot_start_seconds if sample.shot_start_seconds > self._last_seconds else None
        self._last_seconds = now

        seal = self._should_seal(now)
        changed = self._still.changed(sample.image)
        if not changed and not seal:
            return self._evidence(self._tracker.repeat(now, cut))
        if seal:
            pieces, whole = self._pictures.whole(sample.image), True
        else:
            pieces, whole = self._pictures.update(sample.image)
        ended = self._tracker.see(self._legible(sample, pieces), now, cut)
        if seal:
            ended += self._tracker.close(now, begun_before_seconds=now)
        if all(line.start_seconds == now for line in self._tracker.lines):
            if not whole and now - self._watermark_seconds >= WORTH_READING_SECONDS:
                pieces, whole = self._pictures.whole(sample.image), True
            if whole:
                self._begin(sample, pieces)
        return self._evidence(ended)

    def close(self) -> None:
        pass

    def still_open(self, at_seconds: float) -> list[Evidence]:
        return self._evidence(self._tracker.peek(at_seconds))

    def finish(self, end_seconds: float) -> list[Evidence]:
        if self._last_seconds is not None:
            end_seconds = max(end_seconds, self._last_seconds)
        ended = self._tracker.close(end_seconds)
        self._watermark_seconds = max(self._watermark_seconds, end_seconds)
        return self._evidence(ended)

    def _begin(self, sample: Sample, pieces: list[Line]) -> None:
        """Drops all state: from here on the run is one that was opened at this sample.

        pieces: of the whole picture, as it was just read.
        """
        from ingest.sampling import StillFilter

        self._still = StillFilter(self._settings.still)
        self._still.changed(sample.image)
        self._tracker = LineTracker()
        self._tracker.see(self._legible(sample, pieces), sample.time_seconds)
        self._last_seconds = sample.time_seconds
        self._watermark_seconds = sample.time_seconds

    def _should_seal(self, now: float) -> bool:
        seal_seconds = self._settings.seal_seconds
        since = now - self._watermark_seconds
        if since < seal_seconds:
            return False
        return since >= 2 * seal_seconds or all(
            now - line.start_seconds >= seal_seconds / 2 for line in self._tracker.lines
        )

    def _legible(self, sample: Sample, pieces: list[Line]) -> list[Line]:
        height, width = sample.image.shape[:2]
        return legible_lines(
            pieces,
            aspect=width / height,
            minimum_confidence=self._settings.minimum_confidence,
            minimum_characters=self._settings.minimum_characters,
        )

    def _evidence(self, ended: list[EndedLine]) -> list[Evidence]:
        places = reading_order([ended_line.line.first for ended_line in ended])
        rank = {id(line): place for place, line in enumerate(places)}
        ended = sorted(ended, key=lambda item: (item.line.start_seconds, rank[id(item.line.first)]))
        return [self._piece(item) for item in ended]

    def _piece(self, ended: EndedLine) -> Evidence:
        line, generation = ended.line, self._generation
        best = line.best
        attributes: dict[str, Any] = {
            "boxes": [list(best.box)],
            "confidence": round(best.confidence, 4),
        }
        language = self._detect_language(best.text) if self._detect_language else None
        if language is not None:
            attributes["language"] = language
        # The text may be bettered while the line is shown; what it began with does not change.
        first = line.first
        corner = f"{first.box[0]:.2f},{first.box[1]:.2f}"
        return evidence_of(
            generation,
            line.start_seconds,
            ended.end_seconds,
            text=best.text,
            attributes=attributes,
            key=f"{first.text}\n{corner}",
        )
