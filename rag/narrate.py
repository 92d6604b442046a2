"""A running commentary on a live source, which speaks only when something new happens.

Perception, decision and reaction are apart (Dispider: Qian et al. 2025): evidence goes through a
cheap gate for what is new, and only behind that is a model asked, if there is one, and may still
find it not worth a sentence. Without a model what is new is quoted.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from index.errors import ConfigError, LongtakeError
from index.schema import Evidence
from ingest.models.pdq import NEAR_PICTURE_DISTANCE
from ingest.models.videollm import Frame, Piece, Prompt, VideoLLM, answer_text
from rag.delimited import block, one_line
from rag.narrate_settings import NarrateSettings
from rag.unseen import without_thoughts

log = logging.getLogger(__name__)

PLACES = ("{before}", "{words}", "{frames}")
"""Stand in the instructions where these go, in this order."""

NOTHING = "NOTHING"
"""What a model says then."""

_LABELS = {"speech": "said", "screen_text": "on screen", "object": "objects"}
_WAITING = 256
_LONGEST = 400
"""Characters of a remark; a model that says more did not keep to a sentence."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new. words: (channel, text). at_seconds: when the first of it began. pictures:
    whether one looks like none before."""

    at_seconds: float
    words: tuple[tuple[str, str], ...] = ()
    pictures: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """at_seconds: what it is about began then."""

    at_seconds: float
    text: str


class Novelty:
    """Tells what is new of one source. Words are compared by their letters (rapidfuzz's ratio),
    pictures by their fingerprints."""

    def __init__(self, settings: NarrateSettings):
        self._settings = settings
        self._words: deque[tuple[float, str]] = deque()
        self._pictures: deque[tuple[float, np.ndarray]] = deque()
        self._told: dict[str, float] = {}

    def news(self, evidence: Iterable[Evidence]) -> list[News]:
        """One for each piece of evidence that is new; each is told once."""
        found = []
        for one in sorted(evidence, key=lambda each: each.start_seconds):
            if one.id in self._told or not self._is_steady(one):
                continue
            self._forget(one.start_seconds)
            self._told[one.id] = one.end_seconds
            if one.text and one.channel in _LABELS:
                if self._is_new_text(one):
                    found.append(News(one.start_seconds, ((one.channel, one.text),)))
            elif one.channel == "fingerprint" and self._is_new_picture(one):
                found.append(News(one.start_seconds, pictures=True))
        return found

    def _is_steady(self, one: Evidence) -> bool:
        lasted = one.end_seconds - one.start_seconds
        return "provisional" not in one.attributes or lasted >= self._settings.steady_seconds

    def _is_new_text(self, one: Evidence) -> bool:
        from rapidfuzz import fuzz

        text = " ".join(one.text.casefold().split())
        known = any(fuzz.ratio(text, old) >= 100 * self._settings.alike for _, old in self._words)
        self._words.append((one.end_seconds, text))
        return not known

    def _is_new_picture(self, one: Evidence) -> bool:
        vector = one.vectors.get("fingerprint")
        if vector is None:  # blank
            return False
        bits = np.asarray(vector) > 0
        known = any(
            np.count_nonzero(bits != old) <= NEAR_PICTURE_DISTANCE for _, old in self._pictures
        )
        self._pictures.append((one.end_seconds, bits))
        return not known

    def _forget(self, now_seconds: float) -> None:
        before = now_seconds - self._settings.memory_seconds
        for kept in (self._words, self._pictures):
            while kept and kept[0][0] < before:
                kept.popleft()
        self._told = {id: end for id, end in self._told.items() if end >= before}


class Commentator(Protocol):
    """Puts what is new into words."""

    def look(self, time_seconds: float, image: np.ndarray) -> None:
        """A picture of the stream, in time order."""
        ...

    def remark(self, news: Sequence[News], before: Sequence[str]) -> str | None:
        """None where it is not worth a word. before: the remarks so far. Raises LongtakeError."""
        ...


class Quoting:
    """Without a model: what is new, as it was said and written."""

    def look(self, time_seconds: float, image: np.ndarray) -> None:
        pass

    def remark(self, news: Sequence[News], before: Sequence[str]) -> str | None:
        said = [f"{_LABELS[c]}: “{one_line(text)}”" for one in news for c, text in one.words]
        if not said and any(one.pictures for one in news):
            return "a picture that was not there before"
        return "; ".join(dict.fromkeys(said)) or None


class Describing:
    """A Video-LLM that is shown the latest pictures. instructions: with PLACES in them, else
    ConfigError is raised."""

    def __init__(self, model: VideoLLM, instructions: str, settings: NarrateSettings):
        self._parts = _parts(instructions)
        self._model = model
        self._settings = settings
        self._frames: deque[Frame] = deque(maxlen=settings.frames)

    def look(self, time_seconds: float, image: np.ndarray) -> None:
        self._frames.append(Frame(time_seconds, image))

    def remark(self, news: Sequence[News], before: Sequence[str]) -> str | None:
        first, last = _filled(self._parts, news, before)
        prompt = Prompt((first, *self._frames, last))
        pieces = self._model.generate(prompt, max_tokens=self._settings.max_tokens)
        return _told(answer_text(without_thoughts(pieces)))


class Remembering:
    """A streaming session: each picture is read once, as it comes, and its memory answers.

    append, ask: those of a VideoSession.
    """

    def __init__(
        self,
        append: Callable[[Sequence[np.ndarray], Sequence[float]], None],
        ask: Callable[..., Iterator[Piece]],
        instructions: str,
        settings: NarrateSettings,
    ):
        self._parts = _parts(instructions)
        self._append, self._ask = append, ask
        self._settings = settings
        self._last = -1.0

    def look(self, time_seconds: float, image: np.ndarray) -> None:
        if time_seconds > self._last:
            self._append([image], [time_seconds])
            self._last = time_seconds

    def remark(self, news: Sequence[News], before: Sequence[str]) -> str | None:
        if self._last < 0:
            return None
        first, last = _filled(self._parts, news, before)
        text = f"{first}(you have watched them)\n{last}"
        span = (news[0].at_seconds, self._last + 1.0)
        pieces = self._ask(text, spans=[span], max_tokens=self._settings.max_tokens)
        return _told(answer_text(without_thoughts(pieces)))


@dataclass
class _Source:
    novelty: Novelty
    commentator: Commentator
    remarks: deque[str]
    waiting: list[News] = field(default_factory=list)
    spoke_at: float = -math.inf


class Narrator:
    """Comments on several sources, in a thread of its own. make: a commentator for each. tell: is
    called with a source's name and a remark. say: with what goes wrong, once.

    What comes faster than it can be commented on is passed over, the oldest first: pictures, and
    then what is new. Close it.
    """

    def __init__(
        self,
        settings: NarrateSettings,
        make: Callable[[], Commentator],
        tell: Callable[[str, Remark], None],
        say: Callable[[str], None],
    ):
        self._settings = settings
        self._make = make
        self._tell = tell
        self._say = say
        self._sources: dict[str, _Source] = {}
        self._queue: queue.Queue = queue.Queue(_WAITING)
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="narrate", daemon=True)
        self._thread.start()

    def look(self, source: str, time_seconds: float, image: np.ndarray) -> None:
        """A picture of a source: uint8 of shape (height, width, 3), RGB. Returns at once."""
        self._put((source, (time_seconds, image), None, 0.0))

    def hear(self, source: str, evidence: Sequence[Evidence], at_seconds: float) -> None:
        """What was committed, if anything, and how far the source has come. Returns at once."""
        self._put((source, None, evidence, at_seconds))

    def close(self, timeout_seconds: float = 1.0, *, after_all: bool = False) -> bool:
        """after_all: what waits is told yet, as far as there is time. Returns whether it has
        ended."""
        if not after_all:
            self._closing.set()
        self._put(None)
        self._thread.join(timeout_seconds)
        self._closing.set()
        return not self._thread.is_alive()

    def _put(self, item: object) -> None:
        while True:
            try:
                self._queue.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    pass

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and not self._closing.is_set():
            name, picture, evidence, at_seconds = item
            try:
                if name not in self._sources:
                    kept: deque[str] = deque(maxlen=self._settings.remarks)
                    self._sources[name] = _Source(Novelty(self._settings), self._make(), kept)
                source = self._sources[name]
                if picture is not None:
                    source.commentator.look(*picture)
                else:
                    self._hear(name, source, evidence, at_seconds)
            except LongtakeError as error:
                log.warning("narrating %s: %s", name, error)
                self._gap(str(error))
            except Exception as error:  # whatever the model's library does
                log.exception("Narrating %s failed", name)
                self._gap(f"{type(error).__name__}: {error}")

    def _gap(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            self._say(f"The commentary has a gap: {why}")

    def _hear(
        self, name: str, source: _Source, evidence: Sequence[Evidence], at_seconds: float
    ) -> None:
        source.waiting += source.novelty.news(evidence)
        if not source.waiting or at_seconds - source.spoke_at < self._settings.every_seconds:
            return
        news, source.waiting = source.waiting, []
        source.spoke_at = at_seconds
        text = source.commentator.remark(news, tuple(source.remarks))
        if text:
            source.remarks.append(text)
            self._tell(name, Remark(news[0].at_seconds, text))


def _parts(instructions: str) -> tuple[str, str, str, str]:
    """What stands before, between and behind PLACES."""
    rest, found = instructions, []
    for place in PLACES:
        before, there, rest = rest.partition(place)
        if not there:
            raise ConfigError(f"The instructions for the commentary lack {place}, or its order.")
        found.append(before)
    return (*found, rest)


def _filled(
    parts: tuple[str, str, str, str], news: Sequence[News], before: Sequence[str]
) -> tuple[str, str]:
    """What goes before the pictures, and behind."""
    said = "\n".join(f"- {one_line(text)}" for text in before) or "(nothing yet)"
    lines = [f"{_LABELS[c]}: {one_line(text)}" for one in news for c, text in one.words]
    words = block("NEW", list(dict.fromkeys(lines))) if lines else "(nothing)"
    return f"{parts[0]}{said}{parts[1]}{words}{parts[2]}", parts[3]


def _told(text: str) -> str | None:
    told = " ".join(text.split())
    letters = "".join(filter(str.isalpha, told)).upper()
    if not letters or letters == NOTHING:
        return None
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST].rstrip()}…"
